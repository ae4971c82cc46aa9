"""Stage 8: one tokenizer, arms of equal tokens, one pinned validation set.

The tokenizer is a byte-level BPE (GPT-2's scheme) trained on documents of all arms. Each arm's
documents are shuffled by a hash of their ids and cut to the same number of tokens; an arm that has
fewer goes round again, a bounded number of times. The last part of the budget is `anneal`, read
while the learning rate decays (MiniCPM, arXiv 2404.06395, section 5): synthetic pieces first, then
the best scored, where the arm knows scores; for `raw`, simply more of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from pipeline.config import Section
from pipeline.decontaminate import ARMS
from pipeline.errors import StageError
from pipeline.ledger import Ledger
from pipeline.records import read_batches, read_rows, write_table
from pipeline.splits import ValidationConfig, in_validation, place_of
from pipeline.stage import Outcome, Sealed, Stage, Workplace
from pipeline.validation_set import VALIDATION, bytes_per_token, choose_validation

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"


class TokenizeConfig(Section):
    """The tokenizer, and how much of each arm is trained on."""

    vocabulary: int = Field(
        16_384, ge=300, le=1_000_000, description="Tokens, the 256 bytes and the end among them."
    )
    max_train_bytes: int = Field(
        50_000_000, ge=10_000, description="Text that the tokenizer is trained on (bytes)."
    )
    budget_tokens: int | None = Field(
        None, ge=1_000, description="Tokens of every arm; null takes the smallest arm's."
    )
    max_repeats: float = Field(
        4, ge=1, le=100, description="An arm may be read so often to fill the budget (epochs)."
    )
    anneal_share: float = Field(
        0.3, gt=0, lt=1, description="Share of the tokens kept for the decay of the rate."
    )
    validation_document_bytes: int = Field(
        8_000, ge=500, description="A held-out document is cut to so much (bytes)."
    )


@dataclass(frozen=True)
class Piece:
    """A document of an arm, as tokens with the end of text, and how it ranks for the end."""

    doc_id: str
    synthetic: bool
    score: float
    tokens: np.ndarray[Any, np.dtype[np.uint32]]


def tokenize(place: Workplace) -> Outcome:
    """Train the tokenizer, cut the arms, pin the validation set."""
    config, held_out = place.section(TokenizeConfig), place.section(ValidationConfig)
    arms = place.needs["decontaminate"]
    score_of = _scores(place.needs["apply-filter"])
    with place.bar("training the tokenizer", 1) as advance:
        tokenizer = _train(arms, config, place.seed, held_out)
        advance()
    tokenizer.save(str(place.out / "tokenizer.json"))
    validation = choose_validation(
        arms, config.validation_document_bytes, place.seed, held_out, tokenizer, score_of
    )
    write_table(place.out / "val" / "documents.parquet", validation, VALIDATION)
    pieces: dict[str, list[Piece]] = {}
    with place.bar("tokenizing arms", len(ARMS)) as advance:
        known: dict[str, Piece] = {}
        for arm in ARMS:
            pieces[arm] = _pieces(arms, arm, place.seed, held_out, tokenizer, score_of, known)
            advance(note=arm)
    total = {arm: sum(len(p.tokens) for p in pieces[arm]) for arm in ARMS}
    budget = config.budget_tokens or min(total.values())
    _check_budget(budget, total, config)
    dtype = np.uint16 if tokenizer.get_vocab_size() <= 2**16 else np.uint32
    facts, used = {}, {row["doc_id"] for row in validation}
    for arm in ARMS:
        facts[arm], ids = _write_arm(
            place.out / "arms" / arm, arm, pieces[arm], budget, config, dtype
        )
        used |= ids
    everyone = {p.doc_id: None for arm in ARMS for p in pieces[arm]}
    rest = len(everyone.keys() - used)
    unused = _held_out_ids(arms, place.seed, held_out) - used
    ledger = Ledger(
        "documents", len(used) + rest + len(unused), len(used),
        {"held_out_not_used": len(unused), "over_budget": rest},
    )  # fmt: skip
    report = {
        "budget_tokens": budget,
        "vocabulary": tokenizer.get_vocab_size(),
        "token_dtype": dtype.__name__,
        "end_of_text": tokenizer.token_to_id(END_OF_TEXT),
        "arms": facts,
        "validation_documents": len(validation),
        "validation_bytes": sum(row["n_bytes"] for row in validation),
        "validation_tokens": sum(len(row["tokens"]) for row in validation),
        "bytes_per_token": bytes_per_token(validation),
    }
    return Outcome(ledger, report)


def _scores(scored: Sealed) -> dict[str, tuple[float, bool]]:
    rows = read_rows(scored.files("scores/*.parquet"), ["doc_id", "score", "keep"])
    return {row["doc_id"]: (row["score"], row["keep"]) for row in rows}


def _train(
    arms: Sealed, config: TokenizeConfig, seed: int, held_out: ValidationConfig
) -> Tokenizer:
    """A byte-level BPE on a sample in the order of a hash, read once for each document."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    ranked: dict[str, tuple[float, str]] = {}
    for arm in ARMS:
        for row in read_rows(arms.files(f"arms/{arm}/*.parquet"), ["doc_id", "group", "text"]):
            if not in_validation(row["group"], seed, held_out):
                order = place_of(row["doc_id"], seed, "tokenizer")
                ranked[row["doc_id"]] = (order, row["text"])
    texts, taken = [], 0
    for _, text in sorted(ranked.values()):
        head = text.encode()[: config.max_train_bytes - taken]
        texts.append(head.decode("utf-8", "ignore"))
        taken += len(head)
        if taken >= config.max_train_bytes:
            break
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=config.vocabulary,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.encode_special_tokens = True  # text that spells out the end of text ends nothing
    return tokenizer


def _pieces(
    arms: Sealed, arm: str, seed: int, held_out: ValidationConfig, tokenizer: Tokenizer,
    score_of: dict[str, tuple[float, bool]], known: dict[str, Piece],
) -> list[Piece]:  # fmt: skip
    """The arm's documents as tokens, in a seeded order; a document is tokenized once."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    found: list[Piece] = []
    for batch in read_batches(
        arms.files(f"arms/{arm}/*.parquet"), ["doc_id", "text", "group", "origin"]
    ):
        rows = [r for r in batch.to_pylist() if not in_validation(r["group"], seed, held_out)]
        new = [r for r in rows if r["doc_id"] not in known]
        encoded = tokenizer.encode_batch_fast([r["text"] for r in new], add_special_tokens=False)
        for row, tokens in zip(new, encoded, strict=True):
            ids = np.array([*tokens.ids, end], np.uint32)
            score = score_of.get(row["doc_id"], (1.0, True))[0]
            known[row["doc_id"]] = Piece(row["doc_id"], row["origin"] == "synthetic", score, ids)
        found += [known[r["doc_id"]] for r in rows]
    return sorted(found, key=lambda piece: place_of(piece.doc_id, seed, "order"))


def _check_budget(budget: int, total: dict[str, int], config: TokenizeConfig) -> None:
    arm = min(total, key=lambda name: total[name])
    if total[arm] == 0 or budget > config.max_repeats * total[arm]:
        raise StageError(
            "tokenize",
            f"arm {arm!r} has {total[arm]} tokens, too few for a budget of {budget} in at most "
            f"{config.max_repeats:g} epochs",
            "lower tokenize.budget_tokens, raise tokenize.max_repeats, or keep more",
        )


def _write_arm(
    folder: Path, arm: str, pieces: list[Piece], budget: int, config: TokenizeConfig,
    dtype: type[np.unsignedinteger[Any]],
) -> tuple[dict[str, Any], set[str]]:  # fmt: skip
    """`base` and `anneal` of one arm; what it is made of, and the documents used."""
    anneal_budget = min(max(1, round(budget * config.anneal_share)), budget - 1)
    ranked = sorted(pieces, key=lambda p: (not p.synthetic, -p.score, p.doc_id))
    anneal = _cut(pieces[::-1] if arm == "raw" else ranked, anneal_budget)
    late = {piece.doc_id for piece, _ in anneal}
    early = [p for p in pieces if p.doc_id not in late] or pieces
    parts = {"base": _cut(early, budget - anneal_budget), "anneal": anneal}
    facts: dict[str, Any] = {"tokens": budget, "epochs": round(budget / _length(pieces), 3)}
    for name, part in parts.items():
        path = folder / name / "00000.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        tokens = np.concatenate([p.tokens[:n] for p, n in part]).astype(dtype)
        path.write_bytes(tokens.astype(tokens.dtype.newbyteorder("<")).tobytes())
        facts[f"{name}_tokens"] = len(tokens)
        facts[f"{name}_synthetic_tokens"] = sum(n for p, n in part if p.synthetic)
    used = {p.doc_id for part in parts.values() for p, _ in part}
    facts["documents"] = len(used)
    return facts, used


def _length(pieces: list[Piece]) -> int:
    return sum(len(piece.tokens) for piece in pieces)


def _cut(pieces: list[Piece], budget: int) -> list[tuple[Piece, int]]:
    """Pieces in order, going round, with how many tokens of each fill exactly the budget."""
    taken: list[tuple[Piece, int]] = []
    left = budget
    while left:
        for piece in pieces:
            n = min(left, len(piece.tokens))
            taken.append((piece, n))
            left -= n
            if not left:
                break
    return taken


def _held_out_ids(arms: Sealed, seed: int, held_out: ValidationConfig) -> set[str]:
    rows = read_rows(arms.files("arms/raw/*.parquet"), ["doc_id", "group"])
    return {row["doc_id"] for row in rows if in_validation(row["group"], seed, held_out)}


STAGE = Stage(
    number=8,
    name="tokenize",
    version=2,
    needs=("decontaminate", "apply-filter"),
    makes=(
        "tokenizer.json",
        "val/documents.parquet",
        *(f"arms/{arm}/{part}/*.bin" for arm in ARMS for part in ("base", "anneal")),
    ),
    sees=(TokenizeConfig, ValidationConfig),
    work=tokenize,
)
