"""The waterfall adds up, or says that it does not."""

import json

import pyarrow as pa
import pytest

from pipeline.errors import StageError
from pipeline.records import DROPPED
from pipeline.waterfall import Flow, as_markdown, fall, plot_waterfall


def sizes(rows):
    kinds, n_bytes, tokens = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.record_batch({
        "kind": pa.array(kinds, pa.string()), "bytes": pa.array(n_bytes, pa.int64()),
        "tokens": pa.array(tokens, pa.int64()),
    })  # fmt: skip


def dropped(*rows):
    names = ("doc_id", "reason", "evidence", "kind", "bytes", "tokens")
    return pa.RecordBatch.from_pylist(
        [dict(zip(names, row, strict=True)) for row in rows], schema=DROPPED
    )


def flow():
    made = Flow()
    made.come(sizes([("web", 100, 20), ("web", 60, 12), ("web", 50, 10), ("code", 30, 9)]))
    made.take(dropped(("a", "too_few_words", "3", "web", 60, 12)))
    made.shorten(sizes([("web", 50, 10)]), sizes([("web", 53, 9)]))
    made.take(dropped(("b", "near_copy", "of c", "web", 53, 9)))
    made.leave(sizes([("web", 100, 20), ("code", 30, 9)]))
    return made


def test_rules_stand_in_their_order_and_every_row_follows_from_the_one_before():
    table = fall("clean", flow(), ["too_few_words", "redacted", "near_copy"])
    assert [row["rule"] for row in table] == ["too_few_words", "redacted", "near_copy"]
    assert [row["bytes_out"] for row in table] == [150, 153, 100]
    assert [row["rows_out"] for row in table] == [2, 2, 1]
    assert table[1]["bytes_dropped"] == -3  # a placeholder is longer than what it hides
    assert "| web | near_copy | 1 | 1 | 53 | 100 | 9 | 20 |" in as_markdown(table)


def test_what_a_shard_leaves_on_the_disk_is_the_same_flow():
    made = flow()
    again = Flow.of(json.loads(json.dumps(made.as_json())))
    assert again == made
    again.add(made)
    assert again.rows_by_reason() == {"near_copy": 2, "too_few_words": 2}
    assert again.facts()["bytes"] == 260


@pytest.mark.parametrize("lost", [("web", 1, 1), ("code", 30, 9)])
def test_what_does_not_add_up_is_an_error(lost):
    made = flow()
    made.leave(sizes([lost]))
    with pytest.raises(StageError, match=r"waterfall of .* ends at"):
        fall("clean", made, [])


def test_a_picture_of_it_is_the_same_to_the_byte(tmp_path):
    table = fall("clean", flow(), [])
    for name in ("a.png", "b.png"):
        plot_waterfall(table, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
