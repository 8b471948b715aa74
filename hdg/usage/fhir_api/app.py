"""The HTTP application: FHIR R4 under ``/fhir``, the ledger's public face, health, and nothing past the gate.

R4 http.html. Plain Starlette routes, since nothing on the way needs a model: bodies are stored bytes.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute

import hdg
from hdg.errors import HdgError
from hdg.settings import Settings
from hdg.usage import health, ledger_api
from hdg.usage.access import Gate
from hdg.usage.dicomweb import page as images_page
from hdg.usage.dicomweb import routes as dicomweb
from hdg.usage.fhir_api import (
    bundle,
    ccd_operation,
    docs_page,
    document_operation,
    history,
    metadata,
    operations,
    read,
    search,
    stats_operation,
    subscriptions,
    validate_operation,
    write,
)
from hdg.usage.fhir_api.bodies import Room
from hdg.usage.fhir_api.context import Api
from hdg.usage.fhir_api.errors import Shield, handle_hdg_error, handle_http_error
from hdg.usage.fhir_api.formats import Formats
from hdg.usage.fhir_api.paging import PageTokens
from hdg.usage.fhir_api.parameters import Limits
from hdg.usage.fhir_api.quick import Choice, quick
from hdg.usage.fhir_api.wire import Pretty
from hdg.usage.subscriptions.lane import Pace

PUBLIC_PATHS = frozenset(
    {"/healthz", "/readyz", "/fhir/metadata", "/ledger/checkpoint", "/docs", "/openapi.json", "/images"}
)
"""Every route that answers without a token. Any other must pass the gate; a test walks them all."""


_NO_TELEMETRY: Any = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}  # older FastAPIs have none, nor a type for it
"""What FastAPI would tell an OpenTelemetry collector holds URLs, and these what was searched for."""
GZIP_FROM_BYTES = 1024
"""Shorter answers are not compressed. No answer repeats what a request says, so its length tells no secret."""


def base_url(settings: Settings) -> str:
    """The public FHIR base, without a slash at its end."""
    return settings.fhir_base


def create_app(gate: Gate, settings: Settings) -> FastAPI:
    """The application around one gate, which is all that the routes are handed: the only way to data."""
    app = FastAPI(
        title="Healthcare Data Gateway",
        version=hdg.__version__,
        docs_url=None,
        openapi_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    pages = settings.search_page_default, settings.search_page_max
    limits = Limits(*pages, base_url(settings), gate.catalog)
    api = Api(gate, PageTokens(gate.page_key), limits, Room(settings.ingest_max_bytes))
    # The first that fits answers: "/fhir/metadata" stands before "/fhir/{type}", operations before "/fhir/{type}/{id}".
    routes: list[BaseRoute] = [
        *metadata.routes(api, gate.now_us()),
        *subscriptions.routes(api, Pace.of(settings, poll_s=1.0)),
        *operations.routes(api),
        *document_operation.routes(api),
        *ccd_operation.routes(api),
        *stats_operation.routes(api),
        *validate_operation.routes(api, with_claimed=settings.validate_claimed_profiles),
        *history.routes(api),
        *read.routes(api),
        *search.routes(api),
        *write.routes(api),
        *bundle.routes(api),
        *dicomweb.routes(api),
        *ledger_api.routes(gate),
        *health.routes(gate),
        *docs_page.routes(api.base_url),
        *images_page.routes(),
    ]
    routes = list(map(quick, routes))
    app.router.routes[:0] = [Choice(routes), *routes]
    app.add_exception_handler(HdgError, handle_hdg_error)
    app.add_exception_handler(HTTPException, handle_http_error)
    app.add_middleware(Pretty)
    app.add_middleware(Formats, most_bytes=settings.ingest_max_bytes)
    app.add_middleware(GZipMiddleware, minimum_size=GZIP_FROM_BYTES, compresslevel=5)
    app.add_middleware(Shield)
    return app
