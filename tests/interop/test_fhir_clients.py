"""The FHIR API as clients meet it that others wrote.

fhirpy and fhirclient (Python), fhir-kit-client and fhirclient (Node), HAPI FHIR (Java), httr2 (R). Each snippet of
docs/query.md is run as it stands there.

``make interop`` fetches and builds the clients.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.measure import Running, start_gateway
from messages import adt, oru

pytestmark = pytest.mark.interop

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "query.md"
SNIPPETS = re.findall(r"^```(sh|python|js|r)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def hdg(*arguments: str) -> str:
    command = [sys.executable, "-m", "hdg", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("fhir")
    running = start_gateway(folder / "data")
    file = folder / "messages.hl7"
    file.write_bytes(adt("Q1") + oru("Q2"))
    hdg("send", str(file), "--to", f"mllp://{running.mllp[0]}:{running.mllp[1]}")
    yield running
    running.process.terminate()
    running.close()


@pytest.fixture(scope="module")
def environment(served: Running) -> dict[str, str]:
    host, port = served.http
    who = ("--role", "clinician", "--user", "dr-lee", "--institution", "northgen")
    token = hdg("token", *who, "--data", str(served.data)).strip()
    return {**os.environ, "HDG_URL": f"http://{host}:{port}/fhir", "HDG_TOKEN": token}


def run(command: list[str], environment: dict[str, str], folder: Path = HERE) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=folder, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_every_snippet_of_the_page_runs_and_finds_the_patient(
    number: int, environment: dict[str, str], tmp_path: Path
) -> None:
    language, text = SNIPPETS[number]
    if language == "sh":
        found = run(["bash", "-ec", text], environment)
        assert '"total":1' in found.replace(" ", "")
        return
    if language in ("python", "r"):
        file = tmp_path / "snippet"
        file.write_text(text)
        found = run([sys.executable if language == "python" else "Rscript", str(file)], environment)
    else:
        file = HERE / "fhir_node" / f"snippet-{number}.mjs"  # beside node_modules
        file.write_text(text)
        try:
            found = run(["node", file.name], environment, file.parent)
        finally:
            file.unlink()
    assert found.strip()


def test_fhir_kit_client_does_a_days_work(environment: dict[str, str]) -> None:
    done = run(["node", "client.mjs"], environment, HERE / "fhir_node").splitlines()
    assert done[0] == "capabilities"
    assert done[-1] == "delete"
    assert len(done) == 9


def test_hapi_fhir_does_a_days_work(environment: dict[str, str]) -> None:
    target = HERE / "hapi_fhir" / "target"
    path = f"{target}/classes:{target}/lib/*"
    done = run(["java", "-cp", path, "Driver"], environment).splitlines()
    assert done[0] == "capabilities"
    assert done[-1] == "conditional delete of several is refused"
    assert len(done) == 9


def test_fhirpy_does_a_days_work(environment: dict[str, str]) -> None:
    from fhirpy import SyncFHIRClient
    from fhirpy.base.exceptions import OperationOutcome, ResourceNotFound

    lenient = {"Prefer": "handling=lenient"}  # its count() sends a parameter that R4 does not have
    bearer = f"Bearer {environment['HDG_TOKEN']}"
    client = SyncFHIRClient(environment["HDG_URL"], authorization=bearer, extra_headers=lenient)
    patient = client.resource("Patient", name=[{"family": "Fhirpy"}])
    patient.save()
    assert patient["meta"]["versionId"] == "1"
    patient["active"] = True
    patient.save()
    assert patient["meta"]["versionId"] == "2"
    for day in (1, 2, 3):
        client.resource(
            "Observation",
            status="final",
            code={"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
            subject=patient.to_reference(),
            effectiveDateTime=f"2024-01-0{day}",
        ).save()
    search = client.resources("Observation").search(patient__Patient__name="fhirpy").sort("-date")
    assert [one["effectiveDateTime"] for one in search.limit(2).fetch_all()] == [
        "2024-01-03",
        "2024-01-02",
        "2024-01-01",
    ]
    assert search.count() == 3
    bundle = (
        client.resources("Observation")
        .search(patient=patient.id)
        .include("Observation", "subject")
        .fetch_raw()
    )
    assert {entry.resource.resource_type for entry in bundle.entry} == {"Observation", "Patient"}
    with pytest.raises(OperationOutcome):
        client.resource("Observation", status="robot").save()
    patient.delete()
    with pytest.raises(ResourceNotFound):
        client.reference("Patient", "nobody").to_resource()


def test_fhirclient_reads_typed_models(environment: dict[str, str]) -> None:
    from fhirclient.models.observation import Observation
    from fhirclient.models.patient import Patient
    from fhirclient.server import FHIRServer

    server = FHIRServer(None, environment["HDG_URL"])
    server.session.headers["Authorization"] = f"Bearer {environment['HDG_TOKEN']}"
    found = list(Patient.where({"name": "example"}).perform_resources_iter(server))
    assert [patient.name[0].family for patient in found] == ["Example"]
    results = list(Observation.where({"patient.name": "example"}).perform_resources_iter(server))
    assert results
    assert Observation.read(results[0].id, server).status == results[0].status
    made = Patient({"name": [{"family": "Smart"}]})
    answer = made.create(server)
    assert answer["resourceType"] == "Patient"
