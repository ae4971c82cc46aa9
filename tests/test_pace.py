"""How fast a teacher is asked: the window and the limits in skipped time, then a real server."""

import asyncio
import time
from collections import Counter
from contextlib import suppress

import pytest
from crowded_server import crowded_server
from hypothesis import given, settings
from hypothesis import strategies as st
from skipped_time import skipped_time
from test_teacher import ask, question

from pipeline.pace import DownError, Pace
from pipeline.teacher_config import TeacherConfig


def pace_of(cap=16, **fields):
    return Pace(TeacherConfig(max_concurrency=cap, **fields))


def now():
    return asyncio.get_running_loop().time()


async def visit(pace, seconds=0.1, tokens=0):
    """One request that is answered after so many seconds; returns when it left."""
    await pace.enter(tokens)
    sent_at = now()
    await asyncio.sleep(seconds)
    pace.landed(sent_at)
    pace.leave()
    return sent_at


async def visit_often(pace, visits, seconds=0.1):
    """So many requests, all of which would go at once; returns when each left."""
    return await asyncio.gather(*(visit(pace, seconds) for _ in range(visits)))


@pytest.fixture
def run():
    with skipped_time() as started:
        yield started


@pytest.mark.parametrize(("cap", "first"), [(1, 1), (16, 16), (24, 16), (64, 32), (1024, 512)])
def test_it_starts_with_half_the_cap_but_for_small_ones(run, cap, first):
    async def story():
        left_at = await visit_often(pace_of(cap), 2 * cap)
        assert left_at.count(left_at[0]) == first

    run(story())


def test_it_doubles_up_to_the_cap_while_answers_are_as_fast(run):
    async def story():
        pace = pace_of(90)
        left_at = Counter(await visit_often(pace, 45 + 90 + 90 + 7))
        assert list(left_at.values()) == [45, 90, 90, 7]
        assert pace.limit == 90

    run(story())


def test_it_does_not_grow_where_it_was_never_filled(run):
    async def story():
        pace = pace_of(64)
        for _ in range(100):
            await visit(pace)
        assert pace.limit == 32

    run(story())


@pytest.mark.parametrize(("slower", "grows"), [(1.4, True), (1.6, False)])
def test_it_stops_growing_where_answers_take_half_as_long_again(run, slower, grows):
    async def story():
        pace = pace_of(128)
        await visit_often(pace, 64)
        pace.pushed_back(now(), None)  # from 128
        before = pace.limit
        await visit_often(pace, int(before) + 1, 0.1 * slower)
        assert (pace.limit > before) is grows

    run(story())


def test_it_halves_once_a_round_trip_and_grows_slowly_ever_after(run):
    async def story():
        pace = pace_of(512)
        sent_at = now()
        await asyncio.sleep(0.1)
        for _ in range(9):
            pace.pushed_back(sent_at, None)
        assert pace.limit == 128
        await visit_often(pace, 130)
        assert pace.limit == 128 + 8
        for _ in range(30):
            await asyncio.sleep(0.1)
            pace.pushed_back(now(), None)
        assert pace.limit == 1
        await visit_often(pace, 1 + 2 + 3 + 4)
        assert pace.limit == 5

    run(story())


def test_those_who_wait_are_let_in_in_order(run):
    async def story():
        pace, came = pace_of(2), []

        async def come(name):
            await pace.enter(0)
            came.append(name)
            await asyncio.sleep(0.1)
            pace.leave()

        tasks = [asyncio.create_task(come(name)) for name in range(9)]
        await asyncio.sleep(0.01)
        tasks[4].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert came == [0, 1, 2, 3, 5, 6, 7, 8]

    run(story())


def test_a_waiter_that_is_cancelled_just_as_it_is_let_in_leaves_its_place_to_the_next(run):
    async def story():
        pace = pace_of(1)
        await pace.enter(0)
        waiting = [asyncio.create_task(pace.enter(0)) for _ in range(2)]
        await asyncio.sleep(0)
        pace.leave()
        waiting[0].cancel()
        await asyncio.wait(waiting)
        assert waiting[0].cancelled()
        assert not waiting[1].cancelled()
        assert pace.in_flight == 1

    run(story())


@pytest.mark.parametrize("told", [{"requests_per_minute": 1}, {"tokens_per_minute": 60}, {}])
def test_who_is_cancelled_while_a_limit_holds_it_back_leaves_its_place(run, told):
    async def story():
        pace = pace_of(4, **told)
        await pace.enter(600)
        if not told:
            pace.pushed_back(now(), 9)
        held = asyncio.create_task(pace.enter(1))
        await asyncio.sleep(0.1)
        held.cancel()
        with suppress(asyncio.CancelledError):
            await held
        pace.leave()
        assert pace.in_flight == 0

    run(story())


@settings(max_examples=60, deadline=None)
@given(
    cap=st.integers(1, 40),
    rate=st.none() | st.integers(60, 600),
    moves=st.lists(
        st.tuples(
            st.sampled_from(["ask", "cancel", "push back", "tell to wait", "wait"]),
            st.integers(0, 20),
        ),
        max_size=80,
    ),
)
def test_whatever_happens_the_window_keeps_its_bounds_and_no_place_is_lost(cap, rate, moves):
    async def story():
        pace, tasks, most = pace_of(cap, requests_per_minute=rate), [], 0

        async def request(seconds):
            nonlocal most
            await pace.enter(0)
            try:
                most = max(most, pace.in_flight)
                sent_at = now()
                await asyncio.sleep(seconds)
                pace.landed(sent_at)
            finally:
                pace.leave()

        for move, number in moves:
            if move == "ask":
                tasks += [asyncio.create_task(request(number / 50)) for _ in range(number)]
            elif move == "cancel" and tasks:
                tasks[-1 - number % len(tasks)].cancel()
            elif move == "push back":
                pace.pushed_back(now() - number / 100, None)
            elif move == "tell to wait":
                pace.pushed_back(now(), number / 10)
            else:
                await asyncio.sleep(number / 100)
            await asyncio.sleep(0)
            assert 1 <= pace.limit <= cap
            assert pace.in_flight <= cap
        await asyncio.gather(*tasks, return_exceptions=True)
        assert pace.in_flight == 0
        assert most <= cap
        limit = int(pace.limit)
        left_at = await visit_often(pace_limitless(pace), limit)
        assert left_at.count(left_at[0]) == limit

    with skipped_time() as run:
        run(story())


def pace_limitless(pace):
    pace._requests._seconds_each = 0.0  # the window alone shall decide
    return pace


def test_when_it_is_told_to_wait_everyone_waits_also_who_stood_in_line_for_a_minute_limit(run):
    async def story():
        pace = pace_of(64, requests_per_minute=60)
        tasks = [asyncio.create_task(visit(pace)) for _ in range(40)]
        await asyncio.sleep(4.5)
        told_at = now()
        pace.pushed_back(now(), 30)
        left_at = sorted(await asyncio.gather(*tasks))
        after = [at for at in left_at if at > told_at]
        assert len(after) > 30
        assert after[0] >= told_at + 30
        assert_never_faster(after, 60)

    run(story())


def assert_never_faster(times, per_minute):
    """In no span of time do more leave than its share of the minute, and a second's beside it."""
    for i, start in enumerate(times):
        for j in range(i, len(times)):
            units = j - i + 1
            assert units <= (times[j] - start + 1) * per_minute / 60 + 1 + 1e-6


@settings(max_examples=40, deadline=None)
@given(
    per_minute=st.integers(1, 3_000),
    gaps=st.lists(st.floats(0, 20), min_size=2, max_size=60),
)
def test_so_many_requests_a_minute_are_never_passed_but_for_a_second_of_them(per_minute, gaps):
    async def story():
        pace = pace_of(1_000, requests_per_minute=per_minute)
        tasks = []
        for gap in gaps:
            await asyncio.sleep(gap if gap > 1 else 0)
            tasks.append(asyncio.create_task(visit(pace, 0)))
        left_at = await asyncio.gather(*tasks)
        assert left_at == sorted(left_at)
        assert_never_faster(left_at, per_minute)

    with skipped_time() as run:
        run(story())


@settings(max_examples=40, deadline=None)
@given(amounts=st.lists(st.integers(1, 5_000), min_size=2, max_size=40))
def test_so_many_tokens_a_minute_are_never_passed_but_for_a_second_and_a_request(amounts):
    async def story():
        pace = pace_of(1_000, tokens_per_minute=60_000)
        left_at = await asyncio.gather(*(visit(pace, 0, tokens) for tokens in amounts))
        sent = 0
        for at, tokens in zip(left_at, amounts, strict=True):
            assert sent <= (at - left_at[0] + 1) * 1_000 + 1e-6
            sent += tokens

    with skipped_time() as run:
        run(story())


def test_it_is_down_when_nothing_has_succeeded_for_long_enough_and_not_before(run):
    async def story():
        pace = pace_of(patience_seconds=10)
        for _ in range(99):
            pace.failed()
        await asyncio.sleep(9)
        await visit(pace)
        await asyncio.sleep(9.9)
        for _ in range(99):
            pace.failed()
        await visit(pace)
        await asyncio.sleep(11)
        for _ in range(4):  # who was idle for long is not down at the first failure
            pace.failed()
        with pytest.raises(DownError):
            pace.failed()

    run(story())


@pytest.mark.parametrize("wait_seconds", [1, 20, 300])
def test_who_always_tells_to_wait_is_down_too_but_not_while_it_does_so_for_the_first_time(
    run, wait_seconds
):
    async def story():
        pace, began = pace_of(patience_seconds=30), now()
        while now() - began < 1_000:
            await pace.enter(0)
            pace.pushed_back(now(), wait_seconds)
            pace.leave()
            try:
                for _ in range(5):
                    pace.failed()
            except DownError:
                return now() - began
        return None

    assert max(30, wait_seconds) <= run(story()) < 1_000


@pytest.fixture
def crowd():
    with crowded_server() as server:
        yield server


def test_it_settles_near_what_a_server_does_at_once_and_everything_is_answered(crowd, tmp_path):
    crowd.at_once = 8
    asked = [question(f"document {i}") for i in range(400)]
    answers, spend = ask(crowd, tmp_path / "a", asked, max_concurrency=64, max_retries=5)
    assert [a.problem for a in answers] == [None] * 400
    assert spend.calls == crowd.answered == 400
    assert crowd.told_to_wait < 80
    assert crowd.most_at_once == 8
    at_best = crowd.seconds * 400 / 8
    assert crowd.busy_seconds() > at_best


@pytest.mark.parametrize(
    "told", [{"requests_per_minute": 1_200}, {"tokens_per_minute": 1_200 * 105}]
)
def test_a_real_server_sees_no_more_a_minute_than_it_may(crowd, tmp_path, told):
    asked = [question(f"document {i:02}") for i in range(50)]
    began = time.monotonic()
    ask(crowd, tmp_path / "a", asked, max_concurrency=64, **told)
    assert time.monotonic() - began >= 1.3
    arrivals = sorted(at for times in crowd.arrivals.values() for at in times)
    for start in arrivals:  # 20 a second; a few more because threads do not wake on time
        assert sum(start <= at < start + 0.5 for at in arrivals) <= 10 + 20 + 4
