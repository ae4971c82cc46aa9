"""What stage 8 writes, read by others: datatrove's loader, Megatron's format, a given tokenizer."""

import json
import struct

import numpy as np
import pyarrow.parquet as pq
import pytest
import test_tokenize as made_there
from datatrove.utils.dataset import DatatroveFileDataset
from test_tokenize import HELD_OUT, SMALL, corpus, make, tokens
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from conftest import document
from pipeline.arms import ARMS
from pipeline.errors import InputError
from pipeline.finetuning import exercise_chat
from pipeline.splits import in_validation, place_of
from pipeline.tokenizer_training import END_OF_TEXT, load_tokenizer

WINDOW = 63


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    config = SMALL.model_copy(update={"max_shard_tokens": 6_000, "megatron": True})
    return make(tmp_path_factory.mktemp("shards"), config, HELD_OUT)


def shards(made, arm, part):
    return made.files(f"arms/{arm}/{part}/*.ds")


def index(path):
    return np.fromfile(f"{path}.index", "<u8")


def test_shards_are_cut_between_documents_and_hold_what_one_would(made, tmp_path):
    whole = make(tmp_path / "run", SMALL, HELD_OUT)
    for arm in ARMS:
        ids = [np.fromfile(path, "<u2") for path in shards(made, arm, "base")]
        assert len(ids) > 2
        assert max(len(part) for part in ids) <= 6_000
        assert all(part[-1] == made.facts["end_of_text"] for part in ids)
        assert np.array_equal(np.concatenate(ids), tokens(whole, arm, "base"))


def test_datatrove_s_loader_reads_tokens_and_positions(made):
    for path in shards(made, "kept+synthetic", "base"):
        ids, ends = np.fromfile(path, "<u2"), index(path).astype(np.int64)
        begins = np.concatenate([[0], ends[:-1]])
        place = np.arange(len(ids)) - np.repeat(begins, np.diff(np.concatenate([[0], ends])))
        read = DatatroveFileDataset(str(path), WINDOW, token_size=2, return_positions=True)
        assert len(read) == len(ids) // (WINDOW + 1)
        for i in range(len(read)):
            part = slice(i * (WINDOW + 1), (i + 1) * (WINDOW + 1))
            assert read[i]["input_ids"].tolist() == ids[part].tolist()
            first = read[i]["positions"].tolist()[0]
            inside = place[part] - np.where(np.cumsum(place[part] == 0) == 0, place[part][0], 0)
            assert first == 0
            assert read[i]["positions"].tolist() == inside.tolist()


def test_the_index_ends_every_document_and_the_metadata_counts_tokens(made):
    for path in shards(made, "raw", "base"):
        ids = np.fromfile(path, "<u2")
        assert np.array_equal(index(path), np.flatnonzero(ids == 0) + 1)
        told = (path.parent / f"{path.name}.metadata").read_text().splitlines()
        assert told[:2] == ["tokenizer.json|2", str(len(ids))]


def test_megatron_s_files_hold_the_same_documents_by_its_own_description(made):
    for arm, part in (("raw", "base"), ("kept+synthetic", "anneal")):
        folder = shards(made, arm, part)[0].parent
        head = (folder / "megatron.idx").read_bytes()
        assert head[:9] == b"MMIDIDX\0\0"
        version, kind, sequences, documents = struct.unpack("<QBQQ", head[9:34])
        assert (version, kind, documents) == (1, 8, sequences + 1)
        lengths = np.frombuffer(head, "<i4", sequences, 34)
        offsets = np.frombuffer(head, "<i8", sequences, 34 + 4 * sequences)
        begins = np.frombuffer(head, "<i8", documents, 34 + 12 * sequences)
        assert len(head) == 34 + 12 * sequences + 8 * documents
        assert begins.tolist() == list(range(documents))
        ids = np.fromfile(folder / "megatron.bin", "<u2")
        ours = np.concatenate([np.fromfile(path, "<u2") for path in shards(made, arm, part)])
        assert np.array_equal(ids, ours)
        assert offsets.tolist() == (2 * (np.cumsum(lengths) - lengths)).tolist()
        assert np.array_equal(np.cumsum(lengths), np.flatnonzero(ids == 0) + 1)


def test_the_facts_tell_of_every_source_and_of_fertility(made):
    facts = made.facts
    for arm in ARMS:
        told = facts["arms"][arm]
        assert sum(cell["base"] + cell["anneal"] for cell in told["mixture"]) == told["tokens"]
        for cell in told["mixture"]:
            read = (cell["base"] + cell["anneal"]) / cell["there"]
            assert cell["epochs"] == pytest.approx(read, abs=1e-3)
    kinds = facts["fertility"]["by_kind"]
    assert 1 < kinds["code"]["bytes_per_token"] < 8
    free = [r for r in [*corpus(), *made_there.LESSONS]
            if r["kind"] == "web" and not in_validation(r["group"], 7, HELD_OUT)]  # fmt: skip
    assert kinds["web"]["bytes"] == sum(len(r["text"].encode()) for r in free)
    assert kinds["web"]["words"] == sum(len(r["text"].split()) for r in free)
    page = made.file("mixture.md").read_text()
    assert "| **kept+synthetic** | all |" in page
    assert made.file("mixture.png").read_bytes().startswith(b"\x89PNG")


def byte_level(**fields):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **fields,
    )  # fmt: skip
    tokenizer.train_from_iterator(["a b c " * 20], trainer)
    return tokenizer


def test_a_given_tokenizer_is_taken_with_its_own_end_and_never_cuts(tmp_path):
    tokenizer = byte_level(special_tokens=["<pad>", "</s>"])
    tokenizer.enable_truncation(16)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = SMALL.model_copy(
        update={"tokenizer": str(tmp_path / "tokenizer.json"), "budget_tokens": 40_000}
    )
    made = make(tmp_path / "run", config, HELD_OUT)
    assert (made.facts["tokenizer"], made.facts["end_of_text"]) == ("given", 1)
    assert made.facts["end_of_text_token"] == "</s>"
    read = made_there.pieces(made, "raw", "base")
    assert max(len(text) for text in read) > 1_000
    assert made.manifest.config["TokenizeConfig"]["tokenizer"] == config.tokenizer


@pytest.mark.parametrize(
    ("damage", "end", "problem"),
    [
        (lambda t: setattr(t, "normalizer", normalizers.NFKC()), None,
         r"does not bring text back: 'ﬁligree"),
        (lambda t: setattr(t, "normalizer", normalizers.Lowercase()), None,
         r"does not bring text back: 'Ça coûte 12 ' became 'ça co"),
        (lambda _: None, "<end>", r"has no token '<end>'; its special tokens are \['</s>'\]"),
    ],
)  # fmt: skip
def test_a_tokenizer_that_loses_text_or_its_end_is_refused(tmp_path, damage, end, problem):
    tokenizer = byte_level(special_tokens=["</s>"])
    damage(tokenizer)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    with pytest.raises(InputError, match=problem):
        load_tokenizer(path, end)


def test_what_is_no_tokenizer_is_refused_before_anything_is_made(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="is not a tokenizer"):
        load_tokenizer(path, None)
    byte_level(special_tokens=["[STOP]"]).save(str(path))
    with pytest.raises(InputError, match=r"no token any of <\|endoftext\|>, .*; name the one"):
        load_tokenizer(path, None)
    assert load_tokenizer(path, "[STOP]")[1] == "[STOP]"
    config = SMALL.model_copy(update={"tokenizer": str(tmp_path / "none.json")})
    with pytest.raises(InputError, match=r"there is no file .*none\.json; correct"):
        make(tmp_path / "run", config, HELD_OUT)
    mixture = SMALL.mixture.model_validate({"base": {"sources": {"bokos": 2}}})
    with pytest.raises(InputError, match=r"names the source 'bokos'; the sources are synthetic, t"):
        make(tmp_path / "run", SMALL.model_copy(update={"mixture": mixture}), HELD_OUT)


def test_a_vocabulary_beyond_two_bytes_takes_four(tmp_path):
    vocabulary = {**{c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))},
                  END_OF_TEXT: 70_000}  # fmt: skip
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = SMALL.model_copy(update={"tokenizer": str(tmp_path / "tokenizer.json"),
                                      "budget_tokens": 40_000, "megatron": True})  # fmt: skip
    made = make(tmp_path / "run", config, HELD_OUT)
    assert (made.facts["token_dtype"], made.facts["vocabulary"]) == ("uint32", 70_001)
    ids = tokens(made, "raw", "base")
    assert ids.itemsize == 4
    assert (ids.max(), len(ids)) == (70_000, 30_000)
    folder = shards(made, "raw", "base")[0].parent
    assert (folder / "megatron.idx").read_bytes()[17] == 4
    assert np.array_equal(np.fromfile(folder / "megatron.bin", "<i4"), ids)


def test_no_source_drowns_the_others_in_the_tokenizer_s_sample(tmp_path):
    many = [document("large " * 300, f"{i}.md", group=f"g{i}") for i in range(60)]
    few = [document("tiny " * 300, f"t{i}.md", group="end", source="rare") for i in range(2)]
    config = SMALL.model_copy(update={"max_train_bytes": 10_000, "vocabulary": 270})
    made = make(tmp_path / "run", config, HELD_OUT, rows=[*corpus(), *many, *few])
    tokenizer = made_there.tokenizer_of(made)  # of some 13 merges, these must be among the first
    assert [len(tokenizer.encode(f" {word}").ids) for word in ("tiny", "large")] == [1, 1]


EXERCISE = '''def add(a, b):
    """Return the sum."""'''


@pytest.mark.parametrize(
    ("prompt", "solution", "tests"),
    [
        (EXERCISE, f"{EXERCISE}\n    return a + b", "assert add(1, 2)\n\n\nassert not add(0, 0)"),
        (EXERCISE, f"import math\n\n\ndef help_it():\n    pass\n\n\n{EXERCISE}\n    return a + b",
         "assert add(1, 2) == 3"),
        (EXERCISE, f'{EXERCISE}\n    text = """a\n\n\nb"""\n    return a + b', "assert add(1, 2)"),
    ],
    ids=["gaps in the tests", "a helper before it", "a gap in a string"],
)  # fmt: skip
def test_an_exercise_asks_with_its_prompt_and_answers_with_the_solution(prompt, solution, tests):
    asked, answered = exercise_chat(prompt, f"{solution}\n\n\n{tests}\n")
    assert (asked["role"], answered["role"]) == ("user", "assistant")
    assert asked["content"] == f"Complete this function.\n\n```python\n{prompt}\n```"
    assert answered["content"] == f"```python\n{solution}\n```"


def test_chats_are_split_by_group_and_hold_no_held_out_group(tmp_path):
    metadata = json.dumps({"task": "instruction", "messages": [
        {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]})  # fmt: skip
    exercise = json.dumps({"task": "exercise", "prompt": EXERCISE})
    text = f"{EXERCISE}\n    return a + b\n\n\nassert add(1, 2) == 3\n"
    chats = [
        document(text if kind == "e" else "User: Why?", f"{kind}-{i}", group=f"chat-{i}",
                 origin="synthetic", metadata=exercise if kind == "e" else metadata)
        for i in range(40) for kind in "ei"
    ]  # fmt: skip
    made = make(tmp_path / "run", SMALL, HELD_OUT, lessons=chats)
    rows = pq.read_table(made.file("finetuning.parquet")).to_pylist()
    group_of = {row["doc_id"]: row["group"] for row in chats}
    held = {row["doc_id"] for row in chats if in_validation(row["group"], 7, HELD_OUT)}
    assert {row["doc_id"] for row in rows} == set(group_of) - held
    splits = {}
    for row in rows:
        splits.setdefault(group_of[row["doc_id"]], set()).add(row["split"])
    assert all(len(names) == 1 for names in splits.values())
    assert {"train", "validation"} == {row["split"] for row in rows}
    assert sum(made.facts["finetuning"].values()) == len(rows)
    assert {r["origin_kind"]: r["messages"][1]["content"][:3] for r in rows} == {
        "exercise": "```", "instruction": "So.",
    }  # fmt: skip


def test_a_single_group_of_chats_is_trained_on_wherever_its_hash_lies(tmp_path):
    late = next(
        f"chat-{i}" for i in range(1_000)
        if place_of(f"chat-{i}", 7, "finetuning") < HELD_OUT.share
        and not in_validation(f"chat-{i}", 7, HELD_OUT)
    )  # fmt: skip
    exercise = json.dumps({"task": "exercise", "prompt": EXERCISE})
    text = f"{EXERCISE}\n    return a + b\n\n\nassert add(1, 2) == 3\n"
    chat = document(text, "e", group=late, origin="synthetic", metadata=exercise)
    made = make(tmp_path / "run", SMALL, HELD_OUT, lessons=[chat])
    assert made.facts["finetuning"] == {"train_exercise": 1}


def test_with_no_exercises_there_is_nothing_to_fine_tune_on(made):
    assert made.facts["finetuning"] is None
    assert "finetuning.parquet" not in made.manifest.files
