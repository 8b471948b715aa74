"""What a message says of stored resources that its own are not (orders.py, answers.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from hdg.ingestion.converted import Converted, JsonObject
from hdg.management.store.ready import Ready
from hdg.management.store.session import WriteSession
from hdg.management.store.stale import Stamp

__all__ = ["Key", "Named", "Saying"]

Key = tuple[str, str]

_NAMES_WHAT = {"MessageHeader": "focus", "Provenance": "target"}
"""What lists the things that a message is about, and where."""


class Saying(NamedTuple):
    """Elements of a resource. ``stamp``, ``sender``: when they were stated, and by whom; None: by the message."""

    what: JsonObject
    stamp: Stamp | None = None
    sender: str | None = None


class Named(NamedTuple):
    """``said``: what is to be stated besides. ``unclear``: (place, text) of what people have to look at.

    ``answered``: the orders that an answer without a patient is about; ``patient``: id of whose they all are.
    """

    said: tuple[Saying, ...]
    unclear: tuple[tuple[str, str], ...]
    answered: tuple[Key, ...] = ()
    patient: str | None = None

    def state(self, session: WriteSession, converted: Converted, received_us: int) -> None:
        """Stores it, under the message's stamp or its own. Every resource stays its patient's."""
        source = converted.source
        for one in self.said:
            session.statement(
                one.what,
                sender=source.sender if one.sender is None else one.sender,
                institution=source.institution,
                stamp=one.stamp or Stamp.of(source.stated_us, received_us),
            )

    def attached(
        self, converted: Converted, made: Sequence[JsonObject | Ready] | None
    ) -> tuple[Converted, Sequence[JsonObject | Ready] | None]:
        """The message as one about the orders that it answers: its Provenance names them, and it is their patient's."""
        if not self.answered:
            return converted, made
        whose = replace(converted, patient_id=self.patient)
        if made is not None:
            return whose, [self._naming(one) for one in made]
        resources = [self._naming(one) for one in converted.resources]
        return replace(whose, resources=tuple(resources)), None

    def _naming(self, one: JsonObject | Ready) -> JsonObject:
        resource = one.resource() if isinstance(one, Ready) else one
        name = _NAMES_WHAT.get(resource["resourceType"])
        if name is None:
            return resource
        orders = [{"reference": f"{type_}/{id_}"} for type_, id_ in self.answered]
        return {**resource, name: [*resource.get(name, ()), *orders]}
