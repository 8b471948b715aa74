"""Registry messages for tests, made here after the schema; nobody in them exists."""

from __future__ import annotations

NS = 'xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
PERSON = """<name use="L"><given>Ada</given><family>Example</family></name>
  <administrativeGenderCode code="F"/><birthTime value="19610412"/>"""
PROVIDER = """<providerOrganization classCode="ORG" determinerCode="INSTANCE"><id root="2.999.2"/><name>North</name>
  <contactParty classCode="CON"><telecom value="tel:+1-555-0100"/></contactParty></providerOrganization>"""
CUSTODIAN = """<custodian typeCode="CST"><assignedEntity classCode="ASSIGNED"><id root="2.999.2"/></assignedEntity>
  </custodian>"""
IDS = '<id root="2.999.2" extension="p1"/>'


def prior(*ids: str) -> str:
    """replacementOf for each id (XML)."""
    return "".join(
        f"""<replacementOf typeCode="RPLC"><priorRegistration classCode="REG" moodCode="EVN">
        <statusCode code="obsolete"/><subject1 typeCode="SBJ"><priorRegisteredRole classCode="PAT">{one}
        </priorRegisteredRole></subject1></priorRegistration></replacementOf>"""
        for one in ids
    )


def registration(
    person: str = PERSON,
    *,
    ids: str = IDS,
    role: str = "",
    after: str = "",
    provider: str = PROVIDER,
    status="active",
) -> str:
    """subject with a registrationEvent. ``role``: inside patient; ``after``: inside registrationEvent."""
    return f"""<subject typeCode="SUBJ" contextConductionInd="false"><registrationEvent classCode="REG" moodCode="EVN">
      <id nullFlavor="NA"/><statusCode code="{status}"/><subject1 typeCode="SBJ"><patient classCode="PAT">{ids}
      <statusCode code="active"/><patientPerson classCode="PSN" determinerCode="INSTANCE">{person}</patientPerson>
      {provider}{role}</patient></subject1>{CUSTODIAN}{after}</registrationEvent></subject>"""


def message(
    *subjects: str,
    interaction: str = "PRPA_IN201301UV02",
    number: str = "m1",
    created: str = "20240102030405+0000",
    accept: str = "AL",
    more: str = "",
) -> bytes:
    """A whole message."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
    <{interaction} {NS} ITSVersion="XML_1.0"><id root="2.999.1" extension="{number}"/>
      <creationTime value="{created}"/><interactionId root="2.16.840.1.113883.1.6" extension="{interaction}"/>
      <processingCode code="P"/><processingModeCode code="T"/><acceptAckCode code="{accept}"/>
      <receiver typeCode="RCV"><device classCode="DEV" determinerCode="INSTANCE"><id root="2.999.8"/></device>
      </receiver>
      <sender typeCode="SND"><device classCode="DEV" determinerCode="INSTANCE"><id root="2.999.7"/>
      <name>Feed</name></device></sender>
      <controlActProcess classCode="CACT" moodCode="EVN"><code code="PRPA_TE201301UV02"
      codeSystem="2.16.840.1.113883.1.18"/>{"".join(subjects)}{more}</controlActProcess></{interaction}>""".encode()


def enveloped(raw: bytes, uri: str = "http://www.w3.org/2003/05/soap-envelope") -> bytes:
    """The message in a SOAP envelope with an addressing header."""
    _, _, body = raw.partition(b"?>")
    head = f"""<s:Envelope xmlns:s="{uri}" xmlns:a="http://www.w3.org/2005/08/addressing"><s:Header>
      <a:Action>urn:hl7-org:v3:PRPA_IN201301UV02</a:Action></s:Header><s:Body>"""
    return head.encode() + body + b"</s:Body></s:Envelope>"
