"""The stand-in's lessons on one function that has been run: by format, audience, style, difficulty.

What a choice changes: the format decides the parts and their order, the difficulty how many calls
are shown (with those that fail from `demanding` on), the style how parts are opened and told, the
audience what the piece ends with, and the persona and the words whom and what it speaks of.
"""

from __future__ import annotations

import ast

import numpy as np

from pipeline.standin_frame import Frame, kind_of, type_of
from pipeline.standin_functions import Seen, Subject, trace
from pipeline.standin_narration import Narrator


class Lesson:
    """A lesson on one subject; the parts differ by format and audience."""

    def __init__(self, subject: Subject, choices: dict[str, str], seed: list[int]) -> None:
        self.subject, self.choices = subject, choices
        self.generator = np.random.default_rng(seed)
        self.narrator = Narrator(self.generator)
        order = self.generator.permutation(len(subject.worked))
        calls, self.most_steps, failing = _DEPTHS.get(choices.get("difficulty", ""), (3, 9, 0))
        self.worked = [subject.worked[i] for i in sorted(order[:calls])]
        self.failing = subject.raised[:failing]
        self.frame = Frame(subject, choices, self.narrator, self.worked)

    def title(self) -> str:
        """A heading for the piece."""
        name, form = self.subject.name.strip("_"), self.choices["format"]
        spoken = name.replace("_", " ")
        return {
            "worked example": f"Following one call of `{self.subject.name}`",
            "dialogue": f"A conversation about `{self.subject.name}`",
            "common mistakes": f"Where `{self.subject.name}` surprises",
            "quiz": f"What does `{self.subject.name}` return?",
            "exercise": f"Exercise: write `{self.subject.name}`",
        }.get(form, f"How {spoken} works in Python")

    def text(self) -> str:
        """The whole piece in Markdown."""
        parts = {
            "worked example": self._worked_example, "dialogue": self._dialogue,
            "common mistakes": self._mistakes, "quiz": self._quiz, "exercise": self._exercise,
        }.get(self.choices["format"], self._lesson)()  # fmt: skip
        blocks = [f"# {self.title()}", self.frame.opening(), self.frame.reader(), *parts]
        blocks += [self.frame.beside(), self.frame.closing()]
        return "\n\n".join(block for block in blocks if block) + "\n"

    def _source(self) -> str:
        return f"```python\n{self.subject.source.strip()}\n```"

    def _run(self, seen: list[Seen]) -> str:
        """A block that runs by itself, and what it prints."""
        calls, shown = [], []
        for one in seen:
            if one.error is None:
                calls.append(f"print({one.call})")
                shown.append(one.shown)
            else:
                calls.append(
                    f"try:\n    {one.call}\nexcept {one.error} as error:\n"
                    f"    print({one.error!r}, 'was raised:', error)"
                )
                shown.append(f"{one.error} was raised: {one.shown}")
        code = "\n".join([self.subject.source.strip(), "", *calls])
        return f"```python\n{code}\n```\n\n```text\n" + "\n".join(shown) + "\n```"

    def _ask(self, question: str) -> str:
        return f"## {question}\n\n" if self.choices["style"] == "questions" else ""

    def _steps(self, most: int) -> str:
        told = list(self.narrator.tell(self.subject.node.body))[: min(most, self.most_steps)]
        if self.choices["audience"] == "beginner" or self.choices["style"] == "checklist":
            return "\n".join(f"{i}. {sentence}" for i, sentence in enumerate(told, 1))
        return " ".join(told)

    def _lesson(self) -> list[str]:
        depth = {"beginner": 14, "student": 10, "practitioner": 6, "teacher": 8}
        steps = self._steps(depth.get(self.choices["audience"], 8))
        return [
            self._ask("What does a run show?") + self._run([*self.worked, *self.failing]),
            self._ask("How does it get there?") + steps,
            self._notice(),
        ]

    def _worked_example(self) -> list[str]:
        one = self.worked[int(self.generator.integers(len(self.worked)))]
        rows = []
        lines = self.subject.source.splitlines()
        for number, changed in trace(self.subject, one.call):
            at = lines[number - 1].strip() if number <= len(lines) else ""
            values = ", ".join(f"`{k}` = `{v}`" for k, v in changed.items() if "`" not in v)
            if values:
                where = self.narrator.one_of(
                    f"On reaching `{at}`: {values}.", f"Before `{at}` we have {values}.",
                    f"Now {values}; `{at}` comes next.", f"At `{at}` one finds {values}.",
                )  # fmt: skip
                rows.append(f"- {where}")
        told = "\n".join(rows) if len(rows) > 1 else self._steps(8)
        return [
            f"We call `{one.call}` and look at the names on the way.",
            self._source(),
            self._ask("Which values do the names take?") + told,
            f"The call returns `{one.shown}`. To see it for yourself:",
            self._run([one]),
        ]

    def _dialogue(self) -> list[str]:
        told = list(self.narrator.tell(self.subject.node.body))
        turns = [f"**Mentor:** Read it once, then tell me what `{self.worked[0].call}` gives."]
        turns.append(f"**Learner:** I would say `{self.worked[0].shown}`. And why?")
        for sentence in told[:6]:
            turns.append(f"**Mentor:** {sentence}")
            turns.append(
                self.narrator.one_of(
                    "**Learner:** And after that?", "**Learner:** I see. What comes next?",
                    "**Learner:** So the value is fixed from here on?",
                    "**Learner:** That is the step that I had overlooked.",
                )
            )  # fmt: skip
        turns.append("**Mentor:** Now let us run it and compare.")
        return [self._source(), "\n\n".join(turns), self._run(self.worked)]

    def _mistakes(self) -> list[str]:
        if not self.subject.raised:
            plain = [s for s in self.subject.worked if s not in self.worked] or self.worked
            return [
                "Nothing that was tried made it fail. The surprises lie in what it returns:",
                self._run(plain),
                self._ask("Why is that so?") + self._steps(8),
            ]
        failing = {s.error or "": s for s in self.subject.raised[:4]}  # one of a kind
        told = [
            f"- `{s.call}` raises `{error}`: {s.shown}. "
            + _ERRORS.get(error, "The value does not fit what the body does with it.")
            for error, s in failing.items()
        ]
        return [
            self._ask("Which calls fail?") + "\n".join(told),
            self._run([*failing.values(), self.worked[0]]),
            self._ask("What does the body need?") + self._steps(6),
        ]

    def _quiz(self) -> list[str]:
        parts, answers = [self._source()], []
        told = list(self.narrator.tell(self.subject.node.body))
        for i, one in enumerate(self.worked, 1):
            options, letter = self._options(one)
            parts.append(f"**Question {i}.** What does `{one.call}` return?\n\n{options}")
            reason = told[(i - 1) % len(told)] if told else ""
            answers.append(f"**Answer {i}.** {letter}) `{one.shown}`. {reason}")
        return [*parts, *answers, "Run it to check the answers:", self._run(self.worked)]

    def _options(self, right: Seen) -> tuple[str, str]:
        """Up to three results in a drawn order, on one line, and the letter of the right one."""
        others = [s.shown for s in self.subject.worked if s.shown != right.shown][:2]
        shown = [str(s) for s in self.generator.permutation([right.shown, *others])]
        line = "; ".join(f"{chr(97 + k)}) `{option}`" for k, option in enumerate(shown))
        return line, chr(97 + shown.index(right.shown))

    def _exercise(self) -> list[str]:
        """What to write, with two examples; then a solution, and tests with what each is for."""
        node, shown = self.subject.node, self.worked[:2]
        examples = "\n".join(f"- `{one.call}` gives `{one.shown}`" for one in shown)
        tests = "\n".join(f"assert str({one.call}) == {one.shown!r}" for one in self.worked)
        reasons = "\n".join(
            f"{i}. `{one.call}` must give {kind_of(one.shown)} that prints as `{one.shown}`."
            for i, one in enumerate(self.worked, 1)
        )
        code = f"{self.subject.source.strip()}\n\n{tests}\nprint('all tests pass')"
        return [
            self._ask("What is to be written?")
            + f"Write a function `{node.name}({ast.unparse(node.args)})`. Two examples:",
            examples,
            self._ask("How can it be done?") + "Try it before you read on.",
            self._steps(6),
            "A solution with its tests:",
            f"```python\n{code}\n```\n\n```text\nall tests pass\n```",
            "What the tests are for:",
            reasons,
        ]

    def _notice(self) -> str:
        notes = []
        defaults = self.subject.node.args.defaults
        if defaults:
            last = self.subject.parameters[-1].arg
            notes.append(f"`{last}` may be left out; it is then `{ast.unparse(defaults[-1])}`.")
        if len({type_of(s.shown) for s in self.subject.worked}) > 1:
            notes.append("What comes back is not always of one kind: the caller must expect that.")
        if self.subject.raised:
            one = self.subject.raised[0]
            notes.append(f"Not everything is accepted: `{one.call}` raises `{one.error}`.")
        return "What to notice. " + " ".join(notes) if notes else ""


_DEPTHS = {  # calls shown, steps told, calls that fail
    "first steps": (2, 5, 0), "core": (3, 9, 0), "demanding": (4, 12, 1), "expert": (5, 16, 2),
}  # fmt: skip
_ERRORS = {
    "TypeError": "The body applies an operation that values of that type do not have.",
    "AttributeError": "The body asks the value for a method that its type does not offer.",
    "ValueError": "The type is right, but this value lies outside of what is accepted.",
    "IndexError": "It looks for an item at a place where there is none.",
    "KeyError": "It looks up a key that is not there.",
    "ZeroDivisionError": "Somewhere on the way it divides by that zero.",
}
