"""An optional pretrained encoder, opened from a directory: texts in, sentence vectors out.

phi-1's filter read the output of a pretrained code model; this is the same for any encoder of the
sentence-transformers layout, or for an ONNX file beside a `tokenizer.json`. ONNX Runtime runs it on
one thread; torch is not needed. A directory without an ONNX file is fine where its safetensors are
a BERT's (`classifiers.bert_onnx`). Texts are padded to a length that depends on their own length
alone, so what lies beside a text does not change its vector.

What it costs: all-MiniLM-L6-v2 reads ten to twenty documents a second on one core, a thousand times
slower than the rest of the filter; docs/filter.md says what it brings.
Source: Gunasekar et al., "Textbooks Are All You Need" (2023), arXiv 2306.11644; Reimers and
Gurevych, "Sentence-BERT" (2019), arXiv 1908.10084.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.base import BaseEstimator, TransformerMixin

from classifiers.bert_onnx import bert_to_onnx

Matrix = npt.NDArray[np.float32]

TOKENIZER = "tokenizer.json"
SAFETENSORS = ["config.json", "model.safetensors"]
GRAPHS = ["onnx/model.onnx", "model.onnx"]  # the first that is there
MODULES = "modules.json"
LENGTHS = {
    "sentence_bert_config.json": "max_seq_length",
    "tokenizer_config.json": "model_max_length",
    "config.json": "max_position_embeddings",
}
DEFAULT_MAX_LENGTH = 512
INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
LENGTH_STEP = 16  # texts are padded to a multiple of so many tokens
CHARS_PER_TOKEN = 32  # beyond so many for each token that is read, a text is not even split


class Encoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """pa.Array of N strings -> float32[N, dimensions].

    Learned, from the directory: `session_`, `tokenizer_`, `dimensions_`, `max_length_` in tokens,
    `pooling_`, `normalize_`, `files_` (sha256 by name) and `sha256_`, the encoder's identity.
    """

    def __init__(
        self, directory: Path | str, max_length: int | None = None, batch_tokens: int = 4_096
    ) -> None:
        self.directory = directory
        self.max_length = max_length
        self.batch_tokens = batch_tokens

    @classmethod
    def open(cls, directory: Path | str, max_length: int | None = None) -> Encoder:
        """Raises ValueError, with what is missing, where the directory is not an encoder's."""
        return cls(directory, max_length).fit()

    def fit(self, texts: pa.Array | None = None, y: None = None) -> Encoder:
        """Open the directory; nothing is learned from the texts."""
        directory = Path(self.directory)
        model = _model_files(directory)
        self.pooling_, self.normalize_ = _modules(directory)
        self.max_length_ = min(self.max_length or DEFAULT_MAX_LENGTH, _max_length(directory))
        self.tokenizer_ = _open_tokenizer(directory / TOKENIZER, self.max_length_)
        graph = directory / model[0]
        self.session_ = _open_session(
            str(graph) if graph.suffix == ".onnx" else bert_to_onnx(directory), directory
        )
        output = next((o for o in self.session_.get_outputs() if len(o.shape) == 3), None)
        if output is None:
            raise ValueError(f"{graph} has no output of the shape (texts, tokens, dimensions)")
        self.output_, self.dimensions_ = output.name, self._width(output.name)
        self.files_ = _hashes(directory, [TOKENIZER, *model])
        listing = json.dumps([self.files_, self.max_length_, self.pooling_, self.normalize_])
        self.sha256_ = hashlib.sha256(listing.encode()).hexdigest()
        return self

    def transform(self, texts: pa.Array) -> Matrix:
        tokens = [self._split(text) for text in texts.to_pylist()]
        vectors = np.zeros((len(tokens), self.dimensions_), np.float32)
        for rows, length in _batches(
            [len(ids) for ids in tokens], self.batch_tokens, self.max_length_
        ):
            ids = np.zeros((len(rows), length), np.int64)
            mask = np.zeros((len(rows), length), np.int64)
            for i, row in enumerate(rows):
                ids[i, : len(tokens[row])] = tokens[row]
                mask[i, : len(tokens[row])] = 1
            vectors[rows] = self._pool(self._run(ids, mask), mask)
        return vectors

    def get_feature_names_out(self, input_features: None = None) -> npt.NDArray[np.object_]:
        return np.array([f"encoder_axis_{i:03}" for i in range(self.dimensions_)], dtype=object)

    def _split(self, text: str | None) -> list[int]:
        shown = (text or "")[: self.max_length_ * CHARS_PER_TOKEN]
        ids: list[int] = self.tokenizer_.encode(shown).ids
        return ids

    def _run(self, ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64]) -> Matrix:
        """float32[n, tokens, dimensions]"""
        known = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        asked = {field.name: known[field.name] for field in self.session_.get_inputs()}
        return np.asarray(self.session_.run([self.output_], asked)[0], np.float32)

    def _pool(self, hidden: Matrix, mask: npt.NDArray[np.int64]) -> Matrix:
        if self.pooling_ == "cls":
            vectors = hidden[:, 0]
        else:
            kept = mask[:, :, None].astype(np.float32)
            vectors = (hidden * kept).sum(axis=1) / kept.sum(axis=1)
        if self.normalize_:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.maximum(lengths, np.float32(1e-12))
        return vectors

    def _width(self, output: str) -> int:
        """Asked of the graph itself: what it states about its output may be a name."""
        one = np.ones((1, LENGTH_STEP), np.int64)
        self.output_ = output
        return int(self._run(np.zeros_like(one), one).shape[2])


def _model_files(directory: Path) -> list[str]:
    """The files of the model, its graph first; ValueError where there is no model."""
    if not directory.is_dir():
        raise ValueError(f"{directory} is no directory: give the one that holds the encoder")
    if not (directory / TOKENIZER).is_file():
        raise ValueError(f"{directory} has no {TOKENIZER}: it is no encoder's directory")
    for name in GRAPHS:
        graph = directory / name
        if graph.is_file():  # its weights may lie beside it, in model.onnx_data or .data
            beside = sorted(graph.parent.glob(f"{graph.name}?*"))
            return [name, *(str(path.relative_to(directory)) for path in beside)]
    if all((directory / name).is_file() for name in SAFETENSORS):
        return SAFETENSORS[::-1]
    raise ValueError(f"{directory} has neither {' nor '.join(GRAPHS)} nor model.safetensors")


def _modules(directory: Path) -> tuple[str, bool]:
    """("mean" or "cls", whether vectors get unit length), as the directory says."""
    pooling, normalize = "mean", False
    if not (directory / MODULES).is_file():
        return pooling, normalize
    for module in _read(directory / MODULES):
        kind = str(module["type"]).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _pooling(directory / module["path"] / "config.json")
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise ValueError(f"{directory / MODULES} has a module {kind}, which is not known here")
    return pooling, normalize


def _pooling(path: Path) -> str:
    config = _read(path)
    modes = [name for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise ValueError(f"{path} pools by {modes}; known are {sorted(known)}, one at a time")
    return known[modes[0]]


def _max_length(directory: Path) -> int:
    """Tokens that are read, special ones included: the least that the directory's files say."""
    found = []
    for name, field in LENGTHS.items():
        if (directory / name).is_file():
            length = _read(directory / name).get(field)
            found += [int(length)] if length else []
    return min(found, default=DEFAULT_MAX_LENGTH)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is missing or no JSON") from error


def _open_tokenizer(path: Path, max_length: int) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises no narrower class
        raise ValueError(f"{path} is no tokenizer: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def _open_session(graph: str | bytes, directory: Path) -> Any:
    """On one thread: shards run side by side, and one core is this one's."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # a class for each cause, without a common one
        raise ValueError(f"the model of {directory} cannot be opened: {error}") from error
    unknown = {field.name for field in session.get_inputs()} - INPUTS
    if unknown:
        raise ValueError(f"the model of {directory} asks for {sorted(unknown)}, which a text lacks")
    return session


def _hashes(directory: Path, names: list[str]) -> dict[str, str]:
    hashes = {}
    for name in sorted(names):
        with (directory / name).open("rb") as file:
            hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _batches(
    lengths: list[int], batch_tokens: int, max_length: int
) -> Iterator[tuple[list[int], int]]:
    """(rows, padded length) of each batch, short texts first; texts of no token in none."""
    padded = [min(-(-length // LENGTH_STEP) * LENGTH_STEP, max_length) for length in lengths]
    waiting: list[int] = []
    for row in sorted((row for row, length in enumerate(padded) if length), key=padded.__getitem__):
        length = padded[row]
        if waiting and (padded[waiting[0]] != length or (len(waiting) + 1) * length > batch_tokens):
            yield waiting, padded[waiting[0]]
            waiting = []
        waiting.append(row)
    if waiting:
        yield waiting, padded[waiting[0]]
