"""One audit row and one ledger leaf for each read, before its answer; without them there is no answer."""

from __future__ import annotations

import resource

import pytest
from gateway_site import Site

from messages import oru

READS = {
    "read": ("GET", "/fhir/Patient/{}", {}, 200),
    "read, not modified": ("GET", "/fhir/Patient/{}", {"if-none-match": "*"}, 304),
    "read, HEAD": ("HEAD", "/fhir/Patient/{}", {}, 200),
    "vread": ("GET", "/fhir/Patient/{}/_history/1", {}, 200),
    "history": ("GET", "/fhir/Patient/{}/_history", {}, 200),
    "search": ("GET", "/fhir/Patient?_id={}", {}, 200),
    "search, HEAD": ("HEAD", "/fhir/Patient?_id={}", {}, 200),
    "search, total only": ("GET", "/fhir/Patient?_count=0", {}, 200),
    "search, nothing found": ("GET", "/fhir/Patient?_id=none", {}, 200),
    "proof": ("GET", "/ledger/proof?type=Patient&id={}", {}, 200),
    "absent": ("GET", "/fhir/Patient/none", {}, 404),
}


@pytest.fixture(scope="module")
def patient(site: Site) -> str:
    site.send(oru("C1"))
    (found,) = site.get("Patient", site.token("clinician", institution="northgen")).ids
    return found.removeprefix("Patient/")


def written(site: Site) -> tuple[int, int]:
    """Audit rows, and leaves of the ledger."""
    return site.count("audit_event"), site.rows("SELECT max(size) FROM ledger_checkpoint")[0][0]


@pytest.mark.parametrize("institution", ["northgen", "elsewhere"])
@pytest.mark.parametrize("name", READS)
def test_every_read_leaves_one_row_and_one_leaf_also_where_nothing_shows(
    site: Site, patient: str, name: str, institution: str
) -> None:
    method, way, headers, status = READS[name]
    token = site.token("clinician", institution=institution)
    rows, leaves = written(site)
    answer = site.request(method, way.format(patient), token, headers)
    is_open = institution == "northgen" or "search" in name
    assert answer.status == (status if is_open else 404)
    assert written(site) == (rows + 1, leaves + 1)


def test_refused_tokens_leave_one_event_however_many_they_are(site: Site, patient: str) -> None:
    rows, leaves = written(site)
    for _ in range(40):
        assert site.get(f"Patient/{patient}", "x.y.z").status == 401
        assert site.get(f"Patient/{patient}").status == 401
    assert site.get(f"Patient/{patient}", site.token("clinician", institution="northgen")).status == 200
    assert written(site) == (rows + 2, leaves + 2)
    assert site.rows("SELECT count(*) FROM audit_event WHERE agent = 'unauthenticated'") == [(1,)]


def test_a_refused_query_reads_nothing_and_leaves_nothing(site: Site, patient: str) -> None:
    before = written(site)
    assert site.get("Patient?nonsense=1", site.token("clinician", institution="northgen")).status == 400
    assert written(site) == before


def test_when_the_audit_cannot_be_written_nothing_leaves_and_nothing_is_acknowledged(
    site: Site, patient: str
) -> None:
    token = site.token("clinician", institution="northgen")
    process = site.process.pid if site.process else 0
    limits = resource.prlimit(process, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        for method, way, headers, _ in READS.values():
            answer = site.request(method, way.format(patient), token, headers)
            assert answer.status == 503
            assert b"Example" not in answer.body
            assert "etag" not in answer.headers
        assert b"MSA|AE" in site.send(oru("C2"))[0]
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, limits)
    assert site.get(f"Patient/{patient}", token).status == 200
    assert b"MSA|AA" in site.send(oru("C2"))[0]
