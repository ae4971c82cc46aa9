"""Web archives to text: pages/s/core of each extractor, what the guard costs, whose text is better.

    python -m benchmarks.extraction [--quick] [--json FILE] [--texts DIR]

Every HTML page of the archives in ../shared/data/web. The extractors run in turn, page by page, in
one process (processor time, medians of the rounds); jusText is compared where it is installed. Then
each through the guarded processes, start-up subtracted, and pages made to hurt a parser (not with
--quick). benchmarks/archives.py measures the readers.

Texts are compared by filters as stage 4 trains them: on what people would keep of the web (DCLM),
on which lines of pages people call main text (Turku; a text's lines are scored one by one), and on
weak labels (prose of a textbook). Pages that stand twice in the archives count once. `--texts`
writes the pairs down to be read. Without the data this says so and measures nothing.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.judged_sets import JUDGED_SETS
from benchmarks.labelled_sets import DATA
from benchmarks.measured import Row, arguments, report
from classifiers.embedding import WordEmbedding
from classifiers.features import dense_features
from classifiers.forest import FilterForest
from pipeline.archives import Page, read_archive
from pipeline.extraction import Extracted, ExtractionConfig, Extractors
from pipeline.extraction_process import EXTRACTORS

ARCHIVES = ("aut-example.warc.gz", "dolma-sample-0000.warc.gz", "iana.warc.gz",
            "whirlwind.warc.gz", "edge-iana-chunked.warc", "edge-old-arc.arc.gz")  # fmt: skip
OLD = ARCHIVES[0]  # pages of 2008, laid out with tables; the others are of 2013 to 2024
SCORED_BY = ("dclm, would keep", "turku, line of the main text", "prose, of a textbook")
BY_LINE = "turku, line of the main text"
Texts = dict[str, list[str]]  # by extractor, in the order of the pages


def main() -> None:
    """Measure speed, then the texts."""
    asked = arguments(__doc__, texts="write the pairs of texts there")
    if not (DATA / "web").is_dir():
        sys.exit(f"extraction: there is no {DATA / 'web'}; give it web archives")
    files = [DATA / "web" / name for name in ARCHIVES]
    pages = [
        (row.url, row.decode().text, file.name)
        for file in files
        for row in read_archive(str(file))
        if isinstance(row, Page) and row.is_html
    ]
    if asked.quick:
        pages = pages[::4]
    rounds = 1 if asked.quick else 3
    rows, texts = time_extractors([html for _, html, _ in pages], rounds)
    rows += time_guards([(url, html) for url, html, _ in pages])
    if not asked.quick:
        rows += time_hostile_pages()
    once = sorted({html: i for i, (_, html, _) in reversed(list(enumerate(pages)))}.values())
    unique = {name: [found[i] for i in once] for name, found in texts.items()}
    if asked.texts:
        _write(asked.texts, [pages[i][0] for i in once], unique)
    is_old = np.array([pages[i][2] == OLD for i in once])
    report(rows + compare_texts(unique, is_old, asked.quick), asked.json)


def time_extractors(pages: list[str], rounds: int) -> tuple[list[Row], Texts]:
    """Pages/s/core of each extractor in this process, and the texts."""
    contenders: dict[str, Callable[[str], str]] = {}
    for name, make in EXTRACTORS.items():
        extract = make()
        contenders[name] = lambda html, extract=extract: extract(html).text  # type: ignore[misc]
    if find_spec("justext"):
        contenders["justext"] = _justext()
    texts: Texts = {name: [] for name in contenders}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        spent = dict.fromkeys(contenders, 0.0)
        for html in pages:
            for name, extract_text in contenders.items():
                began = time.process_time()
                text = extract_text(html)
                spent[name] += time.process_time() - began
                if turn == 0:
                    texts[name].append(text)
        for name, total in spent.items():
            seconds[name].append(total)
    speeds = {name: len(pages) / statistics.median(found) for name, found in seconds.items()}
    kept = {name: float(sum(map(len, found))) for name, found in texts.items()}
    empty = {name: float(sum(not t.strip() for t in found)) for name, found in texts.items()}
    size = f"of {len(pages)} pages of {sum(map(len, pages)) / 1e6:.1f} million characters"
    ours = "resiliparse"
    return [
        Row("extraction", speeds.pop(ours), "pages/s/core", 100, "min", peers=speeds),
        Row("text kept", kept.pop(ours), f"characters, {size}", peers=kept),
        Row("pages without text", empty.pop(ours), f"{size}", peers=empty),
    ], texts


def _justext() -> Callable[[str], str]:
    import justext  # type: ignore[import-untyped]

    words = justext.get_stoplist("English")

    def extract(html: str) -> str:
        try:
            found = justext.justext(html, words)
        except Exception:  # it refuses empty trees with errors of lxml
            return ""
        return "\n".join(p.text for p in found if not p.is_boilerplate)

    return extract


def time_guards(pages: list[tuple[str, str]]) -> list[Row]:
    """What the processes and pipes add to the processor time of the same pages."""
    rows = []
    for name, times in (("resiliparse", 3), ("trafilatura", 1)):  # as long as the other, nearly
        config = ExtractionConfig(extractor=name)  # type: ignore[arg-type]
        many = pages * times
        start = _cpu_seconds(partial(_guarded, config, pages[:1]))
        direct = _direct(name, many)
        guarded = _cpu_seconds(partial(_guarded, config, many)) - start
        peers = {"without guard": len(many) / direct, "start of a process (s)": start}
        rows.append(Row(f"guarded {name}", len(many) / guarded, "pages/s/core", peers=peers))
    return rows


def time_hostile_pages() -> list[Row]:
    """What pages made to hurt a parser become under the default limits, and how long it takes."""
    rows = []
    for page, html in {
        "4,000 nested <div>": "<div>" * 4_000 + "words",
        "16,000 nested <div>": "<div>" * 16_000 + "words",
        "100,000 nested <div>": "<div>" * 100_000 + "words",
        "200,000 attributes": "<p " + " ".join(f"a{i}=1" for i in range(200_000)) + ">words</p>",
        "1,500,000 paragraphs": "<p>three small words</p>" * 1_500_000,
        "5 MB in an attribute": f'<p title="{"x" * 5_000_000}">words</p>',
        "100,000 open <a>": "<a href=x>word " * 100_000,
        "a million &": "<p>" + "&" * 1_000_000,
    }.items():
        for name in ("resiliparse", "trafilatura"):
            began = time.perf_counter()
            with Extractors(ExtractionConfig(extractor=name)) as extractors:  # type: ignore[arg-type]
                ((_, found),) = extractors.run([(page, html)])
            became = "text" if isinstance(found, Extracted) else found.reason
            took_s = time.perf_counter() - began
            rows.append(Row(f"{page}, {name}: {became}", took_s, "s with the start of a process"))
    return rows


def _guarded(config: ExtractionConfig, pages: list[tuple[str, str]]) -> None:
    with Extractors(config) as extractors:
        for _ in extractors.run(pages):
            pass


def _direct(name: str, pages: list[tuple[str, str]]) -> float:
    extract = EXTRACTORS[name]()
    began = time.process_time()
    for _, html in pages:
        extract(html)
    return time.process_time() - began


def _cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process and of those that it started and saw end."""

    def spent() -> float:
        both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime
                   for who in both)  # fmt: skip

    began = spent()
    work()
    return spent() - began


def compare_texts(texts: Texts, is_old: npt.NDArray[np.bool_], quick: bool) -> list[Row]:
    """The mean score of each extractor's texts, by each filter; empty texts count as 0."""
    rows = []
    for judged_set in JUDGED_SETS:
        if judged_set.name not in SCORED_BY or (quick and judged_set.name != SCORED_BY[0]):
            continue
        score = _train(replace(judged_set, every=max(2, judged_set.every)))
        by_line = judged_set.name == BY_LINE
        found = {
            name: np.array([_score_lines(score, text) if by_line else score([text])[0]
                            for text in column])
            for name, column in texts.items()
        }  # fmt: skip
        for age, chosen in (("2008", is_old), ("later", ~is_old)):
            mine, other = found["resiliparse"][chosen], found["trafilatura"][chosen]
            peers = {name: float(f[chosen].mean()) for name, f in found.items()}
            unit = f"mean probability over {chosen.sum()} pages"
            peers["(share of pages better than trafilatura's)"] = float(
                (mine > other + 0.02).mean()
            )
            peers["(worse)"] = float((mine < other - 0.02).mean())
            rows.append(
                Row(f"filter '{judged_set.name}', {age}", peers.pop("resiliparse"), unit,
                    peers=peers)
            )  # fmt: skip
    return rows


def _train(judged_set: object) -> Callable[[list[str]], npt.NDArray[np.float64]]:
    """The filter's forest on a set, as a function of texts."""
    judged = judged_set.read()  # type: ignore[attr-defined]
    embedding = WordEmbedding(seed=0).fit(judged.texts)
    x, bags = dense_features(embedding, judged.texts, judged.kinds), embedding.bags(judged.texts)
    model = FilterForest(seed=0, workers=1).fit(x, bags, judged.scores, judged.groups)

    def score(texts: list[str]) -> npt.NDArray[np.float64]:
        column = pa.array(texts, pa.large_string())
        kinds = pa.array(["web"] * len(texts), pa.string())
        features = dense_features(embedding, column, kinds)
        found: npt.NDArray[np.float64] = model.predict(features, embedding.bags(column))[:, 0]
        return np.where([bool(text.strip()) for text in texts], found, 0.0)

    return score


def _score_lines(score: Callable[[list[str]], npt.NDArray[np.float64]], text: str) -> float:
    """The probability that a character of the text stands in a line of main text."""
    lines = [line for line in text.split("\n") if line.strip()][:500]
    if not lines:
        return 0.0
    return float(np.average(score(lines), weights=[len(line) for line in lines]))


def _write(folder: Path, urls: list[str], texts: Texts) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, url in enumerate(urls):
        for name, found in texts.items():
            (folder / f"{i:03}.{name}.txt").write_text(f"{url}\n\n{found[i]}\n")


if __name__ == "__main__":
    main()
