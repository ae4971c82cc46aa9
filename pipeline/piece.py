"""A written piece as a document: what it says, what it rests on, and every choice of its draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.draws import Draw
from pipeline.extracts import Extract
from pipeline.judged import Judged
from pipeline.records import make_doc_id

SOURCE = "synthetic"


def make_row(
    one: Draw, text: str, extract: Extract, fields: Mapping[str, Any], verdict: Judged,
    writer: str,
) -> dict[str, Any]:  # fmt: skip
    """A row of `records.DOCUMENT`; `fields` are the task's kind, language and own metadata."""
    code = {
        "executed": verdict.blocks, "outputs_checked": verdict.checked,
        "data_parsed": verdict.parsed, "not_executed": verdict.not_executed,
    }  # fmt: skip
    return {
        "doc_id": make_doc_id(SOURCE, one.prompt_id, text),
        "text": text,
        "kind": fields["kind"],
        "source": SOURCE,
        "group": extract.group,  # what was grounded in a group belongs to it in every split
        "url_or_path": one.prompt_id,
        "licence": extract.licence,
        "language": fields["language"],
        "origin": "synthetic",
        "metadata": json.dumps(
            {"task": one.task, "grounded_in": [extract.doc_id],
             "grounded_licences": [extract.licence], "draw": one.record(), "code": code,
             "annotator": writer, **fields["metadata"]}
        ),
    }  # fmt: skip
