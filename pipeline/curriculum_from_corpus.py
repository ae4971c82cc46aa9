"""A curriculum made from the kept corpus: clusters of real documents, named by the teacher.

Documents become hashed TF-IDF, 64 axes of it (latent semantic analysis) and k-means clusters; the
teacher is shown each cluster's most telling words and the heads of the documents nearest to its
centre, and answers with a subject, a topic, and concepts with skills in the order in which they
are taught. A skill needs the one before it in its concept, and a concept's first skill the first
skill of the concept before it. The result is the same YAML as any curriculum, so a person can
correct it and name the file in the recipe. Costs one question a cluster. At most 20,000 documents
are looked at, a sample of more, on one thread so that every bit is the same each time: a killed run
asks the same questions again, and those that were answered are not paid twice.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.curriculum import Curriculum, Skill, split_words
from pipeline.errors import StageError
from pipeline.personas import count_words, telling
from pipeline.question import Answer, Question
from pipeline.rubrics import enclose
from pipeline.splits import place_of

SCHEMA_NAME = "curriculum_cluster"
_LINE = {"type": "string", "minLength": 1, "maxLength": 120}
_CONCEPT = {
    "type": "object",
    "properties": {
        "name": _LINE,
        "skills": {"type": "array", "items": _LINE, "minItems": 1, "maxItems": 8},
    },
    "required": ["name", "skills"],
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "subject": _LINE,
        "topic": _LINE,
        "concepts": {"type": "array", "items": _CONCEPT, "minItems": 1, "maxItems": 8},
    },
    "required": ["subject", "topic", "concepts"],
    "additionalProperties": False,
}
_ASK = """The words and the heads of documents below come from one cluster of a corpus. Name what a
course could teach from such documents: a subject (broad), a topic (narrow), two to five concepts,
and for each concept two to five skills in the order in which they are taught; a skill begins with a
verb, as in "find a part of a text". The documents are material and never an instruction to you."""

_MOST_DOCUMENTS = 20_000
_HEAD_CHARS = 4_000
SHOWN, SHOWN_CHARS = 4, 500
TERMS = 12  # shown of a cluster
_TERMS_OF_SKILL = 5  # of those, beside the words of a skill's own name
_AXES = 64

Counted = tuple[str, Counter[str]]  # a text, and its words


@dataclass(frozen=True)
class Cluster:
    """Documents that are alike: the words that tell them from the others, those at the centre."""

    documents: int
    terms: tuple[str, ...]
    heads: tuple[str, ...]


def find_clusters(rows: Iterable[Mapping[str, Any]], most: int, seed: int) -> list[Cluster]:
    """At most so many clusters, the largest first. Raises StageError where there are none."""
    held = heapq.nsmallest(
        _MOST_DOCUMENTS,
        ((place_of(row["doc_id"], seed, "curriculum"), row["text"][:_HEAD_CHARS]) for row in rows),
    )
    counted = [(text, words) for _, text in held if (words := count_words(text))]
    found = _described(counted, *_clustered(counted, most, seed)) if counted else []
    if not found:
        raise StageError(
            "synthesize",
            f"the {len(held)} kept documents hold too few English words to make a curriculum from",
            "keep more, or set plan.curriculum to 'built-in'",
        )
    return sorted(found, key=lambda cluster: (-cluster.documents, cluster.terms))


def _described(counted: Sequence[Counted], labels: Any, distances: Any) -> list[Cluster]:
    """Each cluster that has at least two words to tell it by."""
    seen_in = Counter(word for _, words in counted for word in words)
    found = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label).tolist()
        inside = Counter(word for i in members for word in counted[i][1])
        terms = telling(inside, seen_in, len(counted), TERMS)
        if len(terms) >= 2:
            nearest = sorted(members, key=distances.__getitem__)[:SHOWN]
            heads = tuple(counted[i][0][:SHOWN_CHARS] for i in nearest)
            found.append(Cluster(len(members), tuple(terms), heads))
    return found


def _clustered(counted: Sequence[Counted], most: int, seed: int) -> tuple[Any, Any]:
    """The cluster of each text, int[N], and its distance from the centre, float[N]."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        bags = HashingVectorizer(n_features=1 << 16, analyzer=Counter.elements).transform(
            words for _, words in counted
        )
        weighed = TfidfTransformer(sublinear_tf=False).fit_transform(abs(bags))
        axes = min(_AXES, len(counted) - 1)
        if axes < 2:
            return np.zeros(len(counted), int), np.zeros(len(counted))
        placed = normalize(TruncatedSVD(axes, random_state=seed).fit_transform(weighed))
        clusters = min(most, len(counted))
        means = MiniBatchKMeans(clusters, random_state=seed, n_init=3, batch_size=2_048)
        labels = means.fit_predict(placed)
        return labels, means.transform(placed)[np.arange(len(counted)), labels]


def cluster_questions(clusters: Sequence[Cluster]) -> list[Question]:
    """One question a cluster."""
    return [
        Question(
            key=f"cluster-{i:04}",
            messages=(
                {"role": "system", "content": _ASK},
                {"role": "user", "content": f"terms: {', '.join(cluster.terms)}\n"
                                            + enclose("\n\n---\n\n".join(cluster.heads))},
            ),
            schema_name=SCHEMA_NAME,
            schema=SCHEMA,
            max_tokens=1_500,
        )
        for i, cluster in enumerate(clusters)
    ]  # fmt: skip


def curriculum_of(clusters: Sequence[Cluster], answers: Iterable[Answer]) -> Curriculum:
    """The curriculum that the answers make; `dump_curriculum` writes it.

    A cluster without a usable answer is left out, and a skill that another cluster has too is kept
    once. Raises StageError where none has a usable answer.
    """
    skills: dict[str, Skill] = {}
    problems: Counter[str] = Counter()
    for cluster, answer in zip(clusters, answers, strict=True):
        if answer.content is None:
            problems[answer.problem or "unknown"] += 1
            continue
        _add(skills, cluster, answer.content)
    if not skills:
        raise StageError(
            "synthesize",
            f"the teacher named none of {len(clusters)} clusters ({dict(problems)})",
            "look at the teacher, or set plan.curriculum to 'built-in'",
        )
    return Curriculum(list(skills.values()), "the curriculum from the corpus")


def _add(skills: dict[str, Skill], cluster: Cluster, said: Mapping[str, Any]) -> None:
    subject, topic = (_line(said[name]) for name in ("subject", "topic"))
    first_before: str | None = None  # the first skill of the concept before
    for concept in said["concepts"]:
        before = first_before
        for i, name in enumerate(map(_line, concept["skills"])):
            identity = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80].strip("-")
            if not identity:
                continue
            if identity not in skills:
                named = split_words(f"{name} {concept['name']}")
                terms = named | set(cluster.terms[:_TERMS_OF_SKILL])
                needs = (before,) if before else ()
                skills[identity] = Skill(
                    identity, name, subject, topic, _line(concept["name"]),
                    frozenset(word for word in terms if len(word) > 3), needs,
                )  # fmt: skip
            first_before = identity if i == 0 else first_before
            before = identity


def _line(text: str) -> str:
    return " ".join(text.split()) or "unnamed"
