"""Quarantine, replay under today's tables, work items: what the operator sees and what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import true
from typer.testing import CliRunner

from hdg.cli import app
from hdg.data import folder
from hdg.errors import BadRequest, NotFound
from hdg.fhir.json import loads
from hdg.gateway import Gateway
from hdg.ingestion.sender import Origin
from hdg.management.store.inbox import entries, entry, work_items
from hdg.management.store.search import SearchQuery
from hdg.outbox import drop, retry, waiting
from hdg.replay import differences, edit, replay_quarantined, show, since_us
from hdg.settings import Settings
from messages import adt, oru

UNKNOWN = oru().replace(b"ORU^R01^ORU_R01", b"ZZZ^Z99^ZZZ_Z99")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "data")


@pytest.fixture
def quarantine(settings: Settings) -> Settings:
    with Gateway.open(settings) as gateway:
        gateway.receive_now(UNKNOWN)
    return settings


def hdg(settings: Settings, *arguments: str, stdin: bytes | None = None) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*arguments, "--data", str(settings.data)], input=stdin)
    return done.exit_code, done.output


def test_a_message_that_fails_again_in_the_same_way_is_kept_once(settings: Settings) -> None:
    with Gateway.open(settings) as gateway:
        first = gateway.receive_now(UNKNOWN)
        assert gateway.receive_now(UNKNOWN) == first
        assert len(list(entries(gateway.store.engine, status="quarantined"))) == 1


def test_show_names_segments_fields_and_the_place_but_no_value(quarantine: Settings) -> None:
    code, listed = hdg(quarantine, "quarantine", "list")
    assert code == 0
    assert "LAB|NORTHGEN  C1  no table maps this message type at MSH-9" in listed
    text = "\n".join(show(quarantine, 1))
    assert "9(15) ◄" in text
    assert "PID: 1(1) 3(" in text
    for value in ("Example", "10042", "19610412", "Creatinine", "1.50"):
        assert value not in text
    code, raw = hdg(quarantine, "quarantine", "show", "1", "--raw")
    assert "Example^Ada" in raw


def test_bytes_that_are_no_message_can_be_shown(settings: Settings) -> None:
    with Gateway.open(settings) as gateway:
        gateway.receive_now(b"garbage")
    assert any("cannot be parsed" in line for line in show(settings, 1))


def test_mended_bytes_are_accepted_and_the_message_as_received_stays(quarantine: Settings) -> None:
    code, said = hdg(quarantine, "quarantine", "replay", "1")
    assert (code, "refused" in said) == (1, True)
    code, number = hdg(quarantine, "quarantine", "edit", "1", "-", stdin=oru())
    assert (code, number.strip()) == (0, "2")
    code, said = hdg(quarantine, "quarantine", "replay", "2", "--dry-run")
    assert (code, "would be accepted" in said) == (0, True)
    code, said = hdg(quarantine, "quarantine", "replay")
    assert (code, "accepted" in said) == (0, True)
    with Gateway.open(quarantine) as gateway:
        engine = gateway.store.engine
        assert [entry(engine, number).status for number in (1, 2, 3)] == ["edited", "replayed", "accepted"]
        assert gateway.store.reader.blob(entry(engine, 1).blob) == UNKNOWN
        assert entry(engine, 3).received_us == entry(engine, 1).received_us
        assert gateway.store.reader.search(SearchQuery("Observation", (), 10), true()).total == 1
        assert b"|AA|" in gateway.receive_now(oru())
    assert hdg(quarantine, "quarantine", "list") == (0, "")


def test_bytes_that_an_operator_has_mended_are_the_message_that_was_accepted(quarantine: Settings) -> None:
    """The sender sends again what it was refused: answered as what stands in its place, and kept once."""
    hdg(quarantine, "quarantine", "edit", "1", "-", stdin=oru())
    with Gateway.open(quarantine) as gateway:
        before = gateway.receive_now(UNKNOWN)
        assert b"\rMSA|AR|C1" in before
    hdg(quarantine, "quarantine", "replay")
    with Gateway.open(quarantine) as gateway:
        assert b"\rMSA|AA|C1" in gateway.receive_now(UNKNOWN)
        assert b"\rMSA|AA|C1" in gateway.receive_now(oru())
        refused = gateway.receive_now(oru(value="9"))
        assert b"\rMSA|AR|C1" in refused
        assert [item.status for item in entries(gateway.store.engine, status="quarantined")] == [
            "quarantined"
        ]
        assert gateway.store.reader.search(SearchQuery("Observation", (), 10), true()).total == 1


def test_bytes_mended_under_another_control_id_stay_refused_and_are_kept_once(quarantine: Settings) -> None:
    hdg(quarantine, "quarantine", "edit", "1", "-", stdin=oru(control="C2"))
    hdg(quarantine, "quarantine", "replay")
    with Gateway.open(quarantine) as gateway:
        assert b"\rMSA|AR|C1" in gateway.receive_now(UNKNOWN)
        assert not list(entries(gateway.store.engine, status="quarantined"))


def test_mended_bytes_of_a_reused_control_id_are_not_the_message_that_has_it(settings: Settings) -> None:
    other = oru(value="9")
    with Gateway.open(settings) as gateway:
        gateway.receive_now(oru())
        first = gateway.receive_now(other)
    hdg(settings, "quarantine", "edit", "2", "-", stdin=oru(control="C2", value="9"))
    with Gateway.open(settings) as gateway:
        assert gateway.receive_now(other) == first
        assert b"\rMSA|AR|C1" in first


def test_a_reused_control_id_is_refused_again(settings: Settings) -> None:
    with Gateway.open(settings) as gateway:
        gateway.receive_now(oru())
        gateway.receive_now(oru(value="9"))
    [line] = replay_quarantined(settings, ())
    assert line.is_failure
    assert "used before" in line.text
    with Gateway.open(settings) as gateway:
        assert len(list(entries(gateway.store.engine, status="quarantined"))) == 1


def test_a_foreign_credential_is_refused_by_a_replay_too(settings: Settings) -> None:
    with Gateway.open(settings) as gateway:
        assert b"|AR|" in gateway.receive_now(oru(), Origin("http", "", "elsewhere"))
    [line] = replay_quarantined(settings, ())
    assert line.is_failure
    assert "another institution" in line.text


def test_what_is_not_in_quarantine_is_neither_edited_nor_replayed(settings: Settings) -> None:
    with Gateway.open(settings) as gateway:
        gateway.receive_now(oru())
    assert next(replay_quarantined(settings, [1])).is_failure
    from hdg.replay import edit

    with pytest.raises(BadRequest):
        edit(settings, 1, b"x")
    with pytest.raises(NotFound):
        edit(settings, 99, b"x")


def with_tables(settings: Settings) -> None:
    """From now on the sender has a table that says what the numbers are used for."""
    tables = settings.data / "tables" / "hl7v2" / "segments"
    tables.mkdir(parents=True)
    shipped = folder("mappings") / "hl7v2" / "segments" / "PID.Patient.csv"
    rows = shipped.read_text().splitlines(keepends=True)
    changed = [
        row.replace("identifier[],CX.Identifier,,,,", "identifier[],CX.Identifier,,,use=official,")
        for row in rows
    ]
    (tables / "PID.Patient.csv").write_text("".join(changed))
    (settings.data / "senders.toml").write_text('[senders."LAB|NORTHGEN"]\nmappings = "tables"\n')


def current(gateway: Gateway, kind: str):
    [version] = gateway.store.reader.search(SearchQuery(kind, (), 10), true()).versions
    return version.version, loads(gateway.store.reader.body(version))


def test_replay_shows_the_difference_first_and_then_makes_it(settings: Settings) -> None:
    with Gateway.open(settings) as gateway:
        gateway.receive_now(adt())
    with_tables(settings)
    code, said = hdg(settings, "replay", "--since", "1h", "--dry-run", "--diff")
    assert code == 0
    assert "+ identifier[0].use" in said
    assert "official" not in said
    assert "1 messages replayed, 1 would change something, 0 refused" in said
    with Gateway.open(settings) as gateway:
        version, patient = current(gateway, "Patient")
        assert (version, "use" in patient["identifier"][0]) == (1, False)
        size = gateway.store.reader.search(SearchQuery("Provenance", (), 10), true()).versions[0].version
        assert size == 1
    code, said = hdg(settings, "replay", "--since", "1h", "--diff", "--values")
    assert '+ identifier[0].use: "official"' in said
    with Gateway.open(settings) as gateway:
        version, patient = current(gateway, "Patient")
        assert (version, patient["identifier"][0]["use"]) == (2, "official")
        assert len(list(entries(gateway.store.engine, status="accepted"))) == 1
    assert "1 messages replayed, 0 changed something" in hdg(settings, "replay", "--since", "1h")[1]
    assert hdg(settings, "verify")[0] == 0


def test_a_replay_leaves_what_newer_messages_said(settings: Settings) -> None:
    newer = adt("A2", family="Newer").replace(b"20260314113000", b"20260314123000")
    with Gateway.open(settings) as gateway:
        gateway.receive_now(adt("A1"))
        gateway.receive_now(newer)
    with Gateway.open(settings) as gateway:
        first = entry(gateway.store.engine, 1)
        replayed = gateway.replay(first, adt("A1"))
        assert replayed.changes == ()
        assert current(gateway, "Patient")[1]["name"][0]["family"] == "Newer"


def test_losses_open_work_items_that_are_counted_closed_and_opened_again(settings: Settings) -> None:
    def odd(control: str) -> bytes:
        return adt(control).replace(b"|19610412|F", b"|19610412|Q")

    with Gateway.open(settings) as gateway:
        for number in range(3):
            gateway.receive_now(odd(f"W{number}"))
        [item] = [each for each in work_items(gateway.store.engine) if each.place == "PID-8"]
        assert (item.kind, item.count, item.message) == ("unmapped code", 3, 3)
        assert item.sender == "LAB|NORTHGEN"
        assert item.message_type.startswith("ADT^A01")
    _, listed = hdg(settings, "work", "list")
    assert f"{item.id}  3x  unmapped code" in listed
    assert hdg(settings, "work", "close", item.id)[0] == 0
    assert item.id not in hdg(settings, "work", "list")[1]
    with Gateway.open(settings) as gateway:
        gateway.receive_now(odd("W4"))
    assert f"{item.id}  4x" in hdg(settings, "work", "list")[1]
    assert hdg(settings, "work", "close", "--ignore", item.id)[0] == 0
    with Gateway.open(settings) as gateway:
        gateway.receive_now(odd("W5"))
    assert item.id not in hdg(settings, "work", "list")[1]
    assert f"{item.id}  5x" in hdg(settings, "work", "list", "--all")[1]


@pytest.mark.parametrize(
    "mended", [b"", b"\r\n ", UNKNOWN, UNKNOWN.rstrip(b"\r"), b"gateway-1\n", b"MSH|^~\\&|"]
)
def test_nothing_or_the_message_itself_is_no_mended_message(quarantine: Settings, mended: bytes) -> None:
    code, said = hdg(quarantine, "quarantine", "edit", "1", "-", stdin=mended)
    assert (code, said) == (1, "")
    with pytest.raises(BadRequest, match=r"empty|itself|no HL7 v2"):
        edit(quarantine, 1, mended)
    assert "  C1  no table maps" in hdg(quarantine, "quarantine", "list")[1]


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**63, 10**30])
def test_a_number_that_no_message_can_have_is_not_found(quarantine: Settings, number: int) -> None:
    with pytest.raises(NotFound, match=f"there is no message {number}"):
        list(show(quarantine, number))
    with pytest.raises(NotFound, match=f"there is no message {number} in the outbox"):
        drop(quarantine, [number])


def test_a_mistyped_destination_is_no_empty_queue(quarantine: Settings) -> None:
    for command in (lambda: list(waiting(quarantine, "hubb")), lambda: retry(quarantine, (), "hubb")):
        with pytest.raises(NotFound, match="no destination hubb"):
            command()


def test_what_a_sender_writes_does_not_steer_the_operators_terminal(settings: Settings) -> None:
    raw = adt("W7").replace(b"|19610412|F", b"|19610412|Q").replace(b"ADT^A01^", b"ADT^A01^\x1b[2J")
    with Gateway.open(settings) as gateway:
        gateway.receive_now(raw)
        [item] = [each for each in work_items(gateway.store.engine) if each.place == "PID-8"]
    assert item.message_type.startswith("ADT^A01^?[2J")
    assert "\x1b" not in hdg(settings, "work", "list")[1]


def test_differences_are_told_field_by_field() -> None:
    old = {
        "meta": {"versionId": "1", "tag": [{"code": "a"}]},
        "gender": "male",
        "name": [{"family": "A"}],
        "x": 1,
    }
    new = {
        "meta": {"versionId": "2", "tag": [{"code": "b"}]},
        "name": [{"family": "A"}, {"family": "B"}],
        "x": 2,
    }
    assert [change.line(with_values=True) for change in differences(old, new)] == [
        '~ meta.tag[0].code: "a" → "b"',
        '- gender: "male"',
        '+ name[1]: {"family":"B"}',
        "~ x: 1 → 2",
    ]


def test_times_are_read_as_operators_write_them() -> None:
    assert since_us("90m", 10_000_000_000) == 4_600_000_000
    assert since_us("1970-01-02", 0) == 86_400_000_000
    assert since_us("1970-01-01T01:00:00+01:00", 0) == 0
    for text in ("yesterday", "99999999999999d"):
        with pytest.raises(BadRequest):
            since_us(text, 0)


def test_commands_never_make_a_new_data_folder(tmp_path: Path) -> None:
    code, _ = hdg(Settings(data=tmp_path / "none"), "work", "list")
    assert code != 0
    assert not (tmp_path / "none").exists()
