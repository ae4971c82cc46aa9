"""Merging: worked examples, properties, files, and mergekit's results where it is installed."""

import importlib.util
import json
import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load_file, save_file
from tiny_llama import write_tiny

from downstream.derived import parse_settings
from downstream.merge import STAGE, MergeConfig, merge
from downstream.merge_methods import dare, linear, slerp, ties
from downstream.weight_files import WeightFiles, write_weights
from flows.merge import merge_models
from pipeline.errors import InputError
from pipeline.manifest import hash_json

_sane = st.floats(-8, 8, width=32).map(lambda x: 0.0 if abs(x) < 1e-3 else x)
tensors = arrays(np.float32, (3, 4), elements=_sane).map(torch.tensor)


def _t(*values):
    return torch.tensor(values)


@given(tensors, tensors)
@settings(max_examples=50, deadline=None)
def test_a_mean_of_weights_one_and_nothing_is_the_first(a, b):
    assert torch.equal(linear([a, b], [1, 0]), a)
    assert torch.allclose(linear([a, b], [3, 3]), (a + b) / 2)


@given(tensors, tensors)
@settings(max_examples=50, deadline=None)
def test_slerp_ends_at_both_models(a, b):
    assert torch.allclose(slerp(a, b, 0.0), a, atol=1e-3)
    assert torch.allclose(slerp(a, b, 1.0), b, atol=1e-3)


def test_slerp_goes_along_the_circle():
    middle = slerp(_t(1.0, 0.0), _t(0.0, 1.0), 0.5)
    assert torch.allclose(middle, _t(math.sqrt(0.5), math.sqrt(0.5)))
    third = slerp(_t(1.0, 0.0), _t(0.0, 1.0), 1 / 3)
    assert torch.allclose(third, _t(math.cos(math.pi / 6), math.sin(math.pi / 6)))


def test_slerp_of_one_direction_is_a_line():
    assert torch.allclose(slerp(_t(1.0, 2.0), _t(3.0, 6.0), 0.25), _t(1.5, 3.0))
    assert torch.equal(slerp(_t(0.0, 0.0), _t(2.0, 2.0), 0.5), _t(1.0, 1.0))


@given(tensors, tensors)
@settings(max_examples=50, deadline=None)
def test_ties_of_equal_differences_is_the_difference(base, delta):
    tuned = base + delta
    merged = ties(base, [tuned, tuned, tuned], [1, 2, 3], density=1.0, scale=1.0)
    assert torch.allclose(merged, tuned, atol=1e-5)


def test_ties_trims_elects_and_averages_what_agrees():
    base = torch.zeros(4)
    first, second = _t(4.0, -3.0, 0.5, 0.1), _t(2.0, 5.0, -0.2, 0.3)
    # the two largest of each stay: (4, -3, 0, 0) and (2, 5, 0, 0); signs of the sums: +, +
    merged = ties(base, [first, second], [1, 1], density=0.5, scale=1.0)
    assert torch.allclose(merged, _t(3.0, 5.0, 0.0, 0.0))
    halved = ties(base, [first, second], [1, 1], density=0.5, scale=0.5)
    assert torch.allclose(halved, _t(1.5, 2.5, 0.0, 0.0))
    # twice the weight turns the second sign around: -3 * 2 + 5 < 0
    weighted = ties(base, [first, second], [2, 1], density=0.5, scale=1.0)
    assert torch.allclose(weighted, _t(10 / 3, -3.0, 0.0, 0.0))


def _dare(base, tuned, seed, density=0.3, elect_signs=False):
    generators = [torch.Generator().manual_seed(100 * seed + i) for i in range(len(tuned))]
    return dare(base, tuned, [1.0] * len(tuned), density, 1.0, elect_signs, generators)


def test_dare_keeps_the_expectation_of_the_difference():
    base, tuned = torch.full((50, 50), 2.0), torch.full((50, 50), 3.0)
    draws = torch.stack([_dare(base, [tuned], seed) for seed in range(40)])
    kept = (draws != 2.0).float().mean()
    # 100,000 draws: standard errors of 0.0014 for the share and 0.0048 for the mean
    assert abs(float(kept) - 0.3) < 0.007
    assert abs(float(draws.mean()) - 3.0) < 0.025
    assert torch.allclose(draws[draws != 2.0], torch.tensor(2.0 + 1 / 0.3))


def test_dare_draws_by_its_seed_and_with_density_one_drops_nothing():
    base, tuned = torch.zeros(30, 30), [torch.ones(30, 30), -torch.ones(30, 30)]
    assert torch.equal(_dare(base, tuned, 1), _dare(base, tuned, 1))
    assert not torch.equal(_dare(base, tuned, 1), _dare(base, tuned, 2))
    assert torch.equal(_dare(base, tuned, 1, density=1.0), torch.zeros(30, 30))
    assert torch.equal(_dare(base, tuned, 1, 1.0, elect_signs=True), torch.ones(30, 30))


def test_weights_written_in_a_stream_are_what_safetensors_reads(tmp_path):
    tensors = {
        "b": torch.randn(3, 5), "a": torch.randn(7).bfloat16(), "c.d": torch.randn(2, 1).half(),
        "scalar": torch.tensor(1.5),
    }  # fmt: skip
    path = tmp_path / "model.safetensors"
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    dtypes = {name: t.dtype for name, t in tensors.items()}
    write_weights(path, shapes, dtypes, tensors.__getitem__)
    read = load_file(path)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    files = WeightFiles(tmp_path)
    assert (files.shapes, files.dtypes) == (shapes, dtypes)
    assert torch.equal(files["a"], tensors["a"])


@pytest.fixture(scope="module")
def trio(tmp_path_factory):
    """A base and two models of its shape."""
    folder = tmp_path_factory.mktemp("trio")
    return [write_tiny(folder / name, seed=seed) for seed, name in enumerate(("base", "a", "b"))]


def _weights(folder):
    return load_file(folder / "model.safetensors")


def test_a_merged_directory_opens_and_says_where_it_comes_from(trio, tmp_path, capsys):
    from transformers import AutoTokenizer, LlamaForCausalLM

    _, a, b = trio
    merge_models([a, b], None, tmp_path / "out", ("weights=[0.25, 0.75]",))
    assert "linear of 2 models" in capsys.readouterr().out
    for name, weight in _weights(tmp_path / "out").items():
        assert torch.allclose(weight, 0.25 * _weights(a)[name] + 0.75 * _weights(b)[name])
    lineage = json.loads((tmp_path / "out" / "lineage.json").read_text())
    assert [one["name"] for one in lineage["merged_from"]] == ["a", "b"]
    assert lineage["merged_from"][0]["sha256"] != lineage["merged_from"][1]["sha256"]
    assert lineage["settings"]["weights"] == [0.25, 0.75]
    model = LlamaForCausalLM.from_pretrained(tmp_path / "out")
    assert model(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 384)
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("two")["input_ids"]
    assert not list(tmp_path.glob("*.partial"))


def test_the_same_merge_twice_is_one_and_another_one_is_refused(trio, tmp_path):
    base, a, b = trio
    config = MergeConfig(method="dare", density=0.4)
    merge([a, b], base, tmp_path / "first", config)
    merge([a, b], base, tmp_path / "second", config)
    files = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("first", "second")]
    assert files[0] == files[1]
    before = (tmp_path / "first" / "lineage.json").stat().st_mtime_ns
    record = json.loads((tmp_path / "first" / "lineage.json").read_text())
    del record["result"]
    left = tmp_path / f"first.{hash_json(record)[:12]}.partial"
    left.mkdir()  # as a process killed right after the renaming leaves it
    merge([a, b], base, tmp_path / "first", config)
    assert not left.exists()
    assert (tmp_path / "first" / "lineage.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="exists and is not what this would make"):
        merge([a, b], base, tmp_path / "first", MergeConfig(method="dare", density=0.5))


def test_each_tensor_of_each_model_is_dropped_by_its_own_draw(trio, tmp_path):
    base, a, _ = trio
    merge([a, a], base, tmp_path / "out", MergeConfig(method="dare", density=0.5))
    name = "model.layers.0.mlp.up_proj.weight"
    delta = _weights(a)[name] - _weights(base)[name]
    merged = _weights(tmp_path / "out")[name] - _weights(base)[name]
    # each of the two draws keeps a half: a quarter of the weights is kept by none, half by one
    shares = [float(torch.isclose(merged, k * delta, atol=1e-6).float().mean()) for k in (0, 1, 2)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.06)


def test_sharded_weights_merge_as_whole_ones(trio, tmp_path):
    _, a, b = trio
    sharded = tmp_path / "sharded"
    shutil.copytree(a, sharded)
    weights = sorted(_weights(a).items())
    (sharded / "model.safetensors").unlink()
    save_file(dict(weights[:3]), sharded / "model-00001-of-00002.safetensors")
    save_file(dict(weights[3:]), sharded / "model-00002-of-00002.safetensors")
    place = {
        n: f"model-0000{1 + (i >= 3)}-of-00002.safetensors" for i, (n, _) in enumerate(weights)
    }
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": place}))
    merge([a, b], None, tmp_path / "one", MergeConfig(method="slerp"))
    merge([sharded, b], None, tmp_path / "two", MergeConfig(method="slerp"))
    files = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("one", "two")]
    assert files[0] == files[1]


def test_models_that_do_not_fit_are_refused_with_what_differs(trio, tmp_path):
    base, a, b = trio
    out, wider = tmp_path / "out", write_tiny(tmp_path / "wider", hidden=64)
    with pytest.raises(InputError, match=r"head_dim is 8 in .*, 16 in .*wider"):
        merge([a, wider], None, out, MergeConfig())
    other = tmp_path / "other"
    shutil.copytree(b, other)
    record = json.loads((other / "tokenizer.json").read_text())
    record["model"]["merges"].reverse()
    (other / "tokenizer.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="different tokenizers"):
        merge([a, other], None, out, MergeConfig())
    (tmp_path / "empty").mkdir()
    for models, of, config, words in (
        ([a], None, {}, "linear of 1 models"),
        ([a, b, base], None, {"method": "slerp"}, "slerp of 3 models"),
        ([a, b], None, {"method": "ties"}, "ties without a base"),
        ([a, b], base, {}, "linear with a base"),
        ([a, b], None, {"weights": (1, 2, 3)}, "3 weights for linear of 2"),
        ([a, tmp_path / "empty"], None, {}, "is not a model directory"),
    ):
        with pytest.raises(InputError, match=words):
            merge(models, of, out, MergeConfig(**config))
    assert not out.exists()


def test_settings_that_do_not_hold_are_named():
    assert parse_settings(STAGE, MergeConfig, ["method=ties", "density=0.2"]).density == 0.2
    for change, words in (
        ("density=2", "density=2: .*less than or equal to 1"),
        ("metod=ties", "metod.*not permitted.*the fields are method, weights"),
        ("density", "write field=value"),
        ("weights=[0, 0]", "one must be positive"),
    ):
        with pytest.raises(InputError, match=words):
            parse_settings(STAGE, MergeConfig, [change])


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mergekit") is None,
    reason="mergekit is not installed (it pins older packages: see docs/finetuning.md)",
)
@pytest.mark.parametrize(
    ("config", "peer"),
    [
        ({"weights": (0.3, 0.7)}, {"merge_method": "linear"}),
        ({"method": "slerp", "share": 0.3}, {"merge_method": "slerp"}),
        ({"method": "ties", "weights": (0.3, 0.7)}, {"merge_method": "ties"}),
        ({"method": "dare", "density": 1, "weights": (0.3, 0.7)}, {"merge_method": "dare_linear"}),
    ],
)
def test_mergekit_makes_the_same(trio, tmp_path, config, peer):
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    base, a, b = trio
    ours = MergeConfig(**config)
    with_base = ours.method in {"ties", "dare"}
    merge([a, b], base if with_base else None, tmp_path / "ours", ours)
    density = {"density": ours.density} if with_base else {}
    plan = {
        **peer,
        "dtype": "float32",
        "models": [
            {"model": str(folder), "parameters": {"weight": weight, **density}}
            for folder, weight in zip((a, b), ours.weights or (1, 1), strict=True)
        ],
        "parameters": {"t": ours.share} if ours.method == "slerp" else {"normalize": True},
        **({"base_model": str(base if with_base else a)} if ours.method != "linear" else {}),
    }
    plan = MergeConfiguration.model_validate(plan)
    run_merge(plan, str(tmp_path / "theirs"), MergeOptions(copy_tokenizer=False))
    theirs = _weights(tmp_path / "theirs")
    for name, weight in _weights(tmp_path / "ours").items():
        assert torch.allclose(weight, theirs[name], atol=1e-6), name
