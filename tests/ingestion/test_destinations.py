"""destinations.toml: checked with file and line; which messages a destination takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from certificates import Authority
from hdg.errors import SettingsError
from hdg.ingestion.destinations import Destination, DestinationsFile, load


def write(folder: Path, text: str) -> Path:
    path = folder / "destinations.toml"
    path.write_text(text)
    return path


def test_no_file_sends_nothing_on(tmp_path: Path) -> None:
    assert load(tmp_path / "destinations.toml").receiving("ADT^A01", "A|B") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[destinations.a]\nmessages = ["ADT"]\n', "destinations.toml:1: "),
        ('[destinations.a]\n\naddress = "http://x:1"\n', "destinations.toml:3: "),
        ('[destinations.a]\naddress = "mllp://x:1"\nadress = "y"\n', "destinations.toml:3: "),
        ('[destinations.a]\naddress = "mllp://x:1"\nattempts = 0\n', "destinations.toml:3: "),
        ('[destinations.a]\naddress = "mllp://x:1"\nmessages = ["adt"]\n', "destinations.toml:3: "),
        ('[destinations.a]\naddress = "mllp://x:1"\nsenders = ["LAB"]\n', "destinations.toml:3: "),
        ('[destinations.a]\naddress = "mllps://x:1"\nca = "none.pem"\n', "destinations.toml:3: "),
        ('[destinations.a]\naddress = "mllp://x:1"\nbackoff_s = 90\n', "destinations.toml:1: "),
        ('[destinations."a/b"]\naddress = "mllp://x:1"\n', "destinations.toml:1: "),
        ("[destination.a]\n", "destinations.toml:1: "),
        ("destinations = 3\n", "destinations.toml:1: "),
        ("[destinations.a]\naddress = \n", "destinations.toml:2: "),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(write(tmp_path, text))
    assert str(refused.value).startswith(problem)


def test_keys_without_tls_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with pytest.raises(SettingsError, match=r"mllps://"):
        load(write(tmp_path, f'[destinations.a]\naddress = "mllp://x:1"\nca = "{authority.ca}"\n'))


def test_files_are_relative_to_the_data_folder(tmp_path: Path) -> None:
    Authority(tmp_path)
    found = load(write(tmp_path, '[destinations.a]\naddress = "mllps://x:1"\nca = "ca.pem"\n'))
    assert found.tables["a"].ca == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("messages", "kind", "is_taken"),
    [
        ([], "ADT^A01^ADT_A01", False),
        (["*"], "ADT^A01^ADT_A01", True),
        (["*"], "ACK^A01^ACK", False),
        (["*"], "MCF", False),
        (["ACK"], "ACK^A01^ACK", True),
        (["ADT"], "ADT^A01^ADT_A01", True),
        (["ADT^A01"], "ADT^A01", True),
        (["ADT^A01"], "ADT^A03", False),
        (["ADT^A01"], "ADT", False),
    ],
)
def test_types_are_matched_by_code_or_by_code_and_trigger(
    messages: list[str], kind: str, is_taken: bool
) -> None:
    made = Destination(address="mllp://x:1", messages=tuple(messages))
    assert made.takes(kind, "LAB|NORTH") is is_taken


def test_a_change_is_seen_and_a_wrong_one_is_not_in_force(tmp_path: Path) -> None:
    now = [0.0]
    file = DestinationsFile(write(tmp_path, ""), lambda: now[0])
    write(tmp_path, '[destinations.a]\naddress = "mllp://x:1"\n')
    assert file.current().tables == {}
    now[0] += 2
    assert list(file.current().tables) == ["a"]
    write(tmp_path, "[destinations.a]\n")
    now[0] += 2
    assert list(file.current().tables) == ["a"]
    assert file.problem.startswith("destinations.toml:1: ")
