"""The loop on a small real handoff: what a step does, and what the guard makes of trouble."""

import math

import pytest
import torch
from small_handoff import VOCABULARY, random_model, write_model
from small_training import ALONE, losses, new_job, run, train

from downstream.load_model import load_model
from downstream.parallel import World
from downstream.training_loop import Training
from pipeline.errors import InputError, StageError


def weights(training):
    return torch.cat([p.detach().flatten() for p in training.model.parameters()])


def poisoned(monkeypatch, is_bad):
    """Make the loss of some steps no number, so that their gradients poison the weights."""
    seen, real = [], Training._train_step

    def step_with_poison(self, step, ids_BT):
        if is_bad(self.batches.turn_of(step)):
            seen.append(step)
            with torch.no_grad():
                next(self.model.parameters()).fill_(math.nan)
        return real(self, step, ids_BT)

    monkeypatch.setattr(Training, "_train_step", step_with_poison)
    return seen


def test_micro_batches_add_up_to_the_same_gradient(bench):
    whole = run(new_job(bench, "whole", steps=4, sequences_per_micro_batch=None))
    parts = run(new_job(bench, "parts", steps=4, sequences_per_micro_batch=3))
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-5)
    norms = [[r["gradient_norm"] for r in t.metrics.rows()] for t in (whole, parts)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_attention_stays_within_documents_unless_it_is_switched_off(bench):
    long = {"steps": 2, "sequence_tokens": 1_024, "sequences_per_step": 2}
    masked = run(new_job(bench, "masked", **long))
    open_ = run(new_job(bench, "open", mask_documents=False, **long))
    assert losses(masked)[0] != losses(open_)[0]
    assert losses(masked)[0] == pytest.approx(losses(open_)[0], abs=0.05)


def test_a_window_that_poisons_the_weights_is_left_out(bench, monkeypatch):
    seen = poisoned(monkeypatch, lambda turn: turn == (False, 9))
    training = run(new_job(bench, validation_bytes=None))
    assert seen == [9]  # read once, and never again
    (rollback,) = training.guard.rollbacks
    assert (rollback["step"], rollback["rolled_back_to_step"]) == (9, 7)
    assert "became nan" in rollback["reason"]
    assert training.batches.skipped == [(False, 9)]
    rows = training.metrics.rows()
    assert [row["step"] for row in rows] == list(range(30))
    assert all(math.isfinite(row["loss_nats"]) for row in rows)
    assert torch.isfinite(weights(training)).all()


def test_a_rollback_leaves_what_a_training_without_that_window_leaves(bench, monkeypatch):
    with monkeypatch.context() as patch:
        poisoned(patch, lambda turn: turn == (False, 9))
        rolled_back = run(new_job(bench, "rolled-back", validation_bytes=None))
    clean = Training(new_job(bench, "clean", validation_bytes=None), ALONE)
    clean.batches.skip([9])
    clean.run(lambda *step, **note: None)
    assert losses(rolled_back) == losses(clean)
    assert torch.equal(weights(rolled_back), weights(clean))


def test_trouble_that_comes_back_leaves_out_all_since_the_checkpoint(bench, monkeypatch):
    seen = poisoned(monkeypatch, lambda turn: turn[1] in {9, 10})
    training = run(new_job(bench, validation_bytes=None))
    assert seen == [9, 10, 9]  # a step is judged when the next has begun
    assert [r["skipped_batches"] for r in training.guard.rollbacks] == [1, 3]
    assert training.batches.skipped == [(False, turn) for turn in (9, 7, 8, 10)]


@pytest.mark.parametrize(
    "optimizer",
    [
        {"adamw_learning_rate": 1.0, "muon_learning_rate": 1.0},  # as high as a recipe may ask
        {"matrices": "adamw", "adamw_learning_rate": 1.0},
    ],
)
def test_too_high_a_rate_stops_with_a_cure(bench, optimizer):
    job = new_job(bench, optimizer=optimizer, warmup_share=0, guard={"max_tries": 2})
    cure = r"train: .* at step \d+, again after 2 rollbacks; lower train\.optimizer's learning"
    with pytest.raises(StageError, match=cure):
        run(job)


def test_it_goes_on_from_a_model_directory(bench, tmp_path):
    write_model(tmp_path / "first", random_model(hidden=64))
    still = {"muon_learning_rate": 1e-12, "adamw_learning_rate": 1e-12}
    job = new_job(bench, steps=2, optimizer=still, initial=tmp_path / "first")
    train(job)
    before, after = load_model(tmp_path / "first"), load_model(job.folder)
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.allclose(old, new, atol=1e-6), name


def test_a_model_of_another_tokenizer_is_refused(bench, tmp_path):
    first = tmp_path / "first"
    write_model(first, random_model(hidden=64))
    tokenizer = first / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"merges":', '"merges" :', 1))
    job = new_job(bench, steps=2, initial=first)
    Training(job, ALONE)  # how it is written does not matter
    text = tokenizer.read_text()
    at = text.index('"vocab"')
    tokenizer.write_text(text[:at] + text[at:].replace('"!"', '"¡¡"', 1))
    with pytest.raises(InputError, match=r"train\.initial .*first has another tokenizer"):
        Training(job, ALONE)


def test_it_learns_from_a_teacher_too(bench, tmp_path):
    write_model(tmp_path / "teacher", random_model(hidden=64))
    teacher = {"teacher": tmp_path / "teacher", "share": 1.0}
    alone = run(new_job(bench, "alone"))
    taught = run(new_job(bench, "taught", distillation=teacher))
    assert taught.teacher.model.embed_tokens.weight.requires_grad is False
    divergence = losses(taught)
    assert divergence[-1] < 0.8 * divergence[0]
    assert losses(alone)[:3] != divergence[:3]


def test_the_last_steps_bear_the_rounding_and_it_is_saved(bench):
    job = new_job(bench, quantization_aware={"type": "Q4_0", "from_share": 0.7})
    plain = run(new_job(bench, "plain"))
    training = run(job)
    assert losses(training)[:21] == losses(plain)[:21]
    assert losses(training)[21] != losses(plain)[21]
    train(job)  # from its last checkpoint
    row = load_model(job.folder).layers[0].mlp.up_proj.weight.detach()[0, :32]
    scale = row.abs().max() / 8
    assert torch.allclose(row / scale, (row / scale).round(), atol=0.01)


def test_muon_and_a_narrow_base_scale_the_first_weights(bench):
    plain = Training(new_job(bench, "plain"), ALONE)
    scaled = Training(new_job(bench, "scaled", optimizer={"mup_base_hidden": 16}), ALONE)
    ratio = [
        float(b.detach().std() / a.detach().std())
        for a, b in zip(plain.model.layers.parameters(), scaled.model.layers.parameters(),
                        strict=True)
        if a.ndim == 2
    ]  # fmt: skip
    assert ratio == pytest.approx([0.5] * len(ratio))


def test_the_vocabulary_sets_what_a_blind_guess_is(bench):
    assert Training(new_job(bench), ALONE).guard.blind_nats == math.log(VOCABULARY)


def test_a_quantized_type_that_cannot_be_is_refused_before_a_step(bench):
    with pytest.raises(InputError, match="fake quantization to 'Q9_9'"):
        Training(new_job(bench, quantization_aware={"type": "Q9_9"}), ALONE)


def test_all_processes_look_for_a_checkpoint_before_the_first_writes_one(bench):
    job, found = new_job(bench, steps=2), []

    class Watched(World):
        def wait(self):
            found.append(job.checkpoint.exists())

    run(job, Watched(0, 1, ALONE.device))
    assert found[:2] == [False, True]  # the second time it has just been written


def test_a_model_that_saw_longer_sequences_says_so(bench, tmp_path):
    write_model(tmp_path / "first", random_model(hidden=64))  # of 128 tokens
    job = new_job(bench, steps=2, initial=tmp_path / "first", sequence_tokens=160)
    train(job)
    assert load_model(job.folder).shape.context_tokens == 160


def test_another_first_model_under_the_same_name_is_another_training(bench, tmp_path):
    plans = []
    for seed in (0, 1):
        write_model(tmp_path / "first", random_model(hidden=64, seed=seed))
        plans.append(new_job(bench, initial=tmp_path / "first").plan)
    assert plans[0] != plans[1]
