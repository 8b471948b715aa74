"""The invariants of R4 that a resource can break on its own.

R4 defines some 200 constraints of severity *error* on its resources and data types. They come from the
definitions as FHIRPath and are compiled when their type is first validated; those in _WRITTEN are Python
because they are hot. Together with ELSEWHERE that is every one of them except NOT_CHECKED. Warnings (dom-6,
con-3, nor-1, the "name" rules) are not checked: they do not make a resource invalid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from hdg.fhir.json import JsonObject
from hdg.fhir.path_values import compare

__all__ = [
    "ELSEWHERE",
    "NEEDS",
    "NOT_CHECKED",
    "OF_ELEMENT",
    "OF_PRESENCE",
    "ROOM",
    "Rule",
    "Scope",
    "rule",
]

ROOM: Final = 100
"""Objects inside one another that hdg.fhir.accept looks into: no resource that is meant has a quarter of it."""


# Key → why it is not checked.
NOT_CHECKED: Final = {
    "ctm-1": "asks what a referenced resource is; Reference targets are checked by type instead",
}
# Key → where it is checked, if not as a rule of its type.
ELSEWHERE: Final = {
    "ele-1": "hdg.fhir.validate_objects: empty objects, arrays and strings, objects with only an id",
    "dom-2": "hdg.fhir.validate: contained resources",
    "dom-3": "hdg.fhir.validate: contained resources",
    "dom-4": "hdg.fhir.validate: contained resources",
    "dom-5": "hdg.fhir.validate: contained resources",
    "txt-1": "hdg.fhir.narrative",
    "txt-2": "hdg.fhir.narrative",
    "ref-1": "hdg.fhir.validate_elements: references",
}


Trusted = dict[int, list[Any]]
"""By identity, ``[object, check]``: an object that nobody changes any more, and the check it passed, or None.
"""


class Scope:
    """What surrounds a value: its ``resource``, and the ``root`` whose contained resources it may name.

    ``trusted``: objects that need not pass the same check twice. ``locals``: what ``local_ids`` found. ``room``: how
    many objects may lie inside one another here for hdg.fhir.accept.
    """

    __slots__ = ("locals", "resource", "room", "root", "trusted")

    def __init__(
        self,
        resource: JsonObject,
        root: JsonObject,
        trusted: Trusted | None = None,
        room: int = ROOM,
    ) -> None:
        self.resource = resource
        self.root = root
        self.trusted: Trusted = {} if trusted is None else trusted
        self.room = room
        self.locals: dict[str, JsonObject] | None = None

    def local_ids(self) -> dict[str, JsonObject]:
        """The contained resources of ``root`` by their ids, of equal ids the first; looked for once."""
        if self.locals is None:
            found: dict[str, JsonObject] = {}
            inner = self.root.get("contained")
            for item in inner if isinstance(inner, list) else ():
                id_ = item.get("id") if isinstance(item, dict) else None
                if isinstance(id_, str):
                    found.setdefault(id_, item)
            self.locals = found
        return self.locals


# Whether the invariant holds for the object (its structure is already known to be right).
Rule = Callable[[Any, Scope], bool]


def rule(key: str, expression: str, type_name: str) -> Rule:
    """The rule of an invariant on items of a type; raises PathError when it cannot be compiled."""
    written = _WRITTEN.get(key)
    if written is not None:
        return written
    # Imported here: the types of most messages get by without FHIRPath, and a start without it is faster.
    from hdg.fhir.path import compile_condition
    from hdg.fhir.path_branches import Env

    condition = compile_condition(expression, type_name)
    return lambda item, scope: condition(item, Env(scope.resource, scope.root, item))


def _has(item: JsonObject, name: str) -> bool:
    """Whether a primitive element exists: with a value, or with extensions only."""
    return name in item or "_" + name in item


def _has_value(item: JsonObject) -> bool:
    for key in item:  # noqa: SIM110  # a loop: `any` over a generator costs twice as much
        if key.startswith(("value", "_value")):
            return True
    return False


def _ext_1(item: JsonObject, scope: Scope) -> bool:
    return ("extension" in item) is not _has_value(item)


def _qty_3(item: JsonObject, scope: Scope) -> bool:
    return "system" in item or not _has(item, "code") or _has(item, "system")


def _per_1(item: JsonObject, scope: Scope) -> bool:
    if "start" not in item or "end" not in item:
        return True
    return compare(item["start"], item["end"]) != 1


def _cpt_2(item: JsonObject, scope: Scope) -> bool:
    return "system" in item or not _has(item, "value") or _has(item, "system")


def _att_1(item: JsonObject, scope: Scope) -> bool:
    return "contentType" in item or not _has(item, "data") or _has(item, "contentType")


def _rat_1(item: JsonObject, scope: Scope) -> bool:
    has_both = "numerator" in item and "denominator" in item
    return has_both or ("numerator" not in item and "denominator" not in item and "extension" in item)


def _rng_2(item: JsonObject, scope: Scope) -> bool:
    return "low" not in item or "high" not in item or compare(item["low"], item["high"]) != 1


def _obs_3(item: JsonObject, scope: Scope) -> bool:
    return "low" in item or "high" in item or _has(item, "text")


def _obs_6(item: JsonObject, scope: Scope) -> bool:
    return "dataAbsentReason" not in item or not _has_value(item)


def _obs_7(item: JsonObject, scope: Scope) -> bool:
    if "component" not in item or not _has_value(item):
        return True
    codings = item["code"].get("coding", ())
    return not any(
        coding in codings for component in item["component"] for coding in component["code"].get("coding", ())
    )


def _cmp_1(item: JsonObject, scope: Scope) -> bool:
    return "text" in item or "entry" in item or "section" in item


def _cmp_2(item: JsonObject, scope: Scope) -> bool:
    return "emptyReason" not in item or "entry" not in item


def _org_1(item: JsonObject, scope: Scope) -> bool:
    return "identifier" in item or _has(item, "name")


def _is_not_home(item: JsonObject, scope: Scope) -> bool:
    return item.get("use") != "home"


def _prr_1(item: JsonObject, scope: Scope) -> bool:
    return "orderDetail" not in item or "code" in item


def _says(concept: JsonObject, system: str, codes: frozenset[str]) -> bool:
    for coding in concept.get("coding", ()):  # noqa: SIM110  # a loop: `any` over a generator costs twice as much
        if coding.get("system") == system and coding.get("code") in codes:
            return True
    return False


_CLINICAL: Final = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_OF_CONDITIONS: Final = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
_OF_ALLERGIES: Final = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"
_OVER: Final = frozenset(("resolved", "remission", "inactive"))
_WRONG: Final = frozenset(("entered-in-error",))


def _con_4(item: JsonObject, scope: Scope) -> bool:
    for key in item:
        if key.startswith(("abatement", "_abatement")):
            return _says(item.get("clinicalStatus", {}), _CLINICAL, _OVER)
    return True


def _con_5(item: JsonObject, scope: Scope) -> bool:
    return "clinicalStatus" not in item or not _says(
        item.get("verificationStatus", {}), _OF_CONDITIONS, _WRONG
    )


def _ait_1(item: JsonObject, scope: Scope) -> bool:
    return "clinicalStatus" in item or _says(item.get("verificationStatus", {}), _OF_ALLERGIES, _WRONG)


def _ait_2(item: JsonObject, scope: Scope) -> bool:
    return "clinicalStatus" not in item or not _says(
        item.get("verificationStatus", {}), _OF_ALLERGIES, _WRONG
    )


def _with(name: str, other: str) -> Rule:
    """What asks for the second where the first is."""
    return lambda item, scope: not _has(item, name) or _has(item, other)


def _tim_10(item: JsonObject, scope: Scope) -> bool:
    return not _has(item, "timeOfDay") or not _has(item, "when")


_WRITTEN: Final[dict[str, Rule]] = {
    "ext-1": _ext_1,
    "qty-3": _qty_3,
    "per-1": _per_1,
    "cpt-2": _cpt_2,
    "att-1": _att_1,
    "rat-1": _rat_1,
    "rng-2": _rng_2,
    "obs-3": _obs_3,
    "obs-6": _obs_6,
    "obs-7": _obs_7,
    "cmp-1": _cmp_1,
    "cmp-2": _cmp_2,
    "org-1": _org_1,
    "org-2": _is_not_home,
    "org-3": _is_not_home,
    "prr-1": _prr_1,
    "con-4": _con_4,
    "con-5": _con_5,
    "ait-1": _ait_1,
    "ait-2": _ait_2,
    "tim-1": _with("duration", "durationUnit"),
    "tim-2": _with("period", "periodUnit"),
    "tim-6": _with("periodMax", "period"),
    "tim-7": _with("durationMax", "duration"),
    "tim-8": _with("countMax", "count"),
    "tim-10": _tim_10,
}
# Those that look only at which properties an object has: what one object passes, all with the same pass.
OF_PRESENCE: Final = frozenset(
    {"ext-1", "qty-3", "cpt-2", "att-1", "rat-1", "obs-3", "obs-6", "cmp-1", "cmp-2", "org-1", "prr-1"}
    | {"tim-1", "tim-2", "tim-6", "tim-7", "tim-8", "tim-10"}
)
# Key → the properties without which the invariant holds.
NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "per-1": ("start", "end"),
    "rng-2": ("low", "high"),
    "obs-7": ("component",),
    "org-2": ("use",),
    "org-3": ("use",),
    "con-5": ("verificationStatus", "clinicalStatus"),
    "ait-2": ("verificationStatus", "clinicalStatus"),
}
# Key → the element, with a value or with extensions only, without which the invariant holds.
OF_ELEMENT: Final = {"tim-4": "duration", "tim-5": "period", "tim-9": "offset"}
