"""Converters whose results later messages of the same sender use again: coded values, people and places."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from hdg.mapping.context import SHARED_LENGTH, Context, Converter, Made
from hdg.mapping.remembered import fresh


def remembered(name: str, build: Converter) -> Converter:
    """A pure converter of coded values that keeps what it made: the same few thousand codes come again."""

    def convert(text: Any, context: Context) -> Any:
        shared = context.shared
        if shared is None or len(text) > SHARED_LENGTH or "\\" in text:
            return build(text, context)
        key = (name, text)
        entry = shared.get(key)
        if entry is None:
            mark = len(context.problems)
            value = build(text, context)  # what raises Unfit is not kept
            context.keep(key, (_thawing(value), tuple(problem.copy() for problem in context.problems[mark:])))
            return value
        thaw, problems = entry
        if problems:
            context.problems.extend(problem.copy() for problem in problems)
        return thaw()

    return convert


def _thawing(value: Any) -> Callable[[], Any]:
    """Gives a new copy of a coded value each time; parsing JSON is the fastest way to make one."""
    if type(value) is not dict:
        return lambda: value
    try:
        frozen = orjson.dumps(value)
    except TypeError:  # a decimal in an extension
        return partial(fresh, fresh(value))
    return partial(orjson.loads, frozen)


def recalled(build: Converter, kind: str, key: tuple[str, str], context: Context) -> Made | None:
    """What an earlier conversion built from the same text, or a new build."""
    made: Made | None = context.shared.get(key) if context.shared is not None else None
    if made is not None:
        context.adopt(made)
        return made
    mark = len(context.problems)
    made = referred(build, kind, key[1], context)
    if made is None or made.is_local or len(context.problems) > mark or len(key[1]) > SHARED_LENGTH:
        return made
    context.keep(key, made)
    return made


def taken_again(key: Any, made: Made, context: Context) -> None:
    """Take in what an earlier message referred to, as if its text (``key``) were read in this one."""
    memo = context.memo
    known = None if memo is None else memo.get(key)
    if known is None:
        mark = len(context.problems)
        context.adopt(made)
        if memo is not None:
            memo[key] = made, tuple([problem.copy() for problem in context.problems[mark:]])
    else:
        made, problems = known
        if problems:
            context.problems.extend(problem.copy() for problem in problems)
    context.taken.append(made)


def referred(build: Converter, kind: str, text: Any, context: Context) -> Made | None:
    """Build a resource from a text and take it in."""
    outer_facts, context.facts = context.facts, None
    outer_taken, context.taken = context.taken, []
    resource = build(text, context)
    made = context.refer(kind, resource, context.found_facts()) if resource else None
    context.facts, context.taken = outer_facts, outer_taken
    return made
