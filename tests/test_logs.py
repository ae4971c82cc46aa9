"""Log lines say of which run and stage they are, as JSON where the environment asks for it."""

import asyncio
import json
import logging
import warnings
from datetime import datetime

import pytest

from pipeline.errors import InputError, StageError
from pipeline.ledger import Ledger
from pipeline.logs import logged_as, report_failure, set_up_logging
from pipeline.stage import Outcome, Stage

log = logging.getLogger("primer")


@pytest.fixture
def lines(monkeypatch, capsys):
    """Set logging up in a format, and read what was written; all is as before in the end."""
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    level, primer_level = root.level, log.level
    told = []

    def written():
        told.extend(capsys.readouterr().err.splitlines())
        return told

    def set_up(form):
        monkeypatch.setenv("PRIMER_LOG_FORMAT", form)
        for handler in before:  # pytest's own, which are not ours to close
            root.removeHandler(handler)
        set_up_logging()
        return written

    yield set_up
    logging.captureWarnings(False)
    root.handlers[:] = before
    root.setLevel(level)
    log.setLevel(primer_level)


def make_a(place):
    (place.out / "a").write_text("a")
    log.info("working")
    return Outcome(Ledger("documents", 10, 7, {"too_short": 3}))


def test_a_sealed_stage_is_a_line_of_json_with_its_counts(lines, bench):
    written = lines("json")
    bench.make(Stage(1, "made", 1, (), ("a",), (), make_a))
    working, sealed = (json.loads(line) for line in written())
    assert (working["run"], working["stage"], working["message"]) == ("run", "made", "working")
    assert sealed["level"] == "info"
    account = {"in": 10, "kept": 7, "dropped": 3, "failed": 0, "unit": "documents"}
    assert sealed["counts"] == {**account, "seconds": sealed["counts"]["seconds"]}
    assert sealed["message"].startswith("01-made: 10 documents in, 7 kept, 3 dropped, 0 failed")
    assert datetime.fromisoformat(sealed["time"]).utcoffset().total_seconds() == 0
    log.info("after")
    assert json.loads(written()[-1])["stage"] is None


def test_plain_lines_are_as_they_were(lines, bench):
    written = lines("text")
    bench.make(Stage(1, "made", 1, (), ("a",), (), make_a))
    log.debug("not told")
    logging.getLogger("other").info("not told")
    logging.getLogger("other").warning("told")
    working, sealed, told = written()
    assert working == "working"
    assert sealed.startswith("01-made: 10 documents in, 7 kept, 3 dropped, 0 failed, ")
    assert told == "told"


def test_odd_messages_and_failures_stay_one_line(lines):
    written = lines("json")
    log.warning("two\nlines \u2028 \ud800 %s", {"a": 1})
    try:
        raise ValueError("a\nb")
    except ValueError:
        log.exception("failed", extra={"counts": {"at": {1}}})
    with warnings.catch_warnings(action="default"):
        warnings.warn("of a library", UserWarning, stacklevel=1)
    odd, failed, warned = (json.loads(line) for line in written())
    assert odd["message"].startswith("two\nlines")
    assert "ValueError: a\nb" in failed["traceback"]
    assert failed["counts"] == {"at": "{1}"}
    assert (warned["logger"], warned["level"]) == ("py.warnings", "warning")


def test_a_failure_is_the_one_line_of_before_or_an_object(lines):
    error = StageError("clean", "3 rows vanished", "report it")
    written = lines("text")
    report_failure(error)
    assert written() == ["primer: clean: 3 rows vanished; report it"]
    lines("json")
    report_failure(error)
    told = json.loads(written()[-1])
    assert (told["level"], told["stage"]) == ("error", "clean")
    assert (told["problem"], told["cure"]) == ("3 rows vanished", "report it")


def test_tasks_side_by_side_keep_their_own_stage(lines):
    written = lines("json")

    async def say(stage):
        with logged_as("a-run", stage):
            await asyncio.sleep(0)
            log.info(stage)

    async def both():
        await asyncio.gather(say("label"), say("synthesize"))

    asyncio.run(both())
    for line in written():
        told = json.loads(line)
        assert told["stage"] == told["message"]
        assert told["run"] == "a-run"


def test_a_format_that_is_none_is_refused(lines):
    with pytest.raises(InputError, match="PRIMER_LOG_FORMAT='xml'"):
        lines("xml")
