"""Commands over the audit trail. No logic; hdg.usage.audit_list does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from hdg.cli_options import DataOption

audit_app = typer.Typer(
    no_args_is_help=True, help="Who read and changed a patient's record (local operator)."
)


@audit_app.command("list")
def audit_list(
    patient: Annotated[str, typer.Argument(help="Patient id.")],
    data: DataOption = None,
    since: Annotated[str, typer.Option(help="2026-03-14[T08:00:00+01:00], or 90m, 12h, 7d ago.")] = "",
    until: Annotated[str, typer.Option(help="Up to this time; none: now.")] = "",
    json: Annotated[bool, typer.Option("--json", help="AuditEvents (R4), one a line.")] = False,
) -> None:
    """List who had to do with a patient's record, newest first: time, who, purpose, what, outcome, resources.

    What was asked for is left out, and that the trail was looked into is recorded in it.

    Examples: hdg audit list PATIENT-ID --since 30d · hdg audit list PATIENT-ID --json
    """
    from hdg.settings import load
    from hdg.usage.audit_list import lines

    for line in lines(load(data=data), patient, since=since, until=until, is_json=json):
        typer.echo(line)
