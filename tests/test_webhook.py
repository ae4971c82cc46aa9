"""Signed deliveries, attacked, and over a connection to the receiver of docs/handing-over.md."""

import json
import re
import sqlite3
import threading
import urllib.error
import urllib.request
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.webhook import send_webhook
from pipeline.errors import InputError, StageError
from pipeline.signed_delivery import (
    DELIVERY,
    HANDOFF,
    NONCE,
    REPORT,
    SIGNATURE,
    TIMESTAMP,
    Deliveries,
    DeliveryError,
    check_delivery,
    sign_delivery,
)
from pipeline.training_config import WebhookTrigger

DOCS = Path(__file__).resolve().parents[1] / "docs" / "handing-over.md"
KEY, BODY, NOW = "a key of the test", b'{"event": "handoff.approved"}', 1_800_000_000


@pytest.fixture
def store(tmp_path):
    return Deliveries(tmp_path / "deliveries.sqlite")


def check(headers, store, body=BODY, purpose=HANDOFF, key=KEY, now_s=NOW):
    return check_delivery(purpose, headers, body, key, store, now_s)


def signed(delivery="abc-1", body=BODY, now_s=NOW):
    return sign_delivery(HANDOFF, delivery, body, KEY, now_s)


def test_what_was_signed_is_taken_once(store):
    headers = signed()
    taken = check(headers, store)
    assert (taken.id, taken.body, taken.acted_on) == ("abc-1", BODY, False)
    with pytest.raises(DeliveryError, match="X-Primer-Nonce was used before"):
        check(headers, store)


def test_it_is_refused_by_a_receiver_that_was_started_again(store):
    headers = signed()
    check(headers, store)
    with pytest.raises(DeliveryError, match="used before"):
        check(headers, Deliveries(store.path), now_s=NOW + 299)


def test_a_delivery_that_is_tried_again_is_known(store):
    check(signed(), store)
    assert store.act("abc-1")
    assert not store.act("abc-1")
    assert check(signed(), store).acted_on
    assert not check(signed("abc-2"), store).acted_on


@pytest.mark.parametrize("off_s", [-301, 301])
def test_outside_the_window_it_is_refused_whatever_the_clock_is_off_by(store, off_s):
    headers = signed()
    with pytest.raises(DeliveryError, match="301 s off, 300 s may"):
        check(headers, store, now_s=NOW + off_s)
    check(headers, store, now_s=NOW + (off_s // abs(off_s)) * 300)  # and it did not use its nonce


def test_a_message_from_the_future_cannot_be_replayed_when_its_time_comes(store):
    headers = signed(now_s=NOW + 300)
    check(headers, store, now_s=NOW)
    for i in range(1, 601):  # others come, and old nonces are forgotten
        check(signed(now_s=NOW + i), store, now_s=NOW + i) if i % 100 == 0 else None
    with pytest.raises(DeliveryError, match="used before"):
        check(headers, store, now_s=NOW + 600)


@pytest.mark.parametrize("field", [DELIVERY, TIMESTAMP, NONCE, SIGNATURE])
def test_every_header_is_needed_and_signed(store, field):
    whole = signed()
    without = {name: value for name, value in whole.items() if name != field}
    changed = whole | {field: {TIMESTAMP: str(NOW + 1), NONCE: "0" * 32, DELIVERY: "abc-2",
                               SIGNATURE: "v1=" + "0" * 64}[field]}  # fmt: skip
    for headers in (without, changed, whole | {field: whole[field] + "\n"}):
        with pytest.raises(DeliveryError, match=r"malformed|does not match"):
            check(headers, store)
    check({name.lower(): value for name, value in whole.items()}, store)


@pytest.mark.parametrize(
    "attack", [{"body": BODY + b" "}, {"purpose": REPORT}, {"key": "another key"}]
)
def test_body_purpose_and_key_are_bound(store, attack):
    with pytest.raises(DeliveryError, match="does not match"):
        check(signed(), store, **attack)


def test_a_part_of_the_body_cannot_pass_for_the_delivery(store):
    headers = signed("abc", b"x.{}")
    with pytest.raises(DeliveryError):
        check(headers | {DELIVERY: "abc.x"}, store, body=b"{}")


def test_old_nonces_are_forgotten(store):
    check(signed(), store)
    check(signed(now_s=NOW + 602), store, now_s=NOW + 602)
    with closing(sqlite3.connect(store.path)) as opened:
        assert opened.execute("select count(*) from nonces").fetchone() == (1,)


# Over a connection


class Behaviour:
    """What a receiver on loopback was sent, and the statuses that it answers with first."""

    def __init__(self, *statuses):
        self.statuses, self.seen = list(statuses), []


@pytest.fixture
def serve(monkeypatch, tmp_path):
    """Serve a request handler on a free port; yields a function that returns the address."""
    monkeypatch.setenv("PRIMER_WEBHOOK_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    servers = []

    def start(handler):
        class Quiet(handler):
            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def answering(behaviour):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            behaviour.seen.append((dict(self.headers), body))
            status = behaviour.statuses.pop(0) if behaviour.statuses else 202
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "7")
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()

    return Handler


def trigger(url, **given):
    return WebhookTrigger(by="webhook", url=url, **given)


def test_on_5xx_the_same_delivery_is_tried_again_with_another_nonce(serve, store):
    behaviour, waits = Behaviour(500, 503, 429), []
    url = serve(answering(behaviour))
    told = send_webhook(trigger(url), "abc-1", {"a": "é"}, sleep=waits.append)
    assert told == {"status": 202, "tries": 4}
    assert waits == [1, 2, 7]  # doubled, or as the receiver asked
    deliveries = [
        check_delivery(HANDOFF, headers, body, KEY, store) for headers, body in behaviour.seen
    ]
    assert {one.id for one in deliveries} == {"abc-1"}
    assert json.loads(deliveries[0].body) == {"a": "é"}


@pytest.mark.parametrize("status", [302, 400, 401, 404])
def test_what_trying_again_cannot_mend_is_given_up_at_once(serve, status):
    behaviour = Behaviour(status)
    with pytest.raises(StageError, match=f"refused the delivery: status {status}"):
        send_webhook(trigger(serve(answering(behaviour))), "abc-1", {}, sleep=pytest.fail)
    assert len(behaviour.seen) == 1


def test_a_receiver_that_is_away_is_tried_for_so_long_and_no_longer(monkeypatch):
    monkeypatch.setenv("PRIMER_WEBHOOK_KEY", KEY)
    waits = []
    away = trigger("http://127.0.0.1:9/", tries=3, first_wait_s=5)  # nobody listens there
    with pytest.raises(StageError, match="did not accept the delivery in 3 tries: ConnectError"):
        send_webhook(away, "abc-1", {}, sleep=waits.append)
    assert waits == [5, 10]


def test_without_a_key_nothing_is_sent(serve, monkeypatch):
    url = serve(answering(Behaviour()))
    monkeypatch.delenv("PRIMER_WEBHOOK_KEY")
    with pytest.raises(InputError, match="PRIMER_WEBHOOK_KEY, which holds no key"):
        send_webhook(trigger(url), "abc-1", {}, sleep=pytest.fail)


def test_the_receiver_of_the_page_starts_one_training_and_refuses_a_replay(serve, tmp_path):
    (example,) = re.findall(r'```python\n("""receiver.py.*?)```', DOCS.read_text(), re.DOTALL)
    names = {"__name__": "receiver"}
    serve(answering(Behaviour()))  # it sets the key and the working directory
    exec(compile(example, "receiver.py", "exec"), names)  # noqa: S102  # of our own page
    script = tmp_path / "train.sh"
    script.write_text('#!/bin/sh\necho "$1 $2" >> started\n')
    script.chmod(0o700)
    url = serve(names["Receiver"])
    message = {"delivery": "abc-1", "dataset_address": "s3://x/$(id);y"}
    assert send_webhook(trigger(url), "abc-1", message)["status"] == 202
    assert send_webhook(trigger(url), "abc-1", message)["status"] == 200
    body = json.dumps(message).encode()
    request = urllib.request.Request(url, body, sign_delivery(HANDOFF, "abc-2", body, KEY))
    with urllib.request.urlopen(request) as first:
        assert first.status == 202
    with pytest.raises(urllib.error.HTTPError) as refused, urllib.request.urlopen(request):
        pass
    assert refused.value.code == 401
    refused.value.close()
    assert [training.wait(30) for training in names["TRAININGS"]] == [0, 0]
    started = (tmp_path / "started").read_text().splitlines()
    assert started == ["abc-1 s3://x/$(id);y"] * 2
