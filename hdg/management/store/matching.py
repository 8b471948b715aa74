"""One search parameter's values as SQL over the rows of its index table.

R4 search.html#ptypes, #modifiers. ``search.py`` says which table and how the clauses of a query combine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, and_, literal, or_

from hdg.errors import BadRequest
from hdg.fhir import definitions
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.composites import composite_slots
from hdg.management.store.forms import of_type_system
from hdg.management.store.measures import CANONICAL, canonical_code, compare_ranges, sought
from hdg.management.store.near import near
from hdg.management.store.operators import compare_dates, end_ranges, prefixed, split_at, unescape
from hdg.management.store.phonetic import phonetic
from hdg.management.store.values import TEXT_MAX, Hash, date_range, fold, index_text, split_reference
from hdg.management.store.veil import VEILED_MAX, veiler
from hdg.terminology import ucum

__all__ = ["LAST", "RANGED", "Clause", "CodesOf", "Matching"]

Condition = ColumnElement[bool]

_MODIFIERS = {
    "token": frozenset({"", "not", "text", "of-type"}),
    "reference": frozenset({"", "identifier"}),  # and every resource type's name
    "string": frozenset({"", "exact", "contains"}),
    "uri": frozenset({"", "above", "below"}),
}
LAST = "\U0010ffff"
RANGED = frozenset({"number", "quantity"})
"""Kinds whose alternatives each name the parameter: else SQLite would not use an index for each of them."""


@dataclass(frozen=True, slots=True)
class CodesOf:
    """Codes of one system ('' for none); ``is_rest``: all of its codes but these."""

    system: str
    codes: tuple[str, ...]
    is_rest: bool = False


@dataclass(frozen=True, slots=True)
class Clause:
    """One search parameter as given once in a query: any of ``values`` must match (R4 search.html#combining).

    ``kind``: token, string, date, reference, number, quantity, uri or composite; any kind is accepted for
    ``_id`` and ``_lastUpdated``. ``modifier`` without its colon, '' for none. ``values``: percent-decoded,
    split at unescaped commas, with the escapes ``\\,`` ``\\|`` ``\\$`` ``\\\\`` still in them.

    ``kind`` chain: the references of ``param`` lead to a resource that fulfils one of ``links``: (its type, the
    clause about it). ``kind`` has: one of ``links``, (type, clause), is a resource whose ``param`` refers to
    the one at hand (R4 search.html#chaining, #has).

    ``kind`` filter: all (``modifier`` and) or one (or) of the clauses in ``links``, or not the one (not); their types
    are ''.

    ``kind`` list: the resources that ``values`` name as ``Type/id``. ``kind`` ``_list`` is a List that has not been
    read yet, and ``codes`` None in a clause by value set or hierarchy (modifiers in, not-in, and above and below of
    a token) means the same: such a clause is refused.

    ``kind`` text: words of the narrative (``_text``) or of all text (``_content``); the query's ``custom`` names TEXTS.

    ``places``: of a parameter that is not R4's own, where its rows are (as index.lookups says of R4's own), and
    ``parts``: the kinds of its components.
    """

    param: str
    kind: str
    modifier: str
    values: tuple[str, ...] = ()
    links: tuple[tuple[str, Clause], ...] = ()
    places: tuple[tuple[int, str], ...] = ()
    parts: tuple[str, ...] = ()
    codes: tuple[CodesOf, ...] | None = None


@dataclass(frozen=True, slots=True)
class Matching:
    """One clause about resources of a type; ``columns`` below are those of its kind's index table."""

    type: str
    clause: Clause
    hash: Hash
    now_us: int

    def places(self, columns: Any, places: Sequence[tuple[int, str]]) -> Condition:
        """The parameter's rows; of a parameter for one type of references only those (and absolute URLs)."""
        return _of_places(columns.param, tuple(places), self.hash)

    def match(self, columns: Any, value: str, of: Condition | None = None) -> Condition:
        """The rows that hold ``value``. ``of``: the parameter's rows, which those of RANGED are limited to here."""
        kind = self.clause.kind
        match self.clause.modifier:
            case "text":
                return self._text(columns.value, value)
            case "of-type":
                return self._of_type(columns, value)
            case "identifier":
                return self._token(columns.code, columns.system, value)
        if kind == "reference":
            return self._reference(columns, value)
        self.only(*_MODIFIERS.get(kind, frozenset({""})))
        if kind == "composite":
            return self._composite(columns, value)
        if kind in RANGED:
            return (
                self._number(columns, value, of=of)
                if kind == "number"
                else self._quantity(columns, value, of)
            )
        return self._single(kind, value, columns)

    def _single(self, kind: str, value: str, columns: Any) -> Condition:
        match kind:
            case "token":
                return self._token(columns.code, columns.system, value)
            case "reference":
                return self._reference(columns, value)
            case "string":
                return self._string(columns, value)
            case "uri":
                return self._uri(columns.value, value)
            case "date":
                return self.date(columns.lo, columns.hi, value)
            case "number":
                return self._number(columns, value)
            case "special":
                return self._near(columns, value)
            case _:
                return self._quantity(columns, value)

    def _token(self, code: Any, system: Any, value: str) -> Condition:
        parts = [unescape(part) for part in split_at(value, "|")]
        is_code: Condition = code == self.hash(parts[-1])
        is_system: Condition = system == self.hash(parts[0])
        if len(parts) == 1:
            return is_code
        if len(parts) != 2 or parts == ["", ""]:
            raise self.bad("a token is code, system|code, |code or system|")
        if not parts[1]:
            return is_system
        return and_(is_code, is_system)

    def _text(self, column: Any, value: str) -> Condition:
        folded = fold(unescape(value))
        if not folded:
            raise self.bad("an empty text")
        if len(folded.encode()) > VEILED_MAX:
            raise self.bad(f"at most {VEILED_MAX} bytes of text")
        veiled = veiler(self.hash)(folded)
        return and_(column >= veiled, column < veiled + LAST)

    def _of_type(self, columns: Any, value: str) -> Condition:
        parts = [unescape(part) for part in split_at(value, "|")]
        if len(parts) != 3 or not all(parts):
            raise self.bad("system|code|value are needed: the type of the identifier, and its value")
        system, code, text = parts
        return and_(
            columns.code == self.hash(text), columns.system == self.hash(of_type_system(system, code))
        )

    def coded(self, columns: Any, concepts: list[int], plain: list[tuple[int, str]]) -> Condition:
        """The rows with one of the clause's codes; see forms.coded_numbers."""
        if self.clause.codes is None:
            raise BadRequest(
                f"{self.clause.param}: value sets and hierarchies are not supported here",
                code="not-supported",
                place=self.clause.param,
            )
        terms = [
            and_(columns.param.in_(concepts), self._of_system(columns, one)) for one in self.clause.codes
        ]
        for number, binding in plain:
            codes = sorted(map(self.hash, self._bound(binding)))
            terms.append(and_(columns.param == number, columns.code.in_(codes)))
        return or_(*terms) if terms else literal(0) == 1

    def _bound(self, binding: str) -> set[str]:
        """Those of the clause's codes that an element without a system can have: its value set says the system."""
        known = definitions.codes(binding) or {}
        found: set[str] = set()
        for one in self.clause.codes or ():
            codes = known.get(one.system, frozenset())
            found |= codes.difference(one.codes) if one.is_rest else codes.intersection(one.codes)
        return found

    def _of_system(self, columns: Any, one: CodesOf) -> Condition:
        codes = sorted(map(self.hash, one.codes))
        is_listed = columns.code.not_in(codes) if one.is_rest else columns.code.in_(codes)
        return and_(columns.system == self.hash(one.system), is_listed)

    def _reference(self, columns: Any, value: str) -> Condition:
        modifier, text = self.clause.modifier, unescape(value)
        if modifier:
            if modifier not in definitions.resource_types():
                raise self.unsupported()
            text = text if "/" in text else f"{modifier}/{text}"
        target = split_reference(text)
        if target is not None:
            if modifier and target[0] != modifier:
                raise self.bad("the modifier and the reference name different types")
            return and_(columns.code == self.hash(target[1]), columns.system == self.hash(target[0]))
        if "/" in text or ":" in text:
            return and_(columns.code == self.hash(text), columns.system == 0)
        return and_(columns.code == self.hash(text), columns.system != 0)

    def _string(self, columns: Any, value: str) -> Condition:
        text = unescape(value)
        if self.clause.param == "phonetic" and not self.clause.places:
            return self._sound(columns, text)
        folded = fold(text)
        if not folded:
            raise self.bad("an empty text")
        if self.clause.modifier == "exact":
            return and_(columns.value == folded, columns.exact == self.hash(text))
        if self.clause.modifier == "contains":
            contains: Condition = columns.value.contains(folded, autoescape=True)
            return contains
        return and_(columns.value >= folded, columns.value < folded + LAST)

    def _sound(self, columns: Any, text: str) -> Condition:
        self.only("")
        code = phonetic(text)
        if not code:
            raise self.bad("an empty text")
        return and_(columns.value == code[:TEXT_MAX], columns.exact == self.hash(code))

    def _near(self, columns: Any, value: str) -> Condition:
        try:
            return near(columns, [unescape(part) for part in split_at(value, "|")])
        except ValueError as error:
            raise self.bad(str(error)) from None

    def _uri(self, column: Any, value: str) -> Condition:
        text = index_text(unescape(value))
        if self.clause.modifier == "below":
            return and_(column >= text, column < text + LAST)
        if self.clause.modifier == "above":
            above: Condition = column.in_([text[:end] for end in range(1, len(text) + 1)])
            return above
        is_equal: Condition = column == text
        return is_equal

    def date(self, lo: Any, hi: Any, value: str) -> Condition:
        """The ranges that a date with its prefix asks for."""
        prefix, text = prefixed(unescape(value))
        covered = date_range(text)
        if covered is None:
            raise self.bad("not a date")
        return compare_dates(prefix, lo, hi, covered, self.now_us)

    def dates(self, columns: Any, values: Sequence[str], of: Condition) -> list[Condition]:
        """``date`` of every one of the values, for rows that nothing else leads to: a range of an index each.

        ``of``: the parameter's rows.
        """
        matches = and_(*(self.date(columns.lo, columns.hi, value) for value in values))
        for value in values:
            prefix, text = prefixed(unescape(value))
            ranges = end_ranges(prefix, columns.lo, columns.hi, date_range(text) or (0, 0))
            if ranges:
                return [and_(of, one, matches) for one in ranges]
        return [and_(of, matches)]

    def _number(
        self, columns: Any, value: str, unit: ucum.Unit | None = None, of: Condition | None = None
    ) -> Condition:
        prefix, text = prefixed(unescape(value))
        number = sought(text)
        if number is None:
            raise self.bad("not a number")
        return compare_ranges(prefix, columns.value, columns.high, number, unit, of)

    def _quantity(self, columns: Any, value: str, of: Condition | None = None) -> Condition:
        parts = [unescape(part) for part in split_at(value, "|")]
        if len(parts) not in (1, 3):
            raise self.bad("a quantity is number or number|system|code")
        system, code = parts[1:] or ("", "")
        unit = ucum.unit(code) if system == ucum.SYSTEM else None
        if unit is not None:
            is_unit = columns.code == self.hash(canonical_code(unit.dimension))
            return and_(self._number(columns, parts[0], unit, of), is_unit, columns.system == CANONICAL)
        terms = [self._number(columns, parts[0], of=of)]
        terms.append(columns.system == self.hash(system) if system else columns.system != CANONICAL)
        if code:
            terms.append(columns.code == self.hash(code))
        return and_(*terms)

    def begins_with_code(self, value: str) -> bool:
        """Whether the rows of a composite's value have one code, which is the first thing that their index holds."""
        slots = composite_slots(self._kinds())
        return slots is not None and slots[0][0] == 1 and not split_at(value, "$")[0].endswith("|")

    def _kinds(self) -> tuple[str, ...]:
        """Of a composite's components."""
        found = [p for p in definitions.search_parameters(self.type) if p.code == self.clause.param]
        return self.clause.parts or (tuple(part.kind for part in found[0].components) if found else ())

    def _composite(self, columns: Any, value: str) -> Condition:
        kinds = self._kinds()
        slots = composite_slots(kinds)
        parts = split_at(value, "$")
        if not slots:
            raise BadRequest(f"{self.clause.param}: this composite is not supported", code="not-supported")
        if len(parts) != len(kinds):
            raise self.bad(f"{len(kinds)} parts joined by $ are needed")
        names = [column.name for column in table_of(schema.IdxComposite).columns]
        return and_(
            *(
                self._single(kind, part, _Slots(columns, [names[slot] for slot in places]))
                for kind, part, places in zip(kinds, parts, slots, strict=True)
            )
        )

    def only(self, *modifiers: str) -> None:
        """Raises BadRequest for any modifier but these."""
        if self.clause.modifier not in modifiers:
            raise self.unsupported()

    def unsupported(self) -> BadRequest:
        """The error for a modifier that the parameter does not take."""
        text = f"{self.clause.param}: the modifier is not supported for this parameter"
        return BadRequest(text, code="not-supported", place=self.clause.param)

    def bad(self, text: str) -> BadRequest:
        """The error for a value that cannot be read."""
        return BadRequest(f"{self.clause.param}: {text}", code="value", place=self.clause.param)


@lru_cache(maxsize=4096)
def _of_places(param: Any, places: tuple[tuple[int, str], ...], hash_: Hash) -> Condition:
    """``Matching.places``; ``param``: the column. What is equal in all searches is made once."""
    everywhere = sorted({number for number, target in places if not target})
    terms = [_is_one_of(param, everywhere)] if everywhere else []
    for number, target in places:
        if target:
            system = param.table.c.system
            known = [literal(value, system.type) for value in (hash_(target), 0)]
            terms.append(and_(param == number, system.in_(known)))
    return or_(*terms)


def _is_one_of(column: Any, values: Sequence[int]) -> Condition:
    """IN; of one value without a list, which SQLAlchemy would write into the text anew each time."""
    found: Condition = column == values[0] if len(values) == 1 else column.in_(values)
    return found


class _Slots:
    """The columns of idx_composite that hold one component, under the names that its own kind's table has."""

    def __init__(self, columns: Any, names: list[str]) -> None:
        own = [{"code2": "code", "system2": "system", "text": "value"}.get(name, name) for name in names]
        if len(names) == 1:
            own = ["value"]  # the second of two numbers too
            self.high = columns[names[0]]
        for attribute, name in zip(own, names, strict=True):
            setattr(self, attribute, columns[name])
