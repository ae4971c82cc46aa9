"""The report of diversity: the same bytes each time, every figure shown, every plot in words."""

import json
import re

import pytest
from test_diversity import prose

from pipeline.diversity import MEASURES, REFERENCE
from pipeline.diversity_report import (
    FILES,
    TITLES,
    describe_plots,
    diversity_rows,
    render_diversity,
    write_diversity,
)

SETS = {
    "accepted": prose(60, 3),
    "raw": prose(40, 2, ("cook",)) * 2,
    "human_reference": prose(120, 1),
    "<b>no plan</b> $x$ $y$": prose(50, 5, ("code",)),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diversity")
    return folder, write_diversity(folder / "one", SETS, seed=7)


def test_the_same_texts_give_the_same_bytes(written):
    folder, _ = written
    write_diversity(folder / "two", SETS, seed=7)
    names = sorted(path.name for path in (folder / "one").iterdir())
    assert set(FILES) | {"diversity_topics.png"} == set(names)
    for name in names:
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes(), name


def test_what_is_returned_is_what_the_file_holds(written):
    folder, report = written
    assert json.loads((folder / "one" / "diversity.json").read_text()) == report
    assert list(report["sets"]) == list(SETS)
    assert report["reference"] == REFERENCE


def test_the_page_has_each_measure_of_each_set_and_escapes_names(written):
    folder, report = written
    page = (folder / "one" / "diversity.html").read_text()
    assert set(TITLES) == set(MEASURES)
    for measure, title in TITLES.items():
        row = re.search(rf"<tr><td>{re.escape(title)}\n?(.*)", page)[1]
        for one in report["sets"].values():
            assert f"{one['at_equal_size'][measure]['mean']:.3f}" in row
    assert "<b>" not in page
    assert "&lt;b&gt;no plan" in page


def test_every_plot_is_there_and_told_in_words(written):
    folder, report = written
    page = (folder / "one" / "diversity.html").read_text()
    shown = dict(re.findall(r'<img src="([^"]+)" alt="([^"]+)">', page))
    assert set(shown) == set(describe_plots(report))
    for name, words in shown.items():
        assert (folder / "one" / name).read_bytes().startswith(b"\x89PNG")
        assert "accepted" in words
        assert any(figure.isdigit() for figure in words)


def test_a_row_of_the_card_has_the_figures_that_compare(written):
    _, report = written
    rows = dict(diversity_rows(report))
    assert list(rows) == list(SETS)
    raw, spreads = rows["raw"], report["sets"]["raw"]["at_equal_size"]
    assert raw["pieces"] == 80
    assert raw["near_duplicate_share"]["0.7"] == 0.5
    for measure in ("distinct_2", "self_bleu_4", "compression_ratio", "vendi_score"):
        assert raw[measure] == spreads[measure]["mean"]


def test_too_few_texts_make_a_page_that_says_so(tmp_path):
    report = write_diversity(tmp_path, {"accepted": [], "human_reference": ["One text."]}, 7)
    assert not (tmp_path / "diversity_topics.png").exists()
    page = render_diversity(report)
    assert "too few pieces for topics" in page
    assert "undefined" in page
