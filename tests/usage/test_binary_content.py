"""Binary in its own form (R4 binary.html#rest)."""

from __future__ import annotations

import pytest

PDF = bytes(range(256)) * 5
PLACE = "/fhir/Binary/scan"


@pytest.fixture
def scan(either):
    import base64

    made = {
        "resourceType": "Binary",
        "id": "scan",
        "contentType": "application/pdf",
        "data": base64.b64encode(PDF).decode(),
    }
    either.put(made, "north", "ann")
    return either


@pytest.fixture
def north(scan):
    return scan.token("clinician", institution="north")


def get(world, token, accept, path=PLACE, method="GET", **headers):
    return world.client.request(method, path, token, {"accept": accept, **headers})


def test_who_accepts_its_type_gets_the_content_and_everybody_else_the_resource(scan, north) -> None:
    for accept in (
        "application/pdf",
        "image/png, application/PDF;q=0.5",
        "application/*;q=0, application/pdf",
    ):
        answer = get(scan, north, accept)
        assert (answer.status_code, answer.content) == (200, PDF)
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.headers["etag"] == 'W/"1"'
        assert "sandbox" in answer.headers["content-security-policy"]
    assert get(scan, north, "application/pdf", f"{PLACE}/_history/1").content == PDF
    head = get(scan, north, "application/pdf", method="HEAD")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(PDF)))
    assert get(scan, north, "application/pdf", **{"if-none-match": 'W/"1"'}).status_code == 304
    for accept in (
        "*/*",
        "application/fhir+json",
        "application/pdf, application/fhir+json;q=0.1",
        "application/*",
    ):
        assert get(scan, north, accept).json()["resourceType"] == "Binary"
    assert get(scan, north, "application/fhir+xml").text.startswith("<?xml")
    assert get(scan, north, "application/pdf", f"{PLACE}?_format=json").json()["id"] == "scan"
    for accept in ("image/png", "application/pdf;q=0", "text/html"):
        assert get(scan, north, accept).status_code == 406
    assert get(scan, north, "application/pdf", "/fhir/Patient/ann").status_code == 406
    assert get(scan, north, "application/pdf", "/fhir/Binary").status_code == 406


def test_hidden_content_is_like_absent_content_and_each_read_is_audited(scan, north) -> None:
    south = scan.token("clinician", institution="south")
    hidden = get(scan, south, "application/pdf")
    absent = get(scan, south, "application/pdf", "/fhir/Binary/none")
    assert (hidden.status_code, hidden.content, hidden.headers) == (404, absent.content, absent.headers)
    assert get(scan, None, "application/pdf").status_code == 401
    researcher = scan.token("researcher", purpose="HRESCH", project="p")
    assert get(scan, researcher, "application/pdf").status_code == 404
    own = scan.token("patient", patient="ann")
    before = audited(scan)
    assert get(scan, own, "application/pdf").content == PDF
    assert audited(scan) == before + 1


def audited(world):
    from sqlalchemy import text

    with world.store.engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM audit_event WHERE patient = 'ann'")).scalar()


def post(world, token, content, content_type, **headers):
    sent = {
        "content-type": content_type,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return world.client.request("POST", "/fhir/Binary", token, sent, content=content)


def test_content_alone_becomes_a_binary_of_whom_the_security_context_names(scan, north) -> None:
    answer = post(scan, north, PDF, "application/pdf", x_security_context="Patient/ann")
    assert answer.status_code == 201
    made = answer.json()
    assert made["contentType"] == "application/pdf"
    path = f"/fhir/Binary/{made['id']}"
    own = scan.token("patient", patient="ann")
    assert get(scan, own, "application/pdf", path).content == PDF
    text = post(scan, north, "Größe".encode("latin-1"), "text/plain; charset=iso-8859-1")
    back = get(scan, north, "text/plain", f"/fhir/Binary/{text.json()['id']}")
    assert (back.content, back.headers["content-type"]) == (
        "Größe".encode("latin-1"),
        "text/plain; charset=iso-8859-1",
    )
    empty = post(scan, north, b"", "image/png")
    assert "data" not in empty.json()
    assert get(scan, north, "image/png", f"/fhir/Binary/{empty.json()['id']}").content == b""


def test_content_that_cannot_be_one_s_own_is_refused_like_a_resource(scan, north) -> None:
    for context in ("Patient/bob", "Patient/none"):
        assert post(scan, north, b"x", "image/png", x_security_context=context).status_code == 422
    assert post(scan, north, b"x", "nonsense").status_code == 415
    assert post(scan, north, b"{}", "application/fhir+json").status_code == 400
    patient = scan.token("patient", patient="ann")
    assert post(scan, patient, b"x", "image/png").status_code == 403
    assert (
        scan.client.request("PUT", PLACE, north, {"content-type": "image/png"}, content=b"x").status_code
        == 415
    )
    other = scan.client.request("POST", "/fhir/Patient", north, {"content-type": "image/png"}, content=b"x")
    assert other.status_code == 415


def test_a_type_that_could_break_a_header_is_not_sent_as_one(scan, north) -> None:
    odd = {"resourceType": "Binary", "id": "odd", "contentType": "text/x\nset-cookie: a", "data": "eA=="}
    scan.put(odd, "north", "ann")
    assert get(scan, north, "text/x", "/fhir/Binary/odd").status_code == 406
    assert get(scan, north, "*/*", "/fhir/Binary/odd").status_code == 200
