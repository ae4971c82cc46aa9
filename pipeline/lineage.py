"""The lineage of a dataset as W3C PROV-JSON, from manifests alone.

Source: https://www.w3.org/Submission/prov-json/ . No clock times: they stand in the manifests, and
would make two equal datasets differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.stage import Sealed


def write_prov(needs: Mapping[str, Sealed]) -> dict[str, Any]:
    """Entities (sealed directories), activities (stages), and what used and made what."""
    entities, activities = {}, {}
    used, generated, derived = {}, {}, {}
    for name, sealed in needs.items():
        manifest = sealed.manifest
        entity, activity = f"primer:{manifest.fingerprint[:16]}", f"primer:run-{name}"
        entities[entity] = {
            "prov:label": name,
            "primer:fingerprint": manifest.fingerprint,
            "primer:outputs_sha256": manifest.outputs_sha256,
        }
        activities[activity] = {
            "prov:label": f"stage {name}, version {manifest.stage_version}",
            "primer:commit": str(manifest.code["commit"]),
            "primer:seed": manifest.seed,
        }
        generated[f"_:g-{name}"] = {"prov:entity": entity, "prov:activity": activity}
        for need, fingerprint in manifest.needs.items():
            source = f"primer:{fingerprint[:16]}"
            used[f"_:u-{name}-{need}"] = {"prov:activity": activity, "prov:entity": source}
            derived[f"_:d-{name}-{need}"] = {
                "prov:generatedEntity": entity,
                "prov:usedEntity": source,
            }
    return {
        "prefix": {"primer": "urn:primer:", "prov": "http://www.w3.org/ns/prov#"},
        "entity": entities,
        "activity": activities,
        "wasGeneratedBy": generated,
        "used": used,
        "wasDerivedFrom": derived,
    }
