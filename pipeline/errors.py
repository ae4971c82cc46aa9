"""The errors that a person sees: one line with the stage, the offending value and the cure.

Exit codes: 1 a stage failed, 2 the user's input is wrong, 3 stopped by a cap or by a person
(what was done is kept, and the same command goes on).
"""


class StageError(Exception):
    """A stage failed.

    `stage` is where, `problem` names the offending value, `cure` says what to do about it.
    """

    exit_code = 1

    def __init__(self, stage: str, problem: str, cure: str) -> None:
        super().__init__(stage, problem, cure)
        self.stage, self.problem, self.cure = stage, problem, cure

    def __str__(self) -> str:
        return " ".join(f"{self.stage}: {self.problem}; {self.cure}".split())


class InputError(StageError):
    """What the user gave (recipe, source, run directory, argument) cannot be used."""

    exit_code = 2


class StoppedError(StageError):
    """A cap or a person stopped the work; the same command resumes it."""

    exit_code = 3
