"""Stage 13 on small models: figures against transformers, arms and seeds, resuming, refusing."""

import json
import math
import re
from collections import Counter

import pytest
import torch
from small_handoff import SECTIONS, put_handoff, put_models, random_model

from conftest import Bench
from downstream import evaluation
from downstream.differences import compare
from downstream.evaluate import RESULT, STAGE, EvaluateConfig, bits_per_byte
from downstream.evaluate_config import LikenessConfig
from downstream.export import export_gguf
from downstream.gate import GateConfig
from downstream.quantize import quantize_file
from downstream.results_schema import Results
from pipeline.errors import StageError
from pipeline.records import read_rows

SMALL = EvaluateConfig(
    context_tokens=64, max_validation_bytes=6_000, likeness=None, prompt_tokens=16, prompts=(8,),
    decode_tokens=4, depths=(0,), repetitions=1, memory_contexts=(), share_tokens=None, threads=1,
)  # fmt: skip


def changed(**fields):
    return SMALL.model_copy(update=fields)


def put(bench, types, **models):
    """Models of arms, quantized, before evaluate; the sections, the handoff and its path."""
    path, handoff = put_handoff(bench)
    put_models(bench, **models)

    def write(out):  # as stage 12 does it, without holding each file against transformers
        for name in models:
            (out / name).mkdir()
            full = out / name / "model-F16.gguf"
            export_gguf(bench.run / "11-train" / name, full)
            for kind in types:
                quantize_file(full, out / name / f"model-{kind}.gguf", kind, None, 1)

    bench.put(12, "quantize", write, {"types": ["F16", *types]})
    return SECTIONS, handoff, path


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """An arm trained once and one with two seeds: what was sealed, the bench, the documents."""
    bench = Bench(tmp_path_factory.mktemp("measured") / "run")
    seeds = {"kept@1": random_model(seed=1), "kept@2": random_model(seed=2)}
    sections, handoff, path = put(bench, ("Q8_0",), raw=random_model(), **seeds)
    config = changed(likeness=LikenessConfig(max_bytes=2_000), memory_contexts=(4_096,))
    sealed = bench.make(STAGE, *sections, config)
    documents = list(read_rows([path.parent / handoff.validation.documents.path]))
    return sealed, bench, documents


def row_of(sealed, arm, kind):
    (found,) = [m for m in sealed.facts["models"] if (m["arm"], m["type"]) == (arm, kind)]
    return found


def rows_of(sealed, arm, **wanted):
    rows = read_rows([sealed.file(f"{arm}/results.parquet")])
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


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


@pytest.mark.parametrize(("folder", "arm", "seed"), [("raw", "raw", None), ("kept@2", "kept", "2")])
def test_bits_are_those_of_transformers_on_the_same_windows(measured, folder, arm, seed):
    from transformers import LlamaForCausalLM

    sealed, bench, documents = measured
    model = LlamaForCausalLM.from_pretrained(bench.run / "11-train" / folder).eval()
    rows = rows_of(sealed, arm, type="F16", seed=seed)
    by_id = {row["doc_id"]: row for row in documents}
    chosen = [by_id[row["doc_id"]] for row in rows]
    assert max(len(row["tokens"]) for row in chosen) > 3 * SMALL.context_tokens
    nats = nats_by_transformers(model, chosen, SMALL.context_tokens)
    assert [row["nats"] for row in rows] == pytest.approx(nats, rel=1e-3)


def test_there_is_one_row_for_each_type_seed_and_document_that_fits(measured):
    sealed, _, documents = measured
    chosen, taken = [], 0
    for row in documents:
        if taken + row["n_bytes"] <= SMALL.max_validation_bytes:
            chosen, taken = [*chosen, row], taken + row["n_bytes"]
    assert 3 <= len(chosen) < len(documents)
    columns = ("type", "seed", "doc_id", "group", "kind", "keep", "n_bytes", "scored_tokens")
    for arm, seeds in (("raw", [None]), ("kept", ["1", "2"])):
        rows = rows_of(sealed, arm)
        assert set(rows[0]) == set(RESULT.names)
        expected = Counter(
            (kind, seed, row["doc_id"], row["group"], row["kind"], row["keep"], row["n_bytes"],
             len(row["tokens"]))
            for kind in ("F16", "Q8_0") for seed in seeds for row in chosen
        )  # fmt: skip
        assert Counter(tuple(row[name] for name in columns) for row in rows) == expected


def test_the_parts_make_up_the_whole_and_seeds_their_mean(measured):
    sealed = measured[0]
    model, rows = row_of(sealed, "kept", "Q8_0"), rows_of(sealed, "kept", type="Q8_0")
    parts = [
        ("keep", {True: model["bits_per_byte_kept"], False: model["bits_per_byte_not_kept"]}),
        ("kind", model["bits_per_byte_by_kind"]),
    ]
    for column, figures in parts:
        assert set(figures) == {row[column] for row in rows}
        for value, figure in figures.items():
            some = [row for row in rows if row[column] == value]
            assert figure == bits_per_byte(some)
        assert min(figures.values()) < model["bits_per_byte"] < max(figures.values())
    one, two = (bits_per_byte([r for r in rows if r["seed"] == seed]) for seed in "12")
    assert model["seeds"] == ["1", "2"]
    assert model["bits_per_byte"] == pytest.approx((one + two) / 2, abs=1e-5)
    assert one != two
    assert model["bits_per_byte_spread"] == pytest.approx(abs(one - two), abs=1e-5)
    assert row_of(sealed, "raw", "F16")["bits_per_byte_spread"] is None
    assert bits_per_byte([]) is None


def test_arms_are_compared_on_the_same_documents_before_and_after_quantization(measured):
    sealed, _, documents = measured
    found = {(c["type"], c["subset"]): c for c in sealed.facts["comparisons"]}
    kinds = {row["kind"] for row in documents}
    assert set(found) == {
        (t, s) for t in ("F16", "Q8_0") for s in ("all", "kept", "not kept", *kinds)
    }
    for kind in ("F16", "Q8_0"):
        told = found[kind, "all"]
        ours, theirs = (row_of(sealed, told[name], kind) for name in ("arm", "than"))
        difference = ours["bits_per_byte"] - theirs["bits_per_byte"]
        assert told["difference_bits_per_byte"] == pytest.approx(difference, abs=1e-4)
        assert told["low"] <= told["difference_bits_per_byte"] <= told["high"]


def test_the_report_and_the_results_hold_every_model(measured):
    sealed = measured[0]
    told, page = (sealed.file(f"report.{kind}").read_text() for kind in ("md", "html"))
    for model in sealed.facts["models"]:
        size = f"{model['file_mib']:.4g}"
        verdict = rf"{size} \| {model['verdict']} \|"
        assert re.search(rf"\| {model['arm']} \| {model['type']} \| .*{verdict}", told)
        cells = rf"<tr><td>{model['arm']}</td><td>{model['type']}</td>.*<td>{size}</td>"
        assert re.search(cells, page)
    fingerprint = sealed.manifest.needs["handoff"]
    for text in (told, page):
        assert fingerprint in text
        assert "rules of a stand-in" in text
        for title in ("Likeness to F16", "Arms against each other", "Memory", "Recommended",
                      "Claims of the survey", "This machine, predicted"):  # fmt: skip
            assert title in text
    pictures = {path.name for path in sealed.files("*.png")}
    assert pictures == {"pareto.png", "quality.png", "speed.png", "prefill.png", "memory.png"}
    assert page.count("data:image/png;base64,") == len(pictures)
    assert "<script" not in page
    results = Results.model_validate_json(sealed.file("results.json").read_text())
    assert [(m.arm, m.type) for m in results.models] == [
        (m["arm"], m["type"]) for m in sealed.facts["models"]
    ]
    assert results.of["dataset_fingerprint"] == fingerprint
    assert results.gate == sealed.facts["gate"]


def test_cost_is_measured_once_for_a_shape_and_type(measured):
    sealed = measured[0]
    assert set(json.loads(sealed.file("speed.json").read_text())) == {"kept.1.F16", "kept.1.Q8_0"}
    for model in sealed.facts["models"]:
        for name in ("prefill_tokens_per_s", "decode_tokens_per_s", "peak_mem_mib", "load_s"):
            assert 0 < model[name] < math.inf
        same = row_of(sealed, "raw", model["type"])
        assert model["decode_tokens_per_s"] == same["decode_tokens_per_s"]
        assert model["peak_mem_mib"] > model["file_mib"]  # mmap is off: the weights are in it
        assert model["memory"][0]["context_tokens"] == 4_096
        assert model["matrix"] is None
        assert (model["likeness"] is None) == (model["type"] == "F16")
    assert 0 < row_of(sealed, "raw", "Q8_0")["likeness"]["kl_mean_nats"] < 0.1


def test_packers_and_token_pairs_stand_beside_the_models(measured):
    assert set(measured[0].facts["baselines"]) == {
        "gzip -9", "zstd -19", "xz -9", "token bigrams of raw", "token bigrams of kept",
    }  # fmt: skip
    assert all(1 < bits < 6 for bits in measured[0].facts["baselines"].values())


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Two rounds over two models, stopped once and run again: what was begun, and what ended."""
    bench = Bench(tmp_path_factory.mktemp("stopped") / "run")
    sections, _, _ = put(bench, ("Q2_K",), raw=random_model())
    strict = GateConfig(max_lost_bits_per_byte=None, min_top1_agreement=0.999)
    config = changed(repetitions=2, gate=strict, likeness=LikenessConfig(max_bytes=2_000))
    begun, ended, real = [], [], evaluation.run_measure

    def run(*arguments):
        begun.append(arguments)
        if len(begun) == 6:
            raise KeyboardInterrupt
        result = real(*arguments)
        ended.append((arguments, result))
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "run_measure", run)
        with pytest.raises(KeyboardInterrupt):
            bench.make(STAGE, *sections, config)
        assert not (bench.run / "13-evaluate").exists()
        return bench.make(STAGE, *sections, config), begun, ended


def test_what_was_measured_before_a_stop_is_not_measured_again(stopped):
    _, begun, ended = stopped
    assert begun[6] == begun[5]  # what was interrupted is begun again, and nothing else
    times = Counter(arguments[:2] for arguments, _ in ended)
    assert sorted(times.values()) == [1, 1, 1, 2, 2]  # quality and likeness once, rounds twice


def test_rounds_go_over_all_models_and_the_median_is_told_with_its_spread(stopped):
    sealed, _, ended = stopped
    speeds = [
        (re.search(r"model-(\w+)\.gguf", arguments[1])[1], result["decode_tokens_per_s"]["0"])
        for arguments, result in ended
        if arguments[0] == "cost"
    ]
    # in turn, so that a neighbour's load falls on both alike
    assert [name for name, _ in speeds] == ["F16", "Q2_K"] * 2
    for name in ("F16", "Q2_K"):
        low, high = sorted(speed[0] for of, speed in speeds if of == name)
        model, middle = row_of(sealed, "raw", name), (low + high) / 2
        assert model["decode_tokens_per_s"] == pytest.approx(middle, rel=1e-4)
        assert model["decode_spread"] == pytest.approx((high - low) / middle, abs=1e-3)


def test_a_run_whose_types_lose_too_much_is_put_on_hold_with_the_reason(stopped):
    gate = stopped[0].facts["gate"]
    assert gate["verdict"] == "hold"
    assert gate["recommended"] == {"raw": None}
    assert any("top-1 agreement" in reason for reason in gate["reasons"])
    assert row_of(stopped[0], "raw", "F16")["verdict"] == "promote"


def test_a_measure_too_small_for_any_document_is_refused_with_a_cure(bench):
    sections, _, _ = put(bench, ("Q8_0",), raw=random_model())
    cure = r"no held-out document fits into 100 bytes; raise evaluate\.max_validation_bytes"
    with pytest.raises(StageError, match=cure):
        bench.make(STAGE, *sections, changed(max_validation_bytes=100))


def test_a_file_that_is_no_model_is_told_in_one_line(bench):
    put_handoff(bench)

    def write(out):
        (out / "raw").mkdir()
        (out / "raw" / "model-F16.gguf").write_bytes(b"GGUF and nothing more")

    bench.put(12, "quantize", write, {"types": ["F16"]})
    with pytest.raises(StageError, match=r"model-F16\.gguf is no GGUF file of a model") as failed:
        bench.make(STAGE, *SECTIONS, SMALL)
    assert "\n" not in str(failed.value)


def told(arm_nats, seeds=(None,), groups=8):
    """Documents of 100 bytes, two a group; `arm_nats(seed, i)` is what an arm needs."""
    return [
        {"seed": seed, "doc_id": str(i), "group": str(i // 2), "n_bytes": 100,
         "nats": arm_nats(seed, i)}
        for seed in seeds
        for i in range(2 * groups)
    ]  # fmt: skip


def test_a_difference_that_all_documents_show_is_found_and_noise_is_not():
    same = told(lambda seed, i: 100.0 + i)
    better = compare(told(lambda seed, i: 90.0 + i), same, 1)
    assert better["difference_bits_per_byte"] == pytest.approx(-0.1 / math.log(2), abs=1e-5)
    assert better["verdict"] == "better"
    assert better["low"] == better["high"]  # every group shows the same
    assert compare(same, told(lambda seed, i: 90.0 + i), 1)["verdict"] == "worse"
    noise = compare(told(lambda seed, i: 100.0 + i + (-1) ** (i // 2)), same, 1)
    assert noise["verdict"] == "no difference shown"
    assert noise["low"] < 0 < noise["high"]


def test_documents_of_one_group_are_not_taken_for_independent():
    """Half of the groups speak for, half against: with 8 groups it is less sure than with 80."""
    few, many = (
        compare(
            told(lambda seed, i: 100 + 5 * (-1) ** (i // 2) - 1, groups=n),
            told(lambda seed, i: 100.0, groups=n), 1,
        )
        for n in (8, 80)
    )  # fmt: skip
    assert few["high"] - few["low"] > 2 * (many["high"] - many["low"])
    assert few["verdict"] == "no difference shown"
    alone = compare(told(lambda s, i: 90.0, groups=1), told(lambda s, i: 100.0, groups=1), 1)
    assert (alone["low"], alone["verdict"]) == (None, "too few groups")


def test_seeds_that_disagree_widen_the_interval():
    agree = compare(told(lambda s, i: 98.0, (1, 2, 3)), told(lambda s, i: 100.0, (1, 2, 3)), 1)
    nats = {1: 90.0, 2: 101.0, 3: 103.0}
    differ = compare(told(lambda s, i: nats[s], (1, 2, 3)), told(lambda s, i: 100.0, (1, 2, 3)), 1)
    assert agree["difference_bits_per_byte"] == differ["difference_bits_per_byte"]
    assert agree["seeds"] == differ["seeds"] == 3
    assert agree["verdict"] == "better"
    assert differ["verdict"] == "no difference shown"
    unpaired = compare(told(lambda s, i: 98.0, (1, 2)), told(lambda s, i: 100.0), 1)
    assert unpaired["seeds"] == 1  # means over the seeds are compared
    assert compare([], [], 1) is None
