"""Leaks by meaning: a passage whose vector is near a question's is shown beside it."""

import numpy as np
import pyarrow as pa

from pipeline.benchmark_items import Item
from pipeline.leak_meaning import MeaningRules, find_meaning, make_meaning_index

SENSES = {"duck": 0, "goose": 0, "sleep": 1, "rest": 1, "engine": 2, "motor": 2}


class ByHand:
    """An encoder of six words in three senses."""

    def transform(self, texts):
        vectors = np.zeros((len(texts), 3), np.float32)
        for row, text in enumerate(texts.to_pylist()):
            for word in text.lower().split():
                if word in SENSES:
                    vectors[row, SENSES[word]] += 1
        return vectors


def test_a_paraphrase_is_found_where_it_stands_and_other_sense_is_not():
    items = [Item("b", "0", (), "duck sleep"), Item("b", "1", (), "engine"), Item("b", "2", ())]
    rules = MeaningRules(encoder="by hand", passage_words=6)
    index = make_meaning_index(items, rules, ByHand())
    assert index.owners == (0, 1)
    page = f"{'It rained all day. ' * 20} The goose at rest now. {'It rained all day. ' * 20}"
    texts = pa.array([page, "duck duck duck duck sleep", ""])
    (row,) = find_meaning(texts, ["a", "b", "c"], items, index, rules, ByHand())
    assert (row["doc_id"], row["item"], row["kind"]) == ("a", "0", "meaning")
    assert "goose at rest" in row["document_text"]
    assert len(row["document_text"]) < 300
    assert row["score"] > 0.99
