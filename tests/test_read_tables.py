"""JSON lines, CSV and Parquet: the mapping, and rows that cost themselves alone."""

import csv
import gzip
import json
import math
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pydantic import ValidationError
from source_reading import read, reasons, source

from pipeline import read_parquet
from pipeline.errors import InputError
from pipeline.sources_plan import list_source, make_pieces

MAPPING = {"text": "content", "url_or_path": "path", "licence": "license", "group": "repo"}
ROWS = [
    {"content": "first text", "path": "a/b.py", "license": ["MIT"], "repo": "o/r", "stars": 5},
    {"content": None, "path": "null", "license": None, "repo": None, "stars": 0},
    {"content": "second text", "path": "a/c.py", "license": ["MIT", "GPL-3.0"], "repo": "o/r",
     "stars": 1},
    {"content": "  \n", "path": "blank", "license": [], "repo": "o/s", "stars": 2},
    {"content": "x" * 20_000, "path": "large", "license": None, "repo": "o/s", "stars": 3},
    {"content": "third", "path": "https://www.example.org/x", "license": None, "repo": None,
     "stars": 4},
]  # fmt: skip


def lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write(path, rows):
    """The rows in the format that the file's name says."""
    if path.name.endswith(".jsonl"):
        path.write_bytes(lines(rows))
    elif path.name.endswith(".jsonl.gz"):
        path.write_bytes(gzip.compress(lines(rows)))
    elif path.name.endswith(".jsonl.zst"):
        path.write_bytes(zstandard.ZstdCompressor().compress(lines(rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_columns_are_mapped_and_each_bad_row_costs_itself(tmp_path, name):
    path = write(tmp_path / name, ROWS)
    documents, rejects = read(path, fields={**MAPPING, "metadata": ["stars"]}, licence="Apache-2.0")
    assert [d["text"] for d in documents] == ["first text", "second text", "third"]
    assert [d["url_or_path"] for d in documents] == [
        "a/b.py", "a/c.py", "https://www.example.org/x",
    ]  # fmt: skip
    assert [d["licence"] for d in documents] == ["MIT", "Apache-2.0", "Apache-2.0"]
    assert [d["group"] for d in documents] == ["here/o/r", "here/o/r", "here/example.org"]
    assert [json.loads(d["metadata"])["stars"] for d in documents] == [5, 1, 4]
    assert reasons(rejects) == {f"{name}:2": "no_text", f"{name}:4": "empty", f"{name}:5":
                                "too_large"}  # fmt: skip
    assert [row["offset"] for row in rejects] == [2, 4, 5]
    assert [row["dropped"] for row in rejects] == [False, True, False]


def test_two_equal_rows_are_two_documents(tmp_path):
    documents, _ = read(write(tmp_path / "a.jsonl", [ROWS[0], ROWS[0]]), fields=MAPPING)
    first, second = documents
    assert first["doc_id"] != second["doc_id"]
    assert first["url_or_path"] == second["url_or_path"]


def test_a_bad_line_costs_itself(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"text": "one"}\n{"text": \n\n[1]\n{"text": "\xff"}\n{"text": 5}\n{"text": "\\ud800"}\n'
        + b'{"text": "'
        + b"y" * 9_000_000
        + b'"}\r\n{"text": "two"}\r\n{"text": "half'
    )
    documents, rejects = read(path, max_bytes=1_000)
    assert [d["text"] for d in documents] == ["one", "two"]
    assert [d["url_or_path"] for d in documents] == ["a.jsonl:1", "a.jsonl:9"]
    assert reasons(rejects) == {
        "a.jsonl:2": "bad_json", "a.jsonl:4": "not_an_object", "a.jsonl:5": "invalid_utf8",
        "a.jsonl:6": "text_not_a_string", "a.jsonl:7": "lone_surrogate", "a.jsonl:8": "too_large",
        "a.jsonl:10": "bad_json",
    }  # fmt: skip


def many_lines(count):
    return lines([{"text": f"text {i} " + "word " * (i % 50)} for i in range(count)])


def test_a_cut_stream_gives_what_stood_before_the_cut(tmp_path):
    whole = many_lines(5_000)
    for name, packed in (
        ("a.jsonl.gz", gzip.compress(whole)),
        ("b.jsonl.zst", zstandard.ZstdCompressor().compress(whole)),
    ):
        path = tmp_path / name
        path.write_bytes(packed[: len(packed) // 2])
        documents, (cut,) = read(path)
        assert 1_000 < len(documents) < 4_000
        assert cut["reason"] == "truncated"
        assert cut["offset"] == len(documents) + 1
        assert f"after {len(documents):,} rows" in cut["evidence"]


def test_damage_in_the_middle_gives_what_stood_before_it(tmp_path):
    packed = bytearray(gzip.compress(many_lines(5_000)))
    packed[len(packed) // 2 : len(packed) // 2 + 40] = b"\xff" * 40
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed)
    documents, rejects = read(path)
    assert len(documents) > 1_000
    assert rejects[-1]["reason"] == "damaged"


def test_members_after_members_are_one_stream(tmp_path):
    parts = [many_lines(300), many_lines(200)]
    (tmp_path / "a.jsonl.gz").write_bytes(b"".join(map(gzip.compress, parts)) + b"\0" * 512)
    zstd = zstandard.ZstdCompressor()
    skippable = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    (tmp_path / "b.jsonl.zst").write_bytes(skippable.join(map(zstd.compress, parts)))
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(parts[0]) + b"no gzip")
    documents, (trailing,) = read(tmp_path)
    assert len(documents) == 500 + 500 + 300
    assert (trailing["url_or_path"], trailing["reason"]) == ("c.jsonl.gz", "damaged")


def test_csv_rows_are_numbered_by_line_and_cost_themselves(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"\xef\xbb\xbfcontent,path\r\n"
        b'"one\nwith, two lines",p1\r\n'
        b"too,many,cells\r\n"
        b"caf\xe9,latin\r\n"
        b'"a"b,bad quote\r\n'
        b"\r\n"
        b"last,p2\r\n"
        b'"never closed,p3\r\n'
    )
    documents, rejects = read(path, fields={"text": "content", "url_or_path": "path"})
    assert [d["text"] for d in documents] == ["one\nwith, two lines", "last"]
    assert [d["doc_id"] for d in documents] == list(dict.fromkeys(d["doc_id"] for d in documents))
    assert reasons(rejects) == {"a.csv:4": "wrong_cell_count", "a.csv:5": "undecodable",
                                "a.csv:6": "bad_csv", "a.csv:9": "bad_csv"}  # fmt: skip
    path.write_bytes(b"content\ncaf\xe9\n")
    assert read(path, fields={"text": "content"}, encoding="latin-1")[0][0]["text"] == "café"


def test_a_line_of_csv_that_is_too_long_costs_its_row(tmp_path):
    path = tmp_path / "a.tsv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerows([["text"], ["one"], ["x" * 3_000_000 + '"' + "\nmore"], ["two"]])
    documents, rejects = read(path, max_bytes=1_000)
    assert documents[0]["text"] == "one"
    assert documents[-1]["text"] == "two"
    assert rejects[0]["reason"] == "too_large"
    assert all(len(d["text"]) < 1_000 for d in documents)


def test_a_damaged_row_group_costs_itself(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [{"text": f"{i} " * 200} for i in range(300)]
    pq.write_table(
        pa.Table.from_pylist(texts), path, row_group_size=100, use_dictionary=False,
        compression="none",
    )  # fmt: skip
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    raw = bytearray(path.read_bytes())
    raw[column.data_page_offset : column.data_page_offset + 30] = b"\xff" * 30
    path.write_bytes(raw)
    documents, (lost,) = read(path)
    kept = [texts[i]["text"] for i in [*range(100), *range(200, 300)]]
    assert [d["text"] for d in documents] == kept
    assert lost["reason"] == "damaged"
    assert "rows 101 to 200" in lost["evidence"]
    assert lost["offset"] == 101
    path.write_bytes(raw[:-20])
    assert read(path)[1][0]["reason"] == "truncated"


def test_a_large_parquet_file_is_read_in_parts_with_the_same_result(tmp_path, monkeypatch):
    texts = [{"text": f"document {i}"} for i in range(1_000)]
    pq.write_table(pa.Table.from_pylist(texts), tmp_path / "a.parquet", row_group_size=10)
    whole, _ = read(tmp_path)
    monkeypatch.setattr(read_parquet, "GROUP_BYTES", 2_000)
    assert len(list(make_pieces([list_source(source(tmp_path))]))) > 5
    assert read(tmp_path)[0] == whole
    assert len(whole) == 1_000


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": "body"}, r"no column 'body' for fields\.text, but content, license, path"),
        ({**MAPPING, "licence": "spdx"}, r"no column 'spdx' for fields\.licence"),
        ({**MAPPING, "metadata": ["x"]}, r"no column 'x' for fields\.metadata"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet"])
def test_a_wrong_mapping_is_one_line_before_any_work(tmp_path, name, fields, said):
    write(tmp_path / name, ROWS)
    with pytest.raises(InputError, match=rf"source 'here': {name} has {said}.*; correct ingest\.s"):
        read(tmp_path, fields=fields)


def test_a_text_column_of_numbers_is_a_mistake(tmp_path):
    with pytest.raises(InputError, match=r"column 'stars' of a\.parquet is of type int64"):
        read(write(tmp_path / "a.parquet", ROWS), fields={"text": "stars"})


def test_a_later_file_without_the_column_fails_alone(tmp_path):
    write(tmp_path / "a.parquet", ROWS)
    pq.write_table(pa.table({"other": ["x"]}), tmp_path / "b.parquet")
    (tmp_path / "c.csv").write_text("content\nfine\n")
    documents, rejects = read(tmp_path, include=["*.parquet"], fields=MAPPING)
    assert len(documents) == 3
    assert reasons(rejects)["b.parquet"] == "missing_column"


def test_text_may_be_bytes_or_a_dictionary(tmp_path):
    table = pa.table({"text": pa.array([b"fine", b"\xff\xfe", b"good"], pa.binary())})
    pq.write_table(table, tmp_path / "a.parquet")
    table = pa.table({"text": pa.array(["x", "y", "x"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "b.parquet")
    table = pa.table({"text": pa.array(["large"], pa.large_string())})
    pq.write_table(table, tmp_path / "c.parquet")
    documents, (bad,) = read(tmp_path)
    assert [d["text"] for d in documents] == ["fine", "good", "x", "y", "x", "large"]
    assert bad["reason"] == "undecodable"


def test_kinds_come_from_a_column(tmp_path):
    rows = [{"text": "a", "k": "code"}, {"text": "b", "k": None}, {"text": "c", "k": "poem"}]
    documents, (bad,) = read(write(tmp_path / "a.jsonl", rows), fields={"kind": "k"})
    assert [d["kind"] for d in documents] == ["code", "web"]
    assert bad["reason"] == "unknown_kind"


def test_a_row_of_csv_that_does_not_end_is_not_held(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,b\n" + '"x\n",' * 300_000 + '"\nlast,1\n')
    documents, rejects = read(path)
    assert rejects[0]["reason"] == "too_large"
    assert rejects[0]["url_or_path"] == "a.csv:2"
    assert documents[-1]["text"] == "last"


def test_metadata_of_any_type_is_json(tmp_path):
    when = datetime(2020, 1, 2, tzinfo=UTC)
    rows = [{"text": "one", "when": when, "stars": math.nan}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (document,), _ = read(tmp_path / "a.parquet", fields={"metadata": ["when", "stars"]})
    facts = json.loads(document["metadata"], parse_constant=pytest.fail)
    assert (facts["when"], facts["stars"]) == ("2020-01-02 00:00:00+00:00", None)


def test_a_mapped_column_that_stands_twice_is_refused(tmp_path):
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "b.parquet")
    pq.write_table(pa.table({"text": ["c"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="has 2 columns 'text'"):
        read(tmp_path / "b.parquet")
    assert reasons(read(tmp_path)[1]) == {"b.parquet": "column_twice"}


def test_an_encoding_that_is_not_of_text_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="no encoding of text is called 'base64'"):
        source(tmp_path, encoding="base64")
