"""The teacher's client against a real server that errs."""

import socket
import traceback
from contextlib import closing

import pytest
from faulty_server import BODY, CHOICE, KEY, STATUS, faulty_server

from pipeline.answers import Answers
from pipeline.dialect import Dialect
from pipeline.errors import InputError, StoppedError
from pipeline.question import Question, most_tokens
from pipeline.rubrics import SCHEMA, SCHEMA_NAME
from pipeline.teacher import Teacher
from pipeline.teacher_config import PriceTable

A_COIN_A_TOKEN = PriceTable(input_per_million=1e6, output_per_million=1e6)  # whole numbers: exact
LABEL = {"justification": "It explains.", "score": 3}

# What stays wrong however often it is asked: the problem, and the requests before it is told.
LASTING = {
    "prose": ("unparsable", 2), "deep": ("unparsable", 2), "half_a_letter": ("unparsable", 2),
    "broken_letter": ("unparsable", 2), "wrong_schema": ("wrong_schema", 2), "blank": ("empty", 2),
    "nothing": ("empty", 2), "no_choices": ("empty", 2), "cut_off": ("cut_off", 1),
    "refusal": ("refused", 1), "filtered": ("refused", 1),
    "bad_request": ("refused_by_server_400", 1), "rate_limited": ("rate_limited", 9),
    "told_nonsense": ("rate_limited", 9), "broken": ("server_error", 3),
    "overloaded": ("server_error", 9), "reset": ("connection_lost", 3),
    "malformed": ("malformed_response", 3), "no_completion": ("malformed_response", 3),
    "endless_usage": ("wrong_schema", 2),
}  # fmt: skip
# What a second request mends: all that is worth a second one.
PASSING = [*(fault for fault, (_, requests) in LASTING.items() if requests > 1), "told_to_wait"]


def question(text, key=None, **fields):
    messages = ({"role": "system", "content": "Judge."}, {"role": "user", "content": text})
    return Question(key or text, messages, SCHEMA_NAME, SCHEMA, max_tokens=100, **fields)


def questions(count):
    return [question(f"document {i:03}") for i in range(count)]


def ask(server, path, asked, **fields):
    """(the answers, what they cost), by a teacher of its own over the answers stored at `path`."""
    with closing(Answers(path)) as answers:
        teacher = Teacher("label", server.config(**fields), server.base_url, answers)
        return teacher.ask(asked, lambda *_, **__: None), teacher.spend


@pytest.fixture
def server():
    with faulty_server() as listening:
        yield listening


@pytest.fixture
def store(tmp_path):
    return tmp_path / "answers.sqlite"


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory):
    """All faults at once, among faultless questions: (answers by text, server, store)."""
    path = tmp_path_factory.mktemp("faults") / "answers.sqlite"
    faulty = [f"fault:{fault}" for fault in PASSING] + [f"fault:{fault}*99" for fault in LASTING]
    asked = [*questions(20), *map(question, faulty)]
    with faulty_server() as server:
        answers, _ = ask(server, path, asked, max_concurrency=64)
    assert [a.key for a in answers] == [q.key for q in asked]
    return {a.key: a for a in answers}, server, path


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_costs_one_more_request(fault, aftermath):
    answers, server, _ = aftermath
    answer = answers[f"fault:{fault}"]
    assert (answer.content, answer.problem) == (LABEL, None)
    assert len(server.arrivals[f"fault:{fault}"]) == 2


@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_is_told_and_never_becomes_content(fault, aftermath):
    answers, server, _ = aftermath
    answer, (problem, requests) = answers[f"fault:{fault}*99"], LASTING[fault]
    assert (answer.content, answer.problem) == (None, problem)
    assert len(server.arrivals[f"fault:{fault}*99"]) == requests


def test_no_fault_touches_another_question(aftermath):
    answers, server, _ = aftermath
    plain = [a for text, a in answers.items() if text.startswith("document")]
    assert [a.content for a in plain] == [LABEL] * 20
    lasting = sum(requests for _, requests in LASTING.values())
    assert server.requests == 20 + 2 * len(PASSING) + lasting
    assert {*PASSING, *LASTING, "float"} == {"reset", *STATUS, *CHOICE, *BODY}


def test_as_many_are_in_flight_as_may_be(server, store):
    ask(server, store, [question(f"{i} fault:slow") for i in range(9)], max_concurrency=3)
    assert server.most_at_once == 3


def test_it_waits_before_it_asks_again_and_as_long_as_it_is_told(aftermath):
    _, server, _ = aftermath
    waited = {text: times[1] - times[0] for text, times in server.arrivals.items() if times[1:]}
    assert waited["fault:told_to_wait"] >= 1
    for fault in ("rate_limited", "told_nonsense", "broken", "overloaded", "reset"):
        assert waited[f"fault:{fault}"] >= 0.25


def test_what_was_answered_is_never_sent_again(aftermath, tmp_path):
    answers, _, path = aftermath
    told = [question(text) for text, answer in answers.items() if answer.finish_reason]
    with faulty_server() as other:
        again, cost = ask(other, path, told)
        assert other.requests == 0
    assert again == [answers[q.key] for q in told]
    assert cost.calls == cost.cached_calls > 40


def test_silence_and_a_trickle_end_at_the_timeout(server, store):
    asked = [question(f"fault:{fault}") for fault in ("hang", "trickle")]
    asked += [question("fault:hang*9"), *questions(3)]
    answers, _ = ask(server, store, asked, timeout_seconds=1, max_retries=1)
    assert [a.problem for a in answers] == [None, None, "timed_out", None, None, None]
    assert server.requests == len(asked) + 3


def test_the_same_request_twice_is_asked_once(server, store):
    asked = [question("same", str(i)) for i in range(5)]
    asked += [question("fault:prose*9", name) for name in ("odd", "even")]
    answers, spend = ask(server, store, asked)
    assert [a.key for a in answers] == ["0", "1", "2", "3", "4", "odd", "even"]
    assert [a.problem for a in answers] == [None] * 5 + ["unparsable"] * 2
    assert server.requests == spend.calls == 3
    assert [spend.prompt_tokens, spend.completion_tokens] == server.billed_tokens


@pytest.mark.parametrize(
    ("fields", "config", "sent"),
    [
        ({}, {}, 0),
        ({}, {"max_concurrency": 1, "max_retries": 9, "timeout_seconds": 9, "max_cost": 9}, 0),
        ({}, {"prices": A_COIN_A_TOKEN}, 0),
        ({"key": "another name for it"}, {}, 0),
        ({"temperature": 0.5}, {}, 1),
        ({"seed": 5}, {}, 1),
        ({"text": "a document!"}, {}, 1),
        ({}, {"model": "teacher-2"}, 1),
    ],
)
def test_only_what_is_sent_decides_whether_to_send(server, store, fields, config, sent):
    server.models.add("teacher-2")
    ask(server, store, [question("a document")])
    again = question(**{"text": "a document", **fields})
    _, spend = ask(server, store, [again], **config)
    assert server.requests == 1 + sent
    assert spend.cached_calls == 1 - sent


@pytest.mark.parametrize(
    ("key", "config", "words", "sent"),
    [
        ("sk-a-wrong-one", {}, "refuses the key.*'A_KEY'", {1, 2}),
        (KEY, {"model": "teacher-9"}, "does not know 'teacher-9'", {1, 2}),
        (KEY, {"key_variable": "NO_SUCH_KEY"}, "'NO_SUCH_KEY'.*is not set", {0}),
    ],
)
def test_what_the_user_got_wrong_is_named_at_once(
    server, store, monkeypatch, key, config, words, sent
):
    monkeypatch.setenv("A_KEY", key)
    with pytest.raises(InputError, match=words) as caught:
        ask(server, store, questions(20), max_concurrency=2, **config)
    assert caught.value.exit_code == 2
    assert server.turned_away in sent
    assert "sk-" not in "".join(traceback.format_exception(caught.value))


def test_where_nothing_listens_the_address_is_told(server, store):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    with pytest.raises(StoppedError, match=f"{server.base_url} is down.*unreachable") as caught:
        ask(server, store, questions(20), max_retries=1, patience_seconds=0.5)
    assert caught.value.exit_code == 3
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("fault", "at_once"),
    [("", 4), ("", 32), ("fault:reset", 32), ("fault:malformed", 32), ("fault:prose", 32)],
)
def test_the_cap_is_never_passed_and_nothing_is_paid_twice(server, store, fault, at_once):
    asked = [question(f"document {i:02} {fault}") for i in range(40)]
    most = sum(most_tokens(asked[0], Dialect().render(asked[0], "teacher-1")))
    cap = 3.5 * most
    money = {"prices": A_COIN_A_TOKEN, "max_concurrency": at_once}
    with pytest.raises(StoppedError, match=f"the cap of {cap} USD is reached") as caught:
        ask(server, store, asked, max_cost=cap, **money)
    assert caught.value.exit_code == 3
    billed = sum(server.billed_tokens)
    assert 0 < billed <= cap
    answers, spend = ask(server, store, asked, max_cost=1e9, **money)
    assert [a.content for a in answers] == [LABEL] * 40
    assert server.requests == len(asked) * (2 if fault else 1)
    if fault in ("", "fault:prose"):  # nothing was lost, so the bill is what the answers cost
        assert billed > cap - 2 * most  # what is in flight is waited for, and leaves room
        assert spend.cost == sum(server.billed_tokens)


def test_the_key_is_in_no_answer_and_not_on_the_disk(aftermath):
    answers, _, path = aftermath
    assert not any(KEY in str(answer) for answer in answers.values())
    files = list(path.parent.iterdir())
    assert path in files
    assert not any(KEY.encode() in file.read_bytes() for file in files)
