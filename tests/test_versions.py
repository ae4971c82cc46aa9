"""Versions of a dataset: the chain, which files are new, what is linked, what is a copy."""

import os
import random
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from conftest import Bench, Sections, document
from pipeline.clean import STAGE as CLEAN
from pipeline.clean import CleanConfig
from pipeline.copies import CopiesConfig
from pipeline.errors import InputError
from pipeline.increment import (
    IncrementConfig,
    VersionedStage,
    inherited_or,
    link_file,
    outdated_links,
)
from pipeline.ingest import STAGE as INGEST
from pipeline.ingest import IngestConfig, find_new_files
from pipeline.ledger import Ledger
from pipeline.records import read_rows
from pipeline.sources import SourceConfig
from pipeline.stage import Outcome, Stage
from pipeline.step import make_plan, run_step
from pipeline.verify import verify_run
from pipeline.versions import (
    base_name,
    newest_version,
    next_version,
    parent_of,
    version_chain,
    version_number,
)


def put_recipe(run: Path, parent: Path | None = None) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    fields = {"name": run.name, "increment": {"parent": parent and str(parent)}}
    (run / "recipe.yaml").write_text(yaml.safe_dump(fields))
    return run


def test_a_chain_is_followed_by_its_recipes(tmp_path):
    first = put_recipe(tmp_path / "web")
    second = put_recipe(tmp_path / "web-v2", first)
    third = put_recipe(tmp_path / "web-v10", second)
    put_recipe(tmp_path / "web-v11")  # names no parent: another dataset
    (tmp_path / "web-v12").mkdir()  # killed before its recipe was there
    put_recipe(tmp_path / "web-extra-v3", put_recipe(tmp_path / "web-extra"))
    assert version_chain(third) == [third, second, first]
    assert [version_number(run) for run in (first, second, third)] == [1, 2, 10]
    assert newest_version(tmp_path, "web") == third
    assert newest_version(tmp_path, "web-v11") == tmp_path / "web-v11"
    assert newest_version(tmp_path, "nothing") is None
    assert next_version(third) == tmp_path / "web-v11"
    assert next_version(first) == second
    assert base_name(third) == "web"
    assert base_name(tmp_path / "web-v11") == "web-v11"


def test_versions_that_were_moved_together_find_each_other(tmp_path):
    old = tmp_path / "old"
    put_recipe(old / "web-v2", put_recipe(old / "web"))
    shutil.move(old, tmp_path / "new")
    assert parent_of(tmp_path / "new" / "web-v2") == tmp_path / "new" / "web"


def test_a_recipe_that_names_its_own_run_or_is_no_recipe_ends_the_chain(tmp_path):
    run = tmp_path / "web-v2"
    assert version_chain(put_recipe(run, run)) == [run]
    for text in ("", "- a", "increment: 3", "a: [", "increment: {parent: 7}"):
        (run / "recipe.yaml").write_text(text)
        assert parent_of(run) is None


def ingest_of(corpus: Path, tasks: int = 2) -> IngestConfig:
    source = SourceConfig(name="tree", address=str(corpus), kind="code", include=("*.py",))
    return IngestConfig(sources=(source,), tasks=tasks)


def ingested(run: Path, corpus: Path, parent: Path | None = None):
    recipe = Sections({IngestConfig: ingest_of(corpus), IncrementConfig: of(parent)})
    (step,) = make_plan([INGEST], recipe, put_recipe(run, parent)).values()
    return run_step(step)


def of(parent: Path | None) -> IncrementConfig:
    return IncrementConfig(parent=parent)


def paths(sealed) -> list[str]:
    rows = read_rows(sealed.files("documents/*.parquet"), ["url_or_path"])
    return sorted(row["url_or_path"] for row in rows)


def test_only_files_that_no_ancestor_saw_are_read(tmp_path):
    corpus, runs = tmp_path / "corpus", tmp_path / "runs"
    corpus.mkdir()
    for name in "abcd":
        (corpus / f"{name}.py").write_text(f"{name} = 1\n")
    one = ingested(runs / "tree", corpus)
    assert "parent" not in one.facts

    def new_files(parent):
        recipe = Sections({IngestConfig: ingest_of(corpus), IncrementConfig: of(parent)})
        return [file.name for listed in find_new_files(recipe).new for file in listed.files]

    assert new_files(runs / "tree") == []
    os.utime(corpus / "a.py", (1, 1))  # touched, not changed
    assert new_files(runs / "tree") == []
    (corpus / "b.py").write_text("b = 2\n")
    (corpus / "c.py").unlink()
    (corpus / "e.py").write_text("e = 1\n")
    (corpus / "gone.py").symlink_to(corpus / "nowhere")
    assert new_files(runs / "tree") == ["b.py", "e.py", "gone.py"]
    two = ingested(runs / "tree-v2", corpus, runs / "tree")
    assert paths(two) == ["b.py", "e.py"]
    assert two.ledger.failed == {"unreadable": 1}
    assert two.facts["changed_files"] == 1
    assert (two.facts["removed_files"], two.facts["removed_first"]) == (1, ["tree/c.py"])
    # still unreadable is nothing new; what an earlier ancestor read is not read again
    (corpus / "b.py").write_text("b = 1\n")
    (corpus / "c.py").write_text("c = 1\n")
    assert new_files(runs / "tree-v2") == []
    (corpus / "gone.py").unlink()
    (corpus / "gone.py").write_text("gone = 0\n")
    three = ingested(runs / "tree-v3", corpus, runs / "tree-v2")
    assert paths(three) == ["gone.py"]
    assert three.facts["removed_files"] == 0
    assert Ledger.from_json(three.facts["parent"]["before"]).rows_in == 4 + 3
    assert verify_run(runs / "tree-v3") == []


def test_a_version_without_new_files_is_refused_and_seals_nothing(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.py").write_text("a = 1\n")
    ingested(tmp_path / "tree", corpus)
    with pytest.raises(InputError, match=r"no source has a file that .*tree has not seen"):
        ingested(tmp_path / "tree-v2", corpus, tmp_path / "tree")
    assert not (tmp_path / "tree-v2" / "01-ingest").exists()


def test_a_parent_of_before_there_were_versions_is_refused(tmp_path):
    bench = Bench(tmp_path / "old")
    bench.put_documents(1, "ingest", [document("x = 1\n")])
    recipe = Sections({}, 7)
    for step in make_plan(bench.stages, recipe, bench.run).values():
        run_step(step)
    (tmp_path / "a.py").write_text("a = 1\n")
    with pytest.raises(InputError, match="an earlier Primer made it"):
        ingested(tmp_path / "old-v2", tmp_path, bench.run)


def counting(paid: list[str]) -> VersionedStage:
    """A stage that is inherited by its name, and says when it works."""

    def work(place):
        paid.append(place.run.name)
        (place.out / "labels.txt").write_text(place.run.name)
        return Outcome(Ledger("rows", 3, 2, {"bad": 1}), {"annotator": "somebody"})

    return VersionedStage(
        3, "label", 1, (), ("labels.txt",), (CleanConfig, IncrementConfig), inherited_or(work)
    )


def seal(stage: Stage, run: Path, parent: Path | None = None):
    recipe = Sections({IncrementConfig: of(parent)})
    (step,) = make_plan([stage], recipe, put_recipe(run, parent)).values()
    return step, run_step(step)


def test_an_inherited_stage_is_linked_and_does_no_work(tmp_path):
    paid: list[str] = []
    stage, runs = counting(paid), [tmp_path / name for name in ("d", "d-v2", "d-v3")]
    first = seal(stage, runs[0])[1]
    for parent, run in pairwise(runs):
        sealed = seal(stage, run, parent)[1]
        assert sealed.file("labels.txt").samefile(first.file("labels.txt"))
        assert sealed.ledger == first.ledger
        assert sealed.manifest.spend is None
        assert sealed.facts["annotator"] == "somebody"
        assert sealed.facts["inherited_from"]["run"] == "d"
        assert sealed.facts["parent"]["run"] == parent.name
        assert verify_run(run) == []
    assert paid == ["d"]


def test_a_recipe_without_a_parent_has_the_fingerprint_of_before(tmp_path):
    stage = counting([])
    plain = Stage(3, "label", 1, (), ("labels.txt",), (CleanConfig,), stage.work)
    recipe = Sections({})
    prints = [make_plan([s], recipe, tmp_path)["label"].fingerprint for s in (plain, stage)]
    assert prints[0] == prints[1]


def test_a_parent_that_was_made_anew_makes_the_version_stale(tmp_path):
    stage = counting([])
    seal(stage, tmp_path / "d")
    step, sealed = seal(stage, tmp_path / "d-v2", tmp_path / "d")
    assert (step.state, outdated_links(sealed.manifest, tmp_path / "d")) == ("sealed", [])
    seal(replace(stage, version=2), tmp_path / "d")
    again = make_plan([stage], step.recipe, step.run)["label"]
    assert again.state == "stale"
    assert outdated_links(sealed.manifest, tmp_path / "d") == ["label"]
    (problem,) = verify_run(tmp_path / "d-v2")
    assert "grew from another label than the one sealed in" in problem
    shutil.rmtree(tmp_path / "d" / "03-label")
    assert "grew from another label" in verify_run(tmp_path / "d-v2")[0]
    with pytest.raises(InputError, match="has no sealed label"):
        make_plan([stage], step.recipe, step.run)


def test_a_flipped_byte_of_the_parent_shows_in_both(tmp_path):
    stage = counting([])
    seal(stage, tmp_path / "d")
    seal(stage, tmp_path / "d-v2", tmp_path / "d")
    with (tmp_path / "d" / "03-label" / "labels.txt").open("r+") as file:
        file.write("X")
    for run in ("d", "d-v2"):
        assert "its bytes are not what was sealed" in verify_run(tmp_path / run)[0]


def test_where_files_cannot_be_linked_they_are_copied(tmp_path):
    elsewhere = Path("/dev/shm")  # noqa: S108
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to link to")
    source, target = tmp_path / "a", elsewhere / f"primer-{os.getpid()}" / "b"
    source.write_text("text")
    try:
        link_file(source, target)
        target.write_text("half")  # of a try that was killed
        link_file(source, target)
        assert (target.read_text(), source.read_text()) == ("text", "text")
    finally:
        shutil.rmtree(target.parent, ignore_errors=True)


def program(seed: int, changed: int = 0) -> str:
    rng = random.Random(seed)
    names = [f"name_{rng.randrange(500)}" for _ in range(60)]
    names[:changed] = [f"other_{i}" for i in range(changed)]
    return "".join(f"{name} = compute({i}, '{name}')\n" for i, name in enumerate(names))


def cleaned(run: Path, rows, parent: Path | None = None, config: CleanConfig | None = None):
    """Two files of ingest, and the real stage over them."""
    bench = Bench(put_recipe(run, parent))
    bench.put_documents(1, "ingest", rows)
    return bench.make(CLEAN, config or CleanConfig(workers=1, examples=2), of(parent))


def kept(sealed) -> list[str]:
    rows = read_rows(sealed.files("documents/*.parquet"), ["url_or_path"])
    return [row["url_or_path"] for row in rows]


def dropped(sealed) -> dict[str, str]:
    return {r["doc_id"]: r["reason"] for r in read_rows([sealed.file("dropped.parquet")])}


@pytest.mark.long
def test_copies_of_earlier_versions_are_dropped_and_told_apart(tmp_path):
    first = [document(program(i), f"first/{i}.py") for i in range(4)]
    second = [
        document(program(0).replace(" = ", "  =  "), "second/same.py"),
        document(program(1, changed=1), "second/alike.py"),
        document(program(9), "second/new.py"),
        document(program(9), "second/twice.py"),
    ]
    one = cleaned(tmp_path / "d", first)
    assert not [name for name in one.manifest.files if name.startswith("sketches")]
    two = cleaned(tmp_path / "d-v2", second, tmp_path / "d")
    assert kept(two) == ["second/new.py"]
    ids = [row["doc_id"] for row in second]
    earlier = "copy_of_earlier_version"
    assert dropped(two) == {ids[0]: earlier, ids[1]: earlier, ids[3]: "exact_copy"}
    assert two.ledger == Ledger("documents", 4, 1, {earlier: 2, "exact_copy": 1})
    survivors = {r["doc_id"]: r["survivor"] for r in read_rows([two.file("copies.parquet")])}
    assert survivors[ids[0]] == first[0]["doc_id"]
    # copies of what the first and of what the second version kept
    third = [
        document(program(2, changed=1), "third/of_first.py"),
        document(program(9, changed=1), "third/of_second.py"),
        document(program(7), "third/new.py"),
    ]
    three = cleaned(tmp_path / "d-v3", third, tmp_path / "d-v2")
    assert kept(three) == ["third/new.py"]
    assert set(dropped(three).values()) == {earlier}
    assert Ledger.from_json(three.facts["parent"]["before"]).kept == 4 + 1
    linked = two.files("sketches/*")
    assert linked
    assert all(path.samefile(three.path / path.relative_to(two.path)) for path in linked)
    assert verify_run(tmp_path / "d-v3") == []


def test_no_score_puts_a_new_document_in_the_place_of_an_earlier_one(tmp_path):
    config = CleanConfig(workers=1, examples=0, copies=CopiesConfig(survivor="highest_score"))
    cleaned(tmp_path / "d", [document(program(1), "a.py", metadata='{"score": 1}')], None, config)
    new = [
        document(program(1), "b.py", metadata='{"score": 9}'),
        document(program(2), "low.py", metadata='{"score": 1}'),
        document(program(2), "high.py", metadata='{"score": 2}'),
    ]
    two = cleaned(tmp_path / "d-v2", new, tmp_path / "d", config)
    assert kept(two) == ["high.py"]
    assert dropped(two)[new[0]["doc_id"]] == "copy_of_earlier_version"


def test_a_version_whose_documents_are_all_copies_is_whole(tmp_path):
    rows = [document(program(1), "a.py")]
    cleaned(tmp_path / "d", rows)
    two = cleaned(tmp_path / "d-v2", [document(program(1), "b.py")], tmp_path / "d")
    assert two.ledger == Ledger("documents", 1, 0, {"copy_of_earlier_version": 1})
    three = cleaned(tmp_path / "d-v3", [document(program(3), "c.py")], tmp_path / "d-v2")
    assert kept(three) == ["c.py"]


@pytest.mark.long
def test_of_a_store_only_new_and_changed_objects_are_read(store, tmp_path):
    def put(**objects):
        for name, text in objects.items():
            with store.open(f"corpus/{name}.py", "w") as file:
                file.write(text)

    def read(run, parent=None):
        source = SourceConfig(name="bucket", address="s3://corpus", kind="code", include=("*.py",))
        config = IngestConfig(sources=(source,), tasks=1)
        store.invalidate_cache()
        recipe = Sections({IngestConfig: config, IncrementConfig: of(parent)})
        (step,) = make_plan([INGEST], recipe, put_recipe(run, parent)).values()
        return run_step(step)

    put(a="a = 1\n", b="b = 1\n")
    read(tmp_path / "d")
    put(b="b = 22\n", c="c = 1\n")
    store.rm("corpus/a.py")
    two = read(tmp_path / "d-v2", tmp_path / "d")
    assert paths(two) == ["b.py", "c.py"]
    assert (two.facts["changed_files"], two.facts["removed_first"]) == (1, ["bucket/a.py"])
    with pytest.raises(InputError, match="not seen"):
        read(tmp_path / "d-v3", tmp_path / "d-v2")
