"""What the catalog's pages say of runs that are sealed by the real contract."""

import json
import re
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from catalog_server import MODEL, TOKEN, client, four_runs, seal_run, stages_of

from catalog import runs_index
from catalog.compare import change
from catalog.lineage_drawing import draw_edges, lay_out
from catalog.lineage_graph import Node, trace
from catalog.models import MEASURES, draw
from catalog.overview import group_versions
from catalog.runs_index import RunsIndex
from pipeline.handoff_journal import append_entry, journal_directory, state_of
from pipeline.manifest import MANIFEST


@pytest.fixture(scope="module")
def runs():
    return four_runs()


@pytest.fixture
def own(runs, tmp_path):
    """The same runs, to be damaged."""
    shutil.copytree(runs, tmp_path / "runs")
    return tmp_path / "runs"


def text_of(answer):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text))


def test_versions_of_a_dataset_stand_together(runs):
    datasets = group_versions(RunsIndex(runs).all())
    chains = {d.name: [run.name for run in d.versions] for d in datasets}
    assert chains == {
        "first": ["first-v2", "first"],
        "other": ["other"],
        "hostile": ["hostile"],
    }
    page = client(runs).get("/").text
    assert page.count('<article class="sheet dataset">') == 3
    assert "/compare?a=first&amp;b=first-v2" in page


def test_a_search_looks_in_names_titles_licences_and_facts(runs):
    browser = client(runs)

    def found(words):
        page = browser.get("/", params={"q": words}).text
        return {name for name in ("first", "other", "hostile") if f'href="/runs/{name}"' in page}

    assert found("another") == {"other"}
    assert found("OTHER  mit") == {"other"}
    assert found("budget_tokens") == {"first", "other", "hostile"}
    assert found("nowhere-to-be-found") == set()
    assert "Nothing here holds" in browser.get("/", params={"q": "nowhere"}).text


def test_a_run_shows_its_journey_and_why_rows_were_dropped(runs):
    page = text_of(client(runs).get("/runs/first"))
    for told in ("01-ingest 105 100", "near copy 10", "below threshold 50", "undecodable failed 2"):
        assert told in page
    assert "say nothing of what a language model’s labels would be worth" in page


def test_what_was_made_from_something_else_is_stale(own):
    seal_run(own / "again", kept=90)
    shutil.rmtree(own / "first" / "02-clean")
    shutil.copytree(own / "again" / "02-clean", own / "first" / "02-clean")
    run = RunsIndex(own).get("first")
    assert run.stale == set(run.stages) - {"ingest"}
    page = text_of(client(own).get("/runs/first"))
    assert "Made from something that has been made anew since" in page


def test_damaged_empty_and_unfinished_runs_are_shown_as_such(own):
    (own / "first" / "02-clean" / MANIFEST).write_text("{}")
    (own / "empty").mkdir()
    (own / "empty" / "recipe.yaml").write_text("name: empty")
    (own / "other" / "05-apply-filter.abc.partial").mkdir()
    (own / "not-a-run").mkdir()
    (own / ".prefect").mkdir()
    (own / "other" / "recipe.yaml").write_text("name: other\nwhen: 2026-13-45\n")
    browser = client(own)
    page = browser.get("/").text
    assert "is damaged" in page
    assert "nothing sealed" in page
    assert str(own) not in page
    assert "unfinished" in page
    assert "not-a-run" not in page
    assert browser.get("/runs/not-a-run").status_code == 404
    for name in ("first", "empty", "other"):
        for rest in ("", "/card", "/lineage", "/models", "/handoff"):
            assert browser.get(f"/runs/{name}{rest}").status_code == 200, name + rest


def test_the_handoff_is_shown_where_it_stands(own):
    run = own / "first"
    browser = client(own, prefect_api_url="http://127.0.0.1:9/api")
    assert "Nobody has asked for it yet" in browser.get("/runs/first/handoff").text
    append_entry(run, "requested", by="Ada")
    assert "handoff: requested" in browser.get("/").text
    append_entry(run, "waiting", details={"flow_run_id": "an-id"})
    (journal_directory(run) / "preview.md").write_text("# A <b>preview</b>\n\n## Part\n")
    page = browser.get("/runs/first/handoff").text
    assert '<button class="button" name="decision" value="approve">' in page
    assert "<h2>A &lt;b&gt;preview&lt;/b&gt;</h2>" in page
    assert "<h3>Part</h3>" in page
    append_entry(run, "rejected", by="Bo", reason="<i>no</i>")
    page = browser.get("/runs/first/handoff").text
    assert "Bo: “&lt;i&gt;no&lt;/i&gt;”" in page
    assert "Offer it again" in page
    journal = journal_directory(run) / "journal.jsonl"
    journal.write_text("{}\n" + journal.read_text())
    assert "handoff: damaged journal" in browser.get("/").text
    assert browser.get("/runs/first/handoff").status_code == 409


def test_a_decision_without_a_server_is_not_taken(own):
    run = own / "first"
    append_entry(run, "requested", by="Ada")
    append_entry(run, "waiting", details={"flow_run_id": "an-id"})
    browser = client(own, prefect_api_url="http://127.0.0.1:9/api")
    page = browser.get("/runs/first/handoff").text
    form = {
        "csrf": page.partition('name="csrf" value="')[2].partition('"')[0],
        "attempt": page.partition('name="attempt" value="')[2].partition('"')[0],
        "decision": "approve", "by": "Bo", "reason": "good",
    }  # fmt: skip
    address, ours = "/runs/first/handoff/decide", {"origin": "http://localhost"}
    assert browser.post(address, data=form | {"by": ""}, headers=ours).status_code == 400
    assert browser.post(address, data=form | {"decision": "x"}, headers=ours).status_code == 400
    assert browser.post(address, data=form | {"attempt": "x"}, headers=ours).status_code == 409
    answer = browser.post(address, data=form, headers=ours)
    assert answer.status_code == 503
    assert "does not answer (ConnectError)" in answer.text
    assert state_of(run).state == "waiting"


def test_a_directory_that_cannot_be_read_hides_no_other(own, monkeypatch):
    def look(path):
        if path.name == "first":
            raise PermissionError(13, "Permission denied")
        if path.name == "other":
            raise FileNotFoundError  # it was listed, and taken away
        return look_at(path)

    look_at = runs_index._look_at
    monkeypatch.setattr(runs_index, "_look_at", look)
    runs = {run.name: run for run in RunsIndex(own).all()}
    assert set(runs) == {"first", "first-v2", "hostile"}
    assert runs["first"].problem == "it cannot be read (Permission denied)"
    assert client(own).get("/").status_code == 200


def test_an_address_that_is_not_prefects_api_is_told(own):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>not JSON</html>")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://user:pass@127.0.0.1:{server.server_port}"
        browser = client(own, token=TOKEN, prefect_api_url=address)
        bearer = {"authorization": f"Bearer {TOKEN}"}
        answer = browser.post("/runs/first/handoff/start", data={"by": "Ada"}, headers=bearer)
        server.shutdown()
    assert answer.status_code == 502
    assert "its address ends in /api" in answer.text
    assert state_of(own / "first") is None
    gone = browser.post("/runs/first/handoff/start", data={"by": "Ada"}, headers=bearer)
    assert gone.status_code == 503
    assert "user:pass" not in gone.text


def test_a_run_is_read_again_only_when_it_changed(own):
    index = RunsIndex(own)
    before = {run.name: run for run in index.all()}
    assert all(run is before[run.name] for run in index.all())
    (own / "first" / "recipe.yaml").write_text("name: first\ncard: {title: Changed}\n")
    after = {run.name: run for run in index.all()}
    assert after["first"] is not before["first"]
    assert after["other"] is before["other"]


@pytest.mark.long
def test_a_hundred_runs_open_at_once(runs, tmp_path):
    for i in range(100):
        (tmp_path / f"run-{i}").symlink_to(runs / ("first", "other")[i % 2])
    browser = client(tmp_path)
    browser.get("/")
    seconds = []  # of the processor, for tests run beside each other
    for _ in range(7):
        begun = time.process_time()
        assert browser.get("/").status_code == 200
        seconds.append(time.process_time() - begun)
    assert min(seconds) < 0.1


def test_the_lineage_leads_from_sources_to_quantized_models(runs):
    index = RunsIndex(runs)
    run = index.get("first-v2")
    layers, edges = trace(run, [index.get("first")])
    following = {}
    for start, end in edges:
        following.setdefault(start, set()).add(end)
    reached, todo = set(), ["source docs"]
    while todo:
        node = todo.pop()
        reached.add(node)
        todo += following.get(node, set()) - reached
    assert {"ingest", "arm raw", "model raw", "file raw/model-Q4_0.gguf", "evaluate"} <= reached
    assert "ingest" in following["parent first"]
    boxes, height = lay_out(layers)
    assert all(box.y + box.height <= height for box in boxes.values())
    drawn = draw_edges(boxes, edges, layers)
    assert len(drawn) == len(edges)
    page = client(runs).get("/runs/first-v2/lineage").text
    assert '<a href="/runs/first/lineage">' in page
    assert '<a href="/runs/first-v2/contamination">' in page
    for name, sealed in run.stages.items():
        row = page.partition(f'<th scope="row">{name}</th>')[2].partition("</tr>")[0]
        assert all(need in row for need in sealed.manifest.needs)


def test_many_models_are_framed_and_drawn_once(runs):
    layers, _ = trace(RunsIndex(runs).get("first"), [])
    twelve = [Node(f"file {i}", str(i), "", "made") for i in range(12)]
    around = [layers[1], twelve, layers[-1]]
    boxes, _ = lay_out(around)
    assert [name for name, box in boxes.items() if box.node.kind == "frame"] == ["file 0 frame"]
    (start,), (end,) = layers[1], layers[-1]
    edges = [(start.name, node.name) for node in twelve] + [(n.name, end.name) for n in twelve]
    assert len(draw_edges(boxes, edges, around)) == 2


def test_two_versions_are_compared(runs):
    browser = client(runs)
    page = browser.get("/compare", params={"a": "first", "b": "first-v2"})
    told = text_of(page)
    assert "clean: kept 90 110 +20 (+22.2 %)" in told
    assert "apply-filter: below threshold (dropped) 50 70 +20 (+40.0 %)" in told
    assert "plain: MIT 100 120" in told
    assert "parent version none first differs" in told
    assert "train: kept 2 2" in told
    other = text_of(browser.get("/compare", params={"a": "first", "b": "other"}))
    assert "ingest: plain (dropped) 3 0 −3 (−100.0 %)" in other
    assert "another: MIT 0 80 +80" in other
    only = text_of(browser.get("/compare?a=first&b=first-v2&only=differences"))
    assert "train: kept" not in only
    assert "clean: kept 90 110" in only
    assert browser.get("/compare?a=first&b=nowhere").status_code == 404
    assert "Choose two" in browser.get("/compare").text


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (1, 1, ""),
        (1, 2, "+1 (+100.0 %)"),
        (4.0, 3.0, "−1.000 (−25.0 %)"),  # a real minus
        (0, 5, "+5"),
        (None, 5, "differs"),
        ("a", "b", "differs"),
        (True, False, "differs"),
    ],
)
def test_a_change_is_told(before, after, told):
    assert change(before, after) == told


def test_models_are_drawn_by_quantization(runs):
    page = text_of(client(runs).get("/runs/first/models"))
    assert "The gate of the evaluation says hold" in page
    assert "Speed of decoding tokens a second, more is better" in page
    models = [{**MODEL, "arm": "raw", "type": t, "file_mib": v} for t, v in (("F16", 4), ("Q4", 1))]
    measure = next(m for m in MEASURES if m.key == "file_mib")
    chart = draw(measure, models)
    assert [(kind, bars[0]["share"]) for kind, bars in chart["rows"]] == [
        ("F16", 1.0),
        ("Q4", 0.25),
    ]
    assert draw(measure, [{"arm": "raw", "type": "F16"}]) is None


def test_health_and_metrics_answer(runs, tmp_path):
    assert client(runs).get("/healthz").json() == {"status": "ok"}
    assert client(tmp_path / "gone").get("/healthz").status_code == 503
    told = client(runs).get("/metrics").text
    assert 'primer_catalog_seconds_count{page="healthz",status="503"}' in told
    assert "primer_documents" in told


def test_the_journey_of_the_test_is_whole():
    numbers = [stage[0] for stage in stages_of("x", 100)]
    assert numbers == sorted(numbers)
    assert json.loads(stages_of("x", 100)[7][5]["handoff.json"])["arms"]
