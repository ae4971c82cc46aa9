"""Stage 6 with the real stand-in teacher on real functions: what is accepted, and what is not."""

import inspect
import itertools
import json
import re
import sysconfig
from collections import Counter
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from conftest import Bench, document
from pipeline.draws import draw
from pipeline.errors import StageError
from pipeline.extracts import extract_all
from pipeline.judge_piece import without_body
from pipeline.near_copies import signature, similarity
from pipeline.records import DOCUMENT, SYNTHETIC_REJECT, read_rows, write_table
from pipeline.sandbox import Sandbox, SandboxConfig
from pipeline.splits import ValidationConfig, in_validation
from pipeline.synthesize import STAGE, SynthesizeConfig

LIBRARY = Path(sysconfig.get_path("stdlib"))
CODE = ["urllib/parse.py", "difflib.py", "string.py", "html/__init__.py", "posixpath.py",
        "textwrap.py", "gettext.py"]  # fmt: skip
PROSE = ["heapq", "decimal", "statistics"]  # their documentation, as text
HELD_OUT = ValidationConfig(share=0.3)
LIMITS = SandboxConfig(cpu_seconds=2, wall_seconds=4)
SMALL = SynthesizeConfig(textbooks=8, exercises=4, max_redraws=2, sandbox=LIMITS)


def kept():
    """Real documents; html's licence is not known."""
    rows = [
        document((LIBRARY / path).read_text(), path, group=path,
                 licence=None if path.startswith("html") else "PSF-2.0")
        for path in CODE
    ]  # fmt: skip
    docs = [inspect.cleandoc(import_module(name).__doc__) for name in PROSE]
    return rows + [document(text, f"{name}.md") for name, text in zip(PROSE, docs, strict=True)]


def write(run, rows, *sections):
    bench = Bench(run)
    bench.put(
        5, "apply-filter", lambda out: write_table(out / "kept" / "00000.parquet", rows, DOCUMENT)
    )
    return bench.make(STAGE, *sections)


@pytest.fixture(scope="module")
def sandbox():
    try:
        return Sandbox("test", LIMITS)
    except StageError as error:
        pytest.skip(f"nothing can be written where code cannot be executed: {error}")


@pytest.fixture(scope="module")
def written(tmp_path_factory, sandbox):
    return write(tmp_path_factory.mktemp("written"), kept(), SMALL, HELD_OUT)


def accepted(written, what="*"):
    return list(read_rows(written.files(f"{what}/*.parquet")))


def grounds(piece):
    (doc_id,) = json.loads(piece["metadata"])["grounded_in"]
    return next(row for row in kept() if row["doc_id"] == doc_id)


def test_every_slot_is_accounted_for(written):
    rejects = list(read_rows([written.file("rejects.parquet")]))
    ledger = written.ledger.check("synthesize")
    assert ledger.kept == len(accepted(written)) > 6
    assert Counter(r["reason"] for r in rejects) == {**ledger.dropped, **ledger.failed}
    assert written.facts["textbooks_accepted"] == len(accepted(written, "textbooks"))
    assert written.facts["exercises_accepted"] == len(accepted(written, "exercises"))
    drafts = [p["url_or_path"] for p in accepted(written)] + [r["prompt_id"] for r in rejects]
    slots = [draft.rpartition("-")[0] for draft in drafts]
    wanted = {f"lesson-{i:07}" for i in range(8)} | {f"exercise-{i:07}" for i in range(4)}
    assert set(slots) == wanted
    assert max(Counter(slots).values()) <= 1 + SMALL.max_redraws


def test_what_is_rejected_has_a_reason_evidence_and_its_draw(written):
    rejects = list(read_rows([written.file("rejects.parquet")]))
    assert pq.read_schema(written.file("rejects.parquet")).equals(SYNTHETIC_REJECT)
    assert {"near_copy", "nothing_to_teach"} <= {r["reason"] for r in rejects}
    ids = {piece["doc_id"] for piece in accepted(written)}
    for reject in rejects:
        told = json.loads(reject["draw"])
        assert told["prompt_id"] == reject["prompt_id"]
        assert reject["evidence"]
        if reject["reason"] == "near_copy":
            twin, limit = re.fullmatch(r"of (\w+), similarity (.*)", reject["evidence"]).groups()
            assert twin in ids
            assert float(limit) >= SMALL.max_similarity


def test_no_two_accepted_pieces_are_near_copies(written):
    sketches = [signature(piece["text"]) for piece in accepted(written)]
    for one, other in itertools.combinations(sketches, 2):
        assert similarity(one, other) <= SMALL.max_similarity


def test_the_code_of_accepted_lessons_prints_what_they_say(written, sandbox):
    blocks = 0
    for piece in accepted(written, "textbooks"):
        for code, _, output in re.findall(
            r"^```python\n(.*?)^```\n(\s*```text\n(.*?)^```)?", piece["text"], re.M | re.S
        ):
            done = sandbox.run(code)
            assert done.ok, done.stderr
            assert not output or output.strip() == done.stdout.strip()
            blocks += 1
    exercises = accepted(written, "exercises")
    assert written.facts["code_blocks_executed"] >= blocks + 2 * len(exercises) > 8
    for piece in exercises:
        solution, _, tests = piece["text"].rpartition("\n\n\nassert ")
        assert sandbox.run(piece["text"]).ok
        assert not sandbox.run(f"{without_body(solution)}\nassert {tests}").ok


def test_a_piece_belongs_to_the_group_and_licence_of_its_extract(written):
    pieces = accepted(written)
    for piece in pieces:
        source = grounds(piece)
        assert (piece["group"], piece["licence"]) == (source["group"], source["licence"])
        assert (piece["origin"], piece["source"]) == ("synthetic", "synthetic")
        said = json.loads(piece["metadata"])
        assert "not an LLM" in said["annotator"]
        one = draw(**{k: said["draw"][k] for k in ("task", "slot", "attempt")},
                   extracts=10**6, seed=7)  # fmt: skip
        assert said["draw"] == {**one.record(), "extract": said["draw"]["extract"]}
    assert len({piece["group"] for piece in pieces}) > 2
    assert pq.read_schema(written.files("textbooks/*.parquet")[0]).equals(DOCUMENT)


def test_nothing_is_grounded_in_a_group_held_out_for_validation(written):
    held_out = [row for row in kept() if in_validation(row["group"], 7, HELD_OUT)]
    assert any(list(extract_all(row, SMALL.extract_chars)) for row in held_out)
    for piece in accepted(written):
        assert not in_validation(grounds(piece)["group"], 7, HELD_OUT)


def test_the_report_compares_what_was_accepted_with_drafts_and_people(written):
    report = json.loads(written.file("diversity.json").read_text())
    assert report["accepted"]["pieces"] == written.ledger.kept
    wrote = written.ledger.kept + written.ledger.dropped["near_copy"]
    assert report["raw"]["pieces"] == wrote
    assert report["accepted"]["near_duplicate_share"]["0.7"] == 0
    assert report["raw"]["near_duplicate_share"]["0.7"] > 0
    assert report["human_reference"]["pieces"] > 3
    for counts in report["factors"].values():
        assert sum(counts.values()) == written.ledger.kept
    assert written.file("coverage.png").read_bytes().startswith(b"\x89PNG")


def test_the_facts_say_who_wrote_and_what_protected(written):
    assert written.facts["writer"].endswith("(rule-based stand-in, not an LLM)")
    assert written.facts["writer_is_llm"] is False
    assert "own network, mount and process namespaces" in written.facts["sandbox"]
    assert written.manifest.spend.calls == written.ledger.rows_in


def test_another_run_writes_the_same_bytes_whatever_the_workers(written, tmp_path):
    alone = SMALL.model_copy(update={"workers": 1})
    again = write(tmp_path / "run", kept(), alone, HELD_OUT)
    assert again.manifest.fingerprint == written.manifest.fingerprint
    assert again.manifest.outputs_sha256 == written.manifest.outputs_sha256


def test_without_a_function_that_stands_by_itself_nothing_is_asked(tmp_path):
    rows = [row for row in kept() if row["kind"] == "web"]
    with pytest.raises(StageError, match=r"no kept document holds a function.*; keep more code"):
        write(tmp_path / "run", rows, SMALL, HELD_OUT)


@pytest.mark.usefixtures("sandbox")
def test_drafts_of_which_none_is_accepted_are_an_error_with_the_counts(tmp_path):
    silent = document("def f(x):\n    y = x\n    z = y\n    return None\n", "silent.py")
    once = SMALL.model_copy(update={"textbooks": 2, "exercises": 1, "max_redraws": 1})
    with pytest.raises(StageError, match=r"none of 6 drafts was accepted.*nothing_to_teach': 6"):
        write(tmp_path / "run", [silent], once, HELD_OUT)
