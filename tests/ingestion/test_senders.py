"""senders.toml: found by message and way in, read again when it changes, refused with file and line."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from hdg.errors import Hl7v2Error, Issue, SettingsError
from hdg.ingestion.inbox import check_losses, check_type, losses
from hdg.ingestion.sender import LOCAL, Origin, Sender
from hdg.ingestion.senders import SendersFile, load

GOOD = """
[senders."LAB|NORTHGEN"]
zone = "America/New_York"
messages = ["ORU^R01", "ADT"]
strict = true
[senders."LAB|NORTHGEN".authorities]
NATIONAL = "https://example.org/ids"

[senders.tls-lab]
application = "LAB"
facility = "NORTHGEN"
tls_subject = "CN=lab"
institution = "by-certificate"

[senders.everything-over-http]
listener = "http"
ack = "original"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "senders.toml"
    path.write_text(text)
    return path


def test_no_file_declares_nobody(tmp_path: Path) -> None:
    assert load(tmp_path / "senders.toml").find("LAB", "NORTHGEN", LOCAL) == ("", None)


def test_the_table_that_names_most_counts(tmp_path: Path) -> None:
    senders = load(write(tmp_path, GOOD))
    assert senders.find("LAB", "NORTHGEN", LOCAL)[0] == "LAB|NORTHGEN"
    assert senders.find("LAB", "NORTHGEN", Origin("http"))[0] == "LAB|NORTHGEN"
    assert senders.find("LAB", "NORTHGEN", Origin("mllps", "CN=lab"))[0] == "tls-lab"
    assert senders.find("X", "Y", Origin("http"))[0] == "everything-over-http"
    assert senders.find("X", "Y", LOCAL) == ("", None)
    assert senders.tables["LAB|NORTHGEN"].authorities == {"NATIONAL": "https://example.org/ids"}


def test_a_sender_that_is_known_by_its_certificate_gets_no_other_table_by_what_msh_says(
    tmp_path: Path,
) -> None:
    text = (
        '[senders."EHR|SOUTH"]\nqueries = true\n[senders.lab]\ntls_subject = "CN=lab"\nmessages = ["ORU"]\n'
    )
    text += '[senders.carried]\ntls_subject = "CN=lab"\napplication = "RIS"\n'
    senders = load(write(tmp_path, text))
    assert senders.find("EHR", "SOUTH", Origin("mllps", "CN=lab"))[0] == "lab"
    assert senders.find("RIS", "SOUTH", Origin("mllps", "CN=lab"))[0] == "carried"
    assert senders.find("EHR", "SOUTH", Origin("mllps", "CN=other"))[0] == "EHR|SOUTH"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[senders."A|B"]\nzone = "Mars/Olympus"\n', "senders.toml:2: "),
        ('\n[senders."A|B"]\ninstitution = "x"\nzoen = "UTC"\n', "senders.toml:4: "),
        ('[senders."A|B"]\nzone = "UTC"\n[senders."C|D"]\nzone = 7\n', "senders.toml:4: "),
        ('[senders."A|B"]\ncharset = "KLINGON"\n', "senders.toml:2: "),
        ('[senders."A|B"]\nmappings = "nowhere"\n', "senders.toml:2: "),
        ('[senders."A|B"]\nmessages = ["everything"]\n', "senders.toml:2: "),
        ('[senders."A|B"]\nlistener = "fax"\n', "senders.toml:2: "),
        ('[senders."A|B"]\nzone = "UTC\n', "senders.toml:2: "),
        ('zone = "UTC"\n', "senders.toml:1: "),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_line(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(write(tmp_path, text))
    assert str(refused.value).startswith(place)


def test_wrong_tables_in_a_declared_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "codes").mkdir()
    (tmp_path / "codes" / "administrative-gender.csv").write_text("nonsense\n")
    with pytest.raises(SettingsError, match=r"senders\.toml:2: .*administrative-gender\.csv:1"):
        load(write(tmp_path, '[senders."A|B"]\nterminology = "codes"\n'))


def test_a_change_is_seen_and_a_wrong_one_leaves_the_last_good_reading(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    path = write(tmp_path, '[senders."A|B"]\nzone = "UTC"\n')
    file = SendersFile(path, lambda: now[0])

    def zone_after(text: str) -> str | None:
        write(tmp_path, text)
        now[0] += 2
        os.utime(path, ns=(int(now[0]), int(now[0])))
        found = file.current().find("A", "B", LOCAL)[1]
        return found.zone if found else None

    assert zone_after('[senders."A|B"]\nzone = "Europe/Berlin"\n') == "Europe/Berlin"
    assert (file.generation, file.problem) == (1, "")
    with caplog.at_level(logging.ERROR):
        assert zone_after('[senders."A|B"]\nzone = "nowhere"\n') == "Europe/Berlin"
    assert "NOT in force" in caplog.text
    assert "senders.toml:2" in file.problem
    assert zone_after('[senders."A|B"]\nzone = "UTC"\n') == "UTC"
    assert file.problem == ""


@pytest.mark.parametrize("loss", ["removed", "emptied", "dangling"])
def test_a_file_that_is_gone_or_empty_takes_nothing_back_that_was_declared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, loss: str
) -> None:
    now = [0.0]
    real = write(tmp_path, '[senders."A|B"]\nmessages = ["ADT"]\n').rename(tmp_path / "real.toml")
    path = tmp_path / "senders.toml"
    path.symlink_to(real)
    file = SendersFile(path, lambda: now[0])

    def kinds() -> tuple[str, ...] | None:
        now[0] += 2
        found = file.current().find("A", "B", LOCAL)[1]
        return found.messages if found else None

    if loss == "removed":
        path.unlink()
    elif loss == "emptied":
        real.write_text("\n")
    else:
        real.rename(tmp_path / "away")
    assert kinds() == ("ADT",)
    assert "senders.toml is gone or empty" in file.problem
    assert "NOT in force" in caplog.text
    path.unlink(missing_ok=True)
    path.write_text("# nobody\n")
    assert kinds() is None
    assert file.problem == ""


def test_a_sender_is_held_to_its_message_types() -> None:
    sender = Sender("A|B", "b", messages=frozenset({"ADT", "ORU^R01"}))
    check_type("ADT^A01^ADT_A01", sender)
    check_type("ORU^R01", sender)
    check_type("VXU^V04", Sender("A|B", "b"))
    for kind, condition in (("ORU^R30", "201"), ("VXU^V04", "200")):
        with pytest.raises(Hl7v2Error) as refused:
            check_type(kind, sender)
        assert (refused.value.condition, refused.value.is_rejection) == (condition, True)


def test_losses_are_named_by_place_without_occurrence() -> None:
    issues = [
        Issue("warning", "not-found", "OBX[3]-3[2].1", "the code is not in the map x"),
        Issue("information", "not-supported", "ZPI", "a local segment"),
        Issue("information", "duplicate", "PID-5", "name has another value already, which stays"),
    ]
    assert [(loss.kind, loss.place) for loss in losses(issues)] == [
        ("unmapped code", "OBX-3.1"),
        ("lost data", "ZPI"),
    ]
    with pytest.raises(Hl7v2Error) as refused:
        check_losses(issues)
    assert (refused.value.condition, refused.value.is_rejection, refused.value.place) == (
        "103",
        False,
        "OBX[3]-3[2].1",
    )
    check_losses(issues[2:])
