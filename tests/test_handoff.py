"""The door to the trainer, on a real run: it opens on the bytes that were handed over alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from small_run import UNTIL_HANDOFF, copy_run, small_recipe, small_run

from downstream.shape import PRESETS as KNOWN
from pipeline.arms import ARMS
from pipeline.errors import InputError, StageError
from pipeline.handoff import PRESETS as SUGGESTED
from pipeline.handoff import STAGE
from pipeline.handoff_record import HANDOFF_VERSION, handed_files, open_handoff
from pipeline.manifest import hash_file
from pipeline.records import read_rows
from pipeline.step import make_plan, run_step

SCHEMA = Path(__file__).resolve().parents[1] / "docs" / "handoff.schema.json"


def handed():
    return small_run()["handoff"].file("handoff.json")


@pytest.fixture(scope="module")
def opened():
    return open_handoff(handed())


@pytest.fixture
def copy(tmp_path):
    """The handoff of a copy of the run."""
    return copy_run(tmp_path) / "10-handoff" / "handoff.json"


def rewrite(path, **fields):
    record = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps(record))
    return path


def flip(path):
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_it_names_every_file_that_a_trainer_needs_with_its_bytes(opened):
    files = handed_files(opened)
    assert len(files) == 4 + 2 * 2 * len(ARMS)
    for file in files:
        path = handed().parent / file.path
        assert (hash_file(path), path.stat().st_size) == (file.sha256, file.bytes)
    tokenized = small_run()["tokenize"]
    named = {Path(file.path).relative_to("../08-tokenize").as_posix()
             for file in files if "08-tokenize" in file.path}  # fmt: skip
    beside = {"mixture.md", "mixture.png"}
    metadata = {name for name in tokenized.manifest.files if name.endswith(".ds.metadata")}
    assert named == set(tokenized.manifest.files) - beside - metadata


def test_tokens_mixture_and_validation_are_as_the_files_hold_them(opened):
    for arm in opened.arms:
        told = opened.mixture[arm.name]
        counts = [sum(shard.tokens for shard in part) for part in (arm.base, arm.anneal)]
        assert counts == [told["base_tokens"], told["anneal_tokens"]]
        assert sum(counts) == arm.tokens == 30_000
        for shard in (*arm.base, *arm.anneal):
            ids = np.fromfile(handed().parent / shard.path, opened.token_dtype)
            assert (len(ids), shard.bytes) == (shard.tokens, ids.nbytes)
            assert ids.max() < opened.vocabulary
            ends = np.fromfile(handed().parent / shard.index.path, "<u8")
            assert ends.tolist() == (np.flatnonzero(ids == opened.end_of_text) + 1).tolist()
            assert ends[-1] == shard.tokens
    rows = list(read_rows([handed().parent / opened.validation.documents.path]))
    assert opened.validation.bytes == sum(len(row["text"].encode()) for row in rows)
    assert opened.validation.tokens == sum(len(row["tokens"]) for row in rows)
    told = opened.suggestion
    assert told.parameters == round(30_000 / told.tokens_per_parameter)
    assert (told.tokens, told.preset, told.decay_share) == (30_000, "1M", 0.2)


def test_it_says_where_it_comes_from_who_wrote_it_and_what_was_taken_out(opened):
    run = small_run()
    assert opened.fingerprints == {
        name: sealed.manifest.fingerprint for name, sealed in run.items() if name != "handoff"
    }
    assert opened.teacher["is_llm"] is False
    for who in ("annotator", "writer"):
        assert "not an LLM" in opened.teacher[who]
    assert opened.contamination.verdict == "searched"
    assert opened.contamination.model_dump()["hits"] == {"one-sentence": 1}
    lessons = next(arm for arm in opened.arms if arm.name == "kept+synthetic")
    assert lessons.synthetic_tokens > 0
    for arm in opened.arms:
        rows = run["decontaminate"].facts["documents_by_arm"][arm.name]
        assert sum(arm.licences.values()) == rows
        assert set(arm.licences) == {"PSF-2.0", "unknown"}
        assert arm.synthetic_tokens == 0 or arm is lessons


def test_it_fits_the_published_schema():
    schema = json.loads(SCHEMA.read_text())
    record = json.loads(handed().read_text())
    assert list(Draft202012Validator(schema).iter_errors(record)) == []
    assert list(Draft202012Validator(schema).iter_errors({**record, "arms": 3})) != []


def test_a_run_that_was_moved_as_a_whole_still_opens(copy, opened, tmp_path):
    moved = shutil.move(copy.parents[1], tmp_path / "elsewhere")
    assert open_handoff(Path(moved) / "10-handoff" / "handoff.json") == opened


FILES = {
    "a shard": lambda h: h.arms[0].base[0],
    "the last shard": lambda h: h.arms[-1].anneal[-1],
    "the tokenizer": lambda h: h.tokenizer,
    "the card": lambda h: h.card,
    "the validation set": lambda h: h.validation.documents,
    "an index": lambda h: h.arms[2].base[0].index,
    "what to fine-tune on": lambda h: h.finetuning,
}


@pytest.mark.parametrize("which", FILES)
def test_a_flipped_bit_is_refused_and_its_file_named(copy, opened, which):
    path = copy.parent / FILES[which](opened).path
    flip(path)
    with pytest.raises(StageError, match="is not the file that was handed over; run") as refused:
        open_handoff(copy)
    assert str(path) in str(refused.value)
    assert open_handoff(copy, verify=False) == opened


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-2]), "is not the file"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0\0"), "is not the file"),
        (lambda path: path.write_bytes(b""), "is not the file"),
    ],
    ids=["missing", "cut", "grown", "emptied"],
)
def test_a_file_that_is_gone_or_of_another_size_is_refused(copy, opened, harm, problem):
    path = copy.parent / opened.arms[1].base[0].path
    harm(path)
    with pytest.raises(StageError, match=problem) as refused:
        open_handoff(copy)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("new", [{}, {"optimizer": "of a later day"}, {"arms": "told otherwise"}])
def test_a_newer_version_is_refused_as_such_whatever_its_fields(copy, new):
    rewrite(copy, handoff_version=HANDOFF_VERSION + 1, **new)
    with pytest.raises(InputError, match=r"has version 3, this Primer reads 2; use the newer"):
        open_handoff(copy)


def test_one_of_the_first_version_is_refused_with_its_cure(copy):
    rewrite(copy, handoff_version=1)
    with pytest.raises(InputError, match=r"version 1, this Primer reads 2; run the recipe again"):
        open_handoff(copy)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"handoff_version": 2}', b'{"handoff_version": "new"}'],
)
def test_what_is_no_handoff_is_refused_with_a_cure(tmp_path, content):
    path = tmp_path / "handoff.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"is not a handoff.*; give the handoff\.json of a run"):
        open_handoff(path)


def test_a_missing_handoff_and_an_unknown_field_are_refused(copy, tmp_path):
    for path in (tmp_path / "none.json", rewrite(copy, surprise=1), copy.parent):
        with pytest.raises(InputError, match="is not a handoff"):
            open_handoff(path)


def test_what_changed_after_sealing_is_not_handed_over(copy, opened):
    run = copy.parents[1]
    shutil.rmtree(copy.parent)
    recipe = small_recipe(small_run()["ingest"].path.parents[1] / "benchmark.jsonl")
    step = make_plan(UNTIL_HANDOFF, recipe, run)[STAGE.name]
    path = run / Path(opened.arms[0].anneal[0].path).relative_to("..")
    flip(path)
    with pytest.raises(StageError, match="is not the file that was handed over"):
        run_step(step)
    assert step.sealed() is None
    flip(path)
    assert run_step(step).manifest.outputs_sha256 == small_run()["handoff"].manifest.outputs_sha256


def sign_again(copy, variable):
    """Make the handoff of a copied run again, signed with the key of a variable."""
    run = copy.parents[1]
    shutil.rmtree(copy.parent)
    recipe = small_recipe(small_run()["ingest"].path.parents[1] / "benchmark.jsonl")
    signed = recipe.handoff.model_copy(update={"key_variable": variable})
    recipe = recipe.model_copy(update={"handoff": signed})
    return run_step(make_plan(UNTIL_HANDOFF, recipe, run)[STAGE.name]).file("handoff.json")


def test_a_signed_handoff_opens_with_its_key_and_with_no_other(copy, opened, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "a secret of some length")
    path = sign_again(copy, "SOME_KEY")
    signed = open_handoff(path)
    assert signed.signature.key_variable == "SOME_KEY"
    assert signed.model_copy(update={"signature": None}) == opened
    assert "a secret" not in path.read_text()
    rewrite(path, vocabulary=401)
    with pytest.raises(StageError, match=r"not signed with the key in SOME_KEY .*, or was changed"):
        open_handoff(path)
    rewrite(path, vocabulary=opened.vocabulary)
    open_handoff(path)
    monkeypatch.setenv("SOME_KEY", "another")
    with pytest.raises(StageError, match="is not signed with the key in SOME_KEY"):
        open_handoff(path)
    monkeypatch.delenv("SOME_KEY")
    open_handoff(path)  # nobody here can say whether it holds
    with pytest.raises(InputError, match="SOME_KEY holds no key; export SOME_KEY"):
        open_handoff(path, key_variable="SOME_KEY")


def test_the_standard_key_makes_a_signature_a_must(copy, monkeypatch):
    monkeypatch.setenv("PRIMER_HANDOFF_KEY", "a secret")
    with pytest.raises(StageError, match="is not signed, and PRIMER_HANDOFF_KEY holds a key"):
        open_handoff(copy)
    forged = {"algorithm": "hmac-sha256", "key_variable": "HOME", "hmac": "0" * 64}
    rewrite(copy, signature=forged)  # whoever forges does not choose the key
    with pytest.raises(StageError, match="not signed with the key in PRIMER_HANDOFF_KEY"):
        open_handoff(copy)


def test_to_sign_without_a_key_is_the_user_s_mistake(copy):
    with pytest.raises(InputError, match="names NO_SUCH_KEY, which holds no key; export"):
        sign_again(copy, "NO_SUCH_KEY")


def test_the_sizes_that_are_suggested_are_those_of_the_trainer():
    assert list(SUGGESTED) == list(KNOWN)
