"""The course of events in a made-up hospital: who is admitted, moved, tested, treated and sent home.

``Hospital`` tells what happens in the order in which it happens; disorder.py makes of it what arrives. Only
trigger events that the gateway's mapping tables have are told (mappings/hl7v2/messages/triggers.csv).
"""

from __future__ import annotations

import csv
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from hdg import data
from hdg.errors import SettingsError
from hdg.simulate import documents, messages, people
from hdg.simulate.documents import Document
from hdg.simulate.messages import Header, Order
from hdg.simulate.people import EPOCH, Person, stamp

SENDERS = ("REGISTRATION", "LAB", "ORDERS", "RADIOLOGY", "DOCUMENTS", "IMMS", "MPI", "PORTAL")
"""MSH-3 of the systems that speak; all of the same facility."""
STEP = timedelta(seconds=3)
"""Between one event and the next."""
_TWIN = 50_000_000
"""Where the numbers of records begin that a clerk opened a second time for a known person."""
OPEN_TWINS = 64
_ADMITTING = (("A01", 45), ("A04", 35), ("A08", 12), ("A31", 8))
_UPDATES = frozenset({"A08", "A31"})
_STAYING = (("A02", 20), ("A03", 22), ("A08", 46), ("A11", 2), ("A31", 10))


@dataclass(frozen=True, slots=True)
class Event:
    """One message on its way.

    ``kind``: MSH-9.1 and 9.2. ``patient``: the number of type MR in PID-3. ``fate``: new, late or repeat.
    """

    raw: bytes
    control_id: str
    kind: str
    sender: str
    patient: str
    at: datetime
    fate: str = "new"


def known_triggers(folder: Path | None = None) -> frozenset[str]:
    """``ADT^A01`` and the like: every event that the message tables convert.

    ``folder`` holds ``hl7v2/messages/triggers.csv``; default: the shipped mappings.
    """
    path = (folder or data.folder("mappings")) / "hl7v2" / "messages" / "triggers.csv"
    with path.open(encoding="utf-8", newline="") as lines:
        return frozenset(row["source"] for row in csv.DictReader(lines) if row["target"])


@dataclass
class _Chart:
    """A person and what is under way about them. Bounded, however long the simulation runs."""

    person: Person
    is_inside: bool = False
    stays: int = 0
    placed: deque[Order] = field(default_factory=lambda: deque(maxlen=4))
    partial: deque[Order] = field(default_factory=lambda: deque(maxlen=4))
    final: deque[Order] = field(default_factory=lambda: deque(maxlen=4))
    documents: deque[int] = field(default_factory=lambda: deque(maxlen=2))


class Hospital:
    """The seeded course of events, without end. The same seed, patients and triggers give the same bytes.

    ``senders``: how many of SENDERS speak; what belongs to others is said by the first ones. ``restless``: people
    move house before every message, not only before updates (A08, A31). Raises SettingsError when the tables have
    no event that is told here.
    """

    def __init__(
        self,
        seed: int,
        patients: int,
        *,
        triggers: frozenset[str],
        senders: int = 8,
        prefix: str = "S",
        restless: bool = False,
    ) -> None:
        self._rng = random.Random(seed)
        self._seed = seed
        self._prefix = prefix
        self._triggers = triggers
        self._restless = restless
        self._senders = SENDERS[: max(1, min(senders, len(SENDERS)))]
        self._patients = patients
        self._charts: dict[int, _Chart] = {}
        self._twins: deque[tuple[int, Person, Person]] = deque()
        """(event from which on it is noticed, the person, their second record); at most OPEN_TWINS."""
        self._twin_serial = 0
        self._serial = 0
        self._at = EPOCH
        self._order_kinds = [kind for kind in ("OML^O21", "ORM^O01") if kind in triggers]
        self._course = self._possible()

    def _possible(self) -> tuple[list[Callable[[_Chart], Event | None]], list[int]]:
        """What may happen, with weights: what the tables lack never does."""
        courses = (
            (any(f"ADT^{e}" in self._triggers for e, _ in (*_ADMITTING, *_STAYING)), self._movement, 30),
            (bool(self._order_kinds), self._order, 8),
            ("ORU^R01" in self._triggers, self._result, 43),
            ("ORU^R01" in self._triggers, self._imaging, 5),
            ("VXU^V04" in self._triggers, self._vaccination, 6),
            (bool({"MDM^T02", "MDM^T08"} & self._triggers), self._document, 6),
            ({"ADT^A28", "ADT^A40"} <= self._triggers, self._second_record, 2),
        )
        chosen = [(tell, weight) for is_known, tell, weight in courses if is_known]
        if not chosen:
            raise SettingsError("the mapping tables have no trigger event that can be simulated")
        return [tell for tell, _ in chosen], [weight for _, weight in chosen]

    def __iter__(self) -> Iterator[Event]:
        tellers, weights = self._course
        while True:
            (tell,) = self._rng.choices(tellers, weights)
            chart = self._chart(self._rng.randrange(self._patients))
            told = tell(chart)
            if told is not None:
                yield told

    def _chart(self, number: int) -> _Chart:
        chart = self._charts.get(number)
        if chart is None:
            chart = self._charts[number] = _Chart(people.person(self._seed, number))
            if not self._restless:
                chart.person.moved()
        return chart

    def _header(self, app: str, person: Person) -> Header:
        """The next message's header."""
        self._serial += 1
        self._at += STEP
        if self._restless:
            person.moved()
        sender = app if app in self._senders else self._senders[SENDERS.index(app) % len(self._senders)]
        return Header(self._at, f"{self._prefix}{self._seed}-{self._serial:08d}", sender)

    def _event(self, header: Header, kind: str, person: Person, raw: bytes) -> Event:
        return Event(raw, header.control_id, kind, header.app, person.mrn, header.at)

    # --- what may happen ------------------------------------------------------------------------------------

    def _movement(self, chart: _Chart) -> Event | None:
        choices = [
            choice
            for choice in (_STAYING if chart.is_inside else _ADMITTING)
            if f"ADT^{choice[0]}" in self._triggers
        ]
        if not choices:
            return None
        (event,) = self._rng.choices([name for name, _ in choices], [weight for _, weight in choices])
        person = chart.person
        if event in _UPDATES and not self._restless:
            person.moved()
        app = {"A31": "MPI", "A08": self._rng.choice(("REGISTRATION", "PORTAL"))}.get(event, "REGISTRATION")
        header = self._header(app, person)
        if event in ("A01", "A04"):
            self._admit(chart, header, "I" if event == "A01" else "O")
        elif event == "A02":
            person.prior_bed, person.bed = person.bed, self._bed()
        elif event in ("A03", "A11"):
            chart.is_inside = False
            person.discharged = header.stamp if event == "A03" else ""
        told = self._event(header, f"ADT^{event}", person, messages.adt(header, person, event))
        person.prior_bed = ""
        return told

    def _admit(self, chart: _Chart, header: Header, patient_class: str) -> None:
        chart.is_inside = True
        chart.stays += 1
        person = chart.person
        person.visit = f"V{person.number:08d}-{chart.stays}"
        person.patient_class, person.admitted, person.discharged = patient_class, header.stamp, ""
        person.bed, person.prior_bed = self._bed(), ""

    def _bed(self) -> str:
        return f"{self._rng.choice(people.WARDS)}^{self._rng.randint(1, 40)}^{self._rng.randint(1, 4)}"

    def _new_order(self) -> Order:
        """An order taken a little before now; it bears the number of the message that tells of it."""
        return Order(self._serial + 1, stamp(self._at - timedelta(minutes=self._rng.randint(5, 90))))

    def _order(self, chart: _Chart) -> Event:
        order = self._new_order()
        header = self._header("ORDERS", chart.person)
        kind = self._rng.choice(self._order_kinds)
        chart.placed.append(order)
        return self._event(
            header, kind, chart.person, messages.laboratory_order(header, chart.person, order, kind)
        )

    def _result(self, chart: _Chart) -> Event:
        """A correction, the final of a partial result, the result of an order, or one out of the blue."""
        draw = self._rng.random()
        if chart.final and draw < 0.06:
            orders = [messages.corrected(self._rng, chart.final.pop())]
        elif chart.partial and draw < 0.5:
            orders = [replace(chart.partial.popleft(), status="F")]
        else:
            orders = self._measured(chart, is_partial=self._rng.random() < 0.2)
        header = self._header("LAB", chart.person)
        told = self._event(header, "ORU^R01", chart.person, messages.oru(header, chart.person, orders))
        for order in orders:
            (chart.partial if order.status == "P" else chart.final).append(order)
        return told

    def _measured(self, chart: _Chart, *, is_partial: bool) -> list[Order]:
        first = chart.placed.popleft() if chart.placed else self._new_order()
        count = self._rng.choices((1, 2, 3, 5, 7), (50, 28, 13, 7, 2))[0]
        status = "P" if is_partial else "F"
        return [
            replace(
                first,
                part=part,
                status=status,
                results=messages.results(self._rng, self._rng.randint(8, 10), comparators=0.03),
            )
            for part in range(count)
        ]

    def _imaging(self, chart: _Chart) -> Event:
        text = messages.report_text(self._rng, self._rng.randint(15, 120))
        order = replace(self._new_order(), text=text)
        header = self._header("RADIOLOGY", chart.person)
        raw = messages.oru(header, chart.person, [order], note=False)
        return self._event(header, "ORU^R01", chart.person, raw)

    def _vaccination(self, chart: _Chart) -> Event:
        header = self._header("IMMS", chart.person)
        raw = messages.vxu(header, chart.person, self._rng, self._serial, chart.person.kin)
        return self._event(header, "VXU^V04", chart.person, raw)

    def _document(self, chart: _Chart) -> Event:
        is_edit = bool(chart.documents) and "MDM^T08" in self._triggers and self._rng.random() < 0.2
        if not is_edit and "MDM^T02" not in self._triggers:
            is_edit = True
        number = chart.documents[-1] if is_edit and chart.documents else self._serial + 1
        if self._rng.random() < 0.2:
            document = Document(number, pdf=documents.pdf(self._rng, self._rng.randint(40_000, 110_000)))
        else:
            document = Document(number, messages.report_text(self._rng, self._rng.randint(20, 160)))
        chart.documents.append(number)
        header = self._header("DOCUMENTS", chart.person)
        event = "T08" if is_edit else "T02"
        return self._event(
            header, f"MDM^{event}", chart.person, documents.mdm(header, chart.person, document, event)
        )

    def _second_record(self, chart: _Chart) -> Event:
        """A clerk opens a second record for a known person (A28); later it is noticed and merged (A40)."""
        if self._twins and (len(self._twins) == OPEN_TWINS or self._twins[0][0] <= self._serial):
            _, survivor, twin = self._twins.popleft()
            header = self._header("MPI", survivor)
            return self._event(header, "ADT^A40", survivor, messages.merge(header, survivor, twin))
        self._twin_serial += 1
        number = _TWIN + self._seed * 100_000 + self._twin_serial % 100_000
        twin = replace(chart.person, number=number, unit=0, visit="")
        if not self._restless:
            twin.moved()
        self._twins.append((self._serial + self._rng.randint(20, 200), chart.person, twin))
        header = self._header("MPI", twin)
        return self._event(header, "ADT^A28", twin, messages.adt(header, twin, "A28"))
