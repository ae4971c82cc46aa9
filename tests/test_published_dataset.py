"""A published directory is loaded as the card says, by the real libraries, without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlcroissant
import pytest
import yaml
from card_reading import told
from small_run import copy_run, small_run

from pipeline.card_data import CONFIGS, DEFAULT_CONFIG, Part, write_data
from pipeline.card_publish import SUMS, publish_card
from pipeline.croissant import make_croissant
from pipeline.errors import InputError, StageError
from pipeline.manifest import FileEntry, hash_file
from pipeline.records import DOCUMENT, read_rows
from pipeline.splits import ValidationConfig

pytestmark = pytest.mark.filterwarnings(
    "ignore:ConjunctiveGraph is deprecated", "ignore:The inplace keyword"
)  # mlcroissant's own

_LOAD = """
import sys, datasets
place, *names = sys.argv[1:]
for name in names:
    loaded = datasets.load_dataset(place, None if name == "default" else name)
    for split, rows in loaded.items():
        assert list(rows.features) == list(rows[0]), rows.features
        stated = rows.info.splits[split]
        print(name, split, rows.num_rows, stated.num_bytes, rows[0]["doc_id"], rows[-1]["doc_id"])
"""


@pytest.fixture
def place(tmp_path):
    run = small_run()["card"].path.parent
    publish_card(run, tmp_path / "published")
    return tmp_path / "published"


def load(place, tmp_path, *names):
    """What the `datasets` library finds, in a process of its own that may reach no hub."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _LOAD, str(place), *names],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"),
             "HF_DATASETS_CACHE": str(tmp_path / "cache"), "http_proxy": "http://127.0.0.1:1",
             "https_proxy": "http://127.0.0.1:1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def head_of(place):
    return yaml.safe_load((place / "README.md").read_text().split("---\n")[1])


def expected(place, names):
    """What the card says there is, with the first and last document of the files it names."""
    head, rows = head_of(place), []
    infos = {info["config_name"]: info for info in head["dataset_info"]}
    configs = {config["config_name"]: config for config in head["configs"]}
    for name in names:
        config = DEFAULT_CONFIG if name == "default" else name
        stated = {s["name"]: s["num_examples"] for s in infos[config]["splits"]}
        for files in configs[config]["data_files"]:
            ids = [r["doc_id"] for r in read_rows(sorted(place.glob(files["path"])), ["doc_id"])]
            rows.append((name, files["split"], str(stated[files["split"]]), ids[0], ids[-1]))
    return rows


@pytest.mark.long
def test_datasets_loads_every_configuration_and_split_as_the_card_says(place, tmp_path):
    names = [*CONFIGS, "default"]
    found = load(place, tmp_path, *names)
    assert [(n, s, rows, first, last) for n, s, rows, _, first, last in found] == (
        expected(place, names)
    )
    stated = {(i["config_name"], s["name"]): s["num_bytes"]
              for i in head_of(place)["dataset_info"] for s in i["splits"]}  # fmt: skip
    for name, split, _, n_bytes, *_ in found:
        if name != "default":
            assert int(n_bytes) == pytest.approx(stated[name, split], rel=0.01)


@pytest.mark.long
def test_the_sealed_stage_itself_is_loaded_too(tmp_path):
    card = small_run()["card"].path
    assert len(load(card, tmp_path, "raw")) == 2


def test_mlcroissant_loads_the_records_of_every_set_and_refuses_changed_bytes(place):
    path = str(place / "croissant.json")
    dataset = mlcroissant.Dataset(jsonld=path)
    assert not dataset.metadata.issues.errors
    assert dataset.metadata.ctx.is_v1_1()
    assert dataset.metadata.license is None
    assert dataset.metadata.data_biases
    parts = [Part.from_json(record) for record in small_run()["card"].facts["parts"]]
    assert [one.uuid for one in dataset.metadata.record_sets] == [part.name for part in parts]
    for part in parts:
        rows = list(dataset.records(part.name))
        texts = [row["text"] for row in read_rows([place / file for file in part.files])]
        assert [row[f"{part.name}/text"].decode() for row in rows] == texts
        assert len(rows[0]) == len(DOCUMENT)
    first, other = place / parts[0].files[0], place / parts[1].files[0]
    first.unlink()
    first.write_bytes(other.read_bytes())
    with pytest.raises(mlcroissant.GenerationError) as refused:
        list(mlcroissant.Dataset(jsonld=path).records(parts[0].name))
    assert "is not identical with the reference" in str(refused.value.__cause__)


@pytest.mark.long
def test_a_part_of_several_files_is_one_record_set(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.card_data._FILE_BYTES", 1)
    arms, card = small_run()["decontaminate"], small_run()["card"]
    held_out = ValidationConfig(**card.manifest.config["ValidationConfig"])
    parts = write_data(tmp_path, arms, card.manifest.seed, held_out)
    assert len(parts[0].files) > 1
    files = {
        file: FileEntry(sha256=hash_file(tmp_path / file), bytes=1)
        for part in parts
        for file in part.files
    }
    described = make_croissant(told(some_parts=parts), files)
    (tmp_path / "croissant.json").write_text(json.dumps(described))
    dataset = mlcroissant.Dataset(jsonld=str(tmp_path / "croissant.json"))
    for part in parts:
        rows = list(dataset.records(part.name))
        ids = [row["doc_id"] for row in read_rows([tmp_path / file for file in part.files])]
        assert [row[f"{part.name}/doc_id"].decode() for row in rows] == ids
        assert len(ids) == part.documents


def test_what_is_published_is_what_was_sealed_with_a_list_of_hashes(place):
    card = small_run()["card"]
    files = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    assert files == {*card.manifest.files, SUMS}
    subprocess.run(["sha256sum", "--quiet", "--strict", "--check", SUMS], cwd=place, check=True)
    assert len((place / SUMS).read_text().splitlines()) == len(card.manifest.files)
    (place / "README.md").write_text("mine\n")  # what is edited in a copy stays in the copy
    assert card.file("README.md").read_text() != "mine\n"


def test_it_is_there_whole_or_not_at_all(tmp_path):
    run = copy_run(tmp_path)
    (run / "09-card" / "samples" / "raw.md").write_text("changed\n")
    with pytest.raises(StageError, match="is not what was sealed"):
        publish_card(run, tmp_path / "out" / "published")
    assert list((tmp_path / "out").iterdir()) == []
    taken = tmp_path / "taken"
    taken.mkdir()
    with pytest.raises(InputError, match=r"taken is there already; name a directory that is not"):
        publish_card(run, taken)
    assert Path(run / "09-card" / "README.md").exists()
