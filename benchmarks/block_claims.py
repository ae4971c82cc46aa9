"""How often code written by people is misread: what is compared, and how it comes out.

    python -m benchmarks.block_claims [--quick] [--json FILE]

Two readings of shared/data: every block of Python and every session of the prose that has some
(tutorials, documentation) is judged as a piece's would be, though a fault ends nothing here; and
every file of code is searched for comments that count as claims, which are compared where the file
runs. Only what was compared can be a misreading, so what differs is printed, to be read: people
wrote these texts, and most of what they show is right. Without the data this says so and measures
nothing.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measured import Row, arguments, report
from pipeline.code_blocks import Block, read_blocks
from pipeline.run_blocks import judge_blocks
from pipeline.sandbox import Sandbox, SandboxConfig
from pipeline.stated_outputs import find_wrong_claim, mark_claims, stated_below

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TEXTS, FILES = "web/prose.jsonl.gz", "code/python_files.jsonl.gz"
FAILURES = ("code_failed", "module_absent")
WORKERS = 2
_RAISED = re.compile(r"Exception raised: (\w+)")  # as the first difference of a session

Outcome = tuple[str, str, int, str]  # kind of block, reason or "ok", outputs compared, evidence


def main() -> None:
    """Judge the texts' blocks, then the files' comments."""
    options = arguments(__doc__)
    if not DATA.is_dir():
        sys.exit(f"block_claims: there is no {DATA}; give it the texts")
    share = 10 if options.quick else 1
    sandbox = Sandbox("benchmark", SandboxConfig(wall_seconds=5, cpu_seconds=3))
    with ThreadPoolExecutor(WORKERS) as pool:
        texts = [text for text in list(_texts(TEXTS))[::share] if _python(text)]
        judged = pool.map(lambda text: _judge(text, sandbox), texts)
        outcomes = [one for found in judged for one in found]
        files = list(_texts(FILES))[::share]
        claims = list(pool.map(lambda code: _compare_comments(code, sandbox), files))
    sandbox.close()
    sentences = sum(stated_below(text, b.end) is not None for text in texts for b in _python(text))
    _print_differences(outcomes)
    rows = _rows_of_texts(len(texts), outcomes)
    rows.append(Row("sentences below a block that say what it prints", sentences, "sentences"))
    report(rows + _rows_of_files(claims), options.json)


def _texts(name: str) -> Iterator[str]:
    with gzip.open(DATA / name, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def _python(text: str) -> list[Block]:
    return [block for block in read_blocks(text) if block.kind in {"python", "session"}]


def _judge(text: str, sandbox: Sandbox) -> list[Outcome]:
    found: list[Outcome] = []
    before = 0
    for block, judged in judge_blocks(text, sandbox):
        compared, before = judged.checked - before, judged.checked
        if block.kind in {"python", "session"}:
            found.append((block.kind, judged.reason or "ok", compared, judged.evidence))
    return found


def _compare_comments(code: str, sandbox: Sandbox) -> tuple[int, int, int]:
    """Comments of a file that count as claims, that could be compared, that differ."""
    marked, claims = mark_claims(code)
    if not claims:
        return 0, 0, 0
    compared, wrong = find_wrong_claim(claims, sandbox.run(marked).stdout)
    return len(claims), compared, wrong is not None


def _print_differences(outcomes: list[Outcome]) -> None:
    for kind, reason, _, evidence in outcomes:
        if kind == "python" and reason not in ("ok", *FAILURES):
            sys.stdout.write(f"{reason}: {' '.join(evidence.split())[:160]}\n")


def _rows_of_texts(texts: int, outcomes: list[Outcome]) -> list[Row]:
    rows = [Row("texts with Python", texts, "texts")]
    for kind in ("python", "session"):
        reasons = Counter(reason for k, reason, *_ in outcomes if k == kind)
        compared = sum(n for k, _, n, _ in outcomes if k == kind)
        rows.append(Row(f"{kind}: blocks", reasons.total(), "blocks"))
        rows += [Row(f"{kind}: {reason}", n, "blocks") for reason, n in reasons.most_common()]
        rows.append(Row(f"{kind}: outputs compared", compared, "outputs"))
    raised = Counter(found[1] for *_, evidence in outcomes if (found := _RAISED.search(evidence)))
    return rows + [Row(f"session: {error}", n, "blocks") for error, n in raised.most_common()]


def _rows_of_files(claims: list[tuple[int, int, int]]) -> list[Row]:
    names = ("comments that count as claims", "of them compared", "of them wrong")
    rows = [Row("files of code", len(claims), "files")]
    return rows + [
        Row(name, sum(column), "comments")
        for name, column in zip(names, zip(*claims, strict=True), strict=True)
    ]


if __name__ == "__main__":
    main()
