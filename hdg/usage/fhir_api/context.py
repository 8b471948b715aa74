"""What every endpoint of the FHIR API shares: gate, page tokens, limits; and the checks before each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.requests import Request

from hdg.errors import BadRequest, NotFound
from hdg.fhir import definitions
from hdg.usage.access import Caller, Gate
from hdg.usage.fhir_api.bodies import Room
from hdg.usage.fhir_api.negotiation import check_accept, take_format
from hdg.usage.fhir_api.paging import PageTokens
from hdg.usage.fhir_api.parameters import Limits
from hdg.usage.fhir_api.query import Pairs, describe, pairs
from hdg.usage.unstored import UNSTORED


class UnknownType(NotFound):
    """The path names a resource type that R4 does not have."""


@dataclass(frozen=True, slots=True)
class Api:
    """One FHIR API around one gate. ``base_url`` has no slash at its end."""

    gate: Gate
    tokens: PageTokens
    limits: Limits
    room: Room

    @property
    def base_url(self) -> str:
        """The public base of the FHIR API."""
        return self.limits.base_url

    def enter(self, request: Request, *, has_own_form: bool = False) -> tuple[Caller, str]:
        """Who asks, and for which resource type. Authentication comes first: a stranger learns nothing.

        ``has_own_form``: a Binary may be asked for in its content's own type.

        Raises AccessDenied (401), UnknownType (404), NotAcceptable (406).
        """
        caller = caller_of(self.gate, request)
        resource_type: str = request.path_params["type"]
        if not (has_own_form and resource_type == "Binary"):
            check_accept(request.headers.get("accept"))
        if resource_type not in definitions.resource_types():
            raise UnknownType("not an R4 resource type")
        return caller, resource_type


def check_stored(types: Iterable[str]) -> None:
    """Raises BadRequest where a type is named that only its own read and search know."""
    if not UNSTORED.isdisjoint(types):
        text = (
            "AuditEvents have no history and are in no search over several types; ask for them by themselves"
        )
        raise BadRequest(text, code="not-supported")


def caller_of(gate: Gate, request: Request) -> Caller:
    """Who sends this request. Raises AccessDenied (401)."""
    client = request.scope.get("client")
    return gate.caller(request.headers.get("authorization"), client[0] if client else "")


def query_of(request: Request) -> Pairs:
    """The pairs of the query string without ``_format``."""
    encoded: bytes = request.scope["query_string"]
    return take_format(pairs(encoded)) if encoded else []


def refuse_parameters(given: Pairs) -> None:
    """Raises BadRequest when an interaction without parameters is given any."""
    for name, _ in given:
        raise BadRequest(f"{describe(name)} is not supported here", code="not-supported")


def binding(caller: Caller, route: str) -> tuple[str, ...]:
    """What a page link is bound to: the route and everything that decides what its maker could see."""
    who = caller.principal
    return route, who.role, who.user, who.institution, who.patient, who.purpose, who.project
