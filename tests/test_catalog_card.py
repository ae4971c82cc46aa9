"""The card as a page, its Markdown that can do nothing, and the files that are sent with it."""

import re
import shutil

import pytest
from catalog_server import client, four_runs, png

from catalog.markdown import render_markdown, split_head


@pytest.fixture(scope="module")
def runs():
    return four_runs()


def test_the_card_is_rendered_with_its_own_pictures(runs):
    page = client(runs).get("/runs/first/card").text
    assert '<img src="/runs/first/files/card/plots/good.png" alt="a plot"' in page
    assert '<td class="n">12</td>' in page
    assert '<th class="n" scope="col">right</th>' in page
    assert '<a href="/runs/first/files/card/prov.json">provenance</a>' in page
    assert "<a>manifest</a> <a>up</a>" in page
    assert 'href="https://example.org/a" rel="noopener noreferrer nofollow"' in page
    assert page.count("<img") == 1


def test_a_card_or_handoff_that_is_gone_is_told(runs, tmp_path):
    own = shutil.copytree(runs, tmp_path / "runs")
    (own / "first" / "09-card" / "README.md").unlink()
    answer = client(own).get("/runs/first/card")
    assert (answer.status_code, "README.md cannot be read" in answer.text) == (409, True)
    (own / "first" / "10-handoff" / "handoff.json").write_text("[")
    assert client(own).get("/compare?a=first&b=other").status_code == 409


@pytest.mark.parametrize(
    "text",
    [
        "<script>x</script>",
        "<img src=x onerror=y>",
        "[a](javascript:x)",
        "[a](JaVaScRiPt:x)",
        "[a](&#106;avascript:x)",
        "[a](vbscript:x)",
        "[a](data:text/html,x)",
        "![a](data:image/svg+xml,x)",
        "![a](https://evil.example/x.png)",
        "[a]: javascript:x\n\n[a]",
        "<https://a.example/><b onclick=x>",
        "|<a onclick=x>|\n|--|\n|<style>*{}</style>|",
        '![x" onerror="y](plots/good.png)',
        "[a](//evil.example)",
        "```<script>\nx</script>\n```",
    ],
)
def test_markdown_can_do_nothing(text):
    html = str(render_markdown(text, lambda name: "/p.png" if name == "plots/good.png" else None))
    tags = re.findall(r"<(\w+)([^>]*)>", re.sub(r'"[^"]*"', '""', html))
    assert {tag for tag, _ in tags} <= {
        "p", "a", "img", "span", "div", "table", "thead", "tbody", "tr", "th", "td", "pre", "code",
    }  # fmt: skip
    assert not any(re.search(r"\bon\w+=|style=", attributes) for _, attributes in tags)
    for address in re.findall(r'(?:href|src)="([^"]*)"', html):
        assert address.startswith(("https://a.example", "/p.png"))


def test_the_head_of_a_card_is_parted_from_its_body():
    assert split_head("---\na: 1\n---\nbody") == ({"a": 1}, "body")
    assert split_head("body") == ({}, "body")
    assert split_head("---\n[\n---\nbody") == ({}, "body")
    assert split_head("---\n- 1\n---\nbody") == ({}, "body")
    assert split_head("---\nno end") == ({}, "---\nno end")


def test_files_are_sent_as_what_they_are(runs):
    browser = client(runs)
    root = "/runs/first/files/card"
    picture = browser.get(f"{root}/plots/good.png")
    assert picture.headers["content-type"] == "image/png"
    assert picture.content == png()
    tag = {"if-none-match": picture.headers["etag"]}
    assert browser.get(f"{root}/plots/good.png", headers=tag).status_code == 304
    page = browser.get(f"{root}/page.html")
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"].startswith("attachment")
    assert browser.get(f"{root}/plots/bad.svg").status_code == 404
    assert browser.get("/runs/first/files/quantize/raw/model-F16.gguf").status_code == 404
