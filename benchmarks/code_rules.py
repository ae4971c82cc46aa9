"""Rules for program text: speed, what each preset drops, flags, licences and languages.

    python -m benchmarks.code_rules [--quick] [--json FILE]

Speed is CPU time on one thread, without start-up and compiling, over the shared Python files as
they are, in rounds taken in turn. Flags and licences are counted against what the data says of each
repository. Without the data this says so and measures nothing.
"""

from __future__ import annotations

import gzip
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.measured import Row, arguments, report
from pipeline.code_header import strip_notices
from pipeline.code_licence_texts import licence_of_text
from pipeline.code_measures import measure_code
from pipeline.code_rules import PRESETS, CodeRules, judge_code
from pipeline.code_syntax import check_python

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "code" / "python_files.jsonl.gz"
QUICK_FILES, PARSED_FILES, GUESSED_FILES, ROUNDS = 1_500, 500, 300, 5
LEAST_FILES_PER_S = 3_000


def main() -> None:
    """Measure speed, then what is found."""
    options = arguments(__doc__)
    if not DATA.is_file():
        sys.exit(f"code_rules: there is no {DATA}; give it the files")
    with gzip.open(DATA, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    few = rows[:QUICK_FILES] if options.quick else rows
    found = _drops(rows) + _found(rows) + _notices(rows) + _guesses(rows) + _licence_files()
    report(_speed(few) + found, options.json)


def _columns(rows: list[dict[str, Any]]) -> tuple[pa.Array, list[str], list[str | None]]:
    texts = pa.array([row["text"] for row in rows])
    return texts, [row["path"] for row in rows], [row["licence"] for row in rows]


def _speed(rows: list[dict[str, Any]]) -> list[Row]:
    """Microseconds a file, the median of rounds in turn."""
    texts, paths, licences = _columns(rows)
    parsed = [row["text"] for row in rows[:PARSED_FILES]]
    languages = ["python"] * len(rows)
    every = CodeRules(presets=tuple(p for p in PRESETS if p != "opencoder"))
    works: dict[str, tuple[int, Callable[[], object]]] = {
        "default": (len(rows), lambda: judge_code(texts, paths, licences, CodeRules())),
        "presets": (len(rows), lambda: judge_code(texts, paths, licences, every)),
        "measures": (len(rows), lambda: measure_code(texts, languages)),
        "notices": (len(rows), lambda: strip_notices(texts)),
        "syntax": (len(parsed), lambda: [check_python(text) for text in parsed]),
    }
    judge_code(texts[:9], paths[:9], licences[:9], CodeRules())  # compiled before the clock starts
    took: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for name, (count, work) in works.items():
            began = time.process_time()
            work()
            took[name].append((time.process_time() - began) / count * 1e6)
    us = {name: statistics.median(times) for name, times in took.items()}
    chars = statistics.mean(len(row["text"]) for row in rows)
    title = f"facts and default rules, {len(rows):,} files of {chars:,.0f} characters"
    return [
        Row(title, us["default"], "microseconds a file"),
        Row(title, 1e6 / us["default"], "files/s/core", LEAST_FILES_PER_S, "min"),
        Row("with all presets that do not parse", us["presets"], "microseconds a file"),
        Row("measures alone", us["measures"], "microseconds a file"),
        Row("taking notices out", us["notices"], "microseconds a file"),
        Row("checking the syntax of Python", us["syntax"], "microseconds a file"),
    ]


def _drops(rows: list[dict[str, Any]]) -> list[Row]:
    """What each preset drops, and by which rule first."""
    columns, found = _columns(rows), []
    for preset in PRESETS:
        verdicts = judge_code(*columns, CodeRules(presets=(preset,))).verdicts
        reasons = Counter(verdict.reason for verdict in verdicts if verdict)
        of_nature: dict[str, list[bool]] = defaultdict(list)
        for row, verdict in zip(rows, verdicts, strict=True):
            of_nature[row["nature"]].append(verdict is not None)
        shares = {nature: statistics.mean(of_nature[nature]) for nature in sorted(of_nature)}
        found.append(Row(f"{preset} drops", reasons.total(), "files", peers=reasons))
        found.append(Row(f"{preset} drops", reasons.total() / len(rows), "share", peers=shares))
    return found


def _found(rows: list[dict[str, Any]]) -> list[Row]:
    """Flags and licences of headers; syntax of the files that are whole."""
    judged = judge_code(*_columns(rows), CodeRules(check_syntax=True))
    flags = Counter(name for found in judged.flags for name in found)
    whole = Counter(
        name
        for row, found in zip(rows, judged.flags, strict=True)
        for name in found
        if not row["truncated"]
    )
    flags["unparsable"], flags["python2"] = whole["unparsable"], whole["python2"]
    generated = [
        "generated" in found
        for row, found in zip(rows, judged.flags, strict=True)
        if row["nature"] == "ordinary-generated"
    ]
    texts, paths, licences = _columns(rows)
    headers = judge_code(texts, paths, [None] * len(rows), CodeRules()).licences
    stated = [(a, b) for a, b in zip(headers, licences, strict=True) if a]
    same = statistics.mean(a == b for a, b in stated)
    return [
        Row("flagged", sum(any(f) for f in judged.flags), "files", peers=flags),
        Row("flagged as generated in generated repositories", statistics.mean(generated), "share"),
        Row("licence told by the file itself", len(stated), "files"),
        Row("of these, as the repository's", same, "share"),
    ]


def _notices(rows: list[dict[str, Any]]) -> list[Row]:
    """Licence notices at the beginning of files, and how much text they are."""
    removed = strip_notices(_columns(rows)[0]).removed_chars
    chars = sum(len(row["text"]) for row in rows)
    return [
        Row("licence notices", sum(n > 0 for n in removed), f"of {len(rows):,} files"),
        Row("of all characters", sum(removed) / chars, "share"),
    ]


def _guesses(rows: list[dict[str, Any]]) -> list[Row]:
    """What pygments takes Python files for, by their text alone."""
    from pygments.lexers import guess_lexer

    texts = [row["text"] for row in rows[:: len(rows) // GUESSED_FILES][:GUESSED_FILES]]
    began = time.process_time()
    names = Counter(guess_lexer(text).name for text in texts)
    us = (time.process_time() - began) / len(texts) * 1e6
    wrong = len(texts) - names.pop("Python")
    return [
        Row("pygments guesses another language", wrong, f"of {len(texts)} files", peers=names),
        Row("pygments guesses", us, "microseconds a file"),
    ]


def _licence_files() -> list[Row]:
    """Licence files of the installed packages against what their metadata says."""
    told = agree = files = 0
    for package in distributions():
        stated = ";".join(package.metadata.get_all("License-Expression") or [])
        top = [f for f in package.files or [] if len(f.parts) <= 3 and "dist-info" in f.parts[0]]
        named = [f for f in top if f.name.upper().startswith(("LICENSE", "LICENCE", "COPYING"))]
        if not stated or len(named) != 1 or set(stated) & set(" ();"):
            continue  # an expression, or several files: which is which is not said
        found = licence_of_text(Path(str(named[0].locate())).read_text("utf-8", "replace"))
        files, told = files + 1, told + (found is not None)
        agree += found is not None and stated.removesuffix("-only").startswith(found)
    return [
        Row("licence files of packages that state one SPDX id", files, "files"),
        Row("of these told by their text", told / max(1, files), "share"),
        Row("of these as stated", agree / max(1, told), "share"),
    ]


if __name__ == "__main__":
    main()
