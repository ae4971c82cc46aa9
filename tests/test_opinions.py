"""Several annotators of one sample, people who overrule them, and a second round of labels."""

import json
from collections import Counter

import pytest
from faulty_server import faulty_server
from test_label import ALL_FREE, HELD_OUT, SIZE, documents, put, rows_of

from conftest import document
from pipeline.answers import Answers
from pipeline.errors import InputError
from pipeline.label import STAGE, LabelConfig
from pipeline.opinions import AGAIN
from pipeline.records import read_rows


@pytest.fixture
def server():
    with faulty_server() as listening:
        yield listening


def test_annotators_read_their_shares_and_agree_as_far_as_they_do(bench, server, tmp_path):
    put(bench, documents())
    config = LabelConfig(
        sample_size=SIZE,
        again_share=0.5,
        annotators=[
            {"name": "the same rules", "share": 0.6, "rubrics": {"code": "phi1-value"}},
            {"name": "always 3", "share": 1, "teacher": server.config().model_dump()},
        ],
    )
    sealed = bench.make(STAGE, config, HELD_OUT)
    opinions = list(read_rows([sealed.file("opinions.parquet")]))
    first = rows_of(sealed)[0]["annotator"]
    read = Counter(row["annotator"] for row in opinions)
    assert read[first] == read["always 3"] == SIZE
    assert 0 < read["the same rules"] < SIZE
    assert 0 < read[first + AGAIN] < SIZE
    assert {r["score"] for r in opinions if r["annotator"] == "always 3"} == {3}
    report = json.loads(sealed.file("agreement.json").read_text())
    kappa = {tuple(pair["annotators"]): pair["kappa"] for pair in report["pairs"]}
    assert kappa[first, "the same rules"] == 1
    assert kappa[first, "always 3"] == 0
    assert report["alpha"]["n"] == SIZE
    # the money of both teachers is on one bill, and the same request twice is paid once
    prose = [r for r in opinions if r["annotator"] == "the same rules" and "prose" in r["rubric"]]
    assert sealed.manifest.spend.calls == len(opinions) - len(prose)
    queue = [json.loads(line) for line in sealed.file("review.jsonl").read_text().splitlines()]
    gaps = [row["disagreement"] for row in queue]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] >= 2
    text_of = {row["doc_id"]: row["text"] for row in documents()}
    assert all(row["excerpt"] == text_of[row["doc_id"]][:2_000] for row in queue)
    assert sealed.facts["review"] == len(queue) == sum(row["score"] != 3 for row in rows_of(sealed))


def test_a_person_overrules_the_teacher_and_nothing_is_paid_again(bench, server, tmp_path):
    rows = [document(f"x = {i}", f"{i}/a.py") for i in range(40)]
    rows.append(document("x = 1  # fault:refusal", "b/a.py"))
    put(bench, rows)
    small = LabelConfig(sample_size=20, again_share=None)
    before = bench.make(STAGE, small, server.config(), ALL_FREE)
    asked = server.requests
    drawn = {row["doc_id"] for row in rows_of(before)}
    (outside, *_) = [row["doc_id"] for row in rows[:-1] if row["doc_id"] not in drawn]
    said = {min(drawn - {rows[-1]["doc_id"]}): 5, outside: 1, rows[-1]["doc_id"]: 0, "unknown": 2}
    path = tmp_path / "people.csv"
    lines = [f"{doc_id},{score},Ada" for doc_id, score in said.items()]
    path.write_text("\n".join(["doc_id,human_score,annotator", *lines]))
    after = bench.make(
        STAGE, small.model_copy(update={"human_labels": path}), server.config(), ALL_FREE
    )
    found = {row["doc_id"]: row for row in rows_of(after)}
    for doc_id in set(said) - {"unknown"}:
        label = found[doc_id]
        assert (label["score"], label["annotator"]) == (said[doc_id], "human: Ada")
        assert label["unlabelled_reason"] is None
    assert after.facts["human_labels"] == 3
    assert after.facts["human_labels_unused"] == 1
    assert after.ledger.kept == len(found)
    assert server.requests - asked == len(found.keys() - drawn)
    pairs = json.loads(after.file("agreement.json").read_text())["pairs"]
    assert [pair["annotators"] for pair in pairs] == [["teacher-1", "human"]]
    assert pairs[0]["n"] == 2  # the teacher refused the third


def test_the_median_of_three_can_be_the_label(bench, server):
    put(bench, documents())
    teacher = server.config().model_dump()
    config = LabelConfig(
        sample_size=SIZE, again_share=None, combine="median",
        annotators=[{"name": f"always 3, {i}", "share": 1, "teacher": teacher} for i in (1, 2)],
    )  # fmt: skip
    assert {row["score"] for row in rows_of(bench.make(STAGE, config, HELD_OUT))} == {3}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"rubrics": {"code": "educational-prose"}}, "for 'web', and documents are 'code'"),
        ({"rubrics": {"web": "educational-prise"}}, "did you mean 'educational-prose'"),
        ({"human_labels": "nowhere.csv"}, "there is no file nowhere.csv"),
        (
            {"annotators": [{"name": "x", "teacher": {"prices": {"currency": "EUR"}}}]},
            "'x' has prices in EUR, and the teacher in USD; give all prices in one currency",
        ),
        ({"annotators": [{"name": "x"}, {"name": "x"}]}, "'x' of an annotator is taken"),
        ({"annotators": [{"name": "human"}]}, "'human' of an annotator is taken"),
        ({"annotators": [{"name": "x, again"}]}, "'x, again' of an annotator is taken"),
        ({"annotators": [{"name": "x", "rubrics": {"code": "nowhere.md"}}]}, "nowhere.md"),
    ],
)
def test_what_a_recipe_gets_wrong_is_told_in_one_line(bench, config, words):
    put(bench, documents())
    with pytest.raises(InputError, match=words) as caught:
        bench.make(STAGE, LabelConfig(sample_size=SIZE, **config), HELD_OUT)
    assert "\n" not in str(caught.value)
    asked = Answers(bench.run / "answers.sqlite")
    assert asked.is_empty()  # it is told before anything is asked
    asked.close()


def test_a_second_round_is_chosen_among_what_is_trained_on(bench):
    put(bench, documents())
    config = LabelConfig(sample_size=34, active={"trees": 10, "share": 0.3}, again_share=None)
    sealed = bench.make(STAGE, config, HELD_OUT)
    rows = rows_of(sealed)
    first = bench.make(STAGE, LabelConfig(sample_size=24, again_share=None), HELD_OUT)
    chosen = [r for r in rows if r["doc_id"] not in {row["doc_id"] for row in rows_of(first)}]
    assert sealed.facts["actively_drawn"] == len(chosen) == len(rows) - 24 == 10
    assert {row["split"] for row in chosen} == {"train"}
    assert {row["split"] for row in rows_of(first)} == {"train", "test"}
    assert first.manifest.spend.cached_calls == 24
