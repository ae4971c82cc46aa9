"""Stage 9 on a real run: the card says what the manifests say, and "unknown" where they do not."""

import dataclasses
import json
import re
import shutil
from collections import Counter

import pytest
from card_reading import changed, needs, parts, rendered, section, tables, told
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st
from small_run import SAMPLES, UNTIL_HANDOFF, copy_run, small_recipe, small_run

from pipeline.arms import ARMS
from pipeline.card import STAGE, CardConfig
from pipeline.card_data import CONFIGS
from pipeline.card_tables import cells_of, fenced, plain, table
from pipeline.card_text import render_card
from pipeline.card_words import annotation, demographics, platform, privacy
from pipeline.datasheet import answer_questions, read_datasheet, render_datasheet
from pipeline.manifest import hash_file
from pipeline.records import read_rows
from pipeline.splits import in_validation
from pipeline.step import make_plan, run_step

NOTHING_SAID = re.compile(r"\b(None|nan|TODO|FIXME|undefined|N/A|null)\b|\{\{|\{%")


@pytest.fixture(scope="module")
def readme():
    return small_run()["card"].file("README.md").read_text()


def arm(name):
    return list(read_rows(small_run()["decontaminate"].files(f"arms/{name}/*.parquet")))


def published(part):
    return list(read_rows(small_run()["card"].files(f"data/{part}/*.parquet")))


def test_train_splits_are_the_arms_without_held_out_groups_and_validation_is_those():
    held_out = small_recipe(small_run()["ingest"].path).validation
    seed = small_run()["card"].manifest.seed
    for name, config in zip(ARMS, CONFIGS, strict=True):
        rest = [r for r in arm(name) if not in_validation(r["group"], seed, held_out)]
        assert published(f"{config}/train") == rest
    held = [r for r in arm("raw") if in_validation(r["group"], seed, held_out)]
    assert published("validation") == held
    assert held


def test_the_head_tells_of_files_and_sizes_that_are_there(readme):
    head = DatasetCard(readme).data.to_dict()
    assert head["license"] == "unknown"
    assert head["language"] == ["en", "code"]
    assert head["multilinguality"] == ["monolingual"]
    assert head["language_creators"] == ["found", "machine-generated"]
    assert head["size_categories"] == ["n<1K"]
    assert [c["config_name"] for c in head["configs"]] == list(CONFIGS)
    assert [c.get("default", False) for c in head["configs"]] == [False, False, True, False]
    card = small_run()["card"].path
    for config, info in zip(head["configs"], head["dataset_info"], strict=True):
        found = {f["split"]: sorted(card.glob(f["path"])) for f in config["data_files"]}
        rows = {split: len(list(read_rows(files))) for split, files in found.items()}
        assert rows == {s["name"]: s["num_examples"] for s in info["splits"]}
        sizes = [path.stat().st_size for files in found.values() for path in files]
        assert info["download_size"] == sum(sizes)


@pytest.mark.parametrize(
    "title", ["A: 'title' # with \"signs\"", "- yes", "123", "名 🙂", "{braces} & [lists] | pipes"]
)
def test_a_title_comes_back_from_the_head_as_it_was(title):
    text = rendered(title=title, licence="apache-2.0")
    head = DatasetCard(text).data.to_dict()
    assert (head["pretty_name"], head["license"]) == (title, "apache-2.0")
    assert f"\n# {title}\n" in text


@pytest.mark.parametrize(
    ("documents", "size"),
    [(900, "n<1K"), (1_000, "1K<n<10K"), (99_000, "10K<n<100K"), (2_000_000, "1M<n<10M")],
)
def test_the_size_is_that_of_the_largest_configuration(documents, size):
    first, *others = parts()
    many = [dataclasses.replace(first, documents=documents), *others]
    assert DatasetCard(render_card(told(some_parts=many))).data.size_categories == [size]


def test_languages_that_hardly_occur_are_not_in_the_head():
    counts = {"en": 980, "de": 15, "br": 3, "unknown": 2}
    some = [dataclasses.replace(p, counts={**p.counts, "language": counts}) for p in parts()]
    head = DatasetCard(render_card(told(some_parts=some))).data
    assert (head.language, head.multilinguality) == (["de", "en", "code"], ["multilingual"])


def test_every_row_of_the_journey_is_the_ledger_s(readme):
    (rows,) = tables(section(readme, "How it was made"))
    assert [row[0] for row in rows] == list(STAGE.needs)
    for row, sealed in zip(rows, needs().values(), strict=True):
        ledger = sealed.ledger
        assert row[1:4] == [ledger.unit, str(ledger.rows_in), str(ledger.kept)]
        for cell, reasons in ((row[4], ledger.dropped), (row[5], ledger.failed)):
            said = {r: int(n) for r, n in re.findall(r"(\w+) (\d+)", cell)}
            assert said == {r: n for r, n in reasons.items() if n}


def test_a_licence_that_nobody_knows_is_told_as_unknown(readme):
    said = {row[0]: [int(n) for n in row[1:]] for row in tables(section(readme, "Licences"))[0]}
    names = [*(f"{config}/train" for config in CONFIGS), "validation"]
    counts = [Counter(row["licence"] or "unknown" for row in published(name)) for name in names]
    assert said == {name: [c[name] for c in counts] for name in ("PSF-2.0", "unknown")}
    assert min(said["unknown"]) > 0


def test_it_says_that_no_language_model_labelled_or_wrote(readme):
    assert readme.count("rule-based stand-in, not an LLM") >= 3  # labels, twice, and writing
    rules = "Labels come from rules, not from a language model."
    assert rules in section(readme, "Limits")
    (who, again), *_ = tables(section(readme, "Labels"))
    assert who[1] == again[1] == "rules"
    assert again[4] == "0.050"
    said = rendered(changed("label", annotator="a-model", annotator_is_llm=True))
    assert rules not in said
    assert "say nothing of what a language model" not in said
    (who, _), *_ = tables(section(said, "Labels"))
    assert who[:2] == ["a-model", "language model"]
    assert who[3] == "unknown"  # whose weights these were, no manifest knows


def test_benchmarks_and_what_they_took_out_are_told_and_their_absence_too(readme):
    ((row,),) = tables(section(readme, "Benchmarks kept out"))
    assert row[:2] == ["one-sentence", "1"]
    assert row[4] == "1"
    assert "No benchmark was checked." not in readme
    unchecked = rendered(changed("decontaminate", hits={}))
    assert "No benchmark was checked." in section(unchecked, "Limits")


def test_figures_of_the_filter_and_the_arms_are_those_of_the_manifests(readme):
    judged, floors, curve = tables(section(readme, "Filter"))
    facts = small_run()["train-filter"].facts
    assert judged[0][:3] == [f"{facts[name]:.3f}" for name in ("precision", "recall", "pr_auc")]
    assert judged[0][6:] == [str(facts["labels_train"]), str(facts["labels_test"])]
    assert {row[0] for row in floors} == set(facts["baselines"])
    chosen = [row for row in curve if row[-1] == "chosen"]
    assert [row[0] for row in chosen] == [f"{facts['threshold']:.3f}"]
    for name, *cells in tables(section(readme, "Arms"))[0]:
        said = small_run()["tokenize"].facts["arms"][name]
        assert cells[0] == str(said["documents"])
        assert cells[2:4] == [str(said["base_tokens"]), str(said["anneal_tokens"])]
    fingerprints = {row[0]: row[1] for row in tables(section(readme, "Reproduce and verify"))[0]}
    assert fingerprints == {n: f"`{s.manifest.fingerprint[:16]}`" for n, s in needs().items()}


def test_the_pass_rate_of_exercises_counts_those_that_were_run(readme):
    rejects = read_rows([small_run()["synthesize"].file("rejects.parquet")])
    later = ("near_copy", "low_expected_score", "low_rubric_score", "not_weighed")
    stood = small_run()["synthesize"].facts["accepted"]["exercise"] + sum(
        row["reason"] in later and json.loads(row["draw"])["task"] == "exercise" for row in rejects
    )
    said = section(readme, "Synthetic text")
    assert stood
    assert f"Execution pass rate of exercises: {stood} of " in said


def test_drift_is_told_by_stratum_and_so_is_that_nobody_looked(readme):
    said, found = section(readme, "Drift"), small_run()["apply-filter"].facts["drift"]
    assert [row[:4] for row in tables(said)[0]] == [
        [s["stratum"], s["verdict"], str(s["reference_documents"]), str(s["documents"])]
        for s in found["strata"]
    ]
    assert f"({found['documents']} in all)" in said
    assert small_run()["card"].file("plots/drift.png").read_bytes().startswith(b"\x89PNG")
    unjudged = {"stratum": "new/web", "verdict": "not judged", "reference_documents": 0,
                "documents": 9, "drifted_columns": 0, "score": None, "columns": []}  # fmt: skip
    few = {**found, "every": 3, "offered": 7, "strata": [unjudged]}
    said = section(rendered(changed("apply-filter", drift=few)), "Drift")
    assert tables(said) == [[["new/web", "not judged", "0", "9", "0", *["unknown"] * 3]]]
    assert "Every document, one in 3 by a hash, that" in said
    assert "7 documents of the strata that drifted or are new" in said
    assert not NOTHING_SAID.search(said)
    unseen = section(rendered(changed("apply-filter", drift=None)), "Drift")
    assert "**not compared**" in unseen
    assert not tables(unseen)


def test_nothing_that_is_not_known_shows_as_a_word_of_the_machine(readme):
    assert not NOTHING_SAID.search(readme)
    unknown = changed("train-filter", precision=None, pr_auc=None, brier=None, base_rate=None)
    text = rendered(unknown)
    assert not NOTHING_SAID.search(text)
    assert tables(section(text, "Filter"))[0][0].count("unknown") == 4
    assert not NOTHING_SAID.search(render_datasheet(told()))


def test_names_from_elsewhere_cannot_break_a_table_or_bring_a_picture(readme):
    bad = "x | y\n\n# ![p](http://a/b.png) <img src=x> `c`"
    text = rendered(changed("label", annotator=bad))
    first = tables(section(text, "Labels"))[0][0]
    assert len(first) == 5
    assert "![p]" not in text
    assert "<img" not in text
    assert [line for line in text.splitlines() if line.startswith("# ")] == [
        line for line in readme.splitlines() if line.startswith("# ")
    ]


@given(st.lists(st.lists(st.text(), min_size=3, max_size=3), min_size=1, max_size=3))
def test_a_table_has_the_cells_that_it_was_given(rows):
    lines = table("a | b: | c", rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert lines[1] == "|---|---:|---|"
    for line, row in zip(lines[2:], rows, strict=True):
        cells = cells_of(line)
        assert cells == [plain(cell).strip() for cell in row]


@given(st.text(alphabet="a`\n ~"))
def test_a_fence_is_longer_than_any_in_its_text(text):
    opened, *_, closed, end = fenced(text).split("\n")
    assert (opened, end) == (closed + "text", "")
    assert closed not in text


def test_the_datasheet_answers_every_question_from_facts_or_says_unknown():
    said = answer_questions(told())
    assert read_datasheet(render_datasheet(told())) == {
        part: {q: plain(a) for q, a in answers.items()} for part, answers in said.items()
    }
    assert list(said) == ["Motivation", "Composition", "Collection process",
                          "Preprocessing, cleaning, labelling", "Uses", "Distribution",
                          "Maintenance"]  # fmt: skip
    assert set(said["Motivation"].values()) == {"unknown"}
    counts = said["Composition"]["How many instances are there?"]
    assert f"validation: {len(published('validation'))}" in counts
    known = CardConfig(motivation="To see.", creators=("A", "B"), contact="a@b", consent="All did.")
    said = answer_questions(told(known))
    assert list(said["Motivation"].values()) == ["To see.", "A, B", "unknown"]
    asked = "Did the people concerned know and consent?"
    assert said["Collection process"][asked] == "All did."


def test_sentences_follow_the_facts():
    assert "Searched for by rules: " in privacy(told())
    assert demographics(told()).startswith("No person labelled")
    people = told(changed=changed("label", human_labels=3))
    assert demographics(people) == "unknown"
    assert "3 labels are a person's" in annotation(people)
    assert "stand-in" in platform(told())


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
    for name in ("waterfall", "scores", "labels", "kept_share", "cleaning"):
        assert card.file(f"plots/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_lineage_names_every_artifact_by_its_fingerprint():
    prov = json.loads(small_run()["card"].file("prov.json").read_text())
    by_label = {e["prov:label"]: (key, e) for key, e in prov["entity"].items()}
    for name, sealed in needs().items():
        key, entity = by_label[name]
        assert key == f"primer:{sealed.manifest.fingerprint[:16]}"
        assert entity["primer:fingerprint"] == sealed.manifest.fingerprint
        assert entity["primer:outputs_sha256"] == sealed.manifest.outputs_sha256
    edges = {(d["prov:generatedEntity"], d["prov:usedEntity"])
             for d in prov["wasDerivedFrom"].values()}  # fmt: skip
    needed = [(name, need) for name, s in needs().items() for need in s.manifest.needs]
    assert edges >= {(by_label[name][0], by_label[need][0]) for name, need in needed}
    made = {g["prov:entity"]: g["prov:activity"] for g in prov["wasGeneratedBy"].values()}
    assert made[by_label["kept/train"][0]] == "primer:run-card"
    assert made[by_label["clean"][0]] == "primer:run-clean"
    used = {(u["prov:activity"], u["prov:entity"]) for u in prov["used"].values()}
    assert ("primer:run-ingest", by_label["docs"][0]) in used
    assert ("primer:run-decontaminate", by_label["one-sentence"][0]) in used


def test_the_lineage_is_prov_to_the_library_of_its_editors():
    model = pytest.importorskip("prov.model")
    text = small_run()["card"].file("prov.json").read_text()
    document = model.ProvDocument.deserialize(content=text, format="json")
    kinds = Counter(type(record).__name__ for record in document.records)
    prov = json.loads(text)
    assert kinds["ProvEntity"] == len(prov["entity"])
    assert kinds["ProvUsage"] == len(prov["used"])
    again = model.ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert again == document


@pytest.mark.long
def test_the_same_manifests_give_the_same_bytes(tmp_path):
    run = copy_run(tmp_path)
    shutil.rmtree(run / "09-card")
    recipe = small_recipe(small_run()["ingest"].path.parents[1] / "benchmark.jsonl")
    again = run_step(make_plan(UNTIL_HANDOFF, recipe, run)["card"])
    assert again.manifest.outputs_sha256 == small_run()["card"].manifest.outputs_sha256
    assert hash_file(again.file("README.md")) == again.manifest.files["README.md"].sha256
