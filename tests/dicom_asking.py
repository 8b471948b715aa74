"""A gateway that peers query and retrieve from by DIMSE, and a station that C-MOVE sends to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from dicom_objects import image, part10
from hdg.imaging_query import MODELS, QueryRetrieve
from hdg.ingestion.dicom.scp import Listener
from hdg.ingestion.dicom.scu import own_handlers
from hdg.usage.access import Gate

READS = {"user": "pacs", "institution": "north"}
PEERS = {
    "READER": {"reads": READS, "from_address": "127.0.0.1", "institution": "north"},
    "STRANGER": {"reads": {"user": "x", "institution": "east"}, "from_address": "127.0.0.1"},
    "FAR": {"reads": READS, "from_address": "192.0.2.7"},
    "SENDER": {"institution": "north"},
}


class Station:
    """A storage provider that C-MOVE sends to."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self.entity = AE(ae_title="READER")
        self.entity.add_supported_context(CTImageStorage)
        self.server = self.entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.address = f"127.0.0.1:{self.server.socket.getsockname()[1]}"

    def _store(self, event: evt.Event) -> int:
        self.received.append(event.dataset)
        return 0x0000


class Asking:
    """A gateway with two studies of north, and its listener with query and retrieve."""

    def __init__(self, make_site, station: Station) -> None:
        peers = {
            **PEERS,
            "READER": {**PEERS["READER"], "address": station.address},
            "OTHER": {"address": station.address},
        }
        self.site = make_site(dicom_peers=peers)
        for one in (image(1), image(2), image(1, series=2, Modality="MR"), image(1, study=2, patient="9")):
            self.site.take(part10(one), "north")
        self.site.imaging.studies.make_due()
        gateway = self.site.gateway
        gate = Gate.open(gateway.settings, gateway.keys, gateway.store, gateway.clock)
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        service = QueryRetrieve(gate, gateway.settings, self.loop)
        self.listener = Listener(
            "127.0.0.1", 0, self.site.imaging, services=dict.fromkeys(MODELS, service), associations=4
        )
        self.listener.start()

    def close(self) -> None:
        self.listener.close(2)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    @contextmanager
    def associated(self, title: str, *models: str) -> Iterator[Any]:
        entity = AE(ae_title=title)
        for model in models:
            entity.add_requested_context(model)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 120
        host, _, port = self.listener.address.rpartition(":")
        association = entity.associate(host, int(port), ae_title="HDG", evt_handlers=own_handlers())
        assert association.is_established
        yield association
        association.release()

    def find(
        self, title: str, level: str, model: Any = StudyRootQueryRetrieveInformationModelFind, **keys: Any
    ):
        asked = Dataset()
        asked.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(asked, keyword, value)
        with self.associated(title, model) as association:
            answers = list(association.send_c_find(asked, model))
        return [one for _, one in answers if one is not None], answers[-1][0].Status

    def move(self, title: str, destination: str, **keys: Any):
        asked = Dataset()
        asked.QueryRetrieveLevel = "STUDY"
        for keyword, value in keys.items():
            setattr(asked, keyword, value)
        model = StudyRootQueryRetrieveInformationModelMove
        with self.associated(title, model) as association:
            return [status for status, _ in association.send_c_move(asked, destination, model)]

    @contextmanager
    def getting(
        self, title: str, *syntaxes: str, is_provider: bool = True, handler: Any = None
    ) -> Iterator[tuple[Any, list[Any]]]:
        """An association for C-GET, and what is received on it; ``syntaxes``: a context each, none: the usual."""
        received: list[Any] = []

        def store(event: evt.Event) -> int:
            received.append(event.dataset)
            received[-1].file_meta = event.file_meta
            return 0x0000 if handler is None else handler(event)

        entity = AE(ae_title=title)
        entity.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
        for syntax in syntaxes:
            entity.add_requested_context(CTImageStorage, syntax)
        if not syntaxes:
            entity.add_requested_context(CTImageStorage)
        roles = [build_role(CTImageStorage, scp_role=True)] if is_provider else []
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 120
        host, _, port = self.listener.address.rpartition(":")
        handlers = [*own_handlers(), (evt.EVT_C_STORE, store)]
        association = entity.associate(host, int(port), ae_title="HDG", ext_neg=roles, evt_handlers=handlers)
        assert association.is_established
        yield association, received
        if association.is_established:
            association.release()

    def get(self, title: str, *syntaxes: str, is_provider: bool = True, **keys: Any):
        """The responses, each with its identifier, and the objects."""
        with self.getting(title, *syntaxes, is_provider=is_provider) as (association, received):
            model = StudyRootQueryRetrieveInformationModelGet
            return list(association.send_c_get(asked_for(**keys), model)), received


def asked_for(**keys: Any) -> Dataset:
    """An identifier of level STUDY, unless ``keys`` say another."""
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY"
    for keyword, value in keys.items():
        setattr(asked, keyword, value)
    return asked
