"""The stage contract, on tiny stages of the tests' own."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import Field

from conftest import Sections
from pipeline.config import HOW, Section
from pipeline.errors import InputError, StageError
from pipeline.ledger import Ledger
from pipeline.manifest import MANIFEST, read_manifest
from pipeline.stage import Outcome, Stage, Workplace
from pipeline.step import make_plan, run_step
from pipeline.verify import verify_run


class CountConfig(Section):
    n: int = Field(3, ge=1)
    workers: int = Field(1, json_schema_extra=HOW)


class OtherConfig(Section):
    word: str = "a"


def count(place: Workplace) -> Outcome:
    (place.scratch / "note").write_text("gone when sealed")
    n = place.section(CountConfig).n
    (place.out / "numbers.txt").write_text("\n".join(map(str, range(n))))
    (place.out / "seconds.json").write_text(os.urandom(4).hex())
    return Outcome(Ledger("numbers", n, n), {"n": n})


def double(place: Workplace) -> Outcome:
    text = place.needs["count"].file("numbers.txt").read_text()
    (place.out / "doubled.txt").write_text(text * 2 + place.section(OtherConfig).word)
    return Outcome(Ledger("files", 1, 1))


COUNT = Stage(1, "count", 1, (), ("numbers.txt",), (CountConfig,), count, ("seconds.json",))
DOUBLE = Stage(2, "double", 1, ("count",), ("doubled.txt",), (OtherConfig,), double)


def plan(run: Path, *sections: Section, seed: int = 1, stages=(COUNT, DOUBLE)):
    return make_plan(stages, Sections({type(s): s for s in sections}, seed), run)


def states(*arguments, **options) -> list[str]:
    return [step.state for step in plan(*arguments, **options).values()]


def run_all(*arguments, **options):
    return [run_step(step) for step in plan(*arguments, **options).values()]


def test_a_sealed_stage_is_skipped_and_a_changed_field_reruns_it_and_what_follows(tmp_path):
    assert states(tmp_path) == ["to run", "to run"]
    first = run_all(tmp_path)
    assert states(tmp_path) == ["sealed", "sealed"]
    assert [s.manifest for s in run_all(tmp_path)] == [s.manifest for s in first]
    assert states(tmp_path, OtherConfig(word="b")) == ["sealed", "stale"]
    assert states(tmp_path, CountConfig(n=4)) == ["stale", "stale"]
    assert states(tmp_path, seed=2) == ["stale", "stale"]
    assert states(tmp_path, CountConfig(workers=8)) == ["sealed", "sealed"]
    newer = replace(COUNT, version=2)
    assert states(tmp_path, stages=(newer, DOUBLE)) == ["stale", "stale"]


def test_times_stay_out_of_the_outputs_hash_but_not_out_of_verify(tmp_path):
    one, other = run_all(tmp_path / "one")[0], run_all(tmp_path / "other")[0]
    assert one.manifest.outputs_sha256 == other.manifest.outputs_sha256
    assert verify_run(tmp_path / "one") == []
    (tmp_path / "one" / "01-count" / "seconds.json").write_text("x")
    assert "seconds.json" in verify_run(tmp_path / "one")[0]


def test_what_is_scratch_is_not_sealed(tmp_path):
    sealed = run_all(tmp_path)[0]
    assert not (sealed.path / "work").exists()
    assert sorted(sealed.manifest.files) == ["numbers.txt", "seconds.json"]


def test_a_ledger_that_does_not_add_up_seals_nothing(tmp_path):
    broken = replace(COUNT, work=lambda place: Outcome(Ledger("numbers", 2, 1)))
    with pytest.raises(StageError, match="does not add up"):
        run_all(tmp_path, stages=(broken,))
    assert not (tmp_path / "01-count").exists()
    assert states(tmp_path) == ["resume", "to run"]


def test_a_stage_that_does_not_make_what_it_promised_seals_nothing(tmp_path):
    broken = replace(COUNT, makes=("primes.txt",))
    with pytest.raises(StageError, match=r"primes\.txt"):
        run_all(tmp_path, stages=(broken,))
    assert not (tmp_path / "01-count").exists()


def test_every_flipped_byte_of_every_sealed_file_is_seen_and_named(tmp_path):
    for sealed in run_all(tmp_path):
        for name in [*sealed.manifest.files, MANIFEST]:
            path = sealed.path / name
            whole = path.read_bytes()
            for at in range(0, len(whole), max(1, len(whole) // 40)):
                path.write_bytes(whole[:at] + bytes([whole[at] ^ 2]) + whole[at + 1 :])
                problems = verify_run(tmp_path)
                assert problems
                assert all(str(path) in problem for problem in problems)
            path.write_bytes(whole)
    assert verify_run(tmp_path) == []


def test_a_stage_made_from_something_else_is_seen(tmp_path):
    run_all(tmp_path)
    run_all(tmp_path, CountConfig(n=9), stages=(COUNT,))
    assert "was made from another count" in verify_run(tmp_path)[0]


def test_a_run_of_a_newer_version_is_refused(tmp_path):
    sealed = run_all(tmp_path)[0]
    record = json.loads((sealed.path / MANIFEST).read_text())
    record["format_version"] = 99
    (sealed.path / MANIFEST).write_text(json.dumps(record))
    with pytest.raises(InputError, match="format 99"):
        read_manifest(sealed.path)


def test_what_stands_before_from_is_taken_as_it_was_sealed(tmp_path):
    run_all(tmp_path)
    recipe = Sections({CountConfig: CountConfig(n=8)})
    taken = make_plan((COUNT, DOUBLE), recipe, tmp_path, taken_as_sealed=["count"])
    assert taken["count"].state == "sealed"
    with pytest.raises(InputError, match="is not sealed"):
        make_plan((COUNT, DOUBLE), recipe, tmp_path / "empty", taken_as_sealed=["count"])


def test_killed_between_manifest_and_rename_is_made_good(tmp_path):
    step = plan(tmp_path)["count"]
    run_step(step)
    step.path.rename(step.partial)
    assert run_step(step).path == step.path
    assert not step.partial.exists()


def test_a_full_disk_is_told_in_one_line_and_nothing_is_sealed(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs more rights than this process has")
    try:
        filling = replace(
            COUNT, work=lambda place: (place.out / "numbers.txt").write_bytes(b"x" * 2_000_000)
        )
        with pytest.raises(StageError, match=r"count: the disk .* is full .*; free some space"):
            run_all(small, stages=(filling,))
        assert not (small / "01-count").exists()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_sigkill_in_the_middle_leaves_a_partial_that_resumes(tmp_path):
    script = textwrap.dedent(f"""
        import sys, time
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from dataclasses import replace
        from test_step import COUNT, count, plan, run_step
        def slow(place):
            outcome = count(place)
            print("written", flush=True)
            time.sleep(60)
            return outcome
        run_step(plan(Path({str(tmp_path)!r}), stages=(replace(COUNT, work=slow),))["count"])
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert states(tmp_path) == ["resume", "to run"]
    assert not (tmp_path / "01-count").exists()
    resumed = run_all(tmp_path)[0]
    undisturbed = run_all(tmp_path / "undisturbed")[0]
    assert resumed.manifest.outputs_sha256 == undisturbed.manifest.outputs_sha256
