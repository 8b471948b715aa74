"""A revoked token is refused; its row cannot be removed, changed or added unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from hdg.cli import app
from hdg.errors import AccessDenied, BadRequest
from hdg.gateway import Gateway, now_us
from hdg.operator import mint_token, revoke_token, verify_store
from hdg.settings import Settings
from hdg.usage.access import Gate


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(data=tmp_path / "data")
    Gateway.open(made).close()
    return made


def is_let_in(settings: Settings, token: str) -> bool:
    with Gateway.open(settings) as gateway:
        gate = Gate.open(settings, gateway.keys, gateway.store, now_us)
        try:
            gate.caller(f"Bearer {token}")
        except AccessDenied:
            return False
        return True


def change(settings: Settings, sql: str) -> None:
    engine = create_engine(f"sqlite:///{settings.data / 'hdg.db'}")
    with engine.begin() as connection:
        connection.execute(text(sql))
    engine.dispose()


def found(settings: Settings) -> list[str]:
    return [finding.code for finding in verify_store(settings, "").findings]


def test_a_removed_or_changed_row_of_a_revoked_token_is_found(settings: Settings) -> None:
    token = mint_token(settings, role="operator", hours=1)
    other = mint_token(settings, role="operator", hours=1)
    assert is_let_in(settings, token)
    name = revoke_token(settings, token)
    assert not is_let_in(settings, token)
    assert is_let_in(settings, other)
    assert found(settings) == []
    change(settings, "UPDATE revoked_token SET expires_us = 0")
    assert found(settings) == ["revocation-changed"]
    change(settings, "DELETE FROM revoked_token")
    assert is_let_in(settings, token)
    assert found(settings) == ["revocation-missing"]
    assert str(verify_store(settings, "").findings[0]).startswith(
        f"revocation-missing at RevokedToken/{name}:"
    )


def test_a_row_that_nobody_s_revocation_made_is_found(settings: Settings) -> None:
    revoke_token(settings, token_id="a.token-of_mine~1")
    change(settings, "INSERT INTO revoked_token (token_id, expires_us) VALUES ('slipped', 1)")
    assert found(settings) == ["revocation-without-leaf"]


def test_what_is_no_token_and_what_was_revoked_is_refused(settings: Settings) -> None:
    with pytest.raises(AccessDenied):
        revoke_token(settings, "eyJ.no.token")
    for wrong in ("", "two words", "x@1", "x" * 257):
        with pytest.raises(BadRequest):
            revoke_token(settings, token_id=wrong)
    revoke_token(settings, token_id="once")
    with pytest.raises(BadRequest, match="before"):
        revoke_token(settings, token_id="once")


def test_the_command_takes_a_token_from_standard_input_or_an_id(settings: Settings) -> None:
    token = mint_token(settings, role="operator", hours=1)
    data = ["--data", str(settings.data)]
    done = CliRunner().invoke(app, ["revoke", *data], input=token + "\n")
    assert done.exit_code == 0
    assert not is_let_in(settings, token)
    assert CliRunner().invoke(app, ["revoke", "--id", "other", *data]).output.strip() == "other"
    assert CliRunner().invoke(app, ["revoke", *data], input="").exit_code == 1
