"""The presets against datatrove's own filters, both with words parted by white space."""

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.word_tokenizers import WordTokenizer

from pipeline.prose_measures import measure
from pipeline.prose_rules import PRESETS, judge_measures

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SENTENCE_END = re.compile(r"[.?!][\"')\]]*[ \t]")
NAMES = {  # datatrove's reasons
    "gopher_short_doc": "too_few_words",
    "gopher_long_doc": "too_many_words",
    "gopher_below_avg_threshold": "words_too_short",
    "gopher_above_avg_threshold": "words_too_long",
    "gopher_too_many_hashes": "too_many_hashes",
    "gopher_too_many_ellipsis": "too_many_ellipses",
    "gopher_too_many_bullets": "too_many_bullet_lines",
    "gopher_too_many_end_ellipsis": "too_many_ellipsis_lines",
    "gopher_below_alpha_threshold": "too_few_words_with_letters",
    "gopher_enough_stop_words": "too_few_stop_words",
    "dup_para_frac": "repeated_paragraphs",
    "dup_para_char_frac": "repeated_paragraph_chars",
    "dup_line_frac": "repeated_lines",
    "dup_line_char_frac": "repeated_line_chars",
    **{f"top_{n}_gram": f"frequent_{n}_gram" for n in range(2, 5)},
    **{f"duplicated_{n}_n_grams": f"repeated_{n}_grams" for n in range(5, 11)},
    "lorem_ipsum": "lorem_ipsum",
    "curly_bracket": "curly_bracket",
    "too_few_sentences": "too_few_sentences",
    "line_punct_ratio": "too_few_ended_lines",
    "short_line_ratio": "too_many_short_lines",
    "char_dup_ratio": "repeated_text_lines",
    "list_ratio": "too_many_newlines",
}


class WhiteSpace(WordTokenizer):
    """The words and sentences that our rules use, for datatrove's filters."""

    def word_tokenize(self, text):
        return text.split()

    def sent_tokenize(self, text):
        return [text[a:b] for a, b in self.span_tokenize(text)]

    def span_tokenize(self, text):
        ends = [m.end() for m in SENTENCE_END.finditer(text)] + [len(text)]
        return list(zip([0, *ends], ends, strict=False))


def only(**limits):
    """A Gopher filter with one rule on."""
    names = ["min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length",
             "max_symbol_word_ratio", "max_bullet_lines_ratio", "max_ellipsis_lines_ratio",
             "max_non_alpha_words_ratio", "min_stop_words"]  # fmt: skip
    off = dict.fromkeys(names)
    return GopherQualityFilter(**(off | limits), language=WhiteSpace())


def only_repeats(**limits):
    names = ["dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac"]
    off = dict.fromkeys(names) | {"top_n_grams": (), "dup_n_grams": ()}
    return GopherRepetitionFilter(**(off | limits), language=WhiteSpace())


def only_fineweb(**limits):
    off = {"line_punct_thr": -1, "short_line_thr": 2, "char_duplicates_ratio": 2}
    return FineWebQualityFilter(**(off | {"new_line_ratio": 2e9} | limits), language=WhiteSpace())


def filters():
    """Our rules by name, and datatrove's filter with these alone (C4's need each other)."""
    yield ["too_few_words"], only(min_doc_words=50)
    yield ["too_many_words"], only(max_doc_words=1_000)  # no shared text has 100,000
    yield ["words_too_short"], only(min_avg_word_length=3)
    yield ["words_too_long"], only(max_avg_word_length=10)
    yield ["too_many_hashes", "too_many_ellipses"], only(max_symbol_word_ratio=0.1)
    yield ["too_many_bullet_lines"], only(max_bullet_lines_ratio=0.9)
    yield ["too_many_ellipsis_lines"], only(max_ellipsis_lines_ratio=0.3)
    yield ["too_few_words_with_letters"], only(max_non_alpha_words_ratio=0.8)
    yield ["too_few_stop_words"], only(min_stop_words=2)
    yield ["repeated_paragraphs"], only_repeats(dup_para_frac=0.3)
    yield ["repeated_paragraph_chars"], only_repeats(dup_para_char_frac=0.2)
    yield ["repeated_lines"], only_repeats(dup_line_frac=0.3)
    yield ["repeated_line_chars"], only_repeats(dup_line_char_frac=0.2)
    for n, limit in ((2, 0.2), (3, 0.18), (4, 0.16)):
        yield [f"frequent_{n}_gram"], only_repeats(top_n_grams=((n, limit),))
    for n in range(5, 11):
        limit = round(0.2 - n / 100, 2)
        yield [f"repeated_{n}_grams"], only_repeats(dup_n_grams=((n, limit),))
    yield ["too_few_ended_lines"], only_fineweb(line_punct_thr=0.12)
    yield ["too_many_short_lines"], only_fineweb(short_line_thr=0.67)
    yield ["repeated_text_lines"], only_fineweb(char_duplicates_ratio=0.01)
    yield ["too_many_newlines"], only_fineweb(new_line_ratio=0.3)
    c4 = C4QualityFilter(language=WhiteSpace())
    yield ["lorem_ipsum", "curly_bracket", "too_few_sentences"], c4


def real_texts():
    """Prose of every kind, in two languages, and some made to break rules that it keeps."""
    texts = []
    for name in ("web/prose", "labelled/fineweb_c_danish_edu_human"):
        with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    few = texts[::60]
    texts += [(t[:400] + "\n\n" + t[:300] + "\n") * 2 for t in texts[::9]]
    texts += [" ".join(word[:2] for word in t.split()) for t in few]
    return texts + ["Lorem ipsum as printers have it.\n" + t for t in few]


def rule_named(name):
    rule = next(r for rules in PRESETS.values() for r in rules if r.name == name)
    return rule.model_copy(update={"max": 1_000.0}) if name == "too_many_words" else rule


def compare(texts):
    """How many texts each rule drops in both, and where the two differ: (rule, theirs, text)."""
    measures = measure(pa.array(texts))
    dropped, differences = Counter(), []
    for names, step in filters():
        ours = judge_measures(measures, [rule_named(name) for name in names])
        for text, verdict in zip(texts, ours, strict=True):
            result = step.filter(Document(text=text, id=""))
            theirs = NAMES[result[1]] if isinstance(result, tuple) else None
            mine = verdict.reason if verdict else None
            dropped[theirs] += theirs == mine
            if theirs != mine:
                differences.append((mine, theirs, text))
    return dropped, differences


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data")
@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_every_rule_gives_datatroves_verdict_on_every_real_text(step):
    texts = real_texts()[::step]
    dropped, differences = compare(texts)
    assert differences == []
    assert len(dropped) > 20
    if step == 1:
        assert len(texts) == 4_783
        assert len(dropped) == 31  # every rule dropped some, and None stands for what is kept
