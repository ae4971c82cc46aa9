"""The lineage of a dataset as W3C PROV-JSON, from manifests alone.

Entities are the sources, the benchmarks, the sealed directories, the published parts and the parent
version; activities are the stages; agents are Primer at its commit and whoever labelled and wrote.
No clock times: they stand in the manifests, and would make two equal datasets differ.
Source: https://www.w3.org/submissions/prov-json/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.card_facts import Told, benchmarks
from pipeline.stage import Sealed

_KINDS = ("entity", "activity", "agent", "wasGeneratedBy", "used", "wasDerivedFrom",
          "wasAssociatedWith", "wasAttributedTo")  # fmt: skip


def make_prov(told: Told) -> dict[str, Any]:
    """The whole lineage, from the sources to the published parts."""
    record: dict[str, Any] = {
        "prefix": {"primer": "urn:primer:", "prov": "http://www.w3.org/ns/prov#"},
        **{kind: {} for kind in _KINDS},
    }
    for name, sealed in told.needs.items():
        _add_stage(record, name, sealed)
    for source in told.sources:
        _add_input(record, "ingest", f"source-{source['name']}", {
            "prov:label": source["name"], "primer:kind": source["kind"],
            "primer:licence": source["licence"] or "unknown",
        })  # fmt: skip
    for name, _, items, *_, sha256 in benchmarks(told):
        _add_input(record, "decontaminate", f"benchmark-{_safe(name)}", {
            "prov:label": name, "primer:items": items, "primer:sha256": sha256,
        })  # fmt: skip
    _add_agents(record, told)
    _add_published(record, told)
    _add_parent(record, told)
    return {kind: found for kind, found in record.items() if found}


def _add_stage(record: dict[str, Any], name: str, sealed: Sealed) -> None:
    manifest = sealed.manifest
    entity, activity = _entity(manifest.fingerprint), _activity(name)
    record["entity"][entity] = {
        "prov:label": name,
        "primer:fingerprint": manifest.fingerprint,
        "primer:outputs_sha256": manifest.outputs_sha256,
        "primer:inputs_sha256": manifest.inputs_sha256,
    }
    record["activity"][activity] = {
        "prov:label": f"stage {name}, version {manifest.stage_version}",
        "primer:commit": str(manifest.code["commit"]),
        "primer:seed": manifest.seed,
    }
    _made(record, entity, activity)
    for need, fingerprint in manifest.needs.items():
        _used(record, activity, _entity(fingerprint), need)
        _derived(record, entity, _entity(fingerprint), f"{name}-{need}")
    agent = _primer(record, str(manifest.code["commit"]))
    _associated(record, activity, agent, name)


def _add_input(record: dict[str, Any], stage: str, name: str, told: Mapping[str, Any]) -> None:
    """Something from outside that a stage read."""
    record["entity"][f"primer:{name}"] = dict(told)
    _used(record, _activity(stage), f"primer:{name}", name)


def _add_agents(record: dict[str, Any], told: Told) -> None:
    """Who labelled and who wrote, besides Primer itself."""
    roles = {"label": "annotator", "synthesize": "writer"}
    for stage, role in roles.items():
        name = told.facts[stage][role]
        agent = f"primer:agent-{_safe(name)}"
        record["agent"][agent] = {
            "prov:label": name,
            "prov:type": "prov:SoftwareAgent",
            "primer:is_language_model": told.facts[stage][f"{role}_is_llm"],
        }
        _associated(record, _activity(stage), agent, f"{stage}-teacher")
        entity = _entity(told.needs[stage].manifest.fingerprint)
        record["wasAttributedTo"][f"_:t-{stage}"] = {"prov:entity": entity, "prov:agent": agent}


def _add_published(record: dict[str, Any], told: Told) -> None:
    """The parts that are published."""
    arms = _entity(told.needs["decontaminate"].manifest.fingerprint)
    activity = _activity("card")
    record["activity"][activity] = {"prov:label": "stage card"}
    _used(record, activity, arms, "card-arms")
    for part in told.parts:
        entity = f"primer:part-{_safe(part.name)}"
        record["entity"][entity] = {"prov:label": part.name, "primer:documents": part.documents}
        _made(record, entity, activity)
        _derived(record, entity, arms, f"part-{_safe(part.name)}")


def _add_parent(record: dict[str, Any], told: Told) -> None:
    """The stages of the version before, which those of this one continue."""
    parent = told.changes["parent"]
    for name, fingerprint in (parent["fingerprints"] if parent else {}).items():
        before = _entity(fingerprint)
        record["entity"].setdefault(before, {
            "prov:label": f"{name} of {parent['run']}", "primer:fingerprint": fingerprint,
        })  # fmt: skip
        made = _entity(told.needs[name].manifest.fingerprint)
        _derived(record, made, before, f"parent-{name}", "prov:Revision")


def _primer(record: dict[str, Any], commit: str) -> str:
    agent = f"primer:software-{_safe(commit[:12])}"
    record["agent"][agent] = {"prov:label": f"Primer {commit}", "prov:type": "prov:SoftwareAgent"}
    return agent


def _entity(fingerprint: str) -> str:
    return f"primer:{fingerprint[:16]}"


def _activity(stage: str) -> str:
    return f"primer:run-{stage}"


def _safe(name: str) -> str:
    """A name that may stand in a qualified name."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name).strip("-")


def _made(record: dict[str, Any], entity: str, activity: str) -> None:
    record["wasGeneratedBy"][f"_:g-{entity.removeprefix('primer:')}"] = {
        "prov:entity": entity, "prov:activity": activity,
    }  # fmt: skip


def _used(record: dict[str, Any], activity: str, entity: str, name: str) -> None:
    stage = activity.removeprefix("primer:run-")
    record["used"][f"_:u-{stage}-{name}"] = {"prov:activity": activity, "prov:entity": entity}


def _derived(
    record: dict[str, Any], made: str, used: str, name: str, kind: str | None = None
) -> None:
    how = {"prov:type": kind} if kind else {}
    record["wasDerivedFrom"][f"_:d-{name}"] = {
        "prov:generatedEntity": made, "prov:usedEntity": used, **how,
    }  # fmt: skip


def _associated(record: dict[str, Any], activity: str, agent: str, name: str) -> None:
    record["wasAssociatedWith"][f"_:a-{name}"] = {"prov:activity": activity, "prov:agent": agent}


def find_dangling(record: Mapping[str, Any]) -> list[str]:
    """Names that a relation uses and nothing declares."""
    declared = {
        "entity": set(record.get("entity", {})),
        "activity": set(record.get("activity", {})),
        "agent": set(record.get("agent", {})),
    }
    return sorted(set(_dangling(record, declared)))


def _dangling(record: Mapping[str, Any], declared: Mapping[str, set[str]]) -> Iterator[str]:
    for kind in _KINDS[3:]:
        for relation in record.get(kind, {}).values():
            for role, name in relation.items():
                of = role.removeprefix("prov:")
                wanted = "entity" if of.endswith("Entity") else of
                if wanted in declared and name not in declared[wanted]:
                    yield name
