"""What the tests of the card share: a small run's card to read, and one told of changed facts."""

import dataclasses

from small_run import small_run

from pipeline.card import STAGE, CardConfig, told_of
from pipeline.card_data import Part
from pipeline.card_tables import cells_of
from pipeline.card_text import render_card


def needs():
    return {name: small_run()[name] for name in STAGE.needs}


def parts():
    return [Part.from_json(record) for record in small_run()["card"].facts["parts"]]


def told(config=None, changed=None, some_parts=None):
    return told_of(changed or needs(), config or CardConfig(), some_parts or parts())


def rendered(changed=None, **config):
    return render_card(told(CardConfig(**config), changed))


def changed(stage, **updates):
    """What the card reads, with other facts of one stage."""
    sealed = needs()[stage]
    facts = {**sealed.facts, **updates}
    manifest = sealed.manifest.model_copy(update={"facts": facts})
    return {**needs(), stage: dataclasses.replace(sealed, manifest=manifest)}


def section(text, title):
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def tables(text):
    """The rows of each Markdown table below its head, as lists of cells."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append(cells_of(line))
        elif rows:
            found.append(rows[2:])
            rows = []
    return found
