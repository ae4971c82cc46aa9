"""The chat template: what is learnt of a chat, and the same tokens from all who read it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llama import END_OF_TEXT, write_tiny

from downstream.answer_rows import find_separator
from downstream.chat import TEMPLATE, Answer, Chat, Unusable, write_template
from pipeline.errors import InputError

SMALL = {"context_tokens": 64}


def _chat(question, answer, told=None):
    system = [{"role": "system", "content": told}] if told else []
    asked = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return [*system, *asked]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny", **SMALL)


@pytest.fixture(scope="module")
def chat(tiny):
    return Chat("test", tiny)


def test_a_tokenizer_without_an_end_of_text_is_refused(tmp_path):
    folder = write_tiny(tmp_path / "endless", **SMALL)
    said = folder / "tokenizer_config.json"
    config = {n: v for n, v in json.loads(said.read_text()).items() if n != "eos_token"}
    said.write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"endless names no eos_token; .*tokenizer_config\.json"):
        Chat("test", folder)


def test_only_answers_are_learnt_and_each_reads_the_turns_before_it(chat):
    two = [*_chat("Hi \n", "Hello!", told=" Be kind."), *_chat("More", "  x = 1\n")]
    first, second = chat.answers([two])
    text = "### System\nBe kind.\n\n### User\nHi\n\n### Assistant\nHello!"
    assert chat.tokenizer.decode(first.ids) == f"{text}<|end_of_text|>"
    assert chat.tokenizer.decode(first.ids[first.prompt_tokens :]) == "Hello!<|end_of_text|>"
    more = "\n\n### User\nMore\n\n### Assistant\nx = 1<|end_of_text|>"
    assert chat.tokenizer.decode(second.ids) == text + more
    assert chat.tokenizer.decode(second.ids[second.prompt_tokens :]) == "x = 1<|end_of_text|>"
    assert chat.prompt(two[:-1]) == second.ids[: second.prompt_tokens]


@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_no_token_reaches_over_the_edge_of_a_prompt(chat, question, answer):
    (example,) = chat.answers([_chat(question, answer)])
    if answer.strip():
        assert isinstance(example, Answer)
    else:
        assert example == Unusable("empty_answer")


def test_what_cannot_be_learnt_says_why(chat):
    found = chat.answers([
        _chat("a", "  "), _chat("a", "b")[:1], _chat("a", "b")[1:],
        [{"role": "tool", "content": "a"}], _chat("What is <|end_of_text|>?", "An end."),
    ])  # fmt: skip
    assert [one.reason for one in found] == [
        "empty_answer", "no_answer", "no_question", "unknown_role", "special_token_in_text",
    ]  # fmt: skip


def test_a_models_own_template_is_kept_and_its_refusals_are_counted(tiny, tmp_path):
    folder = write_tiny(tmp_path / "own", **SMALL)
    own = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
        "[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": own}))
    chat = Chat("test", folder)
    refused, example = chat.answers([_chat("a", "b", told="c"), _chat("a", "b")])
    assert refused == Unusable("refused_by_template")
    assert chat.tokenizer.decode(example.ids).startswith("[user]a<|end_of_text|>[assistant]b")
    assert find_separator([example], [END_OF_TEXT]) is None  # it stands within the chat
    with pytest.raises(InputError, match="has no chat template"):
        Chat("test", tiny, needs_template=True)


def test_llama_cpp_makes_the_same_tokens_of_a_chat(tiny, tmp_path):
    from llama_cpp import Llama
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    from downstream.export import export_gguf

    folder = write_tiny(tmp_path / "tuned", **SMALL)
    write_template(folder)
    export_gguf(folder, tmp_path / "tuned.gguf")
    llama = Llama(str(tmp_path / "tuned.gguf"), vocab_only=True, verbose=False)
    template = llama.metadata["tokenizer.chat_template"]
    assert template == TEMPLATE
    formatter = Jinja2ChatFormatter(
        template, eos_token="<|end_of_text|>", bos_token="<|end_of_text|>"
    )
    messages = _chat(
        "Ça va?\n\n```python\n  x = 'é'\n```", "  It's 3.14 面積 🙂\n", told="Be  kind."
    )
    for part, add in ((messages, False), (messages[:-1], True)):
        formatter.add_generation_prompt = add
        text = formatter(messages=part).prompt
        theirs = llama.tokenize(text.encode(), add_bos=False, special=True)
        chat = Chat("test", folder, needs_template=True)
        (example,) = chat.answers([messages])
        assert theirs == (chat.prompt(part) if add else example.ids)
    llama.close()
