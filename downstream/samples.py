"""What the trained model writes, for a person to read: beginnings of held-out documents, continued.

The prompts are the first tokens of the first held-out documents of each kind, so they are the same
for every arm; each is continued with the likeliest token at every place, and once more by drawing
at a temperature from a seeded generator. All are written as one batch, without a cache: a second
for a model of a million parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline.config import Section
from pipeline.records import read_rows

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from downstream.model import Llama


class SamplesConfig(Section):
    """Continuations of held-out beginnings."""

    prompts: int = Field(4, ge=1, le=100, description="Beginnings of held-out documents.")
    prompt_tokens: int = Field(32, ge=1, le=4_096, description="Tokens of each beginning.")
    new_tokens: int = Field(48, ge=1, le=4_096, description="Tokens of each continuation.")
    temperature: float = Field(0.8, gt=0, le=5, description="Of the second continuation.")


def write_samples(
    path: Path, model: Llama, documents: Path, tokenizer: Path, end_of_text: int,
    config: SamplesConfig, seed: int, device: torch.device,
) -> None:  # fmt: skip
    """Write samples.md."""
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(tokenizer))
    prompts = _prompts(documents, config)
    sections = []
    greedy = continue_all(model, prompts, end_of_text, config, None, device)
    drawn = continue_all(model, prompts, end_of_text, config, seed, device)
    for (source, prompt), likeliest, one in zip(prompts, greedy, drawn, strict=True):
        parts = [f"## {source}", "The beginning:", _fenced(words, prompt)]
        parts += ["The likeliest continuation:", _fenced(words, likeliest)]
        parts += [f"One drawn at temperature {config.temperature:g}:", _fenced(words, one)]
        sections.append("\n\n".join(parts))
    path.write_text("# Samples\n\n" + "\n\n".join(sections) + "\n")


def _prompts(documents: Path, config: SamplesConfig) -> list[tuple[str, list[int]]]:
    """(where it is from, its first tokens), kinds in turn, of documents that go on after them."""
    by_kind: dict[str, list[tuple[str, list[int]]]] = {}
    for row in read_rows([documents], ["doc_id", "kind", "source", "tokens"]):
        if len(row["tokens"]) > config.prompt_tokens:
            told = f"{row['kind']} of {row['source']}, {row['doc_id']}"
            found = by_kind.setdefault(row["kind"], [])
            if len(found) < config.prompts:
                found.append((told, row["tokens"][: config.prompt_tokens]))
    turns = [of_kind[i : i + 1] for i in range(config.prompts) for of_kind in by_kind.values()]
    return [one for turn in turns for one in turn][: config.prompts]


def continue_all(
    model: Llama, prompts: list[tuple[str, list[int]]], end_of_text: int, config: SamplesConfig,
    seed: int | None, device: torch.device,
) -> list[list[int]]:  # fmt: skip
    """New tokens after each prompt, up to the end of text; the likeliest where `seed` is None."""
    import torch

    if not prompts:
        return []
    ids_BT = torch.tensor([[end_of_text, *prompt] for _, prompt in prompts], device=device)
    first = ids_BT.shape[1]
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    context = model.shape.context_tokens
    model.eval()
    with torch.no_grad():
        for _ in range(config.new_tokens):
            logits_BV = model(ids_BT[:, -context:])[:, -1].float().cpu()
            new_B = _choose(logits_BV, config.temperature, generator).to(device)
            ids_BT = torch.cat([ids_BT, new_B[:, None]], dim=1)
    model.train()
    return [_until(row, end_of_text) for row in ids_BT[:, first:].tolist()]


def _choose(logits_BV: Tensor, temperature: float, generator: Any) -> Tensor:
    import torch

    if generator is None:
        return logits_BV.argmax(-1)
    shares_BV = (logits_BV / temperature).softmax(-1)
    return torch.multinomial(shares_BV, 1, generator=generator)[:, 0]


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids


def _fenced(words: Any, ids: list[int]) -> str:
    text = words.decode(ids, skip_special_tokens=False)
    fence = "`" * 4
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"
