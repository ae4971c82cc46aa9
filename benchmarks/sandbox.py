"""The sandbox: runs a second, beside a bare start of the same Python, with 1 and 2 workers.

    python -m benchmarks.sandbox [--quick] [--json FILE]

Both do nothing (`pass`); the last row runs a block as textbooks have them, which imports modules.
The bare Python is started without site-packages, as the sandbox's is, and nothing guards it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.measured import Row, arguments, medians, report
from pipeline.sandbox import Sandbox, SandboxConfig

PYTHON = (os.path.realpath(sys.executable), "-S", "-s", "-P", "-B", "-c")
BLOCK = (
    "import dataclasses, re\n@dataclasses.dataclass\nclass Word:\n    text: str\n"
    "print([Word(w) for w in re.findall(r'\\w+', 'a few words')])\n"
)


def main() -> None:
    """Measure opening once, then runs in turn."""
    options = arguments(__doc__)
    runs, rounds = (40, 3) if options.quick else (200, 5)
    opened = []
    for _ in range(rounds):
        began = time.perf_counter()
        sandbox = Sandbox("benchmark", SandboxConfig())
        opened.append(time.perf_counter() - began)
        sandbox.close()
    sandbox = Sandbox("benchmark", SandboxConfig())
    sys.stdout.write("".join(f"active: {line}\n" for line in sandbox.protection))
    rows = [Row("opening, with trying what is active", statistics.median(opened) * 1e3, "ms")]
    for name, code in (("pass", "pass"), ("a block with imports", BLOCK)):
        for workers in (1, 2):
            seconds = medians(
                {
                    "ours": _many(sandbox.run, code, runs, workers),
                    "bare python": _many(_bare, code, runs, workers),
                },
                rounds,
            )
            each = {contender: runs / took for contender, (took, _) in seconds.items()}
            rows.append(
                Row(f"{name}, {workers} at once", each["ours"], "runs a second",
                    peers={"bare python": each["bare python"]})
            )  # fmt: skip
    sandbox.close()
    report(rows, options.json)


def _many(run: Callable[[str], object], code: str, runs: int, workers: int) -> Callable[[], None]:
    def work() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(run, [code] * runs))

    return work


def _bare(code: str) -> None:
    subprocess.run([*PYTHON, code], check=True, capture_output=True)


if __name__ == "__main__":
    main()
