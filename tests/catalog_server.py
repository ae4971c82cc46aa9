"""A catalog to test: runs sealed by the real contract, full of hostile words, served on loopback.

What such a run says is made up; that it is sealed, hashed and fingerprinted as any other is not.
"""

import json
import socket
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import yaml
from made_once import made_once
from starlette.testclient import TestClient

from catalog.app import make_app
from catalog.settings import Settings
from conftest import Sections
from pipeline.ledger import Ledger
from pipeline.stage import Outcome, Stage
from pipeline.step import make_plan, run_step

TOKEN = "a-token-of-more-than-16-letters"
XSS = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}"
CARD = f"""---
pretty_name: {json.dumps(XSS)}
license: mit
tags:
- {json.dumps(XSS)}
---

# A card {XSS}

| left | right |
|---|---:|
| `x` | 12 |

![a plot](plots/good.png) ![not ours](../../recipe.yaml) ![out](https://evil.example/x.png)
![pixel](data:image/png;base64,AAAA)

[web](https://example.org/a) [mail](mailto:a@example.org) [here](#top)
[provenance](prov.json) [manifest](manifest.json) [up](../recipe.yaml)
[script](javascript:alert(1)) [data](data:text/html,x) [file](/etc/passwd) [rel](//evil.example)

<div onclick="alert(1)">raw</div>
<style>body {{ display: none }}</style>
"""


def png() -> bytes:
    """One white dot."""

    def part(kind, body):
        checked = kind + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixel = zlib.compress(b"\x00\xff")
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", pixel) + part(b"IEND", b"")


ARM = {
    "tokens": 1000, "documents": 10, "epochs": 0.5, "base_synthetic_tokens": 0,
    "anneal_synthetic_tokens": 100, "parameters": 1_000_000, "seconds": 7.5, "steps": 40,
}  # fmt: skip
MODEL = {"bits_per_byte": 2.5, "lost_bits_per_byte": 0.0, "decode_tokens_per_s": 1500.0,
         "prefill_tokens_per_s": 20_000.0, "peak_mem_mib": 10.5, "file_mib": 2.1,
         "verdict": "promote"}  # fmt: skip


def stages_of(word: str, kept: int) -> list[tuple]:
    """(number, name, needs, ledger, facts, files) of a whole journey."""
    handoff = {"arms": [{"name": word, "licences": {"MIT": kept, word: 2}}]}
    return [
        (1, "ingest", (), Ledger("records", kept + 5, kept, {word: 3}, {"undecodable": 2}),
         {"files_by_source": {word: 4, "docs": 1}}, {}),
        (2, "clean", ("ingest",), Ledger("documents", kept, kept - 10, {"near_copy": 10}), {}, {}),
        (3, "label", ("clean",), Ledger("documents", 20, 20),
         {"annotator": word, "annotator_is_llm": False}, {}),
        (5, "apply-filter", ("clean",),
         Ledger("documents", kept - 10, 40, {"below_threshold": kept - 50}),
         {"kept_share": 40 / (kept - 10)}, {}),
        (7, "decontaminate", ("apply-filter",), Ledger("documents", 40, 39, {"contaminated": 1}),
         {"hits": {word: 1}, "planted_recall": 1.0, "documents_by_arm": {word: 39, "raw": 39}}, {}),
        (8, "tokenize", ("decontaminate",), Ledger("documents", 39, 39),
         {"vocabulary": 400, "budget_tokens": 1000, "arms": {word: ARM, "raw": ARM}}, {}),
        (9, "card", ("tokenize", "clean"), Ledger("samples", 3, 3), {"title": word},
         {"README.md": CARD.encode(), "plots/good.png": png(), "plots/bad.svg": b"<svg/>",
          "page.html": b"<script>alert(1)</script>", "prov.json": b"{}"}),
        (10, "handoff", ("card",), Ledger("files", 2, 2), {"arms": [word], "signed": False},
         {"handoff.json": json.dumps(handoff).encode()}),
        (11, "train", ("handoff",), Ledger("models", 2, 2), {"arms": {word: ARM, "raw": ARM}}, {}),
        (12, "quantize", ("train",), Ledger("files", 2, 2), {},
         {"raw/model-F16.gguf": b"1", "raw/model-Q4_0.gguf": b"2"}),
        (13, "evaluate", ("quantize",), Ledger("models", 2, 2),
         {"models": [{"arm": a, "type": t, **MODEL} for t in ("F16", word) for a in ("raw", word)],
          "gate": {"verdict": "hold", "reasons": [word], "recommended": {word: "F16"}},
          "baselines": {word: 2.0}}, {"quality.png": png()}),
    ]  # fmt: skip


def seal_run(run: Path, word: str = "plain", kept: int = 100, parent: str | None = None) -> Path:
    """A run whose every free word is `word`, sealed from ingest to evaluate."""
    stages = []
    for number, name, needs, account, facts, files in stages_of(word, kept):

        def work(place, account=account, facts=facts, files=files):
            for file, content in (files or {"nothing.txt": b""}).items():
                path = place.out / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            return Outcome(account, facts)

        stages.append(Stage(number, name, 1, needs, ("*",), (), work))
    for step in make_plan(stages, Sections(MappingProxyType({}), seed=kept), run).values():
        run_step(step)
    recipe = {"name": run.name, "card": {"title": word, "licence": "mit"}, "seed": kept}
    if parent:
        recipe["increment"] = {"parent": f"/elsewhere/{parent}"}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return run


def four_runs() -> Path:
    """Two versions of one dataset, another dataset, and one of hostile words; not to be changed."""

    def make(place):
        seal_run(place / "first")
        seal_run(place / "first-v2", "plain", kept=120, parent="first")
        seal_run(place / "other", "another", kept=80)
        seal_run(place / "hostile", XSS)

    return made_once("catalog-runs", make)


def client(runs: Path, **settings) -> TestClient:
    """A browser without eyes; it follows no redirects, and answers failures as a server would."""
    app = make_app(Settings(runs, **settings))
    return TestClient(
        app, base_url="http://localhost", follow_redirects=False, raise_server_exceptions=False
    )


def sign_in(browser: TestClient, token: str = TOKEN, path: str = "/"):
    """Fill in the form of the login page; returns the answer."""
    form = {"csrf": form_token(browser, "/login"), "token": token, "next": path}
    return browser.post("/login", data=form, headers={"origin": "http://localhost"})


def form_token(browser: TestClient, path: str) -> str:
    """The hidden field of the first form of a page."""
    return browser.get(path).text.partition('name="csrf" value="')[2].partition('"')[0]


@contextmanager
def served(settings: Settings):
    """The address of a catalog that listens on a free port of loopback."""
    import uvicorn

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(make_app(settings), log_config=None, proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=20)
    listening.close()
