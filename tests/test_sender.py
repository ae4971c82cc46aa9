"""One run of a teacher as a whole: what is counted, what is given up, what stops it, and when."""

import time
from contextlib import closing

import faulty_server
import pytest
from crowded_server import crowded_server
from labelling_child import question
from test_teacher import A_COIN_A_TOKEN, LABEL, ask

from pipeline.answers import Answers
from pipeline.errors import InputError, StoppedError
from pipeline.teacher import Teacher


@pytest.fixture
def server(monkeypatch):
    more = {"told_to_wait_long": (429, {"Retry-After": "30"}), "unpaid": (402, {})}
    monkeypatch.setattr(faulty_server, "STATUS", faulty_server.STATUS | more)
    with crowded_server() as listening:
        listening.seconds = 0.01
        yield listening


@pytest.fixture
def store(tmp_path):
    return tmp_path / "answers.sqlite"


def fetched(server, store, batches, **fields):
    """By how much the bar moved for each batch of texts, asked by one teacher after another."""
    moved = []
    with closing(Answers(store)) as answers:
        teacher = Teacher("label", server.config(**fields), server.base_url, answers)
        for texts in batches:
            moves = []
            asked = [question(text, str(i)) for i, text in enumerate(texts)]
            teacher.fetch(asked, lambda n=1, note="", moves=moves: moves.append(n))
            assert [a.key for a in teacher.answers_to(asked)] == [q.key for q in asked]
            moved.append(sum(moves))
    return moved


def test_the_bar_ends_at_the_total_whatever_became_of_the_questions(server, store):
    bad = [f"fault:{fault}*99" for fault in ("bad_request", "prose", "refusal", "broken")]
    once = [f"fault:{fault}" for fault in ("prose", "reset", "rate_limited")]
    texts = [*bad, *once, *(f"document {i}" for i in range(150)), *once, *bad, "document 3", *bad]
    assert fetched(server, store, [texts, texts, bad, texts[:9]], max_retries=1) == [
        len(texts), len(texts), len(bad), 9
    ]  # fmt: skip
    again = fetched(server, store, [texts, once], max_retries=1)
    assert again == [len(texts), len(once)]


@pytest.mark.parametrize("fault", ["prose", "bad_request"])
def test_the_same_question_far_apart_is_neither_asked_nor_repaired_twice(server, store, fault):
    real = server.enter

    def enter(messages):
        time.sleep(0.4 * (len(messages) > 2))  # a repair is in flight when its question comes again
        return real(messages)

    server.enter = enter
    texts = [f"fault:{fault}*99" if i % 70 == 0 else f"document {i}" for i in range(150)]
    fetched(server, store, [texts], max_concurrency=8)
    assert server.requests == 147 + (2 if fault == "prose" else 1)


def test_a_document_that_alone_fails_is_given_up_and_the_run_ends(server, store):
    texts = [f"document {i}" for i in range(3)]
    ask(server, store, list(map(question, texts)))
    last = [question("fault:broken*99"), question("fault:malformed*99")]
    asked = [*map(question, texts), *last]
    money = {"prices": A_COIN_A_TOKEN, "max_cost": 1e5}
    answers, spend = ask(server, store, asked, max_retries=1, patience_seconds=0.5, **money)
    assert [a.problem for a in answers] == [None] * 3 + ["server_error", "malformed_response"]
    assert sum(server.billed_tokens) <= spend.cost + spend.lost_cost_at_most


@pytest.mark.parametrize("fault", ["broken", "malformed", "reset"])
def test_where_nothing_is_answered_the_run_stops_and_nothing_is_given_up(server, store, fault):
    real, server.enter = server.enter, lambda messages: (real(messages), fault)[1]
    with pytest.raises(StoppedError, match=r"is down: nothing has succeeded for 0\.5 s"):
        ask(server, store, [question(f"document {i}") for i in range(8)], patience_seconds=0.5)
    server.enter = real
    answers, _ = ask(server, store, [question(f"document {i}") for i in range(8)])
    assert [a.content for a in answers] == [LABEL] * 8


def test_who_works_longer_than_patience_lasts_and_turns_others_away_is_not_down(server, store):
    server.at_once, server.seconds = 1, 0.5
    asked = [question(f"document {i}") for i in range(5)]
    answers, _ = ask(server, store, asked, patience_seconds=0.2, max_concurrency=8)
    assert [a.content for a in answers] == [LABEL] * 5


def test_what_stops_a_run_is_told_at_once_though_others_were_told_to_wait(server, store):
    real = server.enter

    def enter(messages):
        fault = real(messages)
        time.sleep(0.3 * ("unpaid" in str(messages)))  # after the others were told
        return "unpaid" if "unpaid" in str(messages) else fault

    server.enter = enter
    began = time.monotonic()
    asked = [question(f"{i} fault:told_to_wait_long") for i in range(2)] + [question("unpaid")]
    asked += [question(f"document {i}") for i in range(40)]
    with pytest.raises(StoppedError, match="is empty"):
        ask(server, store, asked, max_concurrency=3)
    assert time.monotonic() - began < 5


def test_who_makes_the_questions_may_fail_and_what_was_asked_is_kept(server, store):
    class Questions:
        def __iter__(self):
            yield from (question(f"document {i}") for i in range(100))
            raise OSError("the documents cannot be read")

    with closing(Answers(store)) as answers:
        teacher = Teacher("label", server.config(max_concurrency=4), server.base_url, answers)
        with pytest.raises(OSError, match="cannot be read"):
            teacher.fetch(Questions(), lambda *_, **__: None)
    sent = server.requests
    assert sent > 50
    _, spend = ask(server, store, [question(f"document {i}") for i in range(100)])
    assert (server.requests, spend.cached_calls) == (100, sent)


def test_nobody_waits_for_ever_where_money_and_places_are_both_short(server, store):
    faults = ["", "fault:reset*9", "fault:malformed*2", "fault:rate_limited", "fault:prose"]
    asked = [question(f"{i} {faults[i % 5]}") for i in range(60)]
    for cap in (1_000, 3_000, 9_000):
        money = {"prices": A_COIN_A_TOKEN, "max_cost": cap, "max_concurrency": 8}
        with pytest.raises(StoppedError, match="the cap of"):
            ask(server, store, asked, max_retries=1, **money)
        assert sum(server.billed_tokens) <= cap


def test_a_key_with_a_line_end_is_told_of_in_one_line(server, store, monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-with-an-end\r\n")
    with pytest.raises(InputError, match="'A_KEY' holds more than a key") as caught:
        ask(server, store, [question("document")])
    assert "sk-" not in str(caught.value)
