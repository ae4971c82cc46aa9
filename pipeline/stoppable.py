"""Coroutines beside the main thread, so that a signal ends them well.

A scheduler stops a run by SIGTERM, which Prefect turns into an exception in the main thread. Were
the event loop there, it would mostly rise inside one of many tasks, which asyncio takes for that
task's own failure: the run went on asking, and paying, until it was killed. Here the main thread
only waits. The exception interrupts the waiting, what runs is asked to end, and then it goes on up.

Costs a thread for each call.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
_CANCEL_S = 5.0  # for what is cancelled to put its things away


def run_stoppable(
    work: Coroutine[Any, Any, T], ask_to_end: Callable[[], None], patience_s: float
) -> T:
    """The result of `work`, which runs in a thread with a loop of its own.

    Where an exception interrupts the wait, `ask_to_end` is called in that loop; what has not ended
    when patience is over, or at a second exception, is cancelled. The exception is raised again.
    """
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()
    ended: Future[T] = Future()

    async def announced() -> T:
        task = asyncio.current_task()
        assert task is not None
        started.set_result((asyncio.get_running_loop(), task))
        return await work

    def run() -> None:
        try:
            ended.set_result(asyncio.run(announced()))
        except BaseException as error:  # also a cancellation: it is for whoever waits
            ended.set_exception(error)

    threading.Thread(
        target=contextvars.copy_context().run, args=(run,), name="stoppable", daemon=True
    ).start()
    try:
        wait([ended])
    except BaseException:
        loop, task = started.result()
        try:
            _call(loop, ask_to_end)
            wait([ended], patience_s)
        finally:
            _call(loop, task.cancel)
            wait([ended], _CANCEL_S)
        raise
    return ended.result()


def _call(loop: asyncio.AbstractEventLoop, what: Callable[..., Any]) -> None:
    with suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(what)
