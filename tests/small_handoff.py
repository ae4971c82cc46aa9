"""A small real handoff for the stages downstream of it: this Python's own source, 400 tokens.

Only the documents and what earlier stages say of them are made by hand; the tokenizer, the shards,
the validation set and `handoff.json` come from the real stages 8 and 10, built once a session.
"""

import functools
import json
import shutil
import sysconfig
from pathlib import Path

import torch
from made_once import made_once

from conftest import Bench, document
from downstream.checkpoint import save_model
from downstream.model import Llama, Shape
from pipeline.arms import ARMS
from pipeline.handoff import STAGE as HANDOFF
from pipeline.handoff_record import open_handoff
from pipeline.ingest import IngestConfig
from pipeline.records import DOCUMENT, SCORE, write_table
from pipeline.sources import SourceConfig
from pipeline.splits import ValidationConfig
from pipeline.tokenize import STAGE as TOKENIZE
from pipeline.tokenize import TokenizeConfig

torch.set_num_threads(1)  # at these sizes threads wait for each other more than they work

VOCABULARY = 400
SECTIONS = (
    TokenizeConfig(vocabulary=VOCABULARY, budget_tokens=20_000, anneal_share=0.25,
                   validation_document_bytes=1_200),
    ValidationConfig(share=0.3, max_bytes=10_000),
    IngestConfig(sources=(SourceConfig(name="test", address="none", kind="code"),)),
)  # fmt: skip
ODD_TEXT = (  # mostly bytes that no token of the small vocabulary joins
    "Ça coûte 12 €, naïve façade; 面積は幅×高さ。 한국어 🙂👩\u200d🚀\n\n\tdef f(x):\n"
    "        return x['ключ']  # it's we'll 3.14\r\n  \x00 end"
)


@functools.cache
def documents():
    """Beginnings of standard modules; every third counts as kept, those of email as prose."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = [p for name in ("json", "email") for p in sorted((library / name).glob("*.py"))]
    kinds = {"json": "code", "email": "web"}
    return [
        document(text[:6_000], f"{p.parent.name}-{p.name}", kind=kinds[p.parent.name])
        for p in paths
        if (text := p.read_text())
    ]


@functools.cache
def chats():
    """Exercises and instruction pairs, as stage 6 seals them."""
    found = []
    for i in range(12):
        prompt = f'def add_{i}(n):\n    """Return n and {i} more."""'
        solution = f"{prompt}\n    return n + {i}"
        text = f"{solution}\n\n\nassert add_{i}(1) == {i + 1}\nassert add_{i}(0) == {i}\n"
        fields = {"source": "synthetic", "origin": "synthetic", "group": f"chat-{i}"}
        exercise = json.dumps({"task": "exercise", "prompt": prompt})
        found.append(document(text, f"exercise-{i}.py", metadata=exercise, **fields))
        messages = [{"role": "user", "content": f"What is {i} and {i}?"},
                    {"role": "assistant", "content": f"It is {2 * i}."}]  # fmt: skip
        told = "\n\n".join(f"{m['role'].title()}: {m['content']}" for m in messages)
        metadata = json.dumps({"task": "instruction", "messages": messages})
        found.append(document(f"{told}\n", f"pair-{i}", metadata=metadata, **fields))
    return found


def _write_arms(out):
    rows = documents()
    lessons = [
        document(f"Lesson {i}: {i} and {i} make {2 * i}, as {2 * i} is twice {i}.\n" * 8,
                 f"lesson-{i}", origin="synthetic")
        for i in range(20)
    ]  # fmt: skip
    arms = {"raw": rows, "kept": rows[::3], "kept+synthetic": [*rows[::3], *lessons, *chats()],
            "random": rows[1::3]}  # fmt: skip
    for arm in ARMS:
        write_table(out / "arms" / arm / "00000.parquet", arms[arm], DOCUMENT)


def _write_scores(out):
    rows = [
        {"doc_id": row["doc_id"], "score": 0.9 if i % 3 == 0 else 0.1, "expected_score": 2.0,
         "keep": i % 3 == 0}
        for i, row in enumerate(documents())
    ]  # fmt: skip
    write_table(out / "scores" / "00000.parquet", rows, SCORE)


def _put(bench):
    said = {"annotator": "rules of a stand-in", "annotator_is_llm": False, "rubrics": ["r@1#0"]}
    bench.put(3, "label", lambda out: None, said)
    bench.put(5, "apply-filter", _write_scores)
    bench.put(6, "synthesize", lambda out: None, {"writer": "templates of a stand-in"})
    bench.put(7, "decontaminate", _write_arms, {"hits": {"small": 0}})
    bench.stages.append(TOKENIZE)
    bench.put(9, "card", lambda out: (out / "README.md").write_text("# A\n"), {"title": "small"})


@functools.cache
def _sealed_once():
    return made_once("small-handoff", _make) / "run"


def _make(folder):
    bench = Bench(folder / "run")
    _put(bench)
    bench.make(HANDOFF, *SECTIONS)


def put_handoff(bench):
    """Seal a handoff before the stages to come; returns its path and record."""
    if not bench.run.exists():
        shutil.copytree(_sealed_once(), bench.run)
    _put(bench)
    sealed = bench.make(HANDOFF, *SECTIONS)
    bench.stages.append(HANDOFF)
    path = sealed.file("handoff.json")
    return path, open_handoff(path)


def random_model(hidden=256, layers=1, kv_heads=2, seed=0, **fields):
    """Weights so large that neither attention nor logits are flat, else any fault would pass."""
    shape = Shape(VOCABULARY, hidden, layers, 4, kv_heads, 256, 128, **fields)
    model = Llama(shape).initialize(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(5)
            else:  # norms of ones would hide a norm that is left out
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def write_model(folder, model):
    """The model as train seals it, with the handoff's tokenizer."""
    tokenizer = _sealed_once() / "08-tokenize" / "tokenizer.json"
    save_model(folder, model, tokenizer, 0, model.shape.context_tokens)


def put_models(bench, **models):
    """Seal models as if stage 11 had trained them, by arm."""

    def write(out):
        for arm, model in models.items():
            write_model(out / arm, model)

    bench.put(11, "train", write)
