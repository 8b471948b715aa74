"""Whatever stands in the fields: a valid result or a clear refusal; never another exception."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdg.errors import Hl7v2Error
from hdg.fhir.ids import PUBLIC_KEY
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.grammar import elements

CONVERTER = Converter(id_key=PUBLIC_KEY)
FORGETFUL = Converter(id_key=PUBLIC_KEY)
KINDS = {
    "ADT^A01^ADT_A01": [
        "EVN",
        "PID",
        "PD1",
        "NK1",
        "PV1",
        "PV2",
        "OBX",
        "AL1",
        "DG1",
        "PR1",
        "ROL",
        "GT1",
        "IN1",
        "IN2",
        "ACC",
    ],
    "ORU^R01^ORU_R01": ["PID", "PV1", "ORC", "OBR", "TQ1", "OBX", "NTE", "SPM"],
    "VXU^V04^VXU_V04": ["PID", "NK1", "ORC", "RXA", "RXR", "OBX", "NTE"],
}
TEXTS = """
A Y M 1 -1.50 20260314 20260314101500-0500 Doe LN MR é漢
2.16.840.1.113883.6.1 ISO NM SN CWE ED TX \\T\\ \\X0D\\
< >= 1-2 99LAB "" \x7f
"""
PIECES = st.sampled_from(["", "", " ", "x y", *TEXTS.split()])
COMPONENTS = st.lists(PIECES, min_size=1, max_size=6).flatmap(
    lambda parts: st.sampled_from(["^".join(parts), "&".join(parts), parts[0], "~".join(parts[:3])])
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(sorted(KINDS)))
    lines = [f"MSH|^~\\&|LAB|NORTH|HDG|REGION|20260314113000-0500||{kind}|C1|P|2.5.1"]
    for name in draw(st.lists(st.sampled_from(KINDS[kind]), min_size=1, max_size=8)):
        count = len(elements(name) or ())
        fields = draw(st.lists(COMPONENTS, min_size=0, max_size=count + 1))
        lines.append("|".join((name, *fields)))
    return "\r".join(lines).encode()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages())
def test_any_text_in_any_field_gives_valid_resources_and_the_same_ones_again(data: bytes) -> None:
    try:
        converted = CONVERTER.convert(data, at_us=0)
    except Hl7v2Error:
        return
    assert [str(issue) for item in converted.resources for issue in validate(item)] == []
    FORGETFUL.tables(None)._shared.clear()  # what earlier messages left must not show
    fresh = FORGETFUL.convert(data, at_us=0)
    assert [dumps(item) for item in fresh.resources] == [dumps(item) for item in converted.resources]
    assert fresh.issues == converted.issues
    keys = [(item["resourceType"], item["id"]) for item in converted.resources]
    assert len(set(keys)) == len(keys)
