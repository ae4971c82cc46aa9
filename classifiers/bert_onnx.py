"""A BERT encoder's safetensors as an ONNX graph, written operator by operator; no torch.

Many encoders are published as safetensors alone, and the usual converters need torch. BERT is a
dozen operators a layer, so the graph is written here: embeddings, then in each layer attention and
a feed-forward net, each added to its input and normalised. A test holds it against transformers.

What it costs: a second for all-MiniLM-L6-v2 (23 million parameters).
Source: Devlin et al., "BERT" (2018), arXiv 1810.04805; onnx.ai/onnx/operators.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

OPSET = 23  # the first with Attention
IR_VERSION = 11
_ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


def bert_to_onnx(directory: Path) -> bytes:
    """The graph of `config.json` and `model.safetensors`; ValueError where they are no BERT.

    Inputs `input_ids`, `attention_mask`, `token_type_ids`, all int64[N, tokens]; output
    `last_hidden_state`, float32[N, tokens, hidden].
    """
    from onnx import TensorProto, helper
    from safetensors.numpy import load_file

    config = json.loads((directory / "config.json").read_text())
    if config.get("model_type") != "bert" or config.get("hidden_act") not in _ACTIVATIONS:
        raise ValueError(
            f"{directory / 'config.json'} has model_type {config.get('model_type')} and hidden_act "
            f"{config.get('hidden_act')}; without an ONNX file only BERT can be read"
        )
    graph = _Bert(config, load_file(directory / "model.safetensors"))
    output = graph.encode()
    shape = ["texts", "tokens"]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, shape)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    hidden = helper.make_tensor_value_info(
        output, TensorProto.FLOAT, [*shape, config["hidden_size"]]
    )
    model = helper.make_model(
        helper.make_graph(graph.nodes, "bert", inputs, [hidden], graph.weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    return bytes(model.SerializeToString(deterministic=True))


class _Bert:
    """The nodes and weights of the graph, in the order in which they are computed."""

    def __init__(self, config: dict[str, Any], tensors: dict[str, npt.NDArray[Any]]) -> None:
        self.config = config
        self.tensors = {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def encode(self) -> str:
        """Write the whole graph; the name of its output."""
        length = self.node("Shape", ["input_ids"], start=1)
        hidden, mask = self.embed(length), self.mask(length)
        layers = self.config["num_hidden_layers"]
        for i in range(layers):
            at = f"encoder.layer.{i}"
            heads = self.attend(f"{at}.attention.self", hidden, mask)
            hidden = self.add(f"{at}.attention.output", heads, hidden)
            inner = self.linear(f"{at}.intermediate.dense", hidden)
            inner = self.node("Gelu", [inner], approximate=_ACTIVATIONS[self.config["hidden_act"]])
            out = "last_hidden_state" if i == layers - 1 else ""
            hidden = self.add(f"{at}.output", inner, hidden, out)
        return hidden

    def mask(self, length: str) -> str:
        """bool[N, 1, tokens, tokens]: every token looks at all that are no padding."""
        kept = self.node("Cast", ["attention_mask"], to=9)  # bool
        keys = self.node("Unsqueeze", [kept, self.weight("key_axes", np.array([1, 2]))])
        one = self.weight("one", np.array([1]))
        flat = self.node("Concat", [one, one, length, one], axis=0)
        return self.node("Expand", [keys, flat])

    def embed(self, length: str) -> str:
        words = self.look_up("embeddings.word_embeddings", "input_ids")
        kinds = self.look_up("embeddings.token_type_embeddings", "token_type_ids")
        positions = self.node(
            "Slice",
            [
                self.learned("embeddings.position_embeddings.weight"),
                self.weight("first", np.array([0])),
                length,
                self.weight("axis", np.array([0])),
            ],
        )
        summed = self.node("Add", [self.node("Add", [words, kinds]), positions])
        return self.normalise("embeddings.LayerNorm", summed)

    def attend(self, at: str, hidden: str, mask: str) -> str:
        parts = [self.linear(f"{at}.{name}", hidden) for name in ("query", "key", "value")]
        heads = self.config["num_attention_heads"]
        return self.node("Attention", [*parts, mask], q_num_heads=heads, kv_num_heads=heads)

    def add(self, at: str, found: str, hidden: str, output: str = "") -> str:
        """Through the block's last matrix, then onto its input, then normalised."""
        summed = self.node("Add", [self.linear(f"{at}.dense", found), hidden])
        return self.normalise(f"{at}.LayerNorm", summed, output)

    def linear(self, at: str, hidden: str) -> str:
        matrix = self.weight(f"{at}.weight", self.tensor(f"{at}.weight").T)
        product = self.node("MatMul", [hidden, matrix])
        return self.node("Add", [product, self.learned(f"{at}.bias")])

    def normalise(self, at: str, hidden: str, output: str = "") -> str:
        learned = [self.learned(f"{at}.weight"), self.learned(f"{at}.bias")]
        epsilon = self.config["layer_norm_eps"]
        return self.node("LayerNormalization", [hidden, *learned], output, epsilon=epsilon)

    def look_up(self, at: str, ids: str) -> str:
        return self.node("Gather", [self.learned(f"{at}.weight"), ids])

    def node(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        from onnx import helper

        output = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        if name not in self.tensors:
            raise ValueError(f"model.safetensors has no {name}: it is no BERT encoder")
        return self.tensors[name].astype(np.float32)

    def learned(self, name: str) -> str:
        return self.weight(name, self.tensor(name))

    def weight(self, name: str, values: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name
