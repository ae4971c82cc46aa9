"""Curricula: read, checked, put in order, matched with extracts, and made from a real corpus."""

import gzip
import json
import re

import jsonschema
import pytest
import yaml

from conftest import SHARED_DATA
from pipeline.curriculum import BUILT_IN, Curriculum, dump_curriculum, load_curriculum, words_of
from pipeline.curriculum_from_corpus import (
    SCHEMA_NAME,
    cluster_questions,
    curriculum_of,
    find_clusters,
)
from pipeline.errors import InputError, StageError
from pipeline.personas import persona_questions, personas_of, reworded
from pipeline.question import Answer, Usage
from pipeline.standin_writer import write

SMALL = {
    "subjects": [{"name": "Cooking", "topics": [{"name": "Soup", "concepts": [{"name": "Stock",
     "skills": [
        {"id": "season", "name": "season a soup", "terms": ["salt", "pepper"], "needs": ["boil"]},
        {"id": "boil", "name": "boil water", "terms": ["water", "kettle"]},
        {"id": "serve", "name": "serve a soup", "terms": ["bowl", "spoon"], "needs": ["season"]},
     ]}]}]}]
}  # fmt: skip


def skills_of(tree):
    return tree["subjects"][0]["topics"][0]["concepts"][0]["skills"]


def saved(folder, tree):
    path = folder / "own.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def built_in():
    return load_curriculum()


def test_the_built_in_curriculum_is_wide_and_in_order(built_in):
    assert len(built_in.skills) >= 150
    assert len({skill.subject for skill in built_in.skills}) >= 6
    place = {skill.id: i for i, skill in enumerate(built_in.skills)}
    for skill in built_in.skills:
        assert len(skill.terms) >= 4
        assert all(place[need] < place[skill.id] for need in skill.needs)
    names = [skill.name for skill in built_in.skills]
    assert len(set(names)) == len(names)


def test_prerequisites_come_first_and_all_of_them_may_be_taken_as_known(tmp_path):
    own = load_curriculum(saved(tmp_path, SMALL))
    assert [skill.id for skill in own.skills] == ["boil", "season", "serve"]
    assert [skill.id for skill in own.known_before("serve")] == ["boil", "season"]
    assert own.known_before("boil") == []


def test_what_is_written_is_read_back_the_same(tmp_path, built_in):
    path = saved(tmp_path, dump_curriculum(built_in.skills))
    assert load_curriculum(path).by_id == built_in.by_id


def test_words_such_as_true_and_null_are_words(tmp_path):
    text = BUILT_IN.read_text()
    assert "true" in load_curriculum(saved(tmp_path, text)).by_id["truth-values"].terms


def changed(change):
    tree = yaml.safe_load(yaml.safe_dump(SMALL))
    change(skills_of(tree))
    return tree


WRONG = {
    "needs 'fry', which is none of it": changed(lambda s: s[0].update(needs=["fry"])),
    "has the skill 'boil' twice": changed(lambda s: s.append(s[1])),
    "need each other: (boil -> serve -> season -> boil|season -> boil -> serve -> season|"
    "serve -> season -> boil -> serve)": changed(lambda s: s[1].update(needs=["serve"])),
    "need each other: boil -> boil": changed(lambda s: s[1].update(needs=["boil"])),
    r"skills\.0\.level = '3': Extra inputs": changed(lambda s: s[0].update(level=3)),
    r"skills\.0\.id = 'A b': String should match": changed(lambda s: s[0].update(id="A b")),
    r"skills\.0\.needs = 'x': Input should be a valid tuple": changed(
        lambda s: s[0].update(needs="x")
    ),
    "the terms of 'boil' hold fewer than two words": changed(lambda s: s[1].update(terms=["tea"])),
    "the whole = 'just words': Input should be a valid dictionary": "just words",
    r"subjects = \[\]: Tuple should have at least 1 item": {"subjects": []},
    "cannot be read": "subjects: [",
    "cannot be read .maximum recursion depth": "[" * 900,
}


@pytest.mark.parametrize("said", WRONG)
def test_a_curriculum_that_cannot_be_used_is_refused_in_one_line(tmp_path, said):
    with pytest.raises(InputError, match=said) as caught:
        load_curriculum(saved(tmp_path, WRONG[said]))
    assert "\n" not in str(caught.value)
    assert "own.yaml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.yaml cannot be read"):
        load_curriculum(tmp_path / "gone.yaml")


def test_identifiers_fall_apart_into_words():
    assert {"parse", "http", "url", "urls", "headers", "header"} <= words_of(
        "parseHTTPHeaders(urls) parse_http"
    )


def test_an_extract_goes_to_the_skill_whose_words_it_holds(built_in):
    texts = {
        "heaps": "import heapq\nheap = []\nheapq.heappush(heap, 3)\nreturn heapq.heappop(heap)",
        "checksums": "def luhn(digits):\n    checksum = sum(digits)\n    return checksum % 10 == 0"
        "\n# the check digit of an isbn has parity",
        None: "The soup was salted and the guests were late.",
    }
    assert built_in.match(list(texts.values())) == list(texts)


def test_texts_that_fit_several_skills_spread_over_them(tmp_path):
    tree = changed(lambda s: [one.update(terms=["spoon", "bowl"]) for one in s])
    own = load_curriculum(saved(tmp_path, tree))
    found = own.match(["a bowl and a spoon"] * 9 + ["nothing of it"] * 9)
    assert sorted(filter(None, found)) == sorted(["boil", "season", "serve"] * 3)
    assert found[9:] == [None] * 9


def corpus(n=100):
    rows = []
    for name, kind in (("code/python_files", "code"), ("web/prose", "web")):
        with gzip.open(SHARED_DATA / f"{name}.jsonl.gz", "rt") as lines:
            for i, line in zip(range(n), lines, strict=False):
                row = json.loads(line)
                rows.append({"doc_id": f"{kind}{i}", "kind": kind, "text": row["text"],
                             "url_or_path": str(row.get("path") or "")})  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def rows():
    if not SHARED_DATA.exists():
        pytest.skip("the shared test data is not here")
    return corpus()


def answer_to(question):
    content = write(question.schema_name, list(question.messages))
    jsonschema.validate(content, question.schema)
    return Answer(question.key, content, None, None, "stop", Usage(0, 0, 0, False))


def test_clusters_of_a_real_corpus_become_a_curriculum_of_the_same_form(rows, tmp_path):
    clusters = find_clusters(rows, 8, seed=7)
    assert find_clusters(rows[::-1], 8, seed=7) == clusters
    assert 2 <= len(clusters) <= 8
    assert sum(cluster.documents for cluster in clusters) <= len(rows)
    questions = cluster_questions(clusters)
    assert {q.schema_name for q in questions} == {SCHEMA_NAME}
    made = curriculum_of(clusters, [answer_to(q) for q in questions])
    assert len(made.skills) >= 3 * len(clusters)
    again = load_curriculum(saved(tmp_path, dump_curriculum(made.skills)))
    assert [(s.id, s.name, s.needs) for s in again.skills] == [
        (s.id, s.name, s.needs) for s in made.skills
    ]
    matched = made.match([row["text"][:4_000] for row in rows])
    assert sum(skill is not None for skill in matched) > 0.12 * len(rows)


def test_a_cluster_without_an_answer_is_left_out_and_none_is_an_error(rows):
    clusters = find_clusters(rows[:60], 3, seed=7)
    lost = Answer("x", None, "refused", None, None, Usage(0, 0, 0, False))
    found = [answer_to(question) for question in cluster_questions(clusters)]
    made = curriculum_of(clusters, [lost, *found[1:]])
    assert 0 < len({s.topic for s in made.skills}) < len(clusters)
    with pytest.raises(StageError, match=r"named none of 3 clusters \(\{'refused': 3\}\)"):
        curriculum_of(clusters, [lost] * len(clusters))
    unread = [{"doc_id": str(i), "text": "слово и дело"} for i in range(9)]
    for few in ([], unread):
        with pytest.raises(StageError, match=f"the {len(few)} kept documents hold too few"):
            find_clusters(few, 3, seed=7)


def test_personas_come_from_documents_and_carry_their_ids(rows):
    personas = personas_of(rows, 24, seed=7)
    assert personas == personas_of(rows[::-1], 24, seed=7)
    assert 12 < len(personas) <= 24
    texts = {row["doc_id"]: row["text"].lower() for row in rows}
    for persona in personas:
        told = re.fullmatch(r"someone who [a-z ]+ ([a-z]+) and ([a-z]+)", persona.text)
        assert told[1] in texts[persona.doc_id]
        assert told[2] in texts[persona.doc_id]
    assert len({persona.text for persona in personas}) == len(personas)
    assert personas_of(rows, 24, seed=8) != personas


def test_a_teacher_may_word_personas_and_what_cannot_be_used_stays_as_it_was(rows):
    personas = personas_of(rows, 4, seed=7)
    questions = persona_questions(rows, personas)
    assert reworded(personas, [answer_to(q) for q in questions]) == personas
    said = ["someone who bakes bread.", "A baker.", "someone who bakes bread", "someone who. no"]
    answers = [Answer("k", {"persona": s}, None, None, "stop", Usage(0, 0, 0, False)) for s in said]
    found = reworded(personas, answers)
    assert [p.text for p in found] == ["someone who bakes bread", *(p.text for p in personas[1:])]
    assert [p.doc_id for p in found] == [p.doc_id for p in personas]


def test_a_curriculum_of_no_texts_matches_nothing():
    assert Curriculum([]).match(["anything"]) == [None]
    assert load_curriculum().match([]) == []
