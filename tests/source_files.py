"""Files as the tests of sources make them, and programs that read them apart."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from source_reading import read


def texts(*arguments, **fields):
    return [document["text"] for document in read(*arguments, **fields)[0]]


def put(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def line(text):
    return json.dumps({"text": text}) + "\n"


def run_apart(script, *arguments, **options):
    """Run Python in a process of its own, which finds the helpers of the tests, to its end."""
    found = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", found + script, *map(str, arguments)],
        capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


README = """---
license: odc-by
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
- config_name: extra
  data_files: extra/*.parquet
---
# A dataset
"""


def dataset(root, readme=README):
    names = ("data/train-00000-of-00002", "data/train-00001-of-00002")
    for name in (*names, "data/test-00000-of-00001", "extra/e"):
        path = root / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": [name]}), path)
    if readme:
        put(root, {"README.md": readme, ".gitattributes": "*.parquet filter=lfs"})
    return root
