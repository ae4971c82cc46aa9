"""What a training writes down: cut and continued exactly, no figure where it would mislead."""

import json
from pathlib import Path

import pytest
from PIL import Image

from downstream.metrics import Metrics, peak_flops_of
from pipeline.errors import StageError


def metrics(folder, **fields):
    return Metrics(folder, "kept", 100, 2_048, 1e12, **fields)


def row(step, **fields):
    return {"step": step, "loss_nats": 5.0 - step / 50, "gradient_norm": 1.0, **fields}


def timings(folder):
    return [json.loads(line) for line in (folder / "timing.jsonl").read_text().splitlines()]


def test_rows_are_cut_to_the_checkpoint_and_go_on(tmp_path):
    one = metrics(tmp_path)
    one.write(row(0))
    size = one.size_bytes()
    one.write(row(1))
    one.write(row(2))
    other = metrics(tmp_path)
    other.open_at(size)
    other.write(row(1, bits_per_byte=2.0))
    assert other.rows() == [row(0), row(1, bits_per_byte=2.0)]
    with pytest.raises(StageError, match="shorter than its checkpoint says"):
        other.open_at(other.size_bytes() + 1)


def test_the_line_that_a_person_watches_tells_loss_speed_and_time_left(tmp_path):
    one = metrics(tmp_path)
    one._began -= 10.0
    told = one.write(row(0))
    assert told.startswith("loss 5.000 nats, 20")
    assert " tokens/s, 0:16:" in told  # 99 steps of ten seconds
    assert one.tokens_per_s() == pytest.approx(204.8, rel=0.01)


def test_the_share_of_the_peak_is_null_where_no_peak_is_known(tmp_path):
    one = metrics(tmp_path)
    one.write(row(0))
    assert timings(tmp_path)[0]["mfu"] is None
    other = metrics(tmp_path, peak_flops=2 * 989e12)
    assert other.mfu(1e-3) == pytest.approx(1e15 / (2 * 989e12), abs=1e-4)
    other.write(row(1))
    assert timings(tmp_path)[1]["mfu"] > 0


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H200", 989e12), ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", None),
     ("NVIDIA GeForce RTX 4090", None), (None, None)],
)  # fmt: skip
def test_peaks_are_those_of_data_sheets(name, peak):
    assert peak_flops_of(name) == peak


def test_the_plot_is_drawn_from_the_rows_alone(tmp_path):
    for folder in (tmp_path / "a", tmp_path / "b"):
        one = metrics(folder)
        for step in range(5):
            one.write(row(step, **({"bits_per_byte": 3.0} if step == 4 else {})))
        one.close()
    plots = [(tmp_path / name / "loss.png").read_bytes() for name in "ab"]
    assert plots[0] == plots[1]
    image = Image.open(tmp_path / "a" / "loss.png")
    assert image.width > 600
    assert len(image.convert("RGB").getcolors(10_000)) > 20  # two colours of lines and words
    assert not Path(tmp_path / "a" / ".loss.png").exists()


def test_it_is_drawn_now_and_then_while_it_trains(tmp_path):
    one = metrics(tmp_path)
    one.write(row(0))
    assert not (tmp_path / "loss.png").exists()
    one._plotted -= 31.0
    one.write(row(1))
    assert (tmp_path / "loss.png").exists()


@pytest.mark.long
def test_tensorboard_reads_what_was_written(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    one = metrics(tmp_path, tensorboard=True)
    one.write(row(0))
    one.write(row(1, bits_per_byte=None))  # no held-out document fitted
    one.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.value for e in events.Scalars("loss_nats")] == pytest.approx([5.0, 4.98])
    assert {"gradient_norm", "tokens_per_s"} <= set(events.Tags()["scalars"])
