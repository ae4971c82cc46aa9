"""`primer evaluate` on a model directory, on GGUF files, on a given text, and on no model."""

import json
import shutil
from io import StringIO
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError
from rich.console import Console
from small_handoff import random_model, write_model

from benchmarks.random_models import write_random
from downstream.evaluate_config import EvaluateConfig
from downstream.evaluate_path import (
    PIECE_BYTES,
    choose_profiles,
    evaluate_path,
    find_files,
    quantize_directory,
    read_pieces,
    what_lies_at,
)
from downstream.evaluation import Evaluation, Measured, summarize
from downstream.results_schema import Results, results_schema
from downstream.shape import Shape
from flows.evaluate import evaluate_model, print_evaluation
from pipeline.errors import InputError, StageError

ROOT = Path(__file__).resolve().parents[1]
SMALL = EvaluateConfig(
    context_tokens=4_096, max_validation_bytes=3_000, likeness={"max_bytes": 1_000},
    prompt_tokens=16, prompts=(8,), decode_tokens=4, depths=(0,), repetitions=1,
    memory_contexts=(), share_tokens=2, threads=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A Hugging Face directory, evaluated on text of its own: results, and where they lie."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_model(folder / "tiny", random_model())
    (folder / "area.py").write_text("def area(w, h):\n    return w * h\n" * 30)
    (folder / "tides.md").write_text("The moon pulls the sea. It rises twice a day.\n" * 20)
    texts = [folder / "area.py", folder / "tides.md"]
    out = folder / "out"
    return evaluate_path(folder / "tiny", out, SMALL, texts, ("Q4_0",), "laptop"), out


def test_a_directory_is_quantized_and_every_type_is_measured(evaluated):
    results, out = evaluated
    assert [(m.arm, m.type) for m in results.models] == [("tiny", "F16"), ("tiny", "Q4_0")]
    full, four = results.models
    assert full.verdict == "promote"
    assert four.likeness["kl_mean_nats"] > 0
    assert four.lost_bits_per_byte == pytest.approx(four.bits_per_byte - full.bits_per_byte)
    assert set(full.bits_per_byte_by_kind) == {"code", "web"}
    assert full.bits_per_byte_kept is None  # no filter has seen this text
    assert 0 < full.matrix.product_share < 1
    assert results.of["bytes"] == 30 * len("def area(w, h):\n    return w * h\n") + 20 * 46
    assert results.settings["context_tokens"] == 128  # what the model's own context allows
    assert [device["name"] for device in results.profiles] == ["laptop"]
    assert {path.name for path in (out / "gguf").glob("*.gguf")} == {
        "model-F16.gguf", "model-Q4_0.gguf"
    }  # fmt: skip
    assert not (out / "work").exists()


def test_results_fit_the_exported_schema(evaluated):
    results, out = evaluated
    written = json.loads((out / "results.json").read_text())
    schema = json.loads((ROOT / "docs" / "results.schema.json").read_text())
    jsonschema.validate(written, schema)
    assert Results.model_validate(written).model_dump(mode="json") == written
    assert results.model_dump(mode="json") == written
    assert (ROOT / "docs" / "results.schema.json").read_text() == results_schema()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**written, "models": [{"arm": "a"}]}, schema)


def test_the_report_and_the_table_hold_what_was_found(evaluated):
    results, out = evaluated
    page = (out / "report.html").read_text()
    assert "Q4_0" in page
    assert "Ryzen" in page
    assert page.count("data:image/png;base64,") == 4  # no memory was asked for
    console = Console(file=StringIO(), width=160)
    print_evaluation(console, results, out)
    told = console.file.getvalue()
    for word in ("tiny", "F16", "Q4_0", "decode tok/s", "Ryzen", "verdict: ", str(out)):
        assert word in told


def test_a_single_file_is_measured_as_it_is(evaluated, tmp_path):
    results, out = evaluated
    path = tmp_path / "some-name.gguf"
    shutil.copy(out / "gguf" / "model-Q4_0.gguf", path)
    text = out.parent / "area.py"
    found = evaluate_path(
        path, tmp_path / "out", SMALL.model_copy(update={"share_tokens": None}), [text]
    )
    (model,) = found.models
    assert (model.arm, model.type, model.verdict) == ("some-name", "Q4_0", None)
    code = results.models[1].bits_per_byte_by_kind["code"]
    assert model.bits_per_byte == pytest.approx(code)
    assert found.gate["verdict"] is None
    assert "no F16" in (tmp_path / "out" / "report.md").read_text()


def test_paths_are_those_of_the_caller_and_its_folder_stays_as_it_is(
    evaluated, tmp_path, monkeypatch
):
    """A relative file, and results into a folder that has a `work` of its own."""
    shutil.copy(evaluated[1] / "gguf" / "model-Q4_0.gguf", tmp_path / "near.gguf")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine.txt").write_text("a year of notes")
    (tmp_path / "area.py").write_text("def area(w, h):\n    return w * h\n" * 150)
    monkeypatch.chdir(tmp_path)
    config = SMALL.model_copy(update={"share_tokens": None})
    found = evaluate_path(Path("near.gguf"), Path(), config, [Path("area.py")])
    assert [model.type for model in found.models] == ["Q4_0"]
    assert (found.of["documents"], found.of["left_out_documents"]) == (1, 1)  # of 4,000 bytes
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["mine.txt"]


def test_a_type_that_is_newer_than_the_reader_is_told_by_its_file_s_name(tmp_path, monkeypatch):
    import gguf

    def newer(writer, _):
        writer.add_uint32("general.file_type", 999)

    monkeypatch.setattr(gguf.GGUFWriter, "add_file_type", newer)
    write_random(tmp_path / "new.gguf", Shape(64, 64, 1, 1, 1, 64, 64))
    (one,) = find_files(tmp_path / "new.gguf", None)
    assert one.type == "new"
    evaluation = Evaluation([one], None, SMALL, tmp_path)
    (row,) = summarize(evaluation, Measured(cost={one: {}}))
    assert row["tensors"] == {"F16": 8, "F32": 3}
    assert 16 < row["bits_per_weight"] < 17
    assert row["fell_back"] == []


def test_what_is_named_twice_is_measured_once(evaluated, tmp_path):
    text = evaluated[1].parent / "area.py"
    assert list(read_pieces([text, text])) == list(read_pieces([text]))
    gguf = tmp_path / "gguf"
    shutil.copytree(evaluated[1] / "gguf", gguf)
    made = quantize_directory(evaluated[1].parent / "tiny", gguf, ("Q4_0", "Q4_0"), SMALL)
    assert [path.name for path in made] == ["model-F16.gguf", "model-Q4_0.gguf"]


def test_results_into_a_file_are_refused(evaluated, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="out is a file"):
        evaluate_path(evaluated[1] / "gguf", tmp_path / "out", SMALL)


@pytest.mark.parametrize(("threads", "repetitions"), [(257, 1), (1, 101)])
def test_options_beyond_their_range_are_one_line(tmp_path, threads, repetitions):
    with pytest.raises(InputError, match=r"--\w+ is (257|101); .*less than or equal to (256|100)"):
        evaluate_model(tmp_path, (), None, None, None, threads, repetitions)


@pytest.mark.parametrize(
    ("name", "value"), [("depths", -1), ("prompts", 0), ("memory_contexts", -32_000)]
)
def test_counts_of_tokens_that_cannot_be_are_refused(name, value):
    with pytest.raises(ValidationError, match=f"{value} tokens are too few"):
        EvaluateConfig(**{name: (value,)})


def test_files_of_a_folder_are_told_apart(evaluated, tmp_path):
    source = evaluated[1] / "gguf"
    for name, kind in (("a", "Q4_0"), ("b", "Q4_0"), ("c", "F16")):
        shutil.copy(source / f"model-{kind}.gguf", tmp_path / f"{name}.gguf")
    assert what_lies_at(tmp_path) == "gguf"
    assert [one.type for one in find_files(tmp_path, None)] == ["F16", "a", "b"]
    (tmp_path / "a.gguf").rename(tmp_path / "F16.gguf")  # a name that is the type of another
    found = [(one.type, one.path.name) for one in find_files(tmp_path, None)]
    assert found == [("F16", "c.gguf"), ("F16.gguf", "F16.gguf"), ("b", "b.gguf")]


@pytest.mark.parametrize("name", ["missing", "folder", "text.txt"])
def test_a_path_that_is_no_model_is_one_clear_line(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("no model")
    with pytest.raises(InputError) as told:
        evaluate_path(tmp_path / name, tmp_path / "out", SMALL)
    assert name in str(told.value)
    assert "GGUF file" in told.value.cure
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_a_broken_file_is_one_clear_line(tmp_path):
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00 and nothing more")
    with pytest.raises(StageError, match=r"cut\.gguf is no GGUF file of a model"):
        evaluate_path(tmp_path / "cut.gguf", tmp_path / "out", SMALL)


def test_texts_are_cut_between_lines_and_nothing_is_lost(tmp_path):
    path = tmp_path / "long.md"
    path.write_text("".join(f"line {i} of a long file\n" for i in range(1_000)))
    pieces = list(read_pieces([path]))
    assert "".join(piece["text"] for piece in pieces) == path.read_text()
    assert len(pieces) > 3
    assert all(piece["n_bytes"] <= PIECE_BYTES for piece in pieces)
    assert all(piece["text"].endswith("\n") for piece in pieces)
    assert len({piece["doc_id"] for piece in pieces}) == len(pieces)
    assert {piece["group"] for piece in pieces} == {str(path)}


def test_a_long_line_is_cut_too_and_never_within_a_character(tmp_path):
    path = tmp_path / "one-line.txt"
    path.write_text("面x" * 20_000)
    pieces = list(read_pieces([path]))
    assert "".join(piece["text"] for piece in pieces) == path.read_text()
    assert all(piece["n_bytes"] <= PIECE_BYTES for piece in pieces)


def test_without_a_text_the_library_of_this_python_stands_in():
    pieces = list(read_pieces([]))
    assert 50_000 < sum(piece["n_bytes"] for piece in pieces) < 200_000
    assert len({piece["group"] for piece in pieces}) > 10


def test_texts_and_profiles_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name, words in (("empty.txt", "empty"), ("bytes.txt", "UTF-8"), ("none.txt", "none.txt")):
        with pytest.raises(InputError, match=words):
            list(read_pieces([tmp_path / name]))
    with pytest.raises(InputError, match="known: phone, raspberry-pi-5, laptop"):
        choose_profiles("toaster")
