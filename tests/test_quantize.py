"""Stage 12: the files that were asked for, of the types that were asked for, or a refusal."""

import ctypes
import json
import re
import shutil
from itertools import pairwise
from types import SimpleNamespace

import gguf
import llama_cpp
import numpy as np
import pytest
from llama_directories import TEXT, llama, train_bytes, write_directory
from small_handoff import SECTIONS, VOCABULARY, put_handoff, put_models, random_model

from conftest import Bench
from downstream import export, quantize
from downstream.device import silence
from downstream.export import export_gguf
from downstream.export_check import MAX_KL_NATS, log_softmax
from downstream.gguf_model import GgufModel
from downstream.quantize import STAGE, QuantizeConfig, make_quantized, quantize_file
from downstream.quantized_tensors import describe
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
EMBEDDINGS = "token_embd.weight"
ALL_TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q5_0", "Q4_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "Q2_K")


def made_of(bench, models, **config):
    """Seal models and quantize them."""
    put_handoff(bench)
    put_models(bench, **models)
    return bench.make(STAGE, *SECTIONS, QuantizeConfig(threads=1, **config))


def table(sealed, arm="raw"):
    return {
        row["file"]: row for row in json.loads(sealed.file(f"{arm}/quantized.json").read_text())
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("quantized") / "run")
    return made_of(bench, {"raw": random_model(layers=2), "kept+synthetic@2": random_model(seed=1)})


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A model of another make whose hidden size is no multiple of 256, at F16 too."""
    folder = tmp_path_factory.mktemp("narrow")
    model = llama(hidden_size=128, intermediate_size=256)
    write_directory(folder / "model", model, train_bytes("gpt-2"))
    export_gguf(folder / "model", folder / "F16.gguf")
    return folder


@pytest.mark.parametrize("arm", ["raw", "kept+synthetic@2"])
def test_every_type_of_every_model_is_made_and_checked(made, arm):
    files = made.files(f"{arm}/*.gguf")
    assert [path.name for path in files] == sorted(f"model-{name}.gguf" for name in WANTED)
    assert 0 < made.facts["checks"][arm]["kl_nats"] < MAX_KL_NATS
    assert made.ledger.kept == 2 * len(WANTED)
    assert made.facts["types"] == ["F16", *QuantizeConfig().types]


@pytest.mark.parametrize("name", WANTED)
def test_the_tensors_have_the_wanted_types_and_none_fell_back(made, name):
    row = table(made)[f"model-{name}.gguf"]
    assert (row["type"], row["fell_back"]) == (name, [])
    found = row["tensors"]
    norms = 2 * 2 + 1  # two layers' two, and the last
    assert found.pop("F32") == norms
    assert set(found) == set(WANTED[name])
    assert max(found, key=found.get) == WANTED[name][0]
    tensors = gguf.GGUFReader(made.file(f"raw/model-{name}.gguf")).tensors
    assert len(tensors) == sum(found.values()) + norms == 2 * 7 + 1 + norms
    wanted = sum(p.numel() for p in random_model(layers=2).parameters())
    assert sum(t.n_elements for t in tensors) == wanted


def test_fewer_bits_make_smaller_files_that_tell_less(made):
    told, sizes, bits = [], [], []
    tokens = [(7 * i) % VOCABULARY for i in range(64)]
    for name in WANTED:
        path = made.file(f"raw/model-{name}.gguf")
        sizes.append(path.stat().st_size)
        row = table(made)[path.name]
        assert row["mib"] == pytest.approx(sizes[-1] / 2**20, abs=1e-3)
        bits.append(row["bits_per_weight"])
        with GgufModel(path, 64, threads=1) as opened:
            told.append(log_softmax(np.concatenate(list(opened.logits(tokens))).astype(float)))
    assert all(larger > smaller for larger, smaller in pairwise(sizes))
    assert all(larger > smaller for larger, smaller in pairwise(bits))
    kl_nats = [(np.exp(told[0]) * (told[0] - q)).sum(-1).mean() for q in told]
    lost = dict(zip(WANTED, kl_nats, strict=True))
    assert 0 == lost["F16"] < lost["Q8_0"] < lost["Q4_K_M"] < lost["Q3_K_M"] < 1


def fallbacks_in_the_log(source, target, type_name):
    """(wanted, got) of the layers' tensors that llama.cpp itself warns of."""
    said = []
    log = llama_cpp.llama_log_callback(lambda level, text, data: said.append(text.decode()))
    silence()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{type_name}")
    parameters.nthread = 1
    llama_cpp.llama_log_set(log, ctypes.c_void_p())
    try:
        llama_cpp.llama_model_quantize(
            str(source).encode(), str(target).encode(), ctypes.byref(parameters)
        )
    finally:
        silence()
    lines = r"warning: (\S+) +- ncols .*?required for type +(\w+)\) .*?-> falling back to +(\w+)"
    found = re.findall(lines, "".join(said))
    return [(wanted.upper(), got.upper()) for name, wanted, got in found if name != EMBEDDINGS]


@pytest.mark.parametrize("name", [*ALL_TYPES, "Q4_K_S", "Q5_1", "IQ4_NL", "IQ3_S"])
def test_what_fell_back_is_what_llama_cpp_warns_of(directory, tmp_path, name):
    warned = fallbacks_in_the_log(directory / "F16.gguf", tmp_path / "a.gguf", name)
    told = describe(tmp_path / "a.gguf")["fell_back"]
    assert all(row["row"] == 128 for row in told)
    assert bool(told) == (name != "Q8_0")
    # of embeddings llama.cpp does not always speak, and Q4_0 stands for Q2_K and Q3_K
    layers = [row for row in told if row["tensor"] != EMBEDDINGS]
    assert sorted(
        ("Q3_K" if row["wanted"] == "Q2_K" else row["wanted"], row["got"])
        for row in layers
        for _ in range(row["tensors"])
    ) == sorted(("Q3_K" if wanted == "Q2_K" else wanted, got) for wanted, got in warned)


def test_a_tensor_that_fell_back_is_told_by_name_and_width(directory, tmp_path):
    quantize_file(directory / "F16.gguf", tmp_path / "a.gguf", "Q4_K_M", None, threads=1)
    told = {row["tensor"]: row for row in describe(tmp_path / "a.gguf")["fell_back"]}
    assert told["blk.*.attn_q.weight"] == {
        "tensor": "blk.*.attn_q.weight", "tensors": 2, "row": 128, "wanted": "Q4_K", "got": "Q5_0",
    }  # fmt: skip
    assert told["token_embd.weight"]["got"] == "Q8_0"
    assert "blk.*.ffn_down.weight" not in told  # its rows are the feed-forward size


def test_importance_is_measured_on_the_validation_text_and_kept(bench):
    sealed = made_of(bench, {"raw": random_model()}, types=("Q3_K_M",), importance=True)
    assert sealed.facts["importance"] is True
    assert sealed.file("raw/imatrix.gguf").stat().st_size > 1_000
    bench.stages.clear()
    plain = made_of(bench, {"raw": random_model()}, types=("Q3_K_M",))
    assert "raw/imatrix.gguf" not in plain.manifest.files


def test_types_that_need_importance_are_made_with_it_alone(tmp_path):
    model, out = tmp_path / "model", tmp_path / "out"
    wide = llama(hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    write_directory(model, wide, train_bytes("gpt-2"))
    with pytest.raises(StageError, match=r"could not make model-IQ2_XXS\.gguf.*importance"):
        make_quantized(model, out, ["IQ2_XXS"], threads=1)
    assert not list(out.glob("*.partial"))
    made = make_quantized(model, out, ["IQ2_XXS"], TEXT, 5_000, threads=1)
    assert [row["type"] for row in made["files"]] == ["F16", "IQ2_XXS"]
    assert not made["files"][1]["fell_back"]


def test_a_finished_file_is_not_made_again_and_one_of_another_model_is(directory, tmp_path):
    model, out, told = tmp_path / "model", tmp_path / "out", []
    shutil.copytree(directory / "model", model)
    make_quantized(model, out, ["Q8_0"], threads=1, advance=told.append)
    assert told == ["F16", "Q8_0"]
    first = {path.name: path.stat().st_mtime_ns for path in out.glob("*.gguf")}
    noted = (out / "source.json").read_bytes()
    (model / "timing.json").write_text("{}")  # what differs between two runs counts for nothing
    make_quantized(model, out, ["Q8_0", "Q4_0"], threads=1)
    assert (out / "source.json").read_bytes() == noted
    assert first == {name: (out / name).stat().st_mtime_ns for name in first}
    assert json.loads((out / "quantized.json").read_text())[2]["type"] == "Q4_0"
    write_directory(model, llama(seed=1, hidden_size=128, intermediate_size=256),
                    train_bytes("gpt-2"))  # fmt: skip
    (out / "source.json").write_bytes(noted[:20])  # as a process killed while writing leaves it
    make_quantized(model, out, ["Q8_0"], threads=1)
    assert all((out / name).stat().st_mtime_ns > before for name, before in first.items())
    assert not (out / "model-Q4_0.gguf").exists()


def test_a_full_disk_is_seen_before_the_work(directory, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize.shutil, "disk_usage", lambda _: SimpleNamespace(free=2**19))
    with pytest.raises(StageError, match=r"has 0 MiB free, the files of model need about \d+;"):
        make_quantized(directory / "model", tmp_path, ["Q8_0"], threads=1)
    assert not list(tmp_path.glob("*.gguf"))


@pytest.mark.parametrize("name", ["Q4_K_XL", "q8_0", "F16"])
def test_a_type_that_llama_cpp_has_not_or_that_is_made_anyway_is_refused(bench, name):
    with pytest.raises(InputError, match=rf"'{name}'; .*such as Q4_K_M") as refused:
        made_of(bench, {"raw": random_model()}, types=("Q8_0", name))
    assert refused.value.exit_code == 2


def test_a_type_that_is_named_twice_is_refused():
    with pytest.raises(InputError, match="has Q8_0, Q4_0, Q8_0; name each type once"):
        quantize.check_types(["Q8_0", "Q4_0", "Q8_0"])


@pytest.mark.parametrize("name", ["IQ4_XS", "BF16"])
def test_types_whose_names_begin_otherwise_are_sealed_too(bench, name):
    sealed = made_of(bench, {"raw": random_model()}, types=(name,))
    assert name in table(sealed)[f"model-{name}.gguf"]["tensors"]


def test_a_wrong_export_seals_nothing(bench, monkeypatch):
    monkeypatch.setattr(export, "permute", lambda weight, heads: weight)
    with pytest.raises(StageError, match=r"quantize: .* does not compute what raw does"):
        made_of(bench, {"raw": random_model()}, types=("Q8_0",))
    assert not (bench.run / "12-quantize").exists()
