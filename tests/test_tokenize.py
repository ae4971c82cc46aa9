"""Stage 8 on this Python's own source: equal tokens, a pinned validation set, exact text."""

import functools
import sysconfig
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from conftest import Bench, document
from pipeline.arms import ARMS
from pipeline.errors import StageError
from pipeline.ingest import IngestConfig
from pipeline.records import DOCUMENT, SCORE, read_rows, write_table
from pipeline.sources import SourceConfig
from pipeline.splits import ValidationConfig, in_validation
from pipeline.tokenize import END_OF_TEXT, STAGE, TokenizeConfig

SMALL = TokenizeConfig(vocabulary=400, budget_tokens=20_000, anneal_share=0.25,
                       validation_document_bytes=1_500)  # fmt: skip
HELD_OUT = ValidationConfig(share=0.3, max_bytes=10_000)
SOURCES = IngestConfig(sources=(SourceConfig(name="test", address="none", kind="code"),))


@functools.cache
def corpus():
    """Code and prose; one document spells out the end of text, as model code does."""
    library = Path(sysconfig.get_path("stdlib"))
    rows = []
    paths = [p for name in ("email", "importlib", "json") for p in (library / name).glob("*.py")]
    for i, path in enumerate(sorted(paths)):
        text = path.read_text()[:3_000]
        rows.append(document(text, f"{i}.py", group=f"code-{i}"))
        rows.append(document(f"On {path.stem}. {text[:2_000]}", f"{i}.md", group=f"prose-{i}"))
    spelled = f'END = "{END_OF_TEXT}"  # 終わり\n' * 3
    return [row for row in rows if row["text"]] + [document(spelled, "end.py", group="end")]


def score(row):
    return int(row["doc_id"][:4], 16) / 2**16


LESSONS = [
    document(f"Lesson {i}: {i} and {i} make {2 * i}, as {2 * i} is twice {i}.\n" * 3, f"lesson-{i}",
             origin="synthetic", group=f"lessons-{i}")
    for i in range(8)
]  # fmt: skip


def kept():
    return [row for row in corpus() if score(row) > 0.5]


def make(run, *sections, files=1, rows=None, lessons=LESSONS):
    """Run the stage over arms in so many files."""
    raw = corpus() if rows is None else rows
    chosen = [row for row in raw if score(row) > 0.5]
    arms = {"raw": raw, "kept": chosen, "kept+synthetic": [*chosen, *lessons],
            "random": raw[::2]}  # fmt: skip

    def write_arms(out):
        for arm, i in ((arm, i) for arm in ARMS for i in range(files)):
            write_table(out / "arms" / arm / f"{i:05}.parquet", arms[arm][i::files], DOCUMENT)

    def write_scores(out):
        scored = [
            {"doc_id": r["doc_id"], "score": score(r), "expected_score": 2, "keep": r in chosen}
            for r in raw
        ]
        write_table(out / "scores" / "00000.parquet", scored, SCORE)

    bench = Bench(run)
    bench.put(5, "apply-filter", write_scores)
    bench.put(7, "decontaminate", write_arms)
    return bench.make(STAGE, SOURCES, *sections)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"), SMALL, HELD_OUT)


def tokenizer_of(made):
    return Tokenizer.from_file(str(made.file("tokenizer.json")))


def tokens(made, arm, part):
    (path,) = made.files(f"arms/{arm}/{part}/*.ds")
    return np.frombuffer(path.read_bytes(), f"<{np.dtype(made.facts['token_dtype']).str[1:]}")


def pieces(made, arm, part):
    """The texts of documents in order; one of each kind and origin may be cut."""
    ids = tokens(made, arm, part)
    ends = np.flatnonzero(ids == made.facts["end_of_text"]) + 1
    assert ends[-1] == len(ids)
    return [tokenizer_of(made).decode(p.tolist()) for p in np.split(ids, ends)[:-1]]


def validation(made):
    return list(read_rows([made.file("val/documents.parquet")]))


def test_every_arm_has_the_same_tokens_and_the_bytes_that_it_declares(made):
    assert made.facts["token_dtype"] == "uint16"
    for arm in ARMS:
        told = made.facts["arms"][arm]
        sizes = {part: len(tokens(made, arm, part)) for part in ("base", "anneal")}
        assert sizes == {"base": 15_000, "anneal": 5_000}
        assert (told["tokens"], told["base_tokens"], told["anneal_tokens"]) == (
            20_000, 15_000, 5_000,
        )  # fmt: skip
        (file,) = made.files(f"arms/{arm}/base/*.ds")
        assert file.stat().st_size == 2 * 15_000
        assert tokens(made, arm, "base").max() < made.facts["vocabulary"] <= 400


def test_the_shards_hold_whole_documents_of_their_arm_and_none_held_out(made):
    free = {
        "raw": corpus(), "kept": kept(), "kept+synthetic": [*kept(), *LESSONS],
        "random": corpus()[::2],
    }  # fmt: skip
    for arm in ARMS:
        texts = {r["text"] for r in free[arm] if not in_validation(r["group"], 7, HELD_OUT)}
        for part in ("base", "anneal"):
            cut = set(pieces(made, arm, part)) - texts
            assert len(cut) <= 3  # code, prose, lessons
            for last in cut:
                assert any(text.startswith(last.rstrip("\ufffd")) for text in texts)


def test_the_validation_set_is_of_held_out_groups_alone_and_as_it_is_pinned(made):
    rows = validation(made)
    assert all(in_validation(row["group"], 7, HELD_OUT) for row in rows)
    text_of = {row["doc_id"]: row["text"] for row in corpus()}
    for row in rows:
        assert text_of[row["doc_id"]].startswith(row["text"])
        assert row["n_bytes"] == len(row["text"].encode()) <= SMALL.validation_document_bytes
        assert tokenizer_of(made).decode(row["tokens"]) == row["text"]
        assert made.facts["end_of_text"] not in row["tokens"]
        assert row["keep"] == (row["score"] > 0.5)
    sizes = Counter()
    for row in rows:
        sizes[row["kind"]] += row["n_bytes"]
    assert 0.6 * 5_000 < min(sizes.values()) <= max(sizes.values()) <= 5_000
    assert made.facts["validation_bytes"] == sum(sizes.values())
    assert made.facts["validation_tokens"] == sum(len(row["tokens"]) for row in rows)


def test_the_ledger_counts_used_held_out_and_left_over(made):
    held_out = [r for r in corpus() if in_validation(r["group"], 7, HELD_OUT)]
    free = [r for r in LESSONS if not in_validation(r["group"], 7, HELD_OUT)]
    assert made.ledger.rows_in == len(corpus()) + len(free)
    assert made.ledger.dropped["held_out_not_used"] == len(held_out) - len(validation(made))
    assert made.ledger.dropped["over_budget"] > 0


def test_the_number_of_files_changes_nothing(made, tmp_path):
    other = make(tmp_path / "run", SMALL, HELD_OUT, files=4)
    assert other.manifest.outputs_sha256 == made.manifest.outputs_sha256


def test_the_anneal_part_holds_what_is_synthetic_and_then_the_best(made):
    lessons = {r["text"] for r in LESSONS if not in_validation(r["group"], 7, HELD_OUT)}
    score_of = {row["text"]: score(row) for row in kept()}
    read = set(pieces(made, "kept+synthetic", "anneal"))
    assert lessons & set(pieces(made, "kept+synthetic", "base")) == set()
    assert len(lessons & read) >= len(lessons) - 1  # one may be cut
    facts = made.facts["arms"]
    assert facts["kept+synthetic"]["anneal_synthetic_tokens"] > 0
    assert facts["kept+synthetic"]["base_synthetic_tokens"] == 0
    best = [score_of[text] for text in pieces(made, "kept", "anneal") if text in score_of]
    rest = [score_of[text] for text in pieces(made, "kept", "base") if text in score_of]
    assert len(best) > 1
    assert min(best) >= max(rest)
    assert not lessons & set(pieces(made, "raw", "anneal"))


@given(st.text(max_size=200))
@example("Ça coûte 12 €; 面積は幅×高さ。 한국어 🙂👩‍🚀\n\n\tdef f(x):\r\n  \x00 end")
@example(" leading and trailing ")
def test_any_text_comes_back_byte_for_byte(made, text):
    tokenizer = tokenizer_of(made)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert len(ids) <= len(text.encode())


def test_text_that_spells_out_the_end_of_text_ends_nothing(made, tmp_path):
    spelled = corpus()[-1]
    assert not in_validation(spelled["group"], 7, HELD_OUT)
    whole = make(tmp_path / "run", SMALL.model_copy(update={"budget_tokens": None}), HELD_OUT)
    read = pieces(whole, "raw", "base") + pieces(whole, "raw", "anneal")
    assert spelled["text"] in read


def test_the_tokenizer_learns_nothing_from_held_out_text(tmp_path):
    names = [f"group-{i}" for i in range(40)]
    secret = next(name for name in names if in_validation(name, 7, HELD_OUT))
    known = next(name for name in names if not in_validation(name, 7, HELD_OUT))
    words = {secret: "zyxwvutsrq", known: "qrstuvwxyz"}
    rows = [document(f"{word} " * 400, f"{name}.md", group=name) for name, word in words.items()]
    sealed = make(tmp_path / "run", SMALL, HELD_OUT, rows=[*corpus(), *rows])
    count = {n: len(tokenizer_of(sealed).encode(f" {w}").ids) for n, w in words.items()}
    assert count[known] == 1
    assert count[secret] > 5


def test_the_tokenizer_learns_from_so_many_bytes_and_no_more(tmp_path):
    signs = [chr(0x4E00 + 97 * i) for i in range(40)]  # of three bytes each
    rows = [document(f"{s} " * 250, f"{s}.md", group=f"group-{i}") for i, s in enumerate(signs)]
    config = TokenizeConfig(vocabulary=400, max_train_bytes=10_000)
    sealed = make(tmp_path / "run", config, HELD_OUT, rows=rows)
    learnt = [s for s in signs if len(tokenizer_of(sealed).encode(f" {s}").ids) == 1]
    assert 5 < len(learnt) <= 10


def test_no_budget_takes_the_smallest_arm_once_and_a_larger_one_goes_round(tmp_path):
    once = make(tmp_path / "once", SMALL.model_copy(update={"budget_tokens": None}), HELD_OUT)
    assert once.facts["arms"]["kept"]["epochs"] == 1
    assert once.facts["arms"]["raw"]["epochs"] < 1
    budget = 3 * once.facts["budget_tokens"]
    thrice = SMALL.model_copy(update={"budget_tokens": budget, "max_repeats": 3})
    again = make(tmp_path / "again", thrice, HELD_OUT)
    assert again.facts["arms"]["kept"]["epochs"] == 3
    read = Counter([*pieces(again, "kept", "base"), *pieces(again, "kept", "anneal")])
    texts = {r["text"] for r in kept() if not in_validation(r["group"], 7, HELD_OUT)}
    counts = [read[text] for text in texts]  # of whole documents; a few are read in parts
    assert min(counts) >= 2
    assert sorted(counts)[-2] == 3  # the one document at the border is read by both stages
    assert counts.count(3) > 0.75 * len(counts)
    more = thrice.model_copy(update={"budget_tokens": budget + 1})
    with pytest.raises(StageError, match=rf"arm 'kept' has \d+ tokens.*{budget + 1}.*; lower"):
        make(tmp_path / "more", more, HELD_OUT)


@pytest.mark.parametrize(("share", "anneal"), [(0.00001, 1), (0.99999, 19_999)])
def test_neither_part_is_ever_empty(tmp_path, share, anneal):
    made = make(tmp_path / "run", SMALL.model_copy(update={"anneal_share": share}), HELD_OUT)
    assert len(tokens(made, "raw", "anneal")) == anneal
    assert len(tokens(made, "raw", "base")) == 20_000 - anneal


@pytest.mark.parametrize(
    ("share", "document_bytes", "problem"),
    [
        (1e-9, 1_500, r"no document is held out.*; raise validation\.share"),
        (0.3, 5_500, r"is larger than its kind's part.*; raise validation\.max_bytes"),
    ],
)
def test_a_validation_set_without_text_is_refused(tmp_path, share, document_bytes, problem):
    long = [document(row["text"] * 9, row["url_or_path"], group=row["group"], kind=kind)
            for row in corpus() for kind in ("web", "code") if len(row["text"]) > 700]  # fmt: skip
    config = SMALL.model_copy(update={"validation_document_bytes": document_bytes})
    held_out = HELD_OUT.model_copy(update={"share": share})
    with pytest.raises(StageError, match=problem):
        make(tmp_path / "run", config, held_out, rows=long)
