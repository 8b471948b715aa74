"""PCD-01 with its OBX in any order, any of them left out and any field replaced: never an exception, always valid."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hdg.errors import Hl7v2Error
from hdg.fhir.json import dumps
from hdg.fhir.validate import validate
from tests.case_pairs import references
from tests.pcd_messages import (
    BPM,
    CUFF,
    GATEWAY,
    MMHG,
    MONITOR,
    PERCENT,
    PULSE,
    SPO2,
    converter,
    number,
    observations,
    pcd,
    plain,
)

LINES = (
    GATEWAY,
    CUFF,
    MONITOR.replace("|1.0.0.0|", "|2.0.0.0|"),
    "OBX||DTM|67975^MDC_ATTR_TIME_ABS^MDC|1.0.0.5|20181111113215||||||R|||20181111113810-0500",
    "OBX||CWE|68218^MDC_REG_CERT_DATA_AUTH_BODY^MDC|0.0.0.1|2^auth-body",
    "OBX||CWE|532354^MDC_REG_CERT_DATA_CONTINUA_REG_STATUS^MDC|0.0.0.1.2|1^unregulated(0)",
    "OBX||ST|531969^MDC_ID_MODEL_NUMBER^MDC|1.0.0.2|M1",
    "OBX||CWE|68220^MDC_TIME_SYNC_PROTOCOL^MDC|1.0.0.5.1|532226^MDC_TIME_SYNC_NTPV4^MDC",
    "OBX|||150020^MDC_PRESS_BLD_NONINV^MDC|1.0.1|||||||X|||20181111113220",
    number("150021^MDC_PRESS_BLD_NONINV_SYS^MDC", "1.0.1.1", "120.5", MMHG),
    number("150022^^MDC", "1.0.1.2", "80", MMHG, more="||INV|||R|||20181111113221"),
    "OBX||NM|68185^MDC_ATTR_TIME_PD_MSMT_ACTIVE^MDC|1.0.1.9|5|264320^MDC_DIM_SEC^MDC",
    number(PULSE, "1.0.0.9", "60", BPM, more="|50-120|QUES~H|||R"),
    "OBX||NM|67985^^MDC|1.0.0.9.1|8000",
    "OBX||CWE|68193^^MDC|1.0.0.9.2|150588^MDC_MODALITY_SPOT^MDC~150580^^MDC",
    "OBX||CWE|67911^MDC_ATTR_MSMT_STAT^MDC|1.0.0.9.3|1^questionable(1)~1^what(12)",
    "OBX||NR|68236^^MDC|1.0.0.9.4|59^61",
    "OBX||ST|68167^^MDC|1.0.0.9.6|1.0.1",
    "OBX||NA|131330^MDC_ECG_ELEC_POTL_II^MDC|2.7.6.2|80^88.0^^-92||||||F",
    "OBX||NM|0^MDC_ATTR_SAMP_RATE^MDC|2.7.6.2.1|500|264640^MDC_DIM_HZ^MDC",
    number(SPO2, "2.1.1.1", "97.0", PERCENT),
)
PATHS = ("1", "0", "1.0.1", "1.0.1.1", "1.0.0.9", "1.0.0.9.1", "2.7.6.2.1", "", "x", "1..2", "0.0.0.0")
TEXTS = (
    *(
        "",
        "NaN",
        '""',
        "1^2",
        "1^a(3)",
        "~",
        "-",
        "1e5",
        "9" * 30,
        "\\X41\\",
        "20181111113219",
        "5^-^6",
        "1^2~3^4",
    ),
    *(
        "150456^^MDC",
        "67975^^MDC",
        "531981^^MDC",
        "68193^^MDC",
        "NM",
        "CWE",
        "NA",
        "MA",
        "DTM",
        "X",
        "INV",
        "1^a(3)~0^b(70)",
    ),
)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 20), st.just(4), st.sampled_from(PATHS)),
        st.tuples(
            st.integers(0, 20), st.sampled_from([2, 3, 5, 6, 7, 8, 11, 14, 18, 21]), st.sampled_from(TEXTS)
        ),
    ),
    max_size=5,
)


def changed(line: str, field: int, text: str) -> str:
    fields = [*line.split("|"), *[""] * 22][:23]
    fields[field] = text
    return "|".join(fields)


@settings(max_examples=80, deadline=None)
@given(st.permutations(LINES), st.integers(0, len(LINES)), CHANGES, st.sampled_from(["10042", ""]))
def test_any_tree_gives_valid_resources_whose_references_resolve(
    lines: list[str], left: int, changes: list[tuple[int, int, str]], patient: str
) -> None:
    lines = lines[left:]
    for index, field, text in changes:
        if index < len(lines):
            lines[index] = changed(lines[index], field, text)
    data = pcd(*lines, patient=patient)
    try:
        converted = converter().convert(data, at_us=0)
    except Hl7v2Error:
        return  # said with its place: nothing of it is stored
    found = [plain(one) for one in converted.resources]
    assert [validate(one) for one in found if validate(one)] == []
    known = {f"{one['resourceType']}/{one['id']}" for one in found}
    assert len(known) == len(found)
    assert {one for one in references(found) if "/" in one} <= known
    assert dumps(list(converter().convert(data, at_us=0).resources)) == dumps(list(converted.resources))


@settings(max_examples=25, deadline=None)
@given(st.permutations(LINES[3:]))
def test_the_order_of_measurements_and_facets_decides_nothing_where_paths_are_clear(lines: list[str]) -> None:
    def told(order: list[str]) -> set[bytes]:
        converted = converter().convert(pcd(*LINES[:3], *order), at_us=0)
        return {
            dumps({"id": one["id"], "code": one["code"], "device": one.get("device")})
            for one in observations(converted)
        }

    assert told(list(lines)) == told(list(LINES[3:]))
