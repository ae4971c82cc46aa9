"""One model from a handoff, outside a recipe: in one process, or on several by torchrun.

    torchrun --nproc-per-node 2 -m downstream.launch HANDOFF --arm kept --out DIR \
        --preset 125M --set parallel=ddp --set sequence_tokens=2048

HANDOFF is a handoff.json or its directory; nothing else of a run is needed, and one that does not
verify is refused. What is not said is as the handoff suggests it (preset, tokens, share of the
decay) or the default. `primer train` is the same in one process. DIR becomes the model directory;
the same command goes on where a killed one stopped, on any number of processes, and does nothing
when the model is there.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from downstream.train import SIZES, TrainConfig, chosen_arms
from pipeline.errors import InputError, StageError
from pipeline.handoff_record import HANDOFF, Handoff, open_handoff
from pipeline.progress import CONSOLE, progress_bar

if TYPE_CHECKING:
    from downstream.parallel import World
    from downstream.training_loop import Advance

TRAINED = "trained.json"
SAY_EVERY_S = 30.0

log = logging.getLogger("primer")


def train_directory(
    handoff: Path, arm: str, out: Path, preset: str | None, changes: Iterable[str], seed: int,
    world: World,
) -> dict[str, Any]:  # fmt: skip
    """Train one model into `out`, and return its figures; empty but on the first process."""
    from downstream.training_loop import Job, train_model

    if not 0 <= seed < 2**63:
        raise InputError("train", f"--seed {seed}", "give a whole number from 0 up, of 63 bits")
    path = handoff / HANDOFF if handoff.is_dir() else handoff
    opened = open_handoff(path)
    config = read_config(opened, preset, changes, world.size)
    (chosen,) = chosen_arms(opened, (arm,))
    work = out / "work"
    job = Job(config, opened, path.parent, chosen, seed, out, work / "checkpoint")
    finished = _finished(out, job.plan)
    if finished is not None:
        return finished
    if (out / "model.safetensors").exists() and not job.checkpoint.exists():
        raise InputError(
            "train", f"--out {out} holds a model that this command did not make",
            "give another directory",
        )  # fmt: skip
    figures = train_model(job, world, lambda steps: _watched(arm, steps))
    if world.rank == 0:
        temporary = out / f".{TRAINED}"
        temporary.write_text(json.dumps({"plan": job.plan, "figures": figures}, indent=1) + "\n")
        temporary.rename(out / TRAINED)
        shutil.rmtree(work)
    return figures


def read_config(
    handoff: Handoff, preset: str | None, changes: Iterable[str], processes: int = 1
) -> TrainConfig:
    """The settings: what is given, else what the handoff suggests, else the defaults.

    Raises InputError naming the field that cannot be.
    """
    fields = _fields(changes)
    if preset is not None:
        fields["preset"] = preset
    suggested = handoff.suggestion
    if not {"preset", "initial", *SIZES} & fields.keys():
        fields["preset"] = suggested.preset
    fields.setdefault("decay_share", suggested.decay_share)
    if processes > 1:
        fields.setdefault("parallel", "ddp")
    try:
        config = TrainConfig.model_validate(fields)
        if not {"steps", "tokens_per_parameter"} & fields.keys():
            fields["steps"] = max(2, suggested.tokens // config.tokens_per_step)
            config = TrainConfig.model_validate(fields)
        return config
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        raise InputError(
            "train", f"{name}: {first['msg'].lower()}",
            f"the fields are {', '.join(TrainConfig.model_fields)}",
        ) from None  # fmt: skip


def _fields(changes: Iterable[str]) -> dict[str, Any]:
    """Nested fields from `field=value` and `section.field=value`, the value in YAML."""
    fields: dict[str, Any] = {}
    for change in changes:
        address, equals, value = change.partition("=")
        *parents, last = address.strip().split(".")
        place: Any = fields
        try:
            for name in parents:
                place = place.setdefault(name, {})
            place[last] = yaml.safe_load(value)
        except (yaml.YAMLError, AttributeError, TypeError, ValueError):
            equals = ""
        if not equals or not last:
            raise InputError("train", f"--set {change!r}", "write field=value, the value as YAML")
    return fields


def _finished(out: Path, plan: str) -> dict[str, Any] | None:
    """The figures of a model that is there already; InputError where it is another."""
    try:
        record = json.loads((out / TRAINED).read_text())
        of_plan, figures = record["plan"], dict(record["figures"])
    except FileNotFoundError:
        return None
    except (NotADirectoryError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "train", f"--out {out} cannot be used ({type(error).__name__} of {TRAINED})",
            "give another directory",
        ) from None  # fmt: skip
    if of_plan != plan:
        raise InputError(
            "train", f"--out {out} holds a model of other settings or other data",
            "give another directory",
        )  # fmt: skip
    return figures


@contextmanager
def _watched(arm: str, steps: int) -> Iterator[Advance]:
    """A bar where somebody watches, else a line in the log now and then."""
    done, said = 0, time.monotonic()
    with progress_bar(f"train: {arm}", steps) as advance:

        def told(n: int = 1, note: str = "") -> None:
            nonlocal done, said
            advance(n, note)
            done += n
            if note and not CONSOLE.is_terminal and time.monotonic() - said > SAY_EVERY_S:
                said = time.monotonic()
                log.info("train: %s: step %d of %d: %s", arm, done, steps, note)

        yield told


def main() -> int:
    """The command that torchrun starts in every process."""
    parser = argparse.ArgumentParser(prog="downstream.launch", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("handoff", type=Path)
    parser.add_argument("--arm", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    given = parser.parse_args()
    from downstream.parallel import start_world

    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    world = start_world()
    logging.getLogger("primer").setLevel(logging.INFO if world.rank == 0 else logging.ERROR)
    try:
        figures = train_directory(
            given.handoff, given.arm, given.out, given.preset, given.set, given.seed, world
        )
    except StageError as error:
        if world.rank == 0:
            sys.stderr.write(f"primer: {error}\n")
        return error.exit_code
    finally:
        world.end()
    if figures:
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads now and then keep the interpreter from ending
