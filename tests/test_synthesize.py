"""Stage 6 with the real stand-in teacher on real functions: what is accepted, and what is not."""

import inspect
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_filter import small_filter

from conftest import Bench, Sections, document
from pipeline.book_outline import BookConfig
from pipeline.errors import InputError, StageError
from pipeline.extracts import extract_all
from pipeline.factors import PlanConfig
from pipeline.gate import GateConfig
from pipeline.judge_piece import without_body
from pipeline.near_copies import signature, similarity
from pipeline.records import DOCUMENT, SCORE, SYNTHETIC_REJECT, read_rows, write_table
from pipeline.rephrase import RephraseConfig
from pipeline.sandbox import SandboxConfig
from pipeline.splits import ValidationConfig, in_validation
from pipeline.synthesis_config import SynthesizeConfig
from pipeline.synthesize import DIRECTORIES, STAGE

LIBRARY = Path(sysconfig.get_path("stdlib"))
CODE = ["urllib/parse.py", "difflib.py", "string.py", "html/__init__.py", "posixpath.py",
        "textwrap.py", "gettext.py"]  # fmt: skip
PROSE = ["heapq", "decimal", "statistics"]  # their documentation, as text
HELD_OUT = ValidationConfig(share=0.3)
LIMITS = SandboxConfig(cpu_seconds=2, wall_seconds=4)
OPEN = GateConfig(min_expected_score=None, min_rubric_score=None)
SMALL = SynthesizeConfig(
    textbooks=8, exercises=6, max_redraws=2, sandbox=LIMITS, gate=OPEN,
    max_extracts=14,  # so few that the stand-in repeats itself
)  # fmt: skip


def kept():
    """Real documents; html's licence is not known."""
    rows = [
        document((LIBRARY / path).read_text(), path, group=path,
                 licence=None if path.startswith("html") else "PSF-2.0")
        for path in CODE
    ]  # fmt: skip
    docs = [inspect.cleandoc(import_module(name).__doc__) for name in PROSE]
    return rows + [document(text, f"{name}.md") for name, text in zip(PROSE, docs, strict=True)]


def write(run, rows, *sections, model=None):
    bench = Bench(run)

    def put_filter(out):
        if model is not None:
            shutil.copytree(model, out, dirs_exist_ok=True)
            (out / "manifest.json").unlink()

    def put_applied(out):
        scores = [{"doc_id": row["doc_id"], "score": 0.6, "expected_score": 2.5, "keep": True}
                  for row in rows]  # fmt: skip
        write_table(out / "kept" / "00000.parquet", rows, DOCUMENT)
        write_table(out / "scores" / "00000.parquet", scores, SCORE)

    bench.put_documents(2, "clean", rows)
    bench.put(4, "train-filter", put_filter)
    bench.put(5, "apply-filter", put_applied)
    return bench.make(STAGE, *sections)


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
    for task, directory in DIRECTORIES.items():
        assert written.facts["accepted"][task] == len(accepted(written, directory))
    assert written.facts["wanted"]["lesson"] == 8
    drafts = [p["url_or_path"] for p in accepted(written)] + [r["prompt_id"] for r in rejects]
    slots = [draft.rpartition("-")[0] for draft in drafts]
    rejected = [r["prompt_id"].rpartition("-")[0] for r in rejects
                if r["reason"] != "nothing_to_teach"]  # fmt: skip
    wanted = {f"lesson-{i:07}" for i in range(8)} | {f"exercise-{i:07}" for i in range(6)}
    assert set(slots) == wanted
    assert max(Counter(rejected).values()) <= 1 + SMALL.max_redraws


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
            assert float(limit) >= SMALL.twins.max_similarity


def test_no_two_accepted_pieces_are_near_copies(written):
    sketches = [signature(piece["text"]) for piece in accepted(written)]
    for one, other in itertools.combinations(sketches, 2):
        assert similarity(one, other) <= SMALL.twins.max_similarity


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
        assert said["draw"]["prompt_id"] == piece["url_or_path"]
        assert said["draw"]["doc_id"] == source["doc_id"]
        assert said["grounded_licences"] == [source["licence"]]
    assert len({piece["group"] for piece in pieces}) > 2
    assert pq.read_schema(written.files("textbooks/*.parquet")[0]).equals(DOCUMENT)


def test_nothing_is_grounded_in_a_group_held_out_for_validation(written):
    held_out = [row for row in kept() if in_validation(row["group"], 7, HELD_OUT)]
    assert any(list(extract_all(row, SMALL.extract_chars)) for row in held_out)
    for piece in accepted(written):
        assert not in_validation(grounds(piece)["group"], 7, HELD_OUT)


def test_the_report_compares_what_was_accepted_with_drafts_and_people(written):
    report = json.loads(written.file("diversity.json").read_text())
    sets = report["sets"]
    assert sets["accepted"]["pieces"] == written.ledger.kept
    rejects = list(read_rows([written.file("rejects.parquet")]))
    wrote = [r for r in rejects if r["text"]]
    assert sets["raw"]["pieces"] == written.ledger.kept + len(wrote) > written.ledger.kept
    assert sets["accepted"]["near_duplicate_share"]["0.7"] == 0
    assert sets["human_reference"]["pieces"] > 3
    coverage = json.loads(written.file("coverage.json").read_text())
    assert coverage["lesson"]["pieces"] + coverage["exercise"]["pieces"] == written.ledger.kept
    assert written.file("coverage.png").read_bytes().startswith(b"\x89PNG")


def test_the_facts_say_who_wrote_and_what_protected(written):
    assert written.facts["writer"].endswith("(rule-based stand-in, not an LLM)")
    assert written.facts["writer_is_llm"] is False
    assert any("own network" in line for line in written.facts["sandbox"])
    assert written.manifest.spend.calls == written.ledger.rows_in


@pytest.mark.long
def test_another_run_writes_the_same_bytes_whatever_the_workers(written, tmp_path):
    alone = SMALL.model_copy(update={"workers": 1})
    again = write(tmp_path / "run", kept(), alone, HELD_OUT)
    assert again.manifest.fingerprint == written.manifest.fingerprint
    assert again.manifest.outputs_sha256 == written.manifest.outputs_sha256


def test_without_a_function_that_stands_by_itself_nothing_is_asked(tmp_path):
    rows = [row for row in kept() if row["kind"] == "web"]
    with pytest.raises(StageError, match=r"no kept document holds a function.*; keep more code"):
        write(tmp_path / "run", rows, SMALL, HELD_OUT)


def test_a_bad_curriculum_is_refused_before_any_stage_runs(tmp_path):
    config = SynthesizeConfig(plan=PlanConfig(curriculum=str(tmp_path / "gone.yaml")))
    with pytest.raises(InputError, match="cannot be read"):
        STAGE.hash_inputs(Sections({SynthesizeConfig: config}, 7))


@pytest.mark.usefixtures("sandbox")
def test_drafts_of_which_none_is_accepted_are_an_error_with_the_counts(tmp_path):
    silent = document("def f(x):\n    y = x\n    z = y\n    return None\n", "silent.py")
    once = SMALL.model_copy(update={"textbooks": 2, "exercises": 1, "max_redraws": 1})
    with pytest.raises(StageError, match=r"none of 3 drafts was accepted.*nothing_to_teach': 3"):
        write(tmp_path / "run", [silent], once, HELD_OUT)


@pytest.mark.long
@pytest.mark.usefixtures("sandbox")
def test_extracts_that_bring_nothing_new_are_not_paid_for_again(tmp_path, caplog):
    """The stand-in has one exercise for a function, whatever else is drawn."""
    source = inspect.getsource(import_module("html").escape)
    config = SMALL.model_copy(update={"textbooks": 0, "exercises": 6, "slots_at_once": 1})
    made = write(tmp_path / "run", [document(source, "escape.py")], config)
    assert made.facts["accepted"]["exercise"] == 1
    assert made.ledger.dropped == {"near_copy": config.max_twins_in_row}
    assert made.facts["slots_not_asked_for"] == {"exercise": 4}  # the second has had its redraws
    assert "nothing new in any of 1 extracts" in caplog.text


@pytest.mark.usefixtures("sandbox")
def test_every_task_is_written_and_carries_what_it_is_grounded_in(tmp_path):
    rows = kept()
    wide = RephraseConfig(min_expected_score=0, max_expected_score=5, min_length_share=0.01)
    config = SynthesizeConfig(
        textbooks=0, exercises=0, rephrased=3, instructions=6, book=BookConfig(books=1),
        rephrase=wide, max_redraws=3, sandbox=LIMITS, gate=OPEN,
    )  # fmt: skip
    made = write(tmp_path / "run", rows, config)
    known = {row["doc_id"]: row for row in rows}
    assert made.facts["accepted"]["book"] == 1
    assert made.facts["accepted"]["instruction"] > 2
    for piece in accepted(made):
        grounds = json.loads(piece["metadata"])["grounded_in"]
        assert grounds
        assert set(grounds) <= set(known)
    (book,) = accepted(made, "books")
    sections = json.loads(book["metadata"])["sections"]
    assert len(sections) >= 3
    assert all(s["title"] in book["text"][s["start"] : s["end"]] for s in sections)
    made.ledger.check("synthesize")


@pytest.mark.long
@pytest.mark.usefixtures("sandbox")
def test_the_forest_and_the_rubric_turn_pieces_away(tmp_path):
    model = small_filter() / "04-train-filter"
    gate = GateConfig(min_expected_score=0, min_rubric_score=4)
    strict = SMALL.model_copy(
        update={"gate": gate, "max_extracts": 5_000, "exercises": 2, "textbooks": 4}
    )
    made = write(tmp_path / "run", kept(), strict, HELD_OUT, model=model)
    rejects = list(read_rows([made.file("rejects.parquet")]))
    weak = [r for r in rejects if r["reason"] == "low_rubric_score"]
    assert weak
    assert all(int(r["evidence"][0]) < 4 for r in weak)
    for piece in accepted(made):
        said = json.loads(piece["metadata"])
        assert said["rubric_score"] >= 4
        assert 0 <= said["expected_score"] <= 5


@pytest.mark.usefixtures("sandbox")
def test_a_shelf_with_nothing_to_teach_gives_its_turn_to_the_next(tmp_path):
    silent = "\n\n".join(f"def f{i}(x):\n    y = x\n    z = y\n    return None" for i in range(4))
    rows = [document(silent, f"{name}.py") for name in ("a", "b", "c")] + kept()[:2]
    config = SMALL.model_copy(
        update={"textbooks": 0, "exercises": 0, "book": BookConfig(books=1), "max_extracts": 500}
    )
    made = write(tmp_path / "run", rows, config)
    assert made.facts["accepted"]["book"] == 1
    refused = [row["prompt_id"] for row in read_rows([made.file("rejects.parquet")])
               if row["reason"] == "nothing_to_teach"]  # fmt: skip
    assert refused
    assert {json.loads(row["metadata"])["grounded_in"][0] for row in accepted(made)} <= {
        row["doc_id"] for row in kept()[:2]
    }


CHILD = """
import sys
from pathlib import Path
from test_synthesize import HELD_OUT, SMALL, kept, write
print(write(Path(sys.argv[1]), kept(), SMALL, HELD_OUT).manifest.outputs_sha256)
"""


@pytest.mark.long
def test_a_killed_run_ends_with_the_same_pieces_and_asks_nothing_twice(written, tmp_path):
    answers = tmp_path / "run" / "answers.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "run")], start_new_session=True,
        cwd=Path(__file__).parents[1], env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not sum(_rows(path, "verdicts") for path in tmp_path.rglob("verdicts.sqlite")):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    before = _rows(answers, "answers")
    again = write(tmp_path / "run", kept(), SMALL, HELD_OUT)
    assert again.manifest.outputs_sha256 == written.manifest.outputs_sha256
    assert 0 < before <= _rows(answers, "answers") == written.manifest.spend.calls


def _rows(path, table):
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as file:
        try:
            return file.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        except sqlite3.OperationalError:
            return 0
