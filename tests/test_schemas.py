"""What is exported for others stays in step with the code."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from downstream.results_schema import results_schema
from flows.recipe import load_recipe, recipe_schema
from pipeline.handoff_record import handoff_schema

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize(
    ("what", "file", "schema"),
    [
        ("recipe", "recipes/recipe.schema.json", recipe_schema),
        ("handoff", "docs/handoff.schema.json", handoff_schema),
        ("results", "docs/results.schema.json", results_schema),
    ],
)
def test_the_exported_schemas_are_the_code_s(what, file, schema):
    exported = (ROOT / file).read_text()
    assert exported == schema(), f"run: primer schema --of {what} > {file}"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_fits_the_schema(path):
    load_recipe(path)
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(recipe_schema()))


def test_every_field_of_every_section_says_what_it_is():
    for name, section in json.loads(recipe_schema())["$defs"].items():
        for field, described in section.get("properties", {}).items():
            assert described.get("description"), f"{name}.{field} has no description"
