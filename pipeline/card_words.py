"""What is known of a dataset, in sentences: for the datasheet, for Croissant's fields, for limits.

Each sentence follows from the manifests or from what the recipe's author wrote in the section
`card`. A sentence that would need more is the word "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.card_facts import Told, annotators, exercises
from pipeline.card_tables import figure

UNKNOWN = "unknown"


def or_unknown(text: str | None) -> str:
    """What somebody said, or that nobody did."""
    return text or UNKNOWN


def listed(counts: Mapping[str, int], most: int = 12) -> str:
    """Names with their counts, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{name} {n}" for name, n in ordered[:most]]
    rest = len(ordered) - most
    return ", ".join([*shown, f"{rest} others"] if rest > 0 else shown) or "none"


def instances(told: Told) -> str:
    """What one row is, and how many there are."""
    kinds = listed(told.contents["kind"])
    return (
        "A document: a page of prose (kind web), a file of program text (kind code), or a written "
        f"lesson or exercise (origin synthetic). The default configuration trains on {kinds}."
    )


def collection(told: Told) -> str:
    """Where the documents come from."""
    names = ", ".join(f"{s['name']} ({s['kind']})" for s in told.sources)
    account = told.needs["ingest"].ledger
    return (
        f"{account.rows_in} records were read from the sources {names}; {account.kept} of them had "
        "text to keep. Files were read where they lay, by rules and without people."
    )


def sampling(told: Told) -> str:
    """Whether it is a sample of something larger."""
    kept = told.facts["apply-filter"]["kept_share"]
    return (
        f"The configuration raw is all that was left after cleaning; kept is the {figure(kept)} of "
        "it that a filter scored highest; random is a random subset of raw as large as kept. "
        "Whether the sources are a sample of something larger is unknown."
    )


def raw_data(told: Told) -> str:
    """Whether what was read is still there."""
    return (
        "The sources stay where they were and are not part of the dataset; every record that was "
        "not used is a row with its reason in the run's stages ingest and clean."
    )


def missing(told: Told) -> str:
    """What is not there, and what is done about it."""
    counts = told.contents
    of_language = sum(counts[n].get(UNKNOWN, 0) for n in ("language", "program_language"))
    return (
        f"Documents of unknown licence: {counts['licence'].get(UNKNOWN, 0)} of "
        f"{sum(counts['licence'].values())}; of unknown language: {of_language}. Both are left "
        "empty there and never guessed."
    )


def preprocessing(told: Told) -> list[str]:
    """What was done to the documents, stage by stage."""
    clean, near = told.needs["clean"].ledger, told.facts["synthesize"]["twins"]["max_similarity"]
    removed = sum(told.facts["decontaminate"]["hits"].values())
    return [
        f"Cleaning by rules kept {clean.kept} of {clean.rows_in} documents; exact and near copies "
        f"were dropped ({listed(clean.dropped)}).",
        privacy(told),
        "A random forest, trained on labels of a sample, scored every document; what scored below "
        "the threshold is only in the configurations raw and random.",
        f"Synthetic pieces were rejected where they are more alike than {figure(near)}, where "
        "their code failed, or where a gate found too little in them.",
        f"Documents that hold text of a benchmark were removed: {removed}."
        if told.facts["decontaminate"]["hits"]
        else "No benchmark was searched for.",
    ]


def privacy(told: Told) -> str:
    """What was done about personal information."""
    config = told.needs["clean"].manifest.config["CleanConfig"]["pii"]
    if not config["types"]:
        return "Personal information was not searched for."
    done = {"redact": "replaced by placeholders", "drop": "the document dropped"}
    return (
        f"Searched for by rules: {', '.join(config['types'])}; in prose {done[config['prose']]}, "
        f"in code {done[config['code']]}. Replaced: {listed(told.facts['clean']['redacted'])}. "
        "What the rules do not know, such as names, is still there."
    )


def annotation(told: Told) -> str:
    """How the labels came to be."""
    facts, config = told.facts["label"], told.labelling
    rubrics = ", ".join(f"{ref} for {kind}" for kind, ref in facts["rubrics"].items())
    human = f" {facts['human_labels']} labels are a person's." * bool(facts["human_labels"])
    return (
        f"{facts['labelled']} of {facts['sampled']} sampled documents were scored from 0 to 5 by "
        f"{facts['annotator']} under the rubrics {rubrics}; at most "
        f"{config['text_budget_chars']} characters of a document were shown.{human}"
    )


def platform(told: Told) -> str:
    """What the labels were made with."""
    teacher = told.teacher
    if teacher["base_url"] is None and teacher["gguf"] is None:
        return "Primer's rule-based stand-in on this machine, through an OpenAI-compatible API."
    if teacher["gguf"] is not None:
        return "A model file served by llama.cpp on this machine."
    return f"The OpenAI-compatible endpoint {teacher['base_url']}, model {teacher['model']}."


def agreement(told: Told) -> list[str]:
    """How far annotators agree, pair by pair."""
    pairs = told.facts["label"]["agreement"]["pairs"]
    return [
        f"{p['annotators'][0]} against {p['annotators'][1]} on {p['n']} documents: quadratically "
        f"weighted kappa {figure(p['kappa'])}, the same score {figure(p['exact'])}."
        for p in pairs
    ] or ["Agreement was not measured: one annotator read each document once."]


def annotations_per_item(told: Told) -> str:
    """How many labels a document has."""
    again = [row for row in annotators(told)[1:] if row[0] != "human"]
    more = "; ".join(f"{row[0]} read {figure(row[4])} of them too" for row in again)
    return f"One of each labelled document{'; ' + more if more else ''}."


def demographics(told: Told) -> str:
    """Who the annotators are."""
    if told.facts["label"]["human_labels"]:
        return or_unknown(told.config.annotator_demographics)
    return "No person labelled: it was a program."


def biases(told: Told) -> list[str]:
    """What the dataset leans to, as far as it follows from how it was made."""
    filter_ = told.facts["train-filter"]
    return [
        "A filter repeats the taste of its annotator: what it calls educational is what the "
        "rubrics ask for. Its mistakes on held-out groups: precision of the positive class "
        f"{figure(filter_['precision'])}, recall {figure(filter_['recall'])}.",
        f"The sources are uneven: {listed(told.contents['source'])}.",
        f"The languages are uneven: {listed(told.contents['language'])}.",
        "Biases in what the texts say of people have not been measured.",
    ]


def limitations(told: Told) -> list[str]:
    """What it does not show, in the order of how much it matters."""
    found = []
    if not told.facts["label"]["annotator_is_llm"]:
        found.append("Labels come from rules, not from a language model.")
    if not told.facts["synthesize"]["writer_is_llm"]:
        found.append("Synthetic text comes from rules, not from a language model.")
    if told.facts["decontaminate"]["hits"]:
        found.append(
            "Benchmarks are kept out by shared runs of words and by the structure of programs; a "
            "paraphrase is not seen unless meaning was searched for too."
        )
    else:
        found.append("No benchmark was checked.")
    if exercises(told) is not None:
        found.append("That the tests of an exercise pass does not prove its solution right.")
    unknown = told.contents["licence"].get(UNKNOWN, 0)
    if unknown:
        found.append(f"The licence of {unknown} documents of the default configuration is unknown.")
    return found


def uses(told: Told) -> list[str]:
    """What it is for, and what not."""
    return [
        "Pre-training of small language models on text and code, and comparing what a filter and "
        "synthetic text are worth against raw and random text of the same size.",
        "Not for claims about people, and not as a source of facts: nothing in it was checked for "
        "truth, but that code in lessons and exercises ran.",
    ]


def impact(told: Told) -> str:
    """What it may do to people."""
    return (
        "Unknown: no study was made. Texts are of people who did not write them for this purpose; "
        "see the sections on licences and on personal information."
    )
