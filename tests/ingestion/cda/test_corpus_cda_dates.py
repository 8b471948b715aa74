"""Status and dates of every clinical statement of the corpus, counted by XPath alone, against what came out.

The other half of the truth table (test_corpus_cda_truth.py), which counts denials and codes (``make corpus``).
"""

from __future__ import annotations

from collections import Counter

import pytest
from test_corpus_cda_truth import NS, STATEMENTS, codings, converted, stated_by

from hdg.fhir import json as fhir_json
from hdg.fhir.times import is_date

pytestmark = pytest.mark.corpus
OBSERVED = "h:entryRelationship/h:observation[h:code/@code='33999-4']"
DONE = {
    "completed": {"completed"},
    "active": {"in-progress", "active"},
    "aborted": {"stopped"},
    "cancelled": {"not-done", "stopped", "revoked"},
}
STATUS = {
    "procedure": DONE,
    "immunization": {"completed": {"completed"}, "aborted": {"not-done"}, "cancelled": {"not-done"}},
    "medication": {
        "completed": {"completed"},
        "active": {"active", "in-progress"},
        "aborted": {"stopped"},
        "suspended": {"on-hold"},
    },
    "result": {"completed": {"final"}, "active": {"registered", "preliminary"}, "aborted": {"cancelled"}},
}
"""What each status of a statement may have become; where it is not observed to be another one."""
WHEN = ("h:effectiveTime[not(@operator='E')]", "h:effectiveTime/h:low", "h:effectiveTime/h:high")


def days_of(statement, kind):
    """Days that a statement says directly, as FHIR writes them; R4 has no end of a reaction, which an issue says."""
    for path in WHEN[:2] if kind == "reaction" else WHEN:
        for time in statement.xpath(path, namespaces=NS):
            text = time.get("value", "")
            day = f"{text[:4]}-{text[4:6]}-{text[6:8]}"
            if time.get("nullFlavor") is None and is_date(day):
                yield day


def counted(files):
    """By kind: statements with a day or a status, those of which it came out, and the rest by file."""
    there, carried, missing = Counter(), Counter(), []
    for file, root, resources in converted(files):
        bodies = {f"{one['resourceType']}/{one['id']}": fhir_json.dumps(one).decode() for one in resources}
        known = [(one, set(codings(one))) for one in resources]
        medicines = {
            f"Medication/{one['id']}": have for one, have in known if one["resourceType"] == "Medication"
        }
        for kind, (path, code, types) in STATEMENTS.items():
            for statement in root.xpath(path, namespaces=NS):
                wanted = stated_by(statement, code)
                if not wanted or statement.get("nullFlavor") or statement.get("negationInd") in ("true", "1"):
                    continue
                made = [
                    one
                    for one, have in known
                    if one["resourceType"] in types
                    and wanted
                    <= have | medicines.get(one.get("medicationReference", {}).get("reference"), set())
                ]
                if not made:
                    continue  # the other half says so
                days = set(days_of(statement, kind))
                if days:
                    there[kind, "days"] += 1
                    if any(
                        all(day in bodies[f"{one['resourceType']}/{one['id']}"] for day in days)
                        for one in made
                    ):
                        carried[kind, "days"] += 1
                    else:
                        missing.append((file.name, kind, sorted(days)))
                status = "".join(statement.xpath("h:statusCode/@code", namespaces=NS)).strip()
                allowed = STATUS.get(kind, {}).get(status)
                if (
                    allowed
                    and not statement.xpath(OBSERVED, namespaces=NS)
                    and statement.get("moodCode", "EVN") == "EVN"
                ):
                    there[kind, "status"] += 1
                    if any(one.get("status") in allowed for one in made):
                        carried[kind, "status"] += 1
                    else:
                        missing.append((file.name, kind, status))
    return there, carried, missing


EXCEPTIONS = {
    "sample_ccdas": [
        ("CCDA_CCD_b1_Ambulatory_v2.xml", "allergy"),  # R4 has no end of an allergy
        ("CCDA_CCD_b1_InPatient_v2.xml", "allergy"),
        ("Vitera_CCDA_SMART_Sample.xml", "medication"),  # ends before it begins
    ],
    "c-cda-examples": [],
}
"""What did not come out; issues say so."""


@pytest.mark.parametrize("folder", EXCEPTIONS)
def test_dates_and_status_of_every_statement_come_out(cases, folder):
    files = sorted((cases / "cda" / folder).rglob("*.[xX][mM][lL]"))
    there, carried, missing = counted(files)
    assert {what for _, what in there} == {"days", "status"}
    assert sorted({(name, kind) for name, kind, _ in missing}) == EXCEPTIONS[folder], missing
    assert sum(carried.values()) >= 0.99 * sum(there.values())
