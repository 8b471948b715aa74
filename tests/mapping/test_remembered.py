"""What is remembered of fields' texts: bounded, never changed, and without effect on what is made."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from hdg.fhir import ids
from hdg.fhir import json as fhir_json
from hdg.fhir.validate import validate
from hdg.ingestion.converted import Converted
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender
from hdg.mapping.actions import compile_pairs
from hdg.mapping.context import Context, JsonObject, Read
from hdg.mapping.defaults import split_default
from hdg.mapping.library import Library
from hdg.mapping.remembered import IDS_MAX, Remembered
from hdg.mapping.target import compile_target, parse_target
from messages import oru

_LIBRARY = Library("hl7v2")
_CASES = Path(__file__).parents[1] / "cases" / "hl7v2"


def _read(value: dict[str, str]) -> Read:
    return Read(value, ((1, value, ()),), (value,))


def _said(converted: Converted) -> tuple[bytes, object]:
    rest = (converted.deletions, converted.defaulted, converted.issues, converted.patient_id)
    return fhir_json.dumps(list(converted.resources)), rest


def test_a_text_is_kept_when_it_is_offered_a_second_time() -> None:
    memory: Remembered[Read] = Remembered()
    key = ("CX.Identifier", "1^^^A")
    memory.offer(key, _read({"value": "1"}))
    assert key not in memory.young
    memory.offer(key, _read({"value": "1"}))
    assert memory.young[key].single == {"value": "1"}


def test_senders_that_have_what_is_remembered_in_common_get_their_own_ids_and_times() -> None:
    """A tracing converter remembers nothing."""
    own = (Sender("A|X", "X"), Sender("B|X", "X"), Sender("B|Y", "Y"), Sender("B|Y", "Y", zone="+01:00"))
    shared = Converter(id_key=ids.PUBLIC_KEY, library=_LIBRARY)
    alone = Converter(id_key=ids.PUBLIC_KEY, library=_LIBRARY, is_tracing=True)
    for path in sorted(_CASES.glob("*/*.hl7"))[::3]:
        raw = path.read_bytes()
        expected = [_said(alone.convert(raw, sender, at_us=0)) for sender in own]
        assert len({found for found, _ in expected}) > 2
        for _ in range(4):  # from the third time on segments are put from memory
            assert [_said(shared.convert(raw, sender, at_us=0)) for sender in own] == expected


def test_what_is_not_used_is_forgotten_and_the_size_stays_bounded() -> None:
    memory: Remembered[Read] = Remembered(limit_bytes=100_000)
    used = ("kind", "used")
    memory.keep(used, _read({"value": "used"}))
    for number in range(10_000):
        memory.keep(("kind", str(number)), _read({"value": str(number)}))
        assert used in memory.young or memory.older(used) is not None
        assert len(memory.young) < 100
    assert memory.older(("kind", "1")) is None
    assert len(memory.trusted) < 200


def test_entering_a_value_that_others_share_changes_a_copy_of_it() -> None:
    shared = {"coding": [{"code": "a"}]}
    root = {"code": shared}
    context = Context()
    compile_target(parse_target("code.text"))(root, "text", context)
    compile_target(parse_target("code.coding[0].display"))(root, "display", context)
    assert root == {"code": {"coding": [{"code": "a", "display": "display"}], "text": "text"}}
    assert shared == {"coding": [{"code": "a"}]}


def test_a_constant_that_resources_share_is_copied_by_whoever_adds_to_it() -> None:
    pairs = split_default("type=v2-0203#VN; type.text=visit")[1]
    complete = compile_pairs(pairs, "Identifier", Library("hl7v2").systems, is_mapped=False)
    assert complete is not None
    context = Context()
    context.values = Remembered()
    first: JsonObject = {}
    complete(first, context)
    context.enter(first, "type", first["type"])["text"] = "changed"
    other: JsonObject = {}
    complete(other, context)
    assert (first["type"]["text"], other["type"]["text"]) == ("changed", "visit")
    assert first["type"]["coding"] == other["type"]["coding"]


def test_what_was_converted_before_does_not_change_what_a_message_becomes() -> None:
    shared = Converter(id_key=ids.PUBLIC_KEY)
    messages = [path.read_bytes() for path in sorted(_CASES.glob("*/*.hl7"))]
    first = [_said(shared.convert(raw, at_us=0)) for raw in messages]
    for _ in range(2):
        assert [_said(shared.convert(raw, at_us=0)) for raw in messages] == first
    alone = Converter(id_key=ids.PUBLIC_KEY, is_tracing=True)
    assert [_said(alone.convert(raw, at_us=0)) for raw in messages] == first


def test_a_trusted_object_is_asked_once_per_check_and_others_always() -> None:
    code = {"text": "a"}
    observation = {"resourceType": "Observation", "status": "final", "code": code}
    trusted = {id(code): [code, None]}
    assert validate(observation, trusted) == []
    code["text"] = ""  # nobody may do this to a trusted object; it shows that the check is not made again
    assert validate(observation, trusted) == []
    assert [issue.place for issue in validate(observation)] == ["Observation.code.text"]
    wrong = {**observation, "code": {"text": ""}}
    assert [issue.place for issue in validate(wrong, trusted)] == ["Observation.code.text"]


def test_an_id_is_the_hmac_of_its_length_prefixed_parts() -> None:
    parts = ("Patient", "inst", "MR", "1")
    for key in (b"k", b"k" * 64, b"k" * 100):
        text = b"".join(len(part).to_bytes(8, "big") + part.encode() for part in parts)
        number = int.from_bytes(hmac.digest(key, text, hashlib.sha256)[:20], "big")
        letters = "abcdefghijklmnopqrstuvwxyz234567"
        expected = "".join(letters[number >> shift & 31] for shift in range(155, -1, -5))
        assert ids.resource_id(key, "Patient", "inst", ("MR", "1")) == expected


def test_ids_that_are_kept_are_those_that_are_made() -> None:
    """Two institutions that declare the same share what is remembered, and yet no id."""
    shared = Converter(id_key=ids.PUBLIC_KEY)
    made = []
    for institution in ("north", "south"):
        sender = Sender("LAB|N", institution)
        for control in ("C1", "C2"):
            converted = shared.convert(oru(control), sender, at_us=0)
            assert _said(converted) == _said(
                Converter(id_key=ids.PUBLIC_KEY).convert(oru(control), sender, at_us=0)
            )
            made.append(converted.patient_id)
    assert made[0] == made[1] != made[2] == made[3]


def test_only_so_many_ids_are_kept() -> None:
    converter = Converter(id_key=ids.PUBLIC_KEY)
    _, state = converter.run(oru("C1", number="1"), at_us=0)
    assert state.values is not None
    kept = state.values.ids
    assert "Patient" in {kind for _, (kind, _) in kept}
    kept.update({("local", ("Patient", (str(number),))): "" for number in range(IDS_MAX)})
    converter.run(oru("C2", number="2"), at_us=0)
    assert 0 < len(kept) < IDS_MAX
