"""The browser of samples: what matches, page after page, safely, and with everything known."""

import re
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from catalog_corpus import INJECTION, Planted, document, planted_runs, seal_planted
from catalog_server import XSS, client

from catalog.parquet_reader import open_reader
from catalog.runs_index import RunsIndex
from catalog.sample_files import corpus_of
from catalog.sample_filters import DECISIONS, ORDERS, Filters
from catalog.sample_query import count, find_page
from catalog.sample_question import is_aligned
from catalog.untrusted import one_line, shown

ROOT = "/runs/planted/samples"
ARTICLES = re.compile(rf'<article.*?href="{ROOT}/([^"]*)"', re.DOTALL)


@pytest.fixture(scope="module")
def runs():
    return planted_runs()


@pytest.fixture(scope="module")
def browser(runs):
    return client(runs)


@pytest.fixture(scope="module")
def corpus(runs):
    return corpus_of(RunsIndex(runs).get("planted"))


def ids_on(browser, query):
    answer = browser.get(f"{ROOT}?{query}")
    assert answer.status_code == 200, answer.text
    return ARTICLES.findall(answer.text)


def all_ids(browser, query):
    """The ids of all pages, following the links from one to the next."""
    found, pages = [], 0
    while query is not None:
        answer = browser.get(f"{ROOT}?{query}")
        assert answer.status_code == 200
        page = answer.text
        found += ARTICLES.findall(page)
        following = re.search(r'rel="next" href="\?([^"]*)"', page)
        query = following and following[1].replace("&amp;", "&")
        pages += 1
        assert pages < 20
    return found


@pytest.mark.parametrize(
    "order",
    ["score_down", *(pytest.param(o, marks=pytest.mark.long) for o in ORDERS if o != "score_down")],
)
def test_turning_the_pages_meets_every_document_once(browser, order):
    planted = Planted()
    everything = {row["doc_id"] for row in planted.passed} | {"written"}
    everything |= {row["doc_id"] for row, *_ in planted.dropped}
    found = all_ids(browser, f"order={order}")
    assert len(found) == len(set(found))
    assert set(found) == everything


def test_the_order_is_that_of_the_scores_and_then_of_the_ids(browser):
    scores = {row["doc_id"]: row["score"] for row in Planted().scores()}
    found = all_ids(browser, "")
    ranks = [(-scores.get(doc_id, -1.0), doc_id) for doc_id in found]
    assert ranks == sorted(ranks)
    lowest = [scores[i] for i in all_ids(browser, "order=score_up") if i in scores]
    assert lowest == sorted(lowest)


def test_each_document_has_exactly_one_decision(browser, corpus):
    of_each = {decision: set(all_ids(browser, f"decision={decision}")) for decision in DECISIONS}
    assert of_each["contaminated"] == {"leak"}
    assert of_each["held_out"] == {"held"}
    assert of_each["synthetic"] == {"written"}
    assert of_each["below_threshold"] == {"low0"}
    assert of_each["dropped_in_cleaning"] == {"short", "short2", "twin", "secret"}
    assert len(of_each["kept"]) == 47
    counted = [count(corpus, Filters(decision=decision)) for decision in DECISIONS]
    assert counted == [len(ids) for ids in of_each.values()]
    assert sum(counted) == count(corpus, Filters())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("source=books", {"twin"}),
        ("reason=near_copy", {"twin"}),
        ("least=0.1&most=0.2", {"low0"}),
        ("licence=MIT", {"low0"}),
        ("label=3", {"kept01"}),
        ("label=none", {"kept02"}),
        ("label=any&kind=code", {"kept00"}),
        ("address=EXAMPLE.org/HELD", {"held"}),
        ("arm=kept%2Bsynthetic&kind=code&least=0.7", {f"kept{i:02}" for i in range(0, 20, 3)}),
        ("arm=no-such-arm", set()),
        ("text=NEEDLE", {"long"}),
        ("text=calm+lesson&kind=code&language=python&least=0.7",
         {f"kept{i:02}" for i in range(0, 30, 3)}),
        ("text=hi", {"held"}),  # "this"; what cleaning dropped is not searched
        (f"source={quote(INJECTION)}", {"low0"}),
    ],
)  # fmt: skip
def test_filters_find_what_they_say(browser, query, expected):
    assert set(all_ids(browser, query)) == expected


def test_of_the_dropped_those_that_can_be_read_come_first(browser):
    assert ids_on(browser, "reason=too_few_words") == ["short2", "short"]
    page = browser.get(f"{ROOT}?reason=too_few_words").text
    assert "a sealed example" in page
    assert "has not been redacted" in page


def test_unknown_licences_are_found_as_unknown(browser):
    found = all_ids(browser, "licence=unknown")
    assert "kept00" in found
    assert "low0" not in found


def test_no_filter_is_a_way_into_the_query(browser):
    words = {"source", "kind", "language", "licence", "reason", "arm", "address", "text"}
    for name in [*Filters().__dataclass_fields__, "after"]:
        answer = browser.get(ROOT, params={name: INJECTION})
        assert answer.status_code == (200 if name in words else 400), name
        assert INJECTION not in answer.text  # escaped, where it is said again
        if name in words - {"source"}:  # where a source has this very name
            assert ARTICLES.findall(answer.text) == []
    for odd in ("\x00", "🙂" * 300, "%", "$passed", "\ud83d"):
        assert (
            browser.get(ROOT, params={"address": odd.encode("utf-8", "replace")}).status_code == 200
        )


@pytest.mark.parametrize(
    "query", ["least=1e999", "least=nan", "after=1~", "after=inf~a", "most=-1"]
)
def test_what_no_page_has_made_is_refused(browser, query):
    assert browser.get(f"{ROOT}?{query}").status_code == 400


class Markup(HTMLParser):
    """Every tag and attribute that a browser would see."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs


PLANTED_PAGES = (
    ROOT, f"{ROOT}?address=script", f"{ROOT}?text=script", f"{ROOT}/hostile", f"{ROOT}/written",
    f"{ROOT}/leak", f"{ROOT}/secret", f"{ROOT}?text={quote(XSS)}", f"{ROOT}?source={quote(XSS)}",
    f"{ROOT}/{quote(XSS, safe='')}", "/runs/planted/rejected/ingest",
    "/runs/planted/rejected/synthesize", "/runs/planted/contamination", "/runs/planted/review",
    "/runs/planted/waterfall", f"/runs/planted/contamination?benchmark={quote(XSS)}",
)  # fmt: skip


@pytest.mark.long  # the detectors of personal data take seconds to load
def test_what_cleaning_dropped_is_redacted_where_it_is_read(browser):
    twin = browser.get(f"{ROOT}/twin").text
    assert "near copy" in twin
    assert 'href="/runs/planted/samples/kept01"' in twin
    assert "Text 1, a calm lesson!" in twin
    assert "415" not in browser.get(f"{ROOT}/short").text
    assert "PHONE" in browser.get(f"{ROOT}/short").text


@pytest.mark.parametrize("address", PLANTED_PAGES)
def test_planted_markup_stays_text(browser, address):
    answer = browser.get(address)
    assert answer.status_code in {200, 404}
    seen = Markup()
    seen.feed(answer.text)
    assert seen.tags.count("script") == 1  # the catalog's own
    assert "img" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on") or name == "style"]
    assert "49" not in re.findall(r"\{\{7\*7\}\}|>49<", answer.text)


def test_what_cannot_be_seen_is_shown_as_a_mark(browser):
    page = browser.get(f"{ROOT}/hostile").text
    for hidden in "\u202e\u2066\u2069\x00\x1b":
        assert hidden not in page
        assert f"U+{ord(hidden):04X}</span>" in page
    assert "right-to-left override" in page


def test_marks_are_put_around_escaped_text():
    assert shown("a<b>c", [(1, 4)]) == "a<mark>&lt;b&gt;</mark>c"
    assert shown("x\r\ny") == "x\ny"
    assert shown("\ud800") == '<span class="hidden-char" title="control character">U+D800</span>'
    assert one_line("a\n b") == "a b"
    assert shown(None) == one_line(None) == ""


def test_a_document_tells_its_journey(browser):
    page = browser.get(f"{ROOT}/kept00").text
    assert "5 of 5" in page
    assert "second" in page
    assert 'href="/runs/planted/samples/written"' in page  # what was written of it
    assert "kept+synthetic, raw" in page
    assert 'href="/runs/planted/samples/kept00"' in browser.get(f"{ROOT}/written").text
    assert 'href="/runs/planted/samples/twin"' in browser.get(f"{ROOT}/kept01").text
    assert "for validation" in browser.get(f"{ROOT}/held").text
    assert browser.get(f"{ROOT}/nobody").status_code == 404


def test_a_long_text_is_cut_with_a_way_to_read_on(browser):
    first = browser.get(f"{ROOT}/long").text
    assert "needle" not in first
    assert 'href="?from=20000"' in first
    assert "needle" in browser.get(f"{ROOT}/long?from=40000").text
    assert browser.get(f"{ROOT}/long?from=x").status_code == 400
    assert browser.get(f"{ROOT}/long?from=99999999").status_code == 200


def test_a_secret_is_never_shown(browser):
    for address in (f"{ROOT}/secret", f"{ROOT}?reason=secret", f"{ROOT}?text=ghp_"):
        assert "ghp_abc" not in browser.get(address).text


def test_rejects_are_listed_by_reason_page_by_page(browser):
    address = "/runs/planted/rejected/synthesize"
    page = browser.get(address).text
    assert page.count("<tr><td>") == 50
    following = re.search(r'rel="next" href="([^"]*)"', page)[1].replace("&amp;", "&")
    assert browser.get(address + following).text.count("<tr><td>") == 10
    assert "Nothing was rejected" in browser.get(f"{address}?reason={quote(INJECTION)}").text
    assert browser.get("/runs/planted/rejected/clean").status_code == 404


def test_scores_in_another_order_are_joined_on_the_id(tmp_path):
    planted = Planted()
    in_order, shuffled = (tmp_path / name for name in ("a", "b"))
    seal_planted(in_order, planted=planted)
    scores = list(planted.scores())
    planted.scores = lambda: reversed(scores)
    planted.passed = list(planted.passed)
    seal_planted(shuffled, until="apply-filter", planted=planted)
    index = RunsIndex(tmp_path)
    one, other = (corpus_of(index.get(name)) for name in ("a", "b"))
    assert is_aligned(one)
    assert not is_aligned(other)
    for filters in (Filters(least=0.1, most=0.2), Filters(decision="held_out"), Filters(most=0.6)):
        found = []
        for corpus in (one, other):
            with open_reader("clean", corpus.every_file) as reader:
                places, _ = find_page(reader, corpus, filters, None)
            found.append([place.doc_id for place in places])
        assert found[0] == found[1] != []


@pytest.mark.long
def test_twenty_thousand_documents_are_paged_without_reading_their_texts(tmp_path):
    planted = Planted(passed=[document(f"d{i:06}", "x" * 50) for i in range(20_000)], dropped=[])
    run = seal_planted(tmp_path / "planted", "apply-filter", planted)
    corpus = corpus_of(RunsIndex(tmp_path).get("planted"))
    assert count(corpus, Filters()) == 20_000
    text = run / "02-clean/documents/00000.parquet"
    assert text.stat().st_size > 0
    with open_reader("clean", corpus.every_file) as reader:
        places, more = find_page(reader, corpus, Filters(), (0.125, "d015000"))
    assert more
    assert [place.doc_id for place in places[:2]] == ["d015001", "d015002"]
