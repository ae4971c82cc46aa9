"""The chat template: how messages become tokens, and which of them are learnt.

The template is plain text under three headings, ended by the token that ends every document. It
needs no token that pretraining did not have, so every model of ours can be tuned with it, and a
content is trimmed, so that no token reaches over the edge of a prompt. It is written into
`tokenizer_config.json`: transformers and llama.cpp then make the same tokens of a chat as training
did. A model that brings a template of its own keeps it.

Of each exchange only the answer is learnt, with the token that ends it. A chat with several answers
is one example for each, every one exactly what a model reads when it is asked: the earlier turns
are read again, which costs their tokens. A text whose heading is `### Assistant` cannot be told
from a turn; that is the price of a template without tokens of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError

Messages = Sequence[dict[str, str]]

TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '### ' + message['role'] | capitalize + '\\n' + message['content'] | trim }}"
    "{{- eos_token if loop.last and message['role'] == 'assistant' else '\\n\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '### Assistant\\n' }}{%- endif %}"
)
_ROLES = {"system", "user", "assistant"}


@dataclass(frozen=True)
class Answer:
    """One example: the prompt's tokens, which are read, and the answer's, which are learnt."""

    ids: list[int]
    prompt_tokens: int


@dataclass(frozen=True)
class Unusable:
    """Why an answer cannot be learnt."""

    reason: str


class Chat:
    """A model's tokenizer with its chat template, or with ours where it has none."""

    def __init__(self, stage: str, folder: Path, needs_template: bool = False) -> None:
        from transformers import PreTrainedTokenizerFast  # AutoTokenizer would take 5 s more

        self.tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(
            folder,
            local_files_only=True,
            model_max_length=10**9,  # what is too long is counted
        )
        self.has_own_template = self.tokenizer.chat_template is not None
        if needs_template and not self.has_own_template:
            raise InputError(
                stage, f"{folder} has no chat template",
                "fine-tune it first (primer finetune), or give a tuned model",
            )  # fmt: skip
        if not self.has_own_template:
            if self.tokenizer.eos_token is None:  # no answer would have an end
                raise InputError(
                    stage, f"the tokenizer of {folder} names no eos_token",
                    "name the token that ends a text in its tokenizer_config.json",
                )  # fmt: skip
            self.tokenizer.chat_template = TEMPLATE

    def prompt(self, messages: Messages) -> list[int]:
        """The tokens after which an answer begins."""
        return self._tokens([self._text(messages, prompt=True)])[0]

    def answers(self, chats: Iterable[Messages]) -> list[Answer | Unusable]:
        """An example for every answer of every chat, in order."""
        found: list[tuple[str, str] | Unusable] = []
        for messages in chats:
            found += self._texts(messages)
        flat = [text for pair in found if not isinstance(pair, Unusable) for text in pair]
        ids = iter(self._tokens(flat))
        return [
            pair if isinstance(pair, Unusable) else _example(next(ids), next(ids)) for pair in found
        ]

    def _texts(self, messages: Messages) -> list[tuple[str, str] | Unusable]:
        """For each answer the text before it, and the text with it."""
        flaw = _flaw(messages, self.tokenizer.all_special_tokens)
        if flaw:
            return [Unusable(flaw)]
        from jinja2 import TemplateError

        try:
            return [
                (self._text(messages[:i], prompt=True), self._text(messages[: i + 1], prompt=False))
                if message["content"].strip()
                else Unusable("empty_answer")
                for i, message in enumerate(messages)
                if message["role"] == "assistant"
            ]
        except TemplateError:  # a model's own may refuse system messages, or two of one role
            return [Unusable("refused_by_template")]

    def _text(self, messages: Messages, prompt: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=prompt
        )
        return text

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids


def write_template(folder: Path) -> None:
    """Put our template into a model's `tokenizer_config.json`."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**config, "chat_template": TEMPLATE}, indent=1) + "\n")


def _flaw(messages: Messages, special_tokens: Sequence[str]) -> str | None:
    roles = [message["role"] for message in messages]
    if not set(roles) <= _ROLES:
        return "unknown_role"
    if "assistant" not in roles:
        return "no_answer"
    if roles[0] == "assistant":
        return "no_question"
    if any(token in message["content"] for message in messages for token in special_tokens):
        return "special_token_in_text"  # it would end what only speaks of an end
    return None


def _example(prompt: list[int], whole: list[int]) -> Answer | Unusable:
    if whole[: len(prompt)] != prompt:
        return Unusable("token_over_the_edge_of_the_prompt")
    return Answer(whole, len(prompt))
