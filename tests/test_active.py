"""Active sampling: near the doubt, spread over groups, fair to strata, the same in any order."""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from conftest import document
from pipeline.active import ActiveConfig, choose_next
from pipeline.records import DOCUMENT, write_table
from pipeline.sampling import Candidate, read_candidates

GOOD = "therefore we explain the idea because an example means that a reader learns it"
BAD = "click here to buy cheap offers now and share this great deal with all friends"
PLAIN = "the house of a man on that street was old when it rained for two days"
SEED = 7


def page(share, generator):
    """A text of 80 words; `share` of those that are no filler are of the good sort."""
    words = []
    for _ in range(80):
        telling = GOOD if generator.random() < share else BAD
        words.append(generator.choice((PLAIN if generator.random() < 0.5 else telling).split()))
    return " ".join(words)


@cache
def corpus(count=600):
    """(document, share of good words): a third clearly bad, a third clearly good, a third between.

    Twenty groups; one tenth of the documents are of a rare source.
    """
    generator = np.random.default_rng(3)
    rows = []
    for i in range(count):
        share = (0.0, 1.0, 0.5)[i % 3]
        source = "rare" if i % 10 == 0 else "common"
        text = page(share, generator)
        group = f"group-{generator.integers(20)}"
        rows.append((document(text, f"{i}.md", source=source, group=group), share))
    return rows


@pytest.fixture
def files(tmp_path):
    """The documents in three files."""
    rows = [row for row, _ in corpus()]
    paths = [tmp_path / f"{i}.parquet" for i in range(3)]
    for i, path in enumerate(paths):
        write_table(path, rows[i::3], DOCUMENT)
    return paths


def share_of():
    return {row["doc_id"]: share for row, share in corpus()}


def first_round(count=60):
    """Labels of clear documents and of some between, where a coin decides."""
    generator = np.random.default_rng(5)
    return {
        row["doc_id"]: 4 if share > generator.random() else 1 for row, share in corpus()[:count]
    }


def test_the_choice_does_not_depend_on_the_order_of_files_or_candidates(files):
    found = read_candidates(files)
    one = choose_next(found, files, first_round(), 40, SEED)
    turned = dict(reversed(first_round().items()))
    assert choose_next(found[::-1], files[::-1], turned, 40, SEED) == one
    assert choose_next(found, files, first_round(), 40, SEED + 1).chosen != one.chosen


def test_nor_on_how_the_documents_are_sharded(files, tmp_path):
    one = choose_next(read_candidates(files), files, first_round(), 40, SEED)
    whole = tmp_path / "whole.parquet"
    write_table(whole, (row for row, _ in corpus()), DOCUMENT)
    assert choose_next(read_candidates([whole]), [whole], first_round(), 40, SEED) == one


def test_as_many_are_chosen_as_are_asked_for_none_twice_and_none_that_was_labelled(files):
    unusable = corpus()[100][0]["doc_id"]
    asked = {**first_round(), unusable: None}
    choice = choose_next(read_candidates(files), files, asked, 40, SEED)
    ids = [c.doc_id for c in choice.chosen]
    assert ids == sorted(set(ids))
    assert len(ids) == 40 == choice.uncertain + choice.thin
    assert (choice.uncertain, choice.no_forest) == (30, None)
    assert not set(ids) & set(asked)


def test_where_fewer_are_left_all_are_chosen(files):
    found, labels = read_candidates(files), first_round()
    choice = choose_next(found, files, labels, 10_000, SEED)
    assert {c.doc_id for c in choice.chosen} == {c.doc_id for c in found} - set(labels)
    assert choose_next(found, files, labels, 0, SEED).chosen == []
    assert choose_next([], files, labels, 5, SEED).chosen == []


def test_a_small_pool_is_all_that_is_judged_and_the_rest_is_drawn_by_strata(files):
    config = ActiveConfig(pool=100, thin_share=0)
    choice = choose_next(read_candidates(files), files, first_round(), 300, SEED, config)
    assert (choice.uncertain, choice.thin) == (100, 200)


def test_where_the_forest_is_torn_is_labelled_first(files):
    found, shares = read_candidates(files), share_of()

    def between(config):
        chosen = choose_next(found, files, first_round(), 60, SEED, config).chosen
        return np.mean([shares[c.doc_id] == 0.5 for c in chosen])

    least_certain = between(ActiveConfig(thin_share=0, reach=1))
    default = between(ActiveConfig())
    assert min(least_certain, default) > 0.5  # a third of the documents are
    assert between(ActiveConfig(thin_share=1)) < 0.4


def test_a_group_gives_no_more_than_its_bound_while_others_have_some(files):
    config = ActiveConfig(thin_share=0, per_group=3)
    found = read_candidates(files)
    choice = choose_next(found, files, first_round(), 60, SEED, config)
    assert set(Counter(c.group for c in choice.chosen).values()) == {3}  # of 20 groups
    more = choose_next(found, files, first_round(), 100, SEED, config)
    assert len(more.chosen) == 100
    assert max(Counter(c.group for c in more.chosen).values()) <= 6


def test_thin_strata_are_filled_up(files):
    found = read_candidates(files)
    rare = {c.doc_id for c in found if c.source == "rare"}
    labels = {i: score for i, score in first_round(90).items() if i not in rare}
    choice = choose_next(found, files, labels, 30, SEED, ActiveConfig(thin_share=1))
    assert (choice.uncertain, choice.thin) == (0, 30)
    assert {c.doc_id for c in choice.chosen} <= rare
    half = choose_next(found, files, labels, 30, SEED, ActiveConfig(thin_share=0.5))
    assert len({c.doc_id for c in half.chosen} & rare) >= 15


def test_strata_end_as_level_as_can_be():
    found = [
        Candidate(f"{name}{i}", name, "web", f"{name}{i}", 10)
        for name, count in {"a": 100, "b": 100, "c": 4}.items()
        for i in range(count)
    ]
    choice = choose_next(found, [], {f"a{i}": 1 for i in range(10)}, 20, SEED)
    assert Counter(c.source for c in choice.chosen) == {"a": 3, "b": 13, "c": 4}


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        ([], "0 positive labels from 0 groups, and a forest needs 5 from 2"),
        ([1, 2] * 20, "0 positive labels from 0 groups, and a forest needs 5 from 2"),
        ([5] * 40, "0 negative labels from 0 groups, and a forest needs 5 from 2"),
        ([5] * 4 + [0] * 36, "4 positive labels from"),
    ],
)
def test_where_no_forest_can_be_trained_all_are_for_thin_strata_and_it_says_so(
    files, scores, problem
):
    labels = {row["doc_id"]: score for (row, _), score in zip(corpus(), scores, strict=False)}
    choice = choose_next(read_candidates(files), files, labels, 40, SEED)
    assert (choice.uncertain, choice.thin) == (0, 40)
    assert choice.no_forest is not None
    assert choice.no_forest.startswith(problem)
    assert len(choice.chosen) == 40


def test_what_is_positive_is_the_callers_to_say(files):
    labels = {i: 2 if score == 4 else 0 for i, score in first_round().items()}
    found = read_candidates(files)
    assert choose_next(found, files, labels, 20, SEED).no_forest
    choice = choose_next(found, files, labels, 20, SEED, positive_score_min=2)
    assert (choice.uncertain, choice.no_forest) == (15, None)


def test_labels_of_documents_that_are_no_candidates_change_nothing(files):
    found = read_candidates(files)
    held = {f"group-{i}" for i in range(5)}
    free = [c for c in found if c.group not in held]
    known = {c.doc_id for c in free}
    labels = first_round(120)
    ours = {i: score for i, score in labels.items() if i in known}
    assert len(ours) < len(labels)
    choice = choose_next(free, files, labels, 40, SEED)
    assert choice == choose_next(free, files, ours, 40, SEED)
    assert not {c.group for c in choice.chosen} & held


def test_a_document_that_no_file_has_is_an_error(files):
    with pytest.raises(ValueError, match="documents are in none of the files"):
        choose_next(read_candidates(files), files[:2], first_round(), 40, SEED)
