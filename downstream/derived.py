"""A model made from other models: written beside its place, renamed when whole, with its lineage.

`lineage.json` names what went in (the sha256 of models and data, the settings) and what came out.
The same command finds what an interrupted one left in `OUT.<hash>.partial`, and goes on from it; a
finished one has nothing to do. Paths and times stay out: two runs of one command agree on every
byte.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pipeline.config import Section
from pipeline.errors import InputError
from pipeline.manifest import hash_file, hash_json

S = TypeVar("S", bound=Section)
LINEAGE = "lineage.json"
_BESIDE = ("generation_config.json", "tokenizer.json", "tokenizer_config.json",
           "special_tokens_map.json", "chat_template.jinja")  # fmt: skip
_DECIDES_TOKENS = ("model", "added_tokens", "normalizer", "pre_tokenizer", "decoder")


@dataclass(frozen=True)
class Derived:
    """A model directory in the making: `folder` becomes `out`; `scratch` is for checkpoints."""

    out: Path
    scratch: Path
    record: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where the model's files are written."""
        return self.scratch / "model"

    def seal(self, result: Mapping[str, Any]) -> None:
        """Write the lineage, and put the directory into its place."""
        write_json(self.folder / LINEAGE, {**self.record, "result": result})
        self.folder.rename(self.out)
        shutil.rmtree(self.scratch)


def begin(stage: str, out: Path, record: Mapping[str, Any]) -> Derived | None:
    """Open the directory to work in; None where `out` already is what would be made.

    Raises InputError where `out` holds something else.
    """
    record = {"made_by": stage, **record}
    scratch = out.with_name(f"{out.name}.{hash_json(record)[:12]}.partial")
    if out.exists():
        if _record_of(out) == json.loads(json.dumps(record)):
            shutil.rmtree(scratch, ignore_errors=True)  # killed between sealing and tidying up
            return None
        raise InputError(
            stage, f"--out {out} exists and is not what this would make", "give another directory"
        )
    derived = Derived(out, scratch, record)
    shutil.rmtree(derived.folder, ignore_errors=True)  # checkpoints are kept, half a model is not
    derived.folder.mkdir(parents=True)
    return derived


def read_result(out: Path) -> dict[str, Any]:
    """What came out when `out` was made."""
    result: dict[str, Any] = json.loads((out / LINEAGE).read_text())["result"]
    return result


def describe_model(stage: str, folder: Path) -> dict[str, Any]:
    """A model's name, the sha256 of its files, and its own lineage where it has one.

    Raises InputError where the directory is not a Hugging Face one of a Llama-style model.
    """
    config = read_config(stage, folder)
    if config.get("model_type") != "llama":
        raise InputError(
            stage, f"{folder} is a {config.get('model_type')!r}", "give a Llama-style directory"
        )
    parts = [folder / "config.json", folder / "tokenizer.json", *weight_paths(folder)]
    for part in parts:
        if not part.exists():
            raise InputError(stage, f"{folder} has no {part.name}", "give a whole model")
    return {
        "name": folder.resolve().name,
        "sha256": hash_json({part.name: hash_file(part) for part in parts}),
        "lineage": _record_of(folder),
    }


def read_config(stage: str, folder: Path) -> dict[str, Any]:
    """A model's `config.json`; InputError where there is none."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            stage, f"{folder} is not a model directory ({error})", "give a Hugging Face directory"
        ) from error
    return config


def weight_paths(folder: Path) -> list[Path]:
    """The files that hold a model's weights: those of the index, where they are several."""
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text())
    except FileNotFoundError:
        return [folder / "model.safetensors"]
    return sorted({folder / str(name) for name in index["weight_map"].values()})


def hash_tokenizer(tokenizer: Path) -> str:
    """The sha256 of what decides a text's tokens, whoever wrote `tokenizer.json`."""
    record = json.loads(tokenizer.read_text())
    return hash_json({name: record.get(name) for name in _DECIDES_TOKENS})


def copy_beside(source: Path, target: Path) -> None:
    """Copy what stands beside a model's weights: settings and tokenizer; not `config.json`."""
    for name in _BESIDE:
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)


def parse_settings(stage: str, kind: type[S], changes: Iterable[str]) -> S:
    """A section from its defaults and `field=value` changes; InputError names the wrong one."""
    import yaml

    fields: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        try:
            fields[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals:
            raise InputError(stage, f"--set {change!r}", "write field=value, the value as YAML")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InputError(
            stage, f"--set {name}={first['input']!r}: {first['msg'].lower()}",
            f"the fields are {', '.join(kind.model_fields)}",
        ) from None  # fmt: skip


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people to read."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _record_of(folder: Path) -> dict[str, Any] | None:
    """The lineage of a directory, without what came out."""
    try:
        record: dict[str, Any] = json.loads((folder / LINEAGE).read_text())
    except (OSError, ValueError):
        return None
    return {name: value for name, value in record.items() if name != "result"}
