"""What a file costs, measured on a small random one: figures that must hold on any machine."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.random_models import write_random
from downstream.cost import Plan, measure_cost
from downstream.cost_memory import measure_memory, read_architecture
from downstream.cost_share import ATTENTION, NOTHING, OTHER, PRODUCT, kind_of, measure_share
from downstream.energy import open_meter
from downstream.llama_bench import run_llama_bench
from downstream.llama_session import Session, some_tokens
from downstream.machine import describe_machine, pin_threads, watched
from downstream.measuring import middle, once, run_measure, spread, summarize_rounds
from downstream.quantize import quantize_file
from downstream.shape import Shape
from pipeline.errors import StageError

SMALL = Shape(512, 256, 2, 4, 2, 256, 512)
PLAN = Plan(prompts=(8, 32), depths=(0, 16), decode_tokens=4, headline_prompt=16, repetitions=2)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """One model at F16 and at four bits."""
    folder = tmp_path_factory.mktemp("random")
    paths = {kind: folder / f"model-{kind}.gguf" for kind in ("F16", "Q4_0")}
    write_random(paths["F16"], SMALL)
    quantize_file(paths["F16"], paths["Q4_0"], "Q4_0", None, 1)
    return paths


@pytest.fixture(autouse=True)
def unpinned():
    """Measures pin the process that they run in, here this one."""
    allowed = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, allowed)


def test_a_session_tells_the_same_logits_however_tokens_are_fed(files):
    """Prefill at once, or one by one, or through llama-cpp-python: the same likeliest token."""
    import llama_cpp

    tokens = some_tokens(40, SMALL.vocabulary)
    with Session(files["F16"], 64, 1) as session:
        session.open_context()
        assert session.vocabulary == SMALL.vocabulary
        session.feed(tokens)
        at_once = session.likeliest()
        session.clear()
        session.decode(tokens)
        assert session.likeliest() == at_once
        session.clear()
        session.feed(tokens[:7])
        assert session.likeliest() != at_once  # else the test could not fail
    llama = llama_cpp.Llama(str(files["F16"]), n_ctx=64, logits_all=True, verbose=False)
    llama.eval(tokens)
    assert int(np.argmax(llama.scores[39])) == at_once
    llama.close()


def test_a_round_holds_every_figure_of_the_plan(files):
    found = run_measure("cost", str(files["F16"]), "--threads=1", *PLAN.arguments())
    assert set(found["prefill_s"]) == {"8", "32"}
    assert set(found["decode_tokens_per_s"]) == {"0", "16"}
    figures = [*found["prefill_s"].values(), *found["decode_tokens_per_s"].values()]
    assert all(len(values) == 2 and min(values) > 0 for values in figures)
    assert found["cold_first_token_s"] > found["load_s"] > 0
    assert len(found["first_token_s"]) == 2
    assert found["peak_mem_mib"] > files["F16"].stat().st_size / 2**20  # mmap is off
    assert len(found["processors"]) == 1
    assert 0 <= found["others_cpu_share"] <= 1


def test_the_time_of_a_measure_is_that_of_the_work(files):
    """Twenty times the tokens take several times as long; a clock started late would not see it."""
    tokens = some_tokens(400, SMALL.vocabulary)
    with Session(files["F16"], 512, 1) as session:
        session.open_context()
        session.feed(tokens)
        short, long = [], []
        for _ in range(9):
            session.clear()
            short.append(session.feed(tokens[:20]))
            session.clear()
            long.append(session.feed(tokens))
    assert min(long) > 4 * min(short)


def test_what_the_context_does_not_allow_is_left_out():
    plan = Plan((32, 512, 4_096), (0, 128, 1_024), 64, 128).within(256)
    assert plan.prompts == (32, 128)
    assert plan.depths == (0, 128)
    assert plan.headline_prompt == 128
    assert plan.context_tokens == 192
    assert Plan(headline_prompt=128, decode_tokens=64).within(100).headline_prompt == 36
    tiny = Plan(decode_tokens=64).within(32)
    assert (tiny.decode_tokens, tiny.headline_prompt, tiny.depths) == (32, 1, (0,))


def test_the_shape_is_read_from_the_file(files):
    full, four = (read_architecture(path) for path in files.values())
    assert (full.layers, full.kv_heads, full.key_width) == (2, 2, 64)
    assert full.kv_bytes_per_token == 2 * 2 * 2 * 64 * 2
    assert full.vocabulary == SMALL.vocabulary
    matrices = full.weights - 5 * 256  # norms stay F32
    assert full.weight_bytes == full.read_bytes_per_token == 2 * matrices + 4 * 5 * 256
    assert four.weight_bytes < 0.4 * full.weight_bytes
    assert dict(four.tensors)["Q4_0"] == 14


def test_memory_grows_by_the_cache_alone_as_computed(files):
    """Between two contexts, in processes of their own, weights and rest stay."""
    small, large = (
        run_measure("cost_memory", str(files["F16"]), f"--context={n}", "--threads=1")
        for n in (1_024, 65_536)
    )
    grown = large["kv_cache_mib"] - small["kv_cache_mib"]
    computed = large["kv_cache_computed_mib"] - small["kv_cache_computed_mib"]
    assert computed == pytest.approx(64_512 * 1_024 / 2**20)
    bookkeeping = 64_512 * 64 / 2**20  # llama.cpp's of each place, about 50 bytes
    assert 0.99 * computed < grown < computed + bookkeeping
    assert large["kv_share"] > 0.75 > small["kv_share"]
    whole = large["weights_mib"] + large["kv_cache_mib"] + large["rest_mib"]
    assert large["kv_share"] == pytest.approx(large["kv_cache_mib"] / whole, abs=1e-3)


def test_memory_is_measured_where_the_context_is_tiny(files):
    found = run_measure("cost_memory", str(files["F16"]), "--context=16", "--threads=1")
    assert found["context_tokens"] == 16
    assert found["weights_mib"] > 1
    assert found["rest_mib"] >= 0


def test_what_does_not_fit_is_computed_and_not_measured(files):
    """A terabyte of cache, which no machine here has."""
    found = measure_memory(files["F16"], 2**30, 1)
    assert found["kv_cache_computed_mib"] == 2**20
    assert found["kv_share_computed"] > 0.99
    assert found["weights_mib"] is found["kv_cache_mib"] is found["kv_share"] is None


def test_products_are_told_from_attention_and_the_rest(files):
    found = measure_share(files["F16"], depth=8, decode=4, threads=1)
    assert 0 < found["attention_share"] < found["product_share"] < 1
    assert found["product_ms_per_token"] > 0
    assert found["slowdown"] > 0
    assert kind_of("MUL_MAT", "ffn_up-0") == PRODUCT
    assert kind_of("MUL_MAT", "kqv-1") == kind_of("FLASH_ATTN_EXT", "node_7") == ATTENTION
    assert kind_of("RMS_NORM", "norm-0") == OTHER
    assert kind_of("VIEW", "cache_k_l0 (view)") == NOTHING


def test_watching_does_not_change_what_is_computed(files):
    import llama_cpp

    from downstream.cost_share import Stopwatch

    watch = Stopwatch()
    callback = llama_cpp.ggml_backend_sched_eval_callback(watch.on_node)
    tokens, told = some_tokens(12, SMALL.vocabulary), []
    for on_node in (None, callback):
        with Session(files["F16"], 64, 1, on_node) as session:
            session.open_context()
            session.feed(tokens[:8])
            watch.kinds.clear()
            session.decode(tokens[8:9])
            if on_node is not None:
                watch.learn()
                watch.start()
            session.decode(tokens[9:10])
            told.append(session.likeliest())
    assert told[0] == told[1]
    assert watch.kinds.count(PRODUCT) == 2 * 7 + 1  # of each layer, and the last


def test_medians_and_spreads_are_over_all_repetitions_of_all_rounds():
    def one(seconds, speeds, share):
        return {
            "prefill_s": {"16": seconds}, "decode_tokens_per_s": {"0": speeds, "8": [9.0]},
            "headline_prompt_tokens": 16, "load_s": 0.5, "first_token_s": [1.0, 3.0],
            "cold_first_token_s": 2.0, "peak_mem_mib": 7.0, "interpreter_mib": 30.0,
            "decode_joules_per_token": None, "others_cpu_share": share, "load_average": 1.0,
        }  # fmt: skip

    found = summarize_rounds([one([1.0, 4.0], [10.0, 30.0], 0.2), one([2.0], [20.0], 0.4)])
    assert found["prefill_tokens_per_s"] == 8.0
    assert found["decode_tokens_per_s"] == 20.0
    assert found["decode_spread"] == 1.0
    assert found["decode"][0]["lowest"] == 10.0
    assert found["decode"][0]["highest"] == 30.0
    assert found["repetitions"] == 3
    assert found["first_token_s"] == 2.0
    assert found["others_cpu_share"] == pytest.approx(0.3)
    assert found["decode_joules_per_token"] is None
    assert middle([1, 5, 2]) == 2
    assert spread([1, 2, 4]) == 1.5


def test_a_measure_that_fails_is_one_line_with_the_file(tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(b"GGUF and nothing more")
    with pytest.raises(StageError, match=r"measuring \S*cut\.gguf failed \(1\): ") as failed:
        run_measure("cost", str(path), "--threads=1")
    assert "\n" not in str(failed.value)


def test_what_was_measured_is_read_back(tmp_path):
    path = tmp_path / "one.json"
    assert once(path, lambda: {"a": 1}) == {"a": 1}
    assert once(path, lambda: pytest.fail("measured twice")) == {"a": 1}


def test_the_load_of_others_is_seen_and_our_own_is_not():
    """A neighbour on one processor of all; ours is work of this process."""
    with watched() as quiet:
        sum(i * i for i in range(300_000))
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with watched() as disturbed:
            statistics.median(range(2_000_000))
            for _ in range(20):
                sum(i for i in range(100_000))
    finally:
        busy.kill()
        busy.wait()
    assert 0 <= quiet.others_cpu_share <= 1
    assert disturbed.others_cpu_share > 0.2 / os.cpu_count()


def test_threads_are_pinned_to_as_many_processors():
    allowed = sorted(os.sched_getaffinity(0))
    assert pin_threads(1) == allowed[:1]
    assert os.sched_getaffinity(0) == {allowed[0]}


def test_the_machine_and_the_build_are_named():
    found = describe_machine(1)
    assert found["processor"]
    assert found["build"].startswith("ggml 0.")
    assert "AVX" in found["build"] or "NEON" in found["build"]
    assert 0.5 < found["bandwidth_gb_per_s"] < 2_000
    assert found["simd_bits"] in {256, 512, 1024}
    json.dumps(found)


def write_package(folder: Path, name: str, microjoules: int, most: int) -> None:
    package = folder / name
    package.mkdir(parents=True)
    (package / "energy_uj").write_text(f"{microjoules}\n")
    (package / "max_energy_range_uj").write_text(f"{most}\n")


def test_energy_is_read_from_the_packages_counters_through_a_wrap(tmp_path):
    write_package(tmp_path, "intel-rapl:0", 900_000, 1_000_000)
    write_package(tmp_path, "intel-rapl:1", 0, 1_000_000)
    write_package(tmp_path, "intel-rapl:0:0", 5, 1_000_000)  # a part of the first: not counted
    meter = open_meter(tmp_path)
    before = meter.read()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("100000")  # wrapped
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("300000")
    assert meter.joules_since(before) == pytest.approx(0.2 + 0.3)


def test_without_counters_energy_is_null_with_the_reason(tmp_path):
    for folder, reason in (
        (tmp_path / "none", "does not exist"), (tmp_path, "no package with energy_uj"),
    ):  # fmt: skip
        meter = open_meter(folder)
        assert reason in meter.why_not
        assert meter.joules_since(meter.read()) is None


def test_llama_bench_is_asked_for_one_thing(files):
    with pytest.raises(ValueError, match="not both"):
        run_llama_bench(Path("llama-bench"), files["F16"], 8, 8, 0, 1, 1)


@pytest.mark.slow
def test_speeds_are_of_the_order_of_llama_bench_s(files):
    """Within a factor, for neighbours disturb; benchmarks/evaluation.py holds the 3 %."""
    from downstream.llama_source import llama_program

    program = llama_program("llama-bench")
    plan = Plan((64,), (0,), 32, 64, 9)
    ours = measure_cost(files["F16"], plan, 1)["decode_tokens_per_s"]["0"]
    theirs = run_llama_bench(program, files["F16"], None, 32, 0, 1, 9)
    assert 0.5 < max(ours) / max(theirs) < 2
