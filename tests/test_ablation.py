"""The proof's machinery: what is held out, the pack, equal training, and honest intervals."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from downstream import ablation, ablation_corpus
from downstream.ablation import HeldOut, as_table, compare, difference, forms_of, of_form
from downstream.ablation_corpus import CONTROL, TEACHING, write_corpus
from downstream.ablation_pack import Pool, Seen, runs_of, shuffled, write_pack
from downstream.ablation_train import Pack, Setting, batch, evaluate, make_model, train
from pipeline.errors import InputError, StageError

VOCABULARY = 300


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Shared data in small: two repositories held out, two not."""
    data = tmp_path / "data"
    repos = ["keon/algorithms", "celery/celery", "a/teaches", "b/works"]
    code = [
        {"repo": repo, "path": f"{i}.py", "text": f"print({i}) # {repo}", "nature": nature}
        for i, (repo, nature) in enumerate(
            zip(repos, ["teaching", "ordinary"] * 2, strict=True)
        )
    ]  # fmt: skip
    prose = [{"repo": "c/book", "path": "1.md", "text": "A chapter.", "kind": "textbook"}]
    _write_rows(data / "code/python_files.jsonl.gz", code)
    _write_rows(data / "web/prose.jsonl.gz", prose)
    _write_rows(
        data / "benchmarks/HumanEval.jsonl.gz",
        [{"prompt": "def f():\r\n", "canonical_solution": "    return 1\n"}],
    )
    _write_rows(data / "benchmarks/mbpp.jsonl.gz", [{"text": "Write f.", "code": "f = 1\r\n"}])
    _write_rows(
        data / "benchmarks/gsm8k_test.jsonl.gz",
        [{"question": "2 + 2?", "answer": "2 + 2 = <<2+2=4>>4\n#### 4"}],
    )
    return data


def _read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_no_line_of_a_held_out_repository_is_left_to_train_on(shared: Path, tmp_path: Path) -> None:
    write_corpus(shared, tmp_path / "out")
    rest = {row["repo"] for name in ("code", "prose")
            for row in _read(tmp_path / "out" / f"{name}.jsonl.gz")}  # fmt: skip
    assert rest == {"a/teaches", "b/works", "c/book"}
    assert {row["group"] for row in _read(tmp_path / "out/dev.jsonl.gz")} == {"celery/celery"}
    test = _read(tmp_path / "out/test.jsonl.gz")
    assert [row["group"] for row in test] == ["keon/algorithms", "HumanEval", "MBPP", "GSM8K"]
    assert not any("\r" in row["text"] or "<<" in row["text"] for row in test)


def test_weak_labels_name_the_documents_that_ingest_makes(shared: Path, tmp_path: Path) -> None:
    from pipeline.read_lines import read_lines
    from pipeline.read_record import Record, make_document
    from pipeline.sources import SourceConfig, SourceFields
    from pipeline.sources_plan import list_source

    out = tmp_path / "out"
    write_corpus(shared, out)
    fields = SourceFields(url_or_path="path", group="repo", metadata=("weak",))
    made = set()
    for name in ("code", "prose"):
        path = str(out / f"{name}.jsonl.gz")
        source = SourceConfig(name=name, address=path, kind="code", fields=fields)
        for record in read_lines(source, list_source(source).files[0], 10_000):
            assert isinstance(record, Record)
            made.add(make_document(source, record)["doc_id"])
    lines = (out / "weak_labels.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in lines[1:]} == made
    assert sorted(line.split(",")[1] for line in lines[1:]) == ["1", "5", "5"]


def test_missing_shared_data_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prose\.jsonl\.gz cannot be read"):
        write_corpus(tmp_path, tmp_path / "out")


def test_dev_and_test_are_parted_by_name() -> None:
    assert not TEACHING.keys() & CONTROL.keys()
    assert set(TEACHING.values()) == set(CONTROL.values()) == {"dev", "test"}
    assert {"HumanEval", "MBPP", "GSM8K"} == set(ablation_corpus.BENCHMARKS)


def test_runs_of_thirteen_words_tell_what_was_seen() -> None:
    text = " ".join(f"w{i}" for i in range(40))
    assert len(runs_of(text)) == 28
    seen = Seen([text, "too short"])
    seen.look(" ".join(f"v{i}" for i in range(40)))
    assert seen.share(text) == 0
    seen.look(" ".join(f"w{i}" for i in range(5, 19)))  # two runs of it
    assert seen.share(text) == pytest.approx(2 / 28)
    seen.look("before " + text + " after")
    assert seen.share(text) == 1
    assert seen.share("too short") == 0
    assert Seen([]).share(text) == 0


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Two arms over ten documents, one of which repeats; three documents held out."""
    random = np.random.default_rng(0)
    pool = Pool()
    documents = [
        np.append(random.integers(1, VOCABULARY, 700), 0).astype(np.uint16) for _ in range(10)
    ]
    numbers = [pool.add(document) for document in [*documents, documents[3]]]
    assert numbers[-1] == numbers[3]
    arms = {
        "raw/base": np.array(numbers[:6], np.int32), "raw/anneal": np.array([6, 7], np.int32),
        "kept/base": np.array([3, 4, 3, 4, 3], np.int32),
        "kept/anneal": np.array([4, 3, 8], np.int32),
    }  # fmt: skip
    held_out = [
        {"tokens": np.append(0, random.integers(1, VOCABULARY, n)).astype(np.uint16), "n_bytes": n}
        for n in (30, 50, 1)
    ]
    facts = {
        "vocabulary": VOCABULARY, "end_of_text": 0, "arms": {"raw": {}, "kept": {}},
        "held_out": [
            {"doc_id": str(i), "group": "g", "kind": "code", "side": "teaching"} for i in range(3)
        ],
    }  # fmt: skip
    path = tmp_path / "pack.tar.xz"
    write_pack(path, pool.documents(), arms, held_out, facts, b"{}")
    opened = Pack(path)
    assert (opened.part("kept", "base")[701:1402] == documents[4]).all()
    assert [len(document) for document in opened.held_out()] == [31, 51, 2]
    return path


def test_the_shuffled_arm_has_the_documents_of_kept() -> None:
    documents = [np.zeros(n, np.uint16) for n in (5, 3, 8, 2, 7)]
    arms = {"kept/base": np.array([0, 1, 2, 0]), "kept/anneal": np.array([3, 4])}
    made = shuffled(arms, documents)
    both = [*made["kept-shuffled/base"], *made["kept-shuffled/anneal"]]
    assert sorted(both) == [0, 0, 1, 2, 3, 4]
    assert both != [0, 1, 2, 0, 3, 4]
    assert abs(sum(len(documents[i]) for i in made["kept-shuffled/base"]) - 21) <= 8


def test_a_pack_too_large_to_travel_is_refused(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("downstream.ablation_pack.MAX_PACK_BYTES", 100)
    row = {"tokens": np.zeros(2, np.uint16), "n_bytes": 1}
    before = pack.read_bytes()
    with pytest.raises(StageError, match="bytes"):
        write_pack(pack, [np.zeros(9, np.uint16)], {}, [row], {}, b"")
    assert pack.read_bytes() == before
    assert [path.name for path in pack.parent.iterdir()] == [pack.name]


def test_nats_of_another_pack_are_refused(pack: Path, tmp_path: Path) -> None:
    documents, path = len(ablation.read_held_out(pack)), tmp_path / "nats.npz"
    np.savez(path, **{"raw/0": np.ones(documents), "kept/0": np.ones(documents)})
    assert list(ablation.read_nats([path], documents)) == ["raw/0", "kept/0"]
    np.savez(path, **{"raw/0": np.ones(documents - 1)})  # would be taken for the first documents
    with pytest.raises(InputError, match=r"has 2 nats of raw/0, the pack 3 documents"):
        ablation.read_nats([path], documents)
    with pytest.raises(InputError, match=r"there is no .*none\.npz; run downstream"):
        ablation.read_nats([tmp_path / "none.npz"], documents)
    with pytest.raises(InputError, match=r"there is no .*none\.xz; run downstream"):
        ablation.read_held_out(tmp_path / "none.xz")


def test_models_of_one_seed_differ_by_the_data_alone(pack: Path) -> None:
    opened = Pack(pack)
    setting = Setting("1M", 2, 1, 0.02, 0.004, 0.0, "cpu")
    model = make_model(opened, setting)
    nats = []
    for arm, seed in (("kept", 0), ("raw", 0), ("kept", 0), ("kept", 1)):
        record = train(model, opened, arm, seed, setting)
        assert record["tokens"] == 2 * 1_024
        nats.append(evaluate(model, opened.held_out(), "cpu"))
    assert (nats[0] == nats[2]).all()  # nothing of the models before is left
    assert not (nats[0] == nats[1]).all()
    assert not (nats[0] == nats[3]).all()
    blind = np.array([30, 50, 1]) * math.log(VOCABULARY)
    assert (np.abs(nats[0] / blind - 1) < 0.5).all()


def test_a_document_is_measured_alone(pack: Path) -> None:
    opened = Pack(pack)
    model = make_model(opened, Setting("1M", 1, 1, 0.02, 0.004, 0.0, "cpu")).initialize(0)
    documents = opened.held_out()
    together = evaluate(model, documents, "cpu")
    alone = [evaluate(model, [document], "cpu")[0] for document in documents]
    assert together == pytest.approx(alone, rel=1e-5)


def test_every_window_is_read_once_an_epoch() -> None:
    import torch

    stream = torch.arange(5 * 1_024 + 1)
    first = torch.cat([batch(stream, step, 1, (0, "base")) for step in range(5)])
    assert sorted(first[:, 0].tolist()) == [0, 1_024, 2_048, 3_072, 4_096]
    again = torch.cat([batch(stream, step, 1, (0, "base")) for step in range(5, 10)])
    assert sorted(again[:, 0].tolist()) == sorted(first[:, 0].tolist())
    assert again[:, 0].tolist() != first[:, 0].tolist()


def _documents(groups: list[str]) -> list[HeldOut]:
    return [HeldOut(str(i), g, "code", "teaching", 100) for i, g in enumerate(groups)]


def test_what_is_hard_about_a_document_cancels_out() -> None:
    random = np.random.default_rng(2)
    groups = [f"g{i % 8}" for i in range(80)]
    hard = random.uniform(50, 500, 80)
    better = 100 * math.log(2) * 0.01  # a hundredth of a bit a byte
    noise = random.normal(0, better / 5, (2, 3, 80))
    nats = {
        "raw": {s: hard + noise[0, s] for s in range(3)},
        "kept": {s: hard - better + noise[1, s] for s in range(3)},
    }
    levels, differences = compare(_documents(groups), nats)
    found = next(d for d in differences if d.subset == "teaching")
    assert found.first == "kept"
    assert found.bits_per_byte == pytest.approx(-0.01, abs=0.001)
    assert found.low < found.bits_per_byte < found.high < 0
    assert found.sure
    assert (found.groups_better, found.groups, found.seeds) == (8, 8, 3)
    assert levels["teaching"]["raw"] > levels["teaching"]["kept"]
    assert "**-0.01" in as_table(levels, differences)


def test_documents_of_one_repository_are_not_taken_for_many_opinions() -> None:
    """Where whole repositories go one way or the other, many documents make nothing sure."""
    groups = [f"g{i % 4}" for i in range(400)]
    sign = np.array([(-1.0, -1.0, -1.0, 2.0)[i % 4] for i in range(400)])
    pairs = np.stack([sign, sign])
    of_groups = difference("a", "b", "s", pairs, np.full(400, 100.0), groups)
    assert of_groups.low < 0 < of_groups.high
    assert of_groups.groups_better == 3
    alone = difference("a", "b", "s", pairs, np.full(400, 100.0), ["one"] * 400)
    assert alone.high - alone.low < (of_groups.high - of_groups.low) / 3


def test_an_interval_of_nothing_holds_zero_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(3)
    sure = 0
    for _ in range(30):
        pairs = random.normal(0, 1, (1, 60)) + np.zeros((3, 1))
        groups = [f"g{i}" for i in range(60)]
        sure += difference("a", "b", "s", pairs, np.full(60, 100.0), groups).sure
    assert sure <= 5  # 1.5 expected


def test_names_of_measures_are_read() -> None:
    nats = {name: np.zeros(1) for name in ("kept/0", "kept/1", "kept@Q4_0/0", "raw@Q4_0/0")}
    assert forms_of(nats) == ["trained", "Q4_0"]
    assert of_form(nats, "trained")["kept"].keys() == {0, 1}
    assert of_form(nats, "Q4_0").keys() == {"kept", "raw"}


@pytest.mark.slow  # numba compiles for some seconds
def test_ngrams_are_a_distribution_and_learn() -> None:
    from benchmarks.ablation import Ngrams

    tokens = np.tile(np.array([0, 1, 2, 3, 1, 2, 4], np.uint16), 50)
    model = Ngrams(vocabulary=8).fit(tokens)
    known = np.array([0, 1, 2, 3, 1, 2, 4], np.uint16)
    assert model.nats(known) < 6 * math.log(2)
    for context in ([0], [0, 1, 2], [2, 4], [5, 6]):
        whole = np.array(context, np.uint16)
        before = model.nats(whole)
        shares = [math.exp(before - model.nats(np.append(whole, t))) for t in range(8)]
        # the last token of the corpus has no follower, so one share in fifty may be lost
        assert 0.975 < sum(shares) < 1 + 1e-9
    assert Ngrams(8).fit(known[::-1].copy()).nats(known) > model.nats(known)
