"""Quarantine, replay and work items, as the operator's commands show them.

Lines hold no patient's value unless ``with_values`` or ``is_raw`` asks for it: identifiers of messages,
segment names, field numbers and lengths, resource ids and element paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hdg import retention
from hdg.devices import Devices, is_of_device
from hdg.documents import Documents
from hdg.errors import BadRequest, HdgError, Hl7v2Error, VaultError
from hdg.fhir.json import dumps
from hdg.gateway import Gateway
from hdg.ingestion.converted import JsonObject
from hdg.ingestion.hl7v2.encoding import repetitions
from hdg.ingestion.hl7v2.parser import parse
from hdg.ingestion.received import digest
from hdg.ingestion.sniff import XML, format_of
from hdg.management.store import WriteSession
from hdg.management.store.inbox import Entry, close_item, entries, entry, work_items
from hdg.management.store.writer import RowsRefused
from hdg.replaying import Replayed
from hdg.settings import Settings, existing

__all__ = [
    "Change",
    "Line",
    "close",
    "differences",
    "edit",
    "pruned",
    "quarantined",
    "raw_of",
    "read_bytes",
    "replay",
    "replay_quarantined",
    "show",
    "since_us",
    "work",
]

_AGO = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a command's output; ``is_failure`` when it names something that failed."""

    text: str
    is_failure: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One field's difference. ``sign``: ``+`` new, ``-`` gone, ``~`` other value."""

    sign: str
    path: str
    old: Any = None
    new: Any = None

    def line(self, *, with_values: bool) -> str:
        """``~ gender`` or, with values, ``~ gender: "male" → "female"``."""
        if not with_values:
            return f"{self.sign} {self.path}"
        parts = [dumps(value).decode() for value in (self.old, self.new) if value is not None]
        return f"{self.sign} {self.path}: {' → '.join(parts)}"


def differences(old: Any, new: Any, path: str = "") -> Iterator[Change]:
    """Field by field; ``meta.versionId`` and ``meta.lastUpdated`` do not count. List items go by their
    place.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            if path == "meta" and name in ("versionId", "lastUpdated"):
                continue
            yield from differences(old.get(name), new.get(name), f"{path}.{name}" if path else name)
    elif isinstance(old, list) and isinstance(new, list):
        for number in range(max(len(old), len(new))):
            pair = [side[number] if number < len(side) else None for side in (old, new)]
            yield from differences(pair[0], pair[1], f"{path}[{number}]")
    elif old is None and new is not None:
        yield Change("+", path, new=new)
    elif new is None and old is not None:
        yield Change("-", path, old=old)
    elif dumps(old) != dumps(new):
        yield Change("~", path, old, new)


def since_us(text: str, now_us: int) -> int:
    """A time as operators write it: ``2026-03-14``, ``2026-03-14T08:00:00+01:00``, ``90m``, ``12h``, ``7d``
    ago.

    Without an offset it is UTC. Raises BadRequest.
    """
    match = _AGO.fullmatch(text)
    try:
        if match is not None:
            return now_us - timedelta(**{_UNITS[match[2]]: int(match[1])}) // timedelta(microseconds=1)
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise BadRequest("a time is YYYY-MM-DD[THH:MM:SS[+HH:MM]], or 90m, 12h, 7d ago") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


def _time(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _head(found: Entry) -> str:
    place = f" at {found.place}" if found.place else ""
    reason = f"  {found.reason}{place}" if found.reason else ""
    return f"{found.ikey}  {_time(found.received_us)}  {found.sender}  {found.control_id or '-'}{reason}"


def quarantined(settings: Settings, sender: str = "") -> Iterator[str]:
    """A line a message in quarantine: number, time, sender, MSH-10, reason and place."""
    with Gateway.open(existing(settings)) as gateway:
        for found in entries(gateway.store.engine, status="quarantined", sender=sender):
            yield _head(found)


def raw_of(settings: Settings, number: int) -> bytes:
    """The bytes as received: a patient's data. Raises NotFound, VaultError."""
    with Gateway.open(existing(settings)) as gateway:
        return _raw(gateway, entry(gateway.store.engine, number))


def _raw(gateway: Gateway, found: Entry) -> bytes:
    """Raises VaultError when they are not there, and says so when retention has removed them."""
    if not found.blob:
        raise VaultError("its bytes were removed by retention (keep_messages_days); what it said is stored")
    return gateway.store.reader.blob(found.blob)


def show(settings: Settings, number: int) -> Iterator[str]:
    """A message's structure: segments, valued fields and their lengths, and the place of the problem."""
    with Gateway.open(existing(settings)) as gateway:
        found = entry(gateway.store.engine, number)
        raw = _raw(gateway, found)
        yield _head(found)
        yield f"status {found.status}, {len(raw)} bytes, SHA-256 {digest(raw)}"
        if is_of_device(found):
            yield f"  data of a device{f'; the place is {found.place}' if found.place else ''}"
            return
        yield from _structure(raw, found.place)


def _structure(raw: bytes, place: str) -> Iterator[str]:
    if format_of(raw) in XML:
        yield f"  a CDA document{f'; the place is {place}' if place else ''}"
        return
    try:
        message = parse(raw)
    except Hl7v2Error as error:
        yield f"it cannot be parsed: {error}"
        return
    segment, _, field = place.partition("-")
    number = re.match(r"\d+", field)
    for each in message.segments:
        fields = []
        for position in range(1, each.count + 1):
            text = each.field(position)
            if text:
                count = len(repetitions(text))
                here = " ◄" if each.place() == segment and number and int(number[0]) == position else ""
                fields.append(f"{position}({len(text)}{f', {count}x' if count > 1 else ''}){here}")
        yield f"  {each.place()}: {' '.join(fields)}{' ◄' if each.place() == segment and not field else ''}"


def edit(settings: Settings, number: int, data: bytes) -> int:
    """Puts corrected bytes beside a message in quarantine; the number to replay. Raises NotFound,
    BadRequest.
    """
    with Gateway.open(existing(settings)) as gateway:
        found = entry(gateway.store.engine, number)
        if found.status != "quarantined":
            raise BadRequest(f"message {number} is not in quarantine but {found.status}")
        if not data.strip():
            raise BadRequest("the mended bytes are empty")
        if digest(data) == found.sha256:
            raise BadRequest(f"these are the bytes of message {number} itself")
        if is_of_device(found):
            return Devices(gateway).keep_edited(found, data)
        if format_of(data) in XML:
            return Documents(gateway).keep_edited(found, data)
        _check_header(data)
        return gateway.keep_edited(found, data)


def _check_header(data: bytes) -> None:
    """What has no header is no mended message, and would lie under nobody's name. Raises BadRequest."""
    try:
        parse(data)
    except Hl7v2Error as error:
        if error.is_rejection:
            raise BadRequest(f"the mended bytes are no HL7 v2 message: {error}") from None


def replay_quarantined(
    settings: Settings, numbers: Iterable[int], *, is_dry: bool = False, sender: str = ""
) -> Iterator[Line]:
    """Tries messages of the quarantine again: those named, or all. One line each."""
    with Gateway.open(existing(settings)) as gateway:
        engine = gateway.store.engine
        named = [entry(engine, number) for number in numbers]
        for found in named or list(entries(engine, status="quarantined", sender=sender)):
            if found.status != "quarantined":
                yield Line(f"{_head(found)}: not in quarantine but {found.status}", is_failure=True)
                continue
            yield _outcome(found, _replayed(gateway, found, is_dry=is_dry), is_dry=is_dry)


def _replayed(gateway: Gateway, found: Entry, *, is_dry: bool) -> Replayed:
    try:
        raw = _raw(gateway, found)
    except VaultError as error:
        return Replayed(Hl7v2Error(str(error)), is_gone=True)
    try:
        if is_of_device(found):
            return Devices(gateway).replay(found, raw, is_dry=is_dry)
        if format_of(raw) in XML:
            return Documents(gateway).replay(found, raw, is_dry=is_dry)
        return gateway.replay(found, raw, is_dry=is_dry)
    except Exception as error:  # a defect of ours with this one: the others get their turn
        if isinstance(error, HdgError) and not isinstance(error, RowsRefused):
            raise
        return Replayed(Hl7v2Error(f"internal error ({type(error).__name__})"))


def _outcome(found: Entry, replayed: Replayed, *, is_dry: bool) -> Line:
    head = f"{found.ikey}  {found.sender}  {found.control_id or '-'}"
    if replayed.error is not None:
        verdict = "not replayed" if replayed.is_gone else "refused"
        return Line(f"{head}  {verdict}: {replayed.error}", is_failure=True)
    verb = "would be accepted" if is_dry else "accepted"
    return Line(f"{head}  {verb}, {len(replayed.changes)} resources change")


def replay(
    settings: Settings,
    *,
    since: int,
    until: int | None = None,
    sender: str = "",
    is_dry: bool = False,
    with_diff: bool = False,
    with_values: bool = False,
) -> Iterator[Line]:
    """Converts accepted messages again, in the order received, under today's tables; says what changes.

    Each message speaks at its own time, so that what newer messages said stays (docs/hl7v2.md). Provenance
    names the new tables.
    """
    replayed_count = changed = refused = gone = 0
    with Gateway.open(existing(settings)) as gateway:
        last = gateway.clock() if until is None else until
        found_all = entries(
            gateway.store.engine, status="accepted", since_us=since, until_us=last, sender=sender
        )
        for found in found_all:
            replayed = _replayed(gateway, found, is_dry=is_dry)
            replayed_count += not replayed.is_gone
            if replayed.error is not None:
                gone += replayed.is_gone
                refused += not replayed.is_gone
                yield _outcome(found, replayed, is_dry=is_dry)
                continue
            news = [pair for pair in replayed.changes if pair[1]["resourceType"] != "Provenance"]
            changed += bool(news)
            if with_diff and news:
                yield Line(f"{found.ikey}  {found.sender}  {found.control_id}")
                for old, new in news:
                    yield from (Line(line) for line in _diff(old, new, with_values=with_values))
    verb = "would change" if is_dry else "changed"
    rest = f", {gone} not replayed" if gone else ""
    text = f"{replayed_count} messages replayed, {changed} {verb} something, {refused} refused{rest}"
    yield Line(text, is_failure=refused + gone > 0)


def _diff(old: JsonObject | None, new: JsonObject, *, with_values: bool) -> Iterator[str]:
    name = f"{new['resourceType']}/{new['id']}"
    if old is None:
        yield f"  + {name}"
        return
    for change in differences(old, new):
        yield f"  {name}  {change.line(with_values=with_values)}"


def pruned(settings: Settings, *, is_dry: bool = False, is_clock_trusted: bool = False) -> Line:
    """Removes what is kept no longer, and says what that was."""
    with Gateway.open(existing(settings)) as gateway:
        removed = retention.prune(gateway, is_dry=is_dry, is_clock_trusted=is_clock_trusted)
    if removed.is_held or removed.is_first:
        moved = "the clock has moved by days since the last look"
        text = f"nothing removed: {moved if removed.is_held else 'nobody has looked before'}"
        return Line(f"{text}; if the clock is right: --trust-clock, or wait a day", is_failure=True)
    return Line(f"{'would remove' if is_dry else 'removed'} {removed}")


def work(settings: Settings, *, with_closed: bool = False) -> Iterator[str]:
    """A line a work item: id, how many messages, what is lost where."""
    with Gateway.open(existing(settings)) as gateway:
        for item in work_items(gateway.store.engine, status=None if with_closed else "open"):
            status = "" if item.status == "open" else f"  ({item.status})"
            yield (
                f"{item.id}  {item.count}x  {item.kind}  {item.sender}  {item.message_type}  "
                f"{item.place}: {item.text}  last {_time(item.last_us)}, message {item.message}{status}"
            )


def close(settings: Settings, items: Iterable[str], *, is_ignored: bool = False) -> None:
    """Closes work items, until the next such loss or for good. Raises BadRequest for an id that is not
    there.
    """
    with Gateway.open(existing(settings)) as gateway:
        known = {item.id for item in work_items(gateway.store.engine, status=None)}
        chosen = list(items)
        unknown = [item for item in chosen if item not in known]
        if unknown:
            raise BadRequest(f"there is no work item {', '.join(unknown)}")

        def work(session: WriteSession) -> None:
            for item in chosen:
                close_item(session, item, is_ignored=is_ignored)

        gateway.store.submit(work).result()


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises BadRequest."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {type(error).__name__}") from None
