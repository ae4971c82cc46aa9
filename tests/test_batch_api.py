"""The Batch API against a real provider on loopback that errs, and a run that is killed."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest
from batch_server import batch_server
from faulty_server import KEY
from test_teacher import A_COIN_A_TOKEN, LABEL, question

from pipeline.answers import Answers
from pipeline.dialect import Dialect
from pipeline.errors import InputError, StageError, StoppedError
from pipeline.question import most_tokens
from pipeline.teacher import Teacher


@pytest.fixture
def server():
    with batch_server() as listening:
        yield listening


@pytest.fixture
def store(tmp_path):
    return tmp_path / "answers.sqlite"


def ask(server, path, asked, **fields):
    """(the answers, what they cost, what the bar counted), over the answers stored at `path`."""
    counted = []
    with closing(Answers(path)) as answers:
        teacher = Teacher("label", server.config(**fields), server.base_url, answers)
        found = teacher.ask(asked, lambda n=1, note=None: counted.append(n))
        return found, teacher.spend, sum(counted)


def questions(count):
    return [question(f"document {i:03}") for i in range(count)]


def test_all_is_answered_at_the_batch_price_and_never_sent_again(server, store):
    money = {"prices": A_COIN_A_TOKEN}
    answers, spend, counted = ask(server, store, questions(25), **money)
    assert [a.content for a in answers] == [LABEL] * 25
    assert counted == 25
    assert len(server.batches) == 1
    assert spend.calls == spend.batched_calls == server.billed.total() == 25
    assert spend.cost == server.tokens / 2
    again, cached, _ = ask(server, store, questions(25), **money)
    assert again == answers
    assert (len(server.batches), cached.cost, cached.cached_calls) == (1, spend.cost, 25)


def test_files_keep_to_their_size(server, store):
    ask(server, store, questions(25), batch={"poll_seconds": 0.02, "max_requests": 10})
    uploaded = [f for name, f in server.files.items() if name.startswith("file")]
    assert [len(file.splitlines()) for file in uploaded] == [10, 10, 5]
    line = len(uploaded[0]) / 10
    more = [question(f"another {i:03}") for i in range(10)]
    ask(server, store, more, batch={"poll_seconds": 0.02, "max_megabytes": 3.5 * line / 1e6})
    assert max(map(len, server.files.values())) <= 10 * line
    assert len(server.batches) == 3 + 4


@pytest.mark.parametrize(
    ("fault", "problem", "billed"),
    [
        ("429", None, 1), ("429*9", "rate_limited", 0), ("500", None, 1),
        ("500*9", "server_error", 0), ("400", "refused_by_server_400", 0), ("left_out", None, 1),
        ("left_out*9", "batch_left_out", 0), ("malformed", None, 2), ("duplicated", None, 1),
        ("stranger", None, 1), ("no_completion", None, 2), ("prose", None, 2), ("echo", None, 1),
        ("broken_letter", None, 2),
    ],
)  # fmt: skip
def test_a_line_that_fails_is_sent_again_or_told(server, store, fault, problem, billed):
    faulty = question(f"line:{fault}")
    answers, spend, counted = ask(server, store, [*questions(5), faulty], prices=A_COIN_A_TOKEN)
    assert [a.problem for a in answers] == [None] * 5 + [problem]
    assert (answers[-1].content or {}).get("score") == (None if problem else 3)
    assert (counted, server.billed[f"line:{fault}"]) == (6, billed)
    assert all(server.billed[f"document {i:03}"] == 1 for i in range(5))
    lost = fault in {"no_completion", "malformed", "left_out", "left_out*9"}  # perhaps billed
    assert (spend.lost_cost_at_most > 0) == lost
    if fault not in {"malformed", "no_completion"}:
        assert spend.cost == server.tokens / 2
    assert KEY not in str(answers)
    assert not any(KEY.encode() in file.read_bytes() for file in store.parent.iterdir())


@pytest.mark.parametrize("fate", ["expired", "expired_silently"])
def test_half_of_a_batch_that_expired_is_sent_again(server, store, fate):
    server.fates = [fate]
    answers, spend, counted = ask(server, store, questions(20), prices=A_COIN_A_TOKEN)
    assert (spend.cost, spend.lost_cost_at_most) == (server.tokens / 2, 0)
    assert [a.content for a in answers] == [LABEL] * 20
    assert set(server.billed.values()) == {1}
    assert (spend.calls, counted, len(server.batches)) == (20, 20, 2)


def test_what_always_expires_is_given_up(server, store):
    server.fates = ["expired"] * 9
    answers, _, counted = ask(server, store, questions(20))
    problems = [a.problem for a in answers]
    assert set(problems) == {None, "batch_expired"}
    assert (problems.count("batch_expired"), counted) == (3, 20)  # 20, 10, 5: half each time


def test_a_cancelled_batch_stops_and_what_it_had_is_kept(server, store):
    server.fates = ["cancelled"]
    with pytest.raises(StoppedError, match=r"batch-0 was cancelled") as caught:
        ask(server, store, questions(20))
    assert caught.value.exit_code == 3
    answers, _, _ = ask(server, store, questions(20))
    assert [a.content for a in answers] == [LABEL] * 20
    assert set(server.billed.values()) == {1}


def test_a_file_that_is_refused_is_told_in_the_provider_s_words(server, store):
    server.fates = ["failed"]
    with pytest.raises(StageError, match=r"line 1 is no request; sent with \[key\]"):
        ask(server, store, questions(3), prices=A_COIN_A_TOKEN)
    answers, spend, _ = ask(server, store, questions(3), prices=A_COIN_A_TOKEN)
    assert [a.content for a in answers] == [LABEL] * 3
    assert (spend.cost, spend.lost_cost_at_most) == (server.tokens / 2, 0)


def test_what_finds_the_provider_s_queue_full_is_sent_when_there_is_room(server, store):
    server.fates = ["completed", "queue_full", "completed"]
    batch = {"poll_seconds": 0.02, "max_requests": 3}
    answers, _, counted = ask(server, store, questions(9), batch=batch)
    assert [a.content for a in answers] == [LABEL] * 9
    assert (counted, len(server.batches), set(server.billed.values())) == (9, 4, {1})
    server.fates = ["queue_full"]
    with pytest.raises(StageError, match=r"lower teacher\.batch\.max_requests"):
        ask(server, store, [question("more")])


def test_an_account_that_runs_dry_stops_the_run_and_gives_nothing_up(server, store):
    asked = [*questions(3), question("line:quota")]
    with pytest.raises(StoppedError, match=r"the account at .* is empty"):
        ask(server, store, asked)
    answers, _, _ = ask(server, store, asked)
    assert [a.content for a in answers] == [LABEL] * 4
    assert set(server.billed.values()) == {1}


def test_a_file_of_answers_that_was_deleted_counts_as_lost_and_is_asked_for_again(server, store):
    server.fates = ["deleted"]
    answers, spend, _ = ask(server, store, questions(3), prices=A_COIN_A_TOKEN)
    assert [a.content for a in answers] == [LABEL] * 3
    assert spend.lost_cost_at_most > server.tokens / 4


def leave_out(server, store, asked, **fields):
    """Ask, and be stopped while the batch is out."""
    server.broken_looks = 10**6
    with pytest.raises(StoppedError):
        ask(server, store, asked, max_retries=0, patience_seconds=0.01, **fields)
    server.broken_looks = 0


def test_what_is_out_is_not_asked_at_once_beside_it(server, store):
    leave_out(server, store, questions(3))
    with pytest.raises(InputError, match="the batch batch-0 is under way"):
        ask(server, store, questions(3), batch=None)
    answers, _, _ = ask(server, store, questions(3))
    assert [a.content for a in answers] == [LABEL] * 3
    assert set(server.billed.values()) == {1}


def test_a_batch_of_another_account_is_told_and_after_two_days_counts_as_lost(server, store):
    leave_out(server, store, questions(3), prices=A_COIN_A_TOKEN)
    (known,) = server.batches.values()
    server.batches.clear()
    with pytest.raises(InputError, match="does not know the batch batch-0"):
        ask(server, store, questions(3))
    server.batches["another"] = known
    with closing(Answers(store)) as answers:
        ((name, note),) = answers.noted_under("batch ").items()
        answers.note(name, {**note, "noted_at": note["noted_at"] - 2 * 86_400})
    answers, spend, _ = ask(server, store, questions(3), prices=A_COIN_A_TOKEN)
    assert [a.content for a in answers] == [LABEL] * 3
    assert spend.lost_cost_at_most > server.tokens / 2


def test_another_model_does_not_take_up_what_is_out(server, store):
    leave_out(server, store, questions(3))
    _, other, _ = ask(server, store, questions(2), model="teacher-2", prices=A_COIN_A_TOKEN)
    assert (other.calls, len(server.batches)) == (2, 2)
    _, spend, _ = ask(server, store, questions(3), prices=A_COIN_A_TOKEN)
    assert (spend.calls, len(server.batches)) == (3, 2)
    assert spend.cost + other.cost == server.tokens / 2


def test_a_batch_that_nobody_was_told_of_is_found(server, store):
    server.fates = ["dropped"]
    answers, _, _ = ask(server, store, questions(5), patience_seconds=0.1)
    assert [a.content for a in answers] == [LABEL] * 5
    assert len(server.batches) == 1


@pytest.mark.parametrize("how", [500, 200])
def test_looks_may_fail_for_a_while_but_not_for_long(server, store, how):
    server.broken_looks, server.how = 3, how
    answers, _, _ = ask(server, store, questions(5), max_retries=0)
    assert [a.content for a in answers] == [LABEL] * 5
    server.broken_looks = 10**6
    with pytest.raises(StoppedError, match=r"is away \(not seen for") as caught:
        ask(server, store, [question("more")], max_retries=0, patience_seconds=0.02)
    assert caught.value.exit_code == 3
    server.broken_looks = 0
    (answer,), _, _ = ask(server, store, [question("more")])
    assert (answer.content, server.billed["more"]) == (LABEL, 1)


def test_an_endpoint_without_batches_says_so(server, store):
    server.has_batches = False
    with pytest.raises(InputError, match=r"takes no batches \(404.*set teacher.batch to null"):
        ask(server, store, questions(3))


def test_a_wrong_key_is_told_and_not_shown(server, store, monkeypatch):
    monkeypatch.setenv("A_KEY", "sk-a-wrong-one")
    with pytest.raises(InputError, match=r"refuses the key \(401\)") as caught:
        ask(server, store, questions(3))
    assert "sk-" not in str(caught.value)


def test_the_cap_is_never_passed(server, store):
    asked = questions(30)
    most = sum(most_tokens(asked[0], Dialect().render(asked[0], "teacher-1"))) / 2
    cap = 4.5 * most
    with pytest.raises(StoppedError, match=f"the cap of {cap} USD is reached"):
        ask(server, store, asked, prices=A_COIN_A_TOKEN, max_cost=cap)
    assert cap - most < server.tokens / 2 <= cap
    answers, _, _ = ask(server, store, asked, prices=A_COIN_A_TOKEN, max_cost=1e9)
    assert [a.content for a in answers] == [LABEL] * 30
    assert set(server.billed.values()) == {1}


CHILD = textwrap.dedent(
    """
    import json, sys
    from contextlib import closing
    from pathlib import Path
    from pipeline.answers import Answers
    from pipeline.question import Question
    from pipeline.rubrics import SCHEMA, SCHEMA_NAME
    from pipeline.teacher import Teacher
    from pipeline.teacher_config import TeacherConfig
    import pipeline.batch_provider as provider
    import pipeline.batch_api as batch_api
    import os, signal

    def dies_after(owner, name):
        old = getattr(owner, name)
        async def work(*given):
            told = await old(*given)
            os.kill(os.getpid(), signal.SIGKILL)
        setattr(owner, name, work)

    config = TeacherConfig.model_validate_json(sys.argv[1])
    moment = sys.argv[3]
    if moment != "look":
        dies_after(provider.Provider, moment)
    questions = [
        Question(str(i), ({"role": "system", "content": "Judge."},
                          {"role": "user", "content": f"document {i:03}"}),
                 SCHEMA_NAME, SCHEMA, max_tokens=100)
        for i in range(30)
    ]
    with closing(Answers(Path(sys.argv[2]))) as answers:
        Teacher("label", config, config.base_url, answers).ask(questions, lambda *_, **__: None)
    """
)


@pytest.mark.parametrize("moment", ["upload", "create", "look"])
def test_a_killed_run_takes_its_batches_up_again(server, store, moment):
    batch = {"poll_seconds": 0.02, "max_requests": 10}
    config = server.config(batch=batch, prices=A_COIN_A_TOKEN)
    command = [sys.executable, "-c", CHILD, config.model_dump_json(), str(store), moment]
    if moment == "look":
        server.held.clear()
    root = Path(__file__).resolve().parents[1]
    child = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    if moment == "look":
        assert server.reached.wait(30)
        time.sleep(0.1)
        child.kill()
    assert child.wait(30) == -signal.SIGKILL
    server.held.set()
    answers, spend, counted = ask(
        server, store, questions(30), batch=batch, prices=A_COIN_A_TOKEN, max_cost=1e6
    )
    assert [a.content for a in answers] == [LABEL] * 30
    assert set(server.billed.values()) == {1}
    assert (len(server.batches), counted, spend.calls) == (3, 30, 30)
    assert spend.cost == server.tokens / 2
    with closing(Answers(store)) as answers:
        assert answers.noted_under("batch ") == {}
    assert not any(KEY.encode() in file.read_bytes() for file in store.parent.iterdir())


def test_a_line_carries_the_very_bytes_that_its_name_is_the_hash_of(server, store):
    ask(server, store, questions(2))
    (file,) = [content for name, content in server.files.items() if name.startswith("file")]
    for line, asked in zip(file.splitlines(), questions(2), strict=True):
        request = Dialect().request(asked, "teacher-1")
        assert json.loads(line)["custom_id"] == request.name
        assert request.body in line
