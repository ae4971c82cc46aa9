"""label.also: what files name is labelled on top of the draw; what cannot be is told."""

import csv
import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import Bench, Sections, document
from pipeline.errors import InputError
from pipeline.label import STAGE, LabelConfig
from pipeline.named_documents import read_named
from pipeline.records import read_rows
from pipeline.splits import ValidationConfig, in_validation

HELD_OUT = ValidationConfig(share=0.3)
ROWS = [document(f"A piece of prose with the number {i}.", f"{i // 2}/{i}.md") for i in range(60)]
HELD = [row["doc_id"] for row in ROWS if in_validation(row["group"], 7, HELD_OUT)]
FREE = [row["doc_id"] for row in ROWS if row["doc_id"] not in HELD]


def put(path, ids):
    """A file of ids beside another column, in the format of its suffix."""
    rows = [{"doc_id": i, "url": "a, b"} for i in ids]
    if path.suffix == ".parquet":
        schema = pa.schema([("doc_id", pa.string()), ("url", pa.string())])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            table = csv.DictWriter(file, ["url", "doc_id"], delimiter=";")
            table.writeheader()
            table.writerows(rows)
    return path


def labelled_with(folder, *also, held_out=HELD_OUT):
    bench = Bench(folder / "run")
    bench.put_documents(2, "clean", ROWS)
    config = LabelConfig(sample_size=20, again_share=None, also=list(also))
    sealed = bench.make(STAGE, config, held_out)
    return {row["doc_id"] for row in read_rows([sealed.file("labels.parquet")])}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """What is drawn where nothing is named."""
    return labelled_with(tmp_path_factory.mktemp("plain"))


def test_named_documents_come_on_top_but_never_those_held_out(tmp_path, drawn, caplog):
    named = [i for i in FREE if i not in drawn][:7]
    files = [put(tmp_path / "a.parquet", [*named[:4], HELD[0], sorted(drawn)[0]]),
             put(tmp_path / "b.csv", [*named[4:], named[0], "gone"])]  # fmt: skip
    with caplog.at_level(logging.WARNING, "primer"):
        assert labelled_with(tmp_path, *files) == drawn | set(named)
    (said,) = [r.getMessage() for r in caplog.records if "label.also" in r.getMessage()]
    assert "of 10 documents" in said
    assert "1 are not in the corpus and 1 are in groups held out" in said


def test_a_sample_without_rows_changes_nothing(tmp_path, drawn):
    assert labelled_with(tmp_path, put(tmp_path / "a.parquet", [])) == drawn


def test_none_of_them_in_the_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"none of the 2 documents .* 'other:1' for one; take"):
        labelled_with(tmp_path, put(tmp_path / "a.jsonl", ["other:1", "other:2"]))


def test_what_the_files_hold_is_in_the_fingerprint(tmp_path):
    path = put(tmp_path / "a.parquet", FREE[:2])
    recipe = Sections({LabelConfig: LabelConfig(also=[path])})
    before = STAGE.hash_inputs(recipe)
    put(path, FREE[:3])
    assert STAGE.hash_inputs(recipe) != before
    path.unlink()
    with pytest.raises(InputError, match=r"there is no file .*a\.parquet"):
        STAGE.hash_inputs(recipe)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_every_format_gives_the_same_ids(tmp_path, suffix):
    ids = ["0123", "é", "a.md:7"]
    assert read_named([put(tmp_path / f"a{suffix}", ids)], tmp_path / "run") == set(ids)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"id\n1\n", "no column doc_id"),
        ("a.csv", b"doc_id,b\n,1\n", "row 1: there is no doc_id"),
        ("a.jsonl", b'{"doc_id": "1"}\n{"id": "2"}\n', "row 2: there is no doc_id"),
        ("a.jsonl", b"nonsense\n", "cannot be read"),
        ("a.jsonl", b'{"doc_id": "\xff"}\n', "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.xlsx", b"", "none of .parquet, .csv, .jsonl"),
        ("run/05/a.csv", b"doc_id\n1\n", "copy it"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, name, content, said):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_named([path], tmp_path / "run")
    assert said in str(refused.value)
    assert path.name in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
