"""Leaks by words: found however they are dressed, proved on the text, and nothing else is found."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.benchmark_items import Item
from pipeline.leak_folding import TABLE_SIZE, fold_spans, fold_words, word_arrays
from pipeline.leak_index import MOST_ITEMS_OF_A_RUN, WordRules, make_index
from pipeline.leak_words import find_words

RULES = WordRules()
ITEM = " ".join(f"term{i}" for i in range(20))
WORD = st.text("abcdefgxyzABCéßñжя7ﬁ½", min_size=1, max_size=6).filter(lambda w: not w.isdecimal())
WORDS = st.lists(WORD, min_size=13, max_size=13, unique_by=str.casefold)
SEPARATOR = st.sampled_from([" ", "  \n", ", ", "! ", "\t—\t", "_ ", " **", "’ (", "…", "\u2028"])
PROSE = st.lists(st.text("uvw .\n", max_size=12), max_size=8).map(" ".join)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def find(items, text, rules=RULES):
    made = [
        item if isinstance(item, Item) else Item("b", str(i), (("text", item),))
        for i, item in enumerate(items)
    ]
    texts = pa.array([text], pa.large_string())
    return list(find_words(texts, ["doc"], made, make_index(made, rules), rules.near_words))


@given(ANY_TEXT)
@settings(deadline=None)
def test_the_compiled_loop_reads_the_words_that_python_reads(text):
    words, spans = fold_spans(text)
    assert words == fold_words(text)
    hashes, letters, firsts, lasts = word_arrays(text.encode())
    assert len(hashes) == len(words)
    again = [word_arrays(word.encode())[0] for word in words]
    assert [h.tolist() for h in again] == [[h] for h in hashes.tolist()]
    for (first, last), low, high in zip(spans, firsts, lasts, strict=True):
        assert text[first:last].encode() == text.encode()[low:high]
    assert [bool(x) for x in letters] == [any(ord(c) > 57 for c in word) for word in words]


def test_characters_that_become_more_words_than_they_have_bytes_have_their_room():
    words_a_byte = {chr(c): len(fold_words(chr(c))) / len(chr(c).encode())
                    for c in range(TABLE_SIZE) if not 0xD800 <= c < 0xE000}  # fmt: skip
    assert max(words_a_byte.values()) == words_a_byte["㌖"] == 2
    assert find([ITEM], "㌖a" * 5_000) == []
    (row,) = find([ITEM], "㌖" * 5_000 + ITEM)
    assert row["evidence"] == ITEM


def test_dress_is_not_seen():
    assert (
        fold_words("“Don’t”\u00a0STOP…") == fold_words('"don\'t" stop...') == ["don", "t", "stop"]
    )
    assert fold_words("cafe\u0301 ﬁne") == fold_words("Café FINE")
    assert fold_words("soft\u00adhyphen") == ["softhyphen"]
    assert fold_words("学習 data") == ["学", "習", "data"]


@given(WORDS, st.lists(WORD, max_size=5), PROSE, PROSE, st.data())
@settings(deadline=None, max_examples=30)
def test_thirteen_words_are_found_wherever_and_however_they_stand(words, rest, before, after, data):
    cases = (str, str.upper, str.swapcase)
    dressed = "".join(data.draw(st.sampled_from(cases))(w) + data.draw(SEPARATOR) for w in words)
    if len(set(fold_words(" ".join(words)))) < 12:  # of so few words that anybody says them
        return
    item = " ".join([*rest, *words])
    (row,) = find([item], f"{before} {dressed} {after}")
    assert row["evidence"] in " ".join(fold_words(item))
    assert row["evidence"] in " ".join(fold_words(f"{before} {dressed} {after}"))
    assert row["evidence"] in " ".join(fold_words(row["document_text"]))
    assert 0 < row["score"] <= 1


@given(st.integers(0, 7), st.integers(1, 12))
@settings(deadline=None, max_examples=20)
def test_twelve_words_of_a_long_item_are_no_hit(start, shared):
    words = ITEM.split()[start : start + 13]
    assert find([ITEM], " ".join(words[:shared])) == []
    (row,) = find([ITEM], f"so {' '.join(words)} it is")
    assert (row["evidence"], row["kind"]) == (" ".join(words), "words")
    assert row["score"] == pytest.approx(13 / 20)


@pytest.mark.parametrize("count", [8, 12])
def test_a_short_text_is_found_whole_and_only_whole(count):
    words = ITEM.split()[:count]
    (row,) = find([" ".join(words)], f"So, {'-'.join(words)}?")
    assert (row["kind"], row["evidence"], row["score"]) == ("whole", " ".join(words), 1)
    assert find([" ".join(words)], " ".join(words[1:])) == []


def test_a_very_short_question_counts_only_near_its_answer_or_all_its_choices():
    item = Item("b", "0", (), "Where do ducks sleep?", ("on calm water",),
                ("on calm water", "in trees", "in the kitchen"))  # fmt: skip
    assert find([item], "Where do ducks sleep?") == []
    assert find([item], "Where do ducks sleep? In trees, in the kitchen.") == []
    (row,) = find(
        [item], "WHERE do ducks *sleep*?\n\nA. in trees\nB. in the kitchen\n- on calm water"
    )
    assert (row["kind"], row["part"]) == ("together", "question+choices")
    assert "where do ducks sleep | on calm water" in row["evidence"]
    far = f"Where do ducks sleep? {'word ' * 70} on calm water, in trees, in the kitchen"
    assert find([item], far) == []
    long = Item("b", "1", (), "Where do ducks sleep?", ("on calm water in the pond",))
    (row,) = find([long], "where do ducks sleep? Well: on calm water in the pond")
    assert row["part"] == "question+answer"


def test_a_run_is_told_of_all_its_items_but_not_of_a_whole_benchmark():
    shared = [f"{ITEM} end{i}" for i in range(MOST_ITEMS_OF_A_RUN + 1)]
    assert {row["item"] for row in find(shared[:5], ITEM)} == set("01234")
    assert find(shared, ITEM) == []
    (row,) = find(shared, f"{ITEM} end3")
    assert row["item"] == "3"


def test_a_question_of_no_run_of_its_own_counts_whole_with_its_companions():
    form = [Item("b", str(i), (), "What will the others want to do next after all of this?",
                 (), (f"go to place{i}", f"stay at place{i}"))
            for i in range(MOST_ITEMS_OF_A_RUN + 1)]  # fmt: skip
    (row,) = find(form, f"{form[3].question}\nA. go to place3\nB. stay at place3")
    assert (row["item"], row["kind"], row["part"]) == ("3", "together", "question+choices")
    assert find(form, form[3].question) == []
    for numbers in (14, 64, 300):  # of no words enough, and longer than a run
        question = f"Sum {' '.join(map(str, range(numbers)))}?"
        item = Item("b", "0", (), question, (), ("minus one", "minus two"))
        (row,) = find([item], f"{question} A. minus one B. minus two")
        assert row["evidence"].endswith(f"{numbers - 1} | minus one | minus two")
        assert find([item], f"{question[:-4]}? A. minus one B. minus two") == []


def test_ten_long_choices_are_near_their_question():
    choices = tuple(f"it sleeps in place{i} for twelve hours of the day" for i in range(10))
    item = Item("b", "0", (), "Where does it sleep?", (), choices)
    (row,) = find([item], f"Where does it sleep?\n{' '.join(choices)}")
    assert row["kind"] == "together"


def test_a_companion_of_a_book_is_read_whole():
    item = Item("b", "0", (), "Which book?", (" ".join(f"w{i}" for i in range(5_000)),))
    parts = {row["part"] for row in find([item], f"Which book? {item.answers[0]}")}
    assert parts == {"question+answer", "answer"}


def test_a_text_with_a_broken_character_is_found_as_it_stands():
    item = " ".join(["the world\ufffds", *(f"term{i}" for i in range(11))])
    (row,) = find([item], f"So: {item}")
    assert (row["kind"], row["score"]) == ("whole", 1)


def test_numbers_in_order_and_repeated_words_are_no_hit():
    numbers = " ".join(map(str, range(20)))
    assert find([numbers], numbers) == []
    assert find(["la " * 20], "la " * 20) == []


def test_a_collision_of_hashes_is_no_hit(monkeypatch):
    item = Item("b", "0", (("text", ITEM),))
    index, other = make_index([item], RULES), " ".join(f"other{i}" for i in range(13))
    keys = make_index([Item("b", "0", (("text", other),))], RULES).keys
    assert len(keys) == 1
    from pipeline import leak_loops as loops
    from pipeline import leak_words

    found = np.array([[0, 0, 0, len(other), 0, len(other)]])  # as if its hash were an item's
    monkeypatch.setattr(leak_words, "_candidates", lambda *_: found)
    assert loops.BITMAP_BITS == 24
    assert list(find_words(pa.array([other]), ["d"], [item], index, 60)) == []
