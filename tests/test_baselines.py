"""Packers and token pairs: against the tools themselves, and against sums done the slow way."""

import itertools
import math
import subprocess
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downstream.baselines import DISCOUNT, Bigrams, bigram_bits_per_byte, packed_bits_per_byte
from pipeline.handoff_record import Arm, HandedFile, Shard

TEXTS = ["def f(x):\n    return x\n" * 40, "A lesson on tides. " * 30, "naïve 面積 " * 20]


@pytest.mark.parametrize(
    ("name", "command", "slack_bytes"),
    [("gzip -9", ["gzip", "-9"], 16), ("zstd -19", ["zstd", "-19"], 8), ("xz -9", ["xz", "-9"], 8)],
)
def test_packers_need_what_their_programs_need(name, command, slack_bytes):
    raw = "\n".join(TEXTS).encode()
    try:
        done = subprocess.run([*command, "-c"], input=raw, capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed")
    bits = packed_bits_per_byte(TEXTS)[name]
    assert abs(bits * len(raw) / 8 - len(done.stdout)) <= slack_bytes  # headers differ


def slow_nats(train, text, vocabulary):
    """By the definition, token by token."""
    single = Counter(train)
    pairs = Counter(itertools.pairwise(train))
    nats = 0.0
    for before, after in itertools.pairwise(text):
        alone = (single[after] + 1) / (len(train) + vocabulary)
        begun = sum(n for (first, _), n in pairs.items() if first == before)
        kinds = sum(1 for first, _ in pairs if first == before)
        if begun:
            told = max(pairs[before, after] - DISCOUNT, 0) / begun
            told += DISCOUNT * kinds / begun * alone
        else:
            told = alone
        nats -= math.log(told)
    return nats


TOKENS = st.lists(st.integers(0, 4), min_size=2, max_size=40)


@given(TOKENS, TOKENS)
def test_bigrams_are_those_of_the_definition(train, text):
    found = Bigrams(5).fit(np.array(train)).nats(np.array(text))
    assert found == pytest.approx(slow_nats(train, text, 5))


@given(TOKENS, st.integers(0, 4))
def test_what_follows_a_token_sums_to_one(train, before):
    model = Bigrams(5).fit(np.array(train))
    total = sum(math.exp(-model.nats(np.array([before, after]))) for after in range(5))
    assert total == pytest.approx(1)


def shard(root, name, ids):
    np.array(ids, "<u2").tofile(root / name)
    index = HandedFile(path=f"{name}.index", sha256="0", bytes=8)
    size = (root / name).stat().st_size
    return Shard(path=name, sha256="0", bytes=size, tokens=len(ids), index=index)


def test_an_arm_s_tokens_are_what_is_learnt(tmp_path):
    told = [0, 1, 2, 3] * 50
    arm = Arm(
        name="raw", tokens=200, documents=1, synthetic_tokens=0, licences={},
        base=[shard(tmp_path, "a", told[:120])], anneal=[shard(tmp_path, "b", told[120:])],
    )  # fmt: skip
    documents = [{"tokens": [1, 2, 3, 0, 1, 2], "n_bytes": 12}]
    known = bigram_bits_per_byte(tmp_path, arm, "uint16", 8, 0, documents)
    odd = bigram_bits_per_byte(tmp_path, arm, "uint16", 8, 0, [{"tokens": [7, 5, 6], "n_bytes": 6}])
    assert known < 0.1
    assert odd > 1
    nats = slow_nats(told, [0, 1, 2, 3, 0, 1, 2], 8)
    assert known == pytest.approx(nats / math.log(2) / 12, abs=1e-4)
    empty = arm.model_copy(update={"base": [], "anneal": []})
    assert bigram_bits_per_byte(tmp_path, empty, "uint16", 8, 0, documents) is None
