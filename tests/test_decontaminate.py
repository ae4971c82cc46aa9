"""Stage 7: what leaks is taken out with its evidence, plants are found, files judged."""

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import document
from pipeline.arms import ARMS
from pipeline.benchmark_items import BenchmarkConfig, read_items
from pipeline.decontaminate import STAGE, DecontaminateConfig
from pipeline.errors import InputError, StageError
from pipeline.leak_folding import fold_words
from pipeline.leak_mappings import ItemFields
from pipeline.leak_plants import DRESSES, PlantedConfig
from pipeline.records import DOCUMENT, read_rows, write_table

ITEM = " ".join(f"term{i}" for i in range(20))  # a long item: 20 words, 8 runs of 13
QUESTION = "How many eggs does the grey goose lay on a working day in winter or in spring?"


def put(bench, clean, kept=(), textbooks=()):
    def tables(name, rows):
        return lambda out: write_table(out / name / "00000.parquet", rows, DOCUMENT)

    bench.put(2, "clean", lambda out: [  # in two files, as shards give them
        write_table(out / "documents" / f"0000{i}.parquet", clean[i::2], DOCUMENT) for i in (0, 1)
    ])  # fmt: skip
    bench.put(5, "apply-filter", tables("kept", list(kept)))
    bench.put(6, "synthesize", lambda out: [
        tables("textbooks", list(textbooks))(out), tables("exercises", [])(out),
    ])  # fmt: skip


def benchmark(tmp_path, content, name="items.jsonl", fields=("question",)):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return BenchmarkConfig(name="small", path=str(path), fields=fields)


def config(*benchmarks, **fields):
    return DecontaminateConfig(benchmarks=benchmarks, workers=1, **fields)


def test_no_arm_holds_a_hit_and_every_hit_has_its_evidence(bench, tmp_path):
    clean = [document(f"Nothing here is from a test, page {i}.", f"{i}.md") for i in range(6)]
    leaked = [document(f"Quiz! {QUESTION.upper()}", "quiz.md"), document(ITEM, "list.md")]
    lesson = document(f"A lesson asks: _{QUESTION}_", "lesson", origin="synthetic")
    good = document("A lesson of its own words.", "lesson-2", origin="synthetic")
    put(bench, [*clean, *leaked], [clean[0], leaked[0]], [lesson, good])
    rows = "\n".join(json.dumps({"question": text}) for text in (QUESTION, ITEM))
    sealed = bench.make(STAGE, config(benchmark(tmp_path, rows)))
    hits = {hit["doc_id"]: hit for hit in read_rows([sealed.file("hits.parquet")])}
    assert set(hits) == {row["doc_id"] for row in (*leaked, lesson)}
    for row in (*leaked, lesson):
        hit = hits[row["doc_id"]]
        item = (QUESTION, ITEM)[int(hit["item"])]
        assert hit["evidence"] in " ".join(fold_words(row["text"]))
        assert hit["evidence"] in " ".join(fold_words(hit["document_text"]))
        assert hit["evidence"] in " ".join(fold_words(item))
        assert (hit["item_text"], hit["kind"], hit["score"]) == (item, "whole", 1)
    arms = {a: list(read_rows(sealed.files(f"arms/{a}/*.parquet"))) for a in ARMS}
    assert not any(row["doc_id"] in hits for rows in arms.values() for row in rows)
    assert sorted(r["url_or_path"] for r in arms["raw"]) == [f"{i}.md" for i in range(6)]
    assert [arms[arm] for arm in ARMS[1:3]] == [[clean[0]], [clean[0], good]]
    assert [row in arms["raw"] for row in arms["random"]] == [True]  # as many words as kept
    assert (sealed.ledger.rows_in, sealed.ledger.dropped) == (10, {"contaminated": 3})
    assert sealed.facts["hits"] == {"small": 3}
    (told,) = json.loads(sealed.file("benchmarks.json").read_text())
    assert (told["texts"], told["documents_removed"]) == (2, 3)
    assert (told["items"], told["items_leaked"], told["items_leaked_share"]) == (2, 2, 1)
    assert json.loads(sealed.file("planted.json").read_text()) is None


def test_planted_documents_are_found_counted_and_taken_out(bench, tmp_path):
    planted = [document(f"Page {i}. {QUESTION}", f"{i}.md", source="planted") for i in range(3)]
    put(bench, [*planted, document("Plain.")])
    leak = benchmark(tmp_path, json.dumps({"question": QUESTION}))
    sealed = bench.make(STAGE, config(leak, planted_sources=("planted",)))
    assert (sealed.facts["planted"], sealed.facts["planted_found"]) == (3, 3)
    assert (sealed.facts["planted_recall"], sealed.facts["documents_by_arm"]["raw"]) == (1, 1)


def test_a_planted_document_that_is_not_found_fails_the_stage_by_name(bench, tmp_path):
    missed = document("A paraphrase of the item.", "p.md", source="planted")
    put(bench, [missed, document(QUESTION, "q.md", source="planted")])
    leak = benchmark(tmp_path, json.dumps({"question": QUESTION}))
    with pytest.raises(StageError, match=f"1 of 2 planted documents.*{missed['doc_id']}; lower"):
        bench.make(STAGE, config(leak, planted_sources=("planted",)))


def test_a_planted_source_that_never_came_fails_the_stage(bench):
    put(bench, [document("Plain.")])
    with pytest.raises(StageError, match=r"no document of the planted sources \['planted'\]"):
        bench.make(STAGE, config(planted_sources=("planted",)))


def test_with_no_benchmark_the_arms_are_whole_and_nothing_is_said_to_be_found(bench):
    put(bench, [document("Plain."), document("Other.")], [document("Plain.")])
    sealed = bench.make(STAGE, config())
    assert sealed.facts["documents_by_arm"] == {
        "raw": 2,
        "kept": 1,
        "kept+synthetic": 1,
        "random": 1,
    }
    assert sealed.facts["planted_recall"] is None
    assert json.loads(sealed.file("benchmarks.json").read_text()) == []


def test_a_changed_benchmark_is_new_work(bench, tmp_path):
    put(bench, [document("Plain.")])
    leak = benchmark(tmp_path, json.dumps({"question": QUESTION}))
    first = bench.make(STAGE, config(leak)).manifest.fingerprint
    benchmark(tmp_path, json.dumps({"question": ITEM}))
    assert bench.make(STAGE, config(leak)).manifest.fingerprint != first


PACKED = bytearray(gzip.compress(json.dumps({"question": QUESTION}).encode(), mtime=0))
PACKED[20] ^= 255  # in the middle of what is deflated


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.jsonl", "\n\n", r"has 0 rows.*; give a file with rows"),
        ("a.jsonl", '{"prompt": "x"}', r"nothing in the fields.*; its fields are \['prompt'\]"),
        ("a.jsonl", '{"question": ""}', r"1 rows and nothing.*; its fields are \['question'\]"),
        ("a.jsonl", '{"question": "x"', r"cannot be read.*; correct decontaminate\.benchmarks"),
        ("a.jsonl", '["question"]', r"a row is no JSON object"),
        ("a.jsonl", b'{"question": "\xff"}', "cannot be read"),
        ("a.jsonl.gz", "not packed", "cannot be read"),
        ("a.jsonl.gz", bytes(PACKED[:30]), "cannot be read"),
        ("a.jsonl.gz", bytes(PACKED), "cannot be read"),
        ("a.parquet", "PAR1", "cannot be read"),
        ("a.csv", "id,prompt\n1,x,more\n", r"its fields are \['None', 'id', 'prompt'\]"),
        ("a.jsonl", '{"question": ' + "[" * 100_000, r"cannot be read"),
        ("a.jsonl.gz", b"", "0 rows.*; give a file with rows"),
        ("a.csv", "", "0 rows.*; give a file with rows"),
        ("a.csv", "question\n" + "x" * 200_000, "cannot be read.*field larger"),
    ],
)
def test_a_benchmark_that_cannot_be_used_is_one_line_with_the_cure(
    bench, tmp_path, name, content, problem
):
    put(bench, [document("Plain.")])
    with pytest.raises(InputError, match="(?s)decontaminate: benchmark 'small': .*" + problem):
        bench.make(STAGE, config(benchmark(tmp_path, content, name)))


def test_a_field_that_no_row_has_is_told_though_another_one_is_there(tmp_path):
    rows = '{"question": "x"}\n{"question": "y", "id": 1}'
    given = benchmark(tmp_path, rows, fields=("question", "anwser"))
    with pytest.raises(InputError, match=r"in the fields \['anwser'\]; .* \['id', 'question'\]"):
        read_items(given)
    mapped = given.model_copy(update={"fields": (), "mapping": "arc"})
    with pytest.raises(InputError, match=r"in the fields \['choices', 'gold'\]"):
        read_items(mapped)
    assert len(read_items(benchmark(tmp_path, rows, fields=("question", "id")))) == 2


def test_a_benchmark_of_programs_alone_is_one(tmp_path):
    given = BenchmarkConfig(
        name="b", path=str(tmp_path / "a.jsonl"), mapping=ItemFields(code="solution")
    )
    (tmp_path / "a.jsonl").write_text(json.dumps({"solution": "def f(x):\n    return x"}))
    (item,) = read_items(given)
    assert item.code.startswith("def f")


def test_half_a_pair_of_escapes_in_an_item_does_no_harm(bench, tmp_path):
    put(bench, [document(QUESTION)])
    leak = benchmark(tmp_path, f'{{"question": "\\ud83d {QUESTION} \\uDC00"}}')
    sealed = bench.make(STAGE, config(leak))
    (hit,) = read_rows([sealed.file("hits.parquet")])
    assert hit["item_text"].endswith("in spring? ?")


def test_two_benchmarks_of_one_name_are_refused(tmp_path):
    same = benchmark(tmp_path, "{}")
    with pytest.raises(ValueError, match="two benchmarks have the name 'small'"):
        config(same, same)


def test_a_missing_benchmark_is_told_before_any_work(bench):
    put(bench, [document("Plain.")])
    gone = BenchmarkConfig(name="gone", path="/nowhere/gone.jsonl", fields=("q",))
    with pytest.raises(InputError, match=r"'gone': there is no file.*; correct decontaminate"):
        bench.make(STAGE, config(gone))
    assert not bench.run.exists()


def test_every_form_of_file_gives_the_same_items(tmp_path):
    texts = [QUESTION, 'It says "so, so"\nand\u2028more\x85', "é 名"]
    lines = "\r\n".join(json.dumps({"question": t}, ensure_ascii=False) for t in texts)
    with (tmp_path / "a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["question"], *[[t] for t in texts]])
    table = (tmp_path / "a.csv").read_bytes()
    forms = {"a.jsonl": lines.encode(), "b.csv": table}
    forms |= {f"{name}.gz": gzip.compress(content) for name, content in forms.items()}
    pq.write_table(pa.table({"question": texts}), tmp_path / "c.parquet")
    forms["c.parquet"] = (tmp_path / "c.parquet").read_bytes()
    forms["bom.jsonl"] = b"\xef\xbb\xbf" + lines.encode()
    for name, content in forms.items():
        found = read_items(benchmark(tmp_path, content, name))
        assert [item.name for item in found] == ["0", "1", "2"], name
        assert [item.alone for item in found] == [(("question", text),) for text in texts], name


def test_the_recall_is_measured_where_the_recipe_asks_for_it(bench, tmp_path):
    pages = [document(f"Page {i}.\n" + "It rained.\n" * 20, f"{i}.md") for i in range(3)]
    put(bench, pages)
    rows = "\n".join(json.dumps({"question": text}) for text in (QUESTION, ITEM, "Too short."))
    planted = PlantedConfig(min_page_chars=100)
    sealed = bench.make(STAGE, config(benchmark(tmp_path, rows), planted=planted))
    told = json.loads(sealed.file("planted.json").read_text())
    rows = {row["dress"]: row for row in told["by_dress"]}
    assert set(rows) == {*DRESSES, "embedded"}
    for row in rows.values():  # what is too short is not searched for, and counts as missed
        assert (row["planted"], row["searched"], row["found"]) == (3, 2, 2)
        assert 0 < row["low"] < row["recall"] == 2 / 3 < row["high"] < 1
    assert told["pages"] == 3
    assert sealed.facts["recall_by_dress"] == dict.fromkeys(rows, 2 / 3)
    assert sealed.ledger.dropped == {"contaminated": 0}


def test_shards_and_workers_change_nothing(bench, tmp_path):
    texts = [f"Page {i}. {QUESTION if i % 3 == 0 else 'Plain.'}" for i in range(12)]
    put(bench, [document(text, f"{i}.md") for i, text in enumerate(texts)])
    leak = benchmark(tmp_path, json.dumps({"question": QUESTION}))
    found = []
    for workers in (1, 2):
        given = config(leak, planted_sources=()).model_copy(update={"workers": workers})
        sealed = bench.make(STAGE, given)
        found.append(sorted(row["doc_id"] for row in read_rows([sealed.file("hits.parquet")])))
    assert found[0] == found[1]
    assert len(found[0]) == 4
