"""Structured reports to Observations: each item that says something, with what modifies it. DICOM PS3.3 C.17, PS3.16.

Containers are groups (hasMember). What modifies an item (HAS CONCEPT MOD, HAS OBS CONTEXT …) is a component of its
Observation, and what modifies a container one of all below it: a fetus's heart rate is never the mother's alone. A
coded finding whose modifier may deny it is said in words, without its code, so that nobody finds it as present.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from hdg.errors import Issue
from hdg.ingestion.dicom import sr_items as items
from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.state import State
from hdg.ingestion.dicom.values import moment_of
from hdg.ingestion.times import tell_doubt, to_datetime
from hdg.mapping.context import Facts, JsonObject, Several, Unfit

__all__ = ["conclusion", "key_images", "report_status", "report_text", "results"]

_MOST = 100_000
"""Observations and their components: what modifies a container is told of everything in it."""
_OBSERVED, _OBSERVATION_UID = 0x0040A032, 0x0040A171
_NUMBERS = 16
"""Numbers of an outline that count as one statement."""
_TABLE = "TABLE"
_REGION = {"text": "region"}
_OBJECTS = frozenset(("IMAGE", "COMPOSITE", "WAVEFORM"))
_CONCLUSIONS = frozenset(
    (("121073", "DCM"), ("121077", "DCM"), ("19005-8", "LN"), ("55110-1", "LN"), ("121111", "DCM"))
)
"""Impression, Conclusion, Summary."""
_OF_DOCUMENT = frozenset(str(code) for code in range(121005, 121024))
"""Observers and the procedure that was reported (PS3.16 TID 1002 to 1005): told once, of the document."""
_PRESENCE = ("presence", "absence", "certainty", "existence", "negat")

_QUALIFIED = "Numeric value qualifier"

Modifier = tuple[Dataset, JsonObject]


def report_status(root: Dataset, state: State) -> str:
    """Verified: final; complete only: preliminary, as R4 wants an authorized person for final; KOS has no flags."""
    state.mark(root, 0x0040A491, 0x0040A493, 0x0040A496)
    if root.text(0x0040A493) == "VERIFIED" or not root.text(0x0040A491):
        return "final"
    return "partial" if root.text(0x0040A491) == "PARTIAL" else "preliminary"


def _apart(components: Sequence[JsonObject], code: JsonObject | None) -> list[JsonObject]:
    """Components; the code of one that the Observation has itself is said in words (R4 observation.html#obs-7)."""
    own = {(one.get("system"), one.get("code")) for one in (code or {}).get("coding", ())}
    found = []
    for part in components:
        codings = part["code"].get("coding", ())
        if any((one.get("system"), one.get("code")) in own for one in codings):
            text = part["code"].get("text") or codings[0].get("display") or codings[0].get("code", "")
            part = {**part, "code": {"text": text}}
        found.append(part)
    return found


def _is_presence(item: Dataset) -> bool:
    return any(word in items.label(item).lower() for word in _PRESENCE)


class _Tree:
    """One report on its way."""

    def __init__(self, root: Dataset, state: State) -> None:
        self.state = state
        self.status = report_status(root, state)
        if self.status == "partial":
            self.status = "preliminary"
        self.effective = _when(root, state) or _day_of(root, state)
        self.device = state.reference("object.Device", root)
        self.count = 0
        self.is_cut = False
        """Something is told in part, or not at all: it stays in the object."""

    def members(self, item: Dataset, path: str, context: Sequence[Modifier]) -> list[JsonObject]:
        """References to what stands in a container, in order."""
        inside = items.children(item)
        shared = [*context, *self._presence(inside)]
        found: list[JsonObject] = []
        for at, child in enumerate(inside, 1):
            if items.relation(child) not in items.MODIFIERS:
                found += self.observe(child, f"{path}.{at}", shared)
        return found

    def _presence(self, inside: Sequence[Dataset]) -> list[Modifier]:
        """Siblings that say whether what stands beside them is there."""
        return [
            (one, self.component(one))
            for one in inside
            if items.is_negative(one, self.state) and _is_presence(one)
        ]

    def observe(self, item: Dataset, path: str, context: Sequence[Modifier]) -> list[JsonObject]:
        """References to the Observations of an item: one, or those within a container that has no name."""
        self.count += 1
        if self.count > _MOST:
            return []
        what = items.kind(item)
        own = [
            (child, self.component(child))
            for child in items.children(item)
            if items.relation(child) in items.MODIFIERS and items.kind(child) not in _OBJECTS
        ]
        limits = items.qualifier(item, self.state)
        code = items.concept(item, self.state)
        if what == "CONTAINER":
            inner = self.members(item, path, [*context, *own])
            if (not inner and not own) or code is None:
                return inner
            made: JsonObject = {"hasMember": inner} if inner else {}
        elif what == _TABLE:
            self.is_cut = True
            return []
        elif what in _OBJECTS:
            if code is None:
                return []
            made = {"derivedFrom": _objects(item)} if _objects(item) else {}
        else:
            made = self._leaf(item, path, context, own)
            if not made:
                return []
            code = code or (_REGION if what in items.COORDINATES else None)
        others = [one for one in context if one[0] is not item]
        components = [part for _, part in (*own, *others) if part]
        if limits is not None and "dataAbsentReason" not in made:
            components.insert(0, {"code": {"text": _QUALIFIED}, "valueCodeableConcept": limits})
        self.count += len(components)
        if self.count > _MOST:
            return []
        if components:
            made["component"] = _apart(components, code)
        return [self._take(made, code or {"text": what.lower()}, item, path)]

    def _leaf(
        self, item: Dataset, path: str, context: Sequence[Modifier], own: Sequence[Modifier]
    ) -> JsonObject:
        element, value = items.value_of(item, self.state)
        self._weigh(item)
        made: JsonObject = {element: value} if element else {}
        if element == "valueCodeableConcept":
            made[element] = self._in_words(item, value, [*context, *own])
        for at, child in enumerate(items.children(item), 1):
            if items.relation(child) in items.MODIFIERS:
                if items.kind(child) in _OBJECTS:
                    made.setdefault("derivedFrom", []).extend(_objects(child))
                continue
            inner = self.observe(child, f"{path}.{at}", context)
            if items.kind(child) in _OBJECTS:
                inner = _objects(child)
            elif items.kind(child) in items.COORDINATES:
                inner = [*inner, *(one for image in items.children(child) for one in _objects(image))]
            if inner:
                name = "hasMember" if items.relation(child) == "CONTAINS" else "derivedFrom"
                held = made.setdefault(name, [])
                held.extend(one for one in inner if one not in held)
        return made

    def _weigh(self, item: Dataset) -> None:
        """Long outlines count as many statements."""
        numbers = items.points(item)
        self.is_cut = self.is_cut or numbers > items.POINTS_MAX
        self.count += min(numbers, items.POINTS_MAX) // _NUMBERS

    def _in_words(self, item: Dataset, value: JsonObject, modifiers: Sequence[Modifier]) -> JsonObject:
        """A coded value, or words alone where a modifier may deny it."""
        denying = [
            one
            for one, _ in modifiers
            if one is not item
            and (items.kind(one) == "CODE" or _is_presence(one))
            and items.is_negative(one, self.state)
        ]
        if not denying:
            return value
        said = "; ".join(f"{items.label(one)}: {items.words(one, self.state)}" for one in denying)
        text = "a finding whose modifier may deny it is told in words, without its code"
        self.state.issues.append(Issue("information", "business-rule", "ContentSequence", text))
        return {"text": f"{items.words(item, self.state)} ({said})"}

    def component(self, item: Dataset) -> JsonObject:
        """A modifier as a component; what modifies it stands in its words."""
        code = items.concept(item, self.state)
        element, value = items.value_of(item, self.state)
        inner = [child for child in items.children(item) if items.relation(child) in items.MODIFIERS]
        said = "; ".join(
            part
            for child in inner
            if (part := f"{items.label(child)}: {items.words(child, self.state)}".strip(": "))
        )
        if items.kind(item) == _TABLE:
            self.is_cut = True
            return {}
        self._weigh(item)
        if not element and not said:
            return {}
        if element == "valueQuantity" and items.qualifier(item, self.state) is not None:
            element, value = "valueString", items.words(item, self.state)
        if said:
            element, value = (
                "valueString",
                " ".join(part for part in (items.words(item, self.state), f"({said})") if part),
            )
        return {"code": code or {"text": items.relation(item).lower()}, element: value}

    def _take(self, made: JsonObject, code: JsonObject, item: Dataset, path: str) -> JsonObject:
        state = self.state
        resource: JsonObject = {
            "resourceType": "Observation",
            "id": "",
            "status": self.status,
            "code": code,
        }
        if state.subject is not None:
            resource["subject"] = state.subject.copy()
        uid = item.text(_OBSERVATION_UID)
        if uid:
            resource["identifier"] = [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}]
        if self.device is not None:
            resource["device"] = self.device.copy()
        when = _when(item, state) or self.effective
        if when:
            resource["effectiveDateTime"] = when
        resource |= made
        return state.take(resource, Facts(("dicom-sr", state.header.sop_uid, path)))


def _when(item: Dataset, state: State) -> str:
    text = item.text(_OBSERVED)
    if not text:
        return ""
    tell_doubt(text, state)
    try:
        return to_datetime(text, state.zone)
    except Unfit as problem:
        state.problem(problem.text, code=problem.code)
        return problem.kept or ""
    finally:
        state.settle_at("ObservationDateTime")


def _day_of(root: Dataset, state: State) -> str:
    """When the report's study was, else when it was written; problems are told where the report is read."""
    for day, time in ((0x00080020, 0x00080030), (0x00080023, 0x00080033)):
        try:
            if root.text(day):
                return moment_of(root.text(day), root.text(time), state)
        except Unfit as problem:
            if problem.kept:
                return str(problem.kept)
    return ""


def _objects(item: Dataset) -> list[JsonObject]:
    """References to the objects that an item names, by SOP Instance UID."""
    found = []
    for one in item.items(items.REFERENCED_SOP):
        uid = one.text(items.SOP_UID)
        if uid:
            found.append(
                {"type": "Media", "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}}
            )
    return found


def results(root: Dataset, state: State) -> Any:
    """References to the Observations of a report."""
    tree = _Tree(root, state)
    context = [
        (child, tree.component(child))
        for child in items.children(root)
        if items.relation(child) == "HAS OBS CONTEXT" and items.code_of(child)[0] not in _OF_DOCUMENT
    ]
    context = [one for one in context if one[1]]
    found = tree.members(root, "1", context)
    if tree.count > _MOST:
        text = "the report has more content than is taken apart; its text has the rest"
        state.issues.append(Issue("warning", "too-long", "ContentSequence", text))
    if tree.is_cut:
        text = "tables and the rest of long outlines stay in the object"
        state.issues.append(Issue("information", "not-supported", "ContentSequence", text))
    return Several(found) if found else None


def report_text(root: Dataset, state: State) -> JsonObject | None:
    """The whole report as text (R4 diagnosticreport.html: presentedForm)."""
    lines = list(items.rendered(root, state))
    if not lines:
        return None
    title = items.label(root)
    data = "\n".join([title, *lines] if title else lines).encode("utf-8", "replace")
    found: JsonObject = {
        "contentType": "text/plain; charset=utf-8",
        "data": base64.b64encode(data).decode("ascii"),
    }
    if title:
        found["title"] = title
    return found


def conclusion(root: Dataset, state: State) -> str | None:
    """The texts that are called impression, conclusion or summary."""
    found: list[str] = []
    stack = [root]
    while stack:
        item = stack.pop()
        for child in items.children(item):
            if items.kind(child) == "TEXT" and items.code_of(child) in _CONCLUSIONS:
                found.append(items.words(child, state).strip())
            elif items.kind(child) == "CONTAINER":
                stack.append(child)
    return "\n".join(text for text in found if text) or None


def key_images(root: Dataset, state: State) -> Any:
    """The images that a report contains, as Media (R4 diagnosticreport.html: media)."""
    found: list[JsonObject] = []
    stack = [root]
    while stack:
        item = stack.pop()
        for child in items.children(item):
            if items.kind(child) in _OBJECTS and items.relation(child) == "CONTAINS":
                found += _media(child, state)
            elif items.kind(child) == "CONTAINER":
                stack.append(child)
    return Several(found) if found else None


def _media(item: Dataset, state: State) -> list[JsonObject]:
    found = []
    for one in item.items(items.REFERENCED_SOP):
        uid = one.text(items.SOP_UID)
        if not uid:
            continue
        made: JsonObject = {
            "resourceType": "Media",
            "id": "",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
            "status": "completed",
            "content": {"contentType": "application/dicom"},
        }
        if state.subject is not None:
            made["subject"] = state.subject.copy()
        entry: JsonObject = {"link": state.take(made, Facts(("dicom-media", uid), is_thing=True))}
        said = [items.label(item)] if items.label(item) else []
        frames = one.texts(0x00081160)
        if frames:
            said.append(f"frames {', '.join(frames)}")
        if said:
            entry["comment"] = "; ".join(said)
        found.append(entry)
    return found
