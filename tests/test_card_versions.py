"""The card of a version with a parent: what changed, told from manifests, and loaded as it says."""

import json

import mlcroissant
import pytest
from card_reading import section, tables
from small_versions import version
from test_published_dataset import expected, load

from flows.card import check
from pipeline.card_changes import version_of
from pipeline.card_data import CONFIGS
from pipeline.card_publish import publish_card

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph", "ignore:The inplace keyword"),
]


@pytest.fixture(scope="module")
def card():
    return version(2)["card"]


def test_it_says_what_changed_since_the_parent(card):
    changes = json.loads(card.file("changes.json").read_text())
    said = section(card.file("README.md").read_text(), "Since the version before")
    assert "The version before is `small`." in said
    assert f"kept {changes['kept_share']['new']:.3f} of the new documents" in said
    stages, *others = tables(said)
    assert [row[0] for row in stages] == [one["stage"] for one in changes["stages"]]
    for row, one in zip(stages, changes["stages"], strict=True):
        assert row[5:7] == [str(one["all"]["rows_in"]), str(one["all"]["kept"])]
    by_name = {row[0]: row for row in stages}
    assert by_name["label"][1:3] == ["", ""]
    assert by_name["label"][-1] == "taken over from small"
    assert by_name["tokenize"][-1] == "takes in all again"
    assert int(by_name["clean"][1]) > 0
    licences = next(rows for rows in others if rows[0][0] == min(changes["licences"]))
    counts = changes["licences"][licences[0][0]]
    assert licences[0][1:] == [str(counts["new"]), str(counts["all"])]
    assert "one-sentence" in said


def test_what_was_paid_before_is_told_as_such(card):
    rows = tables(section(card.file("README.md").read_text(), "Cost"))[0]
    spend = version(1)["label"].manifest.spend
    assert ["label, paid in small", str(spend.calls)] == rows[0][:2]


def test_its_lineage_leads_to_the_parent(card):
    prov = json.loads(card.file("prov.json").read_text())
    revisions = {
        (d["prov:generatedEntity"], d["prov:usedEntity"])
        for d in prov["wasDerivedFrom"].values()
        if d.get("prov:type") == "prov:Revision"
    }
    for name in ("clean", "label", "decontaminate"):
        now, before = (version(n)[name].manifest.fingerprint[:16] for n in (2, 1))
        assert (f"primer:{now}", f"primer:{before}") in revisions


def test_it_holds_and_is_loaded_as_it_says(card, tmp_path, capsys):
    run = card.path.parent
    assert check(run), capsys.readouterr().out
    place = tmp_path / "published"
    publish_card(run, place)
    found = load(place, tmp_path, *CONFIGS)
    assert [(n, s, rows, first, last) for n, s, rows, _, first, last in found] == (
        expected(place, CONFIGS)
    )
    described = mlcroissant.Dataset(jsonld=str(place / "croissant.json"))
    assert described.metadata.version == "2.0.0"
    documents = {one["name"]: one["documents"] for one in card.facts["parts"]}
    for name, n in documents.items():
        assert sum(1 for _ in described.records(name)) == n
    before = {one["name"]: one["documents"] for one in version(1)["card"].facts["parts"]}
    assert documents["raw/train"] > before["raw/train"]


def test_versions_are_numbered_after_the_parent_s():
    for parent, told in ((None, "1.0.0"), ("a", "2.0.0"), ("a-v2", "3.0.0"), ("b-v19", "20.0.0")):
        assert version_of({"parent": parent and {"run": parent}}) == told
