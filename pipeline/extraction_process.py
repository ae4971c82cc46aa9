"""The process that extracts: batches of pages in, one answer a page out, limits set by the kernel.

Parsers of HTML are C code that reads what strangers wrote. So they run in a process of their own,
which has a memory limit (`RLIMIT_AS`), a timer that ends it when one page has taken too much
processor time (`ITIMER_PROF`, whose signal nothing catches, so it works inside C too), and none of
our environment. It ends when its input does: nothing is left behind by a killed parent.

On the pipe: a number (4 bytes) and as many lengths, then the pages; back, for each page, a length
and a JSON object. The whole batch is read before the first answer is written, so neither side can
wait for the other.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

NUMBER = struct.Struct("<I")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


class Found(NamedTuple):
    """What an extractor found in a page; empty where it found none."""

    text: str
    title: str
    language: str


Extractor = Callable[[str], Found]


def read_exactly(file: BinaryIO, count: int) -> bytes:
    """`count` bytes; EOFError where there are fewer."""
    held = file.read(count)
    if len(held) < count:
        raise EOFError
    return held


def resiliparse_extractor() -> Extractor:
    """Lexbor's parser and rules on its tree, in C++ (https://resiliparse.chatnoir.eu)."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    def extract(html: str) -> Found:
        tree = HTMLTree.parse(html)
        root = tree.document.query_selector("html") if tree.document else None
        text = extract_plain_text(
            tree, preserve_formatting=True, main_content=True, alt_texts=False, comments=False
        )
        text = _BLANK_LINES.sub("\n\n", text)
        language = root.getattr("lang") if root else None
        return Found(text, " ".join((tree.title or "").split()), language or "")

    return extract


def trafilatura_extractor() -> Extractor:
    """lxml and its rules, then those of readability and jusText (Barbaresi, ACL 2021)."""
    import trafilatura  # type: ignore[import-untyped]

    def extract(html: str) -> Found:
        tree = trafilatura.load_html(html)
        if tree is None and html.strip():
            raise ValueError("its parser made no tree of the page")
        if tree is None:
            return Found("", "", "")
        title = " ".join((tree.findtext(".//title") or "").split())
        language = tree.get("lang") or ""
        text = trafilatura.extract(tree, include_comments=False, include_tables=True)
        return Found(text or "", title, language)

    return extract


EXTRACTORS = {"resiliparse": resiliparse_extractor, "trafilatura": trafilatura_extractor}


def answer(extract: Extractor, page: bytes) -> dict[str, str]:
    """What is sent back for one page: what was found, or `reason` and `evidence`.

    Both parsers hide that memory was refused to them (one gives no tree, one no text), so a page
    without text after which all memory had been mapped is one that took too much.
    """
    said = ""
    try:
        found = extract(page.decode("utf-8", "replace"))
        if found.text.strip():
            return found._asdict()
    except MemoryError:
        return {"reason": "too_much_memory", "evidence": "{} of {} MiB mapped".format(*_peak_mib())}
    except Exception as error:
        said = f"{type(error).__name__}: {error}"[:200]
    peak_mib, limit_mib = _peak_mib()
    if peak_mib > 0.95 * limit_mib:
        evidence = f"{peak_mib} of {limit_mib} MiB mapped; {said}"
        return {"reason": "too_much_memory", "evidence": evidence}
    return {"reason": "extractor_failed", "evidence": said} if said else found._asdict()


def _peak_mib() -> tuple[int, int]:
    """What the process had mapped at most, and its limit."""
    with open("/proc/self/status") as status:
        peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmPeak"))
    return peak_kib >> 10, resource.getrlimit(resource.RLIMIT_AS)[0] >> 20


def serve(name: str, cpu_seconds: float, memory_bytes: int) -> None:
    """Answer batches until the input ends. After a memory limit the process is not trusted."""
    given, back = os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    extract = EXTRACTORS[name]()
    extract("<html><body><p>Loads what is loaded at first use.</p></body></html>")
    # What is mapped by now is the library's, not a page's.
    with open("/proc/self/statm") as statm:
        mapped_bytes = int(statm.read().split()[0]) * resource.getpagesize()
    limit = mapped_bytes + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    back.write(NUMBER.pack(0))  # it has started
    back.flush()
    while head := given.read(NUMBER.size):
        (count,) = NUMBER.unpack(head)
        sizes = struct.unpack(f"<{count}I", read_exactly(given, NUMBER.size * count))
        pages = [read_exactly(given, size) for size in sizes]
        for page in pages:
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            said = answer(extract, page)
            signal.setitimer(signal.ITIMER_PROF, 0)
            body = json.dumps(said).encode()
            back.write(NUMBER.pack(len(body)) + body)
            back.flush()
            if said.get("reason") == "too_much_memory":
                os._exit(0)
