"""Llama-style Hugging Face directories as other people's tools write them, small and random."""

import json
import re
import struct

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

TEXT = [
    f"In the year {1900 + i} there were {i * i} lessons; it's naïve to say über {i}: 面積 🙂\n"
    f"def lesson_{i}(x):\n    return x ** {i}  # DON'T\r\n\t{'word' * (i % 4)}\n\n\n"
    for i in range(60)
]
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def _split(digits):
    pattern = Regex(CONTRACTIONS + digits + REST)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def words_of(kind):
    """The pre-tokenizers of other people's models."""
    return {
        "gpt-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
        "llama-bpe": _split(r"\p{N}{1,3}"),
        "smaug-bpe": _split(r"\p{N}{1,3}"),
        "qwen2": _split(r"\p{N}"),
        "smollm": pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        ),
    }[kind]


def train_bytes(kind):
    """A byte-level BPE that cuts words as the models of this name do."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    tokenizer.pre_tokenizer = words_of(kind)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, show_progress=False, special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer


def train_pieces(before="normalizer"):
    """Llama 2's form: words begin with U+2581, unknown characters fall back to bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if before == "normalizer":
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", before, split=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500, show_progress=False, max_token_length=8, initial_alphabet=["▁"],
        special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))],
    )  # fmt: skip
    pieces = [re.sub(r"(\s+)", r" \1", text) for text in TEXT]
    tokenizer.train_from_iterator((w for text in pieces for w in text.split(" ")), trainer)
    record = json.loads(tokenizer.to_str())
    for token in record["added_tokens"]:  # in Llama 2's file the bytes are plain tokens
        token["special"] = token["id"] < 3
    record["added_tokens"] = record["added_tokens"][:3]
    return Tokenizer.from_str(json.dumps(record))


def sentencepiece_bytes(tokenizer, model_type=2):
    """The same pieces as a `tokenizer.model`: a protocol buffer with a score for each."""
    record = json.loads(tokenizer.to_str())["model"]
    rank = {}
    for i, (left, right) in enumerate(record["merges"]):
        rank.setdefault(left + right, i)
    kinds = {"<unk>": 2, "<s>": 3, "</s>": 3}
    pieces = b""
    for text in sorted(record["vocab"], key=record["vocab"].get):
        score = struct.pack("<f", -rank.get(text, 0))
        kind = 6 if text.startswith("<0x") else kinds.get(text, 1)
        fields = _field(1, text.encode()) + b"\x15" + score + b"\x18" + bytes([kind])
        pieces += _field(1, fields)
    trainer = b"\x18" + bytes([model_type]) + b"\x98\x02\x01"  # byte_fallback, field 35
    return pieces + _field(2, trainer) + _field(3, b"\x0a\x08identity\x18\x01")


def _field(number, data):
    size = len(data)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + data


def llama(seed=0, **fields):
    """A random LlamaForCausalLM whose attention and logits are far from flat."""
    config = LlamaConfig(
        **{
            "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1,
            "tie_word_embeddings": True, **fields,
        }
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.3)
            elif parameter.ndim == 2:
                parameter.mul_(8)
            else:
                parameter.add_(0.3 * torch.randn(parameter.shape))
    return model.eval()


def write_directory(folder, model, tokenizer, dtype=torch.float32, shard="5GB", **said):
    """Save as transformers does, with a tokenizer_config.json of these fields."""
    model.to(dtype).save_pretrained(folder, max_shard_size=shard)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **said})
    )
    return folder


def change_json(path, **fields):
    """Set fields of a JSON file, or take out those that are None."""
    record = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in record.items() if v is not None}))
