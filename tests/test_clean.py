"""Stage 2 on real and made documents: what goes, what is redacted, and that it all adds up."""

import json
import random
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pytest

from conftest import SHARED_DATA, document
from pipeline.clean import STAGE, CleanConfig
from pipeline.clean_examples import ExampleConfig, Examples, merge_examples
from pipeline.clean_rules import Verdict
from pipeline.clean_shard import split, with_sizes
from pipeline.copies import CopiesConfig
from pipeline.errors import InputError, StageError
from pipeline.pii import PiiConfig
from pipeline.prose_rules import ProseRules, Rule
from pipeline.records import DOCUMENT, read_rows
from pipeline.splits import place_of

PROSE = (
    "The heap is a tree that is kept in a list, and the smallest item is the first. To take it "
    "away we move the last item to the top and let it sink, which costs a number of steps that "
    "grows with the height of the tree and not with the number of items that it holds. "
)
LETTER = (
    "Whoever has found a mistake in this book is asked to write to ada.byron@engine.org, and to "
    "name the page and the edition. The answers that come in are read once a week, and those that "
    "are right go into the list at the end, with the name of the reader who was the first to see "
    "what nobody else had seen in all the years before. "
)
KEY = "AKIA" + "Q3EGWZ7PLM2NXR5T"


def code(seed: int) -> str:
    names = random.Random(seed).choices([f"name_{i}" for i in range(500)], k=60)
    return "".join(f"{name} = compute({i}, '{name}')\n" for i, name in enumerate(names))


def small_corpus():
    near = code(2).replace("compute(7,", "compute(8,")
    return [
        document(code(1), "a.py"),
        document(code(1), "b.py"),
        document(code(2), "c.py"),
        document(near, "d.py"),
        document(code(3), "e.py"),
        document(PROSE, "heap.md"),
        document("too short", "short.md"),
        document(LETTER, "letter.md"),
        document(f"key = connect({KEY})\n" + code(4), "secret.py"),
    ]


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory):
    from conftest import Bench

    bench = Bench(tmp_path_factory.mktemp("cleaned"))
    bench.put_documents(1, "ingest", small_corpus())
    return bench.make(STAGE, CleanConfig(workers=1))


def dropped(sealed):
    return {row["doc_id"]: row for row in read_rows([sealed.file("dropped.parquet")])}


def kept(sealed):
    return list(read_rows(sealed.files("documents/*.parquet")))


def test_copies_are_dropped_with_the_id_of_the_first(cleaned):
    rows, gone = small_corpus(), dropped(cleaned)
    assert cleaned.ledger.check("clean").dropped == {
        "exact_copy": 1, "near_copy": 1, "secret": 1, "too_few_words": 1,
    }  # fmt: skip
    assert gone[rows[1]["doc_id"]]["evidence"] == f"of {rows[0]['doc_id']}"
    assert rows[2]["doc_id"] in gone[rows[3]["doc_id"]]["evidence"]
    copies = list(read_rows([cleaned.file("copies.parquet")]))
    assert [c["doc_id"] for c in copies] == [rows[1]["doc_id"], rows[3]["doc_id"]]
    assert [c["kind"] for c in copies] == ["exact", "near"]


def test_text_without_personal_data_is_not_edited(cleaned):
    before = {row["doc_id"]: row["text"] for row in small_corpus()}
    for row in kept(cleaned):
        if row["url_or_path"] != "letter.md":
            assert row["text"] == before[row["doc_id"]]


def test_what_is_personal_is_redacted_and_counted_and_a_secret_stands_nowhere(cleaned):
    (row,) = [row for row in kept(cleaned) if row["url_or_path"] == "letter.md"]
    assert "ada.byron" not in row["text"]
    assert json.loads(row["metadata"])["redacted"] == {"email": 1}
    assert cleaned.facts["redacted"] == {"email": 1}  # what was dropped is not redacted
    for path in cleaned.path.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes()


def test_what_is_known_of_a_document_is_kept_with_it(cleaned):
    heap = next(row for row in kept(cleaned) if row["url_or_path"] == "heap.md")
    assert heap["language"] == "en"
    assert json.loads(heap["metadata"])["language_score"] > 0.8
    assert next(r for r in kept(cleaned) if r["url_or_path"] == "a.py")["language"] == "python"


def test_the_waterfall_adds_up_and_has_every_reason(cleaned):
    table = json.loads(cleaned.file("waterfall.json").read_text())
    taken = Counter()
    for row in table:
        taken[row["rule"]] += row["rows_dropped"]
        for unit in ("rows", "bytes", "tokens"):
            assert row[f"{unit}_in"] - row[f"{unit}_dropped"] == row[f"{unit}_out"] >= 0
    assert +taken == cleaned.ledger.dropped
    ends = {row["kind"]: row for row in table}
    for kind in ("web", "code"):
        texts = [row["text"].encode() for row in kept(cleaned) if row["kind"] == kind]
        assert ends[kind]["rows_out"] == len(texts)
        assert ends[kind]["bytes_out"] == sum(map(len, texts))


def test_examples_of_every_rule_can_be_read_but_no_secret(cleaned):
    examples = list(read_rows([cleaned.file("examples.parquet")]))
    assert {e["reason"] for e in examples} == set(cleaned.ledger.dropped)
    page = cleaned.file("examples.md").read_text()
    assert "## too_few_words" in page
    assert "too short" in page
    assert next(e for e in examples if e["reason"] == "secret")["text"] == ""


def test_examples_are_the_least_by_a_hash_however_they_are_dealt(tmp_path):
    rows = [document(f"text {i} by ada.byron@engine.org", f"{i}.md") for i in range(30)]
    batch = with_sizes(pa.RecordBatch.from_pylist(rows, schema=DOCUMENT))

    def drawn(cuts):
        for i, (begin, end) in enumerate(pairwise((0, *cuts, 30))):
            part = batch.slice(begin, end - begin)
            _, gone, out = split(part, [Verdict("rule", "1")] * len(part))
            examples = Examples(ExampleConfig(7, 3, PiiConfig()))
            examples.add(out, gone)
            examples.write(tmp_path / f"{len(cuts)}" / f"{i}.parquet")
        return list(merge_examples(sorted((tmp_path / f"{len(cuts)}").iterdir()), 3))

    whole = drawn(())
    assert whole == drawn((10, 11))
    least = sorted(rows, key=lambda row: place_of(row["doc_id"], 7, "example"))[:3]
    assert [e["doc_id"] for e in whole] == [row["doc_id"] for row in least]
    assert all("<EMAIL>" in e["text"] for e in whole)


def test_two_workers_and_other_shards_make_the_same_documents(bench, tmp_path):
    rows = [document(code(i % 30), f"{i}.py") for i in range(40)]
    bench.put_documents(1, "ingest", rows)
    one = bench.make(STAGE, CleanConfig(workers=1))
    bench.run = tmp_path / "other"
    two = bench.make(STAGE, CleanConfig(workers=2))
    assert one.manifest.outputs_sha256 == two.manifest.outputs_sha256
    assert len(kept(one)) == 30


def test_of_copies_the_one_of_the_highest_score_is_kept_where_asked(bench):
    rows = [document(code(1), f"{i}.py", metadata=json.dumps({"stars": stars}))
            for i, stars in enumerate((3, 90, None, 7))]  # fmt: skip
    bench.put_documents(1, "ingest", rows)
    copies = CopiesConfig(survivor="highest_score", score_field="stars")
    (left,) = kept(bench.make(STAGE, CleanConfig(copies=copies, workers=1)))
    assert left["doc_id"] == rows[1]["doc_id"]


def test_nothing_left_is_an_error_and_not_an_empty_success(bench):
    bench.put_documents(1, "ingest", [document("x = 1\n")])
    with pytest.raises(StageError, match="clean: all 1 documents were dropped; loosen"):
        bench.make(STAGE, CleanConfig(workers=1))


def test_too_little_memory_is_refused_before_any_work(bench):
    bench.put_documents(1, "ingest", small_corpus())
    with pytest.raises(InputError, match=r"memory_mib is 300, .* needs"):
        bench.make(STAGE, CleanConfig(copies=CopiesConfig(memory_mib=300), workers=1))


def test_a_rule_of_the_recipe_takes_the_place_of_the_presets(bench):
    lenient = ProseRules(rules=(Rule(name="too_few_words", measure="words"),))
    bench.put_documents(1, "ingest", [document(PROSE[:150], "a.md"), document(PROSE, "b.md")])
    assert len(kept(bench.make(STAGE, CleanConfig(prose=lenient, workers=1)))) == 2


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the shared data is absent")
def test_real_documents_are_all_accounted_for(bench):
    import gzip

    rows = []
    with gzip.open(SHARED_DATA / "web" / "prose.jsonl.gz", "rt", encoding="utf-8") as lines:
        for i, line in enumerate(lines):
            if i % 8 == 0:
                rows.append(document(json.loads(line)["text"], f"{i}.md"))
    bench.put_documents(1, "ingest", rows)
    sealed = bench.make(STAGE, CleanConfig(workers=2))
    ids = {row["doc_id"] for row in kept(sealed)}
    assert ids | set(dropped(sealed)) == {row["doc_id"] for row in rows}
    assert not ids & set(dropped(sealed))
    assert 0.6 < len(ids) / len(rows) < 0.95
