"""Stage 8: one tokenizer, arms of equal tokens, one pinned validation set.

Documents are tokenized once (`token_store`) with a tokenizer that is trained or given
(`tokenizer_training`). Every arm gets the same budget of tokens (`budget`), its last part as
`anneal`, read while the learning rate decays; what each stage is made of is decided by the mixture
(`mixture`, `mixed_stage`) and told in mixture.md. A seeded hash decides every order, so that the
same documents make the same bytes however many files they lie in.

A version with a parent has the parent's tokenizer and its validation set, byte for byte, so that
models of both can be compared; what is new and falls into held-out groups is not trained on. All
documents are tokenized again, since the arms are mixed anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from pipeline.arms import ARMS
from pipeline.budget import CHINCHILLA, Budget, check_budget, choose_budget
from pipeline.config import Section
from pipeline.errors import InputError
from pipeline.finetuning import write_finetuning
from pipeline.increment import (
    IncrementConfig,
    VersionedStage,
    grown,
    link_file,
    parent_stage,
)
from pipeline.ingest import IngestConfig
from pipeline.ledger import Ledger
from pipeline.megatron import write_megatron
from pipeline.mixed_stage import MixedStage, Mixer
from pipeline.mixture import MixtureConfig, StageName
from pipeline.mixture_report import arm_facts, write_mixture
from pipeline.piece import SOURCE
from pipeline.records import read_rows, write_table
from pipeline.score_table import ScoreTable
from pipeline.splits import ValidationConfig
from pipeline.stage import Outcome, Sealed, Sections, Workplace
from pipeline.token_shards import write_shards
from pipeline.token_store import TokenStore, count_documents, tokenize_documents
from pipeline.tokenizer_training import END_OF_TEXT, load_tokenizer, train_tokenizer
from pipeline.validation_set import VALIDATION, bytes_per_token, choose_validation

if TYPE_CHECKING:
    from tokenizers import Tokenizer

STAGES: tuple[StageName, ...] = ("base", "anneal")
_PINNED = "val/documents.parquet"


class TokenizeConfig(Section):
    """The tokenizer, and how much of what each arm is trained on."""

    tokenizer: str | None = Field(
        None, description="Path of a tokenizer.json to take; null trains one."
    )
    end_of_text: str | None = Field(
        None, description="Token of a given tokenizer that ends a text; null finds a usual one."
    )
    vocabulary: int = Field(
        16_384, ge=300, le=1_000_000,
        description="Tokens of a trained tokenizer, the 256 bytes and the end among them.",
    )  # fmt: skip
    max_train_bytes: int = Field(
        50_000_000, ge=10_000, description="Text that the tokenizer is trained on (bytes)."
    )
    budget_tokens: int | None = Field(
        None, ge=1_000, description="Tokens of every arm; null: see budget_parameters."
    )
    budget_parameters: int | None = Field(
        None, ge=1_000,
        description="Parameters of the model that the tokens are for; null takes the smallest "
        "arm's tokens.",
    )  # fmt: skip
    tokens_per_parameter: float = Field(
        CHINCHILLA, gt=0, le=100_000,
        description="Times budget_parameters: the budget. 20 is Chinchilla's; more over-trains.",
    )  # fmt: skip
    max_repeats: float = Field(
        4, ge=1, le=100, description="Text may be read so often to fill the budget (epochs)."
    )
    anneal_share: float = Field(
        0.3, gt=0, lt=1, description="Share of the tokens kept for the decay of the rate."
    )
    mixture: MixtureConfig = Field(
        MixtureConfig(), description="What the two stages of an arm are made of."
    )
    max_shard_tokens: int = Field(
        500_000_000, ge=1_000, description="Tokens of one shard at most, documents kept whole."
    )
    megatron: bool = Field(False, description="Write Megatron's .bin and .idx too.")
    validation_document_bytes: int = Field(
        8_000, ge=500, description="A held-out document is cut to so much (bytes)."
    )

    @model_validator(mode="after")
    def _one_budget(self) -> TokenizeConfig:
        if self.budget_tokens is not None and self.budget_parameters is not None:
            raise ValueError("give budget_tokens or budget_parameters, not both")
        unknown = sorted(self.mixture.by_arm.keys() - set(ARMS))
        if unknown:
            raise ValueError(f"mixture.by_arm has {unknown[0]!r}; the arms are {', '.join(ARMS)}")
        return self


def tokenize(place: Workplace) -> Outcome:
    """Tokenize everything once, mix the arms, pin the validation set."""
    config, held_out = place.section(TokenizeConfig), place.section(ValidationConfig)
    arms, scores = place.needs["decontaminate"], ScoreTable.read(place.needs["apply-filter"])
    parent = parent_stage(place)
    if parent is not None:
        tokenizer, end = _take_over(parent, place.out)
        validation = list(read_rows([place.out / _PINNED]))
    else:
        tokenizer, end = _tokenizer(place, config, held_out)
        tokenizer.save(str(place.out / "tokenizer.json"))
        validation = choose_validation(
            arms, config.validation_document_bytes, place.seed, held_out, tokenizer, scores
        )
        write_table(place.out / _PINNED, validation, VALIDATION)
    with place.bar("tokenizing", count_documents(arms)) as advance:
        store = tokenize_documents(
            arms, place.scratch / "tokens.bin", tokenizer, _id(tokenizer, end), place.seed,
            held_out, scores, advance,
        )  # fmt: skip
    budget, facts, used = _write_arms(place, config, store)
    kept, held = int(used.sum()) + len(validation), store.held_out - len(validation)
    ledger = Ledger(
        "documents", len(used) + store.held_out, kept,
        {"held_out_not_used": held, "over_budget": int((~used).sum())},
    )  # fmt: skip
    report = {
        "budget_tokens": budget.tokens,
        "budget": budget.facts(),
        "anneal_share": config.anneal_share,
        "vocabulary": max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1,
        "tokenizer": "inherited" if parent else "given" if config.tokenizer else "trained",
        "token_dtype": f"uint{8 * store.dtype.itemsize}",
        "end_of_text": store.end_of_text,
        "end_of_text_token": end,
        "arms": facts,
        "fertility": store.fertility.facts(),
        "finetuning": write_finetuning(arms, place.out, place.seed, held_out),
        "validation_documents": len(validation),
        "validation_bytes": sum(row["n_bytes"] for row in validation),
        "validation_tokens": sum(len(row["tokens"]) for row in validation),
        "bytes_per_token": bytes_per_token(validation),
        **grown(parent, ("budget_tokens", "arms"), again=True),
    }
    write_mixture(place.out, report)
    return Outcome(ledger, report)


def _take_over(parent: Sealed, out: Path) -> tuple[Tokenizer, str]:
    """The parent's tokenizer and validation set, and the token that ends a text."""
    for name in ("tokenizer.json", _PINNED):
        link_file(parent.file(name), out / name)
    return load_tokenizer(out / "tokenizer.json", parent.facts["end_of_text_token"])


def _tokenizer(
    place: Workplace, config: TokenizeConfig, held_out: ValidationConfig
) -> tuple[Tokenizer, str]:
    if config.tokenizer is not None:
        return load_tokenizer(Path(config.tokenizer), config.end_of_text)
    with place.bar("training the tokenizer", 1) as advance:
        trained = train_tokenizer(
            place.needs["decontaminate"], config.vocabulary, config.max_train_bytes, place.seed,
            held_out,
        )  # fmt: skip
        advance()
    return trained, END_OF_TEXT


def _id(tokenizer: Tokenizer, token: str) -> int:
    found = tokenizer.token_to_id(token)
    assert found is not None
    return int(found)


def _write_arms(
    place: Workplace, config: TokenizeConfig, store: TokenStore
) -> tuple[Budget, dict[str, Any], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Mix and write every arm; the budget, what each is made of, and which documents were used."""
    rows = {arm: store.rows(place.needs["decontaminate"], arm) for arm in ARMS}
    there = {arm: int(store.length[rows[arm]].sum()) for arm in ARMS}
    budget = choose_budget(
        there, config.budget_tokens, config.budget_parameters, config.tokens_per_parameter
    )
    check_budget(budget, there, config.max_repeats)
    weights = _source_weights(place.section(IngestConfig))
    mixer = Mixer(store, config.mixture, weights, config.max_repeats, config.anneal_share)
    facts, used = {}, np.zeros(len(store.ids), np.bool_)
    for arm in ARMS:
        stages = mixer.mix(arm, rows[arm], budget.tokens)
        for stage, mixed in stages.items():
            _write_stage(place, config, store, f"arms/{arm}/{stage}", mixed)
            used[mixed.rows] = True
        facts[arm] = arm_facts(store, mixer.there(rows[arm]), stages)
    return budget, facts, used


def _write_stage(
    place: Workplace, config: TokenizeConfig, store: TokenStore, name: str, mixed: MixedStage
) -> None:
    with place.bar(name, len(mixed.rows)) as advance:
        write_shards(place.out / name, mixed, store, config.max_shard_tokens, advance)
    if config.megatron:
        write_megatron(place.out / name / "megatron", mixed, store)


def _source_weights(ingest: IngestConfig) -> Mapping[str, float]:
    return {source.name: source.weight for source in ingest.sources if source.weight is not None}


def _inputs(recipe: Sections) -> Iterator[tuple[str, Path]]:
    """A given tokenizer; and what names no source is said before any work."""
    config = recipe.section(TokenizeConfig)
    known = {source.name for source in recipe.section(IngestConfig).sources} | {SOURCE}
    for name in sorted(config.mixture.names() - known):
        raise InputError(
            "tokenize", f"tokenize.mixture names the source {name!r}",
            f"the sources are {', '.join(sorted(known))}",
        )  # fmt: skip
    if config.tokenizer is not None and recipe.section(IncrementConfig).parent is None:
        path = Path(config.tokenizer)
        if not path.is_file():
            raise InputError(
                "tokenize", f"there is no file {path}",
                "correct tokenize.tokenizer (it is relative to the working directory)",
            )  # fmt: skip
        yield "tokenizer", path


STAGE = VersionedStage(
    number=8,
    name="tokenize",
    version=4,
    needs=("decontaminate", "apply-filter"),
    makes=(
        "tokenizer.json",
        _PINNED,
        "mixture.md",
        "mixture.png",
        *(f"arms/{arm}/{part}/*.ds{end}" for arm in ARMS for part in STAGES
          for end in ("", ".index", ".metadata")),
    ),
    sees=(TokenizeConfig, ValidationConfig, IngestConfig, IncrementConfig),
    work=tokenize,
    inputs=_inputs,
)  # fmt: skip
