"""``hdg reindex`` as its users meet it: exit codes, one line of outcome, beside a gateway that is open."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from hdg.cli import app
from hdg.gateway import Gateway
from hdg.management.store.meta import index_key
from hdg.management.store.text_fill import TextFill
from hdg.management.store.values import hasher
from hdg.settings import Settings
from messages import oru


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def hdg(folder: Path, *arguments: str):
    return CliRunner().invoke(app, ["reindex", "--data", str(folder), *arguments])


def test_it_repairs_while_a_gateway_has_the_store_open(folder: Path) -> None:
    with Gateway.open(Settings(data=folder)) as gateway:
        gateway.receive_now(oru())
        done = hdg(folder)
        assert done.exit_code == 0, done.output
        assert "0 rows added, 0 removed; verified" in done.stdout
        damage = "DELETE FROM idx_string"
        gateway.store.submit(lambda session: session.connection.execute(text(damage)) and None).result(120)
        done = hdg(folder, "--type", "Patient")
        assert done.exit_code == 0
        assert "1 resources indexed" in done.stdout
        assert "0 rows added" not in done.stdout
        done = hdg(folder, "--type", "Observation", "--parameter", "code")
        assert done.exit_code == 0
        assert hdg(folder, "--resume").exit_code == 0
        assert "0 rows added, 0 removed" in hdg(folder).stdout


@pytest.mark.parametrize("arguments", [("--type", "Nothing"), ("--parameter", "nothing"), ("--wrong",)])
def test_wrong_usage_is_2(folder: Path, arguments: tuple[str, ...]) -> None:
    Gateway.open(Settings(data=folder)).close()
    assert hdg(folder, *arguments).exit_code == 2


def test_what_does_not_open_is_named_with_exit_1(folder: Path) -> None:
    with Gateway.open(Settings(data=folder)) as gateway:
        gateway.receive_now(oru())
        damage = "UPDATE version SET body = x'00' WHERE type = 'Patient'"
        gateway.store.submit(lambda session: session.connection.execute(text(damage)) and None).result(120)
    done = hdg(folder)
    assert done.exit_code == 1
    assert "its body does not open" in done.output
    assert "not verified" in done.output


def test_the_index_of_words_is_held_to_the_bodies_too(folder: Path) -> None:
    with Gateway.open(Settings(data=folder)) as gateway:
        gateway.receive_now(oru())
        hash_ = hasher(index_key(gateway.keys.root))
        filling = TextFill(gateway.store, hash_, is_on=True)
        while filling.step():
            pass
        assert "words" not in hdg(folder).stdout
        damage = "DELETE FROM text_index WHERE rowid = (SELECT rkey FROM resource WHERE type = 'Patient')"
        gateway.store.submit(lambda session: session.connection.execute(text(damage)) and None).result(120)
        assert "words of 1 resources put right; verified" in hdg(folder).stdout
        assert "words" not in hdg(folder).stdout
