"""The dataset described as Croissant 1.1 with the fields of Responsible AI 1.0.

One record set a published part (`raw/train`, ..., `validation`), every file with its sha256. A part
of one file is read from that file, so that whoever loads it by `mlcroissant` has its hash checked;
a part of several is read from a set of files. The reference implementation checks what is written.
Sources: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html and
https://docs.mlcommons.org/croissant/docs/croissant-rai-spec.html
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from pipeline import card_words as words
from pipeline.card_changes import version_of
from pipeline.card_data import DATA, Part
from pipeline.card_facts import Told
from pipeline.errors import StageError
from pipeline.manifest import FileEntry
from pipeline.records import DOCUMENT

CONFORMS_TO = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
_PARQUET = "application/x-parquet"
_SPDX = {"apache-2.0": "Apache-2.0", "mit": "MIT", "cc-by-4.0": "CC-BY-4.0",
         "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc0-1.0": "CC0-1.0", "odc-by": "ODC-By-1.0"}  # fmt: skip
_TERMS = ("citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty",
          "fileObject", "fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5",
          "parentField", "path", "recordSet", "references", "regex", "repeated", "replace",
          "samplingRate", "separator", "source", "subField", "transform", "arrayShape",
          "containedIn", "isArray")  # fmt: skip


def make_croissant(told: Told, files: Mapping[str, FileEntry]) -> dict[str, Any]:
    """The description; `files` has the hash of each data file. StageError where it is faulty."""
    described = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": told.config.title,
        "description": told.config.summary,
        "url": told.config.address or f"urn:primer:{told.needs['tokenize'].manifest.fingerprint}",
        "version": version_of(told.changes),
        "keywords": ["primer", "educational", "text generation"],
        **_people(told),
        **_responsible_ai(told),
        "distribution": [one for part in told.parts for one in _files(part, files)],
        "recordSet": [_record_set(part) for part in told.parts],
    }
    faults = find_faults(described)
    if faults:
        raise StageError(
            "card", f"mlcroissant refuses croissant.json: {faults[0]}",
            "this is a bug in the stage, please report it",
        )  # fmt: skip
    return described


def find_faults(described: Mapping[str, Any]) -> list[str]:
    """What the reference implementation finds wrong."""
    import mlcroissant
    from absl import logging as told_by_absl

    level = told_by_absl.get_verbosity()
    told_by_absl.set_verbosity(told_by_absl.ERROR)  # what is only recommended is not a fault
    try:
        with warnings.catch_warnings(action="ignore"):  # of its own libraries
            dataset = mlcroissant.Dataset(jsonld=dict(described))
        return sorted(dataset.metadata.issues.errors)
    except Exception as error:  # what it raises on odd input is whatever breaks
        return [" ".join(str(error).split()) or type(error).__name__]
    finally:
        told_by_absl.set_verbosity(level)


def _context() -> dict[str, Any]:
    """The vocabulary of version 1.1."""
    by_language = {"@container": "@language"}
    return {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "cr": "http://mlcommons.org/croissant/",
        "dct": "http://purl.org/dc/terms/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "sc": "https://schema.org/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "name": by_language,
        "description": by_language,
        **{term: f"cr:{term}" for term in _TERMS},
    }


def _people(told: Told) -> dict[str, Any]:
    """What somebody said of licence, makers and citation; absent where nobody did."""
    config = told.config
    said: dict[str, Any] = {}
    if config.licence:
        known = _SPDX.get(config.licence)
        said["license"] = f"https://spdx.org/licenses/{known}" if known else config.licence
    if config.creators:
        said["creator"] = [{"@type": "sc:Organization", "name": n} for n in config.creators]
    if config.citation:
        said["citeAs"] = config.citation
    return said


def _responsible_ai(told: Told) -> dict[str, Any]:
    """Every field of the extension; what is not known is "unknown" and not left out."""
    fields = {
        "dataCollection": words.collection(told),
        "dataCollectionType": ["Secondary Data analysis", "Software Collection"],
        "dataCollectionMissingData": words.missing(told),
        "dataCollectionRawData": words.raw_data(told),
        "dataImputationProtocol": "Nothing was imputed: what is not known is left empty.",
        "dataPreprocessingProtocol": words.preprocessing(told),
        "dataManipulationProtocol": " ".join(words.preprocessing(told)),
        "dataAnnotationProtocol": [words.annotation(told)],
        "dataAnnotationPlatform": [words.platform(told)],
        "dataAnnotationAnalysis": words.agreement(told),
        "annotationsPerItem": words.annotations_per_item(told),
        "annotatorDemographics": [words.demographics(told)],
        "machineAnnotationTools": [told.facts["label"]["annotator"]],
        "dataReleaseMaintenancePlan": words.or_unknown(told.config.maintenance),
        "personalSensitiveInformation": [words.privacy(told)],
        "dataSocialImpact": words.impact(told),
        "dataBiases": words.biases(told),
        "dataLimitations": words.limitations(told),
        "dataUseCases": words.uses(told),
    }
    return {f"rai:{name}": value for name, value in fields.items()}


def _files(part: Part, files: Mapping[str, FileEntry]) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": file,
            "name": file,
            "contentUrl": file,
            "contentSize": f"{files[file].bytes} B",
            "encodingFormat": _PARQUET,
            "sha256": files[file].sha256,
        }
        for file in part.files
    ]
    if len(objects) == 1:
        return objects
    together = {
        "@type": "cr:FileSet",
        "@id": f"files/{part.name}",
        "name": f"files/{part.name}",
        "encodingFormat": _PARQUET,
        "includes": f"{DATA}/{part.name}/*.parquet",
    }
    return [*objects, together]


def _record_set(part: Part) -> dict[str, Any]:
    if len(part.files) == 1:
        source = {"fileObject": {"@id": part.files[0]}}
    else:
        source = {"fileSet": {"@id": f"files/{part.name}"}}
    return {
        "@type": "cr:RecordSet",
        "@id": part.name,
        "name": part.name,
        "description": f"{part.documents} documents",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{part.name}/{column.name}",
                "name": column.name,
                "dataType": "sc:Text",
                "source": {**source, "extract": {"column": column.name}},
            }
            for column in DOCUMENT
        ],
    }
