"""The functions and operators of the FHIRPath subset (FHIRPath N1 §5 and §6, R4 fhirpath.html#functions).

``_FUNCTIONS`` is the whole list; a name that is not there is a PathError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from hdg.fhir.path_branches import ANY, RESOLVED, Branch, Env, Run, Scope, merged
from hdg.fhir.path_grammar import Literal, Node, PathError
from hdg.fhir.path_values import (
    Shadow,
    compare,
    contains_value,
    distinct,
    is_distinct,
    same,
    same_all,
    text_of,
    truth,
)
from hdg.fhir.references import reference_type

__all__ = ["call", "operation"]

Arguments = tuple[Node, ...]
Function = Callable[[list[Branch], Arguments, Scope], list[Branch]]
_TRUE, _FALSE = [True], [False]


def call(name: str, targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    """The branches of ``targets.name(arguments)``; raises PathError."""
    function = _FUNCTIONS.get(name)
    if function is None:
        raise PathError(f"the function {name}() is not supported")
    return function(targets, arguments, scope)


def _boolean(run: Callable[[Any, Env], bool | None]) -> list[Branch]:
    def listed(item: Any, env: Env) -> list[Any]:
        verdict = run(item, env)
        return [] if verdict is None else _TRUE if verdict else _FALSE

    return [Branch("boolean", listed)]


def _values(run: Run) -> Run:
    """Without the primitives that have no value: operators and text functions see values only."""
    return lambda item, env: [found for found in run(item, env) if not isinstance(found, Shadow)]


# --- criteria --------------------------------------------------------------------------------------------


def _criteria(targets: list[Branch], criterion: Node, scope: Scope) -> list[tuple[Branch, Run]]:
    """Each branch with the criterion compiled for its type; types without such an element fall out."""
    pairs: list[tuple[Branch, Run]] = []
    failure: PathError | None = None
    for branch in targets:
        try:
            pairs.append((branch, merged(scope.branches(criterion, scope.inside(branch.type)))))
        except PathError as error:
            failure = error
    if not pairs and failure is not None:
        raise failure
    return pairs


def _where(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    def filtered(run: Run, criterion: Run) -> Run:
        return lambda item, env: [found for found in run(item, env) if truth(criterion(found, env)) is True]

    return [
        Branch(branch.type, filtered(branch.run, criterion))
        for branch, criterion in _criteria(targets, arguments[0], scope)
    ]


def _select(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    return [
        Branch(result.type, _mapped(branch.run, result.run))
        for branch in targets
        for result in scope.branches(arguments[0], scope.inside(branch.type))
    ]


def _mapped(outer: Run, inner: Run) -> Run:
    return lambda item, env: [value for found in outer(item, env) for value in inner(found, env)]


def _exists(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    if arguments:
        targets = _where(targets, arguments, scope)
    runs = [branch.run for branch in targets]
    if len(runs) == 1:
        run = runs[0]
        return [Branch("boolean", lambda item, env: _TRUE if run(item, env) else _FALSE)]
    return _boolean(lambda item, env: any(run(item, env) for run in runs))


def _all(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    pairs = _criteria(targets, arguments[0], scope)
    return _boolean(
        lambda item, env: all(
            truth(criterion(found, env)) is True
            for branch, criterion in pairs
            for found in branch.run(item, env)
        )
    )


def _iif(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    if not targets[0].is_this:
        raise PathError("iif() is supported only as a function of $this")
    out: list[Branch] = []
    for branch, criterion in _criteria(targets, arguments[0], scope):
        run = branch.run
        inner = scope.inside(branch.type)
        for wanted, argument in zip((True, False), arguments[1:], strict=False):
            results = scope.branches(argument, inner)
            out.extend(Branch(x.type, _chosen(run, criterion, wanted, x.run)) for x in results)
    return out


def _chosen(run: Run, criterion: Run, is_wanted: bool, result: Run) -> Run:
    return lambda item, env: [
        value
        for found in run(item, env)
        if (truth(criterion(found, env)) is True) is is_wanted
        for value in result(found, env)
    ]


# --- collections -----------------------------------------------------------------------------------------


def _empty(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = merged(targets)
    return [Branch("boolean", lambda item, env: _FALSE if run(item, env) else _TRUE)]


def _count(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = merged(targets)
    return [Branch("integer", lambda item, env: [len(run(item, env))])]


def _slice(start: int | None, stop: int | None) -> Function:
    def function(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
        kind = targets[0].type if len({branch.type for branch in targets}) == 1 else ANY
        run = merged(targets)
        return [Branch(kind, lambda item, env: run(item, env)[start:stop])]

    return function


def _is_distinct(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = merged(targets)
    return _boolean(lambda item, env: is_distinct(run(item, env)))


def _combine(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    return [*targets, *scope.branches(arguments[0], scope)]


def _intersect(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    other = merged(scope.branches(arguments[0], scope))

    def shared(run: Run) -> Run:
        return lambda item, env: distinct(
            found for found in run(item, env) if contains_value(other(item, env), found)
        )

    return [Branch(branch.type, shared(branch.run)) for branch in targets]


def _children_of(item: Any) -> Iterator[Any]:
    if isinstance(item, dict):
        for value in item.values():
            yield from value if isinstance(value, list) else (value,)


def _children(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = merged(targets)
    return [
        Branch(ANY, lambda item, env: [child for found in run(item, env) for child in _children_of(found)])
    ]


def _descendants(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = merged(targets)

    def walk(item: Any, env: Env) -> list[Any]:
        out: list[Any] = []
        level = run(item, env)
        while level:
            level = [child for found in level for child in _children_of(found)]
            out.extend(level)
        return out

    return [Branch(ANY, walk)]


def _has_value(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = merged(targets)

    def test(item: Any, env: Env) -> bool:
        found = run(item, env)
        return len(found) == 1 and not isinstance(found[0], Shadow | dict)

    return _boolean(test)


def _not(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = merged(targets)

    def negated(item: Any, env: Env) -> bool | None:
        verdict = truth(run(item, env))
        return None if verdict is None else not verdict

    return _boolean(negated)


def _trace(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    return targets  # a debugging aid: the value passes through


# --- text ------------------------------------------------------------------------------------------------


def _text_test(test: Callable[[str, str], bool]) -> Function:
    def function(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
        run, argument = _values(merged(targets)), _values(merged(scope.branches(arguments[0], scope)))

        def verdict(item: Any, env: Env) -> bool | None:
            found, wanted = run(item, env), argument(item, env)
            return test(text_of(found[0]), text_of(wanted[0])) if found and wanted else None

        return _boolean(verdict)

    return function


def _matches(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    pattern = re.compile(_constant(arguments[0]))
    run = _values(merged(targets))

    def verdict(item: Any, env: Env) -> bool | None:
        found = run(item, env)
        return pattern.search(text_of(found[0])) is not None if found else None

    return _boolean(verdict)


def _replace_matches(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    pattern, replacement = re.compile(_constant(arguments[0])), _constant(arguments[1])
    if not pattern.pattern:
        return targets
    run = _values(merged(targets))
    return [
        Branch("string", lambda item, env: [pattern.sub(replacement, text_of(x)) for x in run(item, env)[:1]])
    ]


def _substring(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    start = arguments[0]
    if len(arguments) != 1 or not isinstance(start, Literal):
        raise PathError("substring() is supported with one literal argument")
    run, offset = _values(merged(targets)), start.value

    def cut(item: Any, env: Env) -> list[Any]:
        texts = [text_of(found) for found in run(item, env)[:1]]
        return [text[offset:] for text in texts if offset < len(text)]

    return [Branch("string", cut)]


def _to_string(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = _values(merged(targets))
    return [Branch("string", lambda item, env: [text_of(found) for found in run(item, env)[:1]])]


def _to_integer(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = _values(merged(targets))

    def convert(item: Any, env: Env) -> list[Any]:
        texts = [str(int(x)) if isinstance(x, bool) else text_of(x) for x in run(item, env)[:1]]
        return [int(text) for text in texts if re.fullmatch(r"[+-]?[0-9]{1,10}", text)]

    return [Branch("integer", convert)]


def _constant(node: Node) -> str:
    if not isinstance(node, Literal) or not isinstance(node.value, str):
        raise PathError("a literal string is needed here")
    return node.value


# --- FHIR's own functions ----------------------------------------------------------------------------------


def _extensions(targets: list[Branch], url: str) -> list[Branch]:
    def of(run: Run) -> Run:
        return lambda item, env: [
            extension
            for found in run(item, env)
            if isinstance(found, dict)
            for extension in found.get("extension", ())
            if extension.get("url") == url
        ]

    return [Branch("Extension", of(branch.companion or branch.run)) for branch in targets]


def _extension(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    return _extensions(targets, _constant(arguments[0]))


def _has_extension(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    return _exists(_extensions(targets, _constant(arguments[0])), (), scope)


def _resolve(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = _values(merged(targets))
    return [Branch(RESOLVED, lambda item, env: [reference_type(x, env.root) or "" for x in run(item, env)])]


_FUNCTIONS: dict[str, Function] = {
    "all": _all,
    "children": _children,
    "combine": _combine,
    "contains": _text_test(lambda text, part: part in text),
    "count": _count,
    "descendants": _descendants,
    "empty": _empty,
    "endsWith": _text_test(lambda text, part: text.endswith(part)),
    "exists": _exists,
    "extension": _extension,
    "first": _slice(0, 1),
    "hasExtension": _has_extension,
    "hasValue": _has_value,
    "iif": _iif,
    "intersect": _intersect,
    "isDistinct": _is_distinct,
    "last": _slice(-1, None),
    "matches": _matches,
    "not": _not,
    "replaceMatches": _replace_matches,
    "resolve": _resolve,
    "select": _select,
    "startsWith": _text_test(lambda text, part: text.startswith(part)),
    "substring": _substring,
    "tail": _slice(1, None),
    "toInteger": _to_integer,
    "toString": _to_string,
    "trace": _trace,
    "where": _where,
}


# --- operators -------------------------------------------------------------------------------------------


def _and(left: bool | None, right: bool | None) -> bool | None:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _or(left: bool | None, right: bool | None) -> bool | None:
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


def _xor(left: bool | None, right: bool | None) -> bool | None:
    return None if left is None or right is None else left is not right


def _implies(left: bool | None, right: bool | None) -> bool | None:
    return _or(None if left is None else not left, right)


_LOGIC: dict[str, Callable[[bool | None, bool | None], bool | None]] = {
    "and": _and,
    "or": _or,
    "xor": _xor,
    "implies": _implies,
}
_ORDER: dict[str, Callable[[int], bool]] = {
    "<": lambda order: order < 0,
    "<=": lambda order: order <= 0,
    ">": lambda order: order > 0,
    ">=": lambda order: order >= 0,
}


def operation(operator: str, lefts: list[Branch], rights: list[Branch]) -> list[Branch]:
    """The branches of ``left operator right``; raises PathError."""
    if operator in _LOGIC:
        logic, one, other = _LOGIC[operator], merged(lefts), merged(rights)
        return _boolean(lambda item, env: logic(truth(one(item, env)), truth(other(item, env))))
    left, right = _values(merged(lefts)), _values(merged(rights))
    if operator in ("=", "!="):
        return _boolean(_equality(left, right, operator == "="))
    if operator in _ORDER:
        return _boolean(_ordering(left, right, _ORDER[operator]))
    if operator == "in":
        return _boolean(_membership(left, right))
    if operator == "contains":
        return _boolean(_membership(right, left))
    if operator in ("+", "-", "&"):
        return _arithmetic(operator, left, right)
    raise PathError(f"the operator {operator} is not supported")


def _equality(left: Run, right: Run, is_wanted: bool) -> Callable[[Any, Env], bool | None]:
    def test(item: Any, env: Env) -> bool | None:
        one, other = left(item, env), right(item, env)
        return same_all(one, other) is is_wanted if one and other else None

    return test


def _ordering(left: Run, right: Run, verdict: Callable[[int], bool]) -> Callable[[Any, Env], bool | None]:
    def test(item: Any, env: Env) -> bool | None:
        one, other = left(item, env), right(item, env)
        order = compare(one[0], other[0]) if one and other else None
        return None if order is None else verdict(order)

    return test


def _membership(left: Run, right: Run) -> Callable[[Any, Env], bool | None]:
    def test(item: Any, env: Env) -> bool | None:
        wanted = left(item, env)
        return any(same(found, wanted[0]) for found in right(item, env)) if wanted else None

    return test


def _arithmetic(operator: str, left: Run, right: Run) -> list[Branch]:
    def joined(item: Any, env: Env) -> list[Any]:
        return ["".join(text_of(found) for found in (*left(item, env)[:1], *right(item, env)[:1]))]

    def added(item: Any, env: Env) -> list[Any]:
        one, other = left(item, env), right(item, env)
        if not one or not other:
            return []
        if isinstance(one[0], str) or isinstance(other[0], str):
            return [text_of(one[0]) + text_of(other[0])]
        return [one[0] - other[0] if operator == "-" else one[0] + other[0]]

    return [Branch("string", joined)] if operator == "&" else [Branch("integer", added)]
