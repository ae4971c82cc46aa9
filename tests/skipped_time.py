"""Time that is skipped: an event loop whose clock jumps to the next timer instead of waiting."""

import asyncio
import selectors
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from pipeline import pace


class _Selector(selectors.SelectSelector):
    def __init__(self):
        super().__init__()
        self.now = 1_000.0

    def select(self, timeout=None):
        assert timeout is not None, "all tasks wait, and nothing will wake them"
        self.now += max(0.0, timeout)
        return super().select(0)


@contextmanager
def skipped_time():
    """`run(coroutine)`, in which `pipeline.pace` and the event loop share a clock that jumps."""
    selector = _Selector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now
    clock = SimpleNamespace(monotonic=loop.time)
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=lambda: loop) as runner:
        patch.setattr(pace, "time", clock)
        yield runner.run
