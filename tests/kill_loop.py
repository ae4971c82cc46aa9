"""The kill loop: the smoke recipe from deployments, and a SIGKILL now and then, at random.

Killed is the flow's process, the worker, the Prefect server, its database, or all at once as when
the machine dies. What was killed is started again; the flow run must then end Completed, or be seen
as Crashed and be planned again by the automation or by `primer resume`. When a journey is complete,
its sealed outputs must be those of a run that nobody disturbed, and no answer paid for twice; then
the next journey begins, until there were as many kills as asked for.

    python tests/kill_loop.py --kills 20 --seed 1

prints a row for each kill and exits with 1 where anything differs. It needs PostgreSQL (Debian's).
"""

import argparse
import json
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import urllib.error
from dataclasses import dataclass
from pathlib import Path

from dying_machine import ROOT, Machine
from prefect_server import ask, look

from flows.bootstrap import RESUMES
from pipeline.verify import sealed_stages, verify_run

RECIPE = ROOT / "recipes" / "smoke.yaml"
# Every stage, in less time: what takes longest in so small a run is starting its processes.
CHANGES = ("ingest.tasks=1", "ingest.sources.0.include=['[a-d]*.py']",
           "ingest.sources.1.include=['[a-d]*.py']", "clean.workers=1", "label.sample_size=90",
           "train_filter.trees=15", "train_filter.folds=2", "train_filter.corpus_sample=120",
           "train_filter.workers=1", "apply_filter.tasks=1", "synthesize.textbooks=4",
           "synthesize.exercises=2", "decontaminate.workers=1", "tokenize.vocabulary=400",
           "tokenize.budget_tokens=30000", "train.steps=12", "train.checkpoint_steps=3",
           "quantize.types=[Q8_0]")  # fmt: skip
SMALL = [word for change in CHANGES for word in ("--set", change)]
FLOWS = ("curate", "train", "evaluate")
VICTIMS = ("flow", "worker", "server", "database", "machine")
SILENCE_S = 75  # more than a server takes to start on a busy machine
LATEST_S = 15.0  # after a run has come further
FOR_THE_AUTOMATION_S = 180  # then a person looks
FOR_A_RUN_S = 900


@dataclass
class Kill:
    """One row of the table."""

    after_s: float
    flow: str
    stage: str
    victim: str
    seen: list
    recovery_s: float = 0.0
    result: str = ""

    HEAD = ("s", "flow", "stage", "killed", "seen", "s to recovery", "went on by")

    def cells(self):
        """As a row of Markdown."""
        return (f"{self.after_s:.0f}", self.flow, self.stage, self.victim, " > ".join(self.seen),
                f"{self.recovery_s:.0f}", self.result)  # fmt: skip


class Loop:
    """The machine, the undisturbed run, and what was seen."""

    def __init__(self, machine, seed, kills, print_row):
        self.machine, self.draw, self.print_row = machine, random.Random(seed), print_row
        self.victims, self.wrong = [VICTIMS[i % len(VICTIMS)] for i in range(kills)], []
        self.draw.shuffle(self.victims)
        self.killed_at = -1  # stages that were sealed at the last kill

    def run(self):
        """All kills; what differed from the undisturbed run."""
        undisturbed = self.machine.home / "undisturbed"
        if not undisturbed.exists():
            _run_undisturbed(self.machine, undisturbed)
        _register(self.machine)
        journeys = 0
        while self.victims:
            run = self.machine.runs / "smoke"
            shutil.rmtree(run, ignore_errors=True)
            self.killed_at = -1
            for flow in FLOWS:
                self.carry(flow)
            found = compare(undisturbed / "smoke", run)
            print(f"a journey is complete: {found or 'as the undisturbed one'}", flush=True)
            self.wrong += found
            journeys += 1
        return journeys

    def carry(self, flow):
        """One flow run from its start to Completed, killed on the way as often as it happens."""
        run = start(self.machine.api, f"{flow}/smoke")
        over, due = time.monotonic() + FOR_A_RUN_S, None
        while (state := self.state(run))[0] != "COMPLETED":
            if state[0] in {"FAILED", "CANCELLED"} or time.monotonic() > over:
                raise SystemExit(f"{flow} ended as {state}; see {self.machine.home}/worker.log")
            if due is None and sealed_in(self.machine) > self.killed_at:
                due = time.monotonic() + self.draw.uniform(0, LATEST_S)
            if self.victims and state[0] == "RUNNING" and due and time.monotonic() > due:
                self.killed_at = sealed_in(self.machine)
                self.kill(run, flow)
                over, due = time.monotonic() + FOR_A_RUN_S, None
            time.sleep(0.3)

    def kill(self, run, flow):
        """Kill what is due, start it again, and see how the run goes on."""
        before = self.state(run)
        kill = Kill(time.monotonic() - BEGAN, flow, stage_of(self.machine), self.victims.pop(0), [])
        began = time.monotonic()
        self.machine.kill(kill.victim)
        time.sleep(self.draw.uniform(0.5, 4))
        self.machine.mend()
        kill.result = self._watch(run, before[2], stage_of(self.machine), kill.seen, began)
        kill.recovery_s = time.monotonic() - began
        self.print_row(kill.cells())
        orphans = self.machine.orphans()
        if orphans:
            self.wrong.append(f"left behind after {kill.victim}: {orphans}")

    def _watch(self, run, count, stage, seen, began):
        """Until the run works again: in a new process, at a further stage, or at its end."""
        resumed = False
        while True:
            kind, name, now, _ = self.state(run)
            if not seen or seen[-1] != name:
                seen.append(name)
            if kind == "COMPLETED":
                return "itself" if now == count else "`primer resume`" if resumed else "automation"
            if kind == "RUNNING" and now > count:
                return "`primer resume`" if resumed else "the automation"
            if kind == "RUNNING" and stage_of(self.machine) != stage and self.machine.flows():
                return "itself"
            given_up = kind == "CRASHED" and now > RESUMES
            if not resumed and (given_up or time.monotonic() - began > FOR_THE_AUTOMATION_S):
                resumed = True
                self.machine.primer("resume", "smoke")
                seen.append("`primer resume`")
            time.sleep(0.5)

    def state(self, run):
        """Type, name, how often it was started, message; what it was, while nobody answers."""
        while True:
            try:
                found = look(self.machine.api, f"flow_runs/{run}")
                state = found["state"]
                return state["type"], state["name"], found["run_count"], state["message"]
            except (OSError, urllib.error.URLError):
                time.sleep(0.3)


def start(api, deployment):
    """A run of a deployment, as the web interface starts it; its id."""
    found = look(api, f"deployments/name/{deployment}")
    return ask(api, f"deployments/{found['id']}/create_flow_run")["id"]


def stage_of(machine):
    """What is worked on, or the last that was sealed."""
    run = machine.runs / "smoke"
    partial = sorted(path.name.split(".")[0] for path in run.glob("[0-9]*.partial"))
    sealed = sorted(path.parent.name for path in run.glob("[0-9]*/manifest.json"))
    return partial[-1] if partial else f"after {sealed[-1]}" if sealed else "before 01"


def sealed_in(machine):
    """How many stages are sealed. A run is killed again only when it has come further."""
    return len(list((machine.runs / "smoke").glob("[0-9]*/manifest.json")))


def compare(undisturbed, run):
    """In what the sealed outputs differ from those of the undisturbed run."""
    wrong = list(verify_run(run))
    expected, found = sealed_stages(undisturbed), sealed_stages(run)
    for name, (_, manifest) in expected.items():
        if name not in found:
            wrong.append(f"{name} is not sealed")
        elif found[name][1].outputs_sha256 != manifest.outputs_sha256:
            other = found[name][1].files
            files = [
                file for file, entry in manifest.files.items()
                if not entry.volatile and getattr(other.get(file), "sha256", 0) != entry.sha256
            ]  # fmt: skip
            wrong.append(f"{name} differs: {', '.join(files[:5])}")
    if answers_in(run) != answers_in(undisturbed):
        wrong.append(f"{answers_in(run)} answers instead of {answers_in(undisturbed)}")
    return wrong


def answers_in(run):
    """How many requests a run has had answered."""
    with sqlite3.connect(f"file:{run}/answers.sqlite?mode=ro", uri=True) as database:
        return database.execute("SELECT count(*) FROM answers").fetchone()[0]


def _run_undisturbed(machine, place):
    environment = machine.environment
    machine.environment = {**environment, "PRIMER_RUNS": str(place)}
    try:
        machine.primer("run", str(RECIPE), *SMALL)
    finally:
        machine.environment = environment


def _register(machine):
    machine.primer("serve", str(RECIPE), "--once", "--no-schedules", *SMALL)


def main():
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--port", type=int, default=4610, help="and the next one")
    parser.add_argument("--home", type=Path, help="kept; without it, a temporary folder")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing stays behind
    rows = [Kill.HEAD, tuple("---" for _ in Kill.HEAD)]

    def print_row(cells):
        print("| " + " | ".join(cells) + " |", flush=True)

    for row in rows:
        print_row(row)
    home = given.home or Path(tempfile.mkdtemp(prefix="kill-loop-"))
    try:
        with Machine(home, given.port, SILENCE_S) as machine:
            loop = Loop(machine, given.seed, given.kills, print_row)
            journeys = loop.run()
    finally:
        if given.home is None:
            shutil.rmtree(home, ignore_errors=True)
    print(json.dumps({"journeys": journeys, "kills": given.kills, "wrong": loop.wrong}, indent=1))
    sys.exit(bool(loop.wrong))


BEGAN = time.monotonic()

if __name__ == "__main__":
    main()
