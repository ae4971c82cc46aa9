"""The tasks: lm-eval's own definitions (0.4.13), pointed at a local file.

Prompts, answers, stop words, filters and metrics are read from the YAML files inside lm-eval, so a
score here is a score there. Only what ties a definition to the hub is replaced (the dataset and its
splits), and what follows from it:

- CommonsenseQA and Social IQa are fixed to five and three choices there, and take as many as the
  row has here; with five and three the prompt is the same.
- MMLU is one task of all subjects here (57 there, averaged by size); the sentence that names the
  subject is the same, and the examples of a few-shot prompt are of the question's subject.
- HumanEval and MBPP run in our sandbox, and MBPP's three examples are rows 2 to 4 of its own file.

Examples of a few-shot prompt come from `fewshot_path` or, without one, from the same file with the
item left out, drawn by the seed.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lm_eval.tasks
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from downstream import benchmark_rows as rows_of
from downstream.benchmark_rows import Row, read_benchmark
from downstream.generated_code import ProgramJudge, humaneval_program, mbpp_program, usual_ks
from downstream.task_config import TaskConfig
from pipeline.errors import InputError

_MBPP_EXAMPLES, _MBPP_TEST = (2, 3, 4), range(11, 511)  # by task_id, as its paper splits them


@dataclass(frozen=True)
class Definition:
    """Where lm-eval defines a task, how rows are brought to it, and what is replaced."""

    stock: str  # below lm_eval/tasks
    metric: str  # the one that items are compared by
    fields: tuple[str, ...]  # that the hub's rows have
    turn: Callable[[Row], Row | None] | None = None
    replaced: Mapping[str, Any] = field(default_factory=dict)
    program: Callable[[Row, str], str] | None = None  # for code that is executed


_LETTERED_CHOICES = {
    "doc_to_text": "Question: {{ question.strip() }}\n{% for letter in choices['label'] %}"
    "{{letter}}. {{choices['text'][loop.index0]}}\n{% endfor %}Answer:",
    "doc_to_choice": "{{choices['label']}}",
}
_SUBJECTS = {
    "description": "The following are multiple choice questions (with answers) about "
    "{{subject.replace('_', ' ')}}.\n\n",
}
_LETTERED = ("question", "choices", "answerKey")
_MMLU = ("question", "choices", "answer", "subject")
DEFINITIONS: dict[str, Definition] = {
    "arc_easy": Definition("arc/arc_easy.yaml", "acc_norm", _LETTERED, rows_of.lettered),
    "arc_challenge": Definition("arc/arc_challenge.yaml", "acc_norm", _LETTERED, rows_of.lettered),
    "hellaswag": Definition(
        "hellaswag/hellaswag.yaml", "acc_norm", ("label",), rows_of.hellaswag),
    "piqa": Definition(
        "piqa/piqa.yaml", "acc_norm", ("goal", "sol1", "sol2", "label"), rows_of.piqa),
    "boolq": Definition(
        "super_glue/boolq/default.yaml", "acc", ("passage", "question", "label"), rows_of.boolq),
    "winogrande": Definition(
        "winogrande/default.yaml", "acc", ("sentence", "option1", "option2", "answer"),
        rows_of.winogrande),
    "openbookqa": Definition(
        "openbookqa/openbookqa.yaml", "acc_norm", ("question_stem", "choices", "answerKey"),
        rows_of.openbookqa),
    "mmlu": Definition(
        "mmlu/default/_default_template_yaml", "acc", _MMLU, rows_of.mmlu, _SUBJECTS),
    "mmlu_redux": Definition(
        "mmlu/default/_default_template_yaml", "acc", _MMLU, rows_of.mmlu_redux, _SUBJECTS),
    "truthfulqa_mc1": Definition(
        "truthfulqa/truthfulqa_mc1.yaml", "acc", ("question", "mc1_targets"), rows_of.truthfulqa),
    "truthfulqa_mc2": Definition(
        "truthfulqa/truthfulqa_mc2.yaml", "acc", ("question", "mc2_targets"), rows_of.truthfulqa),
    "sciq": Definition(
        "sciq/sciq.yaml", "acc_norm",
        ("support", "question", "distractor1", "distractor2", "distractor3", "correct_answer")),
    "commonsense_qa": Definition(
        "commonsense_qa/default.yaml", "acc", _LETTERED, rows_of.lettered, _LETTERED_CHOICES),
    "siqa": Definition(
        "siqa/siqa.yaml", "acc", ("context", "question", "answerA", "answerB", "label"),
        rows_of.siqa, {"doc_to_choice": "{{[answerA, answerB, answerC]|select|list}}"}),
    "copa": Definition(
        "super_glue/copa/default.yaml", "acc",
        ("premise", "question", "choice1", "choice2", "label"), rows_of.copa),
    "gsm8k": Definition("gsm8k/gsm8k.yaml", "exact_match/strict-match", ("question", "answer")),
    "humaneval": Definition(
        "humaneval/humaneval.yaml", "pass@1", ("prompt", "test", "entry_point"),
        program=humaneval_program),
    "mbpp": Definition(
        "mbpp/mbpp.yaml", "pass@1", ("task_id", "text", "code", "test_list"),
        program=mbpp_program),
}  # fmt: skip


class LocalTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval carries no types
    """A task of lm-eval over rows of ours: leaves out items, draws examples within a subject."""

    def __init__(
        self, config: dict[str, Any], left_out: Mapping[int, int], beat: Callable[[], None]
    ) -> None:
        super().__init__(config=config)
        self.left_out = left_out  # filled while the model is asked
        self.beat = beat
        self._examples: dict[str, list[Row]] = defaultdict(list)
        for row in self.sampler.df:
            self._examples[row.get("subject", "")].append(row)

    def fewshot_context(self, doc: Row, *arguments: Any, **named: Any) -> Any:
        """As lm-eval's, from examples of the same subject where there are subjects."""
        self.beat()
        if "subject" in doc and named.get("num_fewshot"):
            self.sampler.replace_df(self._examples[doc["subject"]])
        return super().fewshot_context(doc, *arguments, **named)

    def process_results(self, doc: Row, results: Any) -> dict[str, Any]:
        """The metrics of an item; none where the model could not read it whole."""
        self.beat()
        if doc["item"] in self.left_out:
            return {}
        told: dict[str, Any] = super().process_results(doc, results)
        return told


def load_task(
    config: TaskConfig, seed: int, scratch: Path, left_out: Mapping[int, int],
    judge: ProgramJudge | None, beat: Callable[[], None] = lambda: None,
) -> LocalTask:  # fmt: skip
    """lm-eval's task over the configured file, which is written to `scratch` as JSON lines.

    `left_out` are the items that the model cannot read whole, known after it was asked; `beat` is
    called at each prompt that is built and each item that is judged, which take a while.
    """
    definition = DEFINITIONS[config.name]
    stock = Path(lm_eval.tasks.__file__).parent / definition.stock
    settings = load_yaml(stock, resolve_func=definition.program is None)
    shots = settings.get("num_fewshot") or 0 if config.shots is None else config.shots
    items, examples = _read(config, definition, shots)
    file = _write(scratch / "items.jsonl", items)
    settings |= definition.replaced
    settings |= {
        "task": config.name,
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": file}, "cache_dir": str(scratch / "arrow")},
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": "test" if examples is None else None,
        "num_fewshot": shots,
        "should_decontaminate": False,
    }
    if config.name == "hellaswag" and "query" in items[0]:
        settings["process_docs"] = None  # these rows are past it
    settings["fewshot_config"] = _examples_of(examples, settings, config)
    if settings["output_type"] == "generate_until":
        settings["generation_kwargs"] |= {"max_gen_toks": config.answer_tokens}
    if judge is not None:
        settings |= _executed(settings["generation_kwargs"], config, judge)
    task = LocalTask(settings, left_out, beat)
    task.set_fewshot_seed(seed)
    return task


def _executed(asked: dict[str, Any], config: TaskConfig, judge: ProgramJudge) -> dict[str, Any]:
    """What replaces a definition's metric, which would run the code outside of a sandbox."""

    def judged(row: Row, results: Any) -> dict[str, float]:  # lm-eval copies all but functions
        return judge(row, results)

    draws = {"do_sample": True, "temperature": config.temperature, "top_p": config.top_p}
    return {
        "unsafe_code": False,  # the sandbox sees to it
        "process_results": judged,
        "metric_list": [
            {"metric": f"pass@{k}", "aggregation": "mean", "higher_is_better": True}
            for k in usual_ks(config.samples)
        ],
        "repeats": config.samples,
        "generation_kwargs": asked | (draws if config.samples > 1 else {"do_sample": False}),
        "filter_list": [
            {"name": "none", "filter": [{"function": "custom", "filter_fn": _all_answers}]}
        ],
    }


def _all_answers(answers: list[list[str]], docs: list[Row]) -> list[list[str]]:
    return answers


def _examples_of(
    examples: list[Row] | None, settings: dict[str, Any], config: TaskConfig
) -> dict[str, Any] | None:
    """Where the rows of a few-shot prompt come from, if not from the items themselves."""
    if examples is None:
        return None
    if settings.get("process_docs"):
        examples = list(settings["process_docs"](Dataset.from_list(examples)))
    is_stock = config.name == "mbpp" and config.fewshot_path is None
    return {"samples": examples, "sampler": "first_n" if is_stock else "default"}


def _read(
    config: TaskConfig, definition: Definition, shots: int
) -> tuple[list[Row], list[Row] | None]:
    """The items, and the rows that examples are taken from where those are others."""
    rows = read_benchmark(Path(config.path), definition.fields, definition.turn)
    examples = None
    if config.fewshot_path is not None:
        examples = read_benchmark(Path(config.fewshot_path), definition.fields, definition.turn)
    elif config.name == "mbpp":
        shown = [row for row in rows if row["task_id"] in _MBPP_EXAMPLES]
        examples = [{**row, "is_fewshot": True} for row in shown] or None
        rows = [row for row in rows if row["task_id"] in _MBPP_TEST] or rows
    pool = Counter(row.get("subject") for row in (rows if examples is None else examples))
    fewest = min(pool.values()) - (examples is None)  # the item itself is no example
    if shots > fewest:
        raise InputError(
            "evaluate", f"{config.name}: {shots} shots, and {fewest} rows to take them from",
            "lower shots, or give a fewshot_path with more rows",
        )  # fmt: skip
    return rows, examples


def _write(path: Path, rows: list[Row]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)
