"""Stage 2: drop what is not worth training on, with a reason, and redact what nobody may learn.

Three passes over the files of ingest. Documents are judged by rules, redacted and sketched (in
parallel, `pipeline.clean_shard`); copies are found among the sketches, in bounded memory
(`pipeline.copies`); what has an earlier or better copy is left out (in parallel). No pass but the
second holds more than a batch, and that one what the recipe allows. A version with a parent judges
its new documents alone; copies are found among the sketches of all versions (`earlier_sketches`).

What it costs: docs/benchmarks.md, `python -m benchmarks.cleaning`.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from pipeline.clean_examples import ExampleConfig
from pipeline.clean_report import report_clean
from pipeline.clean_shard import JudgeShard
from pipeline.code_rules import CodeRules
from pipeline.config import HOW, Section
from pipeline.copies import CopiesConfig, check_memory, find_copies
from pipeline.copies_clusters import COPY
from pipeline.earlier_sketches import SKETCHES, bring_earlier
from pipeline.errors import StageError
from pipeline.executors import Executor, LocalExecutor
from pipeline.filter_copies import FilterShard
from pipeline.increment import IncrementConfig, VersionedStage, account, grown, parent_stage
from pipeline.ledger import Ledger
from pipeline.pii import PiiConfig
from pipeline.prose_rules import ProseRules
from pipeline.shard_pass import ShardWork
from pipeline.shards import run_shards
from pipeline.stage import Outcome, Workplace


class CleanConfig(Section):
    """What is dropped, and what is redacted."""

    prose: ProseRules = Field(ProseRules(), description="Rules for prose; see its fields.")
    code: CodeRules = Field(CodeRules(), description="Rules for program text; see its fields.")
    pii: PiiConfig = Field(PiiConfig(), description="Personal data and secrets; see its fields.")
    copies: CopiesConfig = Field(CopiesConfig(), description="Which documents are copies.")
    examples: int = Field(
        20, ge=0, le=1_000, description="Dropped documents of each rule that are shown to read."
    )
    workers: int = Field(
        2, ge=1, le=1_024, description="Shards worked on at once.", json_schema_extra=HOW
    )
    executor: Executor = Field(
        LocalExecutor(),
        description="Where they are worked on: local, ray or slurm, or one of these with settings.",
        json_schema_extra=HOW,
    )


def clean(place: Workplace) -> Outcome:
    """Judge, find copies, leave them out; then say what each rule took."""
    config = place.section(CleanConfig)
    ingested, scratch = place.needs["ingest"], place.scratch.resolve()
    files, parent = ingested.files("documents/*.parquet"), parent_stage(place)
    earlier = account(parent).kept if parent else 0
    check_memory(place.stage, config.copies, earlier + ingested.ledger.kept, config.workers)

    def pass_over(what: str, work: ShardWork, ranks: int = len(files)) -> Ledger:
        return run_shards(place, what, work, "documents", ranks, config.workers, config.executor)

    # sealed with a version, so that the next one does not sketch all documents again
    sketches = (place.out if parent else scratch).resolve() / SKETCHES
    first = bring_earlier(parent, sketches, pass_over) if parent else 0
    examples = ExampleConfig(place.seed, config.examples, config.pii)
    by_score = config.copies.survivor == "highest_score"
    judge = JudgeShard(
        config.prose, config.code, config.pii, files, scratch, examples,
        config.copies.score_field if by_score else None, sketches, first,
    )  # fmt: skip
    total = pass_over("judging", judge)
    copies = find_copies(place, sketches, config.copies, config.workers, config.executor, first)
    for rank in range(len(files)):
        rows = pa.Table.from_batches(list(copies.of_shard(first + rank)), COPY)
        (scratch / "copied").mkdir(exist_ok=True)
        pq.write_table(rows, scratch / "copied" / f"{rank:05}.parquet", compression="zstd")
    leave_out = FilterShard(scratch, (place.out / "documents").resolve(), examples)
    written = pass_over("filtering", leave_out)
    if written.kept == 0 and parent is None:
        raise StageError(
            "clean",
            f"all {total.rows_in} documents were dropped",
            "loosen clean.prose and clean.code, or look at the sources",
        )
    order = ["other_language", "doubtful_language"]
    order += [rule.name for rule in (*config.prose.in_order(), *config.code.in_order())]
    flow = report_clean(place, order, config.examples)
    ledger = Ledger("documents", total.rows_in, written.kept, flow.rows_by_reason())
    return Outcome(
        ledger,
        {
            **flow.facts(),
            "pairs_compared": copies.compared.rows_in,
            "word_tokenizer": "white space (str.split)",
            **grown(parent),
        },
    )


STAGE = VersionedStage(
    number=2,
    name="clean",
    version=2,
    needs=("ingest",),
    makes=("documents/*.parquet", "dropped.parquet", "copies.parquet", "waterfall.json",
           "waterfall.md", "waterfall.png", "examples.parquet", "examples.md"),
    sees=(CleanConfig, IncrementConfig),
    work=clean,
)  # fmt: skip
