"""A training command: literal arguments, started once, watched, and followed by a verdict."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from offered_run import YES, make_run, offered, recipe_of, states

from flows.run import write_recipe
from flows.training_command import carry_out
from flows.trigger import ask_after, placeholders
from pipeline.approval import decide
from pipeline.handoff_journal import (
    append_entry,
    dataset_fingerprint,
    journal_directory,
    last_with,
    read_journal,
    state_of,
)
from pipeline.training_config import TrainingConfig, fill_in
from pipeline.training_report import delivery_of

ODD = ["$(touch pwned)", "`touch pwned`", "a; touch pwned", "| tee pwned", "'\"", "*", "", "a\nb",
       "--", "{not a name}", "${HOME}", "é\\"]  # fmt: skip


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def order_of(run, arguments, model="{out}"):
    """What `start_training` writes for a command, without the process that carries it out."""
    trigger = {"by": "command", "arguments": arguments, "model": model}
    recipe = offered(run, trigger=trigger)
    decide(run, YES)
    values = placeholders(recipe, run, delivery_of(run), dataset_fingerprint(run))
    order = journal_directory(run).resolve() / "training-1.json"
    told = {
        "arguments": fill_in(recipe.training.trigger.arguments, values), "run": str(run),
        "delivery": delivery_of(run), "model": fill_in(model, values),
        "log": str(order.with_suffix(".log")),
    }  # fmt: skip
    order.write_text(json.dumps(told))
    return order


def test_arguments_reach_the_program_as_they_are(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.wake.has_server", lambda: False)
    writes = "import json, sys; json.dump(sys.argv[2:], open(sys.argv[1], 'w')); sys.exit(3)"
    command = [sys.executable, "-c", writes, str(tmp_path / "got.json"), *ODD, "{arm}", "x={run}"]
    order = order_of(run, command)
    carry_out(order)
    got = json.loads((tmp_path / "got.json").read_text())
    assert got == [*ODD, "kept+synthetic", f"x={run}"]
    assert not (tmp_path / "pwned").exists()
    assert states(run)[-3:] == ["triggered", "running", "failed"]
    assert state_of(run).reason == f"exit code 3; see {order.with_suffix('.log')}"


def test_a_command_is_started_once_whatever_happens_to_who_watched_it(run, tmp_path, monkeypatch):
    monkeypatch.setattr("flows.wake.has_server", lambda: False)
    counts = tmp_path / "counts"
    order = order_of(run, ["sh", "-c", f"echo x >> '{counts}'; exit 1"])
    carry_out(order)
    carry_out(order)
    assert counts.read_text() == "x\n"
    assert states(run).count("failed") == 1


def test_a_command_whose_watcher_is_gone_counts_as_failed(run):
    order = order_of(run, ["sleep", "1000"])
    order.with_suffix(".started").touch()
    append_entry(run, "triggered", details={"order": str(order), "delivery": delivery_of(run)})
    found = ask_after(state_of(run))
    assert (found.state, found.reason) == (
        "failed", "its end was not seen: who watched it was killed"
    )  # fmt: skip


def test_a_program_that_is_not_there_is_a_failure_and_no_crash(run, monkeypatch):
    monkeypatch.setattr("flows.wake.has_server", lambda: False)
    carry_out(order_of(run, ["no-such-program"]))
    assert state_of(run).reason == "no-such-program: No such file or directory"


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        ({"by": "command", "arguments": []}, "at least 1 item"),
        ({"by": "command", "arguments": ["{hand_off}"]}, "unknown placeholder {hand_off}"),
        ({"by": "command", "arguments": "train now"}, "valid tuple"),
        ({"by": "deployment", "name": "train"}, "should match pattern"),
        ({"by": "deployment", "name": "a/b", "parameters": {"x": ["{y}"]}}, "unknown placeholder"),
        ({"by": "webhook", "url": "file:///etc/passwd"}, "should match pattern"),
        ({"by": "pigeon"}, "does not match any of the expected tags"),
    ],
)
def test_a_trigger_is_checked_when_the_recipe_is_read(trigger, said):
    with pytest.raises(ValueError, match=said):
        TrainingConfig.model_validate({"trigger": trigger})


def test_what_a_placeholder_stands_for_is_not_filled_in_again():
    assert fill_in(["{arm}", '{"a": 1}'], {"arm": "{run}", "run": "x"}) == ["{run}", '{"a": 1}']


@pytest.mark.slow
def test_a_command_trains_and_the_evaluation_and_the_verdict_follow(run, tmp_path):
    """No server: approved in this process, trained, evaluated and judged by the watcher."""
    small = ["layers=1", "feed_forward=256", "sequence_tokens=64", "sequences_per_step=2",
             "steps=5"]  # fmt: skip
    sets = [part for one in small for part in ("--set", one)]
    arguments = ["{primer}", "train", "{handoff}", "--arm", "{arm}", "--out", "{out}", *sets]
    recipe = recipe_of(
        run, trigger={"by": "command", "arguments": arguments},
        promote={"min_improvement_bits_per_byte": None, "max_lost_bits_per_byte": 8},
    )  # fmt: skip
    quick = recipe.evaluate.model_copy(
        update={"context_tokens": 64, "max_validation_bytes": 10_000, "prompt_tokens": 16,
                "decode_tokens": 8, "repetitions": 1, "likeness": None, "depths": (0,)}
    )  # fmt: skip
    types = recipe.quantize.model_copy(update={"types": ("Q8_0",)})
    write_recipe(recipe.model_copy(update={"evaluate": quick, "quantize": types}), run)
    environment = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect")}

    def primer(*more):
        command = [sys.executable, "-c", "from flows.main import primer; primer()", *more]
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=300,
            cwd=Path(__file__).parents[1], check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "small: waiting" in primer("handoff", str(run))
    primer("handoff", str(run), "--approve", "--by", "Ada", "--reason", "go", "--wait")
    assert states(run)[4:] == [
        "approved", "triggered", "running", "done", "evaluated", "promoted"
    ]  # fmt: skip
    verdict = state_of(run)
    assert verdict.details["type"] == "Q8_0"
    assert [rule["rule"] for rule in verdict.details["rules"] if not rule["holds"]] == []
    assert (journal_directory(run) / "verdict.md").read_text().startswith("# promote: model-1 Q8_0")
    evaluated = json.loads(
        Path(last_with(read_journal(run), "evaluated").details["results"]).read_text()
    )
    assert evaluated["models"][0]["bits_per_byte"] > 0
