"""llama.cpp's programs are built once, from the source of the installed version."""

import subprocess
import sys

import pytest

from downstream import llama_source
from downstream.llama_source import SOURCES, llama_program, programs_folder
from pipeline.errors import InputError, StageError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(llama_source.Path, "home", lambda: tmp_path)
    return tmp_path


def test_a_program_that_is_not_built_is_refused():
    with pytest.raises(InputError, match="no program 'llama-server'; there are: llama-bench"):
        llama_program("llama-server")


def test_what_is_built_is_not_built_again(home):
    program = programs_folder() / "llama-bench"
    program.parent.mkdir(parents=True)
    program.write_text("built before")
    assert llama_program("llama-bench") == program
    assert program.read_text() == "built before"


def test_a_failed_compilation_leaves_no_program_and_tells_the_error(home):
    source = programs_folder().parent / "llama.cpp" / "tools" / "llama-bench"
    source.mkdir(parents=True)
    (source / "main.cpp").write_text("int main() { return missing; }\n")
    with pytest.raises(StageError, match=r"llama-bench could not be compiled \(.*missing"):
        llama_program("llama-bench")
    assert not (programs_folder() / "llama-bench").exists()


def test_a_source_of_another_version_is_refused(tmp_path):
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "llama.h").write_text("// another\n")
    with pytest.raises(StageError, match=r"llama\.h is not the header of the downloaded source"):
        llama_source._check_same_version(tmp_path)


@pytest.mark.slow
def test_all_programs_run(tmp_path):
    """Needs a compiler and, the first time, the package index."""
    told = subprocess.run(
        [sys.executable, "-m", "downstream.llama_source"],
        check=True, capture_output=True, text=True, timeout=230,
    )  # fmt: skip
    programs = told.stdout.splitlines()
    assert [path.rsplit("/", 1)[1] for path in programs] == list(SOURCES)
    for program in programs:
        command = [program, "--version"]
        shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        assert "build" in shown.stdout + shown.stderr
