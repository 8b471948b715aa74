"""Two gateways with the same keys: one holds records that refer to each other at random, one only those of them that
the caller may see. Whatever is asked, in whatever way, both answer with the same bytes (access-policy.md; DESIGN §6).
"""

from __future__ import annotations

import itertools
import random
import re
import uuid

import pytest
from sqlalchemy import select

from hdg.management.store import schema
from hdg.management.store.meta import index_key
from hdg.management.store.values import hasher
from hdg.usage.fhir_api import changes
from hdg.usage.research.pseudonyms import Pseudonyms
from tests.usage.random_records import CONSENTING, PROJECT, Questions, Records, Writes, consents

START_US = 1_800_000_000_000_000
STEP_US = 10_000_000
ASKED_US = START_US + 3_600_000_000
PAGES = 8
PAGE = re.compile(rb"_page=([A-Za-z0-9_\-]+)")
FRACTION = re.compile(rb"(?<=T\d\d:\d\d:\d\d)\.\d+(?=Z)")
HEADERS = ("etag", "last-modified", "location", "content-type", "content-length", "allow")
CALLERS = {
    "clinician": {"institution": "north"},
    "patient": {"patient": "pa"},
    "researcher": {"project": PROJECT},
}


class Drawn:
    """In the place of ``secrets``: what a request draws is the same in both worlds."""

    def __init__(self, number):
        self._chance = random.Random(number)

    def token_hex(self, size):
        return self._chance.randbytes(size).hex()


class Twin:
    """A world and who asks it, always at the same times and with the same ids for what is made."""

    def __init__(self, world, token, events):
        self.world = world
        world.step_us = 0
        for number, event in enumerate(events):
            world.now_us = START_US + STEP_US * number
            if event is None:
                continue
            if event.content is None:
                world.delete(event.type, event.id, event.institution)
            else:
                world.put(event.content, event.institution, event.patient)
        self.token = token
        self._requests = itertools.count()

    def ask(self, method, path, content=None, **headers):
        """Status, headers and body of an answer. Of a page token the length is kept: it tells nothing else."""
        number = next(self._requests)
        self.world.now_us = ASKED_US + STEP_US * number
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=number))
            patch.setattr(changes, "_begin", lambda _: "")
            patch.setattr(changes, "secrets", Drawn(number))
            sent = {"accept_encoding": "identity", **headers}
            answer = self.world.client.send(method, path, self.token, content, **sent)
        body = PAGE.sub(lambda found: b"_page=%d" % len(found[1]), answer.content)
        body = FRACTION.sub(b"", body)  # what is written at the same time is told apart by it
        following = re.search(rb'"relation":"next","url":"https://gateway\.example([^"]+)"', answer.content)
        told = answer.status_code, {name: answer.headers.get(name) for name in HEADERS}, body
        return told, following[1].decode() if following else ""

    def pages(self, path):
        """What ``ask`` tells of each page of an answer."""
        found = []
        while path and len(found) < PAGES:
            told, path = self.ask("GET", path)
            found.append(told)
        return found

    def patients(self):
        """(type, id) → whose compartments it is in."""
        resource, compartment = schema.Resource.__table__, schema.Compartment.__table__
        with self.world.store.engine.connect() as connection:
            rows = connection.execute(select(resource.c.rkey, resource.c.type, resource.c.id)).all()
            found = {(row.type, row.id): set() for row in rows}
            names = {row.rkey: (row.type, row.id) for row in rows}
            for row in connection.execute(select(compartment)):
                found[names[row.rkey]].add(row.patient)
        return found


def hidden_from(twin, records, role):
    """The places of what this caller cannot tell from what was never there."""
    if role != "researcher":
        paths = {place: "/fhir/{}/{}".format(*place) for place in records.places}
        return {place for place, path in paths.items() if twin.ask("GET", path)[0][0] == 404}
    owners = twin.patients()
    return {
        place
        for place in records.places
        if not owners[place] <= CONSENTING or (not owners[place] and place[0] != "Medication")
    }


def naming_of(world, role):
    if role != "researcher":
        return lambda type_, id_: id_
    return Pseudonyms(world.keys.project_key(PROJECT), hasher(index_key(world.keys.root))).of


def twins(make_world, records, role):
    """(one with all, one without what is hidden from the role, what that is)."""
    worlds = [make_world(search_text=True)]
    worlds.append(make_world(search_text=True, keys_of=worlds[0]))
    for world in worlds:
        for consent in consents():
            world.put(consent, "north", consent["patient"]["reference"].removeprefix("Patient/"))
    token = worlds[0].token(role, **CALLERS[role])
    both = Twin(worlds[0], token, records.events)
    hidden = hidden_from(both, records, role)
    seen = [None if event.place in hidden else event for event in records.events]
    alone = Twin(worlds[1], token, seen)
    assert hidden_from(alone, records, role) >= hidden if role != "researcher" else True
    return both, alone, hidden


def differing(both, alone, requests):
    """The requests that are answered otherwise, and the statuses of those that are not."""
    found, statuses = [], []
    for method, path, content, headers in requests:
        if method == "GET":
            one, other = both.pages(path), alone.pages(path)
        else:
            one = [both.ask(method, path, content, **headers)[0]]
            other = [alone.ask(method, path, content, **headers)[0]]
        statuses.append(one[0][0])
        if one != other:
            found.append((method, path, content, headers, one, other))
    return found, statuses


def reads(records, seed, naming, count):
    asked = Questions(records, seed, naming)
    return [("GET", asked.next(), None, {}) for _ in range(count)]


def writes(records, seed, count):
    made = Writes(records, seed)
    return [made.request() for _ in range(count)]


def trail_of(twin, token):
    """What a patient is told of who did what and when. Not of what it was: that goes by what the patient may see."""
    twin.token = token
    found = b"".join(body for _, _, body in twin.pages("/fhir/AuditEvent?_count=500"))
    return re.findall(
        rb'"recorded":"[^"]+"|"subtype":\[.*?\]|"outcome":"\d"|"display":"clinician at north"', found
    )


def described(found):
    """Which requests they are and where the first of their answers part, for a failure's text."""
    for method, path, _, _, one, other in found[:3]:
        (_, _, here), (_, _, there) = next(
            ((a, b) for a, b in zip(one, other, strict=False) if a != b), (one[-1], other[-1])
        )
        at = next(
            (at for at, (a, b) in enumerate(zip(here, there, strict=False)) if a != b),
            min(len(here), len(there)),
        )
        yield method, path, here[max(0, at - 80) : at + 80], there[max(0, at - 80) : at + 80]


@pytest.mark.parametrize("role", sorted(CALLERS))
def test_what_is_hidden_changes_no_byte_of_any_answer_to_anything(make_world, role):
    records = Records(sorted(CALLERS).index(role) + 1, 60)
    both, alone, hidden = twins(make_world, records, role)
    assert len(hidden) > 20
    asked = reads(records, 5, naming_of(both.world, role), 60)
    found, statuses = differing(both, alone, asked)
    assert list(described(found)) == []
    assert statuses.count(200) > (6 if role == "researcher" else 24)
    # The questions reach what is hidden: south, whose much of it is, is answered otherwise without it.
    both.token = alone.token = both.world.token("clinician", institution="south")
    telling, _ = differing(both, alone, reads(records, 5, lambda _, id_: id_, 20))
    assert len(telling) > 3


def test_what_is_hidden_changes_no_byte_of_any_answer_to_a_write(make_world):
    records = Records(9, 60)
    both, alone, hidden = twins(make_world, records, "clinician")
    assert len(hidden) > 20
    found, statuses = differing(both, alone, writes(records, 6, 70))
    assert list(described(found)) == []
    assert {200, 201, 204, 400, 404, 405, 412, 422} <= set(statuses)
    found, _ = differing(both, alone, reads(records, 7, naming_of(both.world, "clinician"), 10))
    assert list(described(found)) == []
    for patient in ("pa", "pb", "pc"):  # whose trails tell of all this
        token = both.world.token("patient", patient=patient)
        one, other = trail_of(both, token), trail_of(alone, token)
        assert one == other
        assert len(one) > 40
