"""The catalog in headless Chromium: narrow and wide, with and without scripts, by keyboard."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from catalog_server import TOKEN, XSS, client, seal_run, served
from made_once import made_once
from small_run import copy_run

from catalog.settings import Settings
from pipeline.handoff_journal import append_entry

pytestmark = pytest.mark.long
WIDTHS = (360, 1280)
OF_A_RUN = ("", "/card", "/samples", "/waterfall", "/filter", "/contamination", "/lineage",
            "/models", "/review", "/handoff")  # fmt: skip
# What an accessibility checker looks for first. Returns a line for each thing that is wrong.
CHECKS = (Path(__file__).parent / "accessible.js").read_text()
COUNT_STOPS = """[...document.querySelectorAll(
    'a[href], button, input:not([type=hidden]), select, summary, textarea, [tabindex="0"]'
)].filter((e) => e.checkVisibility()).length"""
TELL_STOP = """(() => {
    const e = document.activeElement;
    if (e === document.body) return null;
    const style = getComputedStyle(e);
    const place = [...document.querySelectorAll("*")].indexOf(e);
    return [place, style.outlineStyle, parseFloat(style.outlineWidth), e.textContent];
})()"""


@pytest.fixture(scope="module")
def runs():
    """A real run up to its handoff, and one of hostile words with models."""

    def make(place):
        copy_run(place)
        run = seal_run(place / "hostile", XSS)
        append_entry(run, "requested", by=XSS)
        append_entry(run, "waiting", details={"flow_run_id": XSS, "preview": XSS})

    return made_once("catalog-browser", make)


@pytest.fixture(scope="module")
def address(runs):
    with served(Settings(runs, token=TOKEN, prefect_api_url="http://127.0.0.1:9/api")) as found:
        yield found


def addresses():
    """Every kind of page; the made-up run has no documents to show."""
    made_up = ("", "/card", "/lineage", "/models", "/waterfall", "/handoff")
    return [
        "/", "/?q=nothing-has-this", "/compare?a=small&b=hostile", "/login",
        *(f"/runs/small{rest}" for rest in OF_A_RUN),
        *(f"/runs/hostile{rest}" for rest in made_up),
    ]  # fmt: skip


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_every_page_is_accessible_and_fits(opened, address, width, scheme):
    tab = opened(width, scheme=scheme)
    wrong = {}
    for path in addresses():
        answer = tab.goto(address + path)
        assert answer.status == 200, path
        found = tab.evaluate(CHECKS)
        if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append("it is wider than the window")
        if found:
            wrong[path] = found
    assert wrong == {}


@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_whole_without_scripts(opened, address, width):
    tab = opened(width, scripts=False)
    for path in ("/", "/runs/small/card", "/runs/hostile/models", "/runs/hostile/lineage"):
        tab.goto(address + path)
        assert tab.locator("h1").count() == 1
        assert tab.locator("main").inner_text().strip()
    tab.goto(address)
    tab.fill("#q", "small")
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    assert tab.url == f"{address}/?q=small"
    assert tab.locator("article").count() == 1
    tab.goto(f"{address}/compare")
    tab.select_option("#side-0", "small")
    tab.select_option("#side-1", "hostile")
    tab.click("button:has-text('Compare')")
    assert tab.locator("h2").count() > 5


def test_signing_in_and_out_without_scripts(opened, address):
    tab = opened(360, scripts=False)
    tab.goto(f"{address}/runs/small/handoff")
    tab.click("main a:has-text('Sign in'), header a:has-text('Sign in')")
    tab.fill("#token", "wrong")
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    assert "not the catalog" in tab.locator("[role=alert]").inner_text()
    tab.fill("#token", TOKEN)
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    assert tab.url == f"{address}/runs/small/handoff"
    tab.click("button:has-text('Sign out')")
    assert tab.locator("a:has-text('Sign in')").count() == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_the_forms_of_whoever_signed_in_are_accessible_and_fit(opened, address, width):
    tab = opened(width)
    tab.goto(f"{address}/login?next=/runs/hostile/handoff")
    tab.fill("#token", TOKEN)
    with tab.expect_navigation():
        tab.keyboard.press("Enter")
    for path in ("/runs/hostile/handoff", "/runs/small/handoff", "/runs/small/review"):
        tab.goto(address + path)
        assert tab.locator("main form").count() >= 1
        assert tab.evaluate(CHECKS) == []
        assert not tab.evaluate("document.documentElement.scrollWidth > innerWidth")
    tab.goto(f"{address}/runs/hostile/handoff")
    tab.fill("#by", "Ada")
    tab.click("button:has-text('Approve')")
    assert tab.url == f"{address}/runs/hostile/handoff"  # a reason is missing


@pytest.mark.parametrize("path", ["/", "/runs/hostile/lineage", "/compare", "/runs/hostile"])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(opened, address, path):
    tab = opened()
    tab.goto(address + path)
    wanted = tab.evaluate(COUNT_STOPS)
    reached = []
    for _ in range(wanted + 5):
        tab.keyboard.press("Tab")
        where = tab.evaluate(TELL_STOP)
        if where is None or (reached and where[0] == reached[0][0]):
            break
        reached.append(where)
    assert reached[0][3] == "Skip to the content"
    assert [r for r in reached if r[1] == "none" or r[2] < 2] == []
    assert len({r[0] for r in reached}) == wanted


def test_the_skip_link_leads_to_the_content(opened, address):
    tab = opened()
    tab.goto(f"{address}/runs/hostile")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "content"


def test_a_script_makes_it_nicer(opened, address):
    tab = opened()
    tab.goto(address)
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.id") == "q"
    tab.goto(f"{address}/compare?a=small")
    with tab.expect_navigation():
        tab.select_option("#side-1", "hostile")
    assert "b=hostile" in tab.url


def test_hostile_text_runs_nothing(opened, address):
    tab = opened()  # a dialog fails it
    for path in [path for path in addresses() if "hostile" in path]:
        tab.goto(address + path)
        assert tab.evaluate("document.scripts.length") == 1


def test_the_command_serves_and_ends(runs):
    environment = {**os.environ, "PRIMER_RUNS": str(runs)}
    environment.pop("PRIMER_CATALOG_TOKEN", None)
    start = "from flows.main import primer; primer()"
    command = [sys.executable, "-c", start, "catalog", "--port", "0", "--no-token"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE
    ) as process:
        line = process.stdout.readline()
        try:
            address = line.split()[-1]
            with urllib.request.urlopen(f"{address}healthz", timeout=20) as answer:
                assert answer.status == 200
            with urllib.request.urlopen(address, timeout=20) as answer:
                assert b"small" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_the_same_pages_as_a_client_sees_them(runs):
    for path in addresses():
        assert client(runs).get(path).status_code == 200, path
