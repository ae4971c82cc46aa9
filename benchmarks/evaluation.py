"""The evaluator's measure of cost against llama.cpp's own, and what it finds of devices and claims.

    python -m benchmarks.evaluation [--quick] [--json FILE]
    python -m benchmarks.evaluation --claims [--quick]

Models have random weights and the shapes of the trainer's presets: speed and memory do not depend
on what weights say. Our rounds and llama-bench's take turns on the same file, threads and
processors, and medians are compared: both should tell the same speed within 3 %. That needs a quiet
machine; what others took of the processors is a row of its own. `--claims` tests the survey's
claims (arXiv 2409.15790) on several types, and says how far a prediction from bandwidth is off.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measured import Row, report
from benchmarks.random_models import write_random
from downstream.claims import CONFIRMED, NOT_MEASURED, judge_claims
from downstream.cost import Plan
from downstream.evaluate_config import BudgetConfig, EvaluateConfig
from downstream.evaluation import Candidate, Evaluation, summarize
from downstream.llama_bench import ratio, run_llama_bench
from downstream.llama_source import llama_program
from downstream.machine import describe_machine, pin_threads
from downstream.measuring import run_measure
from downstream.profiles import check_here, profile_of
from downstream.quantize import quantize_file
from downstream.shape import shape_of

VOCABULARY, CONTEXT_TOKENS = 16_384, 4_096
# Many short samples: some fall between a neighbour's turns, which none of a second does.
PROMPT, DECODED, DEPTH, SAMPLES = 32, 32, 128, 8
MAX_OFF = 0.03
TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K")
QUICK_TYPES = ("Q8_0", "Q5_K_M", "Q4_K_M", "Q3_K_M")


def main() -> None:
    """Measure, print, and exit 1 where a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller measure, within 50 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--claims", action="store_true", help="test the survey's claims instead")
    given = parser.parse_args()
    # one thread where time is short: two wait for each other beside any neighbour
    threads = 1 if given.quick else len(os.sched_getaffinity(0))
    pin_threads(threads)  # llama-bench inherits it, and so runs where ours does
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if given.claims:
            rows = [
                row
                for preset in (("30M",) if given.quick else ("125M", "350M"))
                for row in claims_of(home, preset, given.quick, threads)
            ]
        else:
            cases = (("30M", "Q4_K_M"),) if given.quick else (("125M", "F16"), ("125M", "Q4_K_M"))
            rounds = 5 if given.quick else 4
            rows = [r for case in cases for r in against_llama_bench(home, *case, rounds, threads)]
            rows += memory_rows(home, threads)
    report(rows, given.json)


def make_file(home: Path, preset: str, kind: str) -> Path:
    """A random model of a preset's shape, of a type."""
    full = home / f"{preset}-F16.gguf"
    if not full.exists():
        write_random(full, shape_of(preset, VOCABULARY, CONTEXT_TOKENS))
    path = home / f"{preset}-{kind}.gguf"
    if not path.exists():
        quantize_file(full, path, kind, None, len(os.sched_getaffinity(0)))
    return path


def against_llama_bench(home: Path, preset: str, kind: str, rounds: int, threads: int) -> list[Row]:
    """Prefill, and decoding at two depths: our medians over llama-bench's."""
    path, program = make_file(home, preset, kind), llama_program("llama-bench")
    plan = Plan((PROMPT,), (0, DEPTH), DECODED, PROMPT, repetitions=SAMPLES)
    asked = {"prefill of 32": (PROMPT, None, 0), "decode": (None, DECODED, 0),
             "decode after 128": (None, DECODED, DEPTH)}  # fmt: skip
    ours: dict[str, list[float]] = {name: [] for name in asked}
    theirs: dict[str, list[float]] = {name: [] for name in asked}
    others = []
    for _ in range(rounds):
        told = run_measure("cost", str(path), f"--threads={threads}", *plan.arguments())
        others.append(told["others_cpu_share"])
        ours["prefill of 32"] += [PROMPT / s for s in told["prefill_s"][str(PROMPT)]]
        ours["decode"] += told["decode_tokens_per_s"]["0"]
        ours["decode after 128"] += told["decode_tokens_per_s"][str(DEPTH)]
        for name, (prompt, decode, depth) in asked.items():
            theirs[name] += run_llama_bench(program, path, prompt, decode, depth, threads, SAMPLES)
    rows = [
        Row(
            f"{preset} {kind} {name}: off llama-bench by",
            abs(ratio(ours[name], theirs[name]) - 1), "of it", MAX_OFF,
            peers={
                "median over median": ratio(ours[name], theirs[name]),
                "our median tokens/s": statistics.median(ours[name]),
                "llama-bench's": statistics.median(theirs[name]),
            },
        )
        for name in asked
    ]  # fmt: skip
    load = statistics.median(others)
    return [*rows, Row(f"{preset} {kind}: processors taken by others", load, "of all")]


def memory_rows(home: Path, threads: int) -> list[Row]:
    """The cache at a context of 32,000 as measured, against what one computes."""
    path = make_file(home, "30M", "Q4_K_M")
    told = run_measure("cost_memory", str(path), "--context=32000", f"--threads={threads}")
    off = abs(told["kv_cache_mib"] / told["kv_cache_computed_mib"] - 1)
    shares = {"computed, without the rest": told["kv_share_computed"]}
    return [
        Row("30M: KV cache of 32,000 off the computed by", off, "of it", 0.04),
        Row("30M: KV cache's share of memory at 32,000", told["kv_share"], "of it", peers=shares),
    ]


def claims_of(home: Path, preset: str, quick: bool, threads: int) -> list[Row]:
    """A row for each claim that was measured: 1 confirmed, 0 not; figures are printed."""
    kinds = ("F16", *(QUICK_TYPES if quick else TYPES))
    candidates = [Candidate(preset, None, k, make_file(home, preset, k)) for k in kinds]
    config = EvaluateConfig(
        likeness=None, prompts=(32,) if quick else (32, 512), depths=(0,), threads=threads,
        decode_tokens=16 if quick else 32, repetitions=3, share_tokens=4,
    )  # fmt: skip
    scratch = home / f"{preset}-work"
    scratch.mkdir()
    evaluation = Evaluation(candidates, None, config, scratch)
    models = summarize(evaluation, evaluation.run(lambda *_, **__: None))
    rows = []
    for claim in judge_claims(models):
        sys.stdout.write(f"{preset}: {claim['claim']}: {claim['verdict']}: {claim['figures']}\n")
        if claim["verdict"] != NOT_MEASURED:
            confirmed = float(claim["verdict"] == CONFIRMED)
            rows.append(Row(f"{preset}: {claim['claim']}", confirmed, "(1 confirmed)"))
    return rows + _prediction_rows(preset, models, threads)


def _prediction_rows(preset: str, models: list[dict[str, Any]], threads: int) -> list[Row]:
    here = profile_of(describe_machine(threads))
    found = check_here(models, here, BudgetConfig().granted())
    return [
        Row(
            f"{preset} {told['type']}: prediction of this machine off by", told["off_share"],
            "of it", peers={"measured tokens/s": told["measured_tokens_per_s"]},
        )
        for told in found
    ]  # fmt: skip


if __name__ == "__main__":
    main()
