"""`primer score`: in order, at once, the scores of stage 5, and a bad line in its place."""

import contextlib
import json
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
from filter_material import corpus
from small_filter import small_filter

from classifiers.scorer import Scorer

COMMAND = [sys.executable, "-c", "from flows.main import primer; primer()", "score", "--model"]


def score(content, model=None):
    """(answers, what was said, exit code) for these bytes on standard input."""
    done = subprocess.run(
        [*COMMAND, str(model or small_filter())], input=content, capture_output=True, check=False
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return answers, done.stderr.decode().strip(), done.returncode


def test_the_scores_are_those_of_the_scorer_to_the_bit():
    rows = [{"id": i, "text": row["text"], "kind": "code"} for i, (row, _) in enumerate(corpus())]
    del rows[5]["kind"]
    answers, said, code = score("".join(json.dumps(row) + "\n" for row in rows).encode())
    assert (said, code) == ("", 0)
    assert [list(answer) for answer in answers] == [["id", "score", "expected_score", "keep"]] * 700
    assert [answer["id"] for answer in answers] == list(range(700))
    kinds = [row.get("kind", "web") for row in rows]
    columns = Scorer.open(small_filter() / "04-train-filter").score(
        pa.array([row["text"] for row in rows]), pa.array(kinds)
    )
    for name, column in zip(("score", "expected_score", "keep"), columns, strict=True):
        assert np.array([answer[name] for answer in answers], column.dtype).tobytes() == (
            column.tobytes()
        )


def test_a_bad_line_has_its_error_in_its_place():
    lines = [
        b'{"text": "a\\u0000b", "id": "first"}', b"not json", b'{"text": "\\ud800", "id": 2}', b"",
        b'{"id": {"x": 1}}', b'{"text": "x", "kind": "pdf"}', b'{"text": "\xff"}', b"[1]",
        b'{"text": ["x"], "id": 8}', b'{"text": "' + b"x" * 20_000_000 + b'", "id": 9}',
        b'{"text": "", "kind": "code", "id": null}', b'{"text": "last"}',
    ]  # fmt: skip
    answers, said, code = score(b"\n".join(lines))
    assert [a.get("error", "scored").split(":")[0] for a in answers] == [
        "scored", "bad_json", "lone_surrogate", "no_text", "unknown_kind", "invalid_utf8",
        "not_an_object", "text_not_a_string", "too_large", "scored", "scored",
    ]  # fmt: skip
    assert [a["id"] for a in answers] == ["first", None, None, {"x": 1}, None, None, None, 8, None,
                                          None, None]  # fmt: skip
    assert (said, code) == ("primer: score: 8 lines could not be scored", 1)


def test_whoever_waits_at_a_pipe_is_answered_and_may_have_enough():
    with subprocess.Popen(
        [*COMMAND, str(small_filter())], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        line = json.dumps({"id": 1, "text": "one line"}).encode() + b"\n"
        for _ in range(3):
            clock = time.monotonic()
            child.stdin.write(line)
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["id"] == 1
        assert time.monotonic() - clock < 2
        child.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(line)
            child.stdin.close()
        assert (child.wait(60), child.stderr.read()) == (0, b"")


def test_no_model_and_a_damaged_one_are_one_line(tmp_path):
    answers, said, code = score(b"", "no-such-run")
    assert (answers, code, len(said.splitlines())) == ([], 2, 1)
    (tmp_path / "forest.onnx").write_bytes(b"damaged")
    (tmp_path / "threshold.json").write_text("{}")
    answers, said, code = score(b'{"text": "a"}\n', tmp_path)
    assert (answers, code, len(said.splitlines())) == ([], 2, 1)
    assert "cannot be opened" in said
