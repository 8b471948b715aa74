"""The functions of the FHIRPath subset (FHIRPath N1 §5, R4 fhirpath.html#functions).

``_FUNCTIONS`` is the whole list; a name that is not there is a PathError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from hdg.fhir.path_branches import (
    ANY,
    FALSE,
    RESOLVED,
    TRUE,
    Branch,
    Env,
    Run,
    Scope,
    boolean,
    merged,
    values,
)
from hdg.fhir.path_grammar import Literal, Node, PathError
from hdg.fhir.path_values import (
    Shadow,
    contains_value,
    distinct,
    is_distinct,
    text_of,
    truth,
)
from hdg.fhir.references import reference_type

__all__ = ["call"]

Arguments = tuple[Node, ...]
Function = Callable[[list[Branch], Arguments, Scope], list[Branch]]


def call(name: str, targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    """The branches of ``targets.name(arguments)``; raises PathError."""
    if name not in _FUNCTIONS:
        raise PathError(f"the function {name}() is not supported")
    function, fewest, most = _FUNCTIONS[name]
    if not fewest <= len(arguments) <= most:
        raise PathError(f"{name}() with {len(arguments)} arguments is not supported")
    return function(targets, arguments, scope)


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
        return [Branch("boolean", lambda item, env: TRUE if run(item, env) else FALSE)]
    return boolean(lambda item, env: any(run(item, env) for run in runs))


def _all(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    pairs = _criteria(targets, arguments[0], scope)
    return boolean(
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
    return [Branch("boolean", lambda item, env: FALSE if run(item, env) else TRUE)]


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
    return boolean(lambda item, env: is_distinct(run(item, env)))


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

    return boolean(test)


def _not(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = merged(targets)

    def negated(item: Any, env: Env) -> bool | None:
        verdict = truth(run(item, env))
        return None if verdict is None else not verdict

    return boolean(negated)


def _trace(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    return targets  # a debugging aid: the value passes through


# --- text ------------------------------------------------------------------------------------------------


def _text_test(test: Callable[[str, str], bool]) -> Function:
    def function(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
        run, argument = values(merged(targets)), values(merged(scope.branches(arguments[0], scope)))

        def verdict(item: Any, env: Env) -> bool | None:
            found, wanted = run(item, env), argument(item, env)
            return test(text_of(found[0]), text_of(wanted[0])) if found and wanted else None

        return boolean(verdict)

    return function


def _matches(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    pattern = re.compile(_constant(arguments[0]))
    run = values(merged(targets))

    def verdict(item: Any, env: Env) -> bool | None:
        found = run(item, env)
        return pattern.search(text_of(found[0])) is not None if found else None

    return boolean(verdict)


def _replace_matches(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    pattern, replacement = re.compile(_constant(arguments[0])), _constant(arguments[1])
    if not pattern.pattern:
        return targets
    run = values(merged(targets))
    return [
        Branch("string", lambda item, env: [pattern.sub(replacement, text_of(x)) for x in run(item, env)[:1]])
    ]


def _substring(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    start = arguments[0]
    if not isinstance(start, Literal) or not isinstance(start.value, int):
        raise PathError("substring() is supported with a literal number")
    run, offset = values(merged(targets)), start.value

    def cut(item: Any, env: Env) -> list[Any]:
        texts = [text_of(found) for found in run(item, env)[:1]]
        return [text[offset:] for text in texts if offset < len(text)]

    return [Branch("string", cut)]


def _length(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = values(merged(targets))
    return [Branch("integer", lambda item, env: [len(text_of(found)) for found in run(item, env)[:1]])]


def _to_string(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = values(merged(targets))
    return [Branch("string", lambda item, env: [text_of(found) for found in run(item, env)[:1]])]


def _to_integer(targets: list[Branch], arguments: Arguments, scope: Scope) -> list[Branch]:
    run = values(merged(targets))

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
    run = values(merged(targets))
    return [Branch(RESOLVED, lambda item, env: [reference_type(x, env.root) or "" for x in run(item, env)])]


# name → (function, fewest arguments, most arguments)
_FUNCTIONS: dict[str, tuple[Function, int, int]] = {
    "all": (_all, 1, 1),
    "children": (_children, 0, 0),
    "combine": (_combine, 1, 1),
    "contains": (_text_test(lambda text, part: part in text), 1, 1),
    "count": (_count, 0, 0),
    "descendants": (_descendants, 0, 0),
    "empty": (_empty, 0, 0),
    "endsWith": (_text_test(lambda text, part: text.endswith(part)), 1, 1),
    "exists": (_exists, 0, 1),
    "extension": (_extension, 1, 1),
    "first": (_slice(0, 1), 0, 0),
    "hasExtension": (_has_extension, 1, 1),
    "hasValue": (_has_value, 0, 0),
    "iif": (_iif, 2, 3),
    "intersect": (_intersect, 1, 1),
    "isDistinct": (_is_distinct, 0, 0),
    "last": (_slice(-1, None), 0, 0),
    "length": (_length, 0, 0),
    "matches": (_matches, 1, 1),
    "not": (_not, 0, 0),
    "replaceMatches": (_replace_matches, 2, 2),
    "resolve": (_resolve, 0, 0),
    "select": (_select, 1, 1),
    "startsWith": (_text_test(lambda text, part: text.startswith(part)), 1, 1),
    "substring": (_substring, 1, 1),
    "tail": (_slice(1, None), 0, 0),
    "toInteger": (_to_integer, 0, 0),
    "toString": (_to_string, 0, 0),
    "trace": (_trace, 1, 2),
    "where": (_where, 1, 1),
}
