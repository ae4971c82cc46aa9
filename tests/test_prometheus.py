"""What Prometheus is shown: counts of sealed stages, of failures, of several processes together."""

import os
import subprocess
import sys
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline import metrics
from pipeline.errors import InputError, StageError
from pipeline.ledger import Ledger
from pipeline.stage import Outcome, Stage

ACCOUNT = Ledger("documents", 10, 7, {"too_short": 2}, {"unreadable": 1})


def read(page):
    """Each sample's value by its name and labels."""
    families = text_string_to_metric_families(page.decode())
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def shown():
    return read(metrics.metrics_page()[0])


def grown(before, *key):
    return shown().get(key, 0.0) - before.get(key, 0.0)


def stage_of(work):
    return Stage(1, "counted", 1, (), ("a",), (), work)


def make_a(place):
    (place.out / "a").write_text("a")
    return Outcome(ACCOUNT)


def test_a_sealed_stage_counts_its_ledger_its_seconds_and_its_success(bench):
    before, began = shown(), time.time()
    bench.make(stage_of(make_a))
    for outcome, n in (("kept", 7), ("dropped", 2), ("failed", 1)):
        assert grown(before, "primer_documents_total", *sorted((outcome, "counted"))) == n
    assert grown(before, "primer_stage_seconds_count", "counted") == 1
    assert shown()["primer_last_success_timestamp_seconds", "counted"] >= began - 1
    assert shown()["primer_stages_running", "counted"] == 0
    again = shown()
    bench.make(stage_of(make_a))  # sealed already: nothing was done, nothing is counted
    assert grown(again, "primer_stage_seconds_count", "counted") == 0


def test_a_failure_is_counted_by_its_kind_and_not_by_its_words(bench):
    def fail(_):
        raise StageError("counted", "of 3141 documents", "none")

    before = shown()
    with pytest.raises(StageError):
        bench.make(stage_of(fail))
    assert grown(before, "primer_errors_total", "StageError", "counted") == 1
    assert shown()["primer_stages_running", "counted"] == 0
    assert b"3141" not in metrics.metrics_page()[0]


def test_tokens_money_and_the_queue():
    before = shown()
    metrics.count_tokens("prompt", 5)
    metrics.count_tokens("completion", 7)
    metrics.add_cost("EUR", 0.25)
    moved = []
    advance = metrics.counted("label", lambda n, note: moved.append((n, note)))
    advance()
    advance(2, note="0.10 USD")
    advance(0)
    assert moved == [(1, None), (2, "0.10 USD"), (0, None)]
    metrics.queue_length(4)
    assert grown(before, "primer_tokens_total", "prompt") == 5
    assert grown(before, "primer_tokens_total", "completion") == 7
    assert grown(before, "primer_cost_total", "EUR") == 0.25
    assert grown(before, "primer_progress_total", "label") == 3
    assert shown()[("primer_llm_queue_length",)] == 4
    metrics.queue_length(0)
    with pytest.raises(AssertionError, match="guessed"):
        metrics.count_tokens("guessed", 1)


def test_counting_costs_microseconds():
    metrics.count_documents("counted", 1)
    began = time.process_time()
    for _ in range(2_000):
        metrics.count_documents("counted", 1_000)
    assert (time.process_time() - began) / 2_000 < 100e-6


def test_it_is_served_on_loopback_until_it_is_closed():
    server = metrics.serve_metrics(0)
    try:
        assert server.server_address[0] == "127.0.0.1"
        address = f"http://127.0.0.1:{server.server_port}/metrics"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain")
            assert ("primer_llm_queue_length",) in read(answer.read())
        with pytest.raises(InputError, match=rf"port {server.server_port} of 127\.0\.0\.1 cannot"):
            metrics.serve_metrics(server.server_port)
    finally:
        server.shutdown()
        server.server_close()


def run(script, folder, **options):
    return subprocess.run(
        [sys.executable, "-c", "from pipeline import metrics as m; " + script],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        capture_output=True, check=False, **options,
    )  # fmt: skip


def test_processes_are_added_up_and_the_dead_queue_for_nothing(tmp_path):
    folder = tmp_path / "not there yet"
    counts = "m.count_documents('clean', 5); m.queue_length(9); m.add_cost('USD', .5); "
    assert run(counts, folder).returncode == 0
    killed = run(counts + "import os; os.kill(os.getpid(), 9)", folder)
    assert killed.returncode == -9
    done = run(
        "m.queue_length(2); import sys; sys.stdout.buffer.write(m.metrics_page()[0])", folder
    )
    found = read(done.stdout)
    assert found["primer_documents_total", "clean", "kept"] == 10
    assert found["primer_cost_total", "USD"] == 1
    assert found[("primer_llm_queue_length",)] == 2


def test_a_directory_that_cannot_be_used_is_said_in_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("m.count_documents('clean', 5)", tmp_path / "file" / "below")
    assert b"InputError: environment: PROMETHEUS_MULTIPROC_DIR=" in done.stderr
    empty = run("m.count_documents('clean', 5)", "", cwd=tmp_path)
    assert empty.returncode != 0 or not list(tmp_path.glob("*.db"))


def test_nothing_is_loaded_before_something_is_counted():
    script = (
        "import sys, pipeline.metrics, pipeline.step; print('prometheus_client' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"False\n"
