"""The package's public names, and what a library user gets from them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import hdg
from hdg.fhir import json as fhir_json
from hdg.ingestion.sender import Sender
from messages import oru


def test_all_names_are_there_and_documented() -> None:
    for name in hdg.__all__:
        assert getattr(hdg, name) is not None
        assert name == "__version__" or getattr(hdg, name).__doc__


def test_import_hdg_loads_no_layer() -> None:
    code = "import sys, hdg; print([m for m in sys.modules if m.startswith('hdg.')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_convert_gives_dicts_and_models_on_request() -> None:
    converted = hdg.convert(oru())
    observation = next(r for r in converted.resources if r["resourceType"] == "Observation")
    assert str(observation["valueQuantity"]["value"]) == "1.50"
    models = hdg.to_models(converted)
    assert [m.get_resource_type() for m in models] == [r["resourceType"] for r in converted.resources]


def test_the_same_message_twice_gives_the_same_result() -> None:
    assert hdg.convert(oru()) == hdg.convert(oru())


def _spoil(value: Any) -> None:
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _spoil(part)
    if isinstance(value, dict | list):
        value.clear()


def test_what_a_caller_does_to_a_result_shows_in_no_later_one() -> None:
    first = fhir_json.dumps(list(hdg.convert(oru(), id_key=b"s" * 32).resources))
    for _ in range(6):
        converted = hdg.convert(oru(), id_key=b"s" * 32)
        assert fhir_json.dumps(list(converted.resources)) == first
        for resource in converted.resources:
            _spoil(resource)


def test_ids_depend_on_the_key_and_the_institution() -> None:
    def patient(converted: hdg.Converted) -> str:
        assert converted.patient_id
        return converted.patient_id

    plain = patient(hdg.convert(oru()))
    assert patient(hdg.convert(oru(control="other"))) == plain
    assert patient(hdg.convert(oru(), id_key=b"k" * 32)) != plain
    assert patient(hdg.convert(oru(), sender=Sender("x", "elsewhere"))) != plain
