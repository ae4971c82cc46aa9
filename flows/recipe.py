"""A recipe: the seed and one section per stage, typed, frozen, read from YAML.

Each section's class stands beside its stage; this page only joins them. Paths in a recipe are
relative to the working directory.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from downstream.evaluate import EvaluateConfig
from downstream.quantize import QuantizeConfig
from downstream.train import TrainConfig
from flows.schedule import ScheduleConfig
from pipeline.apply_filter import ApplyFilterConfig
from pipeline.card import CardConfig
from pipeline.clean import CleanConfig
from pipeline.config import Section
from pipeline.decontaminate import DecontaminateConfig
from pipeline.errors import InputError
from pipeline.filter_config import TrainFilterConfig
from pipeline.handoff import HandoffConfig
from pipeline.increment import IncrementConfig
from pipeline.ingest import IngestConfig
from pipeline.label import LabelConfig
from pipeline.splits import ValidationConfig
from pipeline.synthesis_config import SynthesizeConfig
from pipeline.teacher_config import TeacherConfig
from pipeline.tokenize import TokenizeConfig
from pipeline.training_config import TrainingConfig

S = TypeVar("S", bound=Section)


class Recipe(Section):
    """Everything that decides a run."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Names the run's directory."
    )
    seed: int = Field(0, ge=0, description="Every stage's random generator starts from it.")
    teacher: TeacherConfig = Field(TeacherConfig(), description="Who labels and writes.")
    validation: ValidationConfig = Field(ValidationConfig(), description="The held-out text.")
    increment: IncrementConfig = Field(
        IncrementConfig(), description="The version that this one grows from."
    )
    ingest: IngestConfig = Field(description="Stage 1: the sources.")
    clean: CleanConfig = Field(CleanConfig(), description="Stage 2: rules and near copies.")
    label: LabelConfig = Field(LabelConfig(), description="Stage 3: the labelled sample.")
    train_filter: TrainFilterConfig = Field(TrainFilterConfig(), description="Stage 4: the forest.")
    apply_filter: ApplyFilterConfig = Field(ApplyFilterConfig(), description="Stage 5: scores.")
    synthesize: SynthesizeConfig = Field(SynthesizeConfig(), description="Stage 6: textbooks.")
    decontaminate: DecontaminateConfig = Field(
        DecontaminateConfig(), description="Stage 7: benchmarks kept out."
    )
    tokenize: TokenizeConfig = Field(TokenizeConfig(), description="Stage 8: arms and tokens.")
    card: CardConfig = Field(CardConfig(), description="Stage 9: the dataset card.")
    handoff: HandoffConfig = Field(HandoffConfig(), description="Stage 10: the handoff.")
    train: TrainConfig = Field(TrainConfig(), description="Stage 11: one model per arm.")
    quantize: QuantizeConfig = Field(QuantizeConfig(), description="Stage 12: GGUF files.")
    evaluate: EvaluateConfig = Field(EvaluateConfig(), description="Stage 13: as a device would.")
    training: TrainingConfig = Field(
        TrainingConfig(), description="After the handoff: approval, trigger, report, promotion."
    )
    schedule: ScheduleConfig = Field(ScheduleConfig(), description="When flows run by themselves.")

    def section(self, kind: type[S]) -> S:
        """The section of this type."""
        for value in self.__dict__.values():
            if isinstance(value, kind):
                return value
        raise KeyError(kind)


def load_recipe(path: Path, changes: Iterable[str] = ()) -> Recipe:
    """Read a YAML recipe and apply `section.field=value` changes.

    Raises InputError naming the field, the value and the allowed range.
    """
    try:
        fields = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("recipe", f"{path} cannot be read ({error})", "give a recipe") from error
    except yaml.YAMLError as error:
        raise InputError("recipe", f"{path} is not YAML ({error})", "correct that line") from error
    if not isinstance(fields, dict):
        raise InputError("recipe", f"{path} holds no sections", "see recipes/demo.yaml")
    for change in changes:
        _apply(fields, change)
    return parse_recipe(fields)


def parse_recipe(fields: dict[str, Any]) -> Recipe:
    """Validate a recipe's fields; InputError as one line."""
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first, *others = error.errors()
        more = f" (and {len(others)} more)" if others else ""
        # without its cause, which repeats every value
        raise InputError("recipe", _describe(first) + more, _cure(first)) from None


def recipe_schema() -> str:
    """The JSON schema of recipes, for editors and forms."""
    return json.dumps(Recipe.model_json_schema(), indent=1, sort_keys=True) + "\n"


def dump_recipe(recipe: Recipe) -> str:
    """The whole recipe with its defaults, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _apply(fields: dict[str, Any], change: str) -> None:
    address, equals, value = change.partition("=")
    *parents, last = address.strip().split(".")
    if not equals or not last:
        raise InputError("recipe", f"--set {change!r}", "write section.field=value")
    place: Any = fields
    try:
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
            if not isinstance(place, dict | list):
                raise ValueError(f"{name!r} has no fields")
        parsed = yaml.safe_load(value)
        if isinstance(place, list):
            place[int(last)] = parsed
        else:
            place[last] = parsed
    except (yaml.YAMLError, ValueError, IndexError) as error:
        raise InputError(
            "recipe", f"--set {change!r} ({error})", "name a field of the recipe, and a YAML value"
        ) from error


def _describe(error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the recipe"
    # what a rule of our own refuses may be a key in an address: it is named and not repeated
    if error["type"] in {"missing", "extra_forbidden", "value_error"}:
        return f"{where}: {error['msg'].lower()}"
    return f"{where} = {error['input']!r}: {error['msg'].lower()}"


def _cure(error: ErrorDetails) -> str:
    kind: type[Section] = Recipe
    for part in error["loc"][:-1]:
        field = kind.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type):
            break
        kind = field.annotation
    last = str(error["loc"][-1]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(last, kind.model_fields, n=1)
        return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(kind.model_fields)}"
    field = kind.model_fields.get(last)
    meaning = f"{last}: {field.description} " if field and field.description else ""
    return f"{meaning}(see recipes/recipe.schema.json)"
