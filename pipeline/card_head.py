"""The head of the card: what the Hugging Face hub and `datasets` read, from the published parts.

Paths are relative to the published directory. The hub's own validation needs the hub and lets bad
fields pass; `pipeline.card_check` holds the head against our schema instead.
Source: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.card_data import CONFIGS, DATA, DEFAULT_CONFIG, Part, parts_of
from pipeline.card_facts import Told
from pipeline.card_words import UNKNOWN
from pipeline.records import DOCUMENT

_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B",
          "1B<n<10B", "10B<n<100B", "100B<n<1T", "n>1T")  # fmt: skip
_MIN_LANGUAGE_SHARE = 0.01  # a list of every language that one page was taken for helps nobody
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_CODE, _UNDETERMINED = "code", "und"  # how the hub and ISO 639 spell them


def make_head(told: Told) -> dict[str, Any]:
    """The fields of the head, in the order in which they are written."""
    languages = _languages(told)
    natural = [name for name in languages if name not in {_CODE, _UNDETERMINED}]
    return {
        "pretty_name": told.config.title,
        "license": told.config.licence or UNKNOWN,
        "language": languages,
        "multilinguality": [_multilinguality(natural, _UNDETERMINED in languages)],
        "annotations_creators": _annotations_creators(told),
        "language_creators": _language_creators(told),
        "source_datasets": _source_datasets(told),
        "task_categories": ["text-generation"],
        "task_ids": ["language-modeling"],
        "size_categories": [_size(told)],
        "tags": _tags(told),
        "configs": [_config(name) for name in CONFIGS],
        "dataset_info": [_info(told, name) for name in CONFIGS],
    }


def _languages(told: Told) -> list[str]:
    """Languages of the prose in any train split, and whether there is program text."""
    counts: Counter[str] = Counter()
    for config in CONFIGS:
        counts.update(told.part(parts_of(config)["train"]).counts["language"])
    enough = _MIN_LANGUAGE_SHARE * sum(counts.values())
    known = sorted(n for n in counts if _LANGUAGE.fullmatch(n) and counts[n] >= enough)
    is_any_unknown = not known or counts[UNKNOWN] > enough
    is_code = any(part.counts["kind"].get("code") for part in told.parts)
    return [*known, *[_UNDETERMINED] * is_any_unknown, *[_CODE] * is_code]


def _multilinguality(natural: list[str], is_some_unknown: bool) -> str:
    if len(natural) > 1:
        return "multilingual"
    return "monolingual" if natural and not is_some_unknown else UNKNOWN


def _annotations_creators(told: Told) -> list[str]:
    """People who label are `other`: whether they are experts is not known."""
    return ["machine-generated", *["other"] * bool(told.facts["label"]["human_labels"])]


def _language_creators(told: Told) -> list[str]:
    synthetic = told.contents["origin"].get("synthetic")
    return ["found", *["machine-generated"] * bool(synthetic)]


def _source_datasets(told: Told) -> list[str]:
    """Datasets of the hub that a source is, else `original`."""
    prefix = "hf://datasets/"
    names = {
        "extended|" + "/".join(s["address"].removeprefix(prefix).split("@")[0].split("/")[:2])
        for s in told.sources
        if s["address"].startswith(prefix)
    }
    others = any(not s["address"].startswith(prefix) for s in told.sources)
    return [*["original"] * others, *sorted(names)]


def _size(told: Told) -> str:
    documents = max(sum(told.part(n).documents for n in parts_of(c).values()) for c in CONFIGS)
    steps = sum(documents >= 10 ** (3 + i) for i in range(len(_SIZES) - 1))
    return _SIZES[steps]


def _tags(told: Told) -> list[str]:
    origin, kind = told.contents["origin"], told.contents["kind"]
    return [
        "primer", "educational", *["synthetic"] * bool(origin.get("synthetic")),
        *["code"] * bool(kind.get("code")), "croissant",
    ]  # fmt: skip


def _config(name: str) -> dict[str, Any]:
    files = [
        {"split": split, "path": f"{DATA}/{part}/*.parquet"}
        for split, part in parts_of(name).items()
    ]
    default = {"default": True} if name == DEFAULT_CONFIG else {}
    return {"config_name": name, "data_files": files, **default}


def _info(told: Told, name: str) -> dict[str, Any]:
    parts: Mapping[str, Part] = {split: told.part(n) for split, n in parts_of(name).items()}
    return {
        "config_name": name,
        "features": [{"name": field.name, "dtype": "string"} for field in DOCUMENT],
        "splits": [
            {"name": split, "num_bytes": part.memory_bytes, "num_examples": part.documents}
            for split, part in parts.items()
        ],
        "download_size": sum(part.file_bytes for part in parts.values()),
        "dataset_size": sum(part.memory_bytes for part in parts.values()),
    }
