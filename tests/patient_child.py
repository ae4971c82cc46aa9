"""Flows of one stage that fails in some way: prints how often each was tried and what became of it.

    python patient_child.py DIRECTORY

It speaks with the Prefect server that PREFECT_API_URL names.
"""

import json
import socket
import sys
import time
from pathlib import Path

from prefect import flow

from conftest import Sections
from flows.run import seal_stages
from flows.schedule import FlowSchedule
from pipeline.errors import InputError
from pipeline.ledger import Ledger
from pipeline.stage import Outcome, Stage
from pipeline.step import make_plan


def connect_to_nothing():
    """A real refusal."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def fail(way, tries):
    """Fail as the way says, the first time or each time."""
    if way == "away-once" and tries == 1:
        connect_to_nothing()
    if way == "away":
        connect_to_nothing()
    if way == "wrong":
        raise InputError("stage", "the recipe is wrong", "correct it")
    if way == "slow":
        time.sleep(60)


def become(way, run):
    """Run the flow of one way to its end."""
    tried = []

    def work(place):
        tried.append(way)
        fail(way, len(tried))
        (place.out / "done").write_text(way)
        return Outcome(Ledger("rows", 1, 1), {})

    stage = Stage(1, "stage", 1, (), ("done",), (), work)
    plan = make_plan([stage], Sections({}), run)
    patience = FlowSchedule(retries=2, backoff_s=0.1, time_limit_s=2)

    @flow(name=f"patient-{way}")
    def patient():
        seal_stages(plan, patience)

    began = time.monotonic()
    state = patient(return_state=True)
    return {
        "tried": len(tried), "state": state.name, "sealed": plan["stage"].sealed() is not None,
        "message": state.message or "", "seconds": time.monotonic() - began,
    }  # fmt: skip


if __name__ == "__main__":
    ways = ("away-once", "away", "wrong", "slow")
    print(json.dumps({way: become(way, Path(sys.argv[1]) / way) for way in ways}))
