"""One ImagingStudy out of what its instances state, whatever their order. R4 imagingstudy.html; DICOM PS3.3 A.1.2.

The facts of an instance are the ImagingStudy that it states when it is taken alone: study, one series, one instance.

Where instances contradict each other about their study or series, the value that most of them state is taken, and among
equally frequent ones the first by its canonical JSON; the earliest start counts. Lists are united.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hdg.errors import Issue
from hdg.fhir.canonical import canonical_bytes
from hdg.fhir.json import loads
from hdg.fhir.times import compare_times
from hdg.ingestion.converted import Converted, JsonObject

__all__ = ["InstanceFacts", "facts_of", "imaging_study"]

_TYPE = "ImagingStudy"
_COUNTED = frozenset(("numberOfSeries", "numberOfInstances"))
_ORDER = ("identifier", "status", "modality", "subject", "encounter", "started", "basedOn", "referrer")


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What one instance says. ``statement``: its ImagingStudy (with ``id`` and ``subject``), canonical JSON text.

    ``study_id``: the id of the ImagingStudy, made of the patient and the Study Instance UID, so that objects of two
    patients under one UID are never one study. All are texts: ``dataclasses.asdict`` and ``InstanceFacts(**row)`` are
    the way to JSON and back.
    """

    study_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class: str
    modality: str
    statement: str


def facts_of(converted: Converted) -> InstanceFacts | None:
    """The facts of a converted object; None when it states no ImagingStudy."""
    for resource in converted.resources:
        if resource["resourceType"] == _TYPE:
            return _facts(resource)
    return None


def _facts(study: JsonObject) -> InstanceFacts:
    series = study["series"][0]
    instance = series["instance"][0]
    uids = [one["value"] for one in study["identifier"] if one.get("system") == "urn:dicom:uid"]
    return InstanceFacts(
        study_id=study["id"],
        study_uid=uids[0].removeprefix("urn:oid:"),
        series_uid=series["uid"],
        sop_uid=instance["uid"],
        sop_class=instance.get("sopClass", {}).get("code", "").removeprefix("urn:oid:"),
        modality=series["modality"].get("code", ""),
        statement=canonical_bytes(study).decode(),
    )


def imaging_study(instances: Iterable[InstanceFacts]) -> tuple[JsonObject, tuple[Issue, ...]]:
    """The ImagingStudy of all instances, and where they contradict each other.

    Any order and any duplicates of the same facts give the same resource, byte for byte. Two different statements about
    one SOP instance are one instance. Raises ValueError when there are none, or when they are of several studies.
    """
    texts = {(one.study_id, one.statement) for one in instances}
    if len({study_id for study_id, _ in texts}) != 1:
        raise ValueError("an ImagingStudy is made of one or more instances of one study")
    statements = [loads(text) for _, text in sorted(texts)]
    issues: list[Issue] = []
    by_series: dict[str, list[JsonObject]] = {}
    for one in statements:
        series = one["series"][0]
        by_series.setdefault(series["uid"], []).append(series)
    made = _united(statements, "ImagingStudy", frozenset(("series", *_COUNTED)), issues)
    found = [_series(uid, members, issues) for uid, members in sorted(by_series.items())]
    found.sort(key=lambda one: (one.get("number", -1), one["uid"]))
    made["numberOfSeries"] = len(found)
    made["numberOfInstances"] = sum(one["numberOfInstances"] for one in found)
    made["series"] = found
    twice = Counter(instance["uid"] for one in found for instance in one["instance"])
    if any(count > 1 for count in twice.values()):
        text = "an instance stands in several series"
        issues.append(Issue("warning", "conflict", "ImagingStudy.series.instance", text))
    return made, tuple(dict.fromkeys(issues))


def _series(uid: str, members: Sequence[JsonObject], issues: list[Issue]) -> JsonObject:
    by_instance: dict[str, list[JsonObject]] = {}
    for one in members:
        instance = one["instance"][0]
        by_instance.setdefault(instance["uid"], []).append(instance)
    made = _united(members, "ImagingStudy.series", frozenset(("instance", "numberOfInstances")), issues)
    instances = [
        _united(same, "ImagingStudy.series.instance", frozenset(), issues) if len(same) > 1 else same[0]
        for same in by_instance.values()
    ]
    instances.sort(key=lambda one: (one.get("number", -1), one["uid"]))
    made["numberOfInstances"] = len(instances)
    made["instance"] = instances
    return made


def _united(
    statements: Sequence[JsonObject], place: str, but: frozenset[str], issues: list[Issue]
) -> JsonObject:
    """One object out of several about the same thing; ``but``: elements that are made otherwise."""
    values: dict[str, dict[bytes, list[Any]]] = {}
    for one in statements:
        for name, value in one.items():
            if name in but:
                continue
            if isinstance(value, list):
                for item in value:
                    values.setdefault(name, {}).setdefault(_key(item), [item, 0, True])
            else:
                held = values.setdefault(name, {}).setdefault(_key(value), [value, 0, False])
                held[1] += 1
    made: JsonObject = {}
    for name in sorted(values):
        found = values[name]
        if next(iter(found.values()))[2]:
            keys = sorted(found, key=lambda key: (b"urn:dicom:uid" not in key, key))
            made[name] = [found[key][0] for key in keys]
            continue
        if len(found) > 1:
            issues.append(Issue("information", "conflict", f"{place}.{name}", _RULES.get(name, _MOST)))
        made[name] = _chosen(name, found)
    return made


_MOST = "instances state different values; the most frequent one was taken"
_RULES = {"started": "instances state different starts; the earliest was taken"}


def _chosen(name: str, found: dict[bytes, list[Any]]) -> Any:
    if name == "started":
        best: str | None = None
        for key in sorted(found):
            text = found[key][0]
            # where precision leaves the order open, the fuller text counts
            order = -1 if best is None else compare_times(text, best)
            if best is None or order == -1 or (order is None and len(text) > len(best)):
                best = text
        return best
    return found[min(found, key=lambda key: (-found[key][1], key))][0]


def _key(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return canonical_bytes({"": value})
