"""Samples, figures and the review queue in headless Chromium: hostile text, keyboard, telephone."""

import pytest
from catalog_corpus import copy_planted
from catalog_server import TOKEN, XSS, served

from catalog.review_journal import standing
from catalog.settings import Settings

pytestmark = pytest.mark.long
PAGES = ("samples", "samples?text=calm", "samples?reason=too_few_words", "samples/hostile",
         "samples/kept00", "samples/written", "waterfall", "contamination", "review",
         "rejected/synthesize")  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browsed")
    copy_planted(folder)
    return folder


@pytest.fixture(scope="module")
def address(runs):
    with served(Settings(runs, token=TOKEN)) as found:
        yield f"{found}/runs/planted"


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_runs_what_the_corpus_says_or_is_wider_than_the_window(opened, address, width):
    tab = opened(width)
    for path in PAGES:
        assert tab.goto(f"{address}/{path}").status == 200, path
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, path
        assert tab.locator("main img").count() == 0, path
        assert tab.locator("main h1").count() == 1, path


def test_the_hostile_text_is_there_as_it_was_written(opened, address):
    tab = opened()
    tab.goto(f"{address}/samples/hostile")
    assert XSS in tab.locator("pre.whole").inner_text()
    assert tab.locator("h1").inner_text() == XSS
    assert tab.locator("pre.whole .hidden-char").first.get_attribute("title")


def test_filters_apply_at_once_with_a_script_and_by_a_button_without(opened, address):
    tab = opened()
    tab.goto(f"{address}/samples")
    tab.get_by_label("Decision").select_option("held_out")
    tab.wait_for_url("**decision=held_out**")
    assert tab.locator("article").count() == 1
    tab.get_by_role("link", name="Remove the filter decision").click()
    assert tab.locator("article").count() == 20
    tab = opened(scripts=False)
    tab.goto(f"{address}/samples")
    tab.get_by_text("More filters").click()
    tab.get_by_label("Part of the address", exact=True).fill("kept1")
    tab.get_by_role("button", name="Show").click()
    assert tab.locator("article").count() == 10
    assert tab.get_by_label("Part of the address", exact=True).input_value() == "kept1"


def test_pages_are_turned_and_a_document_is_read_by_keyboard(opened, address):
    tab = opened()
    tab.goto(f"{address}/samples?order=id")
    first = tab.locator("article h2 a").first.inner_text()
    tab.get_by_role("link", name="Next").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_url("**after=**")
    assert tab.locator("article h2 a").first.inner_text() != first
    tab.keyboard.press("Tab")  # the link that skips to the content
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "content"
    for _ in range(30):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.closest('article h2') !== null"):
            break
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/samples/*")
    assert tab.get_by_role("heading", name="Its journey").is_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_label_is_decided_and_withdrawn_on_a_telephone(opened, address, runs, scripts):
    tab = opened(360, scripts)
    tab.goto(f"{address}/review")
    assert tab.get_by_role("button", name="Decide").count() == 0
    tab.get_by_role("link", name="Sign in").last.click()
    tab.locator("input[name=token]").fill(TOKEN)
    tab.locator("input[name=token]").press("Enter")
    tab.wait_for_url("**/review")
    item = tab.locator("article", has=tab.get_by_role("link", name="kept00"))
    item.get_by_label("3", exact=True).check()
    item.get_by_label("Your name").fill("Ada")
    item.get_by_label("Why").fill("It explains.")
    item.get_by_role("button", name="Decide").click()
    tab.wait_for_url("**done=kept00**")
    assert "Written down" in tab.get_by_role("status").inner_text()
    assert standing(runs / "planted")["kept00"].human_score == 3
    tab.get_by_text("withdraw", exact=True).click()
    row = tab.locator("#decided ~ .scroll tbody tr").first
    row.get_by_label("Why").fill("A slip.")
    row.get_by_role("button", name="Withdraw").click()
    tab.wait_for_url("**done=kept00**")
    assert standing(runs / "planted") == {}
