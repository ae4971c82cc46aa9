"""Addresses, here or anywhere that fsspec reaches (s3://, memory://), and files that are whole.

A file is written beside its place or in a temporary directory, and renamed or uploaded when it is
complete: what is at an address is never a part of a file. Credentials and endpoints are those that
the file system's own library finds (AWS_ENDPOINT_URL and its like).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


def local_path(address: str) -> Path | None:
    """The path of a local address; None for one that goes through fsspec."""
    address = address.removeprefix("file://")
    return None if "://" in address else Path(address)


def file_system(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it."""
    import fsspec.core  # type: ignore[import-untyped]

    fs, path = fsspec.core.url_to_fs(address)
    return fs, path


def describe(error: BaseException) -> str:
    """An error of whatever library as the first line of what it says."""
    said = str(error).strip() or type(error).__name__
    return said.splitlines()[0][:300]


@contextmanager
def whole_file(address: str) -> Iterator[Path]:
    """A path to write to; the file is at `address` only once the block has ended well."""
    target = local_path(address)
    if target is None:
        with tempfile.TemporaryDirectory(prefix="primer-upload-") as folder:
            begun = Path(folder) / "file"
            yield begun
            _upload(begun, address)
        return
    beside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)  # of a killed run
    beside.mkdir(parents=True)
    try:
        yield beside / "file"
        with (beside / "file").open("rb") as written:
            os.fsync(written.fileno())  # a machine that dies must not leave a name without bytes
        os.replace(beside / "file", target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _upload(path: Path, address: str) -> None:
    """An object store shows the file when it has all of it. A bucket is never made here."""
    fs, place = file_system(address)
    fs.put_file(str(path), place)


def remove_files(addresses: Iterable[str]) -> None:
    """Take away files that are no longer true; what is not there is no error."""
    for address in addresses:
        path = local_path(address)
        if path is not None:
            path.unlink(missing_ok=True)
            continue
        fs, place = file_system(address)
        with suppress(FileNotFoundError):
            fs.rm_file(place)
