"""Benchmark files, read as the items that must not be trained on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from pipeline.benchmark_file import UNREADABLE, rows_of
from pipeline.config import Section
from pipeline.errors import InputError
from pipeline.leak_mappings import READY, ItemFields, MappingName, cut, texts_of


class BenchmarkConfig(Section):
    """One benchmark file: JSON lines or CSV (plain or .gz), or Parquet."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="The benchmark's name in reports.")
    path: str = Field(description="The file, relative to the working directory.")
    fields: tuple[str, ...] = Field(
        (), description="Fields of a row; each is one text that is searched for alone."
    )
    mapping: MappingName | ItemFields | None = Field(
        None, description="Which fields make an item: a known benchmark's name, or the fields."
    )

    @model_validator(mode="after")
    def _one_way(self) -> BenchmarkConfig:
        if bool(self.fields) == (self.mapping is not None):
            raise ValueError(f"benchmark {self.name!r} needs either fields or a mapping")
        return self

    @property
    def item_fields(self) -> ItemFields:
        """The fields that make an item, however they were given."""
        if self.mapping is None:
            return ItemFields(alone=self.fields)
        return READY[self.mapping] if isinstance(self.mapping, str) else self.mapping


@dataclass(frozen=True)
class Item:
    """One question of a benchmark, in the parts by which it is searched for."""

    benchmark: str
    name: str
    alone: tuple[tuple[str, str], ...]  # (part, text), each searched for by itself
    question: str = ""
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    code: str = ""
    alone_code: tuple[tuple[str, str], ...] = ()  # as `alone`, of program text


def read_items(config: BenchmarkConfig) -> list[Item]:
    """Every row that has a text in one of the fields.

    Raises InputError where the file is missing, empty, unreadable or lacks the fields.
    """
    path = Path(config.path)
    try:
        rows = list(rows_of(path))
    except UNREADABLE as error:
        raise InputError(
            "decontaminate",
            f"benchmark {config.name!r}: {path} cannot be read ({error})",
            "correct decontaminate.benchmarks",
        ) from error
    made = [_item(config.name, i, row, config.item_fields) for i, row in enumerate(rows)]
    found = [item for item in made if item.alone or item.alone_code or item.question or item.code]
    wanted = config.item_fields.names
    missing = set(wanted).difference(*(cut(row, config.item_fields) for row in rows))
    if missing or not found:
        known = sorted({str(name) for row in rows for name in row})
        raise InputError(
            "decontaminate",
            f"benchmark {config.name!r}: {path} has {len(rows)} rows and nothing in the fields "
            f"{sorted(missing) or wanted}",
            f"its fields are {known}" if known else "give a file with rows",
        )
    return found


def _item(benchmark: str, number: int, row: dict[str, Any], fields: ItemFields) -> Item:
    row = cut(row, fields)
    questions = texts_of(row, fields.question)
    answers = texts_of(row, fields.answer)
    choices = texts_of(row, fields.choices)
    gold = str(row.get(fields.gold)) if fields.gold else ""
    if gold.isdecimal() and int(gold) < len(choices):
        answers = [*answers, choices[int(gold)]]
    alone = [(part, text) for part in fields.alone for text in texts_of(row, part)]
    if fields.without:
        shorter = [(part, re.sub(fields.without, "", text)) for part, text in alone]
        alone += [pair for pair in shorter if pair not in alone]
    code = "\n".join(str(row[part]) for part in (fields.code or "").split("+") if row.get(part))
    return Item(
        benchmark,
        str(row[fields.id]) if fields.id and row.get(fields.id) is not None else str(number),
        tuple(alone),
        "\n".join(questions),
        tuple(answers),
        tuple(choices),
        code.replace("\r\n", "\n"),
        tuple((part, text) for part in fields.alone_code for text in texts_of(row, part)),
    )
