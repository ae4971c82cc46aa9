"""How many tokens every arm is trained on, and how often that reads what an arm has.

A budget is a number of tokens, or parameters times tokens per parameter: 20 is what Chinchilla
found best for a given amount of computing (arXiv 2203.15556); small models that will be run often
are trained on many times that ("over-trained"), which is stated as `times_chinchilla`. With
neither, the smallest arm's tokens are taken, each read once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import StageError

CHINCHILLA = 20.0  # tokens per parameter


@dataclass(frozen=True)
class Budget:
    """Tokens of every arm; `parameters` is None where no model's size was given."""

    tokens: int
    reason: str
    parameters: int | None = None
    tokens_per_parameter: float | None = None

    def facts(self) -> dict[str, str | float | None]:
        """What the stage states of it."""
        factor = self.tokens_per_parameter and round(self.tokens_per_parameter / CHINCHILLA, 3)
        return {
            "tokens": self.tokens, "reason": self.reason, "parameters": self.parameters,
            "tokens_per_parameter": self.tokens_per_parameter, "times_chinchilla": factor,
        }  # fmt: skip

    def epochs(self, there: int) -> float:
        """How often an arm of so many tokens is read."""
        return self.tokens / there


def choose_budget(
    there: Mapping[str, int], tokens: int | None, parameters: int | None,
    tokens_per_parameter: float,
) -> Budget:  # fmt: skip
    """The budget that a recipe asks for, of arms that have so many tokens `there`."""
    if tokens is not None:
        return Budget(tokens, "tokenize.budget_tokens")
    if parameters is not None:
        reason = f"{parameters} parameters x {tokens_per_parameter:g} tokens"
        wanted = round(parameters * tokens_per_parameter)
        return Budget(wanted, reason, parameters, tokens_per_parameter)
    smallest = min(there, key=lambda arm: there[arm])
    return Budget(there[smallest], f"all tokens of the smallest arm, {smallest!r}")


def check_budget(budget: Budget, there: Mapping[str, int], max_repeats: float) -> None:
    """Raises StageError where a stage would be empty, or an arm read over `max_repeats` times."""
    if budget.tokens < 2:
        raise StageError(
            "tokenize",
            f"a budget of {budget.tokens} tokens ({budget.reason}) cannot fill base and anneal",
            "raise tokenize.budget_parameters or tokens_per_parameter, or keep more",
        )
    arm = min(there, key=lambda name: there[name])
    if there[arm] == 0 or budget.tokens > max_repeats * there[arm]:
        epochs = f"{budget.epochs(there[arm]):.1f}" if there[arm] else "endless"
        raise StageError(
            "tokenize",
            f"arm {arm!r} has {there[arm]} tokens, too few for a budget of {budget.tokens} "
            f"({budget.reason}) in at most {max_repeats:g} epochs: it would take {epochs}",
            "lower tokenize.budget_tokens (or budget_parameters), raise tokenize.max_repeats, or "
            "keep more",
        )
