"""Hold a sealed card against the manifests, its data and a published schema; name every fault.

The card is made again from the manifests of the run, in memory, and compared: a table cell by cell,
other text line by line, JSON value by value. Besides, the files it promises must be there, with the
hashes and rows that it says, and each of its parts must be what its own standard asks for.
What it costs: reading the data once for their hashes, and some seconds for mlcroissant.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from pipeline.card import STAGE, CardConfig, render_files, told_of
from pipeline.card_data import Part
from pipeline.card_publish import open_card
from pipeline.card_tables import cells_of
from pipeline.croissant import find_faults
from pipeline.datasheet import read_datasheet
from pipeline.errors import StageError
from pipeline.lineage import find_dangling
from pipeline.manifest import hash_file
from pipeline.stage import Sealed
from pipeline.verify import sealed_stages

SCHEMA = Path(__file__).parent / "card_schema.json"
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s]+)\)")
_TELLING = ("README.md", "datasheet.md", "croissant.json", "prov.json", "changes.json")


def check_card(run: Path) -> list[str]:
    """What is wrong with the card of a run, one line each; empty where everything holds."""
    card = open_card(run)
    stages = {name: Sealed(*found) for name, found in sealed_stages(run).items()}
    if card.manifest.stage_version != STAGE.version:
        return [
            f"the card was made by version {card.manifest.stage_version} of its stage, this is "
            f"{STAGE.version}: run the recipe again --from card"
        ]
    faults = [*_needs_faults(card, stages), *_file_faults(card)]
    if any(name not in stages for name in STAGE.needs):
        return faults
    if missing := [name for name in _TELLING if not (card.path / name).is_file()]:
        return [*faults, *(f"{name}: there is nothing to compare" for name in missing)]
    needs = {name: stages[name] for name in STAGE.needs}
    return [*faults, *_text_faults(card, needs), *_schema_faults(card.path), *_own_faults(card)]


def _needs_faults(card: Sealed, stages: Mapping[str, Sealed]) -> Iterator[str]:
    for name, fingerprint in card.manifest.needs.items():
        if name not in stages:
            yield f"the card tells of {name}, which is not sealed here"
        elif stages[name].manifest.fingerprint != fingerprint:
            yield f"the card tells of another {name} than the one sealed here: run --from card"


def _file_faults(card: Sealed) -> Iterator[str]:
    """Files that are not there, or not as sealed; and parts with other rows than are said."""
    for name, entry in card.manifest.files.items():
        path = card.path / name
        if not path.is_file():
            yield f"{name}: is promised and missing"
        elif path.stat().st_size != entry.bytes or hash_file(path) != entry.sha256:
            yield f"{name}: its bytes are not what was sealed"
    for part in _parts(card):
        try:
            rows = sum(pq.read_metadata(card.path / file).num_rows for file in part.files)
        except (OSError, ValueError) as error:
            yield f"{part.name}: cannot be read ({' '.join(str(error).split())})"
            continue
        if rows != part.documents:
            yield f"{part.name}: has {rows} documents, {part.documents} are said"


def _parts(card: Sealed) -> list[Part]:
    return [Part.from_json(record) for record in card.facts["parts"]]


def _text_faults(card: Sealed, needs: Mapping[str, Sealed]) -> Iterator[str]:
    """Where the files say something else than the manifests do."""
    config = CardConfig(**card.manifest.config["CardConfig"])
    try:
        made = render_files(told_of(needs, config, _parts(card)), card.manifest.files)
    except StageError as error:
        yield f"the card cannot be made again: {error}"
        return
    for name, text in made.items():
        found = (card.path / name).read_text(encoding="utf-8", errors="replace")
        if found != text and name.endswith(".json"):
            yield from _json_faults(name, found, json.loads(text))
        elif found != text:
            yield from _line_faults(name, found.splitlines(), text.splitlines())


def _json_faults(name: str, found: str, meant: Any) -> Iterator[str]:
    try:
        yield from (f"{name}: {fault}" for fault in _differences("", json.loads(found), meant))
    except ValueError as error:
        yield f"{name}: is not JSON ({error})"


def _differences(where: str, found: Any, meant: Any) -> Iterator[str]:
    if isinstance(found, dict) and isinstance(meant, dict):
        for key in sorted(found.keys() | meant.keys()):
            yield from _differences(f"{where}/{key}", found.get(key), meant.get(key))
    elif isinstance(found, list) and isinstance(meant, list) and len(found) == len(meant):
        for i, (one, other) in enumerate(zip(found, meant, strict=True)):
            yield from _differences(f"{where}/{i}", one, other)
    elif found != meant:
        yield f"{where} says {_short(found)}, the manifests say {_short(meant)}"


def _line_faults(name: str, found: list[str], meant: list[str]) -> Iterator[str]:
    matcher = difflib.SequenceMatcher(None, found, meant, autojunk=False)
    for change, first, last, from_, until in matcher.get_opcodes():
        if change == "equal":
            continue
        for i in range(max(last - first, until - from_)):
            one = found[first + i] if first + i < last else None
            other = meant[from_ + i] if from_ + i < until else None
            line = min(first + i, last) + 1
            yield from (f"{name}, line {line}: {fault}" for fault in _line_fault(one, other))


def _line_fault(found: str | None, meant: str | None) -> Iterator[str]:
    cells = [cells_of(line) if line is not None else [] for line in (found, meant)]
    if cells[0] and len(cells[0]) == len(cells[1]):
        for column, (one, other) in enumerate(zip(*cells, strict=True), 1):
            if one != other:
                row = f"row {cells[1][0]!r}, column {column}"
                yield f"{row} says {_short(one)}, the manifests say {_short(other)}"
    else:
        yield f"says {_short(found)}, the manifests say {_short(meant)}"


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _schema_faults(folder: Path) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(json.loads(SCHEMA.read_text()))
    try:
        described = read_described(folder)
    except (ValueError, yaml.YAMLError) as error:
        yield f"the card cannot be read: {' '.join(str(error).split())}"
        return
    for fault in sorted(validator.iter_errors(described), key=lambda e: str(e.absolute_path)):
        where = "/".join(str(part) for part in fault.absolute_path)
        yield f"against the schema: {where}: {' '.join(fault.message.split())[:300]}"


def read_described(folder: Path) -> dict[str, Any]:
    """The described parts of a card as one value: what the schema is about."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    _, _, rest = readme.partition("---\n")
    head, _, _ = rest.partition("\n---\n")
    read = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            for name in ("croissant", "prov", "changes")}  # fmt: skip
    datasheet = read_datasheet((folder / "datasheet.md").read_text(encoding="utf-8"))
    return {"head": yaml.safe_load(head), **read, "datasheet": datasheet}


def _own_faults(card: Sealed) -> Iterator[str]:
    """What the standards of the parts ask for, and what the parts promise each other."""
    try:
        described = read_described(card.path)
    except (ValueError, yaml.YAMLError):
        return  # told already
    try:
        yield from _promise_faults(card, described)
    except (AttributeError, KeyError, TypeError) as error:
        yield f"what the card's parts promise cannot be followed ({type(error).__name__})"


def _promise_faults(card: Sealed, described: Mapping[str, Any]) -> Iterator[str]:
    """Promises that are not held; raises AttributeError, KeyError or TypeError for other forms."""
    yield from (f"croissant.json: {fault}" for fault in find_faults(described["croissant"]))
    for one in described["croissant"].get("distribution", []):
        entry = card.manifest.files.get(one.get("contentUrl", ""))
        if "contentUrl" in one and (entry is None or entry.sha256 != one.get("sha256")):
            yield f"croissant.json: {one['contentUrl']} has another sha256 than is sealed"
    yield from (f"prov.json: {name} is not declared" for name in find_dangling(described["prov"]))
    for config in (described["head"] or {}).get("configs", []):
        for files in config.get("data_files", []):
            if not any(card.path.glob(str(files.get("path", "")).lstrip("/") or "-")):
                yield f"README.md: {config.get('config_name')} has no file {files.get('path')}"
    for name in ("README.md", "datasheet.md"):
        for target in _LINK.findall((card.path / name).read_text(encoding="utf-8")):
            if not (card.path / target).is_file():
                yield f"{name}: {target} is promised and missing"
