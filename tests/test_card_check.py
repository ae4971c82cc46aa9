"""`primer card RUN --check`: a sealed card has no fault, and of a bad one every fault is named."""

import json
import re

import pytest
from jsonschema import Draft202012Validator
from small_run import copy_run, small_run

from flows.card import check, show_card, work_on_card
from pipeline.card_check import SCHEMA, check_card, read_described
from pipeline.errors import InputError, StageError
from pipeline.manifest import read_manifest, write_manifest


def edit(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def reseal(directory, **updates):
    write_manifest(directory, read_manifest(directory).model_copy(update=updates))


@pytest.fixture(scope="module")
def sealed():
    return small_run()["card"].path.parent


def test_a_sealed_card_holds(sealed, capsys):
    assert check(sealed)
    assert "says what the manifests say" in capsys.readouterr().out


@pytest.mark.long
def test_the_command_prints_checks_and_publishes(sealed, tmp_path, capsys):
    assert work_on_card(sealed, is_check=False, place=None)
    assert capsys.readouterr().out == (sealed / "09-card" / "README.md").read_text() + "\n"
    assert work_on_card(sealed, is_check=True, place=tmp_path / "out")
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{tmp_path / 'out'}: ")
    bad = copy_run(tmp_path)
    edit(bad / "09-card" / "README.md", "## Limits", "## No limits")
    assert not work_on_card(bad, is_check=True, place=tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_the_schema_is_one_and_takes_no_field_less(sealed):
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    described = read_described(sealed / "09-card")
    validator = Draft202012Validator(schema)
    assert validator.is_valid(described)
    for part in ("head", "croissant"):
        for name in schema["$defs"][part]["required"]:
            less = {k: v for k, v in described[part].items() if k != name}
            assert not validator.is_valid({**described, part: less}), name


def test_every_fault_is_named(tmp_path, capsys):
    run = copy_run(tmp_path)
    card = run / "09-card"
    facts = small_run()["train-filter"].facts
    precision = f"{facts['precision']:.3f}"
    edit(card / "README.md", f"| {precision} |", "| 0.999 |")
    edit(card / "README.md", "license: unknown\n", "")
    edit(card / "README.md", "path: data/raw/train/*.parquet", "path: data/raw/trains/*.parquet")
    edit(card / "README.md", "plots/waterfall.png", "plots/waterfal.png")
    edit(card / "croissant.json", '"sha256": "', '"sha256": "00', 1)
    prov = json.loads((card / "prov.json").read_text())
    del prov["entity"][next(k for k, e in prov["entity"].items() if e["prov:label"] == "clean")]
    (card / "prov.json").write_text(json.dumps(prov))
    edit(card / "datasheet.md", "### Who funded its creation?\n\nunknown", "### Who funded it?\n\n")
    (card / "data" / "kept" / "train" / "00000.parquet").unlink()
    (card / "plots" / "labels.png").write_bytes(b"")
    (card / "samples" / "raw.md").unlink()
    assert not check(run)
    said = capsys.readouterr().out
    for fault in (
        rf"README\.md, line \d+: row '{precision}', column 1 says '0\.999', the manifests say "
        rf"'{precision}'",
        r"against the schema: head: 'license' is a required property",
        r"README\.md: raw has no file data/raw/trains/\*\.parquet",
        r"README\.md: plots/waterfal\.png is promised and missing",
        r"croissant\.json: \S+ has another sha256 than is sealed",
        r"against the schema: croissant/distribution/0/sha256: ",
        r"prov\.json: primer:[0-9a-f]{16} is not declared",
        r"datasheet\.md, line \d+: says '### Who funded it\?'",
        r"against the schema: datasheet/Motivation/Who funded it\?: ",
        r"data/kept/train/00000\.parquet: is promised and missing",
        r"kept/train: cannot be read",
        r"plots/labels\.png: its bytes are not what was sealed",
        r"samples/raw\.md: is promised and missing",
    ):
        assert re.search(f"^{fault}", said, re.M), (fault, said)


@pytest.mark.parametrize("name", ["croissant", "prov", "changes"])
@pytest.mark.parametrize("content", ["[]", '{"distribution": [1], "used": [1]}', "{", "null"])
@pytest.mark.long
def test_a_part_of_another_form_is_a_fault_and_no_traceback(tmp_path, name, content):
    run = copy_run(tmp_path)
    (run / "09-card" / f"{name}.json").write_text(content)
    assert len(check_card(run)) > 1


@pytest.mark.long
def test_rows_that_are_not_there_are_missed(tmp_path):
    run = copy_run(tmp_path)
    card = run / "09-card"
    facts = json.loads(json.dumps(read_manifest(card).facts))
    facts["parts"][0]["documents"] += 1
    reseal(card, facts=facts)
    said = check_card(run)
    rows = facts["parts"][0]["documents"]
    assert f"raw/train: has {rows - 1} documents, {rows} are said" in said
    assert any("num_examples" in fault or "row 'raw'" in fault for fault in said)


@pytest.mark.long
def test_a_card_of_another_run_or_version_is_one_fault(tmp_path):
    run = copy_run(tmp_path)
    card = run / "09-card"
    needs = dict(read_manifest(card).needs)
    reseal(card, needs={**needs, "clean": "0" * 64})
    assert check_card(run) == [
        "the card tells of another clean than the one sealed here: run --from card"
    ]
    reseal(card, stage_version=4)
    (fault,) = check_card(run)
    assert fault.startswith("the card was made by version 4 of its stage")


def test_a_run_without_a_card_is_said_in_a_line(tmp_path):
    run = copy_run(tmp_path)
    (run / "09-card").rename(run / "card-away")
    for ask in (check_card, show_card):
        with pytest.raises(InputError, match="has no sealed card yet; run the recipe until card"):
            ask(run)
    (run / "card-away").rename(run / "09-card")
    (run / "09-card" / "README.md").unlink()
    with pytest.raises(StageError, match=r"README\.md is missing"):
        show_card(run)
