"""hdg.fhir.json: every digit survives; what is not JSON is refused."""

from __future__ import annotations

import copy
import decimal as standard_decimal
import json as standard_json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hdg.fhir.json import Decimal, JsonError, decimal, dumps, loads

NUMBERS = ["1.50", "1E+3", "1e3", "0.10", "-0.0", "100", "1.0E-7", "123456789012345678901234567890", "3.1400"]

literals = st.from_regex(
    r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
).filter(lambda text: text != "-0")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | literals.map(decimal) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize("literal", NUMBERS)
def test_a_number_is_written_as_it_was_read(literal: str) -> None:
    assert dumps(loads(f'{{"value":{literal}}}')) == f'{{"value":{literal}}}'.encode()


def test_a_number_survives_several_readings_and_writings() -> None:
    data = b'{"a":1.50,"b":[1E+3,-0.00],"c":{"d":1e-10}}'
    for _ in range(3):
        data = dumps(loads(data))
    assert data == b'{"a":1.50,"b":[1E+3,-0.00],"c":{"d":1e-10}}'


def test_a_decimal_computes_and_is_copied_and_pickled_with_its_literal() -> None:
    value = decimal("1e3")
    assert value == 1000
    assert value + standard_decimal.Decimal("0.5") == standard_decimal.Decimal("1000.5")
    assert copy.deepcopy([value])[0].literal == "1e3"
    assert pickle.loads(pickle.dumps(value)).literal == "1e3"


def test_a_number_without_point_or_exponent_is_an_int() -> None:
    assert [type(item) for item in loads("[1, 1.0, 1e0]")] == [int, Decimal, Decimal]


@pytest.mark.parametrize(
    "literal", ["", ".5", "1.", "+1", "01", "NaN", "Infinity", "1_0", " 1", "0x1", "1e", "١"]
)
def test_what_is_no_json_number_makes_no_decimal(literal: str) -> None:
    with pytest.raises(JsonError):
        decimal(literal)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[1,]",
        b"[NaN]",
        b"[01]",
        b"[1] 2",
        b'"\xff"',
        b'["a\nb"]',
        b"[1E+99999999999999999999]",
        b"[" * 100_000,
        b"[" * 300 + b"]" * 300,
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":1,"a":2,"b":"\\u0022"}',
        b'{"a":1,"\\u0061":2}',
    ],
)
def test_malformed_text_and_duplicate_keys_are_refused(data: bytes) -> None:
    with pytest.raises(JsonError):
        loads(data)


def test_an_error_has_the_byte_position_and_no_content() -> None:
    with pytest.raises(JsonError) as caught:
        loads(b'{"secret": x}')
    assert caught.value.position == 11
    assert "secret" not in str(caught.value)


def test_a_byte_order_mark_and_escaped_quotes_are_no_error() -> None:
    assert loads(b'\xef\xbb\xbf{"a":"\\u0022","b":"\\""}') == {"a": '"', "b": '"'}


@pytest.mark.parametrize("value", [{"a": object()}, {"a": standard_decimal.Decimal("NaN")}, {"a": "\ud800"}])
def test_what_json_cannot_hold_is_not_written(value: object) -> None:
    with pytest.raises(JsonError):
        dumps(value)


def test_pretty_output_says_the_same() -> None:
    value = loads(b'{"b":1.50,"a":[1E+3]}')
    assert b"\n" in dumps(value, pretty=True)
    assert loads(dumps(value, pretty=True)) == value
    assert b"1E+3" in dumps(value, pretty=True)


@given(values)
def test_loads_undoes_dumps(value: object) -> None:
    written = dumps(value)
    assert loads(written) == value
    assert dumps(loads(written)) == written


@given(values)
def test_the_standard_library_reads_the_same_values(value: object) -> None:
    assert standard_json.loads(dumps(value), parse_float=standard_decimal.Decimal) == value
