"""The marks leave out nothing: what a detector finds in a text, it finds behind its mark too."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pii_plants import plants
from pipeline.pii_config import PiiConfig
from pipeline.pii_find import find_all
from pipeline.pii_marks import EVERY, FIRST_LITERAL, LITERALS, VALUE, literal_mark, marks_of
from pipeline.pii_secrets import forms

CONFIG = PiiConfig()
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
PLANTED = [plant.words for plant in plants(17, 2)]
NOISE = st.text(
    st.sampled_from("aZ09 .:-@/()+=_'\"\n\tXé–\u00a0漢"), max_size=12
)  # what detectors take for a part of a value, or for its end


def assert_nothing_is_lost(texts):
    marks = marks_of(pa.array(texts, pa.string())).tolist()
    for text, mark in zip(texts, marks, strict=True):
        assert list(find_all(text, mark, CONFIG)) == list(find_all(text, EVERY, CONFIG)), text


def test_every_plant_bears_the_marks_of_its_detector():
    assert_nothing_is_lost(PLANTED)
    assert_nothing_is_lost([f"words {words} words" for words in PLANTED])


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(NOISE, st.sampled_from(PLANTED), NOISE), min_size=1, max_size=4))
def test_nothing_is_lost_among_noise(parts):
    assert_nothing_is_lost([before + planted + after for before, planted, after in parts])


@settings(max_examples=120, deadline=None)
@given(st.lists(st.sampled_from(PLANTED), min_size=1, max_size=3), st.data())
def test_nothing_is_lost_in_mangled_values(chosen, data):
    cut = [list(words) for words in chosen]
    for words in cut:
        at = data.draw(st.integers(0, len(words) - 1))
        words[at] = data.draw(st.sampled_from(["", " ", "-", "–", ".", "0", "A", "@", ":", "\n"]))
    assert_nothing_is_lost(["".join(words) for words in cut])


@given(
    st.lists(st.text(st.sampled_from("0123456789 .-()/+–\u00a0abAB:=@'"), max_size=150), max_size=5)
)
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_in_digits_and_separators(texts):
    assert_nothing_is_lost(texts)


def test_marks_do_not_depend_on_what_stands_beside_a_text():
    alone = np.concatenate([marks_of(pa.array([words])) for words in PLANTED])
    together = marks_of(pa.array(PLANTED))
    padded = marks_of(pa.array(["x" * 200, *PLANTED, "y" * 200]))[1:-1]
    sliced = marks_of(pa.array(["@", *PLANTED])[1:])
    assert (alone == together).all()
    assert (alone == padded).all()
    assert (alone == sliced).all()
    assert marks_of(pa.array([None, "", "plain words"])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("literal", LITERALS)
def test_a_literal_is_seen_anywhere_and_only_whole(literal):
    texts = [literal, f"x{literal}", f"{'.' * 62}{literal}x", literal[:-1]]
    seen = marks_of(pa.array(texts)) & np.uint64(literal_mark(literal)) != 0
    assert seen.tolist() == [True, True, True, False]


def test_marks_fit_and_every_form_asks_for_some():
    assert FIRST_LITERAL + len(LITERALS) <= 64
    assert VALUE < 1 << FIRST_LITERAL
    assert all(form.literals or form.marks for form in forms())


def _shared(name, step):
    if not SHARED.is_dir():
        pytest.skip(f"there is no {SHARED}")
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines][::step]


@pytest.mark.parametrize("name", ["web/prose.jsonl.gz", "code/python_files.jsonl.gz"])
def test_nothing_is_lost_in_real_texts(name):
    assert_nothing_is_lost(_shared(name, 20))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["web/prose.jsonl.gz", "code/python_files.jsonl.gz"])
def test_nothing_is_lost_in_all_real_texts(name):
    assert_nothing_is_lost(_shared(name, 1))
