"""The importance matrix is that of llama.cpp's own tool, and changes what the quantizer does."""

import subprocess

import numpy as np
import pytest
import torch
from llama_directories import TEXT, llama, train_bytes, write_directory

from downstream.export import export_gguf
from downstream.importance import Importance, load_importance, measure_importance, sum_squares
from downstream.llama_source import llama_program
from downstream.quantize import quantize_file
from pipeline.errors import InputError

torch.set_num_threads(1)
LINEAR = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose hidden size lets K-quants be what they are called."""
    folder = tmp_path_factory.mktemp("importance")
    model = llama(hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    write_directory(folder / "model", model, train_bytes("gpt-2"))
    export_gguf(folder / "model", folder / "F16.gguf")
    return folder


@pytest.fixture(scope="module")
def measured(folder):
    return measure_importance(folder / "model", TEXT, 3_000)


def test_every_column_of_every_linear_layer_is_measured(folder, measured):
    assert set(measured.sums) == {f"blk.0.{name}.weight" for name in LINEAR}
    assert measured.chunk_tokens == 256  # the model's context
    assert measured.tokens % 256 == 0
    assert all(sums.shape == (256,) for sums in measured.sums.values())
    means = measured.means()
    assert np.array_equal(means["blk.0.attn_q.weight"], means["blk.0.attn_v.weight"])
    assert not np.array_equal(means["blk.0.attn_q.weight"], means["blk.0.ffn_up.weight"])


def test_sums_are_those_of_the_squares(folder):
    """By hand for the first layer: embeddings, normed."""
    model = llama(hidden_size=256, intermediate_size=256, num_hidden_layers=1)
    tokens = [3, 5, 7, 11, 13, 17, 19, 23, 29]
    found = sum_squares(folder / "model", tokens, chunk_tokens=4, begin=1)
    assert found.tokens == 8
    with torch.no_grad():
        embedded = model.model.embed_tokens(torch.tensor([1, 5, 7, 11, 1, 17, 19, 23]))
        normed = model.model.layers[0].input_layernorm(embedded)
    wanted = normed.double().square().sum(0).numpy()
    assert found.sums["blk.0.attn_k.weight"] == pytest.approx(wanted, rel=1e-5)


def test_texts_beyond_the_bytes_are_left_out_whole(folder):
    short = measure_importance(folder / "model", TEXT, 1_000)
    assert short.tokens < measure_importance(folder / "model", TEXT, 3_000).tokens
    with pytest.raises(InputError, match=r"has \d+ tokens, fewer than 256.*calibration_bytes"):
        measure_importance(folder / "model", [TEXT[0], "x" * 10_000], 1_000)


def test_a_saved_matrix_is_read_back(tmp_path, measured):
    measured.save(tmp_path / "imatrix.gguf")
    again = load_importance(tmp_path / "imatrix.gguf")
    assert (again.tokens, again.chunk_tokens) == (measured.tokens, measured.chunk_tokens)
    assert set(again.sums) == set(measured.sums)
    for name, sums in measured.sums.items():
        assert np.array_equal(again.sums[name], sums)


def test_a_file_of_another_kind_is_refused(folder):
    with pytest.raises(InputError, match=r"F16\.gguf is no importance matrix"):
        load_importance(folder / "F16.gguf")


def squared_error(folder, path, importance):
    """Of the weights in one tensor, weighed by the importance of their columns."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    name = "blk.0.ffn_up.weight"

    def weights_of(file):
        tensor = next(t for t in GGUFReader(file).tensors if t.name == name)
        return dequantize(tensor.data, tensor.tensor_type)

    differences = np.square(weights_of(path) - weights_of(folder / "F16.gguf"))
    return float((differences * importance.means()[name]).sum())


def test_the_quantizer_errs_where_it_matters_less(folder, tmp_path, measured):
    """Columns that a thousand times outweigh the others lose less than without the matrix."""
    weights = np.where(np.arange(256) % 8 == 3, 1000, 1).astype(np.float32)
    uneven = Importance(dict.fromkeys(measured.sums, weights), 1, 1)
    for name, importance in (("plain", None), ("uneven", uneven), ("measured", measured)):
        quantize_file(folder / "F16.gguf", tmp_path / name, "Q3_K_M", importance, threads=1)
    lost = {name: squared_error(folder, tmp_path / name, uneven) for name in ("plain", "uneven")}
    assert lost["uneven"] < 0.5 * lost["plain"]
    assert squared_error(folder, tmp_path / "measured", measured) < squared_error(
        folder, tmp_path / "plain", measured
    )


@pytest.mark.slow
def test_llama_imatrix_finds_the_same_and_reads_our_file(folder, tmp_path, measured):
    """Needs a compiler and, the first time, the package index."""
    from downstream.export_check import open_tokenizer

    program, text = llama_program("llama-imatrix"), "".join(TEXT)
    (tmp_path / "text").write_text(text)
    theirs = tmp_path / "theirs.gguf"
    subprocess.run(
        [program, "-m", folder / "F16.gguf", "-f", tmp_path / "text", "-o", theirs, "-c", "128",
         "--no-ppl", "-t", "1", "-fa", "off"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    tokens = open_tokenizer(folder / "model").encode(text).ids
    ours, right = sum_squares(folder / "model", tokens, 128), load_importance(theirs)
    assert ours.tokens == right.tokens
    assert set(ours.sums) == set(right.sums)
    for name, sums in ours.sums.items():
        wanted = right.sums[name]
        cosine = sums @ wanted / (np.linalg.norm(sums) * np.linalg.norm(wanted))
        assert cosine > 1 - 1e-6
        assert np.abs(sums / wanted - 1).max() < 0.01
    measured.save(tmp_path / "ours.gguf")
    subprocess.run(
        [program, "-m", folder / "F16.gguf", "--in-file", tmp_path / "ours.gguf",
         "-o", tmp_path / "read.gguf"],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    read = load_importance(tmp_path / "read.gguf")
    assert read.tokens == measured.tokens
    assert all(np.array_equal(read.sums[name], sums) for name, sums in measured.sums.items())
