"""A Hugging Face tokenizer in the words of a GGUF file: two kinds, told apart by what it says.

    byte-level BPE    `gpt2` with the name of its pre-tokenizer, which llama.cpp has compiled in:
                      gpt-2, llama-bpe (Llama 3), smaug-bpe (its rule, with all merges), qwen2,
                      smollm
    BPE over pieces   `llama` (Llama 2, Mistral, TinyLlama): words begin with U+2581 and unknown
                      characters fall back to bytes

A GGUF file holds no rule for cutting text into words, only a name. So the pre-tokenizer's JSON
must be one of the known ones; another is refused with what was found, because a wrong name loads
silently and cuts text otherwise than the model learned it.

Known differences: Qwen2's tokenizer first composes characters (NFC), llama.cpp does not; and newer
files of Llama 2's kind put no blank before a text that begins with one, llama.cpp does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from downstream.sentencepiece_file import read_sentencepiece
from pipeline.errors import InputError

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA_3 = _CONTRACTIONS + r"\p{N}{1,3}" + _REST
_QWEN_2 = _CONTRACTIONS + r"\p{N}" + _REST
_PRE_TOKENIZERS = {  # steps, and whether a word that is a token is taken without merging
    (("gpt-2's words",), False): "gpt-2",
    (("single digits", "gpt-2's words"), False): "smollm",
    ((_LLAMA_3, "bytes"), True): "llama-bpe",
    ((_LLAMA_3, "bytes"), False): "smaug-bpe",
    ((_QWEN_2, "bytes"), False): "qwen2",
}
_UNREACHED = -1e6  # the score of a token that no merge makes


def write_tokenizer(writer: Any, model: Path, vocabulary: int) -> None:
    """Write tokens, merges or scores, special tokens and the chat template."""
    record = read_tokenizer(model)
    if record["model"]["type"] != "BPE":
        raise _refusal(model, f"a model of type {record['model']['type']!r}", "BPE")
    if record["model"].get("byte_fallback"):
        _write_pieces(writer, model, record)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(name_pre_tokenizer(model, record))
        writer.add_token_merges([" ".join(pair) for pair in _merges(record)])
    tokens, kinds = _tokens(model, record, vocabulary)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if record["model"].get("byte_fallback"):
        writer.add_token_scores(_scores(record, tokens))
    _write_special(writer, model, record)


def read_tokenizer(model: Path) -> dict[str, Any]:
    """The record of `tokenizer.json`, or one made of SentencePiece's `tokenizer.model`."""
    path = model / "tokenizer.json"
    if path.exists():
        record: dict[str, Any] = json.loads(path.read_text())
        return record
    if (model / "tokenizer.model").exists():
        return read_sentencepiece(model / "tokenizer.model")
    raise InputError(
        "quantize", f"{model} has neither tokenizer.json nor tokenizer.model",
        "put its tokenizer.json there",
    )  # fmt: skip


def _refusal(model: Path, found: str, known: str) -> InputError:
    return InputError(
        "quantize", f"the tokenizer of {model} has {found}", f"llama.cpp is told of {known} only"
    )


def name_pre_tokenizer(model: Path, record: dict[str, Any]) -> str:
    """llama.cpp's name for how this byte-level BPE cuts text into words."""
    if (record.get("normalizer") or {"type": "NFC"})["type"] != "NFC":
        raise _refusal(model, f"the normalizer {json.dumps(record['normalizer'])}", "none and NFC")
    found = record.get("pre_tokenizer") or {"type": "none"}
    steps = tuple(_name_step(step) for step in found.get("pretokenizers", [found]))
    name = _PRE_TOKENIZERS.get((steps, bool(record["model"].get("ignore_merges"))))
    if name is None:
        told = json.dumps(found, ensure_ascii=False)
        raise _refusal(
            model,
            f"the pre-tokenizer {told} and ignore_merges {record['model'].get('ignore_merges')}",
            ", ".join(_PRE_TOKENIZERS.values()),
        )
    return name


def _name_step(step: dict[str, Any]) -> str:
    match step:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": words}:
            return "gpt-2's words" if words else "bytes"
        case {"type": "Digits", "individual_digits": True}:
            return "single digits"
        case {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": inside}:
            # the two ways to say that each match is a word
            return str(regex) if (behavior, inside) in _EACH_MATCH else "another split"
    return "unknown"


_EACH_MATCH = (("Isolated", False), ("Removed", True))


def _merges(record: dict[str, Any]) -> list[tuple[str, str]]:
    merges = record["model"]["merges"]
    pairs = (m.split(" ", 1) if isinstance(m, str) else m for m in merges)
    return [(left, right) for left, right in pairs]


def _tokens(model: Path, record: dict[str, Any], vocabulary: int) -> tuple[list[str], list[int]]:
    """Token texts in the order of their ids, and their kinds; ids without a token are padding."""
    from gguf import TokenType

    by_id = {index: token for token, index in record["model"]["vocab"].items()}
    added = {t["id"]: t for t in record["added_tokens"]}
    by_id |= {index: token["content"] for index, token in added.items()}
    if max(by_id) >= vocabulary:
        raise _refusal(model, f"a token of id {max(by_id)}", f"the model's {vocabulary} embeddings")
    fallback, unknown = record["model"].get("byte_fallback"), record["model"].get("unk_token")
    tokens, kinds = [], []
    for index in range(vocabulary):
        token = by_id.get(index)
        tokens.append(f"[PAD{index}]" if token is None else token)
        if token is None:
            kind = TokenType.UNUSED
        elif token == unknown:
            kind = TokenType.UNKNOWN
        elif index in added:
            kind = TokenType.CONTROL if added[index]["special"] else TokenType.USER_DEFINED
        else:
            is_byte = fallback and len(token) == 6 and token.startswith("<0x")
            kind = TokenType.BYTE if is_byte else TokenType.NORMAL
        kinds.append(int(kind))
    return tokens, kinds


def _write_pieces(writer: Any, model: Path, record: dict[str, Any]) -> None:
    told = json.dumps([record.get("normalizer"), record.get("pre_tokenizer")], ensure_ascii=False)
    if "▁" not in told or "Regex" in told or "ByteLevel" in told:
        raise _refusal(model, f"the normalizer and pre-tokenizer {told}", "Llama 2's form")
    first = '"Prepend"' in told or '"prepend_scheme": "always"' in told
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_add_space_prefix(first or '"prepend_scheme": "first"' in told)


def _scores(record: dict[str, Any], tokens: list[str]) -> list[float]:
    """What llama.cpp merges by: the best score first, so the rank of the first merge, negated."""
    rank: dict[str, int] = {}
    for i, (left, right) in enumerate(_merges(record)):
        rank.setdefault(left + right, i)
    return [float(-rank[token]) if token in rank else _UNREACHED for token in tokens]


def _write_special(writer: Any, model: Path, record: dict[str, Any]) -> None:
    """Ids of special tokens, whether they are put around a text, and the chat template."""
    from tokenizers import Tokenizer

    config = _read_json(model / "config.json")
    said = _read_json(model / "tokenizer_config.json")
    tokenizer = Tokenizer.from_str(json.dumps(record))
    for role, write in (
        ("bos", writer.add_bos_token_id), ("eos", writer.add_eos_token_id),
        ("unk", writer.add_unk_token_id), ("pad", writer.add_pad_token_id),
    ):  # fmt: skip
        index = _special_id(tokenizer, said.get(f"{role}_token"), config.get(f"{role}_token_id"))
        if index is not None:
            write(index)
    begins, ends = _put_around(tokenizer)
    for key, measured, write in (
        ("add_bos_token", begins, writer.add_add_bos_token),
        ("add_eos_token", ends, writer.add_add_eos_token),
    ):
        write(said[key] if isinstance(said.get(key), bool) else measured)
    template = _chat_template(model, said)
    if template:
        writer.add_chat_template(template)


def _put_around(tokenizer: Any) -> tuple[bool, bool]:
    """Whether the tokenizer puts special tokens before and after a text."""
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    full = tokenizer.encode("a").ids
    before = next(i for i in range(len(full)) if full[i : i + len(bare)] == bare)
    return before > 0, before + len(bare) < len(full)


def _special_id(tokenizer: Any, token: Any, index: Any) -> int | None:
    """The tokenizer's word for it counts first: of a chat model, config.json has several ends."""
    content = token.get("content") if isinstance(token, dict) else token
    found = tokenizer.token_to_id(content) if content else None
    if found is None:
        found = index[0] if isinstance(index, list) else index
    return None if found is None or found < 0 else int(found)


def _chat_template(model: Path, said: dict[str, Any]) -> Any:
    path = model / "chat_template.jinja"
    return path.read_text() if path.exists() else said.get("chat_template")


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}
