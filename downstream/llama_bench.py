"""llama.cpp's own `llama-bench`, asked for the same figures of the same file.

It is built from the source of the llama.cpp that is installed and linked with the same libraries
(`downstream.llama_source`), so a difference is one of measuring. It runs on the same processors:
affinity is inherited.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path

from pipeline.errors import StageError

_LIMIT_S = 600


def run_llama_bench(
    program: Path, model: Path, prompt: int | None, decode: int | None, depth: int, threads: int,
    repetitions: int,
) -> list[float]:  # fmt: skip
    """Tokens a second of every repetition, of reading `prompt` or of telling `decode` tokens."""
    if (prompt is None) == (decode is None):
        raise ValueError("give a prompt or tokens to decode, not both")
    command = [
        str(program), "-m", str(model), "-p", str(prompt or 0), "-n", str(decode or 0),
        "-d", str(depth), "-t", str(threads), "-r", str(repetitions), "-lm", "none", "-o", "json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    try:
        (row,) = json.loads(done.stdout)
    except ValueError as error:
        told = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise StageError(
            "evaluate", f"llama-bench failed on {model} ({done.returncode}): {told}",
            f"run it by hand: {' '.join(command)}",
        ) from error  # fmt: skip
    return [float(value) for value in row["samples_ts"]]


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Our median over theirs."""
    return statistics.median(ours) / statistics.median(theirs)
