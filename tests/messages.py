"""Small HL7 v2 messages about made-up people, for tests of the whole way."""

from __future__ import annotations

MSH = "MSH|^~\\&|LAB|NORTHGEN|HDG|REGION|20260314113000-0500||{kind}|{control}|P|2.5.1"
PID = "PID|1||{number}^^^NORTHGEN&2.999.1.1&ISO^MR||{family}^Ada||19610412|F"


def oru(
    control: str = "C1",
    number: str = "10042",
    value: str = "1.50",
    family: str = "Example",
    code: str = "2160-0",
) -> bytes:
    """One order with one numeric result."""
    segments = [
        MSH.format(kind="ORU^R01^ORU_R01", control=control),
        PID.format(number=number, family=family),
        f"ORC|RE|P-{control}^OE|F-{control}^LAB",
        f"OBR|1|P-{control}^OE|F-{control}^LAB|24323-8^Panel^LN|||20260314101500-0500|||||||||||||||20260314112500-0500||CH|F",
        f"OBX|1|NM|{code}^Creatinine^LN||{value}|mg/dL^^UCUM|0.6-1.3|H|||F|||20260314101500-0500",
    ]
    return "\r".join(segments).encode() + b"\r"


def adt(control: str = "A1", number: str = "10042", family: str = "Example", event: str = "A01") -> bytes:
    """An admission."""
    structure = {"A31": "ADT_A05", "A03": "ADT_A03"}.get(event, "ADT_A01")
    segments = [
        MSH.format(kind=f"ADT^{event}^{structure}", control=control),
        f"EVN|{event}|20260314113000-0500",
        PID.format(number=number, family=family),
        "PV1|1|I|3W^310^1^NORTHGEN|E|||||||||||||||V-1^^^NORTHGEN&2.999.1.1&ISO^VN",
    ]
    return "\r".join(segments).encode() + b"\r"
