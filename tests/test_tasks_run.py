"""The process that scores tasks: both readers alike on the shared files, resumed, never hanging."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from small_language_model import small_model
from task_files import arc_rows, put_rows

from conftest import SHARED_DATA
from downstream.task_config import TaskConfig, TasksConfig
from downstream.tasks import paired_difference, score_tasks
from pipeline.errors import InputError, StageError
from pipeline.records import read_rows

pytestmark = pytest.mark.slow

FILES = {
    "arc_easy": "arc_easy_test.jsonl.gz", "arc_challenge": "arc_challenge_test.jsonl.gz",
    "hellaswag": "hellaswag_small.jsonl", "piqa": "piqa_val.jsonl.gz",
    "boolq": "boolq_val.jsonl.gz", "winogrande": "winogrande_val.jsonl.gz",
    "openbookqa": "openbook_qa_test.jsonl.gz", "mmlu": "mmlu_redux.jsonl.gz",
    "mmlu_redux": "mmlu_redux.jsonl.gz", "truthfulqa_mc1": "TruthfulQA.csv.gz",
    "truthfulqa_mc2": "TruthfulQA.csv.gz", "commonsense_qa": "commonsense_qa_val.jsonl.gz",
    "siqa": "siqa_val.jsonl.gz", "copa": "copa.jsonl.gz", "gsm8k": "gsm8k_test.jsonl.gz",
    "humaneval": "HumanEval.jsonl.gz", "mbpp": "mbpp.jsonl.gz",
}  # fmt: skip
ITEMS = 24


def shared_tasks(**fields):
    folder = SHARED_DATA / "benchmarks"
    if not folder.is_dir():
        pytest.skip(f"the benchmark files are not on this machine ({folder})")
    return tuple(
        TaskConfig(name=name, path=str(folder / file), limit=ITEMS, answer_tokens=24,
                   **fields.get(name, {}))
        for name, file in FILES.items()
    )  # fmt: skip


def test_llama_cpp_at_f16_scores_as_transformers_on_every_task(tmp_path):
    directory, gguf = small_model()
    shots = {name: {"shots": 1} for name in ("copa", "arc_easy", "gsm8k", "mbpp")}
    config = TasksConfig(tasks=shared_tasks(**shots))
    told = {
        model.name: score_tasks(model, config, tmp_path / model.name, 1)
        for model in (directory, gguf)
    }
    items = [
        list(read_rows([tmp_path / model.name / "items.parquet"])) for model in (directory, gguf)
    ]
    for one, other in zip(*items, strict=True):
        assert (one["task"], one["item"], one["gold"]) == (
            other["task"], other["item"], other["gold"],
        )  # fmt: skip
        assert other["log_likelihoods"] == pytest.approx(one["log_likelihoods"], rel=1e-3)
        assert (one["reason"] is None) == (other["reason"] is None)
    written = [(one["answers"], other["answers"]) for one, other in zip(*items, strict=True)]
    alike = sum(one == other for one, other in written if one)
    assert alike >= 0.95 * sum(bool(one) for one, _ in written)
    for row in paired_difference(*items):  # a tie to five digits may fall either way
        assert abs(row["difference"] or 0) <= 1 / ITEMS
        print(row)
    rows = told[gguf.name]
    assert {row["task"] for row in rows} == set(FILES)
    assert all(row["n"] + row["left_out"] == (4 if row["task"] == "hellaswag" else ITEMS)
               for row in rows)  # fmt: skip
    assert all(row["stderr"] is not None for row in rows if row["n"])
    assert {row["harness"] for row in rows} == {"lm-eval 0.4.13"}


def test_what_is_finished_is_not_scored_again_and_another_file_is(tmp_path):
    gguf = small_model()[1]
    path = tmp_path / "rows.jsonl"
    put_rows(path, arc_rows(10))
    config = TasksConfig(tasks=[TaskConfig(name="arc_easy", path=str(path))])
    first = score_tasks(gguf, config, tmp_path / "scratch", 1)
    began = time.monotonic()
    assert score_tasks(gguf, config, tmp_path / "scratch", 1) == first
    assert time.monotonic() - began < 1
    put_rows(path, arc_rows(11))
    again = score_tasks(gguf, config, tmp_path / "scratch", 1)
    assert [row["n"] for row in (*first, *again)] == [10, 10, 11, 11]
    assert first[0]["file_sha256"] != again[0]["file_sha256"]


def test_a_process_that_tells_nothing_is_ended_and_named(tmp_path):
    config = TasksConfig(
        tasks=[TaskConfig(name="piqa", path=put_rows(tmp_path / "p.jsonl", arc_rows(3)))],
        stall_seconds=0.2,
    )  # fmt: skip
    began = time.monotonic()
    with pytest.raises(StageError, match=r"nothing was answered for 0\.2 s \(loading the model\)"):
        score_tasks(small_model()[1], config, tmp_path / "scratch", 1)
    assert time.monotonic() - began < 5
    time.sleep(0.2)
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False)
    assert not left.stdout


def test_what_the_process_refuses_comes_through_as_it_is(tmp_path):
    path = put_rows(tmp_path / "p.jsonl", [{"no": "question"}])
    for name in ("boolq", "mmlu"):
        config = TasksConfig(tasks=[TaskConfig(name=name, path=path)])
        with pytest.raises(InputError, match="row 1 is not of this task"):
            score_tasks(small_model()[1], config, tmp_path / "scratch", 1)


def test_after_kill_9_the_same_call_goes_on(tmp_path):
    gguf = small_model()[1]
    path = put_rows(tmp_path / "rows.jsonl", arc_rows(300))
    config = TasksConfig(tasks=[TaskConfig(name="arc_easy", path=path, shots=10)])
    script = (
        "import sys; from pathlib import Path; from downstream.tasks import *\n"
        f"score_tasks(Path({str(gguf)!r}), TasksConfig(**{config.model_dump(mode='json')!r}),"
        f" Path({str(tmp_path / 'scratch')!r}), 1)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    memory = tmp_path / "scratch" / "answers.sqlite"
    while not (memory.exists() and memory.stat().st_size > 30_000):
        assert process.poll() is None
        time.sleep(0.02)
    (child,) = json.loads(
        "[" + subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True,
                             check=True).stdout.strip().replace("\n", ",") + "]"
    )  # fmt: skip
    os.kill(child, signal.SIGKILL)
    assert process.wait(30) == 1
    before = memory.stat().st_size
    rows = score_tasks(gguf, config, tmp_path / "scratch", 1)
    assert rows[0]["n"] == 300
    assert memory.stat().st_size > before
