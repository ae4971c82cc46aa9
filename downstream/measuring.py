"""Measures in processes of their own, all files in turn, and none twice.

Every measure is a command that prints one JSON object. Rounds go over all files before the next
begins, so that a neighbour's load falls on all alike; what was measured before a crash is read
back from the scratch directory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import StageError


def run_measure(module: str, *arguments: str) -> Any:
    """What `python -m downstream.MODULE` prints; StageError with its last line where it fails."""
    # the caller's folder stays, for paths are relative to it; -P keeps its modules out
    root = str(Path(__file__).resolve().parents[1])
    found = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-P", "-m", f"downstream.{module}", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": found},
    )  # fmt: skip
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise StageError(
            "evaluate", f"measuring {arguments[0]} failed ({done.returncode}): {told}",
            "run the same command again; see that memory suffices",
        )  # fmt: skip
    return json.loads(done.stdout)


def once(path: Path, measure: Callable[[], Any]) -> Any:
    """What was measured before is read back."""
    if not path.exists():
        temporary = path.with_suffix(".writing")
        temporary.write_text(json.dumps(measure()))
        temporary.rename(path)
    return json.loads(path.read_text())


def middle(values: Iterable[float]) -> float:
    """The median, to six digits."""
    return float(f"{statistics.median(values):.6g}")


def spread(values: Sequence[float]) -> float:
    """From lowest to highest, as a share of the median."""
    return round((max(values) - min(values)) / statistics.median(values), 3)


def summarize_rounds(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Medians and spreads over the rounds of one file (as `downstream.cost` prints them)."""
    first = rounds[0]
    prefill = {
        int(n): [s for one in rounds for s in one["prefill_s"][n]] for n in first["prefill_s"]
    }
    decode = {
        int(n): [v for one in rounds for v in one["decode_tokens_per_s"][n]]
        for n in first["decode_tokens_per_s"]
    }
    headline = first["headline_prompt_tokens"]
    joules = [j for one in rounds if (j := one["decode_joules_per_token"]) is not None]
    loads = [x for one in rounds if (x := one["others_cpu_share"]) is not None]
    return {
        "prefill_tokens_per_s": middle(headline / s for s in prefill[headline]),
        "decode_tokens_per_s": middle(decode[min(decode)]),
        "decode_spread": spread(decode[min(decode)]),
        "load_s": middle(one["load_s"] for one in rounds),
        "first_token_s": middle(s for one in rounds for s in one["first_token_s"]),
        "cold_first_token_s": middle(one["cold_first_token_s"] for one in rounds),
        "prompt_tokens": headline,
        "peak_mem_mib": round(middle(one["peak_mem_mib"] for one in rounds), 3),
        "interpreter_mib": round(middle(one["interpreter_mib"] for one in rounds), 3),
        "prefill": [
            {"tokens": n, "seconds": middle(found), "spread": spread(found),
             "tokens_per_s": middle(n / s for s in found)}
            for n, found in sorted(prefill.items())
        ],
        "decode": [
            {"depth_tokens": n, "tokens_per_s": middle(found), "spread": spread(found),
             "lowest": round(min(found), 3), "highest": round(max(found), 3)}
            for n, found in sorted(decode.items())
        ],
        "repetitions": len(decode[min(decode)]),
        "decode_joules_per_token": middle(joules) if joules else None,
        "others_cpu_share": middle(loads) if loads else None,
        "load_average": middle(one["load_average"] for one in rounds),
    }  # fmt: skip
