"""Every measure against a plain Python version of itself, on text that hypothesis makes."""

import re
from collections import Counter
from typing import get_args

import numpy as np
import pyarrow as pa
import pytest
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import prose_reading
from pipeline.prose_lines import MAX_WORD_CHARS
from pipeline.prose_measures import Measure, measure
from pipeline.prose_reading import STOP_WORDS

PIECES = ["a", "b", "the", "of", "be", "élan", "ß", "日本", "語。", "x1", "-", "•", "#", "...", "…",
          ".", "?", "!", '"', "'", ")", "[3]", "[edit]", "[citation needed]", "[", "]", "{", ",",
          " ", " ", " ", "\t", "\u00a0", "\u3000", "\n", "\n", "\n\n", "\r\n", "\r", "\x85",
          "\u2028", "Lorem Ipsum", "JavaScript", "javascripts", "Terms of use", "privacy  policy",
          "uses cookies", "use cookies", "🎉", "é" * 9, "w" * 1_001]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=40)
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies",
            "use cookies")  # fmt: skip
LOWER = str.maketrans({chr(c): chr(c + 32) for c in range(65, 91)})


def share(part, whole):
    return part / whole if whole else 0


def repeats(parts):
    """How many stood before, and their characters."""
    seen, again = set(), []
    for part in parts:
        if part in seen:
            again.append(part)
        seen.add(part)
    return len(again), sum(map(len, again))


def top_gram(words, n):
    grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    return len(max(grams, key=grams.get)) * max(grams.values()) if grams else 0


def repeated_grams(words, n):
    seen, chars, at = set(), 0, 0
    while at < len(words) - n + 1:
        gram = tuple(words[at : at + n])
        if gram in seen:
            chars += len("".join(gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return chars


def line_measures(lines):
    found = Counter()
    for line in lines:
        words = line.split()
        plain = re.sub(r"\[\d*]|\[edit]|\[citation needed]", "", line.strip(), flags=re.ASCII)
        lower = plain.translate(LOWER)
        is_open = not plain.endswith((".", "?", "!", '"', "'")) or plain.endswith("...")
        long_word = max(map(len, words)) > MAX_WORD_CHARS
        javascript, policy = "javascript" in lower, any(p in lower for p in POLICIES)
        found["open_line_share"] += is_open
        found["few_word_line_share"] += len(words) < 3
        found["long_word_line_share"] += long_word
        found["javascript_line_share"] += javascript
        found["policy_line_share"] += policy
        if is_open or len(words) < 3 or long_word:
            continue
        if "lorem ipsum" in lower:
            found["lorem_ipsum_lines"] += 1
        elif not javascript and "{" in plain:
            found["curly_bracket_lines"] += 1
        elif not javascript and not policy:
            found["sentences"] += 1 + len(re.findall(r"[.?!][\"')\]]*[ \t]", plain))
    return {k: share(v, len(lines)) if k.endswith("share") else v for k, v in found.items()}


def plain_measures(text):
    words, lines, chars = text.split(), text.splitlines(), len(text)
    plain = [w for w in words if not set(w) <= PUNCTUATION_SET]
    rows = re.split("\n+", text) if text else []
    paragraphs = re.split("\n{2,}", text.strip())
    full_rows = [row for row in text.split("\n") if row.strip()]
    row_repeats, paragraph_repeats = repeats(rows), repeats(paragraphs)
    return {
        "words": len(plain),
        "mean_word_chars": share(sum(map(len, plain)), len(plain)),
        "hashes_per_word": share(text.count("#"), len(words)),
        "ellipses_per_word": share(text.count("...") + text.count("…"), len(words)),
        "bullet_line_share": share(
            sum(s.lstrip().startswith(("•", "-")) for s in lines), len(lines)
        ),
        "ellipsis_line_share": share(
            sum(s.rstrip().endswith(("...", "…")) for s in lines), len(lines)
        ),
        "letter_word_share": share(sum(any(map(str.isalpha, w)) for w in words), len(words)),
        "stop_words": len(set(STOP_WORDS) & set(words)),
        "repeated_row_share": share(row_repeats[0], len(rows)),
        "repeated_row_char_share": share(row_repeats[1], chars),
        "repeated_paragraph_share": share(paragraph_repeats[0], len(paragraphs)),
        "repeated_paragraph_char_share": share(paragraph_repeats[1], chars),
        **{f"top_{n}_gram_char_share": share(top_gram(words, n), chars) for n in range(2, 5)},
        **{
            f"repeated_{n}_gram_char_share": share(repeated_grams(words, n), chars)
            for n in range(5, 11)
        },
        "ended_row_share": share(
            sum(row.endswith(tuple(TERMINAL_PUNCTUATION)) for row in full_rows), len(full_rows)
        ),
        "short_row_share": share(sum(len(row) <= 30 for row in full_rows), len(full_rows)),
        "repeated_full_row_share": share(repeats(full_rows)[0], len(full_rows)),
        "repeated_full_row_char_share": share(
            repeats(full_rows)[1], len(text.replace("\n", ""))
        ),
        "newlines_per_word": share(text.count("\n"), len(words)),
        **line_measures([line for line in lines if line.strip()]),
    }  # fmt: skip


def assert_same(texts):
    made = measure(pa.array(texts, pa.string()))
    assert set(made) == set(get_args(Measure))
    for i, text in enumerate(texts):
        plain = plain_measures(text)
        for name, values in made.items():
            assert values[i] == plain.get(name, 0), (name, text)


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_every_measure_is_that_of_plain_python(texts):
    assert_same(texts)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=120).map(" ".join))
def test_runs_of_words_are_counted_as_in_plain_python(text):
    assert_same([text])


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n", "\n\n", "\r\n", "\n \n", "a\n", "\na\n", "\n\n\na\n\n\n", "a\r\n\r\nb", "\r",
     "a\u2028b", "\u3000a\u3000", "e\u0301", "a" * 64, "a" * 63 + "\n", "\n" * 64, "\n" * 128,
     "é" * 32 + "\n", "of it [1] .", "of it so.[1]", "of it so [edit]", "of it so...[12]",
     "a\n\n \n\na", "a\n\nb\n\na\n\nb", "...…....", "the\x00be\x00", "\ufeffthe"],
)  # fmt: skip
def test_edges(text):
    assert_same([text])


def test_slices_nulls_and_chunks_are_read():
    texts = ["the first of it", None, "日本 語。\n日本 語。", "the last"]
    whole = measure(pa.array(texts))
    for name, values in measure(pa.array(["x", *texts])[1:]).items():
        assert (values == whole[name]).all()
    for name, values in measure(pa.chunked_array([texts[:1], texts[1:]])).items():
        assert (values == whole[name]).all()
    assert whole["words"].tolist() == [4, 0, 4, 2]
    assert all(len(v) == 0 for v in measure(pa.array([], pa.string())).values())


def test_what_one_text_repeats_says_nothing_of_the_next():
    text = "the same row of it\n" * 9
    alone = measure(pa.array([text]))
    for name, values in measure(pa.array([text, text, text])).items():
        assert (values == alone[name]).all()


def test_of_a_giant_text_the_beginning_is_read(monkeypatch):
    assert prose_reading.MOST_BYTES == 16 << 20
    text = "é" * 9 + " of it\n"
    giant = text * ((16 << 20) // len(text.encode()) + 3)
    made = measure(pa.array([giant, "the end"]))
    cut = giant.encode()[: 16 << 20].decode(errors="ignore")
    assert made["words"].tolist() == [len(cut.split()), 2]
    assert made["newlines_per_word"][0] == cut.count("\n") / len(cut.split())


def test_bytes_that_are_no_utf8_do_no_harm_to_other_texts():
    content, ends = b"a \xff\xff\xffb\xf4\xc0the end of it", [0, 6, 8, 21]
    buffers = [pa.py_buffer(np.array(ends, np.int32).tobytes()), pa.py_buffer(content)]
    broken = measure(pa.StringArray.from_buffers(3, *buffers))
    for name, values in measure(pa.array(["the end of it"])).items():
        assert broken[name][2] == values[0]
