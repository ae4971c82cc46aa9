"""Tiny real model directories: our Llama with drawn weights and a byte-level tokenizer of 384."""

import functools

import torch
from made_once import made_once
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from downstream.checkpoint import save_model
from downstream.model import Llama
from downstream.shape import Shape

torch.set_num_threads(1)  # at these sizes threads wait for each other more than they work

VOCABULARY, END_OF_TEXT = 384, 0
WORDS = """### System
You help with programming.

### User
How many are two and three?

### Assistant
They are five.

def add(a, b):
    return a + b
"""


def _train_tokenizer(folder):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|end_of_text|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator([WORDS * 4], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


@functools.cache
def tokenizer_file():
    return made_once("tiny-tokenizer", _train_tokenizer) / "tokenizer.json"


def tiny_shape(hidden=32, layers=1, context_tokens=128, **fields):
    return Shape(VOCABULARY, hidden, layers, 4, 2, 64, context_tokens, **fields)


def tiny_model(seed=0, **sizes):
    return Llama(tiny_shape(**sizes)).initialize(seed)


def write_tiny(folder, model=None, **sizes):
    """A model directory, as training leaves it."""
    model = model or tiny_model(**sizes)
    save_model(folder, model, tokenizer_file(), END_OF_TEXT, model.shape.context_tokens)
    return folder
