"""Stage 9 on a real run: the card says what the manifests say, and "unknown" where they do not."""

import dataclasses
import json
import re
import shutil
from collections import Counter

import mlcroissant
import pytest
from huggingface_hub import DatasetCard
from small_run import SAMPLES, UNTIL_HANDOFF, copy_run, small_recipe, small_run

from pipeline.arms import ARMS
from pipeline.card import STAGE, CardConfig, render_card
from pipeline.errors import StageError
from pipeline.manifest import hash_file
from pipeline.records import read_rows
from pipeline.step import make_plan, run_step

NOTHING_SAID = re.compile(r"\b(None|nan|TODO|FIXME|undefined|N/A|null)\b|\{\{|\{%")


def needs():
    return {name: small_run()[name] for name in STAGE.needs}


def changed(stage, **updates):
    """What the card reads, with other facts of one stage."""
    sealed = needs()[stage]
    facts = {**sealed.facts, **updates}
    manifest = sealed.manifest.model_copy(update={"facts": facts})
    return {**needs(), stage: dataclasses.replace(sealed, manifest=manifest)}


def section(text, title):
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def table(text):
    """The rows of a Markdown table below its head, as lists of cells."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in rows[2:]]


@pytest.fixture(scope="module")
def readme():
    return small_run()["card"].file("README.md").read_text()


def arm(name):
    return list(read_rows(small_run()["decontaminate"].files(f"arms/{name}/*.parquet")))


def test_the_head_is_read_back_and_its_files_are_there(readme):
    head = DatasetCard(readme).data.to_dict()
    assert head["license"] == "unknown"
    assert head["size_categories"] == ["n<1K"]
    names = [c["config_name"] for c in head["configs"]]
    assert names == ["raw", "kept", "kept_synthetic", "random"]
    assert [c.get("default", False) for c in head["configs"]] == [False, False, True, False]
    run = small_run()["card"].path.parent
    for name, config in zip(ARMS, head["configs"], strict=True):
        assert list(read_rows(sorted(run.glob(config["data_files"])))) == arm(name)


@pytest.mark.parametrize(
    "title", ["A: 'title' # with \"signs\"", "- yes", "123", "名 🙂", "{braces} & [lists] | pipes"]
)
def test_a_title_comes_back_from_the_head_as_it_was(title):
    text = render_card(needs(), CardConfig(title=title, licence="apache-2.0"))
    head = DatasetCard(text).data.to_dict()
    assert (head["pretty_name"], head["license"]) == (title, "apache-2.0")
    assert f"\n# {title}\n" in text


@pytest.mark.parametrize(
    ("documents", "size"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (99_999, "10K<n<100K"), (2_000_000, "1M<n<10M")],
)
def test_the_size_is_that_of_the_largest_arm(documents, size):
    counts = {"raw": documents, "kept": 1, "kept+synthetic": 2}
    text = render_card(changed("decontaminate", documents_by_arm=counts), CardConfig())
    assert DatasetCard(text).data.size_categories == [size]


def test_every_row_of_the_journey_is_the_ledger_s(readme):
    rows = table(section(readme, "How it was made"))
    assert [row[0] for row in rows] == list(STAGE.needs)
    for row, sealed in zip(rows, needs().values(), strict=True):
        ledger = sealed.ledger
        assert row[1:4] == [ledger.unit, str(ledger.rows_in), str(ledger.kept)]
        for cell, reasons in ((row[4], ledger.dropped), (row[5], ledger.failed)):
            told = {r: int(n) for r, n in re.findall(r"(\w+) (\d+)", cell)}
            assert told == {r: n for r, n in reasons.items() if n}


def test_a_licence_that_nobody_knows_is_told_as_unknown(readme):
    told = {row[0]: [int(n) for n in row[1:]] for row in table(section(readme, "Licences"))}
    counts = [Counter(row["licence"] or "unknown" for row in arm(name)) for name in ARMS]
    assert told == {name: [c[name] for c in counts] for name in ("PSF-2.0", "unknown")}
    assert min(told["unknown"]) > 0


def test_it_says_that_no_language_model_labelled_or_wrote(readme):
    assert readme.count("rule-based stand-in, not an LLM") >= 3  # labels, twice, and writing
    rules = "Labels and synthetic text come from rules, not from a language model."
    assert rules in section(readme, "Limits")
    hosted = changed("label", annotator="a-model", annotator_is_llm=True)
    said = render_card(hosted, CardConfig())
    assert rules not in said
    assert "say nothing of what a language model" not in said


def test_benchmarks_and_what_they_took_out_are_told_and_their_absence_too(readme):
    (row,) = table(section(readme, "Benchmarks kept out"))
    assert row[:3] == ["one-sentence", "1", "1"]
    assert "No benchmark was checked." not in readme
    unchecked = render_card(changed("decontaminate", hits={}), CardConfig())
    assert "No benchmark was checked." in section(unchecked, "Limits")


def test_figures_of_the_filter_and_the_arms_are_those_of_the_manifests(readme):
    (row,) = table(section(readme, "Filter"))
    facts = small_run()["train-filter"].facts
    assert row[:3] == [f"{facts[name]:.3f}" for name in ("precision", "recall", "pr_auc")]
    assert row[6:] == [str(facts["labels_train"]), str(facts["labels_test"])]
    for name, *cells in table(section(readme, "Arms")):
        told = small_run()["tokenize"].facts["arms"][name]
        assert cells[0] == str(told["documents"])
        assert cells[2:4] == [str(told["base_tokens"]), str(told["anneal_tokens"])]
    fingerprints = {row[0]: row[1] for row in table(section(readme, "Reproduce and verify"))}
    assert fingerprints == {n: f"`{s.manifest.fingerprint[:16]}`" for n, s in needs().items()}


def test_drift_is_told_by_stratum_and_so_is_that_nobody_looked(readme):
    said, told = section(readme, "Drift"), small_run()["apply-filter"].facts["drift"]
    assert [row[:4] for row in table(said)] == [
        [s["stratum"], s["verdict"], str(s["reference_documents"]), str(s["documents"])]
        for s in told["strata"]
    ]
    assert f"({told['documents']} in all)" in said
    assert small_run()["card"].file("plots/drift.png").read_bytes().startswith(b"\x89PNG")
    unjudged = {"stratum": "new/web", "verdict": "not judged", "reference_documents": 0,
                "documents": 9, "drifted_columns": 0, "score": None, "columns": []}  # fmt: skip
    few = {**told, "every": 3, "offered": 7, "strata": [unjudged]}
    said = section(render_card(changed("apply-filter", drift=few), CardConfig()), "Drift")
    assert table(said) == [["new/web", "not judged", "0", "9", "0", *["unknown"] * 3]]
    assert "Every document, one in 3 by a hash, that" in said
    assert "7 documents of the strata that drifted or are new" in said
    assert not NOTHING_SAID.search(said)
    unseen = section(render_card(changed("apply-filter", drift=None), CardConfig()), "Drift")
    assert "**not compared**" in unseen
    assert not table(unseen)


def test_nothing_that_is_not_known_shows_as_a_word_of_the_machine(readme):
    assert not NOTHING_SAID.search(readme)
    unknown = changed("train-filter", precision=None, pr_auc=None, brier=None, base_rate=None)
    text = render_card(unknown, CardConfig())
    assert not NOTHING_SAID.search(text)
    assert table(section(text, "Filter"))[0].count("unknown") == 4


def test_a_head_that_does_not_fit_is_refused():
    with pytest.raises(StageError, match=r"card: the card's head is wrong: .*; correct the sec"):
        render_card(needs(), CardConfig.model_construct(title="", summary="x", licence=None))


def test_samples_are_documents_of_their_arm_fenced_against_their_own_fences():
    card, longest = small_run()["card"], 0
    for name in ARMS:
        text = card.file(f"samples/{name}.md").read_text()
        shown = re.findall(r"^## (\w{24})\n\n[^\n]+\n\n(`{3,})text\n(.*?)\n\2\n", text, re.M | re.S)
        texts = {row["doc_id"]: row["text"] for row in arm(name)}
        assert len(shown) == min(SAMPLES, len(texts))
        for doc_id, fence, body in shown:
            assert texts[doc_id].startswith(body)
            assert fence not in body
            longest = max(longest, len(fence))
    assert longest > 3  # some lesson has fences of its own
    for name in ("waterfall", "scores", "labels"):
        assert card.file(f"plots/{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings(
    "ignore:ConjunctiveGraph is deprecated", "ignore:The inplace keyword"
)  # mlcroissant's own
def test_croissant_is_loaded_with_its_records_and_refuses_changed_bytes(tmp_path):
    run = copy_run(tmp_path)
    path = run / "09-card" / "croissant.json"
    dataset = mlcroissant.Dataset(jsonld=str(path))
    assert not dataset.metadata.issues.errors
    assert dataset.metadata.license is None
    arms = small_run()["decontaminate"]
    files = {n: e.sha256 for n, e in arms.manifest.files.items() if n.startswith("arms/")}
    assert {f.id: f.sha256 for f in dataset.metadata.distribution} == files
    name = "arms/kept/00000.parquet"
    rows = list(dataset.records(f"records/{name}"))
    (file,) = arms.files(name)
    texts = [row["text"] for row in read_rows([file])]
    assert [row[f"{name}/text"].decode() for row in rows] == texts
    shutil.copy(run / "07-decontaminate" / "arms" / "raw" / "00001.parquet",
                run / "07-decontaminate" / name)  # fmt: skip
    with pytest.raises(mlcroissant.GenerationError) as refused:
        list(mlcroissant.Dataset(jsonld=str(path)).records(f"records/{name}"))
    assert "is not identical with the reference" in str(refused.value.__cause__)


def test_the_lineage_names_every_artifact_by_its_fingerprint():
    prov = json.loads(small_run()["card"].file("prov.json").read_text())
    by_name = {e["prov:label"]: (key, e) for key, e in prov["entity"].items()}
    assert set(by_name) == set(STAGE.needs)
    for name, sealed in needs().items():
        key, entity = by_name[name]
        assert key == f"primer:{sealed.manifest.fingerprint[:16]}"
        assert entity["primer:fingerprint"] == sealed.manifest.fingerprint
        assert entity["primer:outputs_sha256"] == sealed.manifest.outputs_sha256
    edges = {(d["prov:generatedEntity"], d["prov:usedEntity"])
             for d in prov["wasDerivedFrom"].values()}  # fmt: skip
    needed = [(name, need) for name, s in needs().items() for need in s.manifest.needs]
    assert edges == {(by_name[name][0], by_name[need][0]) for name, need in needed}
    made = {g["prov:entity"]: g["prov:activity"] for g in prov["wasGeneratedBy"].values()}
    assert made == {key: f"primer:run-{name}" for name, (key, _) in by_name.items()}


def test_the_same_manifests_give_the_same_bytes(tmp_path):
    run = copy_run(tmp_path)
    shutil.rmtree(run / "09-card")
    recipe = small_recipe(small_run()["ingest"].path.parents[1] / "benchmark.jsonl")
    again = run_step(make_plan(UNTIL_HANDOFF, recipe, run)["card"])
    assert again.manifest.outputs_sha256 == small_run()["card"].manifest.outputs_sha256
    assert hash_file(again.file("README.md")) == again.manifest.files["README.md"].sha256
