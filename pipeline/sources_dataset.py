"""Which files of a Hugging Face dataset directory belong to a config and a split.

The README's front matter lists them (`configs`), by patterns of paths; without it, a split is told
by the files' names, as in `data/train-00000-of-00002.parquet`. The licence that the README names is
kept as it is written: it is the hub's word for it and not always an SPDX expression. Source:
https://huggingface.co/docs/hub/datasets-manual-configuration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import yaml

from pipeline.errors import InputError
from pipeline.read_bytes import SourceStream
from pipeline.read_record import Unusable
from pipeline.sources import FORMATS, SourceConfig, SourceFile

_README_BYTES = 1 << 20
_BESIDE = re.compile(
    r"(.*/)?(README\.md|LICEN[CS]E[^/]*|\.git[^/]*|dataset_infos?\.json|croissant\.json)$"
)


def is_beside(file: SourceFile) -> bool:
    """Whether a file only tells of the tables that it stands beside."""
    return _BESIDE.match(file.name) is not None


def read_front_matter(source: SourceConfig, files: list[SourceFile]) -> dict[str, Any]:
    """The front matter of the README at the dataset's root; empty where there is none."""
    readme = next((file for file in files if file.name == "README.md"), None)
    if readme is None:
        return {}
    try:
        with SourceStream(source, readme) as stream:
            text = stream.read(_README_BYTES).decode("utf-8", "replace").replace("\r\n", "\n")
        _, opening, rest = text.partition("---\n")
        facts = yaml.safe_load(rest.partition("\n---")[0]) if opening and not _ else None
    except (Unusable, yaml.YAMLError):
        return {}
    return facts if isinstance(facts, dict) else {}


def choose_files(
    source: SourceConfig, files: list[SourceFile], facts: dict[str, Any]
) -> list[SourceFile]:
    """The files of the source's subset and split; InputError naming those that there are."""
    tables = [file for file in files if file.suffix in FORMATS]
    configs = facts.get("configs")
    if isinstance(configs, list) and configs:
        patterns = list(_patterns(_choose(source, configs)))
    elif source.subset is not None:
        raise _unknown(source, "subset", source.subset, [])
    else:
        patterns = [(_split_of(file.name), file.name) for file in tables]
    if source.split is not None:
        splits = sorted({split for split, _ in patterns if split})
        if source.split not in splits:
            raise _unknown(source, "split", source.split, splits)
        patterns = [(split, glob) for split, glob in patterns if split == source.split]
    exact = {glob for _, glob in patterns}
    globs = [glob for glob in exact if any(sign in glob for sign in "*?[")]
    chosen = [f for f in tables if f.name in exact or any(fnmatch(f.name, g) for g in globs)]
    if not chosen:
        raise InputError(
            "ingest",
            f"source {source.name!r}: no table at {source.place} is one of {sorted(exact)}, which "
            "its README names",
            "correct the README, or ingest.sources.subset, split, include or exclude",
        )
    return chosen


def _choose(source: SourceConfig, configs: list[Any]) -> dict[str, Any]:
    named = {str(c.get("config_name", "default")): c for c in configs if isinstance(c, dict)}
    default = next((name for name, c in named.items() if c.get("default")), None)
    wanted = source.subset or default or ("default" if "default" in named else None)
    if wanted is None and len(named) == 1:
        wanted = next(iter(named))
    if wanted not in named:
        raise _unknown(source, "subset", wanted, sorted(named))
    return dict(named[wanted])


def _patterns(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(split, pattern) of a config's `data_files`, which are written in four ways."""
    given = config.get("data_files", f"{config.get('data_dir', 'data')}/*")
    for entry in given if isinstance(given, list) else [given]:
        if isinstance(entry, str):
            yield "train", entry
        elif isinstance(entry, dict):
            paths = entry.get("path", [])
            for path in [paths] if isinstance(paths, str) else paths:
                yield str(entry.get("split", "train")), path.replace("**/", "*")


def _split_of(name: str) -> str:
    """`train` of data/train-00000-of-00002.parquet, of train.jsonl and of train/part.parquet."""
    parts = name.removeprefix("data/").split("/")
    return parts[0] if len(parts) > 1 else re.split(r"[-.]", parts[0])[0]


def _unknown(source: SourceConfig, field: str, value: str | None, known: list[str]) -> InputError:
    return InputError(
        "ingest",
        f"source {source.name!r}: the dataset at {source.place} has no {field} {value!r}, but "
        f"{', '.join(known) or 'none that is named'}",
        f"correct ingest.sources.{field}",
    )
