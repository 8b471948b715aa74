"""The outbox as the operator's commands show and change it; also while the gateway runs.

Lines hold no patient's value: identifiers of messages, codes and places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hdg.errors import BadRequest, Hl7v2Error, NotFound, SettingsError
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.batch import read_batch
from hdg.ingestion.hl7v2.header import peek
from hdg.ingestion.hl7v2.parser import parse
from hdg.management.store import WriteSession, outbox
from hdg.management.store.outbox import Row
from hdg.settings import Settings, existing

__all__ = ["drop", "queue_files", "retry", "waiting"]

_DROPPED = "dropped by the operator"


def waiting(settings: Settings, destination: str = "", *, with_all: bool = False) -> Iterator[str]:
    """A line a message that waits or is parked (``with_all``: or was delivered or dropped), in order.

    Raises NotFound for a destination that is not declared and has no messages.
    """
    with Gateway.open(existing(settings)) as gateway:
        declared = gateway.destinations.current().tables
        _check_known(gateway, destination)
        for row in outbox.rows(
            gateway.store.engine, outbox.STATUSES if with_all else ("queued", "refused"), destination
        ):
            gone = "" if row.destination in declared else "  (the destination is not declared)"
            paused = "  (paused)" if row.destination in declared and declared[row.destination].paused else ""
            yield _line(row) + gone + paused


def _check_known(gateway: Gateway, destination: str) -> None:
    """A mistyped name must not look like an empty queue. Raises NotFound."""
    if not destination or destination in gateway.destinations.current().tables:
        return
    if next(outbox.rows(gateway.store.engine, outbox.STATUSES, destination), None) is None:
        raise NotFound(f"destinations.toml declares no destination {destination}, and no message is for one")


def _line(row: Row) -> str:
    at = f"{datetime.fromtimestamp(row.created_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"
    tries = f"  tried {row.tries}" if row.tries else ""
    reason = f"  {row.reason}" if row.reason else ""
    head = f"{row.okey}  {row.status}  {row.destination}  {at}"
    return f"{head}  {row.message_type}  {row.sender}  {row.control_id or '-'}{tries}{reason}"


def retry(settings: Settings, numbers: Sequence[int], destination: str = "") -> int:
    """Queues parked or dropped messages again, or all that are parked (for ``destination``); how many.

    They go out before those that came after them. Raises NotFound (a destination that nobody knows too), BadRequest.
    """
    with Gateway.open(existing(settings)) as gateway:
        if numbers:
            chosen = _chosen(gateway, numbers, ("refused", "dropped"))
        else:
            _check_known(gateway, destination)
            chosen = list(outbox.rows(gateway.store.engine, ("refused",), destination))
        return _change(gateway, chosen, "queued", "")


def drop(settings: Settings, numbers: Sequence[int]) -> int:
    """Gives up sending these; the messages themselves stay. Raises NotFound, BadRequest."""
    with Gateway.open(existing(settings)) as gateway:
        return _change(gateway, _chosen(gateway, numbers, ("queued", "refused")), "dropped", _DROPPED)


def _chosen(gateway: Gateway, numbers: Sequence[int], statuses: tuple[str, ...]) -> list[Row]:
    found = [outbox.one(gateway.store.engine, number) for number in numbers]
    for row in found:
        if row.status not in statuses:
            raise BadRequest(f"message {row.okey} is {row.status}, not {' or '.join(statuses)}")
    return found


def _change(gateway: Gateway, chosen: Sequence[Row], status: str, reason: str) -> int:
    def work(session: WriteSession) -> None:
        for row in chosen:
            outbox.change(session, row.okey, status, reason)

    gateway.store.submit(work).result()
    return len(chosen)


def queue_files(settings: Settings, destination: str, files: Sequence[Path]) -> int:
    """Puts every message of ``files`` into the outbox, in order, all or none; how many there were.

    Raises SettingsError for a destination that is not declared, BadRequest for a file that is not whole.
    """
    with Gateway.open(existing(settings)) as gateway:
        if destination not in gateway.destinations.current().tables:
            raise SettingsError(f"destinations.toml declares no destination {destination}")
        messages = [each for file in files for each in _messages(file)]

        def work(session: WriteSession) -> None:
            for raw, kind in messages:
                header = peek(raw)
                blob = session.blob_put(raw, patient=None, institution=settings.institution)
                outbox.add(
                    session,
                    (destination,),
                    blob=blob,
                    size=len(raw),
                    sender=header.sender,
                    message_type=kind,
                    control_id=header.control_id,
                )

        gateway.store.submit(work).result()
        return len(messages)


def _messages(file: Path) -> Iterator[tuple[bytes, str]]:
    """(bytes, type) of each message of a file."""
    try:
        batch = read_batch(file.read_bytes())
    except OSError as error:
        raise BadRequest(f"{file}: {error.strerror}") from None
    for issue in batch.errors:
        raise BadRequest(f"{file}: {issue.place} {issue.text}")
    for number, raw in enumerate(batch.messages, 1):
        try:
            kind = "^".join(parse(raw).message_type).rstrip("^")
        except Hl7v2Error as error:
            raise BadRequest(f"{file}: message {number}: {error}") from None
        yield raw, kind
