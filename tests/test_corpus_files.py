"""Corpus files of every sort as batches, and what one bad document or one bad file costs."""

import gzip
import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus_files import UnreadableFile, list_corpus, open_documents
from pipeline.document_batch import Fields
from pipeline.errors import InputError
from pipeline.json_lines import BLOCK_BYTES, whole_lines

FIELDS = Fields(id="id")


def read(path, fields=FIELDS, max_document_bytes=1_000_000):
    """(texts, ids, rows, {row: reason}) of the one file at an address."""
    (file,) = list_corpus("filter", [str(path)])
    texts, ids, rows, faults = [], [], [], {}
    with open_documents(file, fields, max_document_bytes) as documents:
        for batch in documents.batches:
            texts += batch.texts.to_pylist()
            ids += batch.ids.to_pylist()
            rows.append(batch.rows)
            faults |= {fault.row: fault.reason for fault in batch.faults}
    return texts, ids, rows, faults


def lines_of(rows):
    return b"".join(line for batch in rows for line in batch.to_pylist())


@pytest.mark.parametrize("row_group_size", [1, 7, 100_000])
@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
)
def test_parquet_of_any_row_groups_and_text_type(tmp_path, kind, row_group_size):
    texts = [f"text {i % 50}" for i in range(300)]
    table = pa.table({
        "id": pa.array(range(300)),
        "text": pa.array(texts).cast(kind),
        "meta": [{"tags": ["a"] * (i % 3), "at": {"x": i}} for i in range(300)],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=row_group_size)
    found, ids, rows, faults = read(tmp_path / "a.parquet")
    assert (found, ids, faults) == (texts, [str(i) for i in range(300)], {})
    assert pa.Table.from_batches(rows).equals(table)


@pytest.mark.long
def test_batches_are_bounded_in_bytes_as_in_rows(tmp_path):
    texts = [f"{i}" + "x" * 1_000_000 for i in range(200)]
    pq.write_table(pa.table({"id": texts[:1] * 200, "text": texts}), tmp_path / "a.parquet")
    del texts
    _, _, rows, _ = read(tmp_path / "a.parquet", max_document_bytes=2_000_000)
    assert max(batch["text"].nbytes for batch in rows) < 64 << 20
    pq.write_table(pa.table({"id": ["a"] * 9_000, "text": ["b"] * 9_000}), tmp_path / "a.parquet")
    assert max(len(batch) for batch in read(tmp_path / "a.parquet")[2]) == 4_000


def test_faulty_rows_of_parquet_cost_only_themselves(tmp_path):
    raw = pa.array([b"fine", b"\xff\xfe", None, b"a\x00b", b"", b"x" * 2_000])
    text = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers(), null_count=1)
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    found, ids, rows, faults = read(tmp_path / "a.parquet", Fields(), 1_000)
    assert found == ["fine", "a\x00b", ""]
    assert ids == ["a.parquet:1", "a.parquet:4", "a.parquet:5"]
    assert faults == {2: "invalid_utf8", 3: "no_text", 6: "too_large"}
    assert sum(len(batch) for batch in rows) == 3


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst", ".jsonl.gz"])
def test_json_lines_keep_their_bytes(tmp_path, suffix):
    rows = [
        {"id": i, "text": f"naïve \u0000 {i}" * (i % 40), "at": "2020-01-01", "n": {"x": [i, None]}}
        for i in range(9_000)
    ]
    raw = "".join(json.dumps(row, ensure_ascii=i % 2 == 0) + "\n" for i, row in enumerate(rows))
    pack = {".jsonl": bytes, ".jsonl.zst": zstandard.compress, ".jsonl.gz": gzip.compress}[suffix]
    (tmp_path / f"a{suffix}").write_bytes(pack(raw.encode().rstrip(b"\n")))
    found, ids, batches, faults = read(tmp_path / f"a{suffix}")
    assert faults == {}
    assert found == [row["text"] for row in rows]
    assert ids == [str(row["id"]) for row in rows]
    assert lines_of(batches) == raw.encode()
    assert max(len(batch) for batch in batches) == 4_000


BAD = [
    (b'{"text": "a"', "bad_json"), (b'{"text": "\\ud800"}', "lone_surrogate"),
    (b'{"text": "a\xff"}', "invalid_utf8"), (b'{"text": null}', "no_text"),
    (b'{"x": 1}', "no_text"), (b'{"text": 1}', "text_not_a_string"), (b"[1]", "not_an_object"),
    (b'"text"', "not_an_object"), (b'{"text": "a"}{"text": "b"}', "bad_json"),
    (b'{"text": "a\x00b"}', "bad_json"), (b'{"text": "' + b"x" * 2_000 + b'"}', "too_large"),
    (b"[" * 9_000, "too_large"), (b'{"text": "a", "x": ' + b"[" * 900, "bad_json"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "reason"), BAD)
def test_a_bad_line_costs_only_itself(tmp_path, bad, reason):
    good = [b'{"text": "one", "id": "a"}', b'{"text": "", "x": NaN}', b'{"text": "\\u0000"}']
    lines = [good[0], b"", bad, *good[1:]]
    (tmp_path / "a.jsonl").write_bytes(b"\r\n".join(lines) if len(bad) < 99 else b"\n".join(lines))
    found, ids, rows, faults = read(tmp_path / "a.jsonl", max_document_bytes=1_000)
    assert found == ["one", "", "\x00"]
    assert ids == ["a", "a.jsonl:4", "a.jsonl:5"]
    assert faults == {3: reason}
    assert [line.strip() for batch in rows for line in batch.to_pylist()] == good


def test_lines_and_objects_that_are_as_many_but_not_the_same(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(
        b'{"text": "a"}{"text": "b"}\n\n{"text":\n"c"}{"text":"d"}\n'
    )
    found, _, _, faults = read(tmp_path / "a.jsonl")
    assert (found, faults) == ([], {1: "bad_json", 3: "bad_json", 4: "bad_json"})


def test_a_line_of_many_blocks_is_skipped_and_those_around_it_are_read(tmp_path):
    with (tmp_path / "a.jsonl").open("wb") as file:
        file.write(b'{"text": "a"}\n{"text": "')
        for _ in range(5):
            file.write(b"x" * BLOCK_BYTES)
        file.write(b'"}\n{"text": "b"}\n')
    before = pa.total_allocated_bytes()
    found, ids, _, faults = read(tmp_path / "a.jsonl")
    assert (found, ids, faults) == (["a", "b"], ["a.jsonl:1", "a.jsonl:3"], {2: "too_large"})
    assert pa.total_allocated_bytes() - before < BLOCK_BYTES


@given(st.lists(st.binary(max_size=9)), st.integers(0, 12))
def test_blocks_hold_the_lines_whatever_the_chunks(chunks, max_line_bytes):
    lines = b"".join(chunks).split(b"\n")
    lines = lines[:-1] if not lines[-1] else lines
    found = b"".join(whole_lines([chunk for chunk in chunks if chunk], max_line_bytes))
    found = found.split(b"\n")[:-1]
    assert len(found) == len(lines)
    for line, one in zip(found, lines, strict=True):
        assert line == one or (line == one[: max_line_bytes + 1] and len(one) > max_line_bytes)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl.zst", ".jsonl.gz"])
@pytest.mark.parametrize("part", [0, 0.5, 0.999])
def test_a_file_that_is_cut_off_fails_as_a_whole(tmp_path, suffix, part):
    raw = b"".join(json.dumps({"text": f"{i}" * 9}).encode() + b"\n" for i in range(20_000))
    if suffix == ".parquet":
        pq.write_table(pa.table({"text": [f"{i}" for i in range(9_000)]}), tmp_path / "whole")
        packed = (tmp_path / "whole").read_bytes()
    else:
        packed = (gzip if suffix == ".jsonl.gz" else zstandard).compress(raw)
    (tmp_path / f"a{suffix}").write_bytes(packed[: int(len(packed) * part)])
    with pytest.raises(UnreadableFile, match=f"a{suffix}: ") as told:
        read(tmp_path / f"a{suffix}", Fields())
    assert "\n" not in str(told.value)


def test_a_missing_column_is_told_with_those_that_are_there(tmp_path):
    pq.write_table(pa.table({"content": ["a"], "n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(UnreadableFile, match="no column text, but content, n"):
        read(tmp_path / "a.parquet", Fields())
    with pytest.raises(UnreadableFile, match="text is of type int64"):
        read(tmp_path / "a.parquet", Fields(text="n"))


def test_kinds_come_from_a_field_with_a_default(tmp_path):
    rows = ['{"text": "a", "k": "code"}', '{"text": "b"}', '{"text": "c", "k": "pdf"}']
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    assert read(tmp_path / "a.jsonl", Fields(kind=None, kind_field="k"))[3] == {
        2: "unknown_kind",
        3: "unknown_kind",
    }
    assert read(tmp_path / "a.jsonl", Fields(kind="web", kind_field="k"))[3] == {3: "unknown_kind"}


def test_names_are_relative_to_what_was_given(tmp_path):
    for name in ("x/1.jsonl", "x/y/2.jsonl", "x/readme.txt", "z/1.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"text": "a"}\n')

    def names(*addresses):
        return [file.name for file in list_corpus("filter", addresses)]

    assert names(str(tmp_path)) == ["x/1.jsonl", "x/y/2.jsonl", "z/1.jsonl"]
    assert names(f"file://{tmp_path}/x") == ["1.jsonl", "y/2.jsonl"]
    assert names(f"{tmp_path}/x/1.jsonl") == ["1.jsonl"]
    assert names(f"{tmp_path}/*/1.jsonl") == ["x/1.jsonl", "z/1.jsonl"]
    with pytest.raises(InputError, match=r"would both be written as 1\.jsonl"):
        names(f"{tmp_path}/x", f"{tmp_path}/z")
    with pytest.raises(InputError, match="no file at"):
        names(f"{tmp_path}/nothing")


def test_memory_is_an_address_too():
    fsspec.filesystem("memory").pipe("/corpus/a.jsonl.gz", gzip.compress(b'{"text": "a"}\n'))
    assert read("memory://corpus")[0] == ["a"]
    fsspec.filesystem("memory").rm("/corpus", recursive=True)
