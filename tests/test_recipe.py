import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows.journey import NAMES, STAGES, plan_journey
from flows.recipe import Recipe, dump_recipe, load_recipe, parse_recipe
from pipeline.clean import CleanConfig
from pipeline.errors import InputError

SOURCE = {"name": "here", "address": ".", "kind": "code"}
SMALL = {"name": "small", "ingest": {"sources": [SOURCE]}}


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


def test_a_recipe_survives_being_written_and_read(small):
    recipe = load_recipe(small)
    assert parse_recipe(yaml.safe_load(dump_recipe(recipe))) == recipe


def test_every_section_that_a_stage_sees_is_in_the_recipe(small):
    recipe = load_recipe(small)
    for stage in STAGES:
        for kind in stage.sees:
            assert isinstance(recipe.section(kind), kind)


def test_set_reaches_sections_fields_and_lists(small):
    recipe = load_recipe(
        small, ["seed=5", "clean.copies.max_similarity=0.7", "ingest.sources.0.licence=MIT"]
    )
    assert recipe.seed == 5
    assert recipe.section(CleanConfig).copies.max_similarity == 0.7
    assert recipe.ingest.sources[0].licence == "MIT"


def test_a_recipe_is_frozen(small):
    with pytest.raises(Exception, match="frozen"):
        load_recipe(small).seed = 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "clean.copies.max_similarity=1.5",
            r"clean.copies.max_similarity = 1.5: .*less than 1.*near copies",
        ),
        (
            "clean.copies.max_similarty=0.5",
            r"clean.copies.max_similarty: .*did you mean 'max_similarity'",
        ),
        ("seed=-1", r"seed = -1: .*greater than or equal to 0"),
        ("seed=many", r"seed = 'many': .*valid integer"),
        ("ingest.sources=[]", r"ingest.sources = \[\]: .*at least 1"),
        ("name=No Spaces", r"name = 'No Spaces': .*match pattern"),
        ("clean", r"--set 'clean'; write section.field=value"),
        ("seed.deeper=1", r"recipe: .*seed"),
        ("ingest.sources.7.name=x", r"--set 'ingest.sources.7.name=x'"),
        ("name=[", r"--set 'name=\['"),
    ],
)
def test_a_wrong_recipe_is_one_line_with_field_and_range(small, change, message):
    with pytest.raises(InputError, match=message) as error:
        load_recipe(small, [change])
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [", "\x00", "name: x\n"])
def test_what_is_no_recipe_is_told_so(tmp_path, text):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"^recipe: "):
        load_recipe(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_recipe(tmp_path / "missing.yaml")


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=4))
def test_no_fields_whatever_give_anything_but_a_recipe_or_one_line(fields):
    line = ""
    try:
        assert isinstance(parse_recipe(fields), Recipe)
    except InputError as error:
        line = str(error)
    assert "\n" not in line


def test_until_and_from_name_stages_in_order(small, tmp_path):
    recipe = load_recipe(small, [f"ingest.sources.0.address={tmp_path}"])
    assert list(plan_journey(recipe, tmp_path / "run", until="clean")) == ["ingest", "clean"]
    with pytest.raises(InputError, match=f"choose from {', '.join(NAMES)}"):
        plan_journey(recipe, tmp_path / "run", until="polish")
    with pytest.raises(InputError, match="is after --until"):
        plan_journey(recipe, tmp_path / "run", start="label", until="clean")
    with pytest.raises(InputError, match="01-ingest is not sealed"):
        plan_journey(recipe, tmp_path / "run", start="clean")
