"""What ``hdg convert`` shows while it works: progress, named failures, the report file, the exit code."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, TextIO

from hdg.bulk import run
from hdg.bulk_jobs import Job, Outcome, Plan

PLAIN_EVERY_S = 5.0
MAX_NAMED = 20
"""Issues shown on the terminal; the report file has them all."""


def deliver(
    jobs: list[Job], plan: Plan, output: Path | None, report: Path | None, workers: int | None
) -> int:
    """Converts, writes what the plan hands back (to ``output`` or standard output) and returns the exit code."""
    totals: Counter[str] = Counter()
    issues: Counter[str] = Counter()
    with ExitStack() as stack:
        sink: BinaryIO | None = None
        if plan.folder is None:
            sink = stack.enter_context(output.open("wb")) if output else sys.stdout.buffer
        lines = stack.enter_context(report.open("w", encoding="utf-8")) if report else None
        for outcome in _with_progress(run(jobs, plan, workers), jobs, is_shown=sink is not sys.stdout.buffer):
            totals["studies" if outcome.is_study else outcome.status] += 1
            totals["resources"] += outcome.resources
            _deliver_one(outcome, sink, lines)
            issues.update(f"{i.severity} {i.code} {i.text}" for i in outcome.issues)
    _summary(totals, issues, report)
    return 1 if totals["failed"] or not totals["converted"] else 0


def _deliver_one(outcome: Outcome, sink: BinaryIO | None, lines: TextIO | None) -> None:
    if sink is not None and outcome.output is not None:
        sink.write(outcome.output)
        sink.flush()
    if lines is not None:
        lines.write(outcome.report_line() + "\n")
    if outcome.status != "converted":
        where = f"{outcome.file} message {outcome.number}" if outcome.number else outcome.file
        print(f"{outcome.status}: {where}: {outcome.error}", file=sys.stderr)


def _summary(totals: Counter[str], issues: Counter[str], report: Path | None) -> None:
    print(
        f"{totals['converted']} converted, {totals['failed']} failed, {totals['skipped']} skipped, "
        f"{totals['resources']} resources"
        + (f", {totals['studies']} imaging studies" if totals["studies"] else ""),
        file=sys.stderr,
    )
    for text, count in issues.most_common(MAX_NAMED):
        print(f"  {count} x {text}", file=sys.stderr)
    if len(issues) > MAX_NAMED:
        more = "see the report" if report else "use --report FILE for all"
        print(f"  … and {len(issues) - MAX_NAMED} more kinds of issue ({more})", file=sys.stderr)


def _with_progress(outcomes: Iterable[Outcome], jobs: list[Job], *, is_shown: bool) -> Iterator[Outcome]:
    """Passes outcomes on; a rich bar on a terminal, else a plain line every few seconds of long work."""
    if is_shown and sys.stderr.isatty() and len(jobs) > 1:
        yield from _with_bar(outcomes, jobs)
        return
    due = time.monotonic() + PLAIN_EVERY_S
    files = resources = 0
    last = ""
    for outcome in outcomes:
        resources += outcome.resources
        if outcome.file != last:
            files, last = files + 1, outcome.file
        if time.monotonic() >= due:
            due += PLAIN_EVERY_S
            print(f"{files} of {len(jobs)} files, {resources:,} resources", file=sys.stderr)
        yield outcome


def _with_bar(outcomes: Iterable[Outcome], jobs: list[Job]) -> Iterator[Outcome]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("files", total=len(jobs))
        last = ""
        for outcome in outcomes:
            if outcome.file != last:
                last = outcome.file
                progress.advance(task)
            yield outcome
