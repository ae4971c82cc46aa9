"""A copy of the small run whose dataset is offered, approved and started, for tests of the handoff.

Nothing is pretended: the dataset is verified and shown each time, and the journal is a real one.
"""

from small_run import copy_run, small_recipe, small_run

from flows.advance import InProcess, advance
from flows.recipe import load_recipe
from flows.run import write_recipe
from pipeline.approval import Decision, decide
from pipeline.handoff_journal import read_journal
from pipeline.offer import request_handoff
from pipeline.training_config import TrainingConfig

YES = Decision(decision="approve", by="Ada", reason="the card convinced me")


def make_run(place):
    """A copy of a real run up to its handoff, with its recipe."""
    copied = copy_run(place)
    benchmark = small_run()["ingest"].path.parents[1] / "benchmark.jsonl"
    write_recipe(small_recipe(benchmark), copied)
    return copied


def recipe_of(run, **training):
    recipe = load_recipe(run / "recipe.yaml")
    changed = recipe.model_copy(update={"training": TrainingConfig.model_validate(training)})
    write_recipe(changed, run)
    return changed


def offered(run, **training):
    """The recipe of a run whose handoff waits."""
    recipe = recipe_of(run, **training)
    request_handoff(run, by="Bo")
    assert advance(recipe, run, InProcess()).state == "waiting"
    return recipe


def started(run, **training):
    """The recipe of a run whose training was started, by nobody unless a trigger is given."""
    recipe = offered(run, **training)
    decide(run, YES)
    advance(recipe, run, InProcess())
    return recipe


def states(run):
    return [entry.state for entry in read_journal(run)]
