"""The ``source`` column of CDA tables: a path below the element that a table reads, compiled once.

    path      := step ('/' step)*
    step      := name predicate* | '@' name | '.' | '..'
    predicate := '[' number ']' | '[' ['not '] path ']' | '[' path ('=' | '!=') "'" text "'" ']'

``..`` leads to what is around, but never to a section: what stands in an entry of its own has nothing around it.

A name stands in the namespace of HL7 v3; ``sdtc:`` and ``xsi:`` are known besides. ``[templateId='1.2.3']`` asks for a
template id with that root. Several values: one that fits is enough. A step ``entryRelationship`` passes over those that
are negated, unless its predicate asks for ``@negationInd``: nothing negated is read by a row that does not know of it.
So does a statement on the way to something in it, also over one with a nullFlavor, which says nothing. An
``entryRelationship`` of a type that leads from one to the other (RSON, CAUS) leads back where it is inverted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from sys import intern
from typing import Any, Final

from hdg.ingestion.cda.qualifiers import is_known_absent
from hdg.ingestion.cda.state import SELF, State
from hdg.ingestion.cda.xml import HL7, SDTC, XSI_TYPE, Element

__all__ = ["STATEMENTS", "Find", "Path", "PathError", "is_said", "parse_path"]

Find = Callable[[Element], Sequence[Element]]
Check = Callable[[Element], bool]
Pick = Callable[[Sequence[Element]], Sequence[Element]]
View = dict[str, Any]
"""The children of an element by tag (in Clark notation), what paths have found so far, by their keys, and by their
``inner`` the children of that by tag."""
STATEMENTS: Final = frozenset(
    ("act", "encounter", "observation", "organizer", "procedure", "substanceAdministration", "supply")
)
"""CDA R2: the classes of clinical statements (regionOfInterest and observationMedia are read as parts)."""
_DIRECTED: Final = ("@typeCode='RSON'", "@typeCode='CAUS'")
_STEPS_MAX, _NESTED_MAX = 50, 10
"""Steps of a path, predicates in one another: compiled code has no RecursionError (docs/wheels.md)."""
_ABOVE_MAX: Final = 64
"""Elements of which is kept what lies below them."""
_NAME: Final = re.compile(r"(?:sdtc:|xsi:)?[A-Za-z][A-Za-z0-9]*")
_COMPARED: Final = re.compile(r"(?P<path>[^=!']+?)\s*(?P<sign>!?=)\s*'(?P<text>[^']*)'")


class PathError(ValueError):
    """The text is not a path."""


@dataclass(frozen=True, slots=True)
class Path:
    """``find`` gives elements; ``attribute`` (in Clark notation) is what is read of them, '' for the elements."""

    text: str
    find: Find
    attribute: str = ""
    first: str = ""
    """The tag (Clark notation) without which nothing is found; '' when it does not begin with a child."""
    head: Pick | None = None
    """What the predicates of the first step leave of the children of that tag; None: all."""
    before: Path | None = None
    """The path without its last step; None where there is one step."""
    last: Find | None = None
    """The last step."""
    tag: str = ""
    """The tag of children that the last step asks for; '' where it goes elsewhere or counts them."""
    pick: Pick | None = None
    """What the predicates of the last step leave of these children; None: all."""
    up: int = 0
    """How many steps it goes up first."""
    below: Find | None = None
    """What it finds from up there."""
    key: str = ""
    """What it has found is kept under; no name of an element."""
    inner: str = ""
    """The children of what it has found are kept under."""
    plain: str = ""
    """The tag of a path that is all children of one name; '' for any other."""
    is_own: bool = False
    """Whether it is an attribute of the element itself."""
    is_statement: bool = False
    """Whether it leads to clinical statements."""

    def found(self, element: Element, state: State) -> Sequence[Element]:
        """``find``; what lies above is looked for once for all siblings and kept in ``state.above``."""
        if not self.up or self.below is None:
            return self.find(element)
        above = element
        for _ in range(self.up):
            around = above.around
            if around is None or around.tag == _SECTION:
                return ()
            above = around
        known = state.above.get(above)
        if known is None:
            if len(state.above) >= _ABOVE_MAX:
                state.above.clear()
            known = state.above[above] = {}
        hits = known.get(self.text)
        if hits is None:
            hits = known[self.text] = self.below(above)
        return hits

    def among(self, element: Element, view: View) -> Sequence[Element]:
        """``find`` for an element whose children are at hand: rows with a part of their way in common look once."""
        if not self.first:
            return (element,) if self.is_own else self.find(element)
        hits: Sequence[Element] | None = view.get(self.key)
        if hits is not None:
            return hits
        if self.before is None:
            hits = view.get(self.first, ())
            if hits and self.head is not None:
                hits = self.head(hits)
        else:
            nodes = self.before.among(element, view)
            hits = self._below(nodes, self.before.inner, view) if nodes else ()
        view[self.key] = hits
        return hits

    def _below(self, nodes: Sequence[Element], inner: str, view: View) -> Sequence[Element]:
        """What the last step finds in what those before it have found; their children are sorted once for all rows."""
        if not self.tag:
            return [] if self.last is None else [one for node in nodes for one in self.last(node)]
        grouped: dict[str, list[Element]] | None = view.get(inner)
        if grouped is None:
            grouped = view[inner] = {}
            for node in nodes:
                for one in node.inner:
                    if one.tag in grouped:
                        grouped[one.tag].append(one)
                    else:
                        grouped[one.tag] = [one]
        hits: Sequence[Element] = grouped.get(self.tag, ())
        return self.pick(hits) if hits and self.pick is not None else hits


def parse_path(text: str) -> Path:
    """Raises PathError."""
    finds: list[Find] = []
    attribute = way = ""
    before: Path | None = None
    path: Path | None = None
    steps = _steps(text)
    for number, step in enumerate(steps):
        if attribute:
            raise PathError(f"nothing can follow an attribute in {text!r}")
        if step.startswith("@"):
            attribute = _attribute(step[1:], text)
            continue
        tag, pick, is_counted = "", None, False
        if step == ".":
            find: Find = _itself
        elif step == "..":
            find = _parent
        else:
            tag, pick, is_counted = _step(step, text, is_way=number + 1 < len(steps))
            find = _picking(tag, pick)
        finds.append(find)
        way = f"{way}/{step}" if way else step
        before = path
        path = Path(
            way,
            _chained(finds),
            first=before.first if before else tag,
            head=before.head if before else pick,
            before=before,
            last=find,
            tag="" if is_counted else tag,
            pick=pick,
            key=f"/{way}",
            inner=f"/{way}/",
        )
    up = next((number for number, find in enumerate(finds) if find is not _parent), len(finds))
    below = _chained(finds[up:]) if up else None
    if path is None:
        return Path(text, _itself, attribute, is_own=True)
    plain = path.first if path.before is None and path.head is None else ""
    is_statement = not attribute and steps[-1].partition("[")[0] in STATEMENTS
    return replace(path, attribute=attribute, up=up, below=below, plain=plain, is_statement=is_statement)


def _itself(element: Element) -> Sequence[Element]:
    return (element,)


def _tag(name: str) -> str:
    return intern(SDTC + name[5:] if name.startswith("sdtc:") else HL7 + name)


def _said(hits: Sequence[Element], name: str) -> list[str]:
    found = [one.get(name, "") if name else "".join(one.itertext()) for one in hits]
    return [one for one in (text.strip() for text in found) if one]


def _steps(text: str) -> list[str]:
    """Cut at slashes outside brackets."""
    found, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth > _NESTED_MAX:
            raise PathError("predicates are nested too deeply")
        if letter == "/" and depth == 0:
            found.append(text[start:at])
            start = at + 1
    found.append(text[start:])
    if len(found) > _STEPS_MAX:
        raise PathError(f"a path has more than {_STEPS_MAX} steps")
    if depth or any(not step for step in found):
        raise PathError(f"{text!r} is not a path")
    return found


def _attribute(name: str, text: str) -> str:
    if not _NAME.fullmatch(name):
        raise PathError(f"{name!r} is not an attribute in {text!r}")
    return XSI_TYPE if name == "xsi:type" else name


def _chained(finds: list[Find]) -> Find:
    if not finds:
        return lambda element: (element,)
    if len(finds) == 1:
        return finds[0]
    *first, last = finds
    way = _chained(first)

    def find(element: Element) -> list[Element]:
        return [found for node in way(element) for found in last(node)]

    return find


def _step(step: str, text: str, *, is_way: bool) -> tuple[str, Pick | None, bool]:
    """The tag of a child, what the predicates leave of its elements, and whether by their number.

    ``is_way``: more steps follow.
    """
    name, *brackets = _brackets(step)
    if not _NAME.fullmatch(name):
        raise PathError(f"{name!r} is not an element in {text!r}")
    checks: list[Check] = []
    number = 0
    for bracket in brackets:
        inner = bracket[1:-1].strip()
        if inner.isdecimal():
            number = int(inner)
        else:
            checks.append(_check(inner, text))
    if not any("@negationInd" in bracket for bracket in brackets):
        if name == "entryRelationship":
            checks.append(_is_not_negated)
        elif is_way and name in STATEMENTS:
            checks.append(_is_said)
    if name == "entryRelationship" and any(sign in bracket for bracket in brackets for sign in _DIRECTED):
        checks.append(_is_not_inverted)
    if not checks and not number:
        return _tag(name), None, False

    def pick(hits: Sequence[Element]) -> Sequence[Element]:
        for check in checks:
            hits = [one for one in hits if check(one)]
        return hits[number - 1 : number] if number else hits

    return _tag(name), pick, number > 0


def _brackets(step: str) -> list[str]:
    """The name and each predicate, which may hold predicates itself."""
    parts, depth, start = [], 0, 0
    for at, letter in enumerate(step):
        if letter == "[":
            if depth == 0:
                parts.append(step[start:at])
                start = at
            depth += 1
        elif letter == "]":
            depth -= 1
    return [*parts, step[start:]]


def _picking(tag: str, pick: Pick | None) -> Find:
    if pick is None:
        return lambda element: element.findall(tag)
    return lambda element: pick(element.findall(tag))


_CODE: Final = f"{HL7}code"
_RELATED: Final = f"{HL7}relatedSubject"
_SUBJECT: Final = f"{HL7}subject"
_STATUS: Final = f"{HL7}statusCode"
_SECTION: Final = f"{HL7}section"


def _parent(element: Element) -> Sequence[Element]:
    parent = element.around
    return () if parent is None or parent.tag == _SECTION else (parent,)


def _is_not_negated(element: Element) -> bool:
    return bool(element.get("negationInd", "false") == "false")


def _is_not_inverted(element: Element) -> bool:
    return element.get("inversionInd", "false").strip() not in ("true", "1")


def is_said(element: Element) -> bool:
    """Whether a statement says that something is so, of whom the one around it speaks.

    Neither is it negated, nor has it a nullFlavor, nor was it retracted, nor is it about a relative by its own word,
    nor does a qualifier say that what it names is absent.
    """
    if element.get("negationInd", "false") != "false" or element.get("nullFlavor") is not None:
        return False
    for child in element.inner:
        if child.tag == _STATUS and child.get("code") == "nullified":
            return False
        if child.tag == _SUBJECT and any(map(_is_of_a_relative, child.inner)):
            return False
    return not is_known_absent(element)


def _is_of_a_relative(role: Element) -> bool:
    if role.tag != _RELATED:
        return False
    codes = {one.get("code", "") for one in role.inner if one.tag == _CODE}
    return codes.isdisjoint(SELF)


def _is_said(element: Element) -> bool:
    return is_said(element)


def _check(inner: str, text: str) -> Check:
    compared = _COMPARED.fullmatch(inner)
    if compared is None:
        is_wanted = not inner.startswith("not ")
        path = parse_path(inner.removeprefix("not ").strip())
        if path.attribute:
            return lambda element: bool(_said(path.find(element), path.attribute)) is is_wanted
        return lambda element: bool(path.find(element)) is is_wanted
    named, sign, value = compared["path"].strip(), compared["sign"], compared["text"]
    path = parse_path("templateId/@root" if named == "templateId" else named)
    if not path.attribute:
        raise PathError(f"only an attribute can be compared in {text!r}")
    return _comparison(path, value, is_equal=sign == "=")


def _comparison(path: Path, value: str, *, is_equal: bool) -> Check:
    name, tag = path.attribute, path.plain
    if path.is_own:
        return lambda element: (element.get(name) == value) is is_equal

    def check(element: Element) -> bool:
        for one in element.findall(tag) if tag else path.find(element):
            if one.get(name) == value:
                return is_equal
        return not is_equal

    return check
