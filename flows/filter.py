"""`primer filter`: a trained filter over a corpus of any size, here or on S3, outside of a run."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click
from pydantic import TypeAdapter

from pipeline.addresses import describe, remove_files
from pipeline.corpus_files import CorpusFile, list_corpus
from pipeline.environment import runs_directory
from pipeline.errors import InputError, StageError
from pipeline.executors import Executor
from pipeline.filter_corpus import (
    FilterCorpus,
    FilterOptions,
    hash_filter,
    judge_corpus_drift,
    read_accounts,
    write_corpus_manifest,
)
from pipeline.filter_model import open_model
from pipeline.filter_shard import Tally
from pipeline.shards import run_shards
from pipeline.stage import Workplace

_NAME = "filter"
_TASKS_PER_WORKER = 8  # so that nobody waits long for the last one
_CURE = "correct the address, or the credentials and the endpoint in the environment"


def filter_corpus(
    model: Path, addresses: Sequence[str], out: str, options: FilterOptions,
    tasks: int | None, workers: int, engine: Literal["local", "ray", "slurm"], dry_run: bool,
) -> None:  # fmt: skip
    """Filter all files that are not done yet, and print what became of the documents."""
    decision = open_model(_NAME, model).decision
    files = list_corpus(_NAME, addresses)
    _check_names(files, options)
    out, sha256 = out.rstrip("/"), hash_filter(model, options)
    todo = _not_done(files, _accounts_at(out, sha256))
    if dry_run:
        megabytes = sum(file.bytes for file in todo) / 1e6
        click.echo(
            f"{len(todo)} of {len(files)} files to filter, {megabytes:,.1f} MB, into {out}; "
            f"kept is a document whose {decision.by} is at least {decision.at:.4f}"
        )
        return
    clock = time.perf_counter()
    if todo:
        with _writing(out):
            remove_files([f"{out}/manifest.json"])
            work = FilterCorpus(model.resolve(), sha256, todo, out, options)
            _run(work, tasks or min(len(todo), _TASKS_PER_WORKER * workers), workers, engine)
    seconds = time.perf_counter() - clock
    found = _accounts_at(out, sha256)
    accounts = {file.name: found[file.name] for file in files}
    filtered = {"filter_sha256": sha256, "decision": asdict(decision), "options": asdict(options)}
    with _writing(out):
        judge_corpus_drift(model, out, accounts)
        whole = write_corpus_manifest(out, filtered, accounts)
    new = sum(_scored(accounts[file.name]) for file in todo)
    _tell_end(whole, f"{len(files)} files, {len(todo)} of them now", new / seconds, out)
    _tell_unreadable(accounts)


def _check_names(files: Sequence[CorpusFile], options: FilterOptions) -> None:
    names: dict[str, CorpusFile] = {}
    for file in files:
        other = names.setdefault(options.kept_name(file), file)
        if other is not file:
            raise InputError(
                _NAME,
                f"{other.name} and {file.name} would both be written as {options.kept_name(file)}",
                "filter them to two addresses",
            )


def _accounts_at(out: str, sha256: str) -> dict[str, dict[str, Any]]:
    """What is done at the address; InputError where another filter did it."""
    try:
        accounts = read_accounts(out)
    except Exception as error:  # every file system has errors of its own
        raise InputError(_NAME, f"--out {out} cannot be read ({describe(error)})", _CURE) from error
    for name, account in accounts.items():
        if account["filter"] != sha256:
            raise InputError(
                _NAME,
                f"--out {out} holds what another filter or other options made of {name}",
                "give an address of its own",
            )
    return accounts


def _not_done(
    files: Sequence[CorpusFile], accounts: Mapping[str, dict[str, Any]]
) -> tuple[CorpusFile, ...]:
    def is_done(file: CorpusFile) -> bool:
        account = accounts.get(file.name, {"error": "not begun"})
        seen = (account.get("bytes"), account.get("stamp"))
        return "error" not in account and seen == (file.bytes, file.stamp)

    return tuple(file for file in files if not is_done(file))


@contextmanager
def _writing(out: str) -> Iterator[None]:
    try:
        yield
    except StageError:
        raise
    except Exception as error:  # every file system has errors of its own
        raise StageError(
            _NAME, f"it stopped while writing {out} ({describe(error)})", _CURE
        ) from error


def _run(work: FilterCorpus, tasks: int, workers: int, engine: str) -> None:
    """Share the files out; what is to remember between runs lies at the output's address alone."""
    executor: Executor = TypeAdapter(Executor).validate_python(engine)
    shared = None if engine == "local" else runs_directory()  # which the machines must all see
    if shared is not None:
        shared.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="primer-filter-", dir=shared))
    place = Workplace(_NAME, scratch, scratch, 0, {}, {})
    try:
        run_shards(place, "filter", work, "documents", tasks, workers, executor)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _scored(account: Mapping[str, Any]) -> int:
    return int(account["tally"]["documents"])


def _tell_end(whole: Tally, files: str, documents_per_s: float, out: str) -> None:
    account = whole.ledger
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in account.failed.items())
    speed = f", {documents_per_s:,.0f} documents/s" if documents_per_s else ""
    click.echo(
        f"{out}: {files}; {account.rows_in:,} documents, {whole.kept:,} kept "
        f"({whole.kept / max(whole.documents, 1):.1%} of those scored), "
        f"{sum(account.failed.values()):,} failed{f' ({reasons})' if reasons else ''}{speed}"
    )


def _tell_unreadable(accounts: Mapping[str, dict[str, Any]]) -> None:
    errors = [account["error"] for account in accounts.values() if "error" in account]
    for error in errors:
        click.echo(f"primer: filter: {error}", err=True)
    if errors:
        raise StageError(
            _NAME,
            f"{len(errors)} of {len(accounts)} files could not be read to their end",
            "mend or remove them and run the same command: what is done is kept",
        )
    if not any(_scored(account) for account in accounts.values()):
        raise StageError(
            _NAME, "no document could be scored", "see failed/ there; is --text the right field?"
        )
