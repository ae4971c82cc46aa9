"""A GGUF as the teacher: answers that fit whatever the model is, a start that fails in words."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from urllib.parse import urlsplit

import jsonschema
import openai
import pytest
import torch
from small_handoff import VOCABULARY, random_model, write_model
from tokenizers import Tokenizer

from conftest import Bench, document
from downstream import export
from pipeline.dialect import PROBE
from pipeline.errors import InputError, StageError
from pipeline.label import STAGE, LabelConfig
from pipeline.local_teacher import convertible, started_llama
from pipeline.prompts import SCHEMAS
from pipeline.records import DOCUMENT, read_rows, write_table
from pipeline.rubrics import SCHEMA
from pipeline.splits import ValidationConfig
from pipeline.teacher_config import TeacherConfig

CONTEXT = 4_096
LONGEST = 3_900  # tokens that are left beside the messages here
MESSAGES = [
    {"role": "system", "content": "You judge lessons. " * 4},
    {"role": "user", "content": "def double(x):\n    return 2 * x"},
]
# Variables that have the names of the server's settings must not count, nor proxies on loopback.
MISLEADING = {
    "API_KEY": "secret", "CONFIG_FILE": "/nowhere.json", "SEED": "none", "N_CTX": "1", "PORT": "x",
    "HOST": "nowhere", "HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}  # fmt: skip
DROPS_SYSTEM = (
    "{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "<assistant>"
)
REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + DROPS_SYSTEM
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights that hardly ever say a part of a character: no text, whatever the grammar."""
    folder, model = tmp_path_factory.mktemp("teacher") / "model", random_model()
    write_model(folder, model)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    parts = [i for i in range(VOCABULARY) if "\ufffd" in tokenizer.decode([i])]
    with torch.no_grad():
        model.embed_tokens.weight[parts] = 0
    write_model(folder, model)
    return folder


@pytest.fixture(scope="module")
def gguf(model):
    target = model.parent / "random-F16.gguf"
    export.export_gguf(model, target)
    return target


@pytest.fixture(scope="module")
def base_url(gguf):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in MISLEADING.items():
            patch.setenv(name, value)
        with started_llama("label", gguf, CONTEXT, 1, gguf.with_suffix(".log")) as address:
            yield address


def ask(address, schema=SCHEMA, **fields):
    """One completion; `max_retries` is 0, so that a request that fails is seen."""
    request = {
        "model": "any", "messages": MESSAGES, "max_tokens": LONGEST, "temperature": 1.0, "seed": 1,
        "response_format": {"type": "json_object", "schema": schema},
    }  # fmt: skip
    direct = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=address, api_key="none", max_retries=0, http_client=direct
    ) as client:
        return client.chat.completions.create(**(request | fields))


def read(completion):
    """The content as strict JSON."""
    (choice,) = completion.choices
    assert choice.finish_reason == "stop"
    return json.loads(choice.message.content)


def listens(address, host="127.0.0.1"):
    with socket.socket() as probe:
        return probe.connect_ex((host, urlsplit(address).port)) == 0


def test_a_model_of_random_weights_answers_as_the_labels_schema_wants(base_url):
    answers = [read(ask(base_url, seed=seed)) for seed in range(6)]
    for answer in answers:
        jsonschema.validate(answer, SCHEMA)
    assert len({answer["justification"] for answer in answers}) > 1


def test_bounds_that_the_converter_would_ignore_hold(base_url):
    bounded = {"type": "integer", "minimum": -3, "maximum": 12}
    either = {"type": ["string", "null"], "maxLength": 3}
    many = {"type": "array", "items": {"anyOf": [bounded, either]}, "minItems": 60, "maxItems": 60}
    told = read(ask(base_url, many))
    jsonschema.validate(told, many)
    assert {type(value) for value in told} == {int, str, type(None)}


def test_control_characters_inside_strings_are_escaped(base_url):
    schema = {"type": "array", "items": {"type": "string", "minLength": 200, "maxLength": 200},
              "minItems": 2, "maxItems": 2}  # fmt: skip
    for seed in range(3):
        jsonschema.validate(read(ask(base_url, schema, seed=seed)), schema)


@pytest.mark.parametrize("schema", [*SCHEMAS.values(), PROBE.schema], ids=[*SCHEMAS, "probe"])
def test_the_schemas_of_all_that_primer_asks_become_grammars(base_url, schema):
    completion = ask(base_url, schema, max_tokens=200)
    first = next(iter(schema["properties"]))
    assert completion.choices[0].message.content.replace(" ", "").startswith(f'{{"{first}":')
    if completion.choices[0].finish_reason == "stop":
        jsonschema.validate(read(completion), schema)


def test_only_what_the_converter_does_not_know_is_rewritten():
    assert convertible(SCHEMA)["properties"] == {
        "justification": {"type": "string", "maxLength": 1_000},
        "score": {"enum": [0, 1, 2, 3, 4, 5]},
    }
    wide = {"type": "integer", "minimum": 0, "maximum": 10**9}
    half = {"type": "integer", "minimum": 0}
    kept = {"items": [wide, half, {"type": "string", "minLength": 2}], "required": ["type"]}
    assert convertible(kept) == kept
    assert convertible({"type": "string", "maxLength": 1_001}) == {"type": "string"}


def test_usage_is_counted_and_the_same_request_is_answered_the_same(base_url):
    first, second = (ask(base_url, temperature=0.0) for _ in range(2))
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.usage == second.usage
    assert first.usage.prompt_tokens > 40
    assert 10 < first.usage.completion_tokens <= LONGEST
    cut = ask(base_url, max_tokens=5)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens == 5


def test_a_prompt_longer_than_the_context_is_refused(base_url):
    long = [{"role": "user", "content": "lesson " * CONTEXT}]
    with pytest.raises(openai.BadRequestError, match="maximum context length is 4096 tokens"):
        ask(base_url, messages=long)
    read(ask(base_url))


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, DROPS_SYSTEM], ids=["refuses", "drops"])
def test_no_chat_template_loses_the_system_message(model, tmp_path, monkeypatch, template):
    real = export.write_tokenizer

    def with_template(writer, *rest):
        real(writer, *rest)
        writer.add_chat_template(template)

    monkeypatch.setattr(export, "write_tokenizer", with_template)
    export.export_gguf(model, tmp_path / "a.gguf")
    with started_llama("label", tmp_path / "a.gguf", 512, 1, tmp_path / "log") as address:
        both, one = (
            ask(address, PROBE.schema, messages=messages, max_tokens=100).usage.prompt_tokens
            for messages in (MESSAGES, MESSAGES[1:])
        )
    assert both - one > len(MESSAGES[0]["content"].split())


def test_it_listens_on_loopback_alone_ends_with_the_block_and_prints_nothing(gguf, tmp_path, capfd):
    log = tmp_path / "llama.log"
    with started_llama("label", gguf, 512, None, log) as address:
        assert address.startswith("http://127.0.0.1:")
        assert listens(address)
        assert not listens(address, "127.0.0.2")  # all of 127.0.0.0/8 is this machine
        read(ask(address, PROBE.schema, max_tokens=100))
    assert not listens(address)
    assert capfd.readouterr() == ("", "")
    assert "llama_model_loader" in log.read_text()


def test_it_ends_with_the_process_that_started_it_even_when_that_is_killed(gguf, tmp_path):
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from pipeline.local_teacher import started_llama
        folder = Path({str(tmp_path)!r})
        with started_llama("label", Path({str(gguf)!r}), 512, 1, folder / "log") as address:
            print(address, flush=True)
            time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        address = parent.stdout.readline().decode().strip()
        assert listens(address)
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while listens(address):
        assert time.monotonic() < deadline, "the server outlives its parent"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.gguf", None, "No such file or directory; name a GGUF file"),
        ("notes.gguf", b"GGML is its older name\n", "which is no GGUF file"),
        ("empty.gguf", b"", "which is no GGUF file"),
    ],
)
def test_what_is_no_gguf_is_refused_before_anything_starts(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with (
        pytest.raises(InputError, match=rf"^label: .*{name}'.*{words}") as refused,
        started_llama("label", tmp_path / name, 512, 1, tmp_path / "log"),
    ):
        pass
    assert refused.value.exit_code == 2
    assert not (tmp_path / "log").exists()


def test_a_folder_is_refused(tmp_path):
    with (
        pytest.raises(InputError, match="Is a directory"),
        started_llama("label", tmp_path, 512, 1, tmp_path / "log"),
    ):
        pass


def test_a_file_that_was_cut_off_fails_in_the_words_of_llama_cpp(gguf, tmp_path, capfd):
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(gguf.read_bytes()[:500_000])
    with (
        pytest.raises(StageError, match=r"^label: .*cut\.gguf'.* not within the file b") as failed,
        started_llama("label", cut, 512, 1, tmp_path / "log"),
    ):
        pass
    assert failed.value.exit_code == 1
    assert capfd.readouterr() == ("", "")


def test_a_server_that_does_not_answer_in_time_is_given_up(gguf, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.local_teacher.START_SECONDS", 0.01)
    with (
        pytest.raises(StageError, match=r"has not loaded '.*' within 0\.01 s \(it last said: "),
        started_llama("label", gguf, 512, 1, tmp_path / "log"),
    ):
        pass


def test_a_recipe_names_the_file_and_documents_are_labelled_by_it(gguf, tmp_path):
    rows = [document(f"def double_{i}(x):\n    return 2 * x\n", f"{i}/a.py") for i in range(6)]
    bench = Bench(tmp_path)
    bench.put(2, "clean", lambda out: write_table(out / "documents/0.parquet", rows, DOCUMENT))
    config = LabelConfig(text_budget_chars=500, max_answer_tokens=1_200, again_share=None)
    teacher = TeacherConfig(gguf=gguf, context_tokens=CONTEXT)
    sealed = bench.make(STAGE, config, teacher, ValidationConfig(share=1e-9))
    labels = list(read_rows([sealed.file("labels.parquet")]))
    assert sealed.ledger.kept == len(labels) == 6
    assert all(0 <= label["score"] <= 5 for label in labels)
    (annotator,) = {label["annotator"] for label in labels}
    assert re.fullmatch(r"random-F16@[0-9a-f]{12}", annotator)
    assert sealed.facts["annotator_is_llm"] is True
    again = bench.make(STAGE, config.model_copy(update={"test_share": 0.5}), teacher)
    assert again.manifest.spend.cached_calls == again.manifest.spend.calls == 6
