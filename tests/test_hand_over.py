"""The handoff without a server: every step on a real run, every refusal, every way to go on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import copy_run, small_recipe, small_run

from flows.advance import InProcess, advance
from flows.hand_over import hand_over
from flows.report_back import reporting
from flows.run import write_recipe
from flows.training_command import carry_out
from flows.trigger import ask_after, placeholders
from pipeline.approval import Decision, decide
from pipeline.errors import InputError, StageError, StoppedError
from pipeline.handoff_journal import (
    append_entry,
    dataset_fingerprint,
    journal_directory,
    last_with,
    read_journal,
    state_of,
)
from pipeline.handoff_preview import plain
from pipeline.offer import handoff_file, request_handoff
from pipeline.signed_delivery import REPORT, DeliveryError, sign_delivery
from pipeline.training_config import TrainingConfig, fill_in
from pipeline.training_report import TrainingReport, check_report, delivery_of, record_report

YES = Decision(decision="approve", by="Ada", reason="the card convinced me")
ODD = ["$(touch pwned)", "`touch pwned`", "a; touch pwned", "| tee pwned", "'\"", "*", "", "a\nb",
       "--", "{not a name}", "${HOME}", "é\\"]  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A copy of a real run up to its handoff, with its recipe."""
    copied = copy_run(tmp_path)
    benchmark = small_run()["ingest"].path.parents[1] / "benchmark.jsonl"
    write_recipe(small_recipe(benchmark), copied)
    return copied


def recipe_of(run, **training):
    from flows.recipe import load_recipe

    recipe = load_recipe(run / "recipe.yaml")
    changed = recipe.model_copy(update={"training": TrainingConfig.model_validate(training)})
    write_recipe(changed, run)
    return changed


def offered(run, **training):
    """The recipe of a run whose handoff waits."""
    recipe = recipe_of(run, **training)
    request_handoff(run, by="Bo")
    assert advance(recipe, run, InProcess()).state == "waiting"
    return recipe


def started(run, **training):
    """The recipe of a run whose training was started, by nobody unless a trigger is given."""
    recipe = offered(run, **training)
    decide(run, YES)
    advance(recipe, run, InProcess())
    return recipe


def states(run):
    return [entry.state for entry in read_journal(run)]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_it_verifies_and_shows_what_a_person_needs_to_know(run, tmp_path):
    offered(run, preview_address=str(tmp_path / "published"))
    assert states(run) == ["requested", "verified", "previewed", "waiting"]
    entry = state_of(run)
    page = Path(entry.details["preview"]).read_text()
    assert entry.details["flow_run_id"] is None
    fingerprint = dataset_fingerprint(run)
    assert f"- Dataset fingerprint: `{fingerprint}`" in page
    record = json.loads(handoff_file(run).read_text())
    for arm in record["arms"]:
        assert f"| {arm['name']} | {arm['tokens']:,} | {arm['documents']:,} |" in page
    for said in ("PSF-2.0", "Verdict: searched", "label: 0.0000 USD", "nothing: it waits"):
        assert said in page
    published = tmp_path / "published" / f"small-{fingerprint[:16]}.md"
    assert published.read_text() == page


def test_the_preview_names_the_command_and_the_changes_since_the_parent(run):
    recipe = recipe_of(run, trigger={"by": "command", "arguments": ["train it", "{arm}", "{out}"]})
    from flows.trigger import describe_trigger

    told = describe_trigger(recipe, run, "abc-1", dataset_fingerprint(run))
    out = journal_directory(run).resolve() / "model-1"
    assert told == f"the command 'train it' kept+synthetic {out}"


def test_text_of_the_corpus_is_no_markup():
    assert plain("<b>*x*</b>\n| # `") == "&#60;b&#62;&#42;x&#42;&#60;/b&#62; &#124; &#35; &#96;"


def test_a_flipped_byte_is_never_offered_and_the_mended_dataset_is(run):
    recipe = recipe_of(run)
    shard = run / "08-tokenize" / "arms" / "raw" / "base" / "00000.ds"
    shard = shard if shard.exists() else next((run / "08-tokenize").rglob("*.ds"))
    flip(shard)
    request_handoff(run, by="Bo")
    with pytest.raises(StageError, match="its bytes are not what was sealed"):
        advance(recipe, run, InProcess())
    assert states(run) == ["requested", "failed"]
    assert "does not verify" in state_of(run).reason
    flip(shard)
    hand_over(str(run), here=True)
    assert state_of(run).state == "waiting"


def test_an_approval_is_of_the_bytes_that_were_shown(run):
    recipe = offered(run)
    decide(run, YES)
    handoff_file(run).write_text(handoff_file(run).read_text() + " ")
    with pytest.raises(StageError, match="is not the file that was shown"):
        advance(recipe, run, InProcess())
    assert state_of(run).state == "approved"


def test_a_second_handoff_starts_no_second_training(run, capsys):
    started(run)
    before = states(run)
    hand_over(str(run), here=True)
    assert states(run) == before
    assert "small: triggered since" in capsys.readouterr().out
    with pytest.raises(InputError, match="--again is for one that has ended"):
        hand_over(str(run), again=True, reason="more", here=True)


def test_again_needs_a_reason_and_is_an_attempt_of_its_own(run):
    offered(run)
    hand_over(str(run), reject=True, by="Ada", reason="licences", here=True)
    first = delivery_of(run)
    hand_over(str(run), here=True)  # a rejection stays one
    assert state_of(run).state == "rejected"
    with pytest.raises(InputError, match="--again needs a reason"):
        hand_over(str(run), again=True, here=True)
    hand_over(str(run), again=True, reason="they are settled", by="Ada", here=True)
    assert state_of(run).state == "waiting"
    assert (first[-2:], delivery_of(run)[-2:]) == ("-1", "-2")
    assert last_with(read_journal(run), "requested").reason == "they are settled"


def test_who_waits_is_told_of_the_rejection(run):
    offered(run)
    hand_over(str(run), reject=True, by="Ada", reason="licences", here=True)
    with pytest.raises(StoppedError, match="rejected by Ada: licences"):
        hand_over(str(run), here=True, wait=True)


def test_one_thing_at_a_time(run):
    with pytest.raises(InputError, match="give one of them"):
        hand_over(str(run), approve=True, reject=True)


def test_only_the_training_section_may_be_changed_and_only_before_it_begins(run):
    with pytest.raises(InputError, match="only training"):
        hand_over(str(run), changes=["seed=3"], here=True)
    hand_over(str(run), changes=["training.arm=raw"], here=True)
    assert "- Arm: raw" in Path(state_of(run).details["preview"]).read_text()
    with pytest.raises(InputError, match="while a handoff is under way"):
        hand_over(str(run), changes=["training.arm=kept"], here=True)


# Reports


def test_a_report_is_of_this_attempt_and_said_once(run):
    started(run)
    told = {"by": "gpu-7", "delivery": delivery_of(run)}
    running = TrainingReport.model_validate({**told, "state": "running"})
    assert record_report(run, running) == record_report(run, running)
    with pytest.raises(InputError, match="no model is named"):
        record_report(run, TrainingReport.model_validate({**told, "state": "done"}))
    for wrong in ("0123456789abcdef-1", told["delivery"][:-1] + "2", "../../x-1"):
        late = running.model_copy(update={"delivery": wrong})
        with pytest.raises(InputError, match="is not one that the handoff"):
            record_report(run, late)
    assert states(run)[-2:] == ["triggered", "running"]


def test_a_report_that_overtakes_the_trigger_counts(run):
    offered(run)
    decide(run, YES)  # the webhook is out, and its answer is not here yet
    told = {"by": "gpu-7", "state": "running", "delivery": delivery_of(run)}
    record_report(run, TrainingReport.model_validate(told))
    assert states(run)[-3:] == ["approved", "triggered", "running"]


def test_a_signed_report_is_taken_once(run, monkeypatch):
    started(run)
    body = json.dumps({"state": "running", "by": "gpu-7", "delivery": delivery_of(run)}).encode()
    headers = sign_delivery(REPORT, delivery_of(run), body, "a key")
    with pytest.raises(InputError, match="PRIMER_REPORT_KEY holds no key"):
        check_report(run, body, headers)
    monkeypatch.setenv("PRIMER_REPORT_KEY", "a key")
    assert check_report(run, body, headers).by == "gpu-7"
    with pytest.raises(DeliveryError, match="used before"):
        check_report(run, body, headers)
    body = b'{"state": "sold", "by": "x"}'
    with pytest.raises(InputError, match="state: input should be"):
        check_report(run, body, sign_delivery(REPORT, "x", body, "a key"))


def test_the_journeys_own_stage_reports_where_a_handoff_waits_for_it(run, monkeypatch):
    monkeypatch.setattr("flows.wake.has_server", lambda: False)
    with reporting(run):  # nobody waits: nothing is written
        pass
    assert states(run) == []
    started(run)
    with pytest.raises(MemoryError), reporting(run):
        raise MemoryError("out of memory")
    assert states(run)[-2:] == ["running", "failed"]
    assert (state_of(run).state, state_of(run).reason) == ("failed", "out of memory")


# The command


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


# Whole, with a command that outlives its starter


@pytest.mark.long
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
        update={"context_tokens": 64, "max_validation_bytes": 2_000, "prompt_tokens": 16,
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
