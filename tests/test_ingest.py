import gzip
import os
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Sections
from pipeline.errors import InputError
from pipeline.ingest import STAGE, IngestConfig
from pipeline.read_record import Unusable
from pipeline.read_text import docstring
from pipeline.records import DOCUMENT, read_rows
from pipeline.sources import SourceConfig
from pipeline.sources_plan import list_source, stamps

ODD_FILES = {
    "good.py": b'"""Adds."""\n\ndef add(a, b):\n    return a + b\n',
    "latin.py": "# -*- coding: latin-1 -*-\nname = 'é'\n".encode("latin-1"),
    "bom.py": b"\xef\xbb\xbfx = 1\n",
    "package/inner.py": b"y = 2\n",
    "empty.py": b"",
    "blank.py": b" \n\n",
    "binary.py": b"a\x00b",
    "broken.py": b"x = '\xff\xfe'\n",
    "unknown.py": b"# coding: no-such-codec\n",
    "large.py": b"x" * 2_000,
    "notes.txt": b"not asked for",
}


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for name, content in ODD_FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def config(root, **fields) -> IngestConfig:
    source = SourceConfig(name="tree", address=str(root), kind="code", include=("*.py",), **fields)
    return IngestConfig(sources=(source,), max_document_bytes=1_000, tasks=3)


def test_every_file_becomes_a_document_or_a_reject_with_its_reason(bench, tree):
    sealed = bench.make(STAGE, config(tree))
    documents = list(read_rows(sealed.files("documents/*.parquet")))
    rejects = list(read_rows([sealed.file("rejects.parquet")]))
    assert sorted(d["url_or_path"] for d in documents) == [
        "bom.py", "good.py", "latin.py", "package/inner.py",
    ]  # fmt: skip
    assert {r["url_or_path"]: r["reason"] for r in rejects} == {
        "empty.py": "empty",
        "blank.py": "empty",
        "binary.py": "binary",
        "broken.py": "undecodable",
        "unknown.py": "undecodable",
        "large.py": "too_large",
    }
    assert sealed.ledger.rows_in == 10
    assert sealed.ledger.dropped == {"empty": 2}
    assert sealed.ledger.failed == {"binary": 1, "too_large": 1, "undecodable": 2}
    by_path = {d["url_or_path"]: d for d in documents}
    assert "é" in by_path["latin.py"]["text"]
    assert by_path["bom.py"]["text"] == "x = 1\n"
    assert by_path["package/inner.py"]["group"] == "tree/package"
    assert by_path["good.py"]["group"] == "tree/good"
    assert by_path["good.py"]["licence"] is None


def test_an_unreadable_file_is_a_reject(bench, tree):
    if os.geteuid() == 0:  # root reads everything: take the right away by other means
        (tree / "good.py").unlink()
        (tree / "good.py").symlink_to("good.py")
    else:
        (tree / "good.py").chmod(0)
    sealed = bench.make(STAGE, config(tree))
    assert sealed.ledger.failed["unreadable"] == 1


def test_ids_do_not_depend_on_where_the_tree_lies(bench, tree, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(tree, moved)
    first = bench.make(STAGE, config(tree))
    bench.run = tmp_path / "other-run"
    second = bench.make(STAGE, config(moved))
    assert first.manifest.outputs_sha256 == second.manifest.outputs_sha256


def test_the_documents_and_their_order_do_not_depend_on_shards_or_workers(bench, tree, tmp_path):
    ids = []
    for tasks, workers in ((1, 1), (3, 2), (17, 1)):
        bench.run = tmp_path / str(tasks)
        how = {"tasks": tasks, "workers": workers}
        sealed = bench.make(STAGE, config(tree).model_copy(update=how))
        documents = sealed.files("documents/*.parquet")
        assert len(documents) == tasks
        ids.append([d["doc_id"] for d in read_rows(documents)])
    assert ids[0] == ids[1] == ids[2]
    assert len(ids[0]) == 4


def test_docstrings_are_read_as_prose(bench, tree):
    sealed = bench.make(STAGE, config(tree, read="docstring"))
    (document,) = read_rows(sealed.files("documents/*.parquet"))
    assert document["text"] == "Adds."
    assert sealed.ledger.dropped["no_docstring"] == 3


@pytest.mark.parametrize(
    "text",
    ["def f():\n    'inner'\n", "x = 1\n'late'\n", "b'bytes'\n", "import this\n"],
)
def test_what_is_no_module_docstring_is_not_taken_for_one(text):
    with pytest.raises(Unusable, match="no_docstring"):
        docstring(text)


def test_the_standard_library_reads_whole(bench):
    source = SourceConfig(
        name="stdlib", address="${stdlib}", kind="code", include=("json/*.py", "email/*.py")
    )
    sealed = bench.make(STAGE, IngestConfig(sources=(source,)))
    assert sealed.ledger.kept > 20
    assert set(sealed.ledger.dropped) <= {"empty"}
    assert not sealed.ledger.failed
    assert pq.read_schema(sealed.files("documents/*.parquet")[0]).equals(DOCUMENT)


def test_a_changed_source_file_is_new_work(bench, tree):
    first = bench.make(STAGE, config(tree)).manifest.fingerprint
    (tree / "good.py").write_text("x = 3\n")
    assert bench.make(STAGE, config(tree)).manifest.fingerprint != first


@pytest.mark.parametrize(("address", "include"), [("missing", ("*",)), ("", ("*.rs",))])
def test_a_missing_or_empty_source_names_itself(bench, tree, address, include):
    source = SourceConfig(name="here", address=str(tree / address), kind="code", include=include)
    with pytest.raises(InputError, match=r"ingest: source 'here'.*; correct ingest\.sources"):
        bench.make(STAGE, IngestConfig(sources=(source,)))


def test_sources_of_all_kinds_add_up_in_one_order(bench, tree, tmp_path):
    lines = [b'{"body": "text %d", "at": "https://example.org/%d"}' % (i, i) for i in range(500)]
    lines[100:102] = [b"{", b'{"body": null}']
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines))[:-30])
    pq.write_table(pa.table({"text": ["one", " ", "two"]}), tmp_path / "b.parquet")
    fields = {"text": "body", "url_or_path": "at"}
    sources = (
        SourceConfig(name="lines", address=f"{tmp_path}/a.jsonl.gz", kind="web", fields=fields),
        *config(tree).sources,
        SourceConfig(name="rows", address=f"{tmp_path}/b.parquet", kind="web"),
    )
    orders = []
    for tasks in (1, 4):
        bench.run = tmp_path / f"run-{tasks}"
        given = IngestConfig(sources=sources, max_document_bytes=1_000, tasks=tasks)
        sealed = bench.make(STAGE, given)
        rejects = list(read_rows([sealed.file("rejects.parquet")]))
        documents = list(read_rows(sealed.files("documents/*.parquet")))
        orders.append(([d["doc_id"] for d in documents], rejects))
        ledger = sealed.ledger
        assert ledger.unit == "records"
        assert ledger.rows_in == len(documents) + len(rejects)
        assert ledger.dropped == {"empty": 3}
        assert {"bad_json": 1, "no_text": 1, "truncated": 1}.items() <= ledger.failed.items()
        assert sealed.facts["files_by_source"] == {"lines": 1, "tree": 10, "rows": 1}
    assert orders[0] == orders[1]
    assert len(set(orders[0][0])) == len(orders[0][0]) > 300


def test_a_mistake_in_the_mapping_is_found_in_the_plan(tmp_path):
    pq.write_table(pa.table({"text": ["one"]}), tmp_path / "b.parquet")
    source = SourceConfig(name="rows", address=str(tmp_path), kind="web", fields={"text": "body"})
    with pytest.raises(InputError, match="has no column 'body'"):
        STAGE.hash_inputs(Sections({IngestConfig: IngestConfig(sources=(source,))}))


def dataset(root, front_matter, line_end="\n"):
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / "data" / "train.jsonl").write_text('{"text": "a text"}\n')
    lines = ("---", front_matter, "---", "")
    (root / "README.md").write_bytes(line_end.join(lines).encode())
    return SourceConfig(name="set", address=str(root), kind="web")


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_another_licence_in_the_readme_is_new_work(tmp_path, line_end):
    hashes = []
    for licence in ("mit", "apache-2.0"):
        listed = list_source(dataset(tmp_path, f"license: {licence}", line_end))
        assert listed.dataset_licence == licence
        hashes.append(list(stamps(listed)))
    assert hashes[0] != hashes[1]


def test_a_dataset_whose_readme_names_no_file_that_is_there_says_so(tmp_path):
    with pytest.raises(InputError, match=r"is one of \['other/\*'\], which its README names"):
        list_source(dataset(tmp_path, "configs: [{config_name: default, data_files: other/*}]"))


def test_an_address_that_no_file_can_have_is_one_line():
    source = SourceConfig(name="long", address="x" * 300, kind="web")
    with pytest.raises(InputError, match="is not a directory or a file"):
        list_source(source)
