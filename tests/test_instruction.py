"""Instruction pairs: the real stand-in on real functions and passages, and what is rejected."""

import ast
import json
import re

import pytest
from standin_answers import ask, functions_of, page
from test_rephrase import PAGE

from pipeline.code_blocks import read_blocks
from pipeline.draws import Plan
from pipeline.extracts import Extract
from pipeline.instruction import (
    CODE_KINDS,
    PROSE_KINDS,
    Instruction,
    InstructionConfig,
    chat,
    kind_of,
)
from pipeline.instruction_checks import restated_share
from pipeline.question import Question
from pipeline.rubrics import disclose

TASK = Instruction()
FUNCTIONS = [
    one
    for one in functions_of("urllib/parse.py", "posixpath.py", "textwrap.py", "shlex.py")
    if one.topic in {"_splittag", "_splitquery", "indent", "dedent", "quote", "_splituser"}
]
PLAN = Plan("instruction", FUNCTIONS, 7)


def write(kind, extract):
    """The first draw of a kind, and the stand-in's answer to it."""
    draw = next(d for d in map(PLAN.draw, range(9)) if kind_of(d, extract) == kind)
    question = Question("q", TASK.messages(draw, extract), TASK.schema_name, TASK.schema, 900)
    return draw, ask(question).content


def one_of(kind):
    """A function that this kind can be written on, with the draw and the answer."""
    for extract in FUNCTIONS:
        draw, content = write(kind, extract)
        if not content["refusal"]:
            return draw, extract, content
    raise AssertionError(f"the stand-in wrote no {kind}")


@pytest.mark.parametrize("kind", CODE_KINDS)
def test_each_kind_on_code_is_written_and_holds(sandbox, kind):
    wrote = 0
    for extract in FUNCTIONS:
        draw, content = write(kind, extract)
        if not content["refusal"]:
            verdict = TASK.judge(content, draw, extract, sandbox)
            assert verdict.reason is None, (extract.topic, verdict)
            assert verdict.blocks >= 1
            wrote += 1
    assert wrote >= 2


@pytest.mark.parametrize("kind", PROSE_KINDS)
def test_each_kind_on_prose_is_written_and_holds(sandbox, kind):
    draw, content = write(kind, page(PAGE))
    assert content["refusal"] is None
    assert TASK.judge(content, draw, page(PAGE), sandbox).reason is None


def test_the_material_is_shown_word_for_word_below_the_question():
    draw, extract, content = one_of("explain")
    *_, user, assistant = TASK.row(content, draw, extract)["metadata"]["messages"]
    assert user["content"].startswith(content["user"])
    assert extract.text.strip() in user["content"]
    assert assistant == {"role": "assistant", "content": content["assistant"].strip()}
    text = TASK.text({**content, "given": "something else"}, draw, extract)
    assert text == TASK.text(content, draw, extract)
    assert text.startswith("User: ")
    assert "\n\nAssistant: " in text


def test_every_second_exchange_says_for_whom_it_is():
    roles = []
    for slot in range(4):
        draw = PLAN.draw(slot)
        content = {"user": "Why?", "given": "", "assistant": "Because.", "check": ""}
        row = TASK.row(content, draw, FUNCTIONS[draw.extract])
        roles.append([message["role"] for message in row["metadata"]["messages"]])
        json.dumps(row)
        assert "system" not in TASK.text(content, draw, FUNCTIONS[draw.extract])
    assert roles == [["user", "assistant"], ["system", "user", "assistant"]] * 2


# of Mistral's tokenizers, which refuse turns out of order
TEMPLATE = """{% if messages[0].role == 'system' %}{% set turns = messages[1:] %}{% else %}
{% set turns = messages %}{% endif %}{% for turn in turns %}
{% if (turn.role == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('roles must alternate') }}{% endif %}
{{ '[INST] ' + turn.content + ' [/INST]' if turn.role == 'user' else turn.content + eos_token }}
{% endfor %}"""


@pytest.mark.slow
def test_chat_templates_and_data_sets_read_the_messages(tmp_path):
    """As trl and transformers do: a column `messages` of rows of `role` and `content`."""
    datasets = pytest.importorskip("datasets", reason="needs the data set library")
    transformers = pytest.importorskip("transformers", reason="needs `primer[downstream]`")
    tokenizers = pytest.importorskip("tokenizers")
    lines = []
    for slot, kind in enumerate(("explain", "fix", "test")):
        _, extract, content = one_of(kind)
        row = TASK.row(content, PLAN.draw(slot), extract)
        lines.append(json.dumps({"messages": row["metadata"]["messages"]}))
    (tmp_path / "chat.jsonl").write_text("\n".join(lines))
    rows = datasets.Dataset.from_json(str(tmp_path / "chat.jsonl"), cache_dir=str(tmp_path))
    reader = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, "?")),
        eos_token="</s>",
        chat_template=TEMPLATE,
    )
    for row in rows:
        shown = reader.apply_chat_template(row["messages"], tokenize=False)
        asked, answered = (turn["content"] for turn in row["messages"][-2:])
        assert f"[INST] {asked} [/INST]" in shown
        assert f"{answered}</s>" in shown


def test_code_that_holds_a_fence_is_shown_in_a_longer_one():
    code = 'def f():\n    """As in\n\n```\nf()\n```\n"""\n    return 1\n'
    held = Extract("d", "code", "g", None, "f", code)
    content = {"user": "Why?", "given": "", "assistant": "Because.", "check": ""}
    user, _ = chat(content, PLAN.draw(0), held)
    assert [block.code for block in read_blocks(user["content"])] == [code]


def test_how_much_is_restated_is_the_recipes_to_say(sandbox):
    draw, extract, content = one_of("explain")
    strict = Instruction(config=InstructionConfig(max_restated_share=0))
    content["user"] = " ".join(content["assistant"].split()[:6])
    assert TASK.judge(content, draw, extract, sandbox).reason is None
    assert strict.judge(content, draw, extract, sandbox).reason == "restates_question"


def test_a_repaired_function_was_really_broken(sandbox):
    _, extract, content = one_of("fix")
    assert ast.dump(ast.parse(content["given"])) != ast.dump(ast.parse(extract.text))
    assert sandbox.run(content["given"]).ok  # the fault is no typing error
    assert not sandbox.run(content["given"] + content["check"]).ok
    call, got, wanted = re.match(
        r"`(.*)` gives me (?:a )?`?(.*?)`? here, but I expect `(.*)`\.", content["user"]
    ).groups()
    done = sandbox.run(f"{content['given']}\nprint({call})")
    assert got in (done.stdout + done.stderr) or got == "nothing"
    assert sandbox.run(f"{extract.text}\nprint({call})").stdout.strip() == wanted


@pytest.mark.parametrize(
    ("kind", "spoil", "reason"),
    [
        ("complete", lambda c: c.update(check="assert 1"), "tests_prove_nothing"),
        ("complete", lambda c: c.update(check=""), "no_tests"),
        ("complete", lambda c: c.update(given="def f(:"), "given_does_not_parse"),
        ("complete", lambda c: c.update(assistant=c["assistant"].replace("return", "raise")),
         "code_failed"),
        ("fix", lambda c: c.update(given=code_of(c)), "tests_prove_nothing"),
        ("fix", lambda c: c.update(assistant="Read it again with care, the fault is easy to see."),
         "not_one_code_block"),
        ("test", lambda c: c.update(assistant="All that is needed:\n\n```python\nassert 3\n```\n"),
         "tests_prove_nothing"),
        ("test", lambda c: c.update(assistant=c["assistant"].replace("== '", "== 'x").replace(
            '== "', '== "x')), "code_failed"),
        ("document", lambda c: c.update(assistant=c["assistant"].replace("return", "return not ")),
         "code_changed"),
        ("document", lambda c: c.update(assistant=bare(c["assistant"])), "not_documented"),
        ("explain", lambda c: c.update(assistant=c["assistant"].replace("```text\n", "```text\n9")),
         "output_differs"),
        ("explain", lambda c: c.update(assistant="It takes the text apart at the mark. " + "That "
         "is done from the right, so that the last mark counts, and what stands before it may well "
         "hold another one. Where there is none, the whole of it is given back, and nothing beside "
         "it; a caller has to be ready for that and should look at the second part before it is "
         "used any further."), "nothing_shown"),
        ("explain", lambda c: c.update(user=" "), "no_question"),
        ("explain", lambda c: c.update(assistant="It works."), "too_short"),
        ("explain", lambda c: c.update(assistant=c["user"] * 5 + " Yes, it does."),
         "restates_question"),
    ],
)  # fmt: skip
def test_a_spoilt_answer_is_rejected_with_its_reason(sandbox, kind, spoil, reason):
    draw, extract, content = one_of(kind)
    content["user"] = content["user"] if kind != "explain" else "How does it take a text apart?"
    spoil(content)
    verdict = TASK.judge(content, draw, extract, sandbox)
    assert verdict.reason == reason, verdict
    assert verdict.evidence


def code_of(content):
    return re.search(r"```python\n(.*?)```", content["assistant"], re.S)[1]


def bare(answer):
    return re.sub(r'""".*?"""', "pass", answer, flags=re.S).replace("    pass\n", "")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda c: c.update(assistant=PAGE), "copy_of_source"),
        (lambda c: c.update(assistant=f"{PAGE} And that is all that there is to be said of it."),
         "padded"),
    ],
)  # fmt: skip
def test_an_answer_on_prose_is_no_copy_and_no_longer(sandbox, spoil, reason):
    draw, content = write("summarise", page(PAGE))
    spoil(content)
    assert TASK.judge(content, draw, page(PAGE), sandbox).reason == reason


def test_kinds_are_walked_through_and_a_further_attempt_takes_another():
    extract = FUNCTIONS[0]
    assert [kind_of(PLAN.draw(slot), extract) for slot in range(5)] == list(CODE_KINDS)
    assert [kind_of(PLAN.draw(0, turn), page(PAGE)) for turn in range(2)] == list(PROSE_KINDS)
    prompts = {TASK.messages(PLAN.draw(0, turn), extract)[-1]["content"] for turn in range(5)}
    assert len(prompts) == 5
    assert {disclose(prompt) for prompt in prompts} == {extract.text}


def test_a_function_that_shows_nothing_is_refused():
    silent = page("def f(x):\n    y = x\n    return None\n")
    silent = type(silent)("d", "code", "g", None, "f", silent.text)
    for kind in CODE_KINDS:
        _, content = write(kind, silent)
        assert content["refusal"]
        assert content["user"] == content["assistant"] == ""


def test_restating_is_measured_on_words_outside_of_code():
    assert restated_share("What does it do with text?", "It does what it does.") == 0
    assert restated_share("a b c d e", "a b c d e") == 1
    assert restated_share("x", "") == 0
    assert restated_share("a b c d", "```python\na b c d\n```\n") == 0
