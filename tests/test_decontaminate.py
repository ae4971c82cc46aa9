"""Stage 7: what shares a benchmark's words is found however it is dressed, and nothing else is."""

import csv
import gzip
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SHARED_DATA, document
from pipeline.benchmark_items import BenchmarkConfig, read_items
from pipeline.decontaminate import ARMS, STAGE, DecontaminateConfig, make_index
from pipeline.errors import InputError, StageError
from pipeline.records import DOCUMENT, read_rows, write_table

CONFIG = DecontaminateConfig()
ITEM = " ".join(f"term{i}" for i in range(20))  # a long item: 20 words, 8 runs of 13
QUESTION = "How many eggs does the grey goose lay on a working day in winter or in spring?"
BENCHMARKS = SHARED_DATA / "benchmarks"

WORD = st.text("abcdefgxyzABCéßñжя名7", min_size=1, max_size=6)
WORDS = st.lists(WORD, min_size=13, max_size=13)
SEPARATOR = st.sampled_from([" ", "  \n", ", ", "! ", "\t—\t", "_ ", " **", "' (", "...", "\u2028"])
PROSE = st.lists(st.text("uvw .\n", max_size=12), max_size=8).map(" ".join)


def words_of(text):
    """Another reading than the stage's: fold, then let only letters and digits stand."""
    return "".join(c if c.isalnum() else " " for c in text.casefold()).split()


def find(items, text, config=CONFIG):
    return make_index([("b", str(i), item) for i, item in enumerate(items)], config).find(text)


def dress(words, data):
    """The words in a case of their own, with punctuation of all sorts between them."""
    cases = (str, str.upper, str.title, str.swapcase)
    shown = [data.draw(st.sampled_from(cases))(word) for word in words]
    return "".join(word + data.draw(SEPARATOR) for word in shown)


@given(WORDS, st.lists(WORD, max_size=5), PROSE, PROSE, st.data())
@settings(deadline=None)
def test_thirteen_words_are_found_wherever_and_however_they_stand(words, rest, before, after, data):
    item = " ".join([*rest, *words])
    text = f"{before} {dress(words, data)} {after}"
    benchmark, name, evidence = find([item], text)
    assert (benchmark, name) == ("b", "0")
    assert len(evidence.split()) == 13
    assert f" {evidence} " in f" {' '.join(words_of(item))} "
    assert f" {evidence} " in f" {' '.join(words_of(text))} "


@given(st.integers(0, 7), st.integers(1, 12), PROSE)
def test_twelve_words_of_a_long_item_are_no_hit(start, shared, around):
    words = ITEM.split()[start : start + 13]
    part = " ".join(words[:shared])
    assert find([ITEM], f"{around} {part} {around}") is None
    assert find([ITEM], f"{around} {' '.join(words)} {around}") is not None


def test_thirteen_words_that_are_no_run_are_no_hit():
    words = ITEM.split()
    assert find([ITEM], " ".join([*words[:12], "between", *words[12:]])) is None
    assert find([ITEM], " ".join(reversed(words))) is None


@pytest.mark.parametrize("count", range(8, 13))
def test_a_short_item_is_found_whole_and_only_whole(count):
    words = ITEM.split()[:count]
    assert find([" ".join(words)], f"So, {'-'.join(words)}?") == ("b", "0", " ".join(words))
    assert find([" ".join(words)], " ".join(words[1:])) is None
    assert find([" ".join(words)], " ".join(words[:-1])) is None


def test_items_below_eight_words_are_not_searched_for():
    item = " ".join(ITEM.split()[:7])
    assert find([item], ITEM) is None
    assert find([item], ITEM, CONFIG.model_copy(update={"min_item_words": 5})) is not None


def test_a_run_that_two_items_share_is_told_of_the_first_and_other_lengths_are_kept():
    long, short = (" ".join(ITEM.split()[:n]) for n in (13, 9))
    assert find([long, ITEM], ITEM)[1] == "0"
    assert find([long, short], short + " and no more")[1] == "1"
    assert find([long, short], "x " + long)[2] == short  # at one place the shorter run first


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
        item = (QUESTION, ITEM)[int(hit["item"].split(":")[0])]
        assert hit["evidence"] in " ".join(words_of(row["text"]))
        assert hit["evidence"] in " ".join(words_of(item))
    arms = {a: list(read_rows(sealed.files(f"arms/{a}/*.parquet"))) for a in ARMS}
    assert not any(row["doc_id"] in hits for rows in arms.values() for row in rows)
    assert sorted(r["url_or_path"] for r in arms["raw"]) == [f"{i}.md" for i in range(6)]
    assert [arms[arm] for arm in ARMS[1:]] == [[clean[0]], [clean[0], good]]
    assert (sealed.ledger.rows_in, sealed.ledger.dropped) == (10, {"contaminated": 3})
    assert sealed.facts["hits"] == {"small": 3}
    (told,) = json.loads(sealed.file("benchmarks.json").read_text())
    assert (told["texts"], told["documents_removed"]) == (2, 3)


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
    assert sealed.facts["documents_by_arm"] == {"raw": 2, "kept": 1, "kept+synthetic": 1}
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
        ("a.csv", "id,prompt\n1,x,more\n", r"its fields are \['None', 'id', 'prompt'\]"),
        ("a.csv", "question\n" + "x" * 200_000, "cannot be read.*field larger"),
    ],
)
def test_a_benchmark_that_cannot_be_used_is_one_line_with_the_cure(
    bench, tmp_path, name, content, problem
):
    put(bench, [document("Plain.")])
    with pytest.raises(InputError, match="(?s)decontaminate: benchmark 'small': .*" + problem):
        bench.make(STAGE, config(benchmark(tmp_path, content, name)))


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
    forms["bom.jsonl"] = b"\xef\xbb\xbf" + lines.encode()
    for name, content in forms.items():
        found = read_items(benchmark(tmp_path, content, name))
        assert found == [(f"{i}:question", text) for i, text in enumerate(texts)], name


REAL = {
    "HumanEval.jsonl.gz": "prompt", "mbpp.jsonl.gz": "text", "mmlu_redux.jsonl.gz": "question",
    "TruthfulQA.csv.gz": "Question", "gsm8k_test.jsonl.gz": "question",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_benchmarks_planted_into_prose_are_found(name):
    if not (BENCHMARKS / name).exists():
        pytest.skip(f"{BENCHMARKS / name} is absent: the shared test data is not beside us")
    real = BenchmarkConfig(name="real", path=str(BENCHMARKS / name), fields=(REAL[name],))
    items = read_items(real)
    index = make_index([("real", *item) for item in items], CONFIG)
    long_enough = [item for item in items if len(words_of(item[1])) >= CONFIG.min_item_words]
    assert len(long_enough) > 100
    for _, text in long_enough[::7]:
        dressed = re.sub(r"\s+", "\n\n> ", text.upper())
        assert index.find(f"Once upon a time.\n\n> {dressed}\n\nThe end.") is not None
    assert (
        index.find("Once upon a time there was a queen who sat at a window, and it snowed.") is None
    )
