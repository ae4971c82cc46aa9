"""Exports of the handoff: read by the trainers' own loaders where they are installed."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from datatrove.utils.dataset import DatatroveFolderDataset
from small_handoff import put_handoff

from conftest import Bench
from downstream.exported_windows import Windows, positions
from downstream.handoff_export import export_handoff
from downstream.training_plan import make_plan
from pipeline.errors import InputError

CONTEXT = 64


@pytest.fixture(scope="module")
def handed(tmp_path_factory):
    return put_handoff(Bench(tmp_path_factory.mktemp("export") / "run"))


def export(handed, to, out):
    return export_handoff(handed[0], to, out, preset="1M", context_tokens=CONTEXT)


def ids_of(handed, shards):
    root, dtype = handed[0].parent, handed[1].token_dtype
    return np.concatenate([np.fromfile(root / s.path, dtype) for s in shards])


def test_the_plan_reads_the_arm_once_and_anneals_with_its_own_part(handed):
    plan = make_plan(handed[0], "kept", "1M", CONTEXT)
    a_step = plan.windows_a_step * CONTEXT
    assert (plan.base_steps, plan.anneal_steps) == (15_000 // a_step, 5_000 // a_step)
    assert plan.accumulated * plan.windows_at_once == plan.windows_a_step
    assert plan.end_of_text_token == "<|endoftext|>"


def test_an_arm_or_a_trainer_that_is_not_there_is_refused(handed, tmp_path):
    with pytest.raises(InputError, match=r"no arm 'best'; name one of raw, kept"):
        make_plan(handed[0], "best")
    with pytest.raises(InputError, match=r"no export to 'pytorch'; name one of nanotron"):
        export(handed, "pytorch", tmp_path)
    with pytest.raises(InputError, match=r"no preset '3T'; name one of 1M"):
        make_plan(handed[0], "kept", "3T")


def test_an_export_in_the_place_of_another_leaves_no_shard_of_it(handed, tmp_path):
    for ending in ("", ".index"):
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "base" / f"00001.ds{ending}").symlink_to(tmp_path / "of-a-larger-arm")
    export(handed, "nanotron", tmp_path)
    names = sorted(path.name for path in (tmp_path / "base").iterdir())
    assert names == ["00000.ds", "00000.ds.index"]


def test_windows_come_in_order_of_training_each_once_before_any_comes_again(handed, tmp_path):
    export(handed, "transformers", tmp_path)
    config = json.loads((tmp_path / "train.json").read_text())
    windows = Windows(**config["windows"])
    arm = handed[1].arms[2]
    n_base = config["windows"]["counts"][0]
    assert len(windows) == sum(config["windows"]["counts"])
    for first, last, shards in ((0, n_base, arm.base), (n_base, len(windows), arm.anneal)):
        ids = ids_of(handed, shards)
        whole = {tuple(part) for part in ids[: len(ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)}
        read = [tuple(windows[i].tolist()) for i in range(first, last)]
        assert set(read) <= whole
        assert len(set(read)) == len(read)
    again = Windows(**config["windows"] | {"counts": [1_000, 10]})
    epoch = 15_000 // CONTEXT
    assert {tuple(again[i].tolist()) for i in range(epoch)} == {
        tuple(again[i].tolist()) for i in range(epoch, 2 * epoch)
    }
    with pytest.raises(ValueError, match="use a shorter window"):
        Windows(**config["windows"] | {"tokens": 10**6})


def test_positions_begin_anew_after_each_end():
    ids = torch.tensor([5, 0, 7, 8, 0, 0, 9])
    assert positions(ids, 0).tolist() == [0, 1, 0, 1, 2, 0, 0]


def test_datatrove_reads_the_exported_folder_and_knows_the_documents(handed, tmp_path):
    export(handed, "nanotron", tmp_path)
    ids = ids_of(handed, handed[1].arms[2].base)
    read = DatatroveFolderDataset(
        str(tmp_path / "base"), CONTEXT, filename_pattern="*.ds", token_size=2,
        return_positions=True,
    )  # fmt: skip
    assert len(read) == 15_000 // (CONTEXT + 1)
    for i, item in enumerate(read[i] for i in range(len(read))):
        part = torch.from_numpy(ids[i * (CONTEXT + 1) : (i + 1) * (CONTEXT + 1)].astype(np.int64))
        assert torch.equal(item["input_ids"], part)
        assert torch.equal(item["positions"].long(), positions(part, 0))


def test_the_tokenizer_opens_as_hugging_face_s(handed, tmp_path):
    from transformers import AutoTokenizer

    export(handed, "nanotron", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert (tokenizer.eos_token_id, len(tokenizer)) == (0, 400)


@pytest.mark.long
def test_the_trainer_of_transformers_trains_as_exported(handed, tmp_path):
    command = export(handed, "transformers", tmp_path)
    path = tmp_path / "train.json"
    config = json.loads(path.read_text())
    config["arguments"] |= {"max_steps": 3, "save_steps": 3, "logging_steps": 1, "use_cpu": True,
                            "lr_scheduler_kwargs": {"num_decay_steps": 1}}  # fmt: skip
    path.write_text(json.dumps(config))
    assert command == ["python", str(tmp_path / "train.py")]
    done = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True,
                          cwd=tmp_path, check=False,
                          env={"OMP_NUM_THREADS": "1", "PATH": ""})  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    state = json.loads((tmp_path / "model" / "checkpoint-3" / "trainer_state.json").read_text())
    losses = [row["loss"] for row in state["log_history"] if "loss" in row]
    assert 0.8 * np.log(400) < losses[-1] < losses[0] < 1.2 * np.log(400)
    assert (tmp_path / "model" / "tokenizer.json").exists()


def test_nanotron_s_own_dataclasses_take_the_configuration(handed, tmp_path):
    export(handed, "nanotron", tmp_path)
    told = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert told["data_stages"][0]["start_training_step"] == 1
    pytest.importorskip("nanotron", reason="nanotron is not installed here")
    from nanotron.config import get_config_from_file

    config = get_config_from_file(str(tmp_path / "config.yaml"))
    assert config.tokens.train_steps == make_plan(handed[0], "kept+synthetic", "1M", CONTEXT).steps


def test_litgpt_s_own_parser_takes_the_configuration(handed, tmp_path):
    command = export(handed, "litgpt", tmp_path)
    told = yaml.safe_load((tmp_path / "pretrain.yaml").read_text())
    assert told["data"]["class_path"] == "primer_data.Shards"
    validation = np.fromfile(tmp_path / "validation" / "00000.ds", "<u2")
    handoff = handed[1]
    assert (validation != 0).sum() == handoff.validation.tokens
    if importlib.util.find_spec("litgpt") is None:
        pytest.skip("litgpt is not installed here")
    asked = [*command, "--print_config"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
