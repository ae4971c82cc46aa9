"""Rules for prose: presets, a recipe's own rules, and verdicts."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.clean_rules import Verdict
from pipeline.language import LanguageRules
from pipeline.prose_measures import measure
from pipeline.prose_rules import PRESETS, ProseRules, Rule, judge_measures, judge_prose

GOOD = (
    "The river that runs past the town was once the border of two kingdoms, and the bridge is "
    "older than both. Merchants had to pay a toll to cross it with their goods. When the kings "
    "made peace, the toll was lifted; people have met on the bridge every spring since then. "
    "Nobody knows who built it. Its stones were cut to be joined without mortar, as in Roman "
    "work, but no Roman road has been found near here."
)


GOPHER = ProseRules(presets=("gopher",))


def verdict(text, rules=None):
    return judge_prose(pa.array([text]), rules or GOPHER).verdicts[0]


def test_languages_come_with_the_verdicts():
    judged = judge_prose(pa.array([GOOD, None]), ProseRules())
    assert judged.verdicts[0] is None
    assert judged.verdicts[1].reason == "too_few_words"
    assert judged.languages.labels == ["en", None]


def test_good_prose_breaks_no_rule_of_any_preset():
    assert verdict(GOOD, ProseRules(presets=("primer", "gopher", "c4", "fineweb"))) is None


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("too_few_words", "The two of them."),
        ("words_too_long", GOOD + " incomprehensibilities" * 200),
        ("words_too_short", GOOD + " of it a b" * 200),
        ("too_many_hashes", GOOD + " #" * 200),
        ("too_many_ellipses", GOOD + " and... so... of..." * 30),
        ("too_many_bullet_lines", "\n".join(f"- the wording of {n}" for n in range(99))),
        ("too_few_words_with_letters", GOOD + " 123" * 200),
        ("too_few_stop_words", " ".join(f"word{n}" for n in range(60))),
        ("repeated_paragraphs", GOOD + "\n\nThe same of it." * 9),
        ("repeated_lines", GOOD.replace(". ", ".\n") + "\nof it" * 9),
        ("frequent_2_gram", GOOD + " of course" * 300),
    ],
)
def test_each_reason_says_what_is_wrong(reason, text):
    assert verdict(text).reason == reason


def test_a_verdict_holds_the_value_that_broke_the_rule():
    assert verdict("The two of them.") == Verdict("too_few_words", "4")


def test_a_rule_without_limits_switches_off_the_preset_rule_of_its_name():
    off = Rule(name="too_few_words", measure="words")
    assert verdict("and").reason == "too_few_words"
    assert (
        verdict("and", ProseRules(presets=("gopher",), rules=(off,))).reason == "too_few_stop_words"
    )
    assert "too_few_words" not in [
        r.name for r in ProseRules(presets=("gopher",), rules=(off,)).in_order()
    ]


def test_a_recipe_moves_a_limit_in_its_place_and_adds_rules_after_the_presets():
    fewer = Rule(name="too_few_words", measure="words", min=3)
    own = Rule(name="speaks_of_javascript", measure="javascript_line_share", max=0)
    rules = ProseRules(presets=("gopher",), rules=(own, fewer))
    assert [r.name for r in rules.in_order()][:2] == ["too_few_words", "too_many_words"]
    assert rules.in_order()[-1] == own
    assert verdict(GOOD + " No JavaScript.", rules) == Verdict("speaks_of_javascript", "1")


def test_no_preset_and_no_rules_keep_everything():
    assert verdict("", ProseRules(presets=())) is None


def test_limits_themselves_are_kept():
    measures = measure(pa.array(["the be " + "word " * 48, "the be " + "word " * 47]))
    rule = PRESETS["gopher"][0]
    assert judge_measures(measures, [rule]) == [None, Verdict("too_few_words", "49")]


def test_language_is_asked_before_the_rules():
    danish = "Det er en god dag i dag, og vi skal ud at gå en tur i skoven med hunden."
    rules = ProseRules(language=LanguageRules(keep=("en",)))
    assert verdict(danish, rules).reason == "other_language"
    assert verdict(danish).reason == "too_few_words"


def test_a_measure_that_does_not_exist_is_refused_by_name():
    with pytest.raises(ValidationError, match="word_count"):
        ProseRules(
            presets=("gopher",), rules=({"name": "mine", "measure": "word_count", "min": 3},)
        )


def test_a_rule_that_would_drop_everything_is_refused():
    with pytest.raises(ValidationError, match="rule 'mine': min 5 is over max 3"):
        Rule(name="mine", measure="words", min=5, max=3)


def test_every_rule_of_a_preset_has_one_limit_a_source_and_a_measure_that_is_made():
    made = measure(pa.array(["a text"]))
    for rules in PRESETS.values():
        for rule in rules:
            assert (rule.min is None) != (rule.max is None)
            assert rule.source
            assert rule.measure in made
