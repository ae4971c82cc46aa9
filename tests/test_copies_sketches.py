"""Sketches of texts: which are the same, how alike others are, and what no bytes may break."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shingles import sketch

PAGE = (
    "The market stood on the old square, where farmers had sold bread and apples for years. "
    "Every Friday the children came after school to listen to the man with the violin, and "
    "their parents waited by the fountain, talking of the weather and the price of wheat. "
)


def exact(*texts):
    return [tuple(row) for row in sketch(pa.array(texts)).exact.tolist()]


def alike(one, other):
    minima = sketch(pa.array([one, other])).minima
    return float(np.mean(minima[0] == minima[1]))


def jaccard(one, other):
    sets = [{tuple(w[i : i + 5]) for i in range(len(w) - 4)} for w in (one.split(), other.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.parametrize(
    "other",
    [
        PAGE.upper(),
        PAGE.replace(" ", "\n\t  "),
        PAGE.replace(",", ";").replace(".", "!"),
        PAGE.replace(" ", "\u00a0"),
        PAGE.replace("market", "mar\u00adket"),
        PAGE.replace("fountain", "\uff26ountain"),
        "\u201c" + PAGE + "\u201d \u2026",
    ],
    ids=["case", "white space", "punctuation", "no-break", "soft hyphen", "full width", "quotes"],
)
def test_what_normalising_takes_away(other):
    sketches = sketch(pa.array([PAGE, other]))
    assert (sketches.exact[0] == sketches.exact[1]).all()
    assert (sketches.minima[0] == sketches.minima[1]).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("caf\u00e9 \u00c9COLE", "cafe\u0301 \u00e9cole"),
        ("\u5b57, \u5178", "\u5b57\u5178"),
        ("\ud55c\uad6d", "\u1112\u1161\u11ab\u1100\u116e\u11a8"),
        ("\u0393\u039b\u03a9", "\u03b3\u03bb\u03c9"),
        ("file \ufb01x", "file fix"),
        ("\u03bb\u03cc\u03b3\u03bf\u03c2", "\u039b\u038c\u0393\u039f\u03a3"),
        ("stra\u00dfe", "STRASSE"),
    ],
)
def test_forms_of_unicode(one, other):
    assert len(set(exact(one, other))) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a b", "b a"), ("ab c", "a bc"), ("a b", "a b a b"), ("1.5", "15"), ("x_y", "x y"),
        ("", " "), (":-)", ":-("), ("caf\u00e9", "cafe"), ("a" * 8, "a" * 9), ("\u5b57", "\u5178"),
        ("\u0915\u093e", "\u0915\u0940"),
    ],
)  # fmt: skip
def test_what_stays_different(one, other):
    sketches = sketch(pa.array([one, other]))
    assert (sketches.exact[0] != sketches.exact[1]).all()


def test_the_signature_estimates_the_jaccard_similarity():
    words = (PAGE * 3).split()
    generator = np.random.default_rng(3)
    words = [f"{word}{generator.integers(9)}" for word in words]
    errors = []
    for share in np.repeat([0.002, 0.01, 0.03, 0.06], 50):
        other = " ".join("other" if generator.random() < share else word for word in words)
        truth = jaccard(" ".join(words), other)
        if truth < 1:
            noise = (truth * (1 - truth) / 128) ** 0.5
            errors.append((alike(" ".join(words), other) - truth) / noise)
    assert abs(np.mean(errors)) < 0.7  # one base text: its errors are not independent
    assert 0.6 < np.std(errors) < 1.4


def test_unlike_texts_share_nothing():
    other = " ".join(f"word{i}" for i in range(300))
    assert alike(PAGE, other) < 0.02
    assert alike("", "...") < 0.02
    assert alike("three short words", "three other words") < 0.02


def test_a_chinese_page_without_spaces_has_near_copies():
    page = "".join(chr(0x4E00 + (7 * i * i) % 2000) for i in range(400))
    other = page[:200] + "\u4e00" + page[201:]
    assert alike(page, other) > 0.9


def test_sketches_do_not_depend_on_the_batch_or_how_arrow_holds_it():
    texts = [PAGE, "", PAGE + "caf\u00e9", None, "\u00c9t\u00e9 " * 70, PAGE * 50]
    whole = sketch(pa.array(texts))
    for i, text in enumerate(texts):
        assert (sketch(pa.array([text], pa.string())).minima[0] == whole.minima[i]).all()
    for form in (
        pa.array(["x", *texts]).slice(1),
        pa.chunked_array([texts[:2], texts[2:]]),
        pa.array(texts, pa.large_string()),
        pa.array(texts).dictionary_encode(),
    ):
        assert (sketch(form).exact == whole.exact).all()
    assert len(sketch(pa.array([], pa.string()))) == 0


def test_golden_hashes():
    """Signatures of all runs are comparable: a change here needs a new version of the stage."""
    found = sketch(pa.array(["One text of a few more words.", "\u00c9t\u00e9"]))
    assert [f"{n:016x}" for n in found.exact[:, 0]] == GOLDEN_EXACT
    assert found.minima[0, :3].tolist() == GOLDEN_MINIMA


GOLDEN_EXACT = ["448e0e877687cea2", "480da842002a6859"]
GOLDEN_MINIMA = [111826989, 2077890322, 312446356]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=90), max_size=6))
def test_any_text_is_read(texts):
    twice = [*texts, *texts]
    found = sketch(pa.array(twice, pa.string()))
    assert (found.exact[: len(texts)] == found.exact[len(texts) :]).all()


PARTS = ["ab", "aB.", "\u00e9", "\u5b57", "\u0301", "_", "\u00ad", "x1"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PARTS), max_size=40))
def test_words_are_those_of_python(parts):
    """What the loop finds, against the same rules written plainly."""
    import unicodedata

    text = " ".join(parts)
    folded = "".join(
        f" {sign} " if "\u4e00" <= sign <= "\u9fff" else sign
        for sign in unicodedata.normalize("NFKC", text).casefold()
        if sign != "\u00ad"
    )
    words = "".join(
        sign if unicodedata.category(sign)[0] in "LMN" or sign == "_" else " " for sign in folded
    ).split()
    assert sketch(pa.array([text])).words[0] == len(words)
    if words:
        assert len(set(exact(text, " ".join(words)))) == 1
