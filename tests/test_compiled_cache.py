"""Machine code on disk is never that of another version of a loop."""

import os
import subprocess
import sys

import pytest

INNER = """from classifiers.arrow_text import compiled
@compiled
def add(x):
    return x + {more}
"""
OUTER = """from classifiers.arrow_text import compiled
from inner_loop import add
@compiled
def twice(x):
    return add(add(x))
"""


@pytest.mark.long
def test_a_change_in_what_a_loop_imports_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    (tmp_path / "outer_loop.py").write_text(OUTER)

    def result(more):
        (tmp_path / "inner_loop.py").write_text(INNER.format(more=more))
        done = subprocess.run(
            [sys.executable, "-c", "import outer_loop; print(outer_loop.twice(1))"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return int(done.stdout)

    assert [result(1), result(10), result(1)] == [3, 21, 3]
    assert len(list((tmp_path / "cache" / "primer").iterdir())) >= 2
