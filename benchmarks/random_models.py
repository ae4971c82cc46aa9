"""GGUF files of random weights, of stated shapes: speed and memory do not depend on the weights.

The demo's models are too small to say anything of a device; these have the shapes of real ones.
They hold token names and no merges, so that they can be run, but not given text.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from downstream.shape import Shape


def write_random(path: Path, shape: Shape, seed: int = 0) -> None:
    """Write the model at F16 (norms at F32); its embedding is its last matrix too."""
    import gguf

    generator = np.random.default_rng(seed)
    wide, narrow = shape.heads * shape.head, shape.kv_heads * shape.head
    with closing(gguf.GGUFWriter(path, "llama")) as writer:
        _describe(writer, shape)

        def matrix(name: str, rows: int, columns: int) -> None:
            weights = generator.standard_normal((rows, columns), np.float32) * 0.02
            writer.add_tensor(f"{name}.weight", weights.astype(np.float16))

        def norm(name: str) -> None:
            writer.add_tensor(f"{name}.weight", np.ones(shape.hidden, np.float32))

        matrix("token_embd", shape.vocabulary, shape.hidden)
        norm("output_norm")
        for layer in range(shape.layers):
            block = f"blk.{layer}"
            norm(f"{block}.attn_norm")
            norm(f"{block}.ffn_norm")
            for name, rows, columns in (
                ("attn_q", wide, shape.hidden), ("attn_k", narrow, shape.hidden),
                ("attn_v", narrow, shape.hidden), ("attn_output", shape.hidden, wide),
                ("ffn_gate", shape.feed_forward, shape.hidden),
                ("ffn_up", shape.feed_forward, shape.hidden),
                ("ffn_down", shape.hidden, shape.feed_forward),
            ):  # fmt: skip
                matrix(f"{block}.{name}", rows, columns)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()


def _describe(writer: Any, shape: Shape) -> None:
    import gguf

    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{i}" for i in range(shape.vocabulary)])
    writer.add_token_types([gguf.TokenType.NORMAL] * shape.vocabulary)
    writer.add_token_merges(["t 0"])  # llama.cpp loads no model without one
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)
