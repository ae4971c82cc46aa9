"""A Prefect worker that shows Prometheus what its runs count, and looks for runs that died.

    python -m flows.work --metrics-port 9100 -- --pool primer --type process

What follows `--` goes to `prefect worker start`. Runs are processes that end, so the worker, which
stays, answers for them: each leaves its counts in `PROMETHEUS_MULTIPROC_DIR` (`pipeline.metrics`).
"""

from __future__ import annotations

import sys

import click

from flows.resume import look_beside_work
from pipeline.errors import InputError
from pipeline.logs import set_up_logging
from pipeline.metrics import serve_metrics


@click.command()
@click.option("--metrics-host", default="127.0.0.1", show_default=True)
@click.option("--metrics-port", type=click.IntRange(0, 65_535), default=9_100, show_default=True)
@click.argument("words", nargs=-1)
def work(metrics_host: str, metrics_port: int, words: tuple[str, ...]) -> None:
    """Serve metrics, and take runs as `prefect worker start WORDS` does."""
    from prefect.cli import app

    try:
        set_up_logging()
        serve_metrics(metrics_port, metrics_host)
    except InputError as error:
        raise click.ClickException(str(error)) from error
    look_beside_work()
    sys.argv = ["prefect", "worker", "start", *words]
    app()


if __name__ == "__main__":
    work()
