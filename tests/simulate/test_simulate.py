"""The made-up traffic: the same for the same seed, of known events only, in realistic sizes and disorder."""

from __future__ import annotations

import base64
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import pytest

from hdg.errors import SettingsError
from hdg.fhir import ids
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.hl7v2.parser import parse
from hdg.simulate import ORDERLY, SENDERS, Disorder, Event, Simulation, known_triggers
from hdg.simulate.disorder import disordered
from hdg.simulate.documents import pdf

ALL = known_triggers() | {"ADT^A28", "ADT^A40", "MDM^T02", "MDM^T08", "ORM^O01", "OML^O21", "VXU^V04"}


@pytest.fixture(scope="module")
def course() -> list[Event]:
    """In the order in which it happens, with every event that the simulation knows."""
    return list(Simulation(seed=4, patients=60, disorder=ORDERLY, triggers=ALL).take(3000))


def test_the_same_seed_makes_the_same_bytes_and_another_seed_other_people() -> None:
    first, again, other = (list(Simulation(seed=s).take(200)) for s in (1, 1, 2))
    assert first == again
    assert not {event.patient for event in first} & {event.patient for event in other}
    assert not {event.control_id for event in first} & {event.control_id for event in other}


def test_only_events_that_the_trigger_table_has_are_told(tmp_path: Path) -> None:
    (tmp_path / "hl7v2" / "messages").mkdir(parents=True)
    table = tmp_path / "hl7v2" / "messages" / "triggers.csv"
    table.write_text(
        "source,name,target,as,map,when,default,note\nADT^A08,,ADT_A01,,,,,\nADT^A29,,,,,,,refused\n"
    )
    triggers = known_triggers(tmp_path)
    assert triggers == {"ADT^A08"}
    assert {event.kind for event in Simulation(triggers=triggers).take(50)} == {"ADT^A08"}
    assert {event.kind for event in Simulation().take(2000)} <= known_triggers()


def test_tables_without_any_event_that_can_be_told_are_an_error() -> None:
    with pytest.raises(SettingsError):
        next(iter(Simulation(triggers=frozenset({"ZZZ^Z01"}))))


def test_every_family_and_every_sender_takes_part(course: list[Event]) -> None:
    kinds = Counter(event.kind for event in course)
    wanted = {
        "ADT^A01",
        "ADT^A02",
        "ADT^A03",
        "ADT^A08",
        "ADT^A28",
        "ADT^A40",
        "ORU^R01",
        "VXU^V04",
        "MDM^T02",
    }
    assert wanted <= kinds.keys()
    assert {event.sender for event in course} == set(SENDERS)
    assert {event.sender for event in Simulation(senders=3).take(500)} == set(SENDERS[:3])


def test_what_is_said_of_an_event_is_what_its_message_says(course: list[Event]) -> None:
    for event in course[:300]:
        message = parse(event.raw)
        code, trigger, _ = message.message_type
        assert (f"{code}^{trigger}", message.control_id) == (event.kind, event.control_id)
        pid = message.first("PID")
        assert pid is not None
        assert pid.field(3).split("^")[0] == event.patient
        assert datetime.strptime(message.segments[0].field(7), "%Y%m%d%H%M%S%z") == event.at


def flats_of(events: Iterable[Event]) -> defaultdict[str, list[tuple[str, int]]]:
    flats: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for event in events:
        pid = parse(event.raw).first("PID")
        assert pid is not None
        flats[event.patient].append((event.kind, int(pid.field(11).split("^")[1].removeprefix("Apt "))))
    return flats


def test_each_message_about_a_restless_person_bears_the_next_number_in_the_address() -> None:
    events = Simulation(seed=4, patients=60, disorder=ORDERLY, triggers=ALL, restless=True).take(3000)
    for told in flats_of(events).values():
        assert [number for _, number in told] == list(range(1, len(told) + 1))


def test_people_move_before_updates(course: list[Event]) -> None:
    for told in flats_of(course).values():
        flat = 1
        for kind, number in told:
            flat += kind in ("ADT^A08", "ADT^A31")
            assert number == flat


def test_partial_results_become_final_and_final_ones_are_corrected(course: list[Event]) -> None:
    statuses: defaultdict[str, list[str]] = defaultdict(list)
    for event in course:
        if event.kind == "ORU^R01":
            for obr in parse(event.raw).all("OBR"):
                statuses[obr.field(3)].append(obr.field(25))
    told = {tuple(found) for found in statuses.values()}
    assert {("P",), ("F",), ("P", "F"), ("F", "C")} <= told
    assert all(found[0] != "C" and "P" not in found[1:] for found in told)


def test_a_merge_names_a_second_record_that_was_opened_before(course: list[Event]) -> None:
    opened: set[str] = set()
    merged: list[str] = []
    for event in course:
        if event.kind == "ADT^A28":
            opened.add(event.patient)
        if event.kind == "ADT^A40":
            mrg = parse(event.raw).first("MRG")
            assert mrg is not None
            merged.append(mrg.field(1).split("^")[0])
            assert event.patient not in opened
    assert merged
    assert set(merged) <= opened
    assert len(set(merged)) == len(merged)


def test_most_messages_have_2_to_16_kb_and_documents_some_100(course: list[Event]) -> None:
    sizes = [len(event.raw) for event in course]
    assert sum(1_000 <= size <= 16_384 for size in sizes) > 0.95 * len(sizes)
    assert sum(size >= 2_000 for size in sizes) > 0.6 * len(sizes)
    assert 100_000 < max(sizes) < 200_000


def test_an_embedded_pdf_is_one(course: list[Event]) -> None:
    largest = max(course, key=lambda event: len(event.raw))
    content = parse(largest.raw).first("OBX")
    assert content is not None
    data = base64.b64decode(content.field(5).split("^")[4])
    assert data.startswith(b"%PDF-")
    assert data.endswith(b"%%EOF\n")


def test_the_cross_reference_of_the_pdf_points_at_its_objects() -> None:
    data = pdf(random.Random(1), 5_000)
    start = int(data.split(b"startxref\n")[1].split(b"\n")[0])
    lines = data[start:].split(b"\n")
    assert lines[:2] == [b"xref", b"0 5"]
    for number, line in enumerate(lines[3:7], 1):
        assert data[int(line[:10]) :].startswith(b"%d 0 obj" % number)


def test_what_arrives_is_what_happened_with_repeats_and_latecomers(course: list[Event]) -> None:
    disorder = Disorder(repeated=0.05, overtaken=0.05, late=0.02, late_by=100)
    arrived = list(disordered(course, random.Random(1), disorder))
    firsts = {event.control_id: event for event in arrived if event.fate != "repeat"}
    held = {event.control_id for event in course} - firsts.keys()
    assert len(held) < 30, "only the last ones may still be under way when the stream is cut"
    assert len(firsts) + sum(event.fate == "repeat" for event in arrived) == len(arrived)
    for event in arrived:
        if event.fate == "repeat":
            assert firsts[event.control_id].raw == event.raw
    assert [event.at for event in arrived] != sorted(event.at for event in arrived)
    assert list(disordered(course, random.Random(1), ORDERLY)) == course


def test_the_shipped_tables_convert_all_of_it() -> None:
    converter = Converter(id_key=ids.PUBLIC_KEY)
    for event in Simulation(seed=8, patients=20).take(150):
        assert converter.convert(event.raw, at_us=0).resources, event.kind
