"""A leak, as evidence that a person can check: both texts side by side, and how alike they are."""

from __future__ import annotations

import pyarrow as pa

# kind: "words" (a run of words), "whole" (a short text, whole), "together" (a short question near
# its answer or choices), "code" (the same program under other names), "meaning" (an encoder's)
LEAK = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("item", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),  # of the item: "question", "code", a field
        pa.field("kind", pa.string(), nullable=False),
        pa.field("evidence", pa.string(), nullable=False),  # what both share, folded
        pa.field("document_text", pa.string(), nullable=False),  # with some text around it
        pa.field("item_text", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),  # 0 to 1; of "words": share of the part
    ]
)
KINDS = ("words", "whole", "together", "code", "meaning")
AROUND_CHARS = 80
MOST_CHARS = 1_000  # of a text in an evidence row


def quoted(text: str, first: int, last: int) -> str:
    """text[first:last] with some text around it, the middle left out where it is long."""
    shown = text[max(0, first - AROUND_CHARS) : last + AROUND_CHARS]
    if len(shown) <= MOST_CHARS:
        return shown
    return f"{shown[: MOST_CHARS // 2]} [...] {shown[-MOST_CHARS // 2 :]}"
