"""The gateway's keys: made once, owner-only, never replaced silently (DESIGN §6)."""

from __future__ import annotations

import stat

import pytest

from hdg.errors import SettingsError
from hdg.management.keys import KeyRing

NAMES = ["id.key", "ledger.key", "operator.key", "root.key", "token.key"]


def test_first_start_makes_five_files_that_only_the_owner_reads(tmp_path) -> None:
    ring = KeyRing.open(tmp_path / "keys")
    files = sorted((tmp_path / "keys").iterdir())
    assert [path.name for path in files] == NAMES
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert len(ring.root) == len(ring.id_key) == 32
    assert ring.root != ring.id_key
    assert len(ring.operator_credential) == 64


def test_the_next_start_finds_the_same_keys(tmp_path) -> None:
    first, second = KeyRing.open(tmp_path), KeyRing.open(tmp_path)
    assert (first.root, first.id_key, first.operator_credential) == (
        second.root,
        second.id_key,
        second.operator_credential,
    )
    assert first.token_key.private_bytes_raw() == second.token_key.private_bytes_raw()
    assert (
        first.ledger_key.public_key().public_bytes_raw() == second.ledger_key.public_key().public_bytes_raw()
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_lost_key_is_never_replaced(tmp_path, name) -> None:
    KeyRing.open(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(SettingsError, match=name):
        KeyRing.open(tmp_path)
    assert not (tmp_path / name).exists()


def test_keys_that_others_may_read_are_refused(tmp_path) -> None:
    KeyRing.open(tmp_path)
    (tmp_path / "root.key").chmod(0o640)
    with pytest.raises(SettingsError, match=r"root\.key"):
        KeyRing.open(tmp_path)


@pytest.mark.parametrize("content", ["", "zz", "ab" * 31])
def test_a_damaged_key_file_is_named(tmp_path, content) -> None:
    KeyRing.open(tmp_path)
    (tmp_path / "id.key").write_text(content)
    with pytest.raises(SettingsError, match=r"id\.key"):
        KeyRing.open(tmp_path)


def test_no_secret_shows_in_a_repr(tmp_path) -> None:
    assert repr(KeyRing.open(tmp_path)) == "KeyRing()"


def test_a_project_has_a_key_of_its_own_that_stays(tmp_path) -> None:
    ring = KeyRing.open(tmp_path / "a")
    one = ring.project_key("asthma-1")
    assert one == KeyRing.open(tmp_path / "a").project_key("asthma-1")
    others = {ring.root, ring.project_key("asthma-2"), KeyRing.open(tmp_path / "b").project_key("asthma-1")}
    assert len(one) == 32
    assert one not in others
    assert len(others) == 3
