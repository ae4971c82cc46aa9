"""SentencePiece's `tokenizer.model` as the record of a `tokenizer.json`, without its library.

Llama 2 and models of its time come with this file, and some with nothing else. It is a protocol
buffer: a list of pieces, each with a text, a score and a kind. Its BPE joins the two neighbours
whose joined piece has the best score; a `tokenizer.json` lists pairs by rank instead, so every way
to cut a piece into two known pieces becomes a pair, in the order of the pieces' scores.

Source: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3  # fields of the file
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4  # kinds of a piece
_BPE = 2
_MODEL_TYPE, _BYTE_FALLBACK, _ADD_PREFIX = 3, 35, 3  # fields of the trainer and the normalizer


def read_sentencepiece(path: Path) -> dict[str, Any]:
    """The record; InputError where it is no BPE with byte fallback, the one that is supported."""
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    try:
        for field, value in _fields(path.read_bytes()):
            if field == _PIECE:
                piece = dict(_fields(value))
                score = struct.unpack("<f", piece.get(2, b"\0" * 4))[0]
                pieces.append((piece[1].decode(), score, piece.get(3, 1)))
            elif field == _TRAINER:
                trainer = dict(_fields(value))
            elif field == _NORMALIZER:
                normalizer = dict(_fields(value))
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise InputError(
            "quantize", f"{path} is no SentencePiece model ({error})", "give the tokenizer.json"
        ) from error
    if trainer.get(_MODEL_TYPE) != _BPE or not trainer.get(_BYTE_FALLBACK):
        raise InputError(
            "quantize", f"{path} is no BPE with byte fallback", "llama.cpp is told of that only"
        )
    return _record(pieces, bool(normalizer.get(_ADD_PREFIX, 1)))


def _record(pieces: list[tuple[str, float, int]], blank_first: bool) -> dict[str, Any]:
    vocabulary = {text: i for i, (text, _, _) in enumerate(pieces)}
    merges = []
    for text, score, kind in pieces:
        if kind == 1:
            cuts = ((text[:i], text[i:]) for i in range(1, len(text)))
            known = [(a, b) for a, b in cuts if a in vocabulary and b in vocabulary]
            known.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
            merges += [(-score, pair) for pair in known]
    steps = [{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
    if blank_first:
        steps.insert(0, {"type": "Prepend", "prepend": "▁"})
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": i, "content": text, "special": kind != _USER_DEFINED, "single_word": False,
             "lstrip": False, "rstrip": False, "normalized": False}
            for i, (text, _, kind) in enumerate(pieces)
            if kind in {_UNKNOWN, _CONTROL, _USER_DEFINED}
        ],
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {
            "type": "BPE", "vocab": vocabulary, "byte_fallback": True, "fuse_unk": True,
            "unk_token": next((text for text, _, kind in pieces if kind == _UNKNOWN), None),
            "merges": [pair for _, pair in sorted(merges, key=lambda merge: merge[0])],
        },
    }  # fmt: skip


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a protocol buffer's fields: integers, or bytes."""
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _number(data, at)
            yield key >> 3, value
            continue
        length, at = (({1: 8, 5: 4}[kind]), at) if kind != 2 else _number(data, at)
        if at + length > len(data):
            raise ValueError("it ends early")
        yield key >> 3, data[at : at + length]
        at += length


def _number(data: bytes, at: int) -> tuple[int, int]:
    """An integer of 7 bits a byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
