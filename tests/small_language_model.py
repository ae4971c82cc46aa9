"""A small random Llama with a tokenizer of its own, as a Hugging Face directory and as GGUF at F16.

Made by transformers and tokenizers alone, so that tests of quality hold whatever our trainer does.
"""

import functools
import sysconfig
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from made_once import made_once
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from downstream.export import export_gguf

torch.set_num_threads(1)

END = "<|end_of_text|>"
CONTEXT_TOKENS = 1_024


def library_texts(package="json", chars=6_000):
    """Beginnings of a standard package's modules, by name."""
    folder = Path(sysconfig.get_path("stdlib")) / package
    return {path.name: path.read_text()[:chars] for path in sorted(folder.glob("*.py"))}


def put_small_model(folder, seed=0, vocabulary=600, context_tokens=CONTEXT_TOKENS):
    """Write `folder`/model and `folder`/model-F16.gguf; returns both paths."""
    directory, gguf = folder / "model", folder / "model-F16.gguf"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(library_texts().values(), trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(wrapped), hidden_size=64, intermediate_size=128,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=context_tokens, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=0, initializer_range=0.12,  # else all choices are alike
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    wrapped.save_pretrained(directory)
    export_gguf(directory, gguf)
    return directory, gguf


@functools.cache
def small_model():
    """The directory and the GGUF file, made once for all tests."""
    folder = made_once("small-language-model", put_small_model)
    return folder / "model", folder / "model-F16.gguf"


def put_validation(path, tokenizer_folder, texts):
    """A validation file as a handoff has it; returns its rows."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_folder)
    rows = [
        {"doc_id": name, "kind": "code", "keep": i % 2 == 0, "n_bytes": len(text.encode()),
         "text": text, "tokens": tokenizer.encode(text)}
        for i, (name, text) in enumerate(texts.items())
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), path)
    return rows
