"""A signal ends what runs beside the main thread, and nothing of it goes on."""

import asyncio
import contextvars
import os
import signal
import threading
import time

import pytest

from pipeline.stoppable import run_stoppable

NAME = contextvars.ContextVar("name", default="nobody")


class Terminated(BaseException):
    """As Prefect's own: no Exception, so that nobody takes it for a failure."""


@pytest.fixture
def terminated():
    """SIGTERM raises in the main thread, as it does within a Prefect flow."""

    def rise(*_):
        raise Terminated

    before = signal.signal(signal.SIGTERM, rise)
    yield
    signal.signal(signal.SIGTERM, before)


def soon(seconds, number=signal.SIGTERM):
    threading.Timer(seconds, os.kill, (os.getpid(), number)).start()


def test_the_result_and_the_failure_come_back():
    async def well():
        return NAME.get()

    async def ill():
        raise KeyError("x")

    NAME.set("somebody")
    assert run_stoppable(well(), lambda: None, 0) == "somebody"
    with pytest.raises(KeyError):
        run_stoppable(ill(), lambda: None, 0)


def test_what_is_asked_to_end_ends_by_itself(terminated):
    asked, ended = asyncio.Event(), []

    async def work():
        await asked.wait()
        ended.append("well")

    soon(0.1)
    with pytest.raises(Terminated):
        run_stoppable(work(), asked.set, 5)
    assert ended == ["well"]


def test_what_does_not_end_is_cancelled_when_patience_is_over(terminated):
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("put away")

    soon(0.1)
    began = time.monotonic()
    with pytest.raises(Terminated):
        run_stoppable(work(), lambda: None, 0.3)
    assert ended == ["put away"]
    assert 0.3 < time.monotonic() - began < 3


def test_a_second_signal_has_no_patience(terminated):
    soon(0.1)
    soon(0.3)
    began = time.monotonic()
    with pytest.raises(Terminated):
        run_stoppable(asyncio.sleep(60), lambda: None, 30)
    assert time.monotonic() - began < 3


def test_a_signal_amid_many_busy_tasks_is_never_lost(terminated):
    """In the loop's own thread it would mostly end one of the tasks, and nobody else."""
    counted = []

    async def busy():
        while True:
            counted.append(1)
            await asyncio.sleep(0)

    async def work():
        await asyncio.gather(*(busy() for _ in range(50)), return_exceptions=True)

    soon(0.2)
    with pytest.raises(Terminated):
        run_stoppable(work(), lambda: None, 0)
    before = len(counted)
    time.sleep(0.1)
    assert len(counted) == before
