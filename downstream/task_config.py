"""Which benchmark tasks are scored, and how."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from downstream.generated_code import CodeLimits
from pipeline.config import HOW, Section

TaskName = Literal[
    "arc_easy", "arc_challenge", "hellaswag", "piqa", "boolq", "winogrande", "openbookqa", "mmlu",
    "mmlu_redux", "truthfulqa_mc1", "truthfulqa_mc2", "sciq", "commonsense_qa", "siqa", "copa",
    "gsm8k", "humaneval", "mbpp",
]  # fmt: skip


class TaskConfig(Section):
    """One task over one file."""

    name: TaskName = Field(description="The task, by lm-eval's name for it.")
    path: str = Field(
        description="Its file, relative to the working directory: see docs/quality.md."
    )
    shots: int | None = Field(
        None, ge=0, le=100,
        description="Solved examples before each question; null: as lm-eval defines the task, that "
        "is 5 for gsm8k, 3 for mbpp, else none.",
    )  # fmt: skip
    fewshot_path: str | None = Field(
        None, description="Where examples come from; null: the same file, the item left out."
    )
    limit: int | None = Field(
        None, ge=1, description="Items at most, drawn by the seed; null for all of the file."
    )
    samples: int = Field(
        1, ge=1, le=1_000, description="Programs drawn a problem, for pass@k of executed code."
    )
    temperature: float = Field(
        0.2, gt=0, le=5, description="Of the drawing, where samples is over 1; 1 program is greedy."
    )
    top_p: float = Field(0.95, gt=0, le=1, description="Of the drawing: the nucleus's probability.")
    answer_tokens: int = Field(
        256, ge=1, le=32_768, description="Tokens of a generated answer at most."
    )

    @model_validator(mode="after")
    def _draws_programs_only(self) -> Self:
        if self.samples > 1 and self.name not in {"humaneval", "mbpp"}:
            raise ValueError(f"samples is for humaneval and mbpp, not for {self.name}")
        if self.name == "humaneval" and self.shots:
            raise ValueError("humaneval shows no examples: its shots must be 0")
        return self


class TasksConfig(Section):
    """The tasks of an evaluation."""

    tasks: tuple[TaskConfig, ...] = Field((), description="What is scored; empty for nothing.")
    seed: int = Field(1234, ge=0, description="Of examples, of limits and of drawn programs.")
    context_tokens: int | None = Field(
        None, ge=16, le=1_048_576,
        description="Longest prompt with its answer; null: what the model was trained with. Items "
        "that do not fit are left out and counted, never cut.",
    )  # fmt: skip
    sandbox: CodeLimits = Field(CodeLimits(), description="What generated code may take.")
    stall_seconds: float = Field(
        900, gt=0, description="Without a further answer for so long, the scoring is stopped.",
        json_schema_extra=HOW,
    )  # fmt: skip

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        named = [(task.name, task.shots, task.path) for task in self.tasks]
        if len(set(named)) < len(named):
            raise ValueError("a task with the same file and shots stands twice in tasks")
        return self
