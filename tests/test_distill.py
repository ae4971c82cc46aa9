"""Distillation: the loss and its gradients, what is never whole, and what it is good for."""

import json
import random

import pytest
import torch
from tiny_llama import END_OF_TEXT, VOCABULARY, tiny_model, tokenizer_file, write_tiny
from tokenizers import Tokenizer
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from downstream import cross_entropy
from downstream.distill import Teacher
from downstream.model import Llama
from downstream.shape import Shape
from pipeline.errors import InputError

ROWS, TOKENS = 2, 40


@pytest.fixture
def teacher(tmp_path):
    return Teacher(write_tiny(tmp_path / "teacher", _sharp(seed=1, hidden=64)))


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of a few tokens, the last one shorter."""
    monkeypatch.setattr(cross_entropy, "SMALLEST_CHUNK", 7)
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", {"cpu": 7 * VOCABULARY})


def _sharp(**sizes):
    """A model whose weights are so large that its distributions are not flat."""
    model = tiny_model(**sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(6)
    return model


def _ids(seed=0, rows=ROWS):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (rows, TOKENS + 1), generator=generator)
    ids[:, 17] = END_OF_TEXT
    return ids


def _plain(student, teacher, ids, share, temperature):
    logits = student(ids[:, :-1], END_OF_TEXT).flatten(0, 1)
    with torch.no_grad():
        taught = teacher.model(ids[:, :-1], END_OF_TEXT).flatten(0, 1)
    hard = functional.cross_entropy(logits, ids[:, 1:].flatten())
    soft = functional.kl_div(
        (logits / temperature).log_softmax(-1), (taught / temperature).log_softmax(-1),
        log_target=True, reduction="batchmean",
    )  # fmt: skip
    return (1 - share) * hard + share * temperature**2 * soft


@pytest.mark.parametrize(("share", "temperature"), [(0.0, 1.0), (0.4, 2.0), (1.0, 1.0), (1.0, 3.0)])
def test_loss_and_gradients_are_those_of_the_plain_computation(
    teacher, small_chunks, share, temperature
):
    student, ids = _sharp(seed=2), _ids()
    plain = _plain(student, teacher, ids, share, temperature)
    wanted = torch.autograd.grad(plain, list(student.parameters()))
    loss = teacher.loss_nats(student, ids, END_OF_TEXT, share, temperature)
    found = torch.autograd.grad(loss, list(student.parameters()))
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    for (name, _), a, b in zip(student.named_parameters(), wanted, found, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6), name


def test_without_a_share_it_is_the_plain_loss(teacher):
    student, ids = _sharp(seed=2), _ids()
    loss = teacher.loss_nats(student, ids, END_OF_TEXT, 0.0, 2.0)
    assert loss.item() == pytest.approx(student.loss_nats(ids, END_OF_TEXT).item(), rel=1e-6)


class _Largest(TorchDispatchMode):
    """Sees the size of everything that is made."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def test_no_logits_are_ever_whole(teacher, small_chunks):
    student, ids = _sharp(seed=2), _ids(rows=4)
    weights = max(p.numel() for m in (student, teacher.model) for p in m.parameters())
    with _Largest() as seen:
        teacher.loss_nats(student, ids, END_OF_TEXT, 0.5, 2.0).backward()
    assert seen.largest <= max(weights, 7 * VOCABULARY) < 4 * TOKENS * VOCABULARY


def test_the_teacher_learns_nothing_and_keeps_no_graph(teacher):
    before = [p.clone() for p in teacher.model.parameters()]
    teacher.loss_nats(_sharp(seed=2), _ids(), END_OF_TEXT, 0.5, 2.0).backward()
    for old, new in zip(before, teacher.model.parameters(), strict=True):
        assert new.grad is None
        assert torch.equal(old, new)


def _kl_nats(teacher, student, ids):
    with torch.no_grad():
        p, q = (m(ids[:, :-1], END_OF_TEXT).log_softmax(-1) for m in (teacher.model, student))
    return float((p.exp() * (p - q)).sum(-1).mean())


def _sums(count, seed):
    """Rows of tokens of sums in words, each of its own length, closed by the end of text."""
    tokenizer, rng = Tokenizer.from_file(str(tokenizer_file())), random.Random(seed)
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight"]
    ids = []
    while len(ids) < count * (TOKENS + 1):
        a, b = rng.randrange(5), rng.randrange(5)
        text = f"What is {words[a]} and {words[b]}? It is {words[a + b]}."
        ids += [*tokenizer.encode(text).ids, END_OF_TEXT]
    return torch.tensor(ids[: count * (TOKENS + 1)]).view(count, TOKENS + 1)


def _train(model, loss_nats, steps):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(steps):
        loss_nats(model).backward()
        optimizer.step()
        optimizer.zero_grad()


def test_a_student_gets_nearer_to_its_trained_teacher_than_by_the_text_alone(tmp_path):
    text, few, held_out = _sums(32, seed=0), _sums(4, seed=1), _sums(8, seed=2)
    large = tiny_model(seed=1, hidden=64)
    _train(large, lambda model: model.loss_nats(text, END_OF_TEXT), 40)
    teacher = Teacher(write_tiny(tmp_path / "teacher", large))
    divergence_nats = {}
    for share in (0.0, 0.9):
        student = tiny_model(seed=5)
        start = _kl_nats(teacher, student, held_out)
        _train(student, lambda m, s=share: teacher.loss_nats(m, few, END_OF_TEXT, s, 1.0), 40)
        divergence_nats[share] = _kl_nats(teacher, student, held_out)
    assert divergence_nats[0.9] < 0.7 * divergence_nats[0.0] < 0.7 * start


def test_a_teacher_of_other_tokens_is_refused(teacher, tmp_path):
    smaller = Llama(Shape(300, 32, 1, 4, 2, 64, 128)).initialize(0)
    with pytest.raises(InputError, match="has 384 tokens, the student 300"):
        teacher.loss_nats(smaller, _ids() % 300, END_OF_TEXT, 0.5, 1.0)
    teacher.check_tokenizer(tokenizer_file())
    record = json.loads(tokenizer_file().read_text())
    record["model"]["merges"].pop()
    (tmp_path / "other.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="another tokenizer"):
        teacher.check_tokenizer(tmp_path / "other.json")
    with pytest.raises(InputError, match="not a model directory"):
        Teacher(tmp_path)
