"""Commands over the outbox: messages on their way to other systems. No logic; hdg.outbox does the work."""

from __future__ import annotations

from typing import Annotated

import typer

from hdg.cli_options import DataOption

outbox_app = typer.Typer(no_args_is_help=True, help="Messages on their way to other systems.")

DestinationOption = Annotated[
    str, typer.Option("--destination", help="Only this one, as destinations.toml names it.")
]


@outbox_app.command("list")
def outbox_list(
    data: DataOption = None,
    destination: DestinationOption = "",
    all_: Annotated[bool, typer.Option("--all", help="Delivered and dropped ones too.")] = False,
) -> None:
    """List what waits or is parked, in order: number, status, destination, time, message, last outcome.

    Example: hdg outbox list --destination research-hub
    """
    from hdg.outbox import waiting
    from hdg.settings import load

    for line in waiting(load(data=data), destination, with_all=all_):
        typer.echo(line)


@outbox_app.command("retry")
def outbox_retry(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers; none: all that are parked.")] = None,
    data: DataOption = None,
    destination: DestinationOption = "",
) -> None:
    """Send parked (or dropped) messages again. Prints how many.

    Example: hdg outbox retry --destination research-hub
    """
    from hdg.outbox import retry
    from hdg.settings import load

    typer.echo(f"{retry(load(data=data), numbers or (), destination)} queued")


@outbox_app.command("drop")
def outbox_drop(
    numbers: Annotated[list[int], typer.Argument(help="Numbers, as list prints them.")],
    data: DataOption = None,
) -> None:
    """Give up sending messages, such as one that holds up all others; they stay stored. Prints how many.

    Example: hdg outbox drop 17
    """
    from hdg.outbox import drop
    from hdg.settings import load

    typer.echo(f"{drop(load(data=data), numbers)} dropped")
