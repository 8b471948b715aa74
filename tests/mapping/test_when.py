"""The ``when`` grammar: what parses, what it means, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from hdg.mapping.when import DEEPEST, Readers, WhenError, compared, compile_when, operands, parse_when


def evaluate(text: str, **values: str) -> bool:
    def resolve(operand: str) -> Readers:
        def read(view: Any, context: Any) -> str:
            return values.get(operand, "")

        return Readers(read, lambda v, c: bool(read(v, c)), lambda v, c: read(v, c).count("~") + 1)

    return compile_when(parse_when(text), resolve)([], None)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a valued", True),
        ("b valued", False),
        ("not b valued", True),
        ("b not valued", True),
        ("a = M", True),
        ("a != M", False),
        ("b != M", True),
        ("a in (F, M)", True),
        ("a not in (F, M)", False),
        ('a in ("M", "x y")', True),
        ("c length > 3", True),
        ("c length <= 3", False),
        ("d count = 2", True),
        ("d count < 2", False),
        ("a = M and b valued", False),
        ("b valued and b valued or a = M", True),
        ("b valued and (b valued or a = M)", False),
        ("a = M or b valued and b valued", True),
        ("not (a = M and b valued)", True),
    ],
)
def test_a_condition_means_what_it_says(text: str, expected: bool) -> None:
    assert evaluate(text, a="M", c="1234", d="x~y") is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a =",
        "a in",
        "a in ()",
        "a in (x",
        "a length 3",
        "a length > x",
        "a = b c",
        "(a = b",
        "a ! b",
    ],
)
def test_what_is_not_in_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(WhenError):
        parse_when(text)


def test_quoted_literals_may_hold_operators_and_escaped_quotes() -> None:
    assert evaluate(r'a = "<="', a="<=")
    assert evaluate(r'a = "say \"x\""', a='say "x"')


def test_every_operand_is_known_and_compared_ones_are_those_with_literals() -> None:
    node = parse_when("PID-7 length > 8 and (PV1-2 = I or not PID-8 in (M)) and OBX-2 in (NM, SN)")
    assert operands(node) == {"PID-7", "PV1-2", "PID-8", "OBX-2"}
    assert compared(node) == {"PV1-2", "OBX-2"}


@pytest.mark.parametrize("text", ["({}a = M{})", "not {}a = M{}"])
def test_brackets_and_negations_nest_so_deep_and_no_deeper(text: str) -> None:
    opening, closing = ("(", ")") if text[0] == "(" else ("not ", "")
    assert evaluate(text.format(opening * (DEEPEST - 1), closing * (DEEPEST - 1)), a="M")
    for deeper in (DEEPEST, 1_000, 100_000):
        with pytest.raises(WhenError, match="inside one another"):
            parse_when(text.format(opening * deeper, closing * deeper))


@pytest.mark.parametrize("word, last", [("and", "N"), ("or", "M")])
def test_a_condition_may_have_any_number_of_terms(word: str, last: str) -> None:
    first = "M" if word == "and" else "N"
    terms = [f"a = {first}"] * 20_000
    text = f" {word} ".join
    assert evaluate(text(terms), a="M") is (word == "and")
    assert evaluate(text([*terms, f"a = {last}"]), a="M") is (word == "or")
