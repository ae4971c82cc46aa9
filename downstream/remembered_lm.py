"""A model of the harness whose answers outlive it, and that is not asked what it cannot read whole.

lm-eval has a cache of requests, but of pickles, and it keeps none that was drawn at random; and
where a request is longer than the context, lm-eval silently cuts it at its left, so that a few-shot
prompt loses its examples and the score is of another task. Here each answer is in a SQLite file
before the next chunk is asked (a killed evaluation repeats at most one chunk), samples carry their
number, and an item of which any request is too long is left out, counted and named.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM

# requests between two commits: some questions, or as many answers as are drawn side by side
_CHUNK = {"loglikelihood": 32, "loglikelihood_rolling": 1, "generate_until": 8}
_UNANSWERED = {"loglikelihood": (0.0, False), "generate_until": "", "loglikelihood_rolling": 0.0}


@dataclass(frozen=True)
class Asked:
    """A request, and which of several draws of the same one it is."""

    args: tuple[Any, ...]
    draw: int


class RememberedLM(LM):  # type: ignore[misc]  # lm-eval carries no types
    """`lm` with a memory; `model_name` stands for its weights and settings in the memory's keys."""

    def __init__(
        self, lm: Any, memory: Path, model_name: str, seed: int, tell: Callable[[int], None]
    ) -> None:
        super().__init__()
        self.lm, self.seed, self.tell = lm, seed, tell
        self.too_long: dict[int, int] = {}  # item -> tokens of its longest request
        self._name = model_name
        self._memory = sqlite3.connect(memory)
        self._memory.execute(
            "CREATE TABLE IF NOT EXISTS told (asked TEXT PRIMARY KEY, answer TEXT)"
        )

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) and whether greedy decoding finds it."""
        return [
            (float(told), bool(greedy)) for told, greedy in self._answers("loglikelihood", requests)
        ]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        """Log-likelihood of whole texts: these are windowed, so none is too long."""
        return [float(told) for told in self._answers("loglikelihood_rolling", requests)]

    def generate_until(self, requests: list[Any]) -> list[str]:
        """Answers in text."""
        return [str(told) for told in self._answers("generate_until", requests)]

    def _answers(self, what: str, requests: list[Any]) -> list[Any]:
        self._find_too_long(what, requests)
        drawn: Counter[int] = Counter()
        asked: list[Asked] = []
        for request in requests:
            asked.append(Asked(request.args, drawn[id(request)]))
            drawn[id(request)] += 1
        answers: list[Any] = []
        for begin in range(0, len(requests), _CHUNK[what]):
            some = range(begin, min(begin + _CHUNK[what], len(requests)))
            readable = [i for i in some if requests[i].doc.get("item") not in self.too_long]
            known = self._answer_chunk(what, [asked[i] for i in readable])
            told = dict(zip(readable, known, strict=True))
            answers += [told.get(i, _UNANSWERED[what]) for i in some]
            self.tell(len(some))
        return answers

    def _answer_chunk(self, what: str, asked: Sequence[Asked]) -> list[Any]:
        keys = [self._key(what, one) for one in asked]
        told = {key: self._recall(key) for key in keys}
        missing = [i for i, key in enumerate(keys) if told[key] is None]
        if missing:
            self._seed(keys[missing[0]])
            fresh = getattr(self.lm, what)([asked[i] for i in missing], disable_tqdm=True)
            rows = [(keys[i], json.dumps(one)) for i, one in zip(missing, fresh, strict=True)]
            with self._memory:
                self._memory.executemany("INSERT OR REPLACE INTO told VALUES (?, ?)", rows)
            told |= {key: json.loads(answer) for key, answer in rows}
        return [told[key] for key in keys]

    def _recall(self, key: str) -> Any:
        row = self._memory.execute("SELECT answer FROM told WHERE asked = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def _key(self, what: str, asked: Asked) -> str:
        is_drawn = what == "generate_until" and asked.args[1].get("do_sample")
        seed = (self.seed, asked.draw) if is_drawn else None
        return hashlib.sha256(json.dumps([self._name, what, asked.args, seed]).encode()).hexdigest()

    def _seed(self, key: str) -> None:
        """What transformers draws depends on the question, not on what was asked before a crash."""
        import torch

        torch.manual_seed(int(key[:8], 16) ^ self.seed)

    def _find_too_long(self, what: str, requests: list[Any]) -> None:
        if what == "loglikelihood_rolling":
            return
        for request in requests:
            context, more = request.args[:2]
            if what == "loglikelihood":  # the last token is told, not read
                text, beside = context + more, (context == "") - 1
            else:
                text, beside = context, more.get("max_gen_toks", self.lm.max_gen_toks)
            if len(text.encode()) + beside + 2 <= self.lm.max_length:
                continue  # a token is a byte at least, and at most two are put around a text
            n = len(self.lm.tok_encode(text)) + beside
            if n > self.lm.max_length and "item" in request.doc:
                item = request.doc["item"]
                self.too_long[item] = max(n, self.too_long.get(item, 0))

    def close(self) -> None:
        """Let go of the memory's file."""
        self._memory.close()
