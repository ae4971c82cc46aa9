"""`primer append`: three real versions in a row, what each takes over, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_versions import LIBRARY, THIRD, seal, version, versions

from flows.append import append_version, plan_version
from flows.recipe import load_recipe
from pipeline.arms import ARMS
from pipeline.changes import changes_since_parent
from pipeline.errors import InputError
from pipeline.ledger import Ledger
from pipeline.records import read_rows
from pipeline.splits import ValidationConfig, in_validation
from pipeline.verify import sealed_stages, verify_run
from pipeline.versions import newest_version, version_chain

INHERITED = ("label", "train-filter", "synthesize")
CURATED = ("ingest", "clean", "label", "train-filter", "apply-filter", "synthesize",
           "decontaminate", "tokenize")  # fmt: skip

pytestmark = pytest.mark.long


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """The second version of a copy of the runs: tests may damage it. Its parent lies beside it."""
    shutil.copytree(versions() / "runs", tmp_path / "runs")
    return tmp_path / "runs" / "small-v2"


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The first version alone, in a copy; the corpus holds what arrived since."""
    shutil.copytree(versions() / "runs-v1", tmp_path / "runs")
    return tmp_path / "runs" / "small"


def ids(files) -> list[str]:
    return [row["doc_id"] for row in read_rows(files, ["doc_id"])]


def changes(number: int) -> dict:
    stages = version(number)
    return changes_since_parent({name: stages[name] for name in CURATED})


@pytest.mark.parametrize("number", [2, 3])
def test_arms_are_those_of_the_parent_and_what_is_new_and_kept(number):
    old, new = version(number - 1), version(number)
    added = {
        "raw": ids(new["clean"].files("documents/*.parquet")),
        "kept": ids(new["apply-filter"].files("kept/*.parquet")),
    }
    leaked = set(ids([new["decontaminate"].file("hits.parquet")]))
    added["kept+synthetic"] = added["kept"]
    for arm in ARMS:
        before, after = (v["decontaminate"].files(f"arms/{arm}/*.parquet") for v in (old, new))
        assert all(a.samefile(b) for a, b in zip(before, after, strict=False))
        rest = ids(after[len(before) :])
        if arm == "random":
            assert set(rest) <= set(added["raw"])
        else:
            assert rest == [doc_id for doc_id in added[arm] if doc_id not in leaked]
        assert len(set(ids(after))) == len(ids(after))
        facts = new["decontaminate"].facts["documents_by_arm"]
        assert facts[arm] == len(ids(after))


@pytest.mark.parametrize("number", [2, 3])
def test_labels_and_filter_cost_nothing_and_are_the_parents_files(number):
    run = versions() / "runs" / f"small-v{number}"
    assert not (run / "answers.sqlite").exists()  # nobody was asked
    for name in INHERITED:
        new, old = version(number)[name], version(1)[name]
        assert new.manifest.spend is None
        assert new.ledger == old.ledger
        assert new.manifest.outputs_sha256 == old.manifest.outputs_sha256
        assert new.facts["inherited_from"]["run"] == "small"
        assert all(new.file(f).samefile(old.file(f)) for f in old.manifest.files)
    spent = version(number)["label"].facts["inherited_from"]["spend"]
    assert spent["calls"] == version(1)["label"].manifest.spend.calls > 0


def test_only_new_documents_are_scored_and_every_document_has_a_score():
    for number in (2, 3):
        stages = version(number)
        new = ids(stages["clean"].files("documents/*.parquet"))
        scores = stages["apply-filter"].files("scores/*.parquet")
        assert ids([path for path in scores if path.parent.name == "scores"]) == new
        human = ids(stages["decontaminate"].files("arms/raw/*.parquet"))
        assert set(human) <= set(ids(scores))
        assert len(set(ids(scores))) == len(ids(scores))
        assert stages["apply-filter"].ledger.rows_in == len(new)


def test_tokenizer_and_validation_set_are_pinned_and_nothing_held_out_is_trained_on():
    for number in (2, 3):
        new, old = version(number)["tokenize"], version(1)["tokenize"]
        for name in ("tokenizer.json", "val/documents.parquet"):
            assert new.file(name).samefile(old.file(name))
        assert new.facts["tokenizer"] == "inherited"
        assert new.facts["end_of_text"] == old.facts["end_of_text"]
        arms = version(number)["decontaminate"].files("arms/raw/*.parquet")
        config = ValidationConfig(share=0.1, max_bytes=10_000)
        out = sum(in_validation(row["group"], 7, config) for row in read_rows(arms, ["group"]))
        pinned = new.facts["validation_documents"]
        assert new.ledger.dropped["held_out_not_used"] == out - pinned


def test_the_changed_the_removed_and_the_copied_file():
    ingested, cleaned = version(2)["ingest"], version(2)["clean"]
    assert ingested.facts["changed_files"] == 2  # a source of code and one of docstrings
    assert ingested.facts["removed_first"] == ["code/html/entities.py", "docs/html/entities.py"]
    read = {row["url_or_path"] for row in read_rows(ingested.files("documents/*.parquet"))}
    assert {"json/tool.py", "json/copied.py"} <= read
    assert not read & {"json/decoder.py", "html/entities.py"}
    removed = [row["url_or_path"] for row in read_rows(
        version(2)["decontaminate"].files("arms/raw/*.parquet")) if "entities" in
        row["url_or_path"]]  # fmt: skip
    assert removed  # what was taken in stays
    assert cleaned.ledger.dropped["copy_of_earlier_version"] >= 2
    assert version(3)["ingest"].facts["removed_files"] == 0


def test_every_version_verifies_and_knows_its_chain():
    runs = versions() / "runs"
    for run in (runs / "small", runs / "small-v2", runs / "small-v3"):
        assert verify_run(run) == []
    chain = version_chain(runs / "small-v3")
    assert [run.name for run in chain] == ["small-v3", "small-v2", "small"]


def test_what_changed_adds_up():
    stages = version(1)
    assert changes_since_parent({name: stages[name] for name in CURATED}) == {"parent": None}
    for number in (2, 3):
        told = changes(number)
        json.dumps(told)
        assert told["parent"]["run"] == version(number - 1)["ingest"].path.parent.name
        for row in told["stages"]:
            if row["new"] is not None:
                parts = [Ledger(**row["new"]), Ledger(**row["before"])]
                assert Ledger.total(row["all"]["unit"], parts) == Ledger(**row["all"])
            assert (row["inherited_from"] == "small") == (row["stage"] in INHERITED)
        raw = version(number)["decontaminate"].files("arms/raw/*.parquet")
        licences = Counter(r["licence"] or "unknown" for r in read_rows(raw, ["licence"]))
        assert {name: n["all"] for name, n in told["licences"].items()} == dict(licences)
        assert told["documents_by_arm"]["raw"]["all"] == licences.total()
        share = told["kept_share"]
        assert min(share["new"], share["before"]) <= share["all"]
        assert share["all"] <= max(share["new"], share["before"])
    assert changes(2)["contamination"]["hits"]["one-sentence"] == {"new": 0, "all": 1}
    assert changes(2)["tokens"]["by_arm"]["raw"]["now"] > 0
    strata = {s["stratum"]: s["documents"] for s in changes(2)["drift"]["strata"]}
    assert strata["code/code"] == sum(
        row["kind"] == "code" for row in read_rows(version(2)["clean"].files("documents/*"))
    )


def test_nothing_new_makes_nothing(grown, caplog):
    runs = grown.parent
    before = sorted(runs.iterdir())
    with caplog.at_level("INFO", logger="primer"):
        assert append_version(grown) is None  # of any version: the newest is looked at
    assert "small: no new files, nothing to do" in caplog.text
    assert sorted(runs.iterdir()) == before


def test_a_version_that_was_begun_is_finished_before_another(first):
    recipe, run = plan_version(first)
    assert run.name == "small-v2"
    seal(recipe, run)
    shutil.rmtree(run / "10-handoff")
    again = plan_version(first)
    assert again == (recipe, run)
    (run / "05-apply-filter").rename(run / "05-apply-filter.lost")
    assert plan_version(run) == (recipe, run)


def test_what_a_version_takes_over_may_not_be_asked_for_anew(first):
    for change in ("label.sample_size=150", "seed=8", "validation.share=0.2",
                   "train_filter.trees=30", "tokenize.vocabulary=500",
                   "synthesize.textbooks=3", "decontaminate.ngram_words=9"):  # fmt: skip
        with pytest.raises(InputError, match="differs from the parent's") as refused:
            plan_version(first, [change])
        assert change.split(".")[0].split("=")[0] in str(refused.value)
    allowed = ["label.review_size=50", "clean.workers=2", "card.samples=6",
               "tokenize.budget_tokens=20000", "increment.synthesize=true",
               "synthesize.textbooks=3"]  # fmt: skip
    recipe, _ = plan_version(first, allowed)
    assert recipe.synthesize.textbooks == 3


def test_a_parent_that_does_not_verify_is_refused_in_one_line(first):
    with next(first.glob("07-decontaminate/arms/raw/*.parquet")).open("r+b") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="does not verify") as refused:
        plan_version(first)
    assert "\n" not in str(refused.value)
    assert sorted(path.name for path in first.parent.iterdir()) == ["small"]
    shutil.rmtree(first / "08-tokenize")
    with pytest.raises(InputError, match="is not sealed up to tokenize: tokenize is missing"):
        plan_version(first)


def test_other_benchmarks_are_refused(first):
    recipe, run = plan_version(first)
    path = Path(recipe.decontaminate.benchmarks[0].path)
    text = path.read_text()
    path.write_text(text + json.dumps({"text": "Another sentence that nobody searched for."}))
    try:
        with pytest.raises(InputError, match="the benchmarks' files are not those"):
            seal(recipe, run)
    finally:
        path.write_text(text)
    assert not (run / "01-ingest").exists()


def test_a_version_verifies_against_its_parent(grown, tmp_path):
    arm = next(grown.glob("07-decontaminate/arms/kept/00000.parquet"))
    assert verify_run(grown) == []
    ingested = grown.parent / "small" / "01-ingest"
    shutil.move(ingested, tmp_path / "away")
    (problem, *_) = verify_run(grown)
    assert "grew from another ingest than the one sealed in" in problem
    shutil.move(tmp_path / "away", ingested)
    rows = pq.read_table(arm)
    arm.unlink()
    pq.write_table(rows.slice(1), arm)
    assert any("its bytes are not what was sealed" in line for line in verify_run(grown))


def test_a_version_may_keep_nothing_new(first, tmp_path):
    """Its only new file is too short to be kept; files come from another corpus than before."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "short.py").write_text("x = 1\n")
    recipe, run = plan_version(first, [f"ingest.sources.0.address={corpus}",
                                       f"ingest.sources.1.address={corpus}"])  # fmt: skip
    stages = seal(recipe, run)
    assert stages["clean"].ledger.kept == stages["apply-filter"].ledger.rows_in == 0
    told = changes_since_parent({name: stages[name] for name in CURATED})
    assert told["kept_share"]["new"] is None
    assert told["documents_by_arm"]["raw"]["new"] == 0
    assert verify_run(run) == []


@pytest.mark.slow
def test_new_lessons_are_written_where_the_recipe_asks(first, tmp_path):
    for module in sorted(LIBRARY.glob("[b-t]*.py")):
        (tmp_path / "corpus").mkdir(exist_ok=True)
        shutil.copy(module, tmp_path / "corpus")
    moved = [f"ingest.sources.{i}.address={tmp_path / 'corpus'}" for i in (0, 1)]
    recipe, run = plan_version(first, ["increment.synthesize=true", *moved])
    stages, old = seal(recipe, run), sealed_stages(first)
    assert "inherited_from" not in stages["synthesize"].facts
    assert stages["synthesize"].manifest.spend.calls > 0
    assert stages["label"].manifest.spend is None
    arm = read_rows(stages["decontaminate"].files("arms/kept+synthetic/*.parquet"))
    texts = [row["text"] for row in arm if row["origin"] == "synthetic"]
    accepted = [sum(facts["accepted"].values()) for facts in
                (stages["synthesize"].facts, old["synthesize"][1].facts)]  # fmt: skip
    assert len(texts) == len(set(texts)) == sum(accepted)
    assert verify_run(run) == []


def primer(runs: Path, *arguments: str, home: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", "from flows.main import primer; primer()", *arguments],
        env={**os.environ, "PRIMER_RUNS": str(runs), "PREFECT_HOME": str(home)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_command_is_killed_and_goes_on_with_the_same_version(first, tmp_path):
    undisturbed = shutil.copytree(first.parent, tmp_path / "undisturbed")
    wanted = seal(*plan_version(undisturbed / "small"))
    runs, home = first.parent, tmp_path / "prefect"
    dry = primer(runs, "append", "small", "--dry-run", home=home)
    out, _ = dry.communicate(timeout=100)
    assert dry.returncode == 0
    for shown in ("version small-v2", f"new: code/{THIRD[0]}/", "nothing to ask"):
        assert shown in out
    assert not (runs / "small-v2").exists()
    killed = primer(runs, "append", "small", "--until", "tokenize", home=home)
    try:
        end = time.monotonic() + 400
        while not (runs / "small-v2" / "05-apply-filter").exists():
            assert killed.poll() is None, killed.communicate()
            assert time.monotonic() < end
            time.sleep(0.01)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
    assert not (runs / "small-v2" / "08-tokenize").exists()
    resumed = primer(runs, "append", "small", "--until", "tokenize", home=home)
    out, _ = resumed.communicate(timeout=200)
    assert resumed.returncode == 0, out
    assert "version 2, grown from" in out
    assert newest_version(runs, "small") == runs / "small-v2"
    assert load_recipe(runs / "small-v2" / "recipe.yaml").increment.parent == runs / "small"
    made = sealed_stages(runs / "small-v2")
    for name in CURATED:
        assert made[name][1].fingerprint == wanted[name].manifest.fingerprint
        assert made[name][1].outputs_sha256 == wanted[name].manifest.outputs_sha256
    assert verify_run(runs / "small-v2") == []
