"""Commands over received messages: quarantine, replay, work. No logic; hdg.replay does the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hdg.cli_options import DataOption

quarantine_app = typer.Typer(
    no_args_is_help=True, help="Messages that could not be accepted: see, mend, try again."
)
work_app = typer.Typer(
    no_args_is_help=True, help="What messages keep losing: unmapped codes, data without a place."
)

SenderOption = Annotated[str, typer.Option(help="Only this sender, as the list shows it: 'MSH-3|MSH-4'.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Say what would happen; keep nothing.")]


@quarantine_app.command("list")
def quarantine_list(data: DataOption = None, sender: SenderOption = "") -> None:
    """List the messages in quarantine: number, time, sender, MSH-10, reason and place.

    Example: hdg quarantine list --sender 'LAB|NORTHGEN'
    """
    from hdg.replay import quarantined
    from hdg.settings import load

    for line in quarantined(load(data=data), sender):
        typer.echo(line)


@quarantine_app.command("show")
def quarantine_show(
    number: Annotated[int, typer.Argument(help="The message's number.")],
    data: DataOption = None,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes themselves: a patient's data.")] = False,
) -> None:
    """Show a message's structure and the place of the problem; with --raw its bytes.

    Example: hdg quarantine show 17 --raw > mend.hl7
    """
    from hdg.replay import raw_of, show
    from hdg.settings import load

    if raw:
        sys.stdout.buffer.write(raw_of(load(data=data), number))
        return
    for line in show(load(data=data), number):
        typer.echo(line)


@quarantine_app.command("edit")
def quarantine_edit(
    number: Annotated[int, typer.Argument(help="The message's number.")],
    file: Annotated[Path, typer.Argument(help="The mended bytes; '-' is standard input.", allow_dash=True)],
    data: DataOption = None,
) -> None:
    """Put mended bytes in a message's place; the message as received is kept. Prints the number to replay.

    Example: hdg quarantine edit 17 mend.hl7
    """
    from hdg.replay import edit, read_bytes
    from hdg.settings import load

    mended = sys.stdin.buffer.read() if str(file) == "-" else read_bytes(file)
    typer.echo(edit(load(data=data), number, mended))


@quarantine_app.command("replay")
def quarantine_replay(
    numbers: Annotated[list[int] | None, typer.Argument(help="Numbers; none: all.")] = None,
    data: DataOption = None,
    sender: SenderOption = "",
    dry_run: DryOption = False,
) -> None:
    """Try messages again, at the time they were received. Exit 1 when one is refused again.

    Example: hdg quarantine replay 17 --dry-run
    """
    from hdg.replay import replay_quarantined
    from hdg.settings import load

    lines = replay_quarantined(load(data=data), numbers or (), is_dry=dry_run, sender=sender)
    is_ok = True
    for line in lines:
        typer.echo(line.text)
        is_ok = is_ok and not line.is_failure
    raise typer.Exit(0 if is_ok else 1)


def replay(
    since: Annotated[str, typer.Option(help="2026-03-14[T08:00:00+01:00], or 90m, 12h, 7d ago.")],
    data: DataOption = None,
    until: Annotated[str, typer.Option(help="Up to this time; none: now.")] = "",
    sender: SenderOption = "",
    dry_run: DryOption = False,
    diff: Annotated[bool, typer.Option("--diff", help="Name every field that changes.")] = False,
    values: Annotated[
        bool, typer.Option("--values", help="With --diff: the values too, a patient's data.")
    ] = False,
) -> None:
    """Convert stored messages again under today's tables. Exit 1 when one is refused.

    Example: hdg replay --since 7d --dry-run --diff
    """
    from hdg.gateway import now_us
    from hdg.replay import replay as run
    from hdg.replay import since_us
    from hdg.settings import load

    now = now_us()
    lines = run(
        load(data=data),
        since=since_us(since, now),
        until=since_us(until, now) if until else None,
        sender=sender,
        is_dry=dry_run,
        with_diff=diff,
        with_values=values,
    )
    is_ok = True
    for line in lines:
        typer.echo(line.text)
        is_ok = is_ok and not line.is_failure
    raise typer.Exit(0 if is_ok else 1)


def prune(
    data: DataOption = None,
    dry_run: DryOption = False,
    trust_clock: Annotated[
        bool,
        typer.Option("--trust-clock", help="Also when the clock has moved by days since the last look."),
    ] = False,
) -> None:
    """Remove what is kept no longer (keep_…_days): raw messages, outbox rows, work items. hdg serve does so daily.

    Example: hdg prune --dry-run
    """
    from hdg.replay import pruned
    from hdg.settings import load

    line = pruned(load(data=data), is_dry=dry_run, is_clock_trusted=trust_clock)
    typer.echo(line.text)
    raise typer.Exit(1 if line.is_failure else 0)


@work_app.command("list")
def work_list(
    data: DataOption = None,
    closed: Annotated[bool, typer.Option("--all", help="Closed and ignored ones too.")] = False,
) -> None:
    """List what messages lose, most frequent first: one line a sender, message type, place and reason.

    Example: hdg work list --all
    """
    from hdg.replay import work
    from hdg.settings import load

    for line in work(load(data=data), with_closed=closed):
        typer.echo(line)


@work_app.command("close")
def work_close(
    items: Annotated[list[str], typer.Argument(help="Ids, as list prints them.")],
    data: DataOption = None,
    ignore: Annotated[bool, typer.Option("--ignore", help="For good: it does not open again.")] = False,
) -> None:
    """Close work items; the next such loss opens them again.

    Example: hdg work close ITEM-ID --ignore
    """
    from hdg.replay import close
    from hdg.settings import load

    close(load(data=data), items, is_ignored=ignore)
