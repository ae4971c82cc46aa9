"""A GGUF file as a model of the lm-evaluation-harness.

The choices of one question share their prompt: it is computed once, stays in the key-value cache,
and all choices continue it in one batch. Requests that share most of their tokens stand next to
each other in every task, so neighbours are grouped; what consecutive groups share (the examples of
a few-shot prompt) is not computed again either. Several samples of one prompt are drawn side by
side in the same way.

Tokens are split as `TemplateLM` does for lm-eval's `hf` model, so both score the same tokens.
Source: lm_eval.api.model (0.4.13).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs

from downstream.gguf_model import GgufModel, Rows, count_shared, log_probabilities
from pipeline.errors import InputError

SEQUENCES = 8  # continuations in one batch
_ALIKE_SHARE = 0.5  # of a request's tokens, shared with the first of its group

Pair = tuple[list[int], list[int]]  # tokens of a context and of its continuation


class LlamaCppLM(TemplateLM):  # type: ignore[misc]  # lm-eval carries no types
    """An opened GGUF file; `model` must allow SEQUENCES branches."""

    def __init__(self, model: GgufModel, seed: int) -> None:
        super().__init__()
        self.model, self.seed = model, seed
        self.max_length = model.context_tokens
        self.max_gen_toks = 256  # as lm-eval's hf model

    @property
    def eot_token_id(self) -> int:
        """The token that ends an answer."""
        return self.model.end_of_text

    @property
    def prefix_token_id(self) -> int:
        """The token before a text without context."""
        return self.model.begin_of_text

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Ids of a text, with what the file says belongs before it unless told otherwise."""
        return self.model.tokenize(string, add_special_tokens is not False)

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        pairs = [(context, continuation) for _, context, continuation in requests]
        told: list[tuple[float, bool]] = []
        for group in alike(pairs, self.model.cells):
            told += self._score(group)
        return told

    def _score(self, group: list[Pair]) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of each continuation, and whether greedy decoding finds it."""
        shared = shared_tokens(group)
        self.model.hold(group[0][0][:shared])
        self.model.branch(len(group))
        fed = [
            (token, position, sequence, position >= len(context) - 1)
            for sequence, (context, continuation) in enumerate(group, start=1)
            for position, token in enumerate([*context, *continuation][:-1])
            if position >= shared
        ]
        tokens, positions, sequences, wanted = (list(part) for part in zip(*fed, strict=True))
        targets = [token for _, continuation in group for token in continuation]
        owners = [i for i, (_, continuation) in enumerate(group) for _ in continuation]
        sums, greedy, at = np.zeros(len(group)), np.ones(len(group), dtype=bool), 0
        for rows in self.model.decode(tokens, positions, sequences, wanted):
            some = slice(at, at + len(rows))
            told, is_top = log_probabilities(rows, targets[some])
            np.add.at(sums, owners[some], told)
            np.logical_and.at(greedy, owners[some], is_top)
            at += len(rows)
        self.model.branch(0)
        return [(float(s), bool(g)) for s, g in zip(sums, greedy, strict=True)]

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of whole texts, in lm-eval's own windows of the model's context."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        sums = []
        for request in requests:
            pieces = get_rolling_token_windows(
                self.tok_encode(request.args[0], add_special_tokens=False),
                prefix_token=self.prefix_token_id, max_seq_len=self.max_length, context_len=1,
            )  # fmt: skip
            pairs = [make_disjoint_window(piece) for piece in pieces]
            sums.append(sum(self._score([pair])[0][0] for pair in pairs))
        return sums

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """An answer to each request; equal requests next to each other are drawn together."""
        answers: list[str] = []
        while len(answers) < len(requests):
            begin = len(answers)
            text, asked = requests[begin].args
            prompt = self.tok_encode(text) or [self.prefix_token_id]
            kwargs: Any = normalize_gen_kwargs(asked, self.max_gen_toks)
            kwargs["max_gen_toks"] = self._room(prompt, kwargs["max_gen_toks"])
            together = (self.model.cells - len(prompt)) // kwargs["max_gen_toks"]
            end = begin + 1
            most = min(len(requests), begin + max(1, min(SEQUENCES, together)))
            while end < most and requests[end].args == (text, asked):
                end += 1
            draws = [getattr(requests[i], "draw", i - begin) for i in range(begin, end)]
            answers += self._answer(prompt, kwargs, draws)
        return answers

    def _room(self, prompt: list[int], answer_tokens: int) -> int:
        """How long the answer may be: it ends where the context does."""
        room = self.max_length - len(prompt)
        if room < 1:
            raise InputError(
                "evaluate", f"a prompt of {len(prompt)} tokens, the context has {self.max_length}",
                "shorten the prompt, or raise the context",
            )  # fmt: skip
        return min(room, answer_tokens)

    def _answer(self, prompt: list[int], asked: Any, draws: list[int]) -> list[str]:
        """Texts that continue the prompt, side by side, each up to its first stop."""
        self.model.hold(prompt[:-1])
        self.model.branch(len(draws))
        named = zlib.crc32(np.array(prompt).tobytes())
        random = [np.random.default_rng((self.seed, draw, named)) for draw in draws]
        written: list[list[int]] = [[] for _ in draws]
        texts = [""] * len(draws)
        last = [prompt[-1]] * len(draws)
        unfinished = list(range(len(draws)))
        for position in range(len(prompt) - 1, len(prompt) - 1 + asked["max_gen_toks"]):
            n = len(unfinished)
            fed = [last[i] for i in unfinished], [position] * n, [i + 1 for i in unfinished]
            rows = next(self.model.decode(*fed, [True] * n))
            still = []
            for row, i in zip(rows, unfinished, strict=True):
                last[i] = choose(row, asked, random[i])
                if self.model.ends(last[i]):
                    continue
                written[i].append(last[i])
                texts[i] = self.model.detokenize(written[i])
                if not any(stop and stop in texts[i] for stop in asked["until"]):
                    still.append(i)
            unfinished = still
            if not unfinished:
                break
        self.model.branch(0)
        return [cut(text, asked["until"]) for text in texts]


def alike(pairs: list[Pair], cells: int) -> Iterator[list[Pair]]:
    """Neighbours that share most of their tokens and fit into the cache together."""
    group: list[Pair] = []
    for pair in pairs:
        if group and not _joins(pair, group, cells):
            yield group
            group = []
        group.append(pair)
    if group:
        yield group


def _joins(pair: Pair, group: list[Pair], cells: int) -> bool:
    first = group[0][0] + group[0][1]
    alike_tokens = count_shared(first, pair[0] + pair[1])
    if len(group) == SEQUENCES or alike_tokens < _ALIKE_SHARE * len(first):
        return False
    joined = [*group, pair]
    shared = shared_tokens(joined)
    return shared + sum(len(c) + len(more) - 1 - shared for c, more in joined) <= cells


def shared_tokens(group: list[Pair]) -> int:
    """What all contexts begin with, but for a context's last token, whose logits are wanted."""
    first = group[0][0]
    return min(min(count_shared(first, c), len(c) - 1) for c, _ in group)


def choose(row: Rows, asked: dict[str, Any], random: np.random.Generator) -> int:
    """The next token: the likeliest, or drawn at a temperature from the smallest set of `top_p`."""
    if not asked["do_sample"]:
        return int(row.argmax())
    scaled = row.astype(np.float64) / asked["temperature"]
    p = np.exp(scaled - scaled.max())
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    kept = order[: int(np.searchsorted(p[order].cumsum(), asked.get("top_p", 1.0))) + 1]
    return int(random.choice(kept, p=p[kept] / p[kept].sum()))


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stops, as lm-eval's hf model cuts it."""
    for stop in stops:
        if stop:
            text = text.split(stop, maxsplit=1)[0]
    return text
