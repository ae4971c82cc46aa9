"""Reading web archives beside FastWARC and warcio: speed, whole files, cut files, damaged files.

    python -m benchmarks.archives [--quick] [--json FILE]

Speed is records/s of processor time, HTTP headers parsed and all bytes read, in turn, the median
of the rounds. What each reader makes of a file that is cut or has 50 bytes overwritten is counted:
records, and whether it said that anything was wrong. Last, what a guess of the charset costs, by
uchardet (through resiliparse) and by charset-normalizer, on the pages that are not ASCII.
"""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path

from benchmarks.labelled_sets import DATA
from benchmarks.measured import Row, arguments, report
from pipeline.archives import Failed, Page, read_archive

WEB = DATA / "web"
WARCS = ("aut-example.warc.gz", "dolma-sample-0000.warc.gz", "iana.warc.gz", "whirlwind.warc.gz",
         "edge-iana-chunked.warc")  # fmt: skip
LARGE = WARCS[0]
CUT_AT, DAMAGED_AT, DAMAGED_BYTES = 1_500_000, 1_000_000, 50
Reader = Callable[[Path], Iterator[bytes]]


def main() -> None:
    """Measure speed, then what becomes of damage."""
    asked = arguments(__doc__)
    if not WEB.is_dir():
        sys.exit(f"archives: there is no {WEB}; give it web archives")
    files = [WEB / name for name in WARCS]
    rows = [_speed(files, 1 if asked.quick else 5)]
    whole = (WEB / LARGE).read_bytes()
    damaged = bytearray(whole)
    damaged[DAMAGED_AT : DAMAGED_AT + DAMAGED_BYTES] = bytes(DAMAGED_BYTES)
    cases = {
        f"{LARGE}, whole": whole,
        f"{LARGE}, cut at byte {CUT_AT:,}": whole[:CUT_AT],
        f"{LARGE}, {DAMAGED_BYTES} bytes overwritten": bytes(damaged),
        **{name: (WEB / name).read_bytes()
           for name in ("edge-trunc.warc", "edge-bad-non-chunked.warc.gz", "edge-old-arc.arc.gz")},
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="archives-") as folder:
        for name, content in cases.items():
            path = Path(folder) / ("a.warc.gz" if content[:2] == b"\x1f\x8b" else "a.warc")
            path.write_bytes(content)
            rows.append(_counted(name, path))
    report([*rows, _guesses(files)], asked.json)


def _ours(path: Path) -> Iterator[bytes]:
    for row in read_archive(str(path)):
        yield row.body if isinstance(row, Page) else b""


def _fastwarc(path: Path) -> Iterator[bytes]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType  # type: ignore[import-untyped]

    with path.open("rb") as file:
        for record in ArchiveIterator(file, WarcRecordType.any_type, parse_http=True):
            yield record.reader.read()


def _warcio(path: Path) -> Iterator[bytes]:
    from warcio.archiveiterator import ArchiveIterator  # type: ignore[import-untyped]

    with path.open("rb") as file:
        for record in ArchiveIterator(file):
            yield record.content_stream().read()


READERS: dict[str, Reader] = {"ours": _ours, "fastwarc": _fastwarc, "warcio": _warcio}


def _speed(files: list[Path], rounds: int) -> Row:
    speeds: dict[str, list[float]] = {name: [] for name in READERS}
    for _ in range(rounds):
        for name, read in READERS.items():
            began = time.process_time()
            count = sum(1 for file in files for _ in read(file))
            speeds[name].append(count / (time.process_time() - began))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    return Row("archive reading", medians.pop("ours"), "records/s/core", peers=medians)


def _counted(name: str, path: Path) -> Row:
    """Records of each reader, and whether it told of anything wrong."""
    rows = list(read_archive(str(path)))
    failed = sum(isinstance(row, Failed) for row in rows)
    peers = {"(ours tells of failures)": float(failed)}
    for peer in ("fastwarc", "warcio"):
        count, told = 0, io.StringIO()
        try:
            with redirect_stderr(told):
                for _ in READERS[peer](path):
                    count += 1
        except Exception as error:  # each reader has errors of its own
            told.write(str(error) or type(error).__name__)
        peers[peer] = float(count)
        peers[f"({peer} tells)"] = float(bool(told.getvalue()))
    return Row(name, len(rows) - failed, "records", peers=peers)


def _guesses(files: list[Path]) -> Row:
    """Milliseconds a page."""
    import charset_normalizer
    from resiliparse.parse.encoding import detect_encoding

    rows = (row for file in files for row in read_archive(str(file)))
    pages = [row.body for row in rows if isinstance(row, Page) and not row.body.isascii()]
    guessers = {"uchardet": detect_encoding, "charset-normalizer": charset_normalizer.from_bytes}
    took_ms = {}
    for name, guess in guessers.items():
        work = partial(_each, guess, pages)
        work()  # what is loaded at first use is not counted
        began = time.process_time()
        work()
        took_ms[name] = 1e3 * (time.process_time() - began) / len(pages)
    unit = f"ms a page, of {len(pages)}"
    return Row("guess of a charset", took_ms.pop("uchardet"), unit, peers=took_ms)


def _each(guess: Callable[[bytes], object], pages: list[bytes]) -> None:
    for page in pages:
        guess(page)


if __name__ == "__main__":
    main()
