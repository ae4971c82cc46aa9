from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StageError
from pipeline.ledger import Ledger

counts = st.integers(0, 10**9)
reasons = st.dictionaries(st.text(min_size=1), counts, max_size=5)


@given(counts, reasons, reasons)
def test_a_ledger_that_adds_up_passes_and_survives_json(kept, dropped, failed):
    rows_in = kept + sum(dropped.values()) + sum(failed.values())
    ledger = Ledger("documents", rows_in, kept, dropped, failed)
    assert ledger.check("clean") is ledger
    assert Ledger.from_json(asdict(ledger)) == ledger


@given(counts, reasons, st.integers(1, 1000))
def test_a_lost_row_fails_the_stage(kept, dropped, lost):
    ledger = Ledger("documents", kept + sum(dropped.values()) + lost, kept, dropped)
    with pytest.raises(StageError, match="clean: the ledger does not add up"):
        ledger.check("clean")


def test_negative_counts_cannot_hide_a_loss():
    with pytest.raises(StageError):
        Ledger("documents", 1, 2, {"short": -1}).check("clean")


@given(st.lists(st.tuples(counts, reasons), max_size=6))
def test_the_total_does_not_depend_on_the_order_of_shards(parts):
    ledgers = [Ledger("rows", kept + sum(d.values()), kept, d) for kept, d in parts]
    forward, backward = Ledger.total("rows", ledgers), Ledger.total("rows", ledgers[::-1])
    assert forward == backward
    assert list(forward.dropped) == sorted(forward.dropped)
    forward.check("clean")
