"""The helper process that converts: the same is stored with it as without it, and without it when it dies."""

from __future__ import annotations

import asyncio
import os
import pickle
import select as select_
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from bench.traffic import Traffic
from case_pairs import CASES, names_of
from hdg.converting import Helper, Outcome, _packed, _Worker
from hdg.errors import Hl7v2Error
from hdg.fhir.json import dumps, loads
from hdg.gateway import Gateway
from hdg.ingestion.hl7v2.convert import Converter
from hdg.ingestion.sender import Sender
from hdg.management.store import schema
from hdg.management.store.batch import table_of
from hdg.management.store.index import Indexer
from hdg.management.store.ready import MadeReady, ready
from hdg.management.store.values import hasher
from hdg.outcomes import opened
from hdg.settings import Settings

SENDER = Sender("DOC|NORTHGEN", "northgen")
_RESOURCE = table_of(schema.Resource)


def _stored(gateway: Gateway) -> dict[tuple[str, str], object]:
    """All current contents without their times."""
    with gateway.store.engine.connect() as connection:
        names = connection.execute(select(_RESOURCE.c.type, _RESOURCE.c.id)).all()
    found: dict[tuple[str, str], object] = {}
    for type_, id_ in names:
        stored = gateway.store.reader.read(type_, id_, select(1).exists())
        assert stored is not None
        content = loads(gateway.store.reader.body(stored))
        del content["meta"]["lastUpdated"]
        content.pop("recorded", None)
        found[type_, id_] = content
    return found


def _index_rows(gateway: Gateway) -> list[int]:
    with gateway.store.engine.connect() as connection:
        return [
            len(connection.execute(select(table_of(model))).all())
            for model in (*schema.INDEX_TABLES, schema.Compartment)
        ]


async def _until_ready(gateway: Gateway, messages: list[bytes]) -> int:
    """Sends until the helper answers; its process."""
    assert gateway._helper is not None
    for _ in range(2400):
        await asyncio.gather(*(gateway.receive(raw) for raw in messages))
        if gateway._helper.pid is not None:
            return gateway._helper.pid
        await asyncio.sleep(0.05)
    raise RuntimeError("the helper did not start")


def test_what_is_made_ready_elsewhere_is_what_the_store_makes_of_the_resource() -> None:
    indexer = Indexer(hasher(b"k" * 32))
    converter = Converter(id_key=b"i" * 32)
    for raw in Traffic(seed=3).take(20):
        for resource in converter.convert(raw, at_us=1).resources:
            made = ready(resource, indexer)
            rows = indexer.rows(resource, 7)
            meta = {**resource.get("meta", {}), "versionId": "1", "lastUpdated": "now"}
            rest = {
                name: value for name, value in resource.items() if name not in ("resourceType", "id", "meta")
            }
            head = {"resourceType": resource["resourceType"], "id": resource["id"], "meta": meta}
            assert made.body(1, "now") == dumps({**head, **rest})
            assert dumps(made.resource(), sort_keys=True) == dumps(resource, sort_keys=True)
            assert made.rows(7).tables == rows.tables
            assert made.patients == rows.patients


def test_what_is_said_again_to_the_byte_is_made_ready_once_within_its_bounds() -> None:
    indexer = Indexer(hasher(b"k" * 32))
    for held_bytes in (1 << 20, 4_000):
        again = MadeReady(indexer, held_bytes)
        for number in (1, 2, 1, 3, 1, 2):
            for birth in ("1980-01-01", "1980-01-02", "1980-01-01"):
                person = {"resourceType": "Patient", "id": f"p{number}", "birthDate": birth}
                assert again.ready(dict(person)) == ready(person, indexer)
                result = {"resourceType": "Observation", "id": f"o{number}", "effectiveDateTime": birth}
                assert again.ready(result) == ready(result, indexer)
        assert again._bytes <= held_bytes
    again = MadeReady(indexer)
    assert again.ready(dict(person)) is again.ready(dict(person))
    assert again.ready(
        person | {"extension": [{"url": "x:y", "valueDecimal": loads("1.50")}]}
    ) != again.ready(person | {"extension": [{"url": "x:y", "valueDecimal": loads("1.5")}]})


def test_the_helper_answers_with_what_the_store_would_make_of_the_conversion() -> None:
    traffic = Traffic(seed=12, patients=3).take(60)
    cases = [(CASES / f"{name}.hl7").read_bytes() for name in names_of("adt", "oru", "oul", "vxu")]
    worker, indexer, alone = _Worker(b"i" * 32, b"k" * 32), Indexer(hasher(b"k" * 32)), 0
    forgetful = Converter(id_key=b"i" * 32)
    for raw in (*traffic, *cases, *traffic, *cases):
        forgetful.tables(None)._shared.clear()  # what earlier messages left must not show
        try:
            converted = forgetful.convert(raw, SENDER, at_us=1)
        except Hl7v2Error:
            assert worker.answer(raw, _packed(SENDER), 1, 0) == b""
            continue
        made = [ready(resource, indexer) for resource in converted.resources]
        assert opened(worker.answer(raw, _packed(SENDER), 1, 0)) == (replace(converted, resources=()), made)
        alone += len(made)
    assert 0 < len(worker._held) < alone


def test_a_helper_that_stands_still_holds_no_message_up_for_long(tmp_path: Path, monkeypatch) -> None:
    messages = Traffic(seed=8, prefix="STAND").take(48)

    async def scenario(gateway: Gateway) -> None:
        gateway.use_helper()
        os.kill(await _until_ready(gateway, messages[:16]), signal.SIGSTOP)
        monkeypatch.setattr("hdg.helper._ANSWER_S", 0.3)
        answers = await asyncio.wait_for(asyncio.gather(*(gateway.receive(raw) for raw in messages)), 300)
        assert all(b"\rMSA|AA|" in answer for answer in answers)
        assert gateway._helper is not None
        assert gateway._helper.pid is None
        await gateway.end_helper()

    with Gateway.open(Settings(data=tmp_path / "data", converter_process=True)) as gateway:
        asyncio.run(scenario(gateway))


def test_the_same_is_stored_with_the_helper_as_without(tmp_path: Path) -> None:
    messages = Traffic(seed=4, patients=5).take(60)
    first = messages[:4]

    async def with_helper(gateway: Gateway) -> None:
        gateway.use_helper()
        await _until_ready(gateway, first)
        answers = await asyncio.gather(*(gateway.receive(raw) for raw in messages))
        assert all(b"MSA|AA" in answer for answer in answers)
        await gateway.end_helper()

    here, there = tmp_path / "here", tmp_path / "there"
    clock = iter(range(1_800_000_000_000_000, 1_900_000_000_000_000, 1000)).__next__
    with Gateway.open(Settings(data=here), clock) as gateway:
        shutil.copytree(here / "keys", there / "keys")
        for raw in messages:
            gateway.receive_now(raw)
        expected, rows = _stored(gateway), _index_rows(gateway)
    clock = iter(range(1_800_000_000_000_000, 1_900_000_000_000_000, 1000)).__next__
    with Gateway.open(Settings(data=there, converter_process=True), clock) as gateway:
        asyncio.run(with_helper(gateway))
        assert _stored(gateway) == expected
        assert _index_rows(gateway) == rows


def _with_document(control: str, size: int) -> bytes:
    """A document of that many base64 characters."""
    segments = [
        f"MSH|^~\\&|DOC|NORTHGEN|HDG|REGION|20260314113000-0500||MDM^T02^MDM_T02|{control}|P|2.5.1",
        "EVN|T02|20260314113000-0500",
        "PID|1||10042^^^NORTHGEN&2.999.1.1&ISO^MR||Example^Ada||19610412|F",
        "PV1|1|I|3W^310^1^NORTHGEN",
        f"TXA|1|CN^Consult|application/pdf|20260314113000-0500||||||||D-{control}^DOC|||||AU",
        "OBX|1|ED|11488-4^Note^LN||^application^pdf^Base64^" + "QUJD" * (size // 4) + "||||||F",
    ]
    return "\r".join(segments).encode() + b"\r"


def test_large_messages_are_converted_in_a_process_of_their_own() -> None:
    large = [_with_document(f"L{number}", size) for number, size in enumerate((70_000, 3 << 20, 1 << 20) * 4)]
    small = Traffic(seed=11).take(8)
    converter, indexer = Converter(id_key=b"i" * 32), Indexer(hasher(b"k" * 32))

    async def run() -> list[Outcome | None]:
        helper = Helper(b"i" * 32, b"k" * 32)
        with helper:
            for _ in range(2400):
                if await helper.convert(large[0], SENDER, 1, 0) is not None:
                    break
                await asyncio.sleep(0.05)
            assert helper.large_pid is not None
            assert helper.pid is None  # one message under way: a small one is converted here
            assert await helper.convert(small[0], SENDER, 1, 0) is None
            found = await asyncio.gather(*(helper.convert(raw, SENDER, 1, 0) for raw in large))
        await helper.close()
        return found

    for raw, outcome in zip(large, asyncio.run(run()), strict=True):
        converted = converter.convert(raw, SENDER, at_us=1)
        made = [ready(resource, indexer) for resource in converted.resources]
        assert outcome == (replace(converted, resources=()), made)


def test_a_helper_that_is_killed_costs_no_message_and_ends(tmp_path: Path) -> None:
    messages = Traffic(seed=5).take(80)

    async def run(gateway: Gateway) -> None:
        gateway.use_helper()
        helper = await _until_ready(gateway, messages[:4])
        under_way = [asyncio.create_task(gateway.receive(raw)) for raw in messages]
        await asyncio.sleep(0.05)
        os.kill(helper, signal.SIGKILL)
        answers = await asyncio.gather(*under_way)
        assert all(b"MSA|AA" in answer for answer in answers)
        await gateway.end_helper()

    with Gateway.open(Settings(data=tmp_path / "data", converter_process=True)) as gateway:
        asyncio.run(run(gateway))
        with gateway.store.engine.connect() as connection:
            kinds = connection.execute(select(table_of(schema.Inbox).c.control_id)).scalars().all()
    assert len(kinds) == len(set(kinds)) == 80


def test_a_helper_whose_parent_is_gone_ends_without_a_word() -> None:
    """The loop's pipes may be sockets: one that is closed before all is read resets the other end."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-P", "-m", "hdg.converting"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE) as helper:
        theirs.close()
        keys = pickle.dumps((b"i" * 32, b"k" * 32), 5)
        ours.sendall(len(keys).to_bytes(4, "big") + keys)
        assert select_.select([ours], [], [], 60)[0]  # it has answered; nobody reads that
        ours.close()
        assert helper.wait(120) == 0
        assert helper.stderr is not None
        assert helper.stderr.read() == b""


def test_a_message_in_error_is_answered_as_without_the_helper(tmp_path: Path) -> None:
    bad = b"MSH|^~\\&|LAB|NORTHGEN|||20260101||QBP^Q99^QBP_Q99|BAD1|P|2.5.1\r"

    async def run(gateway: Gateway) -> bytes:
        gateway.use_helper()
        await _until_ready(gateway, Traffic(seed=7).take(4))
        answers = await asyncio.gather(*(gateway.receive(raw) for raw in (bad, *Traffic(seed=8).take(8))))
        await gateway.end_helper()
        return answers[0]

    with Gateway.open(Settings(data=tmp_path / "data", converter_process=True)) as gateway:
        answer = asyncio.run(run(gateway))
    assert b"MSA|AR" in answer or b"MSA|AE" in answer


@pytest.mark.parametrize("is_wanted", [True, False])
def test_the_helper_ends_with_the_gateway_and_is_there_only_when_wanted(
    tmp_path: Path, is_wanted: bool
) -> None:
    async def run(gateway: Gateway) -> None:
        gateway.use_helper()
        if not is_wanted:
            assert gateway._helper is None
            return
        helper = await _until_ready(gateway, Traffic(seed=9).take(4))
        await gateway.end_helper()
        with pytest.raises(ProcessLookupError):
            os.kill(helper, 0)

    with Gateway.open(Settings(data=tmp_path / "data", converter_process=is_wanted)) as gateway:
        asyncio.run(run(gateway))
