"""Stage 11 on a small real handoff: it learns, resumes to the same bytes, refuses what is wrong.

What the loop does within a model stands in test_training_loop.py and test_resume.py.
"""

import json
import signal
import subprocess
import sys
import textwrap
from itertools import pairwise

import pytest
from pydantic import ValidationError
from small_handoff import SECTIONS, put_handoff, random_model, write_model

from conftest import Bench
from downstream.batches import Batches
from downstream.optimizers import OptimizerConfig
from downstream.samples import SamplesConfig
from downstream.schedule import Schedule
from downstream.shape import count_parameters
from downstream.train import STAGE, DistillationConfig, TrainConfig
from pipeline.errors import InputError, StageError

ARMS = ("raw", "kept+synthetic")
TINY = TrainConfig(
    arms=ARMS, hidden=64, layers=1, heads=2, kv_heads=1, feed_forward=64, sequence_tokens=32,
    steps=30, threads=1, checkpoint_steps=7, sequences_per_micro_batch=3, validation_bytes=4_000,
    validation_steps=10, samples=SamplesConfig(prompts=2, prompt_tokens=8, new_tokens=4),
)  # fmt: skip


def train(bench, config=TINY, **options):
    put_handoff(bench)
    return bench.make(STAGE, *SECTIONS, config, **options)


def changed(**fields):
    return TINY.model_copy(update=fields)


def metrics(sealed, arm="raw"):
    lines = sealed.file(f"{arm}/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """An undisturbed training, and meanwhile one in a process that is killed in its second arm."""
    killed = Bench(tmp_path_factory.mktemp("killed") / "run")
    put_handoff(killed)
    script = textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        import test_train
        from test_train import Batches, Bench
        real, seen = Batches.at, []
        def at(self, step):
            seen.append(step)
            if seen.count(17) == 2:  # in the second arm, three steps after a checkpoint
                print("here", flush=True)
                time.sleep(200)
            return real(self, step)
        Batches.at = at
        test_train.train(Bench(Path({str(killed.run)!r})))
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    with process:
        trained = train(Bench(tmp_path_factory.mktemp("trained") / "run"))
        assert process.stdout.readline() == b"here\n"
        process.send_signal(signal.SIGKILL)
    return trained, killed


@pytest.fixture(scope="module")
def trained(runs):
    return runs[0]


@pytest.mark.parametrize("arm", ARMS)
def test_the_loss_falls_and_every_step_is_a_row(trained, arm):
    rows = metrics(trained, arm)
    losses = [row["loss_nats"] for row in rows]
    assert [row["step"] for row in rows] == list(range(30))
    assert losses[0] == pytest.approx(5.99, abs=0.1)  # a blind guess among 400 tokens
    assert sum(losses[-5:]) / 5 < losses[0] - 0.7
    facts = trained.facts["arms"][arm]
    assert facts["loss_first_nats"] == pytest.approx(sum(losses[:5]) / 5, abs=1e-4)
    assert facts["loss_last_nats"] == pytest.approx(sum(losses[-20:]) / 20, abs=1e-4)
    assert (facts["steps"], facts["tokens"]) == (30, 30 * 8 * 32)
    assert [row["tokens"] for row in rows] == [(step + 1) * 8 * 32 for step in range(30)]


def test_held_out_text_is_scored_now_and_then_and_at_the_end(trained):
    rows = metrics(trained)
    scored = {row["step"]: row["bits_per_byte"] for row in rows if "bits_per_byte" in row}
    assert list(scored) == [9, 19, 29]
    assert scored[29] < scored[9] < 8
    assert trained.facts["arms"]["raw"]["bits_per_byte"] == scored[29]


def test_speeds_stand_apart_from_what_two_runs_share(trained):
    files = trained.manifest.files
    assert all("_per_s" not in name for row in metrics(trained) for name in row)
    lines = trained.file("raw/timing.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(30))
    assert all(row["tokens_per_s"] > 0 and row["mfu"] is None for row in rows)
    assert files["raw/timing.jsonl"].volatile
    assert files["raw/timing.json"].volatile
    assert not files["raw/metrics.jsonl"].volatile


def test_arms_are_alike_in_all_but_the_data(trained):
    raw, other = (metrics(trained, arm) for arm in ARMS)
    assert [r["muon_learning_rate"] for r in raw] == [r["muon_learning_rate"] for r in other]
    assert [r["loss_nats"] for r in raw] != [r["loss_nats"] for r in other]
    configs = [trained.file(f"{arm}/config.json").read_bytes() for arm in ARMS]
    assert configs[0] == configs[1]


def test_killed_between_checkpoints_it_ends_with_the_same_bytes(runs, monkeypatch):
    trained, killed = runs
    assert not (killed.run / "11-train").exists()
    read, real = [], Batches.at
    monkeypatch.setattr(Batches, "at", lambda self, step: read.append(step) or real(self, step))
    resumed = killed.make(STAGE, *SECTIONS, TINY)
    assert read == list(range(14, 30))  # the first arm not again, the second from its checkpoint
    for arm in ARMS:
        for name in ("model.safetensors", "metrics.jsonl", "samples.md", "loss.png"):
            undisturbed = trained.file(f"{arm}/{name}").read_bytes()
            assert resumed.file(f"{arm}/{name}").read_bytes() == undisturbed
    assert resumed.manifest.outputs_sha256 == trained.manifest.outputs_sha256


def test_how_often_a_checkpoint_is_written_changes_nothing_where_nothing_goes_wrong(trained, bench):
    sealed = train(bench, changed(checkpoint_steps=30))
    assert sealed.manifest.outputs_sha256 == trained.manifest.outputs_sha256


def test_several_seeds_of_an_arm_are_several_models(trained, bench):
    sealed = train(bench, changed(arms=("raw",), steps=2, seeds=3))
    assert list(sealed.facts["arms"]) == ["raw", "raw@8", "raw@9"]
    assert len({metrics(sealed, name)[0]["loss_nats"] for name in sealed.facts["arms"]}) == 3
    assert metrics(sealed)[0]["loss_nats"] == metrics(trained)[0]["loss_nats"]
    assert sealed.ledger.kept == 3


def test_another_seed_trains_another_model(trained, bench):
    other = train(bench, changed(arms=("raw",), steps=2), seed=8)
    assert metrics(other)[0]["loss_nats"] != metrics(trained)[0]["loss_nats"]


def test_the_rate_moves_the_weights(bench):
    first, second = [], []
    for warmup_share in (0, 0.49):
        sealed = train(bench, changed(arms=("raw",), steps=6, warmup_share=warmup_share))
        losses = [row["loss_nats"] for row in metrics(sealed)]
        first.append(losses[0])
        second.append(losses[1])
    assert first[0] == first[1]
    assert second[0] < second[1]  # a step that warms up goes less far


def test_a_run_of_two_steps_tells_its_losses(bench):
    sealed = train(bench, changed(arms=("raw",), steps=2))
    losses = [row["loss_nats"] for row in metrics(sealed)]
    for name in ("loss_first_nats", "loss_last_nats"):
        assert sealed.facts["arms"]["raw"][name] == pytest.approx(sum(losses) / 2, abs=1e-4)


def test_without_arms_named_all_are_trained(bench):
    sealed = train(bench, changed(arms=None, steps=2))
    assert sorted(sealed.facts["arms"]) == ["kept", "kept+synthetic", "random", "raw"]
    assert len(sealed.files("*/model.safetensors")) == sealed.ledger.kept == 4


def test_an_unknown_arm_is_refused_with_the_known_ones(bench):
    with pytest.raises(InputError, match=r"'cooked'; .*raw, kept, kept\+synthetic") as refused:
        train(bench, changed(arms=("raw", "cooked")))
    assert refused.value.exit_code == 2


def test_a_loss_that_runs_away_stops_the_stage_with_a_cure(bench):
    wild = OptimizerConfig(matrices="adamw", adamw_learning_rate=1.0)
    with pytest.raises(StageError, match=r"train: the .* at step \d+, again after 3 rollbacks;"):
        train(bench, changed(optimizer=wild, warmup_share=0))
    assert not (bench.run / "11-train").exists()


@pytest.mark.parametrize("field", ["initial", "distillation"])
def test_a_folder_that_is_no_model_is_refused_before_anything_runs(bench, tmp_path, field):
    value = {"initial": tmp_path, "distillation": DistillationConfig(teacher=tmp_path)}[field]
    with pytest.raises(InputError, match=rf"train\.{field}.* is no model directory"):
        train(bench, changed(**{field: value}))


def test_a_changed_model_to_go_on_from_is_another_training(bench, tmp_path):
    write_model(tmp_path / "first", random_model(hidden=64))
    config = TrainConfig(arms=("raw",), initial=tmp_path / "first", steps=2, threads=1,
                         samples=None)  # fmt: skip
    one = train(bench, config)
    write_model(tmp_path / "first", random_model(hidden=64, seed=1))
    other = train(bench, config)
    assert one.manifest.fingerprint != other.manifest.fingerprint
    assert one.facts["arms"]["raw"] != other.facts["arms"]["raw"]


def test_a_changed_byte_in_a_shard_is_seen_before_it_is_read(bench):
    path, handoff = put_handoff(bench)
    shard = path.parent / handoff.arms[0].base[0].path
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(StageError, match="is not the file that was handed over"):
        bench.make(STAGE, *SECTIONS, TINY)


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden": 100, "heads": 3},
        {"heads": 4, "kv_heads": 3},
        {"heads": 2, "kv_heads": 4},
        {"hidden": 66, "heads": 2, "kv_heads": 2},  # a head of 33 has no halves
        {"steps": 1},
        {"decay_share": 0},
        {"optimizer": {"muon_learning_rate": 2}},
        {"optimizer": {"adamw_learning_rate": float("nan")}},
        {"dropout": 0.1},
        {"preset": "3M"},
        {"preset": "2M", "layers": 3},
        {"preset": "2M", "initial": "model"},
        {"initial": "model", "hidden": 128},
        {"steps": 500, "tokens_per_parameter": 20},
        {"decay": "step"},
        {"distillation": {"teacher": "model", "share": 0}},
        {"quantization_aware": {"from_share": 1}},
    ],
)
def test_a_shape_or_rate_that_cannot_be_is_refused(fields):
    with pytest.raises(ValidationError):
        TrainConfig(**fields)


def test_a_preset_settles_the_sizes_and_tokens_per_parameter_the_steps():
    config = TrainConfig(preset="1M", tokens_per_parameter=20, sequences_per_step=16)
    shape = config.shape(2_048)
    assert (shape.hidden, shape.layers, shape.context_tokens) == (128, 4, 256)
    parameters = count_parameters(shape)
    steps = config.schedule(parameters).steps
    assert 0 <= steps * config.tokens_per_step - 20 * parameters < config.tokens_per_step


@pytest.mark.parametrize("decay", ["linear", "cosine", "one_minus_sqrt"])
@pytest.mark.parametrize(
    ("steps", "warmup_share", "decay_share"),
    [(2, 0, 0.3), (2, 0.4, 0.99), (30, 0.04, 0.3), (500, 0.1, 0.01), (101, 0, 0.5)],
)
def test_the_rate_warms_up_stays_and_decays_on_the_annealing_data(
    steps, warmup_share, decay_share, decay
):
    config = Schedule(steps, warmup_share, decay_share, decay)
    rates = [config.rate_at(step) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    late = rates[steps - config.decay_steps - 1 :]
    assert all(after < before for before, after in pairwise(late))
