"""Make the buckets that a deployment reads its shards from; those that exist stay as they are.

    python -m flows.bucket corpus

The address and the keys of the store come from the standard variables (`AWS_ENDPOINT_URL`,
`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`), as for every `s3://` address of a recipe.
"""

from __future__ import annotations

import click


@click.command()
@click.argument("names", nargs=-1, required=True)
def make_buckets(names: tuple[str, ...]) -> None:
    """Make the buckets NAMES where they are missing."""
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
    from fsspec import filesystem  # type: ignore[import-untyped]

    store = filesystem("s3")
    for name in names:
        try:
            if not store.exists(name):
                store.mkdir(name)
        except (OSError, BotoCoreError) as error:  # the second: no store answers, or no keys
            raise click.ClickException(f"s3://{name} cannot be made: {error}") from error
        click.echo(f"s3://{name} is there")


if __name__ == "__main__":
    make_buckets()
