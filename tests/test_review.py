"""What people score: the queue that they are given, and the files that they give back."""

import csv
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.human_labels import HumanLabel, read_human_labels
from pipeline.review import COLUMNS, ReviewItem, write_review_queue

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "=HYPERLINK(\"http://x\",\"y\")",
            "=cmd|' /C calc'!A0"]  # fmt: skip
STARTS = tuple("=+-@＝＋－＠\t\r\n")
TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | st.lists(
    st.sampled_from([*FORMULAS, ";", '"', "\n", "\r\n", ",", "x"]), max_size=6
).map("".join)


def item(doc_id="0a", **fields):
    plain = ReviewItem(
        doc_id, "code", "test", "a.py", {"first": 1, "again": 3}, "x = 1\n", "It teaches little."
    )
    return replace(plain, **fields)


def rows_of(folder):
    with (folder / "review.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill_in(path, to, delimiter=",", encoding="utf-8-sig", **said):
    """Save the queue as a person's spreadsheet would."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [{**row, **said} for row in csv.DictReader(file)]
    with to.open("w", encoding=encoding, newline="") as file:
        table = csv.DictWriter(file, COLUMNS, delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)


def test_the_largest_disagreement_comes_first_and_agreement_is_left_out(tmp_path):
    items = [
        item("agreed", scores={"a": 2, "b": 2}),
        item("alone", scores={"a": 2}),
        item("unlabelled", scores={"a": 2, "b": None}),
        item("nobody", scores={"a": None}),
        item("two b", scores={"a": 1, "b": 3}),
        item("two a", scores={"a": 3, "b": 1}),
        item("two of three", scores={"a": 1, "b": 1, "c": 3}),
        item("five", scores={"a": 0, "b": 5}),
    ]
    assert write_review_queue(tmp_path, items, 100) == 6
    order = ["five", "two a", "two b", "two of three", "nobody", "unlabelled"]
    assert [row["doc_id"] for row in rows_of(tmp_path)] == order
    assert [row["disagreement"] for row in rows_of(tmp_path)] == ["5", "2", "2", "2", "0", "0"]
    assert write_review_queue(tmp_path, items[::-1], 2) == 2
    assert [row["doc_id"] for row in rows_of(tmp_path)] == order[:2]


def test_both_files_say_what_to_judge_by_and_leave_room_for_people(tmp_path):
    items = [item(excerpt="naïve ✓ 𝄞", scores={"a": 1, "b": None}, justification=None)]
    write_review_queue(tmp_path, items, 10)
    (row,) = rows_of(tmp_path)
    (line,) = (tmp_path / "review.jsonl").read_text(encoding="utf-8").splitlines()
    assert list(row) == list(json.loads(line)) == list(COLUMNS)
    assert json.loads(row["scores"]) == json.loads(line)["scores"] == {"a": 1, "b": None}
    assert row["excerpt"] == json.loads(line)["excerpt"] == "naïve ✓ 𝄞"
    assert [row[name] for name in ("justification", "human_score", "note")] == [""] * 3
    assert json.loads(line)["human_score"] is None


def test_an_empty_queue_has_its_columns(tmp_path):
    assert write_review_queue(tmp_path, [item()], 0) == 0
    assert rows_of(tmp_path) == []
    for name in ("review.csv", "review.jsonl"):
        assert read_human_labels(tmp_path / name) == {}


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_is_a_formula(tmp_path, formula):
    names = ("doc_id", "source", "url_or_path", "excerpt", "justification")
    write_review_queue(tmp_path, [item(**dict.fromkeys(names, formula))], 1)
    (row,) = rows_of(tmp_path)
    for name in names:
        assert row[name].startswith(f"'{formula[0]}")
        assert row[name].replace("'", "") == formula.replace("'", "")
    assert formula.strip() in json.loads((tmp_path / "review.jsonl").read_text())["excerpt"]


@given(st.lists(TEXT, min_size=3, max_size=3), st.sampled_from(",;"))
def test_wherever_a_spreadsheet_parts_the_file_no_cell_is_a_formula(tmp_path_factory, texts, mark):
    folder = tmp_path_factory.mktemp("queue")
    source, excerpt, justification = texts
    shown = item(source=source, excerpt=excerpt, justification=justification)
    write_review_queue(folder, [shown], 1)
    with (folder / "review.csv").open(encoding="utf-8-sig", newline="") as file:
        cells = [cell for row in csv.reader(file, delimiter=mark) for cell in row]
    assert not [cell for cell in cells if cell.startswith(STARTS[:8])]
    line = json.loads((folder / "review.jsonl").read_text(encoding="utf-8"))
    assert [line["source"], line["excerpt"], line["justification"]] == texts


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_queue_that_was_filled_in_is_read_back(tmp_path, delimiter, encoding):
    ids = ["00ab12ff00ab12ff00ab12ff", "123456789012345678901234", "12345678901e456789012345"]
    write_review_queue(tmp_path, [item(i, excerpt='=1;"\n;-1') for i in ids], 10)
    said = {"human_score": "4", "annotator": " Ada ", "note": "clear, short; good\nvery"}
    fill_in(tmp_path / "review.csv", tmp_path / "done.csv", delimiter, encoding, **said)
    assert read_human_labels(tmp_path / "done.csv") == {
        i: HumanLabel(i, 4, "Ada", "clear, short; good\nvery") for i in ids
    }


def test_an_id_like_a_number_is_kept_from_being_one(tmp_path):
    ids = ["123456789012345678901234", "12345678901e456789012345"]
    write_review_queue(tmp_path, [item(i) for i in ids], 10)
    assert [row["doc_id"] for row in rows_of(tmp_path)] == [f"'{i}" for i in ids]


def test_lines_of_json_are_read_too(tmp_path):
    rows = [
        {"doc_id": "a", "human_score": 3},
        {"doc_id": "b", "human_score": "0", "annotator": "Ada", "other": [1]},
        {"doc_id": "c", "human_score": None},
        {"doc_id": "d", "human_score": 5.0, "note": ""},
        {"doc_id": "a", "human_score": 3, "annotator": "Bob"},
    ]
    path = tmp_path / "labels.JSONL"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8-sig")
    assert read_human_labels(path) == {
        "a": HumanLabel("a", 3),
        "b": HumanLabel("b", 0, "Ada"),
        "d": HumanLabel("d", 5),
    }


def test_a_blank_score_is_no_label(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("human_score,doc_id,more\n,a,x\n 2 ,b,y\n4.0,c\n,,\n\n  ,d,z\n")
    assert read_human_labels(path) == {"b": HumanLabel("b", 2), "c": HumanLabel("c", 4)}


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("l.csv", "doc_id,score\na,1\n", r"l\.csv, line 1: there is no column 'human_score' among"),
        ("l.csv", "", r"line 1: there is no column 'doc_id'"),
        ("l.csv", "doc_id,human_score\na,1\n\nb,6\n", r"line 4: human_score = '6'; give an int"),
        (
            "l.csv",
            'doc_id,human_score,note\na,1,"x\ny"\nb,good,\n',
            r"line 4: human_score = 'good'",
        ),
        ("l.csv", "doc_id,human_score\na,2.5\n", r"line 2: human_score = '2\.5'"),
        ("l.csv", "doc_id,human_score\na,-1\n", r"human_score = '-1'"),
        ("l.csv", "doc_id,human_score\n,3\n", r"line 2: a score without a doc_id; name the doc"),
        ("l.csv", "doc_id,human_score\na,3\na,4\n", r"line 3: document 'a' is scored 4 here and 3"),
        ("l.csv", "doc_id,human_score\na,\xff\n", r"is not UTF-8 .*; save it as CSV UTF-8"),
        ("l.csv", f"doc_id,human_score\na,{'3' * 200_000}\n", r"line 2: not CSV \(field larger"),
        ("l.jsonl", '{"doc_id": "a"}\n', r"l\.jsonl, line 1: there is no 'human_score'; give doc_"),
        ("l.jsonl", '\n{"doc_id": "a", "human_score": true}\n', r"line 2: human_score = 'True'"),
        ("l.jsonl", '{"doc_id": "a", "human_score": NaN}\n', r"human_score = 'nan'"),
        ("l.jsonl", "{\n", r"line 1: not JSON"),
        ("l.jsonl", "[1]\n", r"line 1: '\[1\]'; give an object a line"),
        ("l.xlsx", "", r"l\.xlsx is neither \.csv nor \.jsonl"),
    ],
)
def test_what_cannot_be_used_is_told_with_file_line_value_and_cure(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=told):
        read_human_labels(tmp_path / name)


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl"])
def test_a_file_that_is_not_there_is_told(tmp_path, name):
    with pytest.raises(InputError, match=rf"{name} cannot be read .*; correct label\.human_labels"):
        read_human_labels(tmp_path / name)
