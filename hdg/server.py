"""Starts the listeners around one Gateway, and stops them gracefully.

Stopping (SIGTERM, SIGINT): no new connections, what is under way finishes and is answered, the store closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import uvicorn

from hdg import device_api, imaging_api, ingest_api, retention
from hdg.device_mqtt import Subscriber
from hdg.devices import Devices
from hdg.errors import SettingsError
from hdg.forward import Forwarder
from hdg.gateway import Gateway
from hdg.helper import tune_collector
from hdg.imaging import Imaging
from hdg.imaging_query import MODELS, QueryRetrieve
from hdg.ingestion.dicom.association import Limits
from hdg.ingestion.dicom.scp import Listener
from hdg.ingestion.hl7v2.mllp import MAX_CONNECTIONS, Budget, MllpServer, serve_mllp
from hdg.ingestion.hl7v2.mllp_tls import server_context, subject_of
from hdg.ingestion.hl7v2.query import is_query
from hdg.ingestion.sender import Origin
from hdg.management.store.meta import index_key
from hdg.management.store.values import hasher
from hdg.query_answer import Queries
from hdg.search_index import SearchIndex
from hdg.settings import Settings, host_port
from hdg.usage.access import Gate
from hdg.usage.fhir_api import drafting
from hdg.usage.fhir_api.app import create_app
from hdg.usage.listener import BoundedHttp
from hdg.usage.subscriptions.dispatcher import Dispatcher
from hdg.watch import Watch

GRACE_S = 10
WEBSOCKET_MAX_BYTES = 16_384
"""Of what a client may say: to bind takes a few hundred."""
FILES = 8_192
"""Open files to ask for."""


@dataclass
class Server:
    """One gateway with its listeners, on the running event loop. ``start`` makes the addresses known."""

    settings: Settings
    gateway: Gateway
    http_address: str = ""
    mllp_address: str = ""
    mllps_address: str = ""
    dicom_address: str = ""
    dicoms_address: str = ""
    _mllp: list[MllpServer] = field(default_factory=list)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _http: uvicorn.Server | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _forwarder: Forwarder | None = None
    _dispatcher: Dispatcher | None = None
    _search_index: SearchIndex | None = None
    _queries: Queries | None = None
    _gate: Gate | None = None
    _subscriber: Subscriber | None = None
    _imaging: Imaging | None = None
    _dicom: list[Listener] = field(default_factory=list)

    async def start(self) -> None:
        """Opens the listeners. Raises SettingsError, for an address that cannot be opened too."""
        with _opening(self.settings.http, "http"):
            listener = _listen(self.settings.http, "http")
        self.http_address = _address(listener)
        settings = self.settings
        if settings.base_url is None:
            settings = settings.model_copy(update={"http": self.http_address})
        gate = Gate.open(settings, self.gateway.keys, self.gateway.store, self.gateway.clock)
        app = create_app(gate, settings)
        self._queries = Queries(self.gateway, gate, self.gateway.clock)
        ingest_api.mount(app, gate, self.gateway, self._queries)
        devices = Devices(self.gateway)
        device_api.mount(app, gate, self.gateway, devices)
        self._imaging = Imaging(self.gateway)
        imaging_api.mount(app, gate, self._imaging)
        config = uvicorn.Config(
            app,
            http=BoundedHttp,
            ws="websockets-sansio",
            ws_max_size=WEBSOCKET_MAX_BYTES,
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._http = _QuietServer(config)
        self.gateway.use_helper()
        if settings.converter_process:
            gate.use_helper(drafting.MODULE)
        self._gate = gate
        self._tasks.append(asyncio.create_task(self._http.serve(sockets=[listener])))
        budget = Budget(self.settings.mllp_held_bytes)
        plain = await self._listen_mllp(self.settings.mllp, "mllp", None, budget)
        self.mllp_address = plain.address
        if self.settings.mllp_tls is not None:
            tls = _tls(self.settings, "mllp_tls")
            secure = await self._listen_mllp(self.settings.mllp_tls, "mllp_tls", tls, budget)
            self.mllps_address = secure.address
        self._imaging.start()
        self._listen_dicom(self._imaging, QueryRetrieve(gate, settings, asyncio.get_running_loop()))
        if self.settings.inbox is not None:
            watch = Watch(self.gateway, self.settings.inbox, self.settings.inbox_poll_s, self._imaging)
            watch.prepare()
            self._tasks.append(asyncio.create_task(watch.run(self._stopping)))
        self._tasks.append(asyncio.create_task(retention.daily(self.gateway, self._stopping)))
        if self.settings.mqtt is not None:
            self._subscriber = Subscriber(self.gateway, devices, self.settings.mqtt)
            self._subscriber.start()
        self._forwarder = Forwarder(self.gateway)
        self._forwarder.start()
        self._dispatcher = Dispatcher(gate.feed, settings)
        self._dispatcher.start()
        hash_ = hasher(index_key(self.gateway.keys.root))
        self._search_index = SearchIndex(self.settings, self.gateway.store, hash_)
        self._search_index.start()
        while not self._http.started and not self._tasks[0].done():
            await asyncio.sleep(0.005)

    async def _listen_mllp(
        self, address: str, setting: str, tls: ssl.SSLContext | None, budget: Budget
    ) -> MllpServer:
        host, port = host_port(address, setting)
        with _opening(address, setting):
            listener = await serve_mllp(
                host,
                port,
                self._take,
                mode=self.gateway.ack_mode,
                max_bytes=self.settings.max_message_bytes,
                max_connections=min(MAX_CONNECTIONS, open_files() // 2),
                idle_s=self.settings.mllp_idle_s,
                frame_s=self.settings.mllp_frame_s,
                end_pause_s=self.settings.mllp_end_pause_s,
                tls=tls,
                budget=budget,
            )
        self._mllp.append(listener)
        return listener

    def _listen_dicom(self, imaging: Imaging, queries: QueryRetrieve) -> None:
        settings = self.settings
        services = (
            dict.fromkeys(MODELS, queries) if any(p.reads for p in settings.dicom_peers.values()) else {}
        )
        limits = Limits(artim_s=settings.dicom_artim_s, idle_s=settings.dicom_idle_s)
        listeners: list[tuple[str, str, ssl.SSLContext | None]] = [(settings.dicom, "dicom", None)]
        if settings.dicom_tls is not None:
            listeners.append((settings.dicom_tls, "dicom_tls", _tls(settings, "dicom_tls")))
        for address, setting, tls in listeners:
            listener = Listener(
                *host_port(address, setting),
                imaging,
                limits=limits,
                associations=settings.dicom_associations,
                tls=tls,
                subject_of=subject_of,
                services=services,
            )
            with _opening(address, setting):
                listener.start()
            self._dicom.append(listener)
        self.dicom_address = self._dicom[0].address
        self.dicoms_address = self._dicom[1].address if len(self._dicom) > 1 else ""

    async def _take(self, raw: bytes, origin: Origin) -> tuple[bytes, ...]:
        if self._queries is not None and is_query(raw):
            return (await self._queries.answer(raw, origin),)
        return (await self.gateway.exchange(raw, origin)).sent

    async def stop(self) -> None:
        """Closes the listeners; what is under way finishes first."""
        self._stopping.set()
        await asyncio.gather(
            *(listener.close(grace_s=GRACE_S) for listener in self._mllp),
            *(asyncio.to_thread(listener.close, GRACE_S) for listener in self._dicom),
        )
        if self._http is not None:
            self._http.should_exit = True
        if self._subscriber is not None:
            await self._subscriber.stop()
        await asyncio.gather(*self._tasks)
        if self._imaging is not None:
            await asyncio.to_thread(self._imaging.stop)
        await self.gateway.end_helper()
        if self._gate is not None:
            await self._gate.end_helper()
        if self._forwarder is not None:
            await asyncio.to_thread(self._forwarder.stop)
        if self._dispatcher is not None:
            await asyncio.to_thread(self._dispatcher.stop)
        if self._search_index is not None:
            await asyncio.to_thread(self._search_index.stop)


@contextlib.contextmanager
def _opening(address: str, setting: str) -> Iterator[None]:
    """Names the listener whose address is in use, not this machine's, or not ours to open. Raises SettingsError."""
    try:
        yield
    except OSError as error:
        number = error.errno or 0  # below 0: the host has no address
        reason = os.strerror(number) if number > 0 else error.strerror
        raise SettingsError(f"{setting}: {address} cannot be opened: {reason}") from error


def open_files() -> int:
    """How many files and connections this process may have open: as many as the system lets it ask for.

    The usual 1,024 would be used up by idle connections alone, and then no database can be opened.
    """
    if sys.platform == "win32":
        return MAX_CONNECTIONS * 2
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return FILES if soft == resource.RLIM_INFINITY else soft


class _QuietServer(uvicorn.Server):
    """uvicorn without signal handlers of its own: ``serve`` below stops everything in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Captures none."""
        yield


def log_to_stderr() -> None:
    """What hdg tells (INFO and above) and what others warn of: a line each, with its time in UTC."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.getLogger().addHandler(handler)
    logging.getLogger("hdg").setLevel(logging.INFO)


def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT. Prints one line an open listener."""
    log_to_stderr()
    runner = asyncio.run
    if sys.platform != "win32":
        import uvloop

        runner = uvloop.run
    with Gateway.open(settings) as gateway:
        tune_collector()
        runner(_serve(settings, gateway))


async def _serve(settings: Settings, gateway: Gateway) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    server = Server(settings, gateway)
    await server.start()
    print(f"MLLP  mllp://{server.mllp_address}")
    if server.mllps_address:
        print(f"MLLPS mllps://{server.mllps_address}")
    print(f"DICOM dicom://{server.dicom_address}")
    if server.dicoms_address:
        print(f"DICOMS dicom-tls://{server.dicoms_address}")
    print(f"FHIR  http://{server.http_address}/fhir")
    print(f"data  {settings.data.resolve()}")
    print("stop with Ctrl-C", flush=True)
    await stopping.wait()
    print("stopping: finishing what is under way", flush=True)
    await server.stop()


def _tls(settings: Settings, listener: Literal["mllp_tls", "dicom_tls"]) -> ssl.SSLContext:
    certificate, key, client_ca = (
        getattr(settings, f"{listener}_{name}") for name in ("certificate", "key", "client_ca")
    )
    if certificate is None:
        raise SettingsError(f"{listener} needs {listener}_certificate")
    return server_context(certificate, key, client_ca)


def _listen(address: str, setting: str) -> socket.socket:
    host, port = host_port(address, setting)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind((host, port))
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
