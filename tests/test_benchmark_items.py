"""The ready-made mappings read the real files, and every planted item of them is found."""

import numpy as np
import pytest

from benchmarks.decontamination import FILES
from conftest import SHARED_DATA
from pipeline.benchmark_items import BenchmarkConfig, read_items
from pipeline.leak_mappings import READY, ItemFields, as_list, texts_of
from pipeline.leak_plants import PlantedConfig, measure_recall, wilson
from pipeline.leak_search import LeakSearch, SearchRules


def real(name):
    path = SHARED_DATA / "benchmarks" / name
    if not path.exists():
        pytest.skip(f"{path} is absent: the shared test data is not beside us")
    return read_items(BenchmarkConfig(name=name.split(".")[0], path=str(path), mapping=FILES[name]))


def test_every_known_benchmark_has_a_mapping():
    assert set(FILES.values()) == set(READY)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_row_of_a_real_file_is_an_item_with_clean_parts(name):
    items = real(name)
    for item in items:
        assert item.question or item.alone
        assert not item.question.startswith(("Question:", "Passage:", "Context:"))
        assert "Choices:" not in item.question
    with_choices = sum(len(item.choices) > 1 for item in items) / len(items)
    chosen = {"arc", "csqa", "copa", "hellaswag", "mmlu", "obqa", "piqa", "siqa"}
    assert with_choices > 0.99 if FILES[name] in chosen else with_choices == 0


def test_the_parts_of_some_real_rows():
    (first, *_) = real("siqa_val.jsonl.gz")
    assert first.question == "What does Tracy need to do before this?"
    assert first.choices == ("make a new plan", "Find somewhere to go")
    assert not any(choice[:3] == "B. " for choice in first.choices)
    assert first.answers == ("Find somewhere to go",)
    (sarah, *_) = real("winogrande_val.jsonl.gz")
    assert sarah.alone[1][1].endswith("so Maria always got the easier cases.")
    (he, *_) = real("HumanEval.jsonl.gz")
    assert he.name == "HumanEval/0"
    compile(he.code, "item", "exec")
    janet = real("gsm8k_test.jsonl.gz")[0]
    assert [("<<" in text, "####" in text) for _, text in janet.alone] == [
        (True,) * 2,
        (False,) * 2,
    ]


@pytest.mark.parametrize("name", sorted(FILES))
def test_planted_items_of_every_real_benchmark_are_found(name):
    search = LeakSearch.of(real(name), SearchRules())
    pages = ["A page of its own.\n" * 200]
    rng = np.random.default_rng(3)
    few = PlantedConfig(items_per_benchmark=200 if FILES[name] in {"humaneval", "mbpp"} else 15)
    rows = measure_recall(search, pages, few, rng)
    for row in rows:
        if row["dress"].startswith("program_"):
            assert row["recall"] >= 0.95, row
        elif not row["dress"].endswith("_short"):
            assert row["found"] == row["searched"] == row["planted"], row
        else:  # what is searched for is found; some are nothing but a common phrase
            assert row["found"] == row["searched"] >= 0.8 * row["planted"], row


def test_fields_that_hold_lists_fan_out():
    row = {"a": ["x", "y"], "b": "z", "c": "['1', '2']", "d": "A. one\nB. two\nlines"}
    assert texts_of(row, "a+b") == ["x z", "y z"]
    assert as_list(row["c"]) == ["1", "2"]
    assert as_list(row["d"]) == ["one", "two\nlines"]
    assert as_list("[not a list]") == ["[not a list]"]
    assert texts_of(row, "nothing") == []


def test_a_benchmark_needs_one_way_to_be_read():
    for given in ({}, {"fields": ["q"], "mapping": "arc"}, {"mapping": "unheard-of"}):
        with pytest.raises(ValueError, match=r"benchmark 'b' needs either|Input should be"):
            BenchmarkConfig(name="b", path="p", **given)
    with pytest.raises(ValueError, match="no regular expression"):
        ItemFields(question="q", pattern="(")


def test_wilson_intervals_are_the_published_ones():
    low, high = wilson(0, 10)
    assert (round(low, 4), round(high, 4)) == (0, 0.2775)
    low, high = wilson(81, 263)  # Newcombe (1998), table 1
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
