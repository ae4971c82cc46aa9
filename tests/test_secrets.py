"""The teacher's key is in nothing that a run leaves or says, though the server repeats it all over.

The server puts the Authorization header into answers, refusals, errors and its own headers, spelt
as JSON, as JSON within JSON, with the escapes of other languages, and as an address has it.
"""

import base64
import io
import json
import sqlite3
import traceback
from contextlib import closing
from itertools import count
from urllib.parse import quote

import faulty_server
import pyarrow.parquet as pq
import pytest
from faulty_server import FaultyServer, Handler, completion
from rich.console import Console
from test_label import ALL_FREE, put
from test_teacher import A_COIN_A_TOKEN

from conftest import document
from flows.recipe import parse_recipe
from pipeline import progress
from pipeline.answers import Answers
from pipeline.errors import InputError, StageError, StoppedError
from pipeline.label import STAGE, LabelConfig
from pipeline.records import read_rows

KEY = 'sk-n/ever+to=be"seen&<here>'
SPELT = [
    lambda said: said,
    lambda said: said.replace("/", r"\/"),
    lambda said: "".join(rf"\u{ord(c):04X}" if c in "+<>&" else c for c in said),
]


class _EchoingServer(FaultyServer):
    def __init__(self):
        super().__init__(_Handler)
        self.numbers, self.ill = count(), None


class _Handler(Handler):
    def work(self, request, fault):
        number, key = next(self.server.numbers), self.headers["Authorization"]
        fault = self.server.ill or fault
        if fault in faulty_server.STATUS or fault in faulty_server.BODY:
            super().work(request, fault)
            return
        said = {"justification": f"{key}, or {quote(key)}, {quote(key, safe='')}", "score": 3}
        choice = {"content": SPELT[number % 3](json.dumps(said))}
        if fault == "refusal":
            choice = {"content": None, "refusal": f"I will not take {key}."}
        elif fault == "prose":
            choice = {"content": f"You said {key}."}
        elif fault == "cut_off":
            choice["finish_reason"] = "length"
        self.server.bill(500, request["max_tokens"])
        body = completion(choice, 500, request["max_tokens"])
        self.say(200, SPELT[number % 2](body), {"X-Seen": key, "Set-Cookie": f"k={quote(key)}"})

    def refuse(self, status, message, headers=None):
        seen = self.headers["Authorization"]
        super().refuse(status, f"{message}: {seen}", {**(headers or {}), "X-Seen": seen})


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(faulty_server, "KEY", KEY)
    with faulty_server.faulty_server(_EchoingServer) as listening:
        yield listening


@pytest.fixture
def screen(monkeypatch):
    """What the progress bars show to a person."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=200)
    monkeypatch.setattr(progress, "CONSOLE", console)
    return shown


def spellings():
    """The key as it may stand in a file."""
    escaped = json.dumps(KEY)[1:-1]
    plain = {KEY, escaped, json.dumps(escaped)[1:-1], *(spell(escaped) for spell in SPELT)}
    plain |= {quote(KEY), quote(KEY, safe="")}
    in_base64 = {base64.b64encode(b"x" * shift + KEY.encode())[4:-4].decode() for shift in range(3)}
    return {part.encode() for part in plain | in_base64}


def contents(path):
    """The bytes of a file, and what they stand for."""
    yield path.read_bytes()
    if path.suffix == ".sqlite":
        with closing(sqlite3.connect(path)) as database:
            for question in ("SELECT * FROM answers", "SELECT * FROM notes"):
                yield str(database.execute(question).fetchall()).encode()
    elif path.suffix == ".parquet":
        yield json.dumps(pq.read_table(path).to_pylist()).encode()
        yield "\n".join(map(str, pq.read_table(path).to_pylist())).encode()


def assert_unseen(folder, *said):
    assert len(KEY) > 20
    for form in spellings():
        for path in folder.rglob("*"):
            if path.is_file():
                assert not any(form in content for content in contents(path)), path
        assert not any(form in words.encode() for words in said)


def rows():
    faults = ["refusal", "prose*9", "prose", "cut_off", "bad_request*9", "broken", "rate_limited",
              "reset", "malformed", "told_nonsense"]  # fmt: skip
    plain = [document(f"x = {i}", f"{i}/b.py") for i in range(20)]
    return plain + [document(f"x = 1  # fault:{f}", f"{i}/a.py") for i, f in enumerate(faults)]


def test_the_key_is_in_nothing_that_a_finished_run_leaves_or_shows(bench, server, screen, capfd):
    put(bench, rows())
    sealed = bench.make(STAGE, LabelConfig(sample_size=30), server.config(max_retries=1), ALL_FREE)
    labels = list(read_rows([sealed.file("labels.parquet")]))
    # the server did repeat it, and all of it was seen
    seen = "Bearer [key], or Bearer%20[key], Bearer%20[key]"
    assert [r["justification"] for r in labels if r["score"] is not None] == [seen] * 26
    assert {r["raw_answer"] for r in labels if r["unlabelled_reason"] == "unparsable"} == {
        "You said Bearer [key]."
    }
    with closing(Answers(bench.run / "answers.sqlite")):  # as a killed run leaves it, with a WAL
        assert (bench.run / "answers.sqlite-wal").exists()
        assert_unseen(bench.run, screen.getvalue(), *capfd.readouterr())
    assert "asking" in screen.getvalue()


@pytest.mark.parametrize(
    ("ill", "fields", "error"),
    [
        ("bad_request", {"structured_output": "auto"}, InputError),
        ("broken", {}, StoppedError),
        ("malformed", {}, StoppedError),
        ("refusal", {}, StageError),
        (None, {"max_cost": 5_000, "prices": A_COIN_A_TOKEN}, StoppedError),
        ("unpaid", {}, StoppedError),
        ("wrong key", {}, InputError),
        ("no model", {"model": "teacher-9"}, InputError),
    ],
)
def test_the_key_is_in_nothing_that_a_failed_run_leaves_or_says(
    bench, server, screen, capfd, monkeypatch, ill, fields, error
):
    monkeypatch.setitem(faulty_server.STATUS, "unpaid", (402, {}))
    put(bench, rows())
    server.ill = ill
    if ill == "wrong key":
        monkeypatch.setattr(faulty_server, "KEY", "another")
    config = server.config(max_retries=1, patience_seconds=0.2, **fields)
    with pytest.raises(error) as caught:
        bench.make(STAGE, LabelConfig(sample_size=30), config, ALL_FREE)
    assert server.requests + server.turned_away > 0
    told = "".join(traceback.format_exception(caught.value))
    assert_unseen(bench.run, told, str(caught.value), screen.getvalue(), *capfd.readouterr())
    if ill == "bad_request":
        assert "Bearer [key]" in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["https://user:password@example.org/v1", "https://user@example.org",
     "https://example.org/v1?api_key=password", "https://:password@example.org:443/v1"],
)  # fmt: skip
def test_an_address_that_holds_a_key_is_refused(address):
    with pytest.raises(InputError, match=r"an address holds no key.*key_variable"):
        parse_recipe({"name": "x", "ingest": {"sources": []}, "teacher": {"base_url": address}})


def test_an_address_that_is_refused_is_not_repeated():
    address = "https://user:password@example.org/v1"
    with pytest.raises(InputError) as caught:
        parse_recipe({"name": "x", "ingest": {"sources": []}, "teacher": {"base_url": address}})
    assert "password@" not in "".join(traceback.format_exception(caught.value))
