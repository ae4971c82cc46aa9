"""How an endpoint is found out: what it takes, what it heeds, where it stands, and what JSON is."""

import json
from contextlib import closing, suppress

import orjson
import pytest
from choosy_server import ALL, choosy_server
from faulty_server import KEY
from hypothesis import given, settings
from hypothesis import strategies as st
from labelling_child import question
from test_teacher import A_COIN_A_TOKEN, LABEL, ask

from pipeline.answers import Answers
from pipeline.dialect import Dialect
from pipeline.errors import InputError, StoppedError
from pipeline.question import parse_strictly
from pipeline.teacher import Teacher
from pipeline.transport import _retry_after

MODE = frozenset({"json_object", "text"})
TEXT = frozenset({"text"})
FIELDS = frozenset({"max_tokens", "temperature", "system"})


@pytest.fixture
def server():
    with choosy_server() as listening:
        yield listening


@pytest.fixture
def store(tmp_path):
    return tmp_path / "answers.sqlite"


def dialect_at(store, server):
    """What is remembered of the server."""
    with closing(Answers(store)) as answers:
        return Teacher(
            "label", server.config(structured_output="auto"), server.base_url, answers
        )._dialect


def ask_it(server, store, count=3, **fields):
    """The server's own way is found first."""
    asked = [question(f"document {i}") for i in range(count)]
    given = {"structured_output": "auto", "prices": A_COIN_A_TOKEN, "max_retries": 1, **fields}
    return ask(server, store, asked, **given)


@pytest.mark.parametrize(
    ("tastes", "found", "probes"),
    [
        ({}, Dialect("json_schema"), 1),
        ({"takes": ALL - {"json_schema"}}, Dialect("json_object_schema"), 2),
        ({"takes": MODE}, Dialect("json_object"), 3),
        ({"takes": MODE, "refusal": 500}, Dialect("json_object"), 5),
        ({"takes": TEXT, "style": "fence"}, Dialect("text"), 4),
        ({"takes": TEXT, "style": "thought", "refusal": 422}, Dialect("text"), 4),
        ({"heeds": ALL - {"json_schema"}}, Dialect("json_object_schema"), 2),
        ({"heeds": MODE}, Dialect("json_object"), 3),
        ({"heeds": MODE, "takes": ALL - {"json_schema"}}, Dialect("json_object"), 3),
        ({"heeds": frozenset()}, Dialect("json_object"), 3),
        ({"is_weak": True}, Dialect("json_schema"), 4),
        ({"is_weak": True, "takes": MODE}, Dialect("json_object"), 4),
        (
            {"refused_fields": {"max_tokens"}},
            Dialect("json_schema", limit_field="max_completion_tokens"), 2,
        ),
        ({"refused_fields": {"temperature"}}, Dialect("json_schema", takes_temperature=False), 2),
        ({"refused_fields": {"system"}}, Dialect("json_schema", takes_system=False), 2),
        (
            {"refused_fields": FIELDS, "takes": TEXT, "style": "fence"},
            Dialect("text", "max_completion_tokens", False, False), 7,
        ),
        ({"takes": TEXT, "repeats_the_request": True}, Dialect("text"), 4),
    ],
)  # fmt: skip
def test_what_it_takes_is_found_once_and_remembered(server, store, tastes, found, probes):
    vars(server).update(tastes)
    answers, spend = ask_it(server, store)
    assert dialect_at(store, server) == found
    used = 2 if server.is_weak else 1  # who is weak is asked to repair
    assert server.requests == probes + 3 * used
    if not server.is_weak:
        assert [a.content for a in answers] == [LABEL] * 3
    assert spend.cost == sum(server.billed_tokens)
    again, spent_again = ask_it(server, store)
    assert (server.requests, again) == (probes + 3 * used, answers)
    assert (spent_again.cost, spent_again.cached_calls) == (spend.cost, spend.calls)
    ask_it(server, store, 4)
    assert server.requests == probes + 4 * used


def test_another_model_is_found_out_anew(server, store):
    server.models.add("teacher-2")
    ask_it(server, store)
    ask_it(server, store, model="teacher-2")
    assert server.requests == 2 * (1 + 3)


def test_who_refuses_everything_is_told_of_in_its_words_and_nothing_is_remembered(server, store):
    server.takes = frozenset()
    with pytest.raises(InputError, match=r"however it is asked .*not available") as caught:
        ask_it(server, store)
    assert KEY not in str(caught.value)
    assert dialect_at(store, server) is None
    server.takes = ALL
    ask_it(server, store)
    assert dialect_at(store, server) == Dialect("json_schema")


@pytest.mark.parametrize("fault", ["broken", "overloaded", "reset", "malformed"])
def test_who_is_ill_when_it_is_found_out_is_not_taken_for_a_simple_one(server, store, fault):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "enter", lambda _: fault)
        with pytest.raises(StoppedError):
            ask_it(server, store, patience_seconds=0.3, max_retries=0)
    assert dialect_at(store, server) is None
    ask_it(server, store)
    assert dialect_at(store, server) == Dialect("json_schema")


def test_who_recovers_while_it_is_found_out_is_asked_as_strictly_as_ever(server, store):
    faults, enter = iter(["broken"] * 4 + ["overloaded"]), server.enter
    server.enter = lambda messages: next(faults, None) or enter(messages)
    answers, _ = ask_it(server, store, max_retries=0)
    assert [a.content for a in answers] == [LABEL] * 3
    assert dialect_at(store, server) == Dialect("json_schema")


def test_what_was_found_out_counts_against_the_cap_of_every_process(server, store):
    server.heeds = TEXT
    ask_it(server, store, 0)
    probes = sum(server.billed_tokens)
    assert probes > 0
    with suppress(StoppedError):
        ask_it(server, store, 9, max_cost=probes + 900)
    assert sum(server.billed_tokens) <= probes + 900


@pytest.mark.parametrize(
    ("prefix", "given"),
    [("/v1", ""), ("/v1", "/"), ("/v1", "/v1"), ("/v1", "/v1/"), ("/api/v1", "/api"),
     ("/api/v1", "/api/"), ("/api/v1", "/api/v1"), ("/openai", "/openai"),
     ("/v1beta/openai", "/v1beta/openai/"), ("/v4", "/v4"), ("/api/paas/v4", "/api/paas/v4/")],
)  # fmt: skip
def test_it_is_found_with_and_without_its_version(server, store, prefix, given):
    server.prefix = prefix
    answers, _ = ask_it(server.at(given), store)
    assert [a.content for a in answers] == [LABEL] * 3


@pytest.mark.parametrize("given", ["", "/", "/v1"])
@pytest.mark.parametrize("status", [404, 405, 401, 500])
def test_it_is_found_without_a_list_of_models(server, store, given, status):
    server.models_status = status
    answers, _ = ask_it(server.at(given), store)
    assert [a.content for a in answers] == [LABEL] * 3


@pytest.mark.parametrize("status", [401, 503])
def test_an_address_that_could_not_be_seen_is_looked_at_again(server, store, status):
    server.at("/api").prefix, server.models_status = "/api/v1", status
    ask_it(server, store)
    server.prefix, server.models_status = "/api", 200
    answers, _ = ask_it(server, store, 4)
    assert [a.content for a in answers] == [LABEL] * 4


WORDS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | WORDS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner),
    max_leaves=8,
)  # fmt: skip
OBJECTS = st.dictionaries(WORDS, VALUES)


@settings(max_examples=50)
@given(OBJECTS, st.booleans(), st.booleans(), WORDS, WORDS)
def test_json_counts_bare_in_a_fence_and_after_a_thought(
    said, ascii_only, indented, thought, prose
):
    text = json.dumps(said, ensure_ascii=ascii_only, indent=2 if indented else None)
    thought, prose = thought.replace("</think>", ""), prose.replace("`", "")
    for answer in (
        text, f"\n{text}\n", f"```json\n{text}\n```", f"```\n{text}\n``` ",
        f"{prose}\n```json\n{text}\n```\n{prose}", f"<think>{thought}</think>{text}",
        f"\n<think>\n{thought}\n</think>\n\n```json\n{text}\n```",
    ):  # fmt: skip
        assert parse_strictly(answer) == said


@settings(max_examples=50)
@given(OBJECTS, WORDS.filter(lambda words: words.strip(" \t\n\r")))
def test_json_in_the_middle_of_words_does_not_count(said, words):
    text = json.dumps(said)
    for answer in (
        f"Sure: {text}", f"{text} Is that right?", f"`{text}`", text[:-1], text + text,
        f"```json\n{text}", f"```json\n{text}\n```\n```json\n{text}\n```",
        f"<think>{words} {text}", f"x{words}{text}", f"{text}{words}x",
    ):  # fmt: skip
        with pytest.raises(orjson.JSONDecodeError):
            parse_strictly(answer)


@given(st.text(max_size=30))
def test_whatever_it_says_of_coming_again_is_a_wait_of_an_hour_at_most_or_nothing(told):
    seconds = _retry_after({"Retry-After": told})
    assert seconds is None or 0 <= seconds <= 3_600


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("2", 2), ("0.5", 0.5), ("-1", 0), ("nan", 0), ("inf", 3_600), ("1e400", 3_600), ("", None),
     ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
     ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600), (f"Wed, 21 Oct {10**20} 07:28:00 GMT", None)],
)  # fmt: skip
def test_a_number_or_a_date_is_a_wait(told, seconds):
    assert _retry_after({"Retry-After": told}) == seconds
