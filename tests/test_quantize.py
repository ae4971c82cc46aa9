"""Stage 12: the files that were asked for, of the types that were asked for, or a refusal."""

import json
from itertools import pairwise

import gguf
import numpy as np
import pytest
from small_handoff import VOCABULARY, put_models, random_model

from conftest import Bench
from downstream import export
from downstream.device import opened
from downstream.export import MAX_KL_NATS, log_softmax
from downstream.quantize import STAGE, QuantizeConfig
from pipeline.errors import InputError, StageError

# what most tensors become where every row is a multiple of 256, and what llama.cpp mixes in;
# from the largest file to the smallest
WANTED = {
    "F16": ("F16",),
    "Q8_0": ("Q8_0",),
    "Q4_K_M": ("Q4_K", "Q6_K"),
    "Q4_0": ("Q4_0", "Q6_K"),
    "Q3_K_M": ("Q3_K", "Q4_K", "Q5_K", "Q6_K"),
}


def quantize(bench, *types, **model):
    """Quantize one random model."""
    put_models(bench, raw=random_model(**model))
    return bench.make(STAGE, QuantizeConfig(types=types, threads=1))


def table(sealed, arm="raw"):
    return {
        row["file"]: row for row in json.loads(sealed.file(f"{arm}/quantized.json").read_text())
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("quantized") / "run")
    models = {"raw": random_model(layers=2), "kept+synthetic": random_model(seed=1)}
    put_models(bench, **models)
    return bench.make(STAGE, QuantizeConfig(threads=1))


@pytest.mark.parametrize("arm", ["raw", "kept+synthetic"])
def test_every_type_of_every_arm_is_made_and_checked(made, arm):
    files = made.files(f"{arm}/*.gguf")
    assert [path.name for path in files] == sorted(f"model-{name}.gguf" for name in WANTED)
    assert 0 < made.facts["checks"][arm]["kl_nats"] < MAX_KL_NATS
    assert made.ledger.kept == 2 * len(WANTED)
    assert made.facts["types"] == ["F16", *QuantizeConfig().types]


@pytest.mark.parametrize("name", WANTED)
def test_the_tensors_have_the_wanted_types_and_none_fell_back(made, name):
    found = table(made)[f"model-{name}.gguf"]["tensors"]
    norms = 2 * 2 + 1  # two layers' two, and the last
    assert found.pop("F32") == norms
    assert set(found) == set(WANTED[name])
    assert max(found, key=found.get) == WANTED[name][0]
    tensors = gguf.GGUFReader(made.file(f"raw/model-{name}.gguf")).tensors
    assert len(tensors) == sum(found.values()) + norms == 2 * 7 + 1 + norms
    assert sum(t.n_elements for t in tensors) == random_model(layers=2).parameters_count


def test_fewer_bits_make_smaller_files_that_tell_less(made):
    told, sizes, bits = [], [], []
    tokens = [(7 * i) % VOCABULARY for i in range(64)]
    for name in WANTED:
        path = made.file(f"raw/model-{name}.gguf")
        sizes.append(path.stat().st_size)
        row = table(made)[path.name]
        assert row["mib"] == pytest.approx(sizes[-1] / 2**20, abs=1e-3)
        bits.append(row["bits_per_weight"])
        with opened(path, 64, threads=1, all_logits=True) as llama:
            llama.eval(tokens)
            told.append(log_softmax(llama.scores[:64].astype(np.float64)))
    assert all(larger > smaller for larger, smaller in pairwise(sizes))
    assert all(larger > smaller for larger, smaller in pairwise(bits))
    kl_nats = [(np.exp(told[0]) * (told[0] - q)).sum(-1).mean() for q in told]
    lost = dict(zip(WANTED, kl_nats, strict=True))
    assert 0 == lost["F16"] < lost["Q8_0"] < lost["Q4_K_M"] < lost["Q3_K_M"] < 1


def test_where_rows_are_no_multiple_of_256_the_table_shows_what_took_their_place(bench):
    tensors = table(quantize(bench, "Q4_K_M", hidden=128))["model-Q4_K_M.gguf"]["tensors"]
    assert tensors["Q5_0"] > tensors.get("Q4_K", 0)


@pytest.mark.parametrize("name", ["Q4_K_XL", "q8_0", "F16"])
def test_a_type_that_llama_cpp_has_not_or_that_is_made_anyway_is_refused(bench, name):
    with pytest.raises(InputError, match=rf"'{name}'; .*such as Q4_K_M") as refused:
        quantize(bench, "Q8_0", name)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("name", ["IQ4_XS", "BF16"])
def test_types_whose_names_begin_otherwise_are_sealed_too(bench, name):
    sealed = quantize(bench, name)
    assert name in table(sealed)[f"model-{name}.gguf"]["tensors"]


def test_a_type_that_llama_cpp_cannot_make_alone_stops_the_stage(bench):
    with pytest.raises(StageError, match=r"could not make model-IQ2_XXS\.gguf.*importance matrix"):
        quantize(bench, "IQ2_XXS")
    assert not (bench.run / "12-quantize").exists()


def test_a_wrong_export_seals_nothing(bench, monkeypatch):
    monkeypatch.setattr(export, "permute", lambda weight, heads: weight)
    with pytest.raises(StageError, match=r"quantize: .* does not compute what raw does"):
        quantize(bench, "Q8_0")
    assert not (bench.run / "12-quantize").exists()
