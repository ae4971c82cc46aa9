"""What was answered is on the disk before it counts: kills, shared commits, and what asks anew."""

import asyncio
import random
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress

import pytest
from crowded_server import crowded_server
from faulty_server import faulty_server
from labelling_child import question, started_child
from test_teacher import A_COIN_A_TOKEN, LABEL, ask

from pipeline.answers import Answers

AT_ONCE = 32
FAULTS = ["reset", "malformed", "broken", "rate_limited", "overloaded", "prose", "wrong_schema"]


@pytest.fixture
def store(tmp_path):
    return tmp_path / "answers.sqlite"


@pytest.fixture
def answers(store):
    with closing(Answers(store)) as opened:
        yield opened


def stored_in(store):
    with closing(sqlite3.connect(store)) as database:
        return database.execute("SELECT count(*) FROM answers").fetchone()[0]


@pytest.mark.long
def test_a_run_that_is_killed_again_and_again_pays_twice_at_most_what_was_in_flight(store):
    faulty = [f"{fault} {i}: fault:{fault}" for fault in FAULTS for i in range(4)]
    texts = [*(f"document {i}" for i in range(300 - len(faulty))), *faulty]
    chance = random.Random(5)
    chance.shuffle(texts)
    with crowded_server() as server:
        server.seconds = 0.04
        config = server.config(max_concurrency=AT_ONCE, max_retries=5, prices=A_COIN_A_TOKEN)
        kills, killed = 0, True
        while killed:
            kill_at = server.requests + chance.randint(20, 120)
            with started_child(store, config, texts) as child:
                while server.requests < kill_at and child.poll() is None:
                    time.sleep(0.001)
                time.sleep(chance.random() / 20)
                killed = child.poll() is None
                child.kill()
            kills += killed
        answers, spend = ask(
            server, store, [question(text) for text in texts], prices=A_COIN_A_TOKEN
        )
        assert [a.content for a in answers] == [LABEL] * 300
        twice = sum(len(server.arrivals[text]) - 1 for text in texts if "fault" not in text)
        assert kills >= 3
        assert child.returncode == 0
        assert server.requests <= 300 + len(faulty) + kills * AT_ONCE
        assert twice <= kills * AT_ONCE
        assert spend.cached_calls == spend.calls == stored_in(store)
        assert sum(server.billed_tokens) <= spend.cost + spend.lost_cost_at_most
    print(f"{kills} kills: {server.requests} requests for 300 documents, {twice} paid twice")


def test_answers_that_come_together_share_a_commit_and_are_on_the_disk_when_it_returns(
    answers, store
):
    said = []
    answers._writer.set_trace_callback(said.append)

    async def put(i):
        await answers.put_soon(str(i), {"content": i})
        with closing(sqlite3.connect(store)) as other:  # sees only what is committed
            found = other.execute("SELECT answer FROM answers WHERE request = ?", (str(i),))
            assert found.fetchone() == (b'{"content":%d}' % i,)

    async def put_all():
        await put(0)
        await asyncio.gather(*(put(i) for i in range(1, 200)))

    asyncio.run(put_all())
    answers._writer.set_trace_callback(None)
    assert Counter(said)["COMMIT"] <= 4
    assert answers._writer.execute("PRAGMA synchronous").fetchone() == (2,)  # a sync each
    assert answers._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert len(answers.get_all(map(str, range(200)))) == 200


def test_a_waiter_that_is_cancelled_takes_nobody_elses_answer_with_it(answers):
    async def story():
        tasks = [asyncio.create_task(answers.put_soon(str(i), {"content": i})) for i in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::3]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in done] == [
            i % 3 == 0 for i in range(50)
        ]
        await answers.put_soon("last", {})

    asyncio.run(story())
    assert len(answers.get_all([*map(str, range(50)), "last"])) == 51


def test_what_a_stopped_run_was_about_to_store_is_stored(store):
    answers = Answers(store)

    async def story():
        await asyncio.gather(*(answers.put_soon(str(i), {}) for i in range(2)))
        late = [asyncio.create_task(answers.put_soon(f"late {i}", {})) for i in range(50)]
        await asyncio.sleep(0)
        late += [asyncio.create_task(answers.put_soon(f"later {i}", {})) for i in range(50)]
        await asyncio.sleep(0)
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        asyncio.run(story())
    answers.close()
    assert stored_in(store) == 102


def test_a_disk_that_fails_is_told_to_all_and_can_be_used_again(answers, store):
    answers._writer.execute("PRAGMA busy_timeout=20")

    async def put_ten(start):
        numbers = range(start, start + 10)
        return await asyncio.wait_for(
            asyncio.gather(
                *(answers.put_soon(str(i), {}) for i in numbers), return_exceptions=True
            ),
            5,
        )

    with closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert {type(one) for one in asyncio.run(put_ten(0))} == {sqlite3.OperationalError}
    assert asyncio.run(put_ten(10)) == [None] * 10


@pytest.mark.parametrize(
    ("config", "rubric", "sent"),
    [
        ({}, "Judge.", 0),
        ({"max_concurrency": 2, "max_retries": 0, "max_cost": 9}, "Judge.", 0),
        ({"prices": A_COIN_A_TOKEN, "requests_per_minute": 600}, "Judge.", 0),
        ({}, "Judge severely.", 12),
    ],
)  # fmt: skip
def test_another_rubric_asks_everything_anew_and_another_pace_nothing(store, config, rubric, sent):
    texts = [f"document {i}" for i in range(12)]
    with faulty_server() as server:
        ask(server, store, [question(text) for text in texts])
        messages = [
            ({"role": "system", "content": rubric}, {"role": "user", "content": t}) for t in texts
        ]
        again = [question(text, messages=said) for text, said in zip(texts, messages, strict=True)]
        ask(server, store, again, **config)
        assert server.requests == 12 + sent
