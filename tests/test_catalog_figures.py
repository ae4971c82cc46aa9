"""The figures of a run as pages: they add up, link to what they count, and mark what leaked."""

import json
import re
import shutil

import pytest
from catalog_corpus import planted_runs
from catalog_server import XSS, client
from hypothesis import given
from hypothesis import strategies as st
from made_once import made_once
from small_run import copy_run

from catalog.axes import Axes
from catalog.leaks import shared_words
from catalog.runs_index import RunsIndex
from catalog.waterfall import by_source, losses, narrowing


@pytest.fixture(scope="module")
def planted():
    return planted_runs()


@pytest.fixture(scope="module")
def real():
    return made_once("catalog-figures", copy_run)


@pytest.fixture(scope="module")
def run(planted):
    return RunsIndex(planted).get("planted")


def test_losses_are_those_of_the_ledgers_and_lead_to_what_was_lost(planted, run):
    browser = client(planted)
    for _, sealed, lost in losses(run, "/runs/planted"):
        account = sealed.ledger
        assert sum(one.rows for one in lost) == account.rows_in - account.kept
        for one in lost:
            page = browser.get(one.look)
            assert page.status_code == 200
            told = re.search(r"(\d+) of \d+ documents", page.text)
            if told:
                assert int(told[1]) == one.rows, one


def test_the_steps_narrow_from_records_to_an_arm(run):
    words = [(told, left) for told, left, _ in narrowing(run)]
    assert words == [
        ("records in the sources", 55), ("became documents", 54), ("passed cleaning", 50),
        ("kept by the filter", 49), ("arm kept+synthetic, without leaks", 20),
    ]  # fmt: skip


def test_sources_are_counted_from_the_files(run):
    columns, rows = by_source(run)
    assert columns == ["came in", "passed cleaning", "kept by the filter", "arm kept+synthetic"]
    counts = {(source, kind): counts for source, kind, counts in rows}
    assert counts["books", "web"] == [1, 0, 0, 0]
    assert counts["web-crawl", "code"] == [15, 15, 15, 7]
    assert [sum(column) for column in zip(*counts.values(), strict=True)] == [54, 50, 49, 20]


@pytest.mark.long  # a whole small run is made
def test_the_pages_of_a_real_run(real):
    browser, run = client(real), RunsIndex(real).get("small")
    page = browser.get("/runs/small/filter").text
    metrics = json.loads(run.stages["train-filter"].file("report/metrics.json").read_text())
    assert f"{metrics['precision']:.3f}" in page
    assert page.count("<polyline") == 4  # precision and recall, one against the other, calibration
    tokens = next(point["kept_tokens"] for point in metrics["curve"] if point["chosen"])
    assert f"{tokens:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") in page
    for address in re.findall(r'<img src="([^"]+)"', page):
        assert browser.get(address).headers["content-type"] == "image/png"
    waterfall = browser.get("/runs/small/waterfall?unit=tokens").text
    table = json.loads(run.stages["clean"].file("waterfall.json").read_text())
    assert waterfall.count('class="lost"') == len(table)
    for rest in ("contamination", "samples", "review"):
        assert browser.get(f"/runs/small/{rest}").status_code == 200


@pytest.mark.long
def test_figures_that_are_damaged_or_of_an_older_primer(real, tmp_path):
    shutil.copytree(real / "small", tmp_path / "small")
    metrics = tmp_path / "small/04-train-filter/report/metrics.json"
    metrics.write_text("{")
    answer = client(tmp_path).get("/runs/small/filter")
    assert answer.status_code == 409
    assert "primer verify" in answer.text
    metrics.write_text("{}")  # fields that are not there are unknown
    answer = client(tmp_path).get("/runs/small/filter")
    assert answer.status_code == 200
    assert "unknown" in answer.text


def test_leaks_are_shown_side_by_side_with_their_words_marked(planted):
    browser = client(planted)
    page = browser.get("/runs/planted/contamination").text
    assert "<mark>what is nine times nine</mark>, asked" in page
    assert "<mark>What is NINE times nine</mark>?" in page
    assert "14 pairs" in page
    assert page.count('<div class="pair">') == 10
    following = re.search(r'rel="next" href="([^"]*)"', page)[1].replace("&amp;", "&")
    assert browser.get(f"/runs/planted/contamination{following}").text.count('class="pair"') == 4
    of_one = browser.get("/runs/planted/contamination", params={"benchmark": XSS}).text
    assert "1 pair" in of_one
    assert "6 pairs" in browser.get("/runs/planted/contamination?benchmark=sums&kind=words").text
    assert "No leak matches" in browser.get("/runs/planted/contamination?doc=kept00").text
    assert browser.get("/runs/planted/contamination?after=-1").status_code == 400


@pytest.mark.parametrize(
    ("document", "item", "marked"),
    [
        ("He said: THE  quick-brown fox!", "the quick brown fox", "THE  quick-brown fox"),
        ("nothing of it", "the quick brown fox", ""),
        ("a b", "A B", "a b"),
        ("r\u00e9sum\u00e9 of it all", "resume of it all", "r\u00e9sum\u00e9 of it all"),
        ("the qu\u00adick brown fox", "the quick brown fox", "the qu\u00adick brown fox"),
        ("\u6f22\u5b57\u6f22 x", "\u6f22\u5b57\u6f22", "\u6f22\u5b57\u6f22"),
        ("", "x", ""),
        ("x", "", ""),
    ],
)
def test_words_are_compared_as_the_search_folds_them(document, item, marked):
    spans, _ = shared_words(document, item)
    assert "".join(document[start:end] for start, end in spans) == marked


@given(st.text(max_size=60), st.text(max_size=60))
def test_spans_are_in_order_and_within_the_texts(document, item):
    for text, spans in zip((document, item), shared_words(document, item), strict=True):
        flat = [at for span in spans for at in span]
        assert flat == sorted(flat)
        assert all(0 <= at <= len(text) for at in flat)


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_axes_keep_all_within_the_picture(value, highest):
    axes = Axes(highest, highest)
    assert 52 <= axes.x(value) <= 624
    assert 12 <= axes.y(value) <= 258
    assert 1 <= len(axes.x_ticks) <= 12


def test_a_line_leaves_out_what_is_unknown():
    rows = [{"x": 0, "y": 0}, {"x": 0.5, "y": None}, {"x": 1, "y": 1}, {"y": 1}]
    assert Axes().points(rows, "x", "y") == "52.0,258.0 624.0,12.0"
