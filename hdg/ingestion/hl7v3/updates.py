"""updateMode: what a sender says is to become of a single attribute of a record.

HL7 v3 HL7UpdateMode. A statement names what holds: what is removed (D) or to be ignored (I) is taken out before the
tables read it, and when nothing else is left of an element of the resource, that element is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator

from hdg.errors import Hl7v3Error, Issue
from hdg.ingestion.cda.compile import Program
from hdg.ingestion.cda.state import State
from hdg.ingestion.cda.xml import Element, local
from hdg.ingestion.converted import Deletion

__all__ = ["deletions", "removed"]

_REMOVED = frozenset({"D", "ESD"})
_ADDED = frozenset({"A", "AU", "ESA", "ESAC"})
_WHOLE = frozenset(
    {"registrationEvent", "subject", "subject1", "patient", "patientPerson", "controlActProcess"}
)
_KEPT = frozenset({"personalRelationship"})
"""What has a row for being removed."""


def removed(root: Element, program: Program, state: State) -> list[str]:
    """Takes out of an element what is not to hold, and names the elements of the resource that it was about.

    Raises Hl7v3Error when the record itself is to be removed.
    """
    names: dict[str, None] = {}
    for element in [one for one in root.iter() if one.get("updateMode")]:
        mode = element.get("updateMode", "").strip()
        state.mark(element, "updateMode")
        if mode in _REMOVED and local(element) in _WHOLE:
            raise Hl7v3Error(
                "a whole record is to be removed: that is not supported", state.place_of(element)
            )
        if element is root or any(local(one) in _KEPT for one in _around(element, root, state)):
            continue
        about = dict.fromkeys(_targets(element, root, program, state))
        if mode in _REMOVED or mode == "I":
            if mode != "I":
                names |= about
                if not about:
                    text = "what is to be removed has no place in the resource"
                    state.issues.append(Issue("warning", "not-supported", state.place_of(element), text))
            state.tree.remove(element)
        elif mode in _ADDED and any(_is_list(name, program) for name in about):
            text = "said to be an addition; what is stated here is taken as all that the sender says of it"
            state.issues.append(Issue("warning", "not-supported", state.place_of(element), text))
    return list(names)


def deletions(kind: str, reference: str, names: list[str], state: State) -> Iterator[Deletion]:
    """Those of the named elements of a resource that nothing was said of beside their removal."""
    id_ = reference.partition("/")[2]
    resource = state.resources[kind, id_]
    for name in names:
        if name not in resource and f"_{name}" not in resource:
            yield Deletion(kind, id_, name)


def _around(element: Element, root: Element, state: State) -> Iterator[Element]:
    """The element and what is around it, below the root."""
    node: Element | None = element
    while node is not None and node is not root:
        yield node
        node = node.around


def _targets(element: Element, root: Element, program: Program, state: State) -> Iterator[str]:
    """The elements of the resource to which the rows lead that read this element, or what it is in."""
    around = list(_around(element, root, state))
    for _, step in program.steps:
        target = step.rule.target
        if not target or target == "id" or step.rule.source.startswith((".", "..")):
            continue
        hits = step.path.find(root)
        if any(one in hits for one in around):
            yield target.partition(".")[0].partition("[")[0].removeprefix("_")


def _is_list(name: str, program: Program) -> bool:
    return any(step.rule.target.startswith(f"{name}[") for _, step in program.steps)
