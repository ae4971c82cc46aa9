"""Which windows a step reads: every token once an epoch, alike for one process and for several."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from downstream.batches import Batches, Portion, Stream, read_ahead
from pipeline.errors import InputError
from pipeline.handoff_record import HandedFile, Shard

CPU = torch.device("cpu")


def write_shards(folder, parts, dtype="uint16"):
    """Shards of these ids, as the handoff names them."""
    shards = []
    for i, ids in enumerate(parts):
        path = folder / f"{i:05}.ds"
        data = np.asarray(ids, dtype).tobytes()
        path.write_bytes(data)
        index = HandedFile(path=f"{path.name}.index", sha256="", bytes=0)
        shards.append(
            Shard(path=path.name, sha256="", bytes=len(data), tokens=len(ids), index=index)
        )
    return shards


def batches(folder, base=1_000, anneal=300, sequences=4, rank=0, ranks=1, seed=5, base_steps=10):
    """Batches of an arm whose ids are their own places: base from 0, anneal from 10,000."""
    parts = write_shards(folder, [range(base // 3), range(base // 3, base)])
    (folder / "late").mkdir(exist_ok=True)
    late = write_shards(folder / "late", [range(10_000, 10_000 + anneal)])
    late = [shard.model_copy(update={"path": f"late/{shard.path}"}) for shard in late]
    arm = SimpleNamespace(name="kept", base=parts, anneal=late)
    handoff = SimpleNamespace(token_dtype="uint16")
    portion = Portion(sequences, 16, rank, ranks)
    return Batches(folder, handoff, arm, seed, portion, base_steps)


@given(
    st.lists(st.lists(st.integers(0, 65_535), max_size=9), min_size=1, max_size=6),
    st.integers(0, 60),
    st.integers(1, 70),
)
def test_a_stream_reads_across_shards_and_round(tmp_path_factory, parts, begin, count):
    row = [i for part in parts for i in part]
    folder = tmp_path_factory.mktemp("stream")
    stream = Stream(folder, write_shards(folder, parts), "uint16")
    assert len(stream) == len(row)
    if row:
        expected = [row[(begin + i) % len(row)] for i in range(count)]
        assert stream.read(begin, count).tolist() == expected


def test_ids_of_32_bits_are_read_as_they_are(tmp_path):
    shards = write_shards(tmp_path, [[70_000, 1, 4_000_000_000]], "uint32")
    assert Stream(tmp_path, shards, "uint32").read(0, 3).tolist() == [70_000, 1, 4_000_000_000]


def test_an_epoch_reads_every_window_once(tmp_path):
    read = batches(tmp_path, base_steps=100)
    windows = (1_000 - 1) // 16
    seen = torch.cat([read.at(step) for step in range(windows // 4 + 1)])[:windows]
    assert (seen.diff(dim=1) == 1).all()  # each is a piece of the stream
    starts = seen[:, 0].sort().values
    assert (starts.diff() == 16).all()
    assert int(starts[0]) <= 1_000 - 1 - windows * 16  # what is left out is less than a window
    assert not torch.equal(starts, seen[:, 0])  # in another order than they stand


def test_the_next_epoch_reads_in_another_order(tmp_path):
    read = batches(tmp_path, base=16 * 8 + 1, base_steps=100)
    first = torch.cat([read.at(0), read.at(1)])
    second = torch.cat([read.at(2), read.at(3)])
    assert sorted(first[:, 0].tolist()) == sorted(second[:, 0].tolist())
    assert first.tolist() != second.tolist()


def test_anneal_is_read_when_the_rate_decays(tmp_path):
    read = batches(tmp_path)
    assert int(read.at(9).max()) < 10_000 <= int(read.at(10).min())
    assert (read.turn_of(9), read.turn_of(10)) == ((False, 9), (True, 0))


@pytest.mark.parametrize("ranks", [2, 4])
def test_several_processes_share_the_windows_of_the_step(tmp_path, ranks):
    alone = batches(tmp_path)
    shared = [batches(tmp_path, rank=rank, ranks=ranks) for rank in range(ranks)]
    for step in (0, 3, 9, 10, 11):
        together = torch.cat([one.at(step) for one in shared])
        assert torch.equal(together, alone.at(step))


def test_sequences_that_cannot_be_shared_are_refused(tmp_path):
    with pytest.raises(InputError, match="4 sequences a step cannot be shared by 3 ranks"):
        batches(tmp_path, ranks=3)


def test_skipped_batches_are_never_read_again(tmp_path):
    plain, read = batches(tmp_path), batches(tmp_path)
    read.skip([3, 4])
    assert [read.turn_of(step)[1] for step in range(7)] == [0, 1, 2, 5, 6, 7, 8]
    read.skip([3])  # which reads what was the sixth batch
    assert [read.turn_of(step)[1] for step in range(7)] == [0, 1, 2, 6, 7, 8, 9]
    assert torch.equal(read.at(3), plain.at(6))
    assert torch.equal(read.at(10), plain.at(10))  # those of the other part are as they were


def test_a_part_shorter_than_a_window_goes_round(tmp_path):
    read = batches(tmp_path, anneal=5)
    assert read.at(10)[0].tolist() == [10_000 + i % 5 for i in range(17)]


def test_reading_ahead_changes_neither_order_nor_ids(tmp_path):
    read = batches(tmp_path)
    seen = list(read_ahead(read.at, range(8, 12), CPU))
    assert [step for step, _ in seen] == [8, 9, 10, 11]
    assert all(torch.equal(ids, read.at(step)) for step, ids in seen)


@pytest.mark.gpu
def test_a_thread_reads_ahead_for_an_accelerator(tmp_path):
    read = batches(tmp_path)
    seen = list(read_ahead(read.at, range(20), torch.device("cuda")))
    assert [step for step, _ in seen] == list(range(20))
    assert all(torch.equal(ids.cpu(), read.at(step)) for step, ids in seen)
    assert not list(read_ahead(read.at, range(3, 3), torch.device("cuda")))


@pytest.mark.parametrize(("part", "sizes"), [("base", {"base": 0}), ("anneal", {"anneal": 0})])
def test_a_part_without_tokens_is_refused_before_a_step(tmp_path, part, sizes):
    with pytest.raises(InputError, match=f"arm kept has no tokens in {part}"):
        batches(tmp_path, **sizes)
