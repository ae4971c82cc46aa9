"""Money: the cap that is never passed, whatever happens, and what a killed process may have spent.

A coin a token throughout, so that all sums are exact.
"""

import asyncio
import json
import shutil
import signal
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from faulty_server import completion, faulty_server
from hypothesis import given, settings
from hypothesis import strategies as st
from labelling_child import question, started_child
from test_teacher import A_COIN_A_TOKEN, LABEL, ask

from pipeline.answers import Answers
from pipeline.completion import LostError, Usage, read_completion
from pipeline.dialect import Dialect
from pipeline.errors import StoppedError
from pipeline.purse import CapReachedError, Purse
from pipeline.question import most_tokens
from pipeline.teacher_config import TeacherConfig


def most_of(text):
    """The most that a question can cost."""
    asked = question(text)
    return sum(most_tokens(asked, Dialect().render(asked, "teacher-1")))


def noted(path):
    """What the purse has on the disk: (in flight, lost)."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT value FROM notes WHERE name LIKE 'purse of %'").fetchall()
    notes = [json.loads(value) for (value,) in rows]
    return sum(n["in_flight"] for n in notes), sum(n["lost"] for n in notes)


class Books:
    """A purse, and beside it what a server may have billed at most."""

    def __init__(self, folder, cap):
        self.folder, self.cap, self.processes = Path(folder), cap, 0
        self.landed, self.gone = 0, 0  # billed and stored; perhaps billed
        self.in_flight, self.tasks = {}, []
        self.begin()

    def begin(self):
        """A new process, which uses all that was answered before."""
        config = TeacherConfig(prices=A_COIN_A_TOKEN, max_cost=self.cap)
        self.answers = Answers(self.folder / str(self.processes) / "answers.sqlite")
        self.purse = Purse("label", config, self.answers)
        self.names = self.answers._reader.execute("SELECT request FROM answers").fetchall()
        for (name,) in self.names:
            tokens = self.answers.get(name)["tokens"]
            self.purse.pay(name, Usage(0, tokens, 0, False), (0, 0), cached=True)

    async def request(self, most, outcome):
        name, purse, answers, in_flight = uuid4().hex, self.purse, self.answers, self.in_flight
        try:
            async with purse.reserved(most):
                in_flight[name] = most, outcome
                try:
                    what, tokens = await outcome
                finally:
                    del in_flight[name]
                if what == "lose":
                    self.gone += most
                    raise LostError
                if what == "land":
                    self.landed += tokens
                    answers.put_all([(name, {"tokens": tokens})])
                    for cached in (False, True):  # counted once, however often it is used
                        purse.pay(name, Usage(0, tokens, 0, False), (0, 0), cached)
        except CapReachedError:
            assert not in_flight
            assert most > self.cap - self.landed - purse.lost
        except LostError:
            pass

    async def kill(self):
        """What is on the disk at this moment is all that the next process has."""
        old, self.processes = self.folder / str(self.processes), self.processes + 1
        shutil.copytree(old, self.folder / str(self.processes))
        self.gone += sum(most for most, _ in self.in_flight.values())
        gone = self.gone
        await self.end()
        self.gone, self.in_flight, self.tasks = gone, {}, []
        self.begin()

    async def end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.answers.close()

    def check(self):
        out, purse = sum(most for most, _ in self.in_flight.values()), self.purse
        assert self.landed + self.gone + out <= self.cap
        assert not out or purse.spend.cost + purse.lost + out <= self.cap
        assert purse.spend.cost == self.landed
        assert purse.spend.lost_cost_at_most == purse.lost >= self.gone
        assert purse.in_flight == out <= noted(self.answers_path())[0]

    def answers_path(self):
        return self.folder / str(self.processes) / "answers.sqlite"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 60),
    st.lists(
        st.tuples(
            st.sampled_from(["send", "send", "land", "lose", "turn away", "cancel", "kill"]),
            st.integers(0, 20),
        ),
        max_size=30,
    ),
)
def test_never_is_paid_and_lost_and_in_flight_above_the_cap(cap, steps):
    async def story(folder):
        books = Books(folder, cap)
        for step, number in steps:
            if step == "send":
                outcome = asyncio.get_running_loop().create_future()
                books.tasks.append(asyncio.create_task(books.request(number, outcome)))
            elif step == "kill":
                await books.kill()
            elif step == "cancel" and books.tasks:
                task = books.tasks[number % len(books.tasks)]
                before = set(books.in_flight)
                task.cancel()
                held = dict(books.in_flight)
                await asyncio.sleep(0)
                books.gone += sum(held[n][0] for n in before - set(books.in_flight))
            elif books.in_flight:
                most, outcome = list(books.in_flight.values())[number % len(books.in_flight)]
                if not outcome.done():
                    outcome.set_result((step, min(number, most)))
            for _ in range(3):
                await asyncio.sleep(0)
            books.check()
        while books.in_flight:  # everyone who waits gets their turn or the news
            for most, outcome in list(books.in_flight.values()):
                if not outcome.done():
                    outcome.set_result(("land", most))
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*books.tasks, return_exceptions=True), 5)
        books.purse.settle()
        books.check()
        assert noted(books.answers_path())[0] == 0
        await books.end()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(folder))


@pytest.fixture
def server():
    with faulty_server() as listening:
        yield listening


@pytest.fixture
def store(tmp_path):
    return tmp_path / "answers.sqlite"


def wait_until(holds):
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_what_a_killed_process_had_in_flight_is_lost_to_the_next(server, store):
    texts = [*(f"document {i}" for i in range(6)), *(f"{i} fault:hang" for i in range(4))]
    most = most_of(texts[0])
    cap = 12 * most
    config = server.config(prices=A_COIN_A_TOKEN, max_cost=cap, max_concurrency=4)
    with started_child(store, config, texts) as child:
        wait_until(lambda: server.requests == 10)
        time.sleep(0.05)  # so that the answers are stored
        child.kill()
    in_flight, lost = noted(store)
    assert 4 * most <= in_flight + lost <= 5 * most
    for _ in range(3):  # each one that is killed before it asks loses nothing more
        with closing(Answers(store)) as answers:
            assert 4 * most <= Purse("label", config, answers).lost <= 5 * most
    more = [question(f"document {i:02}") for i in range(40)]
    with pytest.raises(StoppedError, match="perhaps lost"):
        ask(server, store, [*map(question, texts[:6]), *more], max_cost=cap, prices=A_COIN_A_TOKEN)
    assert sum(server.billed_tokens) <= cap


def test_a_kill_never_takes_more_than_what_was_left_of_the_cap(server, store):
    texts = [f"{i} fault:hang" for i in range(4)]
    cap = 4.1 * most_of(texts[0])
    config = server.config(prices=A_COIN_A_TOKEN, max_cost=cap, max_concurrency=8)
    with started_child(store, config, texts) as child:
        wait_until(lambda: server.requests == 4)
        child.kill()
    with closing(Answers(store)) as answers:
        assert 4 * most_of(texts[0]) <= Purse("label", config, answers).lost <= cap


def test_what_a_person_stopped_is_lost_once_and_what_was_answered_is_kept(server, store):
    texts = [*(f"document {i}" for i in range(40)), *(f"{i} fault:hang" for i in range(3))]
    config = server.config(prices=A_COIN_A_TOKEN, max_concurrency=16)
    with started_child(store, config, texts) as child:
        wait_until(lambda: server.requests == 43)
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)  # the first waits for what is in flight, and it hangs
        said = child.stderr.read().decode()
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert noted(store) == (0, 3 * most_of(texts[-1]))
    _, spend = ask(server, store, [question(text) for text in texts[:40]])
    assert spend.cached_calls == 40
    assert server.requests == 43


def test_a_run_that_fails_before_it_asks_loses_nothing(server, store, monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-a-wrong-one")
    for _ in range(2):
        with pytest.raises(Exception, match="refuses the key"):
            ask(server, store, [question("a")], prices=A_COIN_A_TOKEN, structured_output="auto")
    assert noted(store) == (0, 0)


WRONG = [
    None, {}, "none", [], {"prompt_tokens": None, "completion_tokens": None},
    {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": -5, "completion_tokens": -1},
    {"prompt_tokens": "many", "completion_tokens": "some"}, {"prompt_tokens": [], "x": 1},
    {"prompt_tokens": 10**30, "completion_tokens": 10**30, "total_tokens": 10**30},
    {"total_tokens": "1e999", "completion_tokens_details": 3},
    {"prompt_tokens": 0, "completion_tokens_details": {"reasoning_tokens": -7}},
]  # fmt: skip


@pytest.mark.parametrize("told", WRONG)
def test_wrong_counts_of_tokens_neither_pass_the_cap_nor_cost_an_answer(server, store, told):
    server.told_usage = told
    asked = [question(f"document {i:02}") for i in range(20)]
    cap = 4.5 * most_of("document 00")
    money = {"prices": A_COIN_A_TOKEN, "max_concurrency": 4}
    with pytest.raises(StoppedError, match="the cap of"):
        ask(server, store, asked, max_cost=cap, **money)
    assert 0 < sum(server.billed_tokens) <= cap
    answers, spend = ask(server, store, asked, **money)
    assert [a.content for a in answers] == [LABEL] * 20
    assert server.requests == 20
    assert sum(server.billed_tokens) <= spend.cost <= 20 * most_of("document 00")


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 50}, (7, 50, 0)),
        ({"prompt_tokens": "7", "completion_tokens": 49.5}, (7, 50, 0)),
        ({"completion_tokens": 50}, (1_000, 50, 0)),
        ({"prompt_tokens": 7}, (7, 100, 0)),
        ({"prompt_tokens": 7, "completion_tokens": 0}, (7, 100, 0)),
        ({"prompt_tokens": 7, "completion_tokens": 50, "total_tokens": 257}, (7, 250, 0)),
        (
            {"prompt_tokens": 7, "completion_tokens": 250, "total_tokens": 257,
             "completion_tokens_details": {"reasoning_tokens": 200}}, (7, 250, 200),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 50, "total_tokens": 257,
             "completion_tokens_details": {"reasoning_tokens": 200}}, (7, 250, 200),
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 50,
             "completion_tokens_details": {"reasoning_tokens": 200}}, (7, 250, 200),
        ),
    ],
)  # fmt: skip
def test_reasoning_is_counted_also_where_only_the_total_tells(told, counted):
    body = completion({}, 0, 0, told).encode()
    stored = read_completion(body, (1_000, 100))
    assert (
        stored["prompt_tokens"], stored["completion_tokens"], stored["reasoning_tokens"]
    ) == counted  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
NAMES = ["prompt_tokens", "completion_tokens", "total_tokens", "completion_tokens_details"]
USAGE = JSON | st.dictionaries(
    st.sampled_from(NAMES), JSON | st.dictionaries(st.just("reasoning_tokens"), JSON)
)


@given(USAGE)
def test_whatever_is_told_of_tokens_the_counts_are_whole_and_no_less_than_what_can_be_true(told):
    stored = read_completion(completion({}, 0, 0, told).encode(), (1_000, 100))
    counts = [stored[f"{kind}_tokens"] for kind in ("prompt", "completion", "reasoning")]
    assert all(type(count) is int and count >= 0 for count in counts)
    assert stored["content"] == json.dumps(LABEL)
    for count, name in zip(counts, NAMES[:2], strict=False):
        true = told.get(name) if isinstance(told, dict) else None
        if type(true) is int and 0 < true <= 10**9:
            assert count >= true


def test_the_same_answer_used_by_many_is_paid_once_and_again_by_nobody(server, store):
    asked = [question("same", str(i)) for i in range(9)]
    spends = [ask(server, store, asked, prices=A_COIN_A_TOKEN)[1] for _ in range(2)]
    assert [spend.calls for spend in spends] == [1, 1]
    assert [spend.cached_calls for spend in spends] == [0, 1]
    assert [spend.cost for spend in spends] == [sum(server.billed_tokens)] * 2
