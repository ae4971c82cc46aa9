"""The review queue: who comes first, who may decide, and what is written down for good."""

import json
import multiprocessing
import os

import pytest
from catalog_corpus import copy_planted
from catalog_server import TOKEN, XSS, client, form_token, sign_in

from catalog.parquet_reader import open_reader
from catalog.review_journal import decide, read_decisions, standing
from catalog.review_queue import find_disputed
from catalog.runs_index import RunsIndex
from catalog.sample_files import corpus_of
from pipeline.errors import StageError
from pipeline.human_labels import read_human_labels
from pipeline.verify import verify_run

OURS = {"origin": "http://localhost"}
ROOT = "/runs/planted/review"
FORM = {"doc_id": "kept00", "human_score": "4", "annotator": "Ada", "note": "It explains well."}


@pytest.fixture
def run(tmp_path):
    return copy_planted(tmp_path)


def send(browser, form=FORM, **changes):
    data = {"csrf": form_token(browser, "/login"), **form, **changes}  # a session has one token
    return browser.post(ROOT, data=data, headers=OURS)


def test_the_most_disputed_comes_first_then_what_the_filter_doubts(run):
    corpus = corpus_of(RunsIndex(run.parent).get("planted"))
    with open_reader("label", corpus.every_file) as reader:
        queue = find_disputed(reader, corpus, set())
        rest = find_disputed(reader, corpus, {"kept00"})
    # readings 4 and 1 points apart, one without a score; then the test split's 4 against 0.625
    assert [(item.doc_id, item.why) for item in queue] == [
        ("kept00", "readings"), ("hostile", "readings"), ("kept02", "readings"), ("low0", "filter"),
    ]  # fmt: skip
    assert queue[-1].apart == 3.375
    assert [item.doc_id for item in rest] == ["hostile", "kept02", "low0"]


def test_a_decision_is_written_leaves_the_queue_and_can_be_withdrawn(run):
    browser = client(run.parent)
    assert "4 disputed, 0 decided" in browser.get(ROOT).text
    answer = send(browser)
    assert answer.status_code == 303
    page = browser.get(answer.headers["location"]).text
    assert "3 disputed, 1 decided" in page
    assert 'value="Ada"' in page
    labels = run / "reviews/human_labels.jsonl"
    read = read_human_labels(labels)
    assert (read["kept00"].score, read["kept00"].annotator) == (4, "Ada")
    assert read["kept00"].note == "It explains well."
    assert "4 of 5</strong> by Ada" in browser.get("/runs/planted/samples/kept00").text
    assert send(browser, action="withdraw", note="A slip.").status_code == 303
    assert read_human_labels(labels) == {}
    assert "4 disputed, 0 decided" in browser.get(ROOT).text
    assert send(browser, human_score="2", annotator=XSS).status_code == 303
    assert read_human_labels(labels)["kept00"].score == 2
    assert "<script>alert" not in browser.get(ROOT).text
    lines = [
        json.loads(line) for line in (run / "reviews/decisions.jsonl").read_text().splitlines()
    ]
    assert [line["human_score"] for line in lines] == [4, None, 2]
    assert {line["rubric"] for line in lines} == {"educational-prose@1#0"}
    assert not [problem for problem in verify_run(run) if "needs" not in problem]


def test_a_form_sent_twice_is_one_decision_and_another_person_does_not_overrule(run):
    browser = client(run.parent)
    assert send(browser).status_code == send(browser).status_code == 303
    assert len(read_decisions(run)) == 1
    assert send(browser, annotator="Bob", human_score="0").status_code == 409
    assert standing(run)["kept00"].annotator == "Ada"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"human_score": "6"}, 400),
        ({"human_score": ""}, 400),
        ({"human_score": "4.5"}, 400),
        ({"annotator": " \u200b\x00"}, 400),
        ({"note": ""}, 400),
        ({"note": "x" * 1_001}, 400),
        ({"doc_id": "nobody"}, 404),
        ({"doc_id": "' OR 1=1 --"}, 404),
        ({"doc_id": "kept05"}, 404),  # never labelled
        ({"action": "withdraw"}, 409),
        ({"csrf": "forged"}, 403),
    ],
)
def test_what_is_no_decision_is_refused_and_leaves_nothing(run, changes, status):
    browser = client(run.parent)
    assert send(browser, **changes).status_code == status
    assert read_decisions(run) == []


def test_only_with_the_token_and_from_our_own_page(run):
    browser = client(run.parent, token=TOKEN)
    assert '<form class="judge"' not in browser.get(ROOT).text
    assert browser.post(ROOT, data=FORM, headers=OURS).status_code == 401
    sign_in(browser)
    assert browser.post(ROOT, data=FORM, headers=OURS).status_code == 403
    token = form_token(browser, ROOT)
    forged = {"origin": "https://evil.example"}
    assert browser.post(ROOT, data={"csrf": token, **FORM}, headers=forged).status_code == 403
    assert not (run / "reviews").exists()
    assert send(browser).status_code == 303


def test_of_two_who_decide_at_once_one_does(run):
    decide(run, "a", 1, "Ada", "why", None)
    with pytest.raises(StageError, match="Ada has decided about a already"):
        decide(run, "a", 2, "Bob", "why", None)
    decide(run, "a", None, "Bob", "a slip", None)
    decide(run, "a", None, "Bob", "a slip", None)  # the form sent twice
    with pytest.raises(StageError, match="nothing stands about a"):
        decide(run, "a", None, "Ada", "a slip", None)
    decide(run, "a", 2, "Bob", "why", None)
    assert [one.human_score for one in read_decisions(run)] == [1, None, 2]


def test_a_form_sent_again_writes_the_labels_that_a_crash_left_out(run):
    labels = run / "reviews/human_labels.jsonl"
    decide(run, "a", 1, "Ada", "why", None)
    labels.unlink()
    decide(run, "a", 1, "Ada", "why", None)
    assert read_human_labels(labels)["a"].score == 1
    assert len(read_decisions(run)) == 1


def test_half_a_line_is_no_decision_and_harms_no_other(run):
    decide(run, "a", 1, "Ada", "why", None)
    journal = run / "reviews/decisions.jsonl"
    with journal.open("a") as file:
        file.write('{"at": "2026-01-01T00:00:00+00:00", "doc_id": "b"')  # and the machine died
    assert set(standing(run)) == {"a"}
    decide(run, "c", 2, "Ada", "why", None)
    assert set(standing(run)) == {"a", "c"}
    assert set(read_human_labels(run / "reviews/human_labels.jsonl")) == {"a", "c"}


def test_a_damaged_line_is_named(run):
    decide(run, "a", 1, "Ada", "why", None)
    with (run / "reviews/decisions.jsonl").open("a") as file:
        file.write('{"doc_id": "b"}\n')
    with pytest.raises(StageError, match="line 2"):
        read_decisions(run)
    answer = client(run.parent).get(ROOT)
    assert answer.status_code == 409
    assert "planted/reviews/decisions.jsonl, line 2, is damaged" in answer.text
    assert str(run.parent) not in answer.text


def _decide_many(run, name):
    for number in range(10):
        decide(run, f"{name}{number}", number % 6, name, "why", None)


@pytest.mark.long
def test_many_writers_lose_nothing(run):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_decide_many, args=(run, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    assert len(read_decisions(run)) == 20
    assert len(read_human_labels(run / "reviews/human_labels.jsonl")) == 20
    assert sorted(os.listdir(run / "reviews")) == [".lock", "decisions.jsonl", "human_labels.jsonl"]
