"""The harness's model over llama.cpp: what lm-eval's own hf model says, and how requests share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.instance import Instance
from small_language_model import library_texts, small_model

from downstream.harness_model import answer_prompts, open_lm
from downstream.llama_cpp_lm import SEQUENCES, alike, choose, cut, shared_tokens
from pipeline.errors import InputError

CHOICES = (" the sun", " x = [1, 2]", " a long answer of many words", " no")


@pytest.fixture(scope="module")
def lms():
    """lm-eval's hf model and ours."""
    with open_lm(small_model()[0], None, 0, 1) as hf, open_lm(small_model()[1], None, 0, 1) as ours:
        yield hf, ours


def likelihood_requests():
    questions = [f"Question: what is {i}?{'?' * i}\nAnswer:" for i in range(4)]
    pairs = [(question, choice) for question in questions for choice in CHOICES]
    pairs += [("", "def f(x):"), ("Sara met Sara", " again."), ("Sara met Mary ", "again.")]
    pairs += [(library_texts()["decoder.py"][:2_000], f" {word}") for word in ("a", "b")]
    return [Instance("loglikelihood", {}, pair, 0) for pair in pairs]


def generation_requests(**asked):
    asked = {"until": ["\n\n"], "max_gen_toks": 12, "do_sample": False} | asked
    prompts = ("def load(", "class Encoder", "x")
    return [Instance("generate_until", {}, (prompt, asked), 0) for prompt in prompts]


def test_log_likelihoods_and_greedy_answers_are_those_of_the_hf_model(lms):
    requests = likelihood_requests()
    right, told = (lm.loglikelihood(requests, disable_tqdm=True) for lm in lms)
    assert [nats for nats, _ in told] == pytest.approx([nats for nats, _ in right], rel=1e-3)
    assert [greedy for _, greedy in told] == [greedy for _, greedy in right]


def test_what_is_greedy_is_said_so(lms):
    _, ours = lms
    (answer, *_) = ours.generate_until(generation_requests(until=[], max_gen_toks=1))
    ((_, greedy),) = ours.loglikelihood(
        [Instance("loglikelihood", {}, ("def load(", answer), 0)], disable_tqdm=True
    )
    assert greedy


def test_whole_texts_are_windowed_alike(lms):
    request = Instance("loglikelihood_rolling", {}, (library_texts()["scanner.py"],), 0)
    right, told = (lm.loglikelihood_rolling([request], disable_tqdm=True) for lm in lms)
    assert told == pytest.approx(right, rel=1e-3)


def test_greedy_answers_are_alike_and_end_at_their_stops(lms):
    requests = generation_requests()
    hf, ours = lms
    told = ours.generate_until(requests)
    assert told == hf.generate_until(requests, disable_tqdm=True)
    stop = told[0][3:5]
    stopped = ours.generate_until(generation_requests(until=[stop]))
    assert stopped[0] == told[0].split(stop, maxsplit=1)[0] != told[0]


def test_what_stood_in_the_cache_changes_nothing(lms):
    _, ours = lms
    requests = likelihood_requests()
    alone = [ours.loglikelihood([request], disable_tqdm=True)[0] for request in reversed(requests)]
    together = ours.loglikelihood(requests, disable_tqdm=True)
    assert [nats for nats, _ in alone[::-1]] == pytest.approx(
        [nats for nats, _ in together], rel=1e-4
    )


def test_plain_answers_end_where_the_context_does(tmp_path):
    gguf = small_model()[1]
    assert len(answer_prompts(gguf, ["def f(", "x = "], 5, 1)) == 2
    long = library_texts()["decoder.py"] * 3
    with pytest.raises(InputError, match=r"a prompt of .* tokens, the context has 1024"):
        answer_prompts(gguf, [long], 5, 1)


pairs = st.lists(
    st.tuples(st.lists(st.integers(0, 1), min_size=1, max_size=6),
              st.lists(st.integers(0, 1), min_size=1, max_size=3)),
    max_size=30,
)  # fmt: skip


@given(pairs)
def test_groups_keep_the_order_share_what_they_may_and_fit(requests):
    cells = 20
    groups = list(alike(requests, cells))
    assert [pair for group in groups for pair in group] == requests
    for group in groups:
        shared = shared_tokens(group)
        assert all(len(context) > shared for context, _ in group)
        assert len({tuple(context[:shared]) for context, _ in group}) == 1
        needed = shared + sum(len(c) + len(more) - 1 - shared for c, more in group)
        assert len(group) == 1 or needed <= cells
        assert len(group) <= SEQUENCES


def test_draws_come_from_the_smallest_set_of_the_probability_asked_for():
    row = np.log(np.array([0.05, 0.6, 0.05, 0.3], dtype=np.float32))
    asked = {"do_sample": True, "temperature": 1.0, "top_p": 0.85}
    random = np.random.default_rng(0)
    drawn = [choose(row, asked, random) for _ in range(400)]
    assert set(drawn) == {1, 3}
    assert drawn.count(1) / 400 == pytest.approx(2 / 3, abs=0.08)
    cold = {choose(row, asked | {"temperature": 0.01}, random) for _ in range(50)}
    assert cold == {1} == {choose(row, {"do_sample": False}, random)}


def test_a_text_is_cut_at_the_first_of_its_stops():
    assert cut("a = 1\ndef b", ["\ndef", "", "\nclass"]) == "a = 1"
    assert cut("one END two STOP", ["STOP", "END"]) == "one "
