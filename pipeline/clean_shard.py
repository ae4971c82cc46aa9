"""Pass 1 of clean: every document of a shard judged by rules, its secrets redacted, sketched.

Batches stay in Arrow: each rule sees a column, and only rows that something is found in are
touched one by one. What stands is written to the scratch with its redacted text, beside the sketch
by which pass 2 finds copies; what does not is a row in `dropped`, with its size for the waterfall.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.clean_examples import ExampleConfig, Examples
from pipeline.code_rules import CodeRules, judge_code
from pipeline.copies_runs import RunWriter
from pipeline.ledger import Ledger
from pipeline.pii import PiiConfig, redact
from pipeline.prose_rules import ProseRules, judge_prose
from pipeline.records import DOCUMENT, DROPPED, read_batches
from pipeline.waterfall import Flow

if TYPE_CHECKING:
    from pipeline.clean_rules import Verdict

SIZES = (pa.field("bytes", pa.int64()), pa.field("tokens", pa.int64()))
STANDING = pa.schema([*DOCUMENT, *SIZES])  # a document that no rule drops, and its size
CODE, PROSE = "code", "web"
Facts = dict[str, Any]  # what is found out about a document, for its metadata


@dataclass(frozen=True)
class JudgeShard:
    """One rank's work: a file of ingest into `standing`, `dropped` and sketches."""

    prose: ProseRules
    code: CodeRules
    pii: PiiConfig
    files: Sequence[Path]
    scratch: Path
    examples: ExampleConfig
    score_field: str | None = None  # in the metadata: of copies the highest is kept
    sketches: Path | None = None  # null: in the scratch
    first_sketch: int = 0  # shards of earlier versions, which are sketched before

    def __call__(self, rank: int, world_size: int) -> Ledger:
        name, flow, examples = f"{rank:05}.parquet", Flow(), Examples(self.examples)
        standing, dropped, flows = (self.scratch / w for w in ("standing", "dropped", "flows"))
        for folder in (standing, dropped, flows):
            folder.mkdir(parents=True, exist_ok=True)
        with (
            pq.ParquetWriter(standing / name, STANDING, compression="zstd") as passed,
            pq.ParquetWriter(dropped / name, DROPPED, compression="zstd") as rejected,
            closing(self._sketches(rank)) as sketches,
        ):
            for batch in read_batches([self.files[rank]]):
                rest = self._judge(with_sizes(batch), flow, examples, rejected)
                passed.write_batch(rest)
                sketches.add(rest["doc_id"], rest["text"], self._scores(rest))
        examples.write(self.scratch / "examples" / name)
        (flows / f"{rank:05}.json").write_text(json.dumps(flow.as_json()))
        came = sum(counts["rows"] for counts in flow.came.values())
        gone = sum(counts["rows"] for counts in flow.took.values())
        return Ledger("documents", came, came - gone, {"by_rules": gone})

    def _sketches(self, rank: int) -> RunWriter:
        return RunWriter(self.sketches or self.scratch / "sketches", self.first_sketch + rank)

    def _scores(self, batch: pa.RecordBatch) -> pa.Array | None:
        if self.score_field is None:
            return None
        told = (json.loads(row).get(self.score_field) for row in batch["metadata"].to_pylist())
        numbers = [x if isinstance(x, int | float) else None for x in told]
        return pa.array(numbers, pa.float64())

    def _judge(
        self, batch: pa.RecordBatch, flow: Flow, examples: Examples, rejected: pq.ParquetWriter
    ) -> pa.RecordBatch:
        """What stands, redacted; the other rows are counted, shown and written."""
        verdicts, facts = self._by_rules(batch)
        rest, gone, out = split(batch, verdicts)
        facts = [fact for fact, verdict in zip(facts, verdicts, strict=True) if verdict is None]
        texts = self._without_notices(rest) if self.code.remove_notices else rest["text"]
        redacted = redact(texts, rest["kind"].to_pylist(), self.pii)
        for fact, counts, verdict in zip(facts, redacted.counts, redacted.verdicts, strict=True):
            if counts and verdict is None:
                fact["redacted"] = counts
                flow.redact(counts)
        shown = with_facts(rest, facts)
        standing, secret, hidden = split(shown, redacted.verdicts)
        safe = pa.array([verdict is None for verdict in redacted.verdicts], pa.bool_())
        after = with_sizes(replaced(standing, "text", redacted.texts.filter(safe)))
        flow.come(batch)
        flow.shorten(standing, after)
        for dropped, documents in ((out, gone), (hidden, secret)):
            flow.take(dropped)
            examples.add(dropped, documents)
            rejected.write_batch(dropped)
        return after

    def _without_notices(self, batch: pa.RecordBatch) -> pa.Array:
        """The texts, program text without its licence notices."""
        from pipeline.code_header import strip_notice

        rows = zip(batch["text"].to_pylist(), batch["kind"].to_pylist(), strict=True)
        texts = [strip_notice(text) if kind == CODE else text for text, kind in rows]
        return pa.array(texts, pa.string())

    def _by_rules(self, batch: pa.RecordBatch) -> tuple[list[Verdict | None], list[Facts]]:
        """A verdict and what was found out about each row, prose and code each by its own rules."""
        verdicts: list[Verdict | None] = [None] * len(batch)
        facts: list[Facts] = [{} for _ in verdicts]
        kinds = batch["kind"].to_pylist()
        for kind, judged in ((PROSE, self._prose), (CODE, self._code)):
            places = [i for i, one in enumerate(kinds) if one == kind]
            if places:
                said = judged(batch.take(pa.array(places)))
                for i, verdict, fact in zip(places, *said, strict=True):
                    verdicts[i], facts[i] = verdict, fact
        return verdicts, facts

    def _prose(self, batch: pa.RecordBatch) -> tuple[list[Verdict | None], list[Facts]]:
        verdicts, languages = judge_prose(batch["text"], self.prose)
        scored = zip(languages.labels, languages.scores.tolist(), strict=True)
        return verdicts, [
            {"language": label, "language_score": round(score, 4)} if label else {}
            for label, score in scored
        ]

    def _code(self, batch: pa.RecordBatch) -> tuple[list[Verdict | None], list[Facts]]:
        paths, licences, languages = (
            batch[name].to_pylist() for name in ("url_or_path", "licence", "language")
        )
        judged = judge_code(batch["text"], paths, licences, self.code, languages)
        return judged.verdicts, judged.facts


def with_sizes(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with the columns of `SIZES`: bytes of UTF-8, and pre-tokens."""
    from pipeline.pretokens import count_pretokens

    sizes = pc.binary_length(batch["text"]).cast(pa.int64()), count_pretokens(batch["text"])
    columns = batch.columns[: len(DOCUMENT)]
    return pa.record_batch([*columns, *map(pa.array, sizes)], schema=STANDING)


def split(
    batch: pa.RecordBatch, verdicts: Sequence[Verdict | None]
) -> tuple[pa.RecordBatch, pa.RecordBatch, pa.RecordBatch]:
    """The rows without a verdict; the others; and what `DROPPED` says of these."""
    stands = pa.array([verdict is None for verdict in verdicts], pa.bool_())
    gone, said = batch.filter(pc.invert(stands)), [v for v in verdicts if v is not None]
    columns = {
        "doc_id": gone["doc_id"],
        "reason": pa.array([v.reason for v in said], pa.string()),
        "evidence": pa.array([v.evidence for v in said], pa.string()),
        "kind": gone["kind"], "bytes": gone["bytes"], "tokens": gone["tokens"],
    }  # fmt: skip
    return batch.filter(stands), gone, pa.record_batch(columns, schema=DROPPED)


def replaced(batch: pa.RecordBatch, name: str, column: pa.Array) -> pa.RecordBatch:
    """The batch with another column of that name."""
    return batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), column)


def with_facts(batch: pa.RecordBatch, facts: Sequence[Facts]) -> pa.RecordBatch:
    """What was found out, in the metadata, and in the columns of language and licence.

    A language that the source states counts before what was found; a licence in the text counts
    before that of the source.
    """
    found = {
        name: pa.array([fact.pop(name, None) for fact in facts], pa.string())
        for name in ("language", "licence")
    }
    batch = replaced(batch, "language", pc.coalesce(batch["language"], found["language"]))
    batch = replaced(batch, "licence", pc.coalesce(found["licence"], batch["licence"]))
    metadata = [
        json.dumps({**json.loads(given), **fact}) if fact else given
        for given, fact in zip(batch["metadata"].to_pylist(), facts, strict=True)
    ]
    return replaced(batch, "metadata", pa.array(metadata, pa.string()))
