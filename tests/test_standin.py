"""The stand-in teacher: its protocol over real HTTP, what it is made of, and its end."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request

import openai
import pytest
from standin_texts import LESSON_CODE

from pipeline.rubrics import DEFAULTS, SCHEMA, SCHEMA_NAME, ask_about, load_rubric
from pipeline.standin_server import count_tokens, started_standin
from pipeline.teacher_config import STANDIN_MODEL


@pytest.fixture(scope="module")
def base_url():
    with started_standin("test") as address:
        yield address


@pytest.fixture(scope="module")
def client(base_url):
    direct = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=base_url, api_key="none", max_retries=0, http_client=direct
    ) as client:
        yield client


def request(**fields):
    schema = {"name": SCHEMA_NAME, "schema": SCHEMA, "strict": True}
    return {
        "model": STANDIN_MODEL,
        "messages": list(ask_about(load_rubric(DEFAULTS["code"]), LESSON_CODE, 6_000)),
        "response_format": {"type": "json_schema", "json_schema": schema},
        **fields,
    }


def schema_named(name):
    return {"type": "json_schema", "json_schema": {"name": name, "schema": SCHEMA}}


def test_it_says_who_it_is(client):
    (model,) = client.models.list().data
    assert model.id == STANDIN_MODEL
    assert model.owned_by == "rules, no LLM"


def test_it_answers_and_bills_by_the_byte(client):
    asked = request()
    completion = client.chat.completions.create(**asked)
    (choice,) = completion.choices
    assert '"score": 5' in choice.message.content
    assert choice.finish_reason == "stop"
    usage = completion.usage
    assert usage.prompt_tokens == sum(count_tokens(m["content"]) for m in asked["messages"])
    assert usage.completion_tokens == count_tokens(choice.message.content)
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert client.chat.completions.create(**asked) == completion


def test_tokens_are_quarters_of_bytes_rounded_up():
    assert [count_tokens(text) for text in ("", "a", "abcd", "abcde", "éé", "𝄞𝄞x")] == [
        0, 1, 1, 2, 1, 3,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "gpt-9"}, 404),
        ({"response_format": schema_named("poem")}, 400),
        ({"response_format": {"type": "text"}}, 400),
        ({"messages": []}, 400),
        ({"messages": [{"role": "system", "content": [{"type": "text", "text": "Judge."}]},
                       *request()["messages"][1:]]}, 400),
        ({"messages": [{"role": "user", "content": "Hello."}]}, 400),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello."}]}]}, 400),
        ({"messages": [{"role": "user", "content": "Hello."}],
          "response_format": schema_named("lesson")}, 400),
    ],
)  # fmt: skip
def test_what_it_cannot_answer_it_refuses(client, fields, status):
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**request(**fields))
    assert caught.value.status_code == status


def test_a_body_that_is_no_json_is_refused(base_url):
    sent = urllib.request.Request(f"{base_url}/chat/completions", b"{", method="POST")
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.request.HTTPError) as caught, direct.open(sent):
        pass
    with caught.value as response:
        assert response.status == 400


def test_it_shares_nothing_with_the_classifiers():
    script = textwrap.dedent("""
        import sys
        import pipeline.standin_code, pipeline.standin_prose, pipeline.standin_rubric
        from pipeline.standin_server import answer, make_app
        from pipeline.rubrics import SCHEMA_NAME, ask_about, built_in_names, enclose, load_rubric
        make_app()
        for name in built_in_names():
            asked = ask_about(load_rubric(name), "def f():\\n    return 1\\n", 500)
            answer(SCHEMA_NAME, list(asked))
        answer("exercise", [{"role": "user", "content": enclose("no function")}])
        print(*sorted({name.partition(".")[0] for name in sys.modules}))
    """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "pipeline" in loaded
    assert not loaded & {"classifiers", "sklearn", "fasttext", "onnxruntime"}


def test_it_ends_with_the_process_that_started_it_even_when_that_is_killed():
    script = textwrap.dedent("""
        import time
        from pipeline.standin_server import started_standin
        with started_standin("test") as base_url:
            print(base_url, flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        port = int(parent.stdout.readline().split(b":")[2].partition(b"/")[0])
        assert listens(port)
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while listens(port):
        assert time.monotonic() < deadline, "the stand-in outlives its parent"
        time.sleep(0.05)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
