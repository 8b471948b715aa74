"""``hdg serve`` with its DICOM listeners: peers of hdg.toml, TLS, and kill -9 right after the answer."""

from __future__ import annotations

import os
import signal
import ssl

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom.sop_class import Verification

from bench.measure import start_gateway
from certificates import Authority
from dicom_objects import Refusals, associated, image, part10
from receiver import kept_port

TOML = """
[dicom_peers.CT1]
institution = "north"
tls_subject = "CN=ct-1"

[dicom_peers."CT 2"]
institution = "south"
"""


@pytest.fixture
def served(tmp_path):
    authority = Authority(tmp_path / "ca")
    own = authority.issue("localhost")
    data = tmp_path / "data"
    data.mkdir()
    (data / "hdg.toml").write_text(TOML)
    with kept_port() as port:
        tls = f"127.0.0.1:{port}"
        running = start_gateway(
            data,
            HDG_DICOM_TLS=tls,
            HDG_DICOM_TLS_CERTIFICATE=str(own.certificate),
            HDG_DICOM_TLS_KEY=str(own.key),
            HDG_DICOM_TLS_CLIENT_CA=str(authority.ca),
        )
    yield running, tls, authority
    if running.process.poll() is None:
        running.process.terminate()
    running.close()


def test_what_was_answered_is_there_after_kill_9_and_nothing_else_is(served, make_site) -> None:
    running, tls, authority = served
    plain = "{}:{}".format(*running.dicom)
    refusals = Refusals()
    with associated(plain, title="CT1", evt_handlers=refusals.handlers) as association:
        assert not association.is_established  # without its certificate
    assert refusals.seen == [(1, 1, 3)]
    pair = authority.issue("ct-1")
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.check_hostname = False
    context.load_cert_chain(pair.certificate, pair.key)
    with associated(tls, Verification, CTImageStorage, tls_args=(context, "localhost")) as association:
        assert association.send_c_echo().Status == 0
        assert association.send_c_store(image(1, pixels=bytes(600_000))).Status == 0
    with associated(plain, title="CT 2") as association:
        assert association.send_c_store(image(2)).Status == 0
        os.kill(running.process.pid, signal.SIGKILL)
        association.abort()
    running.process.wait()
    site = make_site(running.data)
    site.imaging.studies.make_due()
    assert sorted(study["numberOfInstances"] for study in site.all_of("ImagingStudy")) == [1, 1]
    assert len(site.vault_files()) == 1
    assert site.take(part10(image(1, pixels=bytes(600_000))), "north").is_repeat
    assert site.take(part10(image(2)), "south").is_repeat
