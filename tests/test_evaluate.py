"""Stage 13 on small models: the figures against transformers, the gate, resuming, refusing."""

import math
import re
from collections import Counter

import pytest
import torch
from small_handoff import SECTIONS, put_handoff, put_models, random_model

from conftest import Bench
from downstream import evaluate
from downstream.evaluate import RESULT, STAGE, EvaluateConfig, bits_per_byte
from downstream.quantize import STAGE as QUANTIZE
from downstream.quantize import QuantizeConfig
from downstream.train import STAGE as TRAIN
from downstream.train import TrainConfig
from pipeline.errors import StageError
from pipeline.records import read_rows

SMALL = EvaluateConfig(
    context_tokens=64, max_validation_bytes=6_000, prompt_tokens=16, decode_tokens=4,
    repetitions=1, threads=1, max_loss_bits_per_byte=0.002,
)  # fmt: skip
# trained until two bits cost several times that limit (0.007 and 0.013), eight bits under a third
TRAINED = TrainConfig(
    hidden=256, layers=1, heads=4, kv_heads=2, feed_forward=256, sequence_tokens=64, steps=60,
    sequences_per_step=4, threads=1, arms=("raw", "kept+synthetic"),
)  # fmt: skip
TYPES = ("F16", "Q8_0", "Q2_K")


def changed(**fields):
    return SMALL.model_copy(update=fields)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two arms through stages 11 to 13: what evaluate sealed, the bench, the validation set."""
    bench = Bench(tmp_path_factory.mktemp("measured") / "run")
    path, handoff = put_handoff(bench)
    bench.stages += [TRAIN, QUANTIZE]
    types = QuantizeConfig(types=TYPES[1:], threads=1)
    sealed = bench.make(STAGE, *SECTIONS, TRAINED, types, SMALL)
    documents = list(read_rows([path.parent / handoff.validation.documents.path]))
    return sealed, bench, documents


def put_random(bench, *types):
    """One random model, quantized, before evaluate."""
    put_handoff(bench)
    put_models(bench, raw=random_model())
    bench.stages.append(QUANTIZE)
    return (*SECTIONS, QuantizeConfig(types=types, threads=1))


def models(sealed, arm="raw"):
    return {m["type"]: m for m in sealed.facts["models"] if m["arm"] == arm}


def nats_by_transformers(model, documents, window_tokens):
    """For each document, by the definition: a token is told from those before it in its window."""
    nats = []
    for row in documents:
        ids = torch.tensor([0, *row["tokens"]])  # the first token is told from the end of text
        total = 0.0
        for begin in range(0, len(ids) - 1, window_tokens):
            window = ids[begin : begin + window_tokens + 1]
            with torch.no_grad():
                loss = model(window[None, :-1]).logits[0].log_softmax(-1)
            total -= loss.gather(1, window[1:, None]).sum().item()
        nats.append(total)
    return nats


def test_bits_per_byte_are_those_of_transformers_on_the_same_windows(measured):
    from transformers import LlamaForCausalLM

    sealed, bench, documents = measured
    for arm in TRAINED.arms:
        model = LlamaForCausalLM.from_pretrained(bench.run / "11-train" / arm).eval()
        rows = [
            row
            for row in read_rows([sealed.file(f"{arm}/results.parquet")])
            if row["type"] == "F16"
        ]
        by_id = {row["doc_id"]: row for row in documents}
        chosen = [by_id[row["doc_id"]] for row in rows]
        assert max(len(row["tokens"]) for row in chosen) > 3 * SMALL.context_tokens
        nats = nats_by_transformers(model, chosen, SMALL.context_tokens)
        assert [row["nats"] for row in rows] == pytest.approx(nats, rel=1e-3)
        bits = sum(nats) / math.log(2) / sum(row["n_bytes"] for row in chosen)
        assert models(sealed, arm)["F16"]["bits_per_byte"] == pytest.approx(bits, rel=1e-3)


def test_there_is_one_row_for_each_type_and_document_that_fits(measured):
    sealed, _, documents = measured
    chosen, taken = [], 0
    for row in documents:
        if taken + row["n_bytes"] <= SMALL.max_validation_bytes:
            chosen, taken = [*chosen, row], taken + row["n_bytes"]
    assert 3 <= len(chosen) < len(documents)
    expected = Counter(
        (name, row["doc_id"], row["kind"], row["keep"], row["n_bytes"], len(row["tokens"]))
        for name in TYPES
        for row in chosen
    )
    for arm in TRAINED.arms:
        rows = list(read_rows([sealed.file(f"{arm}/results.parquet")]))
        assert set(rows[0]) == set(RESULT.names)
        assert {row["arm"] for row in rows} == {arm}
        columns = ("type", "doc_id", "kind", "keep", "n_bytes", "scored_tokens")
        assert Counter(tuple(row[name] for name in columns) for row in rows) == expected


def test_the_parts_make_up_the_whole(measured):
    sealed = measured[0]
    rows = [r for r in read_rows([sealed.file("raw/results.parquet")]) if r["type"] == "Q8_0"]
    model = models(sealed)["Q8_0"]
    parts = [
        ("keep", {True: model["bits_per_byte_kept"], False: model["bits_per_byte_not_kept"]}),
        ("kind", model["bits_per_byte_by_kind"]),
    ]
    for column, figures in parts:
        assert set(figures) == {row[column] for row in rows}
        for value, figure in figures.items():
            some = [row for row in rows if row[column] == value]
            nats, size = sum(r["nats"] for r in some), sum(r["n_bytes"] for r in some)
            assert figure == pytest.approx(nats / math.log(2) / size, abs=1e-5)
        assert len(figures) == 2
        assert min(figures.values()) < model["bits_per_byte"] < max(figures.values())
    assert bits_per_byte([]) is None


@pytest.mark.parametrize("arm", TRAINED.arms)
def test_a_type_that_loses_more_than_is_allowed_is_put_on_hold(measured, arm):
    found = models(measured[0], arm)
    for model in found.values():
        lost = model["bits_per_byte"] - found["F16"]["bits_per_byte"]
        assert model["lost_bits_per_byte"] == pytest.approx(lost, abs=1e-5)
    verdicts = {name: model["verdict"] for name, model in found.items()}
    assert verdicts == {"F16": "promote", "Q8_0": "promote", "Q2_K": "hold"}


@pytest.mark.parametrize("arm", TRAINED.arms)
def test_the_reports_hold_every_type_of_every_arm_with_its_verdict(measured, arm):
    sealed = measured[0]
    told = sealed.file(f"{arm}/report.md").read_text()
    page = sealed.file(f"{arm}/report.html").read_text()
    for model in sealed.facts["models"]:
        size = f"{model['file_mib']:.4g}"
        row = rf"\| {re.escape(model['arm'])} \| {model['type']} \| .* {size} \| {model['verdict']}"
        assert re.search(row, told)
        cells = rf"<tr><td>{re.escape(model['arm'])}</td><td>{model['type']}</td>.*"
        assert re.search(rf"{cells}<td>{size}</td><td>{model['verdict']}</td></tr>", page)
    fingerprint = sealed.manifest.needs["handoff"][:16]
    for text in (told, page):
        assert f"Evaluation of the arm {arm}" in text
        assert fingerprint in text
        assert "rules of a stand-in" in text
    assert page.count("data:image/png;base64,") == 2
    assert "<script" not in page


def test_speeds_and_memory_are_measured(measured):
    for model in measured[0].facts["models"]:
        for name in ("prefill_tokens_per_s", "decode_tokens_per_s", "peak_mem_mib", "load_s"):
            assert 0 < model[name] < math.inf
        assert model["peak_mem_mib"] > model["file_mib"]  # mmap is off: the weights are in it
    smaller, larger = (models(measured[0])[name]["file_mib"] for name in ("Q2_K", "F16"))
    assert smaller < larger / 2


def test_packers_stand_beside_the_models_and_text_is_not_random(measured):
    assert set(measured[0].facts["baselines"]) == {"gzip -9", "xz -9"}
    assert all(1 < bits < 6 for bits in measured[0].facts["baselines"].values())


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Three rounds over two models, stopped once and run again: what was begun, and what ended."""
    bench = Bench(tmp_path_factory.mktemp("stopped") / "run")
    sections = (*put_random(bench, "Q8_0"), changed(repetitions=3))
    begun, ended, real = [], [], evaluate._run

    def run(*arguments):
        begun.append(arguments)
        if len(begun) == 5:
            raise KeyboardInterrupt
        result = real(*arguments)
        ended.append((arguments, result))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "_run", run)
        with pytest.raises(KeyboardInterrupt):
            bench.make(STAGE, *sections)
        assert not (bench.run / "13-evaluate").exists()
        return bench.make(STAGE, *sections), begun, ended


def test_what_was_measured_before_a_stop_is_not_measured_again(stopped):
    _, begun, ended = stopped
    assert begun[5] == begun[4]  # what was interrupted is begun again, and nothing else
    times = Counter(arguments for arguments, _ in ended)
    assert sorted(times.values()) == [1, 1, 3, 3]  # two models' quality, and their three rounds


def test_the_median_of_the_rounds_is_told_with_its_spread(stopped):
    sealed, _, ended = stopped
    speeds = [
        (re.search(r"model-(\w+)\.gguf", arguments[1])[1], result["decode_tokens_per_s"])
        for arguments, result in ended
        if arguments[0] == "speed"
    ]
    # in turn, so that a neighbour's load falls on both alike
    assert [name for name, _ in speeds] == ["F16", "Q8_0"] * 3
    for name, model in models(sealed).items():
        low, middle, high = sorted(speed for of, speed in speeds if of == name)
        assert model["decode_tokens_per_s"] == pytest.approx(middle, abs=1e-3)
        assert model["decode_spread"] == pytest.approx((high - low) / middle, abs=1e-3)


def test_a_measure_too_small_for_any_document_is_refused_with_a_cure(bench):
    sections = put_random(bench, "Q8_0")
    cure = r"no held-out document fits into 1000 bytes; raise evaluate\.max_validation_bytes"
    with pytest.raises(StageError, match=cure):
        bench.make(STAGE, *sections, changed(max_validation_bytes=1_000))


def test_a_file_that_is_no_model_is_told_in_one_line(bench):
    put_handoff(bench)

    def write(out):
        (out / "raw").mkdir()
        (out / "raw" / "model-F16.gguf").write_bytes(b"GGUF and nothing more")

    bench.put(12, "quantize", write, {"types": ["F16"]})
    with pytest.raises(StageError, match=r"measuring \S*model-F16\.gguf failed \(1\): ") as failed:
        bench.make(STAGE, *SECTIONS, SMALL)
    assert "\n" not in str(failed.value)
