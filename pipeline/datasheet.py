"""The datasheet: the questions of Gebru et al. (2018), answered from facts, or "unknown".

Source: "Datasheets for Datasets", arXiv 1803.09010, section 3, with its seven parts. Questions that
ask twice are asked once. What only people know (why, who paid, who consented) is said in the
recipe's section `card`.
"""

from __future__ import annotations

import re

from pipeline import card_words as words
from pipeline.card_changes import parent_of
from pipeline.card_config import CardConfig
from pipeline.card_facts import Told, benchmarks, parts_table
from pipeline.card_tables import figure, plain

Answers = dict[str, dict[str, str]]  # by part and question


def answer_questions(told: Told) -> Answers:
    """Every part with its questions and answers."""
    config = told.config
    return {
        "Motivation": {
            "For what purpose was the dataset created?": words.or_unknown(config.motivation),
            "Who created it, and on behalf of which entity?": _people(config),
            "Who funded its creation?": words.or_unknown(config.funding),
        },
        "Composition": _composition(told),
        "Collection process": _collection(told),
        "Preprocessing, cleaning, labelling": {
            "Was any preprocessing, cleaning or labelling done?": " ".join(
                words.preprocessing(told)
            ),
            "How was it labelled?": words.annotation(told),
            "How far can the labels be trusted?": " ".join(words.agreement(told)),
            "Was the raw data saved too?": words.raw_data(told),
            "Is the software that did it available?": (
                f"Primer, commit {told.needs['ingest'].manifest.code['commit']}."
            ),
        },
        "Uses": {
            "Has it been used already?": "Unknown to this card, which is written before training.",
            "What else could it be used for?": words.uses(told)[0],
            "Are there uses that it should not be put to?": words.uses(told)[1],
            "What in its making might affect future uses?": " ".join(
                [*words.limitations(told), *words.biases(told)]
            ),
        },
        "Distribution": {
            "How is it distributed?": (
                "As this directory: Parquet files with their hashes in croissant.json."
                + (f" Its page is {config.address}." if config.address else "")
            ),
            "Under which licence?": _licence(told),
            "Do third parties hold rights in it?": (
                f"Documents by the licence of their source: {_licences(told)}."
            ),
            "Do export controls or other rules apply?": words.UNKNOWN,
        },
        "Maintenance": {
            "Who maintains it, and how are they reached?": words.or_unknown(config.contact),
            "Will it be updated, and how are errors reported?": words.or_unknown(
                config.maintenance
            ),
            "What changed since the version before?": _changes(told),
            "Can others extend it?": (
                "With Primer and the recipe of the run: `primer append` adds new documents under "
                "the same labels and filter."
            ),
        },
    }


def _composition(told: Told) -> dict[str, str]:
    rows = parts_table(told)
    splits = "; ".join(f"{config} {split}: {n}" for config, split, n, *_ in rows)
    return {
        "What do the instances represent?": words.instances(told),
        "How many instances are there?": splits + ".",
        "Is it a sample of a larger set?": words.sampling(told),
        "What does each instance consist of?": (
            "An id, the text, its kind, source, group, address, licence, language, origin and "
            "further metadata as JSON. Labels and scores are tables of the run, by the id."
        ),
        "Is anything missing from instances?": words.missing(told),
        "Are relations between instances explicit?": (
            "Documents of one repository, package or site have one group; a synthetic piece names "
            "the documents that it is grounded in."
        ),
        "Are there recommended splits?": (
            "Train and validation. Whole groups are held out for validation by a hash of their "
            "names; it is the same for every configuration."
        ),
        "Are there errors, noise or redundancies?": (
            f"Near copies over a similarity of {figure(_similarity(told))} were dropped; what is "
            "below it is still there. Whether what the texts say is true was not checked."
        ),
        "Does it hold text of benchmarks?": _contamination(told),
        "Is it self-contained?": "Yes: the texts are in it. Their addresses may no longer exist.",
        "Might it hold what is confidential, personal or offensive?": (
            words.privacy(told) + " Offensive text was not searched for."
        ),
    }


def _collection(told: Told) -> dict[str, str]:
    return {
        "How was the data acquired?": words.collection(told),
        "How was it sampled?": words.sampling(told),
        "Who was involved, and how were they paid?": words.demographics(told),
        "When was it collected?": (
            "The run's manifests say when each stage ran; when the texts were written is unknown."
        ),
        "Was there an ethical review?": words.UNKNOWN,
        "Did the people concerned know and consent?": words.or_unknown(told.config.consent),
        "What may it do to people?": words.impact(told),
    }


def _people(config: CardConfig) -> str:
    return ", ".join(config.creators) or words.UNKNOWN


def _similarity(told: Told) -> float | None:
    copies = told.needs["clean"].manifest.config["CleanConfig"]["copies"]
    return copies["max_similarity"] if copies else None


def _contamination(told: Told) -> str:
    found = benchmarks(told)
    if not found:
        return "Nobody looked: no benchmark was given."
    return "; ".join(
        f"{name}: {leaked} of {items} items were found, {removed} documents removed"
        for name, _, items, leaked, removed, *_ in found
    ) + "."  # fmt: skip


def _licence(told: Told) -> str:
    return words.or_unknown(told.config.licence) + "."


def _licences(told: Told) -> str:
    return words.listed(told.contents["licence"])


def _changes(told: Told) -> str:
    parent = parent_of(told.changes)
    if parent is None:
        return "Nothing: this is the first version."
    share = told.changes["kept_share"]["new"]
    return (
        f"The version before is {parent}; the filter kept {figure(share)} of the new documents. "
        "See changes.json and the card."
    )


def render_datasheet(told: Told) -> str:
    """The datasheet as Markdown; answers cannot begin a heading of their own."""
    lines = [f"# Datasheet of {told.config.title}", ""]
    for part, answers in answer_questions(told).items():
        lines += [f"## {part}", ""]
        for question, answer in answers.items():
            lines += [f"### {question}", "", plain(answer), ""]
    return "\n".join(lines)


def read_datasheet(text: str) -> Answers:
    """The inverse of `render_datasheet`: each part's questions and answers."""
    parts: Answers = {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        name, _, body = section.partition("\n")
        asked = (one.partition("\n") for one in re.split(r"^### ", body, flags=re.M)[1:])
        parts[name] = {question: answer.strip() for question, _, answer in asked}
    return parts
