"""OperationOutcome from issues and errors (R4 operationoutcome.html)."""

from __future__ import annotations

from collections.abc import Iterable

from hdg.errors import BadRequest, HdgError, Issue, SourceError, ValidationFailed
from hdg.fhir.json import JsonObject

__all__ = ["issues_of", "operation_outcome"]


def operation_outcome(issues: Iterable[Issue]) -> JsonObject:
    """An OperationOutcome with one ``issue`` per Issue; without any, one that says so (issue is 1..*)."""
    entries = [_entry(issue) for issue in issues]
    if not entries:
        entries = [{"severity": "information", "code": "informational", "diagnostics": "no issues"}]
    return {"resourceType": "OperationOutcome", "issue": entries}


def issues_of(error: HdgError) -> tuple[Issue, ...]:
    """The issues that an error stands for: its own, or one made of its issue code, place and text."""
    if isinstance(error, ValidationFailed) and error.issues:
        return error.issues
    code = error.code if isinstance(error, BadRequest) else error.issue_code
    place = error.place if isinstance(error, BadRequest | SourceError) else ""
    text = error.text if isinstance(error, SourceError) else str(error)
    return (Issue("error", code, place, text),)


def _entry(issue: Issue) -> JsonObject:
    entry: JsonObject = {"severity": issue.severity, "code": issue.code}
    if issue.text:
        entry["diagnostics"] = issue.text
    if issue.place:
        entry["expression"] = [issue.place]
    return entry
