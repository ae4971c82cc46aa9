"""Text and notebooks: encodings, cells, and files that hold no text."""

import codecs
import gzip
import json

import pytest
from source_reading import read, reasons

from pipeline.read_record import Unusable
from pipeline.read_text import decode


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("é".encode(), "é"),
        (codecs.BOM_UTF8 + "é".encode(), "é"),
        ("é".encode("utf-16"), "é"),
        (codecs.BOM_UTF16_BE + "é".encode("utf-16-be"), "é"),
        ("é".encode("utf-32"), "é"),
    ],
)
def test_marks_tell_the_encoding(raw, text):
    assert decode(raw, "a.txt") == text


@pytest.mark.parametrize(
    ("raw", "reason", "evidence"),
    [
        (b"caf\xe9", "undecodable", "position 3"),
        ("é".encode() + b" caf\xe9 in another encoding", "undecodable", "position 6"),
        ("é".encode("utf-16")[:-1], "undecodable", "truncated"),
        (b"a\x00b", "binary", "offset 1"),
        (b"\xff\xfe\x00\xd8\x00\x00", "undecodable", "utf-16"),
        (b"\xed\xa0\x80", "undecodable", "position 0"),
        (b"", "empty", "0 bytes"),
    ],
)
def test_text_is_never_mended(raw, reason, evidence):
    with pytest.raises(Unusable, match=evidence) as caught:
        decode(raw, "a.txt")
    assert caught.value.reason == reason


def test_a_stated_encoding_is_used(tmp_path):
    (tmp_path / "a.txt").write_bytes("naïve".encode("latin-1"))
    assert read(tmp_path)[1][0]["reason"] == "undecodable"
    assert read(tmp_path, encoding="latin-1")[0][0]["text"] == "naïve"
    (tmp_path / "a.txt").write_bytes("naïve".encode("utf-16-le"))
    assert read(tmp_path, encoding="utf-16-le")[0][0]["text"] == "naïve"


def test_compressed_text_is_text(tmp_path):
    (tmp_path / "a.md.gz").write_bytes(gzip.compress(b"# Title\n"))
    (tmp_path / "b.md.gz").write_bytes(b"PK\x03\x04 no gzip")
    (tmp_path / "c.md.gz").write_bytes(gzip.compress(b"# Title\n" * 50)[:-12])
    documents, rejects = read(tmp_path)
    assert [d["text"] for d in documents] == ["# Title\n"]
    assert reasons(rejects) == {"b.md.gz": "wrong_magic", "c.md.gz": "truncated"}


NOTEBOOK = {
    "nbformat": 4,
    "metadata": {"language_info": {"name": "python"}},
    "cells": [
        {"cell_type": "markdown", "source": ["# Title\n", "and\n", "\n", "more"]},
        {"cell_type": "code", "source": "%matplotlib inline\nx = 1\n!ls", "outputs": [
            {"data": {"image/png": "A" * 200_000}}]},
        {"cell_type": "code", "source": ["%%bash\n", "ls"], "outputs": []},
        {"cell_type": "code", "source": [], "outputs": []},
        {"cell_type": "raw", "source": "left out"},
    ],
}  # fmt: skip


def test_a_notebook_of_code_is_a_script_that_parses(tmp_path):
    (tmp_path / "a.ipynb").write_text(json.dumps(NOTEBOOK))
    (document,), _ = read(tmp_path, kind="code")
    assert document["text"] == (
        "# %% [markdown]\n# # Title\n# and\n#\n# more\n\n"
        "# %%\n# %matplotlib inline\nx = 1\n# !ls\n\n"
        "# %%\n# %%bash\n# ls\n"
    )
    compile(document["text"], "a.py", "exec")
    assert document["language"] == "python"
    assert json.loads(document["metadata"])["notebook_cells"] == 3


def test_a_notebook_of_prose_is_markdown(tmp_path):
    (tmp_path / "a.ipynb").write_text(json.dumps(NOTEBOOK))
    (document,), _ = read(tmp_path)
    assert document["text"].startswith("# Title\nand\n\nmore\n\n```python\n%matplotlib inline\n")
    assert document["language"] is None


def test_old_and_broken_notebooks(tmp_path):
    old = {"worksheets": [{"cells": [{"cell_type": "heading", "level": 2, "source": "Old"},
                                     {"cell_type": "code", "input": "y = 2"}]}]}  # fmt: skip
    files = {"a": json.dumps(old), "b": "{", "c": "[1]", "d": '{"cells": []}', "e": "[" * 100_000,
             "f": '{"cells": [{"cell_type": "code", "source": [1]}]}', "g": "",
             "h": '{"cells": [{"cell_type": "code", "source": "z"}], "metadata": null}',
             "i": '{"cells": [{"cell_type": "heading", "level": Infinity, "source": "z"}]}',
             "j": '{"cells": [{"cell_type": "heading", "level": 900000000, "source": "z"}]}',
             "k": '{"cells": [{"cell_type": "code", "source": "z"}], "metadata": {"kernelspec":'
                  ' {"language": "\\ud800"}}}'}  # fmt: skip
    for name, content in files.items():
        (tmp_path / f"{name}.ipynb").write_text(content)
    documents, rejects = read(tmp_path, kind="code")
    assert [d["text"] for d in documents] == [
        "# %% [markdown]\n# ## Old\n\n# %%\ny = 2\n", "# %%\nz\n",
        "# %% [markdown]\n# ###### z\n", "# %% [markdown]\n# ###### z\n",
    ]  # fmt: skip
    assert list(reasons(rejects).values()) == [
        "bad_json", "not_a_notebook", "empty", "bad_json", "not_a_notebook", "empty",
        "lone_surrogate",
    ]  # fmt: skip
