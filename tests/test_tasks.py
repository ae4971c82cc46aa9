"""Benchmark tasks: lm-eval's prompts, examples, what is too long, what is remembered."""

import gzip
import json
from pathlib import Path

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.tasks._yaml_loader import load_yaml
from small_language_model import small_model
from task_files import HUMANEVAL, PAIRS, arc_rows, put_rows

from downstream import task_definitions, task_run
from downstream.benchmark_rows import read_benchmark
from downstream.generated_code import CodeLimits, opened_judge
from downstream.harness_model import open_lm
from downstream.remembered_lm import RememberedLM
from downstream.task_config import TaskConfig, TasksConfig
from downstream.task_definitions import DEFINITIONS, load_task
from pipeline.errors import InputError

STOCK = Path(task_definitions.lm_eval.tasks.__file__).parent


@pytest.fixture(scope="module")
def lm():
    with open_lm(small_model()[1], None, 0, 1) as opened:
        yield opened


def ours(tmp_path, name, rows, seed=0, left_out=None, **settings):
    """The task over a file of ours."""
    config = TaskConfig(name=name, path=put_rows(tmp_path / "rows.jsonl", rows), **settings)
    return load_task(config, seed, tmp_path / "work", left_out or {}, None)


def stock(tmp_path, name, rows):
    """lm-eval's own definition of the task, with nothing replaced but where the rows are."""
    settings = load_yaml(STOCK / DEFINITIONS[name].stock)
    if name == "mmlu":
        settings |= load_yaml(STOCK / "mmlu/default/mmlu_high_school_biology.yaml")
    file = put_rows(tmp_path / "hub.jsonl", rows)
    splits = [key for key in ("test_split", "validation_split") if settings.get(key)]
    settings |= dict.fromkeys(("training_split", "validation_split", "fewshot_split"))
    settings |= {
        "dataset_path": "json", "dataset_name": None, splits[0]: "validation",
        "dataset_kwargs": {"data_files": {"validation": file}, "cache_dir": str(tmp_path / "hub")},
        "num_fewshot": 0, "fewshot_config": None,
    }  # fmt: skip
    if splits[0] == "test_split":
        settings["validation_split"] = None
    return ConfigurableTask(config=settings)


def requests_of(task):
    task.set_fewshot_seed(0)
    task.build_all_requests()
    return [instance.args for instance in task.instances]


def run(lm, task, folder, samples=None, asked=None):
    """lm-eval's results of one task through the memory."""
    memory = RememberedLM(lm, folder / "answers.sqlite", "small", 0, lambda n: None)
    memory.too_long = task.left_out if hasattr(task, "left_out") else {}
    if asked is not None:
        memory.lm = asked
    name = task.config.task
    return evaluate(lm=memory, task_dict={"tasks": {name: task}}, bootstrap_iters=10,
                    samples=samples), memory  # fmt: skip


SLOW = {"truthfulqa_mc2"}  # lm-eval loads what it generates and translates with


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in PAIRS]
)
def test_prompts_choices_and_answers_are_those_of_lm_eval(tmp_path, name):
    hub, local = PAIRS[name]
    right = stock(tmp_path, name, [hub])
    if name == "gsm8k":  # its length is lm-eval's default, named
        right.config.generation_kwargs["max_gen_toks"] = 256
    found = ours(tmp_path, name, [local or hub], shots=0)
    assert requests_of(found) == requests_of(right)
    assert found.doc_to_target(found.eval_docs[0]) == right.doc_to_target(right.eval_docs[0])
    # a file of the hub's form is read as well, to the same
    assert requests_of(ours(tmp_path, name, [hub], shots=0)) == requests_of(right)


def test_the_same_items_score_as_with_the_stock_definition(tmp_path, lm):
    rows = arc_rows(12)
    hub = [
        {"question": row["query"].removeprefix("Question: "), "answerKey": "AB"[row["gold"]],
         "choices": {"text": row["choices"], "label": ["A", "B"]}}
        for row in rows
    ]  # fmt: skip
    told, _ = run(lm, ours(tmp_path, "arc_easy", rows), tmp_path)
    right, _ = run(lm, stock(tmp_path, "arc_easy", hub), tmp_path)
    for metric in ("acc,none", "acc_norm,none", "acc_stderr,none", "acc_norm_stderr,none"):
        assert told["results"]["arc_easy"][metric] == right["results"]["arc_easy"][metric]
    assert 0 < told["results"]["arc_easy"]["acc,none"] < 1
    assert told["results"]["arc_easy"]["acc_stderr,none"] > 0


def test_examples_are_drawn_by_the_seed_and_never_show_the_item(tmp_path):
    rows = arc_rows(5)
    contexts = [args[0] for args in requests_of(ours(tmp_path, "arc_easy", rows, shots=4))]
    assert len(contexts) == 2 * 5
    for number, context in enumerate(contexts[::2]):
        shown = [f"Which is {i}?" in context.rpartition("Question:")[0] for i in range(5)]
        assert shown == [i != number for i in range(5)]

    def draw(seed):
        task = ours(tmp_path, "arc_easy", rows, shots=2)
        task.set_fewshot_seed(seed)
        task.build_all_requests()
        return [instance.args for instance in task.instances]

    assert draw(1) == draw(1) != draw(2)


def test_examples_can_come_from_another_file_and_are_of_the_same_subject(tmp_path):
    others = put_rows(tmp_path / "dev.jsonl", arc_rows(6, ["anatomy", "history"]))
    task = ours(tmp_path, "mmlu", arc_rows(4, ["history", "anatomy"])[:2], shots=2,
                fewshot_path=others)  # fmt: skip
    for (context, _), subject in zip(requests_of(task)[::4], ("history", "anatomy"), strict=True):
        assert f"about {subject}.\n\n" in context
        odd = subject == "history"
        shown = [i for i in range(6) if f"Number {i}?" in context.rpartition("Number")[0]]
        assert len(shown) >= 2
        assert {i % 2 == 1 for i in shown[-2:]} == {odd}


def test_more_examples_than_rows_are_refused(tmp_path):
    with pytest.raises(InputError, match="arc_easy: 5 shots, and 4 rows"):
        ours(tmp_path, "arc_easy", arc_rows(5), shots=5)


def test_gsm8k_shows_five_examples_unless_told_and_reads_answers_two_ways(tmp_path):
    rows = [{"question": f"What is {i} + 1?", "answer": f"It is.\n#### {i + 1}"} for i in range(7)]
    task = ours(tmp_path, "gsm8k", rows)
    (prompt, asked), *_ = requests_of(task)
    assert prompt.count("Question:") == 6
    assert asked["max_gen_toks"] == 256
    for instance in task.instances:
        instance.resps = [f"They are $ {instance.doc['item'] + 1}, so\n#### {instance.doc['item']}"]
    task.apply_filters()
    strict = [instance.filtered_resps["strict-match"] for instance in task.instances]
    assert strict == [str(i) for i in range(7)]
    scores = task.process_results(task.eval_docs[0], [strict[0]])
    assert scores == {"exact_match": 0.0}
    assert task.process_results(task.eval_docs[0], ["1"]) == {"exact_match": 1.0}


def test_an_item_longer_than_the_context_is_left_out_and_said(tmp_path, lm):
    rows = arc_rows(6)
    rows[2]["choices"] = ["word " * 900, "short"]
    task = ours(tmp_path, "arc_easy", rows, left_out={})
    told, memory = run(lm, task, tmp_path)
    assert list(memory.too_long) == [2]
    assert memory.too_long[2] > lm.max_length == 1_024
    items = task_run.items_of(
        "arc_easy", 0, told["samples"]["arc_easy"], memory.too_long, lm.max_length, {}
    )
    assert [item["item"] for item in items if item["reason"]] == [2]
    assert "the context has 1024" in items[2]["reason"]
    assert items[2]["scores"] == items[2]["log_likelihoods"] == []
    rows = task_run._rows(told["results"]["arc_easy"], task, 0, items)
    assert {(row["n"], row["left_out"]) for row in rows} == {(5, 1)}
    right = [item["scores"][0]["value"] for item in items if item["scores"]]
    assert rows[0]["value"] == pytest.approx(sum(right) / 5)


def test_a_limit_draws_the_same_items_for_every_model():
    assert task_run._chosen(100, None, 1) is task_run._chosen(5, 5, 1) is None
    drawn = task_run._chosen(100, 10, 1)
    assert (
        drawn == sorted(set(drawn)) == task_run._chosen(100, 10, 1) != task_run._chosen(100, 10, 2)
    )


class Counted:
    """The model, which dies after so many requests."""

    def __init__(self, lm, dies_after=10**9):
        self.lm, self.left, self.asked = lm, dies_after, 0
        self.max_length, self.tok_encode, self.max_gen_toks = (
            lm.max_length, lm.tok_encode, lm.max_gen_toks,
        )  # fmt: skip

    def loglikelihood(self, requests, disable_tqdm):
        self.asked += len(requests)
        self.left -= len(requests)
        if self.left < 0:
            raise MemoryError
        return self.lm.loglikelihood(requests, disable_tqdm=disable_tqdm)


def test_what_was_answered_before_a_crash_is_not_asked_again(tmp_path, lm):
    rows = arc_rows(40)
    right, _ = run(lm, ours(tmp_path, "arc_easy", rows), tmp_path / "..")
    with pytest.raises(MemoryError):
        run(lm, ours(tmp_path, "arc_easy", rows), tmp_path, asked=Counted(lm, dies_after=40))
    again = Counted(lm)
    told, _ = run(lm, ours(tmp_path, "arc_easy", rows), tmp_path, asked=again)
    assert again.asked == 80 - 32
    assert told["results"] == right["results"]
    other = RememberedLM(Counted(lm), tmp_path / "answers.sqlite", "another model", 0, lambda n: 0)
    other.loglikelihood([Instance("loglikelihood", {"item": 0}, ("a", " b"), 0)])
    assert other.lm.asked == 1


def test_a_drawn_program_is_drawn_again_the_same_and_each_differs(tmp_path, lm):
    asked = {"until": [], "max_gen_toks": 6, "do_sample": True, "temperature": 1.0, "top_p": 0.95}
    request = Instance("generate_until", {"item": 0}, ("def f(", asked), 0)

    def draw(file, seed):
        memory = RememberedLM(lm, tmp_path / file, "small", seed, lambda n: None)
        lm.seed = seed
        return memory.generate_until([request] * 10)

    first = draw("a", 1)
    assert len(set(first)) > 5
    assert first == draw("b", 1) == draw("a", 1)
    assert first != draw("c", 2)


def test_code_is_executed_in_the_sandbox_and_scored_by_its_tests(tmp_path, lm):
    config = TaskConfig(
        name="humaneval", path=put_rows(tmp_path / "h.jsonl", [HUMANEVAL]), samples=3,
        answer_tokens=8,
    )  # fmt: skip
    program = DEFINITIONS["humaneval"].program
    with opened_judge(program, CodeLimits(), 1) as judge:
        task = load_task(config, 0, tmp_path / "work", {}, judge)
        task.build_all_requests()
        (instance,) = task.instances
        assert instance.args[0] == HUMANEVAL["prompt"]
        assert instance.args[1]["until"] == ["\nclass", "\ndef", "\n#", "\nif", "\nprint"]
        instance.resps = ["    return 2 * x\n", "    return x\n", "    return x\n"]
        task.apply_filters()
        told = task.process_results(task.eval_docs[0], [instance.filtered_resps["none"]])
        assert told == {"pass@1": pytest.approx(1 / 3), "pass@3": 1.0}
        told, _ = run(lm, task, tmp_path)  # the small model's own programs do not pass
    assert told["results"]["humaneval"]["pass@1,none"] == 0.0
    assert len(judge.problems[0]) == 3


def test_mbpp_shows_its_three_examples_and_scores_its_test_split(tmp_path):
    rows = [
        {"task_id": i, "text": f"Write {i}.", "code": f"def f{i}():\n    return {i}",
         "test_list": [f"assert f{i}() == {i}"] * 3, "test_setup_code": "",
         "challenge_test_list": [] if i % 2 else ["assert True"]}
        for i in range(1, 14)
    ]  # fmt: skip
    task = ours(tmp_path, "mbpp", rows)
    assert [row["task_id"] for row in task.eval_docs] == [11, 12, 13]
    prompt = task.fewshot_context(task.eval_docs[0], num_fewshot=3)
    told = [prompt.index(f"task: Write {i}.") for i in (2, 3, 4, 11)]
    assert told == sorted(told)
    assert prompt.count("[DONE]") == 3
    assert prompt.endswith("assert f11() == 11\n[BEGIN]\n")


def test_only_questions_without_an_error_are_of_mmlu_redux(tmp_path):
    rows = [PAIRS["mmlu"][1] | {"error_type": kind} for kind in ("ok", "wrong_groundtruth", "ok")]
    path = Path(put_rows(tmp_path / "redux.jsonl", rows))
    kept = read_benchmark(path, (), DEFINITIONS["mmlu_redux"].turn)
    assert [row["item"] for row in kept] == [0, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "has no rows"), ("{", "cannot be read"), ('{"query": "Q?", "gold": 9}', "row 1 is not"),
     ('{"query": "Question: Q?", "choices": ["a"], "gold": 1}', "row 1 is not"),
     ('{"question": "Q?"}', "answerKey")],
)  # fmt: skip
def test_files_that_are_not_of_the_task_are_refused_by_name(tmp_path, content, said):
    path = tmp_path / "wrong.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=said) as refused:
        read_benchmark(path, ("answerKey",), DEFINITIONS["arc_easy"].turn)
    assert "wrong.jsonl" in str(refused.value)


def test_a_damaged_or_hopelessly_nested_file_is_one_line_too(tmp_path):
    whole = gzip.compress(b'{"question": "Q?", "answerKey": "A"}\n' * 50, mtime=0)
    damaged = tmp_path / "damaged.jsonl.gz"
    damaged.write_bytes(whole[:10] + b"\xff" * 8 + whole[18:])
    nested = tmp_path / "nested.jsonl"
    nested.write_text("[" * 200_000 + "]" * 200_000)
    for path in (damaged, nested):
        with pytest.raises(InputError, match="cannot be read"):
            read_benchmark(path, (), None)


def test_every_task_can_be_named_in_a_recipe_and_is_defined():
    names = TaskConfig.model_fields["name"].annotation.__args__
    assert sorted(names) == sorted(DEFINITIONS)
    for definition in DEFINITIONS.values():
        assert (STOCK / definition.stock).is_file()
    assert json.dumps(TasksConfig.model_json_schema())
