"""The handoff without a server: every step on a real run, every refusal, every way to go on."""

import json
import threading
from pathlib import Path

import pytest
from offered_run import YES, make_run, offered, recipe_of, started, states
from prefect_server import prefect_server

from flows.advance import InProcess, advance
from flows.hand_over import hand_over
from flows.trigger import describe_trigger
from flows.wake import go_on
from pipeline.approval import decide
from pipeline.errors import InputError, StageError, StoppedError
from pipeline.handoff_journal import (
    append_entry,
    dataset_fingerprint,
    journal_directory,
    last_with,
    read_journal,
    state_of,
)
from pipeline.handoff_preview import plain, write_preview
from pipeline.handoff_record import open_handoff
from pipeline.offer import handoff_file, request_handoff
from pipeline.training_report import delivery_of
from pipeline.verify import sealed_stages


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


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


def test_it_is_told_which_command_an_approval_starts(run):
    recipe = recipe_of(run, trigger={"by": "command", "arguments": ["train it", "{arm}", "{out}"]})
    told = describe_trigger(recipe, run, "abc-1", dataset_fingerprint(run))
    out = journal_directory(run).resolve() / "model-1"
    assert told == f"the command 'train it' kept+synthetic {out}"


def test_the_preview_says_what_changed_since_the_parent(run):
    training = recipe_of(run).training
    stages, handoff = sealed_stages(run), open_handoff(handoff_file(run))
    asked = (run, "its fingerprint", handoff, stages, training, "nothing")
    assert "Since the parent" not in write_preview(*asked)
    changes = {"parent": "small", "kept_share": {"now": 0.5}, "note": "<b>"}
    (run / "09-card" / "changes.json").write_text(json.dumps(changes))
    page = write_preview(*asked)
    assert "## Since the parent version" in page
    assert '- kept share: {"now": 0.5}\n- note: "&#60;b&#62;"\n' in page


def test_text_of_the_corpus_is_no_markup():
    assert plain("<b>*x*</b>\n| # `") == "&#60;b&#62;&#42;x&#42;&#60;/b&#62; &#124; &#35; &#96;"


def test_a_flipped_byte_is_never_offered_and_the_mended_dataset_is(run):
    recipe = recipe_of(run)
    shard = next((run / "08-tokenize").rglob("*.ds"))
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
    assert "is not the file that was shown" in state_of(run).details["trouble"]


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


def test_a_bug_is_seen_by_those_who_did_not_start_it(run, monkeypatch):
    recipe = offered(run)
    decide(run, YES)
    monkeypatch.setattr("flows.advance.check_still_offered", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        advance(recipe, run, InProcess())
    trouble = "an unforeseen ZeroDivisionError (division by zero)"
    assert (state_of(run).state, state_of(run).details["trouble"]) == ("approved", trouble)


@pytest.mark.long
def test_a_flow_that_is_suspended_right_after_the_answer_is_woken(run, tmp_path):
    """It had noted that it waits, somebody was quick to answer, and then it began to wait."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Paused, Running

    recipe = offered(run)
    with (
        prefect_server(tmp_path / "prefect") as api,
        temporary_settings({PREFECT_API_URL: api}),
        get_client(sync_client=True) as client,
    ):
        waiting = client.create_flow_run(flow(lambda: None, name="waiting"), state=Running()).id
        append_entry(run, "waiting", details={"flow_run_id": str(waiting), "preview": ""})
        decide(run, YES)
        pausing = threading.Timer(
            2, client.set_flow_run_state, (waiting, Paused(timeout_seconds=600)), {"force": True}
        )
        pausing.start()
        go_on(recipe, run)
        pausing.join()
        assert client.read_flow_run(waiting).state.is_running()
    assert state_of(run).state == "approved"  # and the rest is the flow's
