"""The stand-in's sentences about code: a parse tree read aloud, statement by statement."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class Narrator:
    """Turns statements into English; which wording it takes is drawn from its generator."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def one_of(self, *wordings: str) -> str:
        """One wording, drawn."""
        return wordings[int(self._generator.integers(len(wordings)))]

    def tell(self, body: list[ast.stmt]) -> Iterator[str]:
        """A sentence for each statement that does something, in order, going into blocks."""
        for node in body:
            sentence = self._sentence(node)
            if sentence:
                yield sentence
            if isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Try):
                yield from self.tell(node.body)
                yield from self._otherwise(node)

    def _otherwise(self, node: ast.stmt) -> Iterator[str]:
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                caught = _code(handler.type) if handler.type else "any error"
                yield f"Should {caught} be raised there, the following takes over."
                yield from self.tell(handler.body)
        rest = getattr(node, "orelse", [])
        if rest:
            if not (len(rest) == 1 and isinstance(rest[0], ast.If)):
                yield self.one_of("Otherwise the next step applies.", "In every other case:")
            yield from self.tell(rest)

    def _sentence(self, node: ast.stmt) -> str:
        tellers: dict[type[ast.stmt], Callable[[Any], str]] = {
            ast.Assign: self._assign, ast.AugAssign: self._change, ast.If: self._if,
            ast.For: self._for, ast.While: self._while, ast.Return: self._return,
            ast.Raise: self._raise, ast.Expr: self._call, ast.With: self._with, ast.Try: self._try,
        }  # fmt: skip
        tell = tellers.get(type(node))
        return tell(node) if tell else ""

    def _assign(self, node: ast.Assign) -> str:
        names, value = " and ".join(_code(t) for t in node.targets), _code(node.value)
        return self.one_of(
            f"{names} is set to {value}.",
            f"The value of {value} is kept under {names}.",
            f"It computes {value} and calls the result {names}.",
        )

    def _change(self, node: ast.AugAssign) -> str:
        verb = {"Add": "grows by", "Sub": "shrinks by", "Mult": "is multiplied by"}.get(
            type(node.op).__name__, "is updated with"
        )
        return f"{_code(node.target)} {verb} {_code(node.value)}."

    def _if(self, node: ast.If) -> str:
        test = _code(node.test)
        return self.one_of(
            f"Is {test} true? Then the next step is taken.",
            f"Only when {test} holds does the following happen.",
            f"A decision: the branch is entered if {test}.",
        )

    def _for(self, node: ast.For) -> str:
        item, source = _code(node.target), _code(node.iter)
        return self.one_of(
            f"A loop takes the items of {source} one after another and names each {item}.",
            f"For each {item} in {source}, the steps that follow are repeated.",
        )

    def _while(self, node: ast.While) -> str:
        test = _code(node.test)
        return self.one_of(
            f"As long as {test} holds, the steps that follow are repeated.",
            f"The loop goes on until {test} is no longer true.",
        )

    def _return(self, node: ast.Return) -> str:
        if node.value is None:
            return "The function ends here and gives back nothing."
        value = _code(node.value)
        return self.one_of(
            f"The answer is {value}, and the function ends.",
            f"It returns {value}.",
            f"With that it hands {value} back to the caller.",
        )

    def _raise(self, node: ast.Raise) -> str:
        return (
            f"Here it refuses and raises {_code(node.exc)}." if node.exc else "The error goes on."
        )

    def _call(self, node: ast.Expr) -> str:
        return f"It calls {_code(node.value)}." if isinstance(node.value, ast.Call) else ""

    def _with(self, node: ast.With) -> str:
        return f"Inside {_code(node.items[0].context_expr)} the following is done."

    def _try(self, _: ast.Try) -> str:
        return self.one_of("What follows may fail, and is watched.", "It tries the next steps.")


def growth(node: ast.FunctionDef) -> str:
    """What the loops say about how the work grows with the input."""
    loops = ast.For | ast.While | ast.comprehension

    def depth(n: ast.AST) -> int:
        inner = max((depth(child) for child in ast.iter_child_nodes(n)), default=0)
        return inner + isinstance(n, loops)

    nested = depth(node)
    if nested == 0:
        return (
            "There is no loop of its own, so apart from what the functions that it calls do, the "
            "work does not grow with the size of what it is given."
        )
    if nested == 1:
        return (
            "One loop passes over the input, so twice as much input means about twice the work: "
            "it is linear, if each step costs the same."
        )
    return (
        f"Loops stand inside loops, {nested} deep. If both run over the input, the work grows "
        "with a power of its size, and large inputs deserve a thought."
    )


def _code(node: ast.AST | None) -> str:
    if node is None:
        return "nothing"
    text = " ".join(ast.unparse(node).split())
    return f"`{text}`" if len(text) <= 90 else f"`{text[:80]} ...`"
