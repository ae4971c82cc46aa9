"""The filter over a corpus outside of a run: any files in, kept rows, scores and failures out.

    <out>/kept/<name>              the rows that are kept, as they came
    <out>/scores/<name>.parquet    a score for every document that has one
    <out>/failed/<name>.parquet    the documents that have none, and why
    <out>/drift/<name>.json        what was counted to be compared with the training sample
    <out>/accounts/<name>.json     written last: from here on the file is done
    <out>/manifest.json            when every file is done; drift.json, drift.png and
                                   next_sample.parquet beside it where the model has a reference

A second run does the files without an account of the same model, options and content; so a killed
one costs the files that it was at. A file that cannot be read to its end leaves an account of why
and nothing else, and is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.addresses import file_system, remove_files, whole_file
from pipeline.corpus_files import (
    PARQUET,
    CorpusFile,
    Documents,
    UnreadableFile,
    open_documents,
)
from pipeline.document_batch import FAILED, MAX_DOCUMENT_BYTES, Batch, Fields
from pipeline.drift_count import DriftCount, add_saved
from pipeline.drift_reference import open_reference
from pipeline.drift_report import DriftConfig, write_drift
from pipeline.filter_shard import Tally, filter_batch, scores_in
from pipeline.kept_files import RowGroups, Writer, writing
from pipeline.kept_formats import open_kept
from pipeline.ledger import Ledger
from pipeline.manifest import hash_file, hash_json

if TYPE_CHECKING:
    from classifiers.drift import Reference
    from classifiers.scorer import Scorer

ACCOUNTS_FORMAT = 1
_READ_AT_A_TIME = 100  # counts, of which each may have a few hundred kB
DRIFT_EVERY = 8  # how long a corpus is shows only at its end: one in so many is compared


@dataclass(frozen=True)
class FilterOptions:
    """What decides the output, beside the model and the files; format null keeps the file's own."""

    fields: Fields = field(default_factory=Fields)
    format: str | None = None
    max_document_bytes: int = MAX_DOCUMENT_BYTES

    def kept_name(self, file: CorpusFile) -> str:
        """The name of the file of kept rows, with the suffix of its format."""
        return f"{file.name.removesuffix(file.suffix)}.{self.format_of(file)}"

    def format_of(self, file: CorpusFile) -> str:
        """parquet or jsonl.zst."""
        return self.format or ("parquet" if file.suffix == PARQUET else "jsonl.zst")


@dataclass(frozen=True)
class FilterCorpus:
    """The work of one rank: every `world_size`-th file that is not done yet."""

    model: Path
    filter_sha256: str  # of the model and the options
    files: tuple[CorpusFile, ...]
    out: str
    options: FilterOptions

    def __call__(self, rank: int, world_size: int) -> Ledger:
        from classifiers.scorer import Scorer

        whole = Tally()
        if rank < len(self.files):
            scorer, reference = Scorer.open(self.model), open_reference(self.model)
            for file in self.files[rank::world_size]:
                account = self._account_for(scorer, reference, file)
                with whole_file(f"{self.out}/accounts/{file.name}.json") as path:
                    path.write_text(json.dumps(account, indent=1, sort_keys=True) + "\n")
                whole.add_json(account["tally"])
        return whole.ledger

    def _account_for(
        self, scorer: Scorer, reference: Reference | None, file: CorpusFile
    ) -> dict[str, Any]:
        tally, name = Tally(), file.name.removesuffix(PARQUET)
        failed, scores = f"{self.out}/failed/{name}.parquet", f"{self.out}/scores/{name}.parquet"
        kept = f"{self.out}/kept/{self.options.kept_name(file)}"
        counted = f"{self.out}/drift/{file.name}.json"
        remove_files((f"{self.out}/accounts/{file.name}.json", failed, scores, kept, counted))
        drift = None
        if reference is not None:
            drift = DriftCount(reference, file.name, DRIFT_EVERY, DriftConfig().sample)
        account = {"filter": self.filter_sha256, "bytes": file.bytes, "stamp": file.stamp}
        try:
            with ExitStack() as files:
                documents = files.enter_context(
                    open_documents(file, self.options.fields, self.options.max_document_bytes)
                )
                faults_out = files.enter_context(writing(failed, _failures_in))
                scores_out = files.enter_context(writing(scores, scores_in))
                kept_out = files.enter_context(writing(kept, self._kept_in(file, documents)))
                for batch in documents.batches:
                    filter_batch(scorer, batch, scores_out, kept_out, tally, drift)
                    faults_out.write(_faults_of(batch, file.name))
                if drift is not None:
                    drift.save(files.enter_context(whole_file(counted)))
        except UnreadableFile as error:
            return {**account, "tally": Tally().as_json(), "error": str(error)}
        return {**account, "tally": tally.as_json()}

    def _kept_in(self, file: CorpusFile, documents: Documents) -> Callable[[Path], Writer]:
        form, text = self.options.format_of(file), self.options.fields.text
        return lambda path: open_kept(path, documents.schema, form, text)


def _failures_in(path: Path) -> RowGroups:
    return RowGroups(path, FAILED, ("doc_id", "evidence"))


def _faults_of(batch: Batch, name: str) -> pa.RecordBatch:
    rows = [{"doc_id": f"{name}:{fault.row}", **asdict(fault)} for fault in batch.faults]
    return pa.RecordBatch.from_pylist(rows, schema=FAILED)


def hash_filter(model: Path, options: FilterOptions) -> str:
    """One hash over the options and what a scorer opens; the recipe holds the hash of the table."""
    names = ("forest.onnx", "threshold.json", "features/recipe.json")
    hashes = {name: hash_file(model / name) for name in names}
    return hash_json([ACCOUNTS_FORMAT, hashes, asdict(options)])


def read_accounts(out: str) -> dict[str, dict[str, Any]]:
    """The accounts at an address by the name of the file; read side by side where that helps."""
    fs, root = file_system(f"{out}/accounts")
    try:
        paths = [path for path in fs.find(root) if path.endswith(".json")]
    except FileNotFoundError:
        return {}
    found = fs.cat(paths) if paths else {}
    found = found if isinstance(found, dict) else {paths[0]: found}
    return {
        path[len(root) :].lstrip("/").removesuffix(".json"): json.loads(found[path])
        for path in paths
        if "/." not in path[len(root) :]
    }


def judge_corpus_drift(model: Path, out: str, files: Iterable[str]) -> dict[str, Any] | None:
    """Compare these files with the training sample, and write what was found at the address."""
    reference = open_reference(model)
    if reference is None:
        return None
    config, saved = DriftConfig(), _read_counts(out, sorted(files))
    count = add_saved(reference, saved, DRIFT_EVERY, config.sample)
    return write_drift(out, out, reference, count, config)


def _read_counts(out: str, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What was counted of each file; nothing of one that was filtered before there was a count."""
    fs, root = file_system(f"{out}/drift")
    for i in range(0, len(names), _READ_AT_A_TIME):
        paths = [f"{root}/{name}.json" for name in names[i : i + _READ_AT_A_TIME]]
        found = fs.cat(paths, on_error="return")
        for path in paths:
            if isinstance(found[path], FileNotFoundError):
                continue
            if isinstance(found[path], Exception):
                raise found[path]
            yield json.loads(found[path])


def write_corpus_manifest(
    out: str, filtered: Mapping[str, Any], accounts: Mapping[str, dict[str, Any]]
) -> Tally:
    """Add up the accounts of a whole corpus, and say that it is whole; `filtered` says by what."""
    whole = Tally()
    for account in accounts.values():
        whole.add_json(account["tally"])
    told = ("documents", "kept", "failed")
    record = {
        "format": ACCOUNTS_FORMAT,
        **filtered,
        "ledger": asdict(whole.ledger.check("filter")),
        "kept_share_bytes": whole.kept_bytes / max(whole.text_bytes, 1),
        "score_histogram": whole.histogram.tolist(),
        "files": {
            name: {key: account["tally"][key] for key in told}
            for name, account in accounts.items()
            if "error" not in account
        },
        "unreadable": [name for name, account in accounts.items() if "error" in account],
    }
    with whole_file(f"{out}/manifest.json") as path:
        path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    return whole
