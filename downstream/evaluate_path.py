"""What `primer evaluate` does with a path: any Llama-style model, not only ours.

A Hugging Face directory is exported to GGUF, checked and quantized first, as stage 12 does it. A
GGUF file, or a directory of them, is measured as it is; without an F16 beside it there is nothing
to compare with, so it gets no verdict. The text is split by the model's own tokenizer. Where none
is given, pieces of this Python's own library stand in: most models have seen them, so they tell
what quantizing loses, not how good a model is.
"""

from __future__ import annotations

import contextlib
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from downstream.baselines import packed_bits_per_byte
from downstream.evaluate_config import EvaluateConfig
from downstream.evaluation import Candidate, Evaluation, read_shape, summarize, write_rounds
from downstream.gate import FULL
from downstream.machine import describe_machine
from downstream.measuring import once
from downstream.profiles import PROFILES, Profile
from downstream.quantized_tensors import describe
from downstream.report import write_reports
from downstream.results import conclude, write_results
from downstream.results_schema import Results
from pipeline.errors import InputError
from pipeline.manifest import hash_json
from pipeline.progress import progress_bar
from pipeline.records import read_rows, write_table

TYPES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M")
PIECE_BYTES = 4_000
_OWN_MODULES = ("abc.py", "argparse.py", "bisect.py", "calendar.py", "collections/__init__.py",
                "csv.py", "dataclasses.py", "fractions.py", "heapq.py", "json/decoder.py",
                "random.py", "statistics.py", "textwrap.py", "turtle.py")  # fmt: skip
_CODE = {".py", ".c", ".h", ".cc", ".cpp", ".rs", ".go", ".js", ".ts", ".java", ".sh"}

TEXT = pa.schema(  # what of a handoff's validation set measuring needs
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("n_bytes", pa.int64(), nullable=False),
        pa.field("keep", pa.bool_(), nullable=False),
        pa.field("tokens", pa.list_(pa.uint32()), nullable=False),
    ]
)


def evaluate_path(
    path: Path, out: Path, config: EvaluateConfig, texts: Sequence[Path] = (),
    types: Sequence[str] = TYPES, profile: str | None = None,
) -> Results:  # fmt: skip
    """Measure what lies at `path`; write report.html, report.md, results.json and plots to `out`.

    Raises InputError where there is no model, no text, or no such profile.
    """
    profiles = choose_profiles(profile)
    kind = what_lies_at(path)
    pieces = list(read_pieces(texts))
    if out.exists() and not out.is_dir():
        raise InputError("evaluate", f"{out} is a file", "give a folder for the results")
    out.mkdir(parents=True, exist_ok=True)
    files = quantize_directory(path, out / "gguf", types, config) if kind == "model" else None
    candidates = find_files(path, files)
    config = _within(config, candidates)
    work = out / "work" / _fingerprint(candidates, pieces, config)
    work.mkdir(parents=True, exist_ok=True)
    validation = work / "text.parquet"
    write_table(validation, pieces, TEXT)
    evaluation = Evaluation(candidates, validation, config, work, own_tokens=True)
    with progress_bar("evaluate: measuring", evaluation.steps()) as advance:
        found = evaluation.run(advance)
    machine = once(work / "machine.json", lambda: describe_machine(config.threads))
    models = summarize(evaluation, found)
    for model in models:  # no filter has seen this text
        model["bits_per_byte_kept"] = model["bits_per_byte_not_kept"] = None
    chosen = {row["doc_id"] for rows in found.quality.values() for row in rows}
    measured = [row for row in read_rows([validation]) if row["doc_id"] in chosen]
    of = {
        "path": str(path),
        "text": ", ".join(map(str, texts)) or "pieces of this Python's own library",
        "documents": len(measured),
        "bytes": sum(row["n_bytes"] for row in measured),
        "left_out_documents": len(pieces) - len(measured),  # beyond max_validation_bytes
    }
    baselines: dict[str, float | None] = {**packed_bits_per_byte([row["text"] for row in measured])}
    results = conclude(models, config, of, machine, [], baselines, profiles)
    write_results(out, results)
    write_reports(out, results)
    write_rounds(out / "speed.json", found)
    shutil.rmtree(work)  # and no more: `out` may be a folder that has a `work` of its own
    with contextlib.suppress(OSError):  # not empty
        work.parent.rmdir()
    return results


def choose_profiles(name: str | None) -> tuple[Profile, ...]:
    """The devices to predict: all, or the named one."""
    chosen = tuple(device for device in PROFILES if name in {None, device.name})
    if not chosen:
        known = ", ".join(device.name for device in PROFILES)
        raise InputError("evaluate", f"there is no device profile {name!r}", f"known: {known}")
    return chosen


def what_lies_at(path: Path) -> str:
    """ "model" for a Hugging Face directory, "gguf" for a file or a directory of files."""
    if not path.exists():
        raise InputError("evaluate", f"there is no {path}", "give a model directory or a GGUF file")
    if path.is_dir():
        if (path / "config.json").exists():
            return "model"
        if any(path.glob("*.gguf")):
            return "gguf"
    elif _is_gguf(path):
        return "gguf"
    raise InputError(
        "evaluate", f"{path} is no model",
        "give a directory with config.json and weights, or a GGUF file",
    )  # fmt: skip


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def quantize_directory(
    path: Path, out: Path, types: Sequence[str], config: EvaluateConfig
) -> list[Path]:
    """GGUF files of a Hugging Face directory; those that are there already are not made again."""
    from downstream.quantize import make_quantized

    types = tuple(dict.fromkeys(types))  # one that is named twice is measured once
    with progress_bar("evaluate: quantizing", 1 + len(types)) as advance:

        def step(name: str) -> None:
            advance(1, note=name)

        make_quantized(path, out, types, threads=config.threads, advance=step)
    return [out / f"model-{kind}.gguf" for kind in (FULL, *types)]


def find_files(path: Path, made: Sequence[Path] | None) -> list[Candidate]:
    """The files to measure, each with its type; F16 first."""
    files = made or ([path] if path.is_file() else sorted(path.glob("*.gguf")))
    arm = path.stem if path.is_file() else path.resolve().name
    found = [Candidate(arm, None, type_of(file), file) for file in files]
    types = [one.type for one in found]
    named = [one if types.count(one.type) == 1 else _by_name(one, types) for one in found]
    return sorted(named, key=lambda one: (one.type != FULL, files.index(one.path)))


def _by_name(one: Candidate, types: Sequence[str]) -> Candidate:
    """Two files of one type are told apart by their names, which must not be a type among them."""
    return replace(one, type=one.path.name if one.path.stem in types else one.path.stem)


def type_of(path: Path) -> str:
    """The type that the file says it is of; its name where it says nothing known."""
    read_shape(path)  # says in one line what is wrong
    try:
        return str(describe(path)["type"]) or path.stem
    except ValueError:  # a type that is newer than the reader
        return path.stem


def read_pieces(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Text files as documents of some thousand bytes, cut between lines; a file is a group."""
    library = Path(sysconfig.get_path("stdlib"))
    found = 0
    for path in dict.fromkeys(paths) or [library / name for name in _OWN_MODULES]:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                "evaluate", f"{path} cannot be read as text ({error})", "give UTF-8 text files"
            ) from error
        kind = "code" if path.suffix in _CODE else "web"
        for i, piece in enumerate(_cut(text)):
            found += 1
            yield {
                "doc_id": f"{path}:{i}", "kind": kind, "group": str(path), "text": piece,
                "n_bytes": len(piece.encode()), "keep": True, "tokens": [],
            }  # fmt: skip
            if not paths and i == 1:  # two pieces of each module
                break
    if not found:
        raise InputError("evaluate", "the text is empty", "give files with text in them")


def _cut(text: str) -> Iterator[str]:
    """Pieces of whole lines; a line that is longer by itself is cut too."""
    piece, size = "", 0
    most = PIECE_BYTES // 4  # characters, of four bytes at most
    whole = text.splitlines(keepends=True)
    for line in (one[i : i + most] for one in whole for i in range(0, len(one), most)):
        length = len(line.encode())
        if piece and size + length > PIECE_BYTES:
            yield piece
            piece, size = "", 0
        piece, size = piece + line, size + length
    if piece.strip():
        yield piece


def _within(config: EvaluateConfig, candidates: Sequence[Candidate]) -> EvaluateConfig:
    """No window longer than the model's context."""
    longest = min(read_shape(one.path).context_tokens or 2**17 for one in candidates)
    return config.model_copy(update={"context_tokens": min(config.context_tokens, longest)})


def _fingerprint(
    candidates: Sequence[Candidate], pieces: Sequence[dict[str, Any]], config: EvaluateConfig
) -> str:
    """Of what is measured, so that only the same goes on where it was stopped."""
    files = [
        [str(one.path), one.path.stat().st_size, one.path.stat().st_mtime_ns] for one in candidates
    ]
    texts = [piece["text"] for piece in pieces]
    return hash_json([files, texts, config.model_dump(mode="json")])[:16]
