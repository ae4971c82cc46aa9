"""Hugging Face datasets: configs and splits, in a folder and at the hub."""

import json
import os

import pytest
from hub_server import hub
from source_files import dataset, run_apart, texts
from source_reading import read

from pipeline.errors import InputError


def test_a_hugging_face_dataset_is_read_by_config_and_split(tmp_path):
    root = dataset(tmp_path / "with")
    assert len(texts(root)) == 3
    assert texts(root, split="test") == ["data/test-00000-of-00001"]
    assert texts(root, subset="extra") == ["extra/e"]
    (document,), _ = read(root, subset="extra")
    assert json.loads(document["metadata"])["dataset_licence"] == "odc-by"
    assert document["licence"] is None
    plain = dataset(tmp_path / "without", readme=None)
    assert len(texts(plain)) == 4
    assert len(texts(plain, split="train")) == 2
    for fields, said in (({"split": "dev"}, "no split 'dev', but test, train"),
                         ({"subset": "x"}, "no subset 'x', but default, extra")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            read(root, **fields)


def read_hub(endpoint, **environment):
    """In a process of its own: huggingface_hub takes its endpoint where it is imported."""
    script = (
        "from source_reading import read, source\n"
        "from pipeline.sources_plan import list_source\n"
        "given = 'hf://datasets/owner/name'\n"
        "print([d['text'] for d in read(given, split='test')[0]], len(read(given)[0]))\n"
        "print(len({file.stamp for file in list_source(source(given)).files}))\n"
    )
    return run_apart(script, env={**os.environ, "HF_ENDPOINT": endpoint, **environment})


def test_a_dataset_of_the_hub_is_read_by_its_address(tmp_path):
    root = dataset(tmp_path)
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with hub(files) as endpoint:
        done = read_hub(endpoint)
    assert done.stdout == "['data/test-00000-of-00001'] 3\n3\n", done.stderr
    done = read_hub(endpoint, HF_HUB_OFFLINE="1")
    assert "hf://datasets/owner/name cannot be listed (Cannot reach" in done.stderr
