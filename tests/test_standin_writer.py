"""What the stand-in writes: lessons of every level that run, and that speak of what was chosen."""

import pytest
from standin_texts import LESSON_PROSE

from pipeline.factors import AUDIENCES, DIFFICULTIES, FORMATS, STYLES
from pipeline.judge_piece import judge_lesson
from pipeline.rubrics import enclose
from pipeline.sandbox import SandboxConfig
from pipeline.standin_writer import write

LIMITS = SandboxConfig(wall_seconds=5)
SHORTENED = """def shorten_words(text, width):
    \"\"\"Cut each word of a text to a width, so that a table stays narrow.\"\"\"
    if width < 1:
        raise ValueError("a word has one letter at least")
    words = []
    for word in text.split():
        words.append(word[:width])
    return " ".join(words)
"""
PLAIN = {"audience": "student", "format": "lesson", "style": "plain", "difficulty": "core",
         "persona": "someone who writes about soup and bread", "words": "sort, lantern, quiet",
         "topic": "shorten_words"}  # fmt: skip


def lesson(extract=SHORTENED, **choices):
    chosen = {name: value for name, value in {**PLAIN, **choices}.items() if value}
    lines = [f"{name}: {value}. Do it so." for name, value in chosen.items()]
    prompt = "\n".join([*lines, enclose(extract)])
    return write("lesson", [{"role": "user", "content": prompt}])


LEVELS = [
    (factor, level.name)
    for factor, levels in (("audience", AUDIENCES), ("format", FORMATS), ("style", STYLES),
                           ("difficulty", DIFFICULTIES))
    for level in levels
]  # fmt: skip


@pytest.mark.parametrize(("factor", "level"), LEVELS)
def test_a_lesson_of_every_level_runs_and_says_what_its_code_prints(sandbox, factor, level):
    piece = lesson(**{factor: level})
    assert judge_lesson(piece, sandbox).reason is None
    assert lesson(**{factor: level}) == piece


@pytest.mark.parametrize("factor", ["audience", "format", "style", "difficulty", "persona"])
@pytest.mark.usefixtures("sandbox")
def test_each_choice_makes_another_piece(factor):
    levels = {level for name, level in LEVELS if name == factor} | {"someone who sails"}
    texts = {lesson(**{factor: level})["text"] for level in levels - {PLAIN[factor]}}
    assert len(texts) == len(levels - {PLAIN[factor]})


@pytest.mark.usefixtures("sandbox")
def test_a_lesson_speaks_of_its_persona_skill_and_what_is_known():
    text = lesson(audience="teacher", skill="cut a text", known="name values; loop")["text"]
    assert "someone who writes about soup and bread" in text
    assert "cut a text" in text
    assert "You know already how to loop." in text
    assert "someone who" not in lesson(persona=None)["text"]


@pytest.mark.usefixtures("sandbox")
def test_an_expert_sees_more_calls_than_a_newcomer_and_those_that_fail():
    first, expert = (lesson(difficulty=d)["text"] for d in ("first steps", "expert"))
    assert expert.count("print(shorten_words(") > first.count("print(shorten_words(")
    assert "except" in expert
    assert "except" not in first


@pytest.mark.usefixtures("sandbox")
def test_an_exercise_in_text_has_a_task_a_solution_and_tests():
    text = lesson(format="exercise")["text"]
    assert text.index("Two examples") < text.index("def shorten_words") < text.index("assert str(")
    assert "all tests pass" in text


@pytest.mark.parametrize("form", ["lesson", "dialogue", "quiz"])
def test_prose_without_a_topic_is_taught_by_its_first_term(form):
    told = LESSON_PROSE.replace("A priority queue is a list", "A priority queue is a list in order")
    piece = lesson(told, format=form, topic=None)
    assert piece["refusal"] is None
    assert piece["title"] in told
    assert lesson(told, format=form)["title"] == "shorten_words"


def test_prose_that_explains_too_little_is_refused():
    assert "too little" in lesson("No. Not here. Nothing is said at all.")["refusal"]
