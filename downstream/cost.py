"""How long a GGUF file takes on this machine: loading, reading prompts, telling tokens.

    python -m downstream.cost MODEL --threads 2 --prompts 32,128 --depths 0,128 --decode 64

prints one JSON object: one round. A process of its own gives every model a cold start alike;
`downstream.measuring` starts such rounds over all models in turn, so that a neighbour's load falls
on all alike, and takes medians. The first prompt and a few tokens are read and left out, to warm up
caches and threads. llama.cpp's functions are called in the order of `llama-bench`; how near ours
come to its speeds, benchmarks/evaluation.py measures and docs/evaluating.md says.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from downstream.energy import open_meter
from downstream.llama_session import Session, some_tokens
from downstream.machine import memory_mib, pin_threads, watched

_WARM_UP_TOKENS = 4


@dataclass(frozen=True)
class Plan:
    """What one round measures (tokens); what the model's context does not allow is left out."""

    prompts: tuple[int, ...] = (32, 128, 512)
    depths: tuple[int, ...] = (0, 128)  # tokens that stand before those that are decoded
    decode_tokens: int = 64
    headline_prompt: int = 128  # of the time to the first token
    repetitions: int = 1  # of each figure within the process

    def within(self, context_tokens: int) -> Plan:
        """The part of the plan that fits; a prompt that is too long becomes the longest."""
        longest = max(1, context_tokens - self.decode_tokens)
        prompts = tuple(n for n in self.prompts if n <= context_tokens)
        headline = min(self.headline_prompt, longest)
        depths = tuple(n for n in self.depths if n + self.decode_tokens <= context_tokens)
        return Plan(
            tuple(sorted({*prompts, headline})), depths or (0,),
            min(self.decode_tokens, context_tokens), headline, self.repetitions,
        )  # fmt: skip

    @property
    def context_tokens(self) -> int:
        """What the context must hold."""
        return max(*self.prompts, max(self.depths) + self.decode_tokens, self.headline_prompt + 1)

    def arguments(self) -> list[str]:
        """The plan as the command's options."""
        return [
            f"--prompts={','.join(map(str, self.prompts))}",
            f"--depths={','.join(map(str, self.depths))}",
            f"--decode={self.decode_tokens}",
            f"--headline={self.headline_prompt}",
            f"--repetitions={self.repetitions}",
        ]


def measure_cost(model: Path, plan: Plan, threads: int) -> dict[str, Any]:
    """One round; lists hold one figure for each repetition within it."""
    import llama_cpp  # noqa: F401  # loaded before the baseline: its code is not the model's memory
    import numpy as np  # noqa: F401  # likewise

    processors, meter = pin_threads(threads), open_meter()
    baseline_mib = memory_mib("VmRSS")
    began = time.perf_counter()
    with watched() as load, Session(model, plan.context_tokens, threads) as session:
        session.open_context()
        load_s = time.perf_counter() - began
        tokens = some_tokens(plan.context_tokens, session.vocabulary)
        session.feed(tokens[: plan.headline_prompt])
        session.likeliest()
        cold_first_token_s = time.perf_counter() - began
        session.decode(tokens[:1])
        prefill_s: dict[int, list[float]] = {n: [] for n in plan.prompts}
        decode_s: dict[int, list[float]] = {n: [] for n in plan.depths}
        first_s, joules = [], []
        for _ in range(plan.repetitions):
            for n in plan.prompts:
                session.clear()
                prefill_s[n].append(session.feed(tokens[:n]))
            first_s.append(_first_token(session, tokens[: plan.headline_prompt]))
            for n in plan.depths:
                _at_depth(session, tokens, n)
                before = meter.read()
                decode_s[n].append(session.decode(tokens[n : n + plan.decode_tokens]))
                joules.append(meter.joules_since(before))
        peak_mib = memory_mib("VmHWM")
    return {
        "load_s": load_s,
        "cold_first_token_s": cold_first_token_s,
        "first_token_s": first_s,
        "prefill_s": {str(n): found for n, found in prefill_s.items()},
        "decode_tokens_per_s": {
            str(n): [plan.decode_tokens / s for s in found] for n, found in decode_s.items()
        },
        "decode_joules_per_token": _per_token(joules, plan.decode_tokens),
        "context_tokens": plan.context_tokens,
        "headline_prompt_tokens": plan.headline_prompt,
        "peak_mem_mib": peak_mib - baseline_mib,
        "interpreter_mib": baseline_mib,
        "processors": processors,
        **load.told(),
    }


def _at_depth(session: Session, tokens: Sequence[int], depth: int) -> None:
    """Put `depth` tokens before those to come.

    A few are decoded before they count: the first after a prompt pays for another graph.
    """
    session.clear()
    warm_up = min(_WARM_UP_TOKENS, len(tokens))
    if depth > warm_up:
        session.feed(tokens[: depth - warm_up])
        session.decode(tokens[depth - warm_up : depth])
    elif depth:
        session.decode(tokens[:depth])
    else:
        session.decode(tokens[:warm_up])
        session.clear()


def _first_token(session: Session, prompt: Sequence[int]) -> float:
    """Seconds from an empty context to the first token of the answer, chosen greedily."""
    session.clear()
    began = time.perf_counter()
    session.feed(prompt)
    session.likeliest()
    return time.perf_counter() - began


def _per_token(joules: Sequence[float | None], tokens: int) -> float | None:
    known = [value for value in joules if value is not None]
    return sum(known) / (tokens * len(known)) if known else None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


def main(arguments: list[str]) -> None:
    """The command that `downstream.measuring` starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=_numbers, default=Plan.prompts)
    parser.add_argument("--depths", type=_numbers, default=Plan.depths)
    parser.add_argument("--decode", type=int, default=Plan.decode_tokens)
    parser.add_argument("--headline", type=int, default=Plan.headline_prompt)
    parser.add_argument("--repetitions", type=int, default=Plan.repetitions)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(arguments)
    plan = Plan(given.prompts, given.depths, given.decode, given.headline, given.repetitions)
    sys.stdout.write(json.dumps(measure_cost(given.model, plan, given.threads)))


if __name__ == "__main__":
    main(sys.argv[1:])
