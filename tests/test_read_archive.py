"""Real archives through the source's door: pages become records, all else a refusal, in order."""

import json

import pytest
from archive_material import response
from source_reading import read, source

from conftest import SHARED_DATA
from pipeline.sources_plan import list_source

WEB = SHARED_DATA / "web"
pytestmark = pytest.mark.skipif(not WEB.is_dir(), reason="the shared data is not here")


def test_pages_of_a_crawl_become_records():
    documents, rejects = read(WEB / "dolma-sample-0000.warc.gz", max_bytes=1_000_000)
    assert len(documents) + len(rejects) == 48
    assert len(documents) > 15
    assert all(d["url_or_path"].startswith("http") for d in documents)
    assert all(d["group"].startswith("here/") and "/" not in d["group"][5:] for d in documents)
    facts = [json.loads(d["metadata"]) for d in documents]
    assert all(f["extractor"].split()[0] in {"resiliparse", "trafilatura"} for f in facts)
    assert all(f["charset"] and f["date"] for f in facts)
    assert {r["reason"] for r in rejects if r["dropped"]} >= {"request", "warcinfo"}
    assert len({d["doc_id"] for d in documents}) == len(documents)


def test_wet_and_arc_are_read_too():
    documents, rejects = read(WEB / "whirlwind.warc.wet.gz", max_bytes=1_000_000)
    assert "extractor" not in json.loads(documents[0]["metadata"])
    assert len(documents) == 1
    assert [r["reason"] for r in rejects] == ["warcinfo"]
    documents, rejects = read(WEB / "edge-old-arc.arc.gz", max_bytes=1_000_000)
    assert len(documents) + len(rejects) == 2


def test_a_cut_archive_gives_what_stood_before_the_cut(tmp_path):
    whole = (WEB / "iana.warc.gz").read_bytes()
    (tmp_path / "a.warc.gz").write_bytes(whole[: len(whole) // 2])
    documents, rejects = read(tmp_path, max_bytes=1_000_000)
    assert documents
    assert not rejects[-1]["dropped"]
    assert rejects[-1]["reason"] == "cut_off"
    assert rejects[-1]["url_or_path"] == f"a.warc.gz:{rejects[-1]['offset']}"


def test_a_readme_beside_archives_is_no_archive(tmp_path):
    (tmp_path / "a.warc").write_bytes(response("http://a.org/", b"<p>words</p>"))
    (tmp_path / "README.md").write_text("Where these come from.")
    assert [file.name for file in list_source(source(tmp_path)).files] == ["a.warc"]
