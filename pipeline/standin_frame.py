"""What stands around the stand-in's lesson: how it opens, for whom it is, how it ends."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.parsing import read_literal
from pipeline.standin_functions import Seen, Subject
from pipeline.standin_narration import Narrator, growth


class Frame:
    """The opening, the reader, the comparison and the end, by persona, style, audience."""

    def __init__(
        self, subject: Subject, choices: dict[str, str], narrator: Narrator, worked: list[Seen]
    ) -> None:
        self.subject, self.choices, self.narrator = subject, choices, narrator
        self.worked = worked

    def opening(self) -> str:
        """What the function is for, framed as the style asks."""
        verb, noun, adjective = self.choices["words"].split(", ")
        purpose = _sentences(self.subject.documentation, 2) or (
            f"`{self.subject.name}` takes {self._parameters()} and gives back a value."
        )
        if self.choices["style"] == "story":
            return (
                f"Someone at the {noun} has to {verb} things all day, and the {adjective} part is "
                f"always the same small step. A program can take it over. {purpose}"
            )
        if self.choices["style"] == "questions":
            return f"What is it for? {purpose}"
        return purpose

    def reader(self) -> str:
        """Whom the piece is for, and what it practises, as far as the prompt says so."""
        verb, noun, adjective = self.choices["words"].split(", ")
        persona, skill = self.choices.get("persona"), self.choices.get("skill")
        told = []
        if persona:
            told.append(
                self.narrator.one_of(
                    f"Take {persona}: sooner or later a step like this one is needed.",
                    f"It is written for {persona}, who may {verb} the {adjective} {noun} later.",
                    f"Imagine {persona}, who asks what `{self.subject.name}` really gives back.",
                )
            )
        if skill:
            told.append(
                self.narrator.one_of(
                    f"What you practise here: {skill}.", f"Afterwards you can {skill}.",
                    f"The skill behind it: {skill}.",
                )
            )  # fmt: skip
        known = self.choices.get("known", "nothing")
        if skill and known != "nothing" and self.choices["audience"] in {"beginner", "teacher"}:
            told.append(f"You know already how to {known.split('; ')[-1]}.")
        return " ".join(told)

    def beside(self) -> str:
        """In the style of comparison: two calls beside each other."""
        if self.choices["style"] != "comparison" or len(self.subject.worked) < 2:
            return ""
        one, other = self.subject.worked[0], self.subject.worked[-1]
        alike = type_of(one.shown) == type_of(other.shown)
        what = "Both give the same kind of value" if alike else "Even the kind of value differs"
        return (
            f"Side by side: `{one.call}` gives `{one.shown}`, while `{other.call}` gives "
            f"`{other.shown}`. {what}, so it is the argument that decides."
        )

    def _parameters(self) -> str:
        return listed([f"`{a.arg}`" for a in self.subject.parameters])

    def closing(self) -> str:
        """What the audience is left with."""
        audience, other = self.choices["audience"], self.subject.worked[-1]
        first = self.worked[0]
        if audience == "student" or self.choices.get("difficulty") == "expert":
            return "How the work grows. " + growth(self.subject.node)
        endings = {
            "teacher": f"For the class: show `{first.call}` first and let them guess. Then ask "
            f"what changes with `{other.call}`; the answer to wait for is `{other.shown}`.",
            "beginner": f"Your turn: before you run `{other.call}`, write down what you expect. "
            f"Then compare: it gives `{other.shown}`.",
            "scientist": f"To check it by hand: work out `{first.call}` on paper and compare with "
            f"`{first.shown}`; only then trust it with data.",
            "reviewer": f"A reviewer would ask: {self._doubt()}",
        }
        short = f"In short: pass {self._parameters()}; `{other.call}` gives `{other.shown}`."
        return endings.get(audience, short)

    def _doubt(self) -> str:
        if self.subject.raised:
            failing = self.subject.raised[0]
            return f"should `{failing.call}` raise `{failing.error}`?"
        return f"what was never tried beside `{self.subject.worked[-1].call}`?"


def listed(items: Sequence[str]) -> str:
    """One, two and three."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def kind_of(shown: str) -> str:
    """The kind of value that a printed text looks like, in words."""
    return {"str": "a text", "int": "a whole number", "float": "a number", "list": "a list",
            "tuple": "a tuple", "dict": "a dictionary", "bool": "a truth value"}.get(
        type_of(shown), "a value")  # fmt: skip


def type_of(shown: str) -> str:
    """The kind of value that a printed text looks like."""
    try:
        return type(read_literal(shown)).__name__
    except (ValueError, SyntaxError):
        return "str"


def _sentences(text: str, most: int) -> str:
    """The first sentences of a text, on one line."""
    flat = " ".join(text.split())
    found = [s.strip() for s in flat.replace("e.g. ", "e.g.\u00a0").split(". ") if s.strip()]
    return ". ".join(s.rstrip(".") for s in found[:most]) + "." if found else ""
