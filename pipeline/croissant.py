"""The dataset described as Croissant 1.0, checked by the reference implementation.

Source: https://docs.mlcommons.org/croissant/ . One record set for each arm, over the same Parquet
columns; every file with its sha256.
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import StageError
from pipeline.records import DOCUMENT
from pipeline.stage import Sealed


def write_croissant(name: str, description: str, licence: str | None, arms: Sealed) -> Any:
    """The Croissant JSON of the arms. Raises StageError where mlcroissant finds a fault."""
    import mlcroissant as mlc

    objects: list[Any] = []
    records: list[Any] = []
    for file, entry in sorted(arms.manifest.files.items()):
        if file.startswith("arms/"):
            path = f"../{arms.path.name}/{file}"
            objects.append(
                mlc.FileObject(
                    id=file, name=file, content_url=path,
                    encoding_formats=["application/x-parquet"],
                    sha256=entry.sha256, content_size=f"{entry.bytes} B",
                )
            )  # fmt: skip
            records.append(_record_set(mlc, file))
    metadata = mlc.Metadata(
        name=name,
        description=description,
        license=licence,
        url=f"urn:primer:{arms.manifest.fingerprint}",
        distribution=objects,
        record_sets=records,
        version="1.0.0",
    )
    if metadata.issues.errors:
        raise StageError(
            "card",
            f"mlcroissant refuses croissant.json: {sorted(metadata.issues.errors)[0]}",
            "this is a bug in the stage, please report it",
        )
    return metadata.to_json()


def _record_set(mlc: Any, file: str) -> Any:
    fields = [
        mlc.Field(
            id=f"{file}/{field.name}", name=field.name, data_types=[mlc.DataType.TEXT],
            source=mlc.Source(file_object=file, extract=mlc.Extract(column=field.name)),
        )
        for field in DOCUMENT
    ]  # fmt: skip
    return mlc.RecordSet(id=f"records/{file}", name=file, fields=fields)
