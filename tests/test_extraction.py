"""Main text of real pages, and pages that hang, grow or kill: each costs itself alone."""

import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import psutil
import pytest
from archive_material import response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conftest import SHARED_DATA
from pipeline.archives import ArchiveConfig, Page, read_archive
from pipeline.errors import InputError, StageError
from pipeline.extraction import Extracted, ExtractionConfig, Extractors, NotExtracted
from pipeline.extraction_archive import WebDocument, read_documents
from pipeline.extraction_guard import GuardedProcess

NESTED = "<div>" * 100_000 + "words"
ATTRIBUTES = "<p " + " ".join(f"a{i}=1" for i in range(150_000)) + ">words</p>"
GOOD = (
    "<html lang=en><head><title>Tides</title></head><body><nav><a href=/>Home</a></nav><article>"
    + "<p>The tide follows the Moon, and the Sun a little; twice a day the water comes.</p>" * 9
    + "</article></body></html>"
)
BOTH = pytest.mark.parametrize("extractor", ["resiliparse", "trafilatura"])


@cache
def real_pages():
    path = SHARED_DATA / "web" / "dolma-sample-0000.warc.gz"
    if not path.exists():
        pytest.skip(f"{path} is absent: the shared test data is not beside the repository")
    rows = [row for row in read_archive(str(path)) if isinstance(row, Page) and row.is_html]
    return [(row.url, row.decode().text) for row in rows]


def extract(pages, **config):
    with Extractors(ExtractionConfig(**config)) as extractors:
        return list(extractors.run(pages)), extractors.replaced


def reasons(results):
    return [r.reason if isinstance(r, NotExtracted) else "" for _, r in results]


@BOTH
def test_real_pages_give_text_title_and_the_name_of_what_extracted(extractor):
    pages = real_pages()
    results, replaced = extract(pages, extractor=extractor)
    assert [key for key, _ in results] == [key for key, _ in pages]
    assert replaced == 0
    found = [result for _, result in results if isinstance(result, Extracted)]
    assert len(found) >= 0.9 * len(pages)
    assert all(len(result.text) < len(html) for (_, html), (_, result) in
               zip(pages, results, strict=True) if isinstance(result, Extracted))  # fmt: skip
    assert sum(bool(result.title) for result in found) >= 0.7 * len(found)
    assert {result.extractor.split()[0] for result in found} == {extractor}
    assert found[0].extractor.split()[1][0].isdecimal()


@BOTH
def test_boilerplate_is_left_out_and_the_page_names_its_language(extractor):
    [(key, result)], _ = extract([(7, GOOD)], extractor=extractor)
    assert (key, result.title, result.language) == (7, "Tides", "en")
    assert "follows the Moon" in result.text
    assert "Home" not in result.text


def test_the_order_and_the_texts_are_those_of_one_worker():
    pages = [(i, page[1]) for i, page in enumerate(real_pages() * 4)]
    one, _ = extract(pages)
    three, _ = extract(pages, workers=3)
    assert one == three


@BOTH
def test_pages_that_take_too_long_cost_themselves(extractor):
    pages = [("a", GOOD), ("hangs", ATTRIBUTES), ("b", GOOD), ("deep", NESTED), ("c", GOOD)]
    results, replaced = extract(pages, extractor=extractor, cpu_limit_s=0.3)
    assert [key for key, _ in results] == ["a", "hangs", "b", "deep", "c"]
    said = reasons(results)
    assert [said[0], said[2], said[4]] == ["", "", ""]
    assert said[1] == "too_slow"
    assert "0.3 s of processor time" in results[1][1].evidence
    assert said[3] in ("too_slow", "no_text", "extractor_failed")
    assert replaced == said.count("too_slow")
    assert results[1][1].is_failure


@BOTH
def test_pages_that_take_too_much_memory_cost_themselves(extractor):
    huge = "<p>three small words</p>" * 400_000
    pages = [("a", GOOD), ("huge", huge), ("b", GOOD)]
    results, replaced = extract(pages, extractor=extractor, memory_limit_mib=64)
    said = reasons(results)
    assert said[::2] == ["", ""]
    assert said[1] == "too_much_memory"
    assert "MiB mapped" in results[1][1].evidence
    assert replaced == 1


def children():
    return [p for p in psutil.Process().children() if "extraction_process" in str(p.cmdline())]


def test_a_process_that_is_killed_or_hangs_is_replaced():
    with Extractors(ExtractionConfig(cpu_limit_s=0.2)) as extractors:

        def spoil(number):
            (child,) = children()
            os.kill(child.pid, number)
            filler = "<p>words</p>" * 30_000  # more than the pipe holds
            return list(extractors.run([(0, GOOD), (1, filler), (2, GOOD)]))

        assert reasons(extractors.run([(0, GOOD)])) == [""]
        assert reasons(spoil(signal.SIGKILL)) == ["extractor_died", "", ""]
        hung = spoil(signal.SIGSTOP)
        assert reasons(hung) == ["too_slow", "", ""]
        assert "no answer within 2 s" in hung[0][1].evidence
        assert extractors.replaced == 2
    assert children() == []


def test_nothing_is_left_behind_by_a_killed_parent():
    script = (
        "import os, signal, psutil\n"
        "from pipeline.extraction import *\n"
        "e = Extractors(ExtractionConfig()).__enter__()\n"
        "list(e.run([(0, '<p>words</p>')]))\n"
        "print(psutil.Process().children()[0].pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    pid, deadline = int(done.stdout), time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_process_has_none_of_our_environment(monkeypatch):
    monkeypatch.setenv("PRIMER_TEST_SECRET", "secret")
    with Extractors(ExtractionConfig()) as extractors:
        list(extractors.run([(0, GOOD)]))
        (child,) = children()
        assert set(child.environ()) <= {"LANG", "PATH", "MALLOC_ARENA_MAX", "LC_CTYPE"}


def test_a_page_without_main_text_is_no_failure():
    [(_, result)], _ = extract([(0, "<html><title>Empty</title><body></body></html>")])
    assert (result.reason, result.is_failure) == ("no_text", False)
    assert "Empty" in result.evidence


@pytest.fixture(scope="module")
def running():
    one, other = ExtractionConfig(extractor="trafilatura"), ExtractionConfig()
    with Extractors(one) as first, Extractors(other) as second:
        yield first, second


PIECES = st.sampled_from(
    ["<p>", "</p>", "<table>", "<td", " a='", "<!--", "&#xd800;", "<svg>", "x", "\0", "\ud800",
     "<script>", "]]>", "<?xml version='1.0'?>", "é"]
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pages=st.lists(st.lists(PIECES, max_size=30).map("".join), max_size=40))
def test_any_page_gives_a_result_and_no_failure(running, pages):
    for extractors in running:
        results = list(extractors.run(enumerate(pages)))
        assert [key for key, _ in results] == list(range(len(pages)))
        assert set(reasons(results)) <= {"", "no_text", "extractor_failed"}
        assert extractors.replaced == 0


@pytest.mark.parametrize("name", ["aut-example.warc.gz", "whirlwind.warc.wet.gz"])
def test_an_archive_gives_its_documents_in_order_and_a_row_for_every_record(name):
    path = SHARED_DATA / "web" / name
    if not path.exists():
        pytest.skip(f"{path} is absent: the shared test data is not beside the repository")
    found = {}
    for workers in (1, 3):
        with Extractors(ExtractionConfig(workers=workers)) as extractors:
            found[workers] = list(read_documents(str(path), ArchiveConfig(), extractors))
    rows = list(read_archive(str(path)))
    assert found[1] == found[3]
    assert [row.offset for row in found[1]] == [row.offset for row in rows]
    documents = [row for row in found[1] if isinstance(row, WebDocument)]
    assert len(documents) >= sum(isinstance(row, Page) for row in rows) - 1
    assert all(row.text.strip() and row.charset and row.charset_by for row in documents)


def test_no_record_is_lost_where_pages_are_few_among_others(tmp_path):
    gone = response("http://a.org/gone", b"no", status=404)
    page = response("http://a.org/", GOOD.encode())
    path = tmp_path / "a.warc"
    path.write_bytes((gone * 600 + page) * 2 + gone * 1_000 + page)
    with Extractors(ExtractionConfig()) as extractors:
        found = list(read_documents(str(path), ArchiveConfig(), extractors))
    assert [row.offset for row in found] == [row.offset for row in read_archive(str(path))]
    assert sum(isinstance(row, WebDocument) for row in found) == 3


def test_an_editable_install_finds_its_own_package_from_any_folder(tmp_path):
    root = Path(__file__).resolve().parents[1]
    script = (  # as where a finder, and not sys.path, leads to the package
        f"import sys; sys.path.insert(0, {str(root)!r}); import pipeline; del sys.path[0]\n"
        "from pipeline.extraction import ExtractionConfig, Extractors\n"
        "with Extractors(ExtractionConfig()) as extractors:\n"
        f"    print(list(extractors.run([(1, {GOOD!r})])))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, timeout=60, check=True
    )
    assert b"follows the Moon" in told.stdout


def test_an_extractor_that_is_not_installed_or_does_not_start_is_an_error(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(InputError, match="trafilatura' is not installed"):
        Extractors(ExtractionConfig(extractor="trafilatura"))
    with pytest.raises(StageError, match="does not start"):
        GuardedProcess("none", 1, 64)


def test_an_unknown_extractor_is_refused():
    with pytest.raises(ValidationError, match="resiliparse"):
        ExtractionConfig(extractor="regex")
