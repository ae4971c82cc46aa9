"""Shards that count upwards show by their values which windows a step reads."""

from itertools import chain

import numpy as np
import pytest
import torch
from small_handoff import put_handoff

from downstream.batches import Batches
from pipeline.handoff_record import Arm, Shard

TOKENS, SEQUENCES = 8, 4
LATE = 30_000  # where the annealing shards of these tests start to count


def shards(folder, name, tokens, dtype, cut_at=()):
    """Write token ids as shards, cut at the given places."""
    found = []
    for i, part in enumerate(np.split(np.asarray(tokens), cut_at)):
        path = folder / f"{name}-{i}.bin"
        path.write_bytes(part.astype(dtype).tobytes())
        found.append(Shard(path=path.name, sha256="", bytes=path.stat().st_size, tokens=len(part)))
    return found


@pytest.fixture
def make(bench, tmp_path):
    """Batches over shards of these tests, in the form of a real handoff."""
    _, handoff = put_handoff(bench)

    def make(base, anneal=(LATE,), name="raw", seed=7, base_steps=1_000, dtype="<u2", **cut):
        given = handoff.arms[0].model_dump() | {
            "name": name,
            "base": shards(tmp_path, f"{name}-base", base, dtype, **cut),
            "anneal": shards(tmp_path, f"{name}-anneal", anneal, dtype),
        }
        record = handoff.model_copy(update={"token_dtype": f"uint{8 * int(dtype[-1])}"})
        shape = (SEQUENCES, TOKENS)
        return Batches(tmp_path, record, Arm(**given), seed, shape, base_steps)

    return make


def windows(batches, steps, first=0):
    """Where the windows that these steps read begin, as a window's number."""
    found = chain.from_iterable(batches.at(step)[:, 0].tolist() for step in steps)
    return [(begin - first) // TOKENS for begin in found]


def test_a_step_reads_the_same_whatever_was_read_before(make):
    batches, fresh = make(range(161)), make(range(161))
    in_order = [batches.at(step) for step in range(12)]
    for step in (11, 3, 3, 0, 7):
        assert torch.equal(fresh.at(step), in_order[step])
    assert in_order[0].shape == (SEQUENCES, TOKENS + 1)
    assert in_order[0].dtype == torch.int64
    assert not torch.equal(in_order[0], in_order[5])  # the second epoch has an order of its own


@pytest.mark.parametrize("count", [161, 168, 8 * 10 + 1, 8 * 7 + 3, 9])
def test_every_window_is_read_once_an_epoch(make, count):
    there = (count - 1) // TOKENS
    read = windows(make(range(count)), range(3 * there))  # four windows a step: twelve epochs
    for begin in range(0, len(read), there):
        assert sorted(read[begin : begin + there]) == list(range(there))


def test_every_token_but_the_first_is_a_target_once_an_epoch(make):
    batches = make(range(161))
    rows = torch.cat([batches.at(step) for step in range(5)])
    inputs, targets = rows[:, :-1], rows[:, 1:]
    assert torch.equal(targets, inputs + 1)  # the shards count, so the next token is one more
    assert sorted(targets.flatten().tolist()) == list(range(1, 161))
    assert sorted(inputs.flatten().tolist()) == list(range(160))


def test_base_is_read_until_the_rate_decays_then_anneal_from_its_first_epoch(make):
    batches = make(range(161), range(LATE, LATE + 65), base_steps=5)
    assert all((batches.at(step) < 161).all() for step in range(5))
    assert all((batches.at(step) >= LATE).all() for step in range(5, 11))
    assert sorted(windows(batches, [5, 6], LATE)) == list(range(8))


def test_the_seed_decides_the_order(make):
    assert windows(make(range(161)), range(5)) != windows(make(range(161), seed=8), range(5))


def test_arms_read_in_the_same_order_of_windows(make):
    one = make(range(161), range(LATE, LATE + 65), base_steps=6)
    other = make(range(500, 661), range(LATE + 500, LATE + 565), "kept", base_steps=6)
    for step in range(10):
        assert torch.equal(other.at(step) - 500, one.at(step))


def test_arms_of_a_real_handoff_hold_other_tokens_in_equal_number(bench):
    path, handoff = put_handoff(bench)
    arms = {arm.name: arm for arm in handoff.arms}
    both = [
        Batches(path.parent, handoff, arms[name], 7, (SEQUENCES, TOKENS), 10)
        for name in ("raw", "kept+synthetic")
    ]
    width = np.dtype(handoff.token_dtype).itemsize
    for part in ("base", "anneal"):
        sizes = {sum(s.bytes // width for s in getattr(arm, part)) for arm in arms.values()}
        assert len(sizes) == 1
    for step in (0, 10):
        raw, kept = (batches.at(step) for batches in both)
        assert not torch.equal(raw, kept)
        assert max(raw.max(), kept.max()) < handoff.vocabulary


def test_windows_run_on_from_shard_to_shard(make):
    whole, cut = make(range(161)), make(range(161), name="cut", cut_at=(5, 77, 78))
    for step in range(10):
        assert torch.equal(whole.at(step), cut.at(step))


@pytest.mark.parametrize(("dtype", "token"), [("<u2", 65_535), ("<u4", 70_000)])
def test_large_ids_keep_their_value(make, dtype, token):
    assert make([token] * 20, [token], dtype=dtype).at(0).unique().tolist() == [token]


def test_a_part_shorter_than_a_window_goes_round(make):
    rows = make(range(161), [LATE, LATE + 1, LATE + 2], base_steps=1).at(1)
    assert rows.tolist() == [[LATE + i % 3 for i in range(TOKENS + 1)]] * SEQUENCES
