"""The command line (DESIGN §7): arguments in, exit codes out; the work is done by the modules it names.

Exit codes: 0 done, 1 something failed (each failure is named on standard error), 2 wrong usage.
Modules are imported inside the commands so that ``hdg --help`` stays instant.
"""

from __future__ import annotations

import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from hdg.cli_audit import audit_app
from hdg.cli_fhir import fhir_app
from hdg.cli_imaging import pull
from hdg.cli_inbox import prune, quarantine_app, replay, work_app
from hdg.cli_options import DataOption, MappingsOption
from hdg.cli_outbox import outbox_app
from hdg.cli_research import export
from hdg.cli_terminology import terminology_app
from hdg.errors import HdgError

if TYPE_CHECKING:
    from hdg.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Healthcare Data Gateway: HL7 v2 in; consented, ledger-proved FHIR R4 out.",
    epilog="Examples: hdg demo · hdg convert message.hl7 · hdg serve --data /srv/hdg · hdg COMMAND --help. "
    "Exit codes: 0 done; 1 something failed, each failure is named on standard error; 2 wrong usage.",
)
consent_app = typer.Typer(no_args_is_help=True, help="Grant, revoke and list consents (local operator).")
map_app = typer.Typer(no_args_is_help=True, help="Explain and check the mapping tables.")
app.add_typer(consent_app, name="consent")
app.add_typer(map_app, name="map")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(work_app, name="work")
app.add_typer(outbox_app, name="outbox")
app.add_typer(audit_app, name="audit")
app.add_typer(fhir_app, name="fhir")
app.add_typer(terminology_app, name="terminology")


def main() -> None:
    """Entry point of ``hdg``: errors that hdg raises on purpose are one line, not a traceback."""
    try:
        app()
    except HdgError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is None:  # no file that a user named, but a defect of ours
            raise
        _fail(f"{error.filename}: {error.strerror}")


def _fail(text: str, code: int = 1) -> NoReturn:
    typer.echo(f"hdg: {text}", err=True)
    raise SystemExit(code)


def _settings(data: Path | None, **overrides: Any) -> Settings:
    from hdg.settings import load

    return load(data=data, **overrides)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Runs before every command."""
    if version:
        from hdg import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(
    keep: Annotated[
        Path | None, typer.Option(help="Use this folder and keep it (default: a scratch folder).")
    ] = None,
) -> None:
    """The main job, end to end, on examples/: message, resources, consent, proof, tampering caught.

    Example: hdg demo
    """
    from hdg.demo import run

    run(keep)


@app.command()
def serve(
    data: DataOption = None,
    http: Annotated[str | None, typer.Option(help="HOST:PORT of the HTTP listener [127.0.0.1:8080].")] = None,
    mllp: Annotated[str | None, typer.Option(help="HOST:PORT of the MLLP listener [127.0.0.1:2575].")] = None,
    dicom: Annotated[
        str | None, typer.Option(help="HOST:PORT of the DICOM listener [127.0.0.1:11112].")
    ] = None,
) -> None:
    """Start the gateway: MLLP and DICOM in, FHIR out. Stops gracefully on SIGTERM or Ctrl-C.

    Example: hdg serve --data /srv/hdg --mllp 0.0.0.0:2575
    """
    gc.disable()  # what is imported stays: looking through it for garbage is a seventh of the start
    from hdg.server import serve as run

    gc.enable()
    run(_settings(data, http=http, mllp=mllp, dicom=dicom))


@app.command()
def convert(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH…", help="Files and folders; '-' is standard input.")
    ],
    from_: Annotated[str, typer.Option("--from", help="auto, hl7v2, cda, hl7v3, dicom or device.")] = "auto",
    to: Annotated[
        str,
        typer.Option("--to", help="bundle (a transaction for each input), ndjson, or document (CDA only)."),
    ] = "bundle",
    output: Annotated[
        Path | None, typer.Option("-o", help="Folder, or one file; default standard output.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write one JSON line a message: outcome, issues, losses.")
    ] = None,
    id_key: Annotated[
        Path | None,
        typer.Option("--id-key", help="File with a secret key for the ids.", exists=True, dir_okay=False),
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="Zone of times without offset, e.g. Europe/Berlin.")
    ] = None,
    charset: Annotated[str | None, typer.Option(help="Overrides MSH-18.")] = None,
    mappings: MappingsOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one a core).")] = None,
    patient: Annotated[str, typer.Option(help="Id of the Patient that data of devices are about.")] = "",
) -> None:
    """Convert HL7 v2 and v3, CDA, DICOM (files, folders, DICOMDIR) and data of health devices to validated FHIR R4.

    Exit 0: all converted; 1: some failed (each named); 2: usage.

    Examples: hdg convert message.hl7 · hdg convert inbox/ -o out/ --report report.jsonl · cat m.hl7 | hdg convert -
    """
    from hdg import bulk, bulk_jobs
    from hdg.bulk_report import deliver

    if from_ not in bulk_jobs.FORMATS:
        _fail(f"--from {from_}: only auto, hl7v2, cda, hl7v3, dicom and device are built in this version", 2)
    if to not in bulk_jobs.FORMS:
        _fail(f"--to {to}: bundle, document or ndjson", 2)
    try:
        jobs = bulk.jobs_of(paths)
        plan = bulk.plan(
            form=bulk_jobs.FORMS[to],
            source=bulk_jobs.FORMATS[from_],
            output=output,
            is_many=len(jobs) != 1 or jobs[0].is_from_folder,
            id_key_file=id_key,
            zone=zone,
            charset=charset,
            mappings=mappings,
            with_coverage=report is not None,
            patient=patient,
        )
    except HdgError as error:
        _fail(str(error), 2)
    for file in (report, None if plan.folder else output):
        if file is not None and not file.absolute().parent.is_dir():
            _fail(f"{file}: there is no folder {file.parent}", 2)
    raise typer.Exit(deliver(jobs, plan, output, report, workers))


@app.command()
def send(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", exists=True, dir_okay=False)],
    to: Annotated[
        str, typer.Option("--to", help="mllp://HOST:PORT, or mllps://… over TLS.")
    ] = "mllp://127.0.0.1:2575",
    ca: Annotated[Path | None, typer.Option(help="PEM: issuers to trust (default: the system's).")] = None,
    cert: Annotated[Path | None, typer.Option(help="PEM: own certificate, for mutual TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM: its key, if in a file of its own.")] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.001, help="Seconds to wait for each ACK.")
    ] = 30.0,
    queue: Annotated[
        str, typer.Option("--queue", help="Put them into the outbox for this destination instead.")
    ] = "",
    data: DataOption = None,
) -> None:
    """Send files over MLLP and print the acknowledgements. Exit 1 when any is not AA or CA.

    Examples: hdg send examples/*.hl7 --to mllp://127.0.0.1:2575
    hdg send m.hl7 --to mllps://hub:2576 --ca ca.pem --cert me.pem --key me.key
    hdg send m.hl7 --queue research-hub --data /srv/hdg
    """
    if queue:
        from hdg.outbox import queue_files

        typer.echo(f"{queue_files(_settings(data), queue, files)} queued for {queue}")
        return
    from hdg.ingestion.hl7v2.send import Peer, acknowledgements

    is_ok = True
    for answer in acknowledgements(files, Peer(to, ca, cert, key), timeout_s):
        typer.echo(answer.line())
        is_ok = is_ok and answer.is_accepted
    raise typer.Exit(0 if is_ok else 1)


@app.command()
def simulate(
    seed: Annotated[int, typer.Option(min=0, max=499, help="The same seed makes the same stream.")] = 1,
    patients: Annotated[int, typer.Option(min=1, max=99_999, help="How many people it is about.")] = 200,
    count: Annotated[int | None, typer.Option(min=1, help="Messages [100, or rate x seconds].")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Messages a second (default: as fast as taken).")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.001, help="How long, with --rate.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="mllp://HOST:PORT: send them.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", help="Folder, a file a message; neither: standard output.")
    ] = None,
) -> None:
    """Make up hospital traffic about people who do not exist. Exit 1 when a message is not accepted.

    Examples: hdg simulate --count 500 -o out/ · hdg simulate --rate 20 --seconds 60 --to mllp://127.0.0.1:2575
    """
    from hdg.simulate import Simulation
    from hdg.simulate.deliver import run

    if to and output:
        _fail("--to and -o exclude each other", 2)
    if seconds is not None and (rate is None or count is not None):
        _fail("--seconds goes with --rate, and without --count", 2)
    total = count or (max(1, round(rate * seconds)) if rate and seconds else 100)
    raise typer.Exit(run(Simulation(seed=seed, patients=patients).take(total), rate, to, output))


@app.command()
def token(
    role: Annotated[str, typer.Option(help="patient, clinician, researcher, operator or sender.")],
    data: DataOption = None,
    user: Annotated[str, typer.Option(help="User id, as consents name it (Practitioner/<user>).")] = "",
    institution: Annotated[str, typer.Option(help="Institution id (Organization/<institution>).")] = "",
    patient: Annotated[str, typer.Option(help="Patient id; needed for role patient.")] = "",
    purpose: Annotated[
        str, typer.Option(help="E.g. TREAT, HRESCH; one of the role's [what the role is for].")
    ] = "",
    project: Annotated[str, typer.Option(help="Research project id; needed for role researcher.")] = "",
    hours: Annotated[float, typer.Option(min=0.001, help="Validity.")] = 8.0,
) -> None:
    """Mint a bearer token with this data folder's key (whoever can read the folder is the operator).

    Example: hdg token --role clinician --user dr-lee --institution city-clinic
    """
    from hdg.errors import BadRequest
    from hdg.operator import mint_token

    try:
        made = mint_token(
            _settings(data),
            role=role,
            user=user,
            institution=institution,
            patient=patient,
            purpose=purpose,
            project=project,
            hours=hours,
        )
    except BadRequest as error:
        _fail(str(error), 2)
    typer.echo(made)


@app.command()
def revoke(
    data: DataOption = None,
    token_id: Annotated[
        str, typer.Option("--id", help="The token's id, as audit entries name it (urn:hdg:token:ID).")
    ] = "",
) -> None:
    """Revoke a bearer token before it expires, with a ledger leaf: the one on standard input, or by id. Prints its id.

    Example: hdg revoke < stolen-token.txt
    """
    from hdg.operator import revoke_token

    token = "" if token_id else sys.stdin.read().strip()  # an argument would show in the list of processes
    typer.echo(revoke_token(_settings(data), token, token_id=token_id))


@consent_app.command("grant")
def consent_grant(
    patient: Annotated[str, typer.Argument(help="Patient id.")],
    to: Annotated[
        list[str], typer.Option("--to", help="Practitioner/, Organization/ or ResearchStudy/ID; may repeat.")
    ],
    data: DataOption = None,
    purpose: Annotated[list[str] | None, typer.Option(help="TREAT, HRESCH …; none: any purpose.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="Resource types; none: all.")] = None,
    days: Annotated[int, typer.Option(min=1, help="Valid for so many days from now.")] = 365,
) -> None:
    """Record the patient's consent: who may read, for what, until when. Prints the Consent's id.

    Example: hdg consent grant PATIENT-ID --to Organization/city-clinic --purpose TREAT
    """
    from hdg.errors import BadRequest
    from hdg.operator import grant_consent

    wanted = (tuple(to), tuple(purpose or ()), tuple(only or ()))
    try:
        made = grant_consent(_settings(data), patient, *wanted, days)
    except BadRequest as error:
        _fail(str(error), 2)
    typer.echo(made)


@consent_app.command("revoke")
def consent_revoke(
    consent: Annotated[str, typer.Argument(help="Consent id, as grant printed it.")], data: DataOption = None
) -> None:
    """Revoke a consent; it stops counting with the next query.

    Example: hdg consent revoke CONSENT-ID
    """
    from hdg.operator import revoke_consent

    revoke_consent(_settings(data), consent)
    typer.echo(f"revoked {consent}")


@consent_app.command("list")
def consent_list(
    patient: Annotated[str, typer.Argument(help="Patient id.")], data: DataOption = None
) -> None:
    """List a patient's consents, active and revoked.

    Example: hdg consent list PATIENT-ID
    """
    from hdg.operator import list_consents

    for line in list_consents(_settings(data), patient):
        typer.echo(line)


@app.command()
def verify(
    reference: Annotated[
        str, typer.Argument(metavar="[TYPE/ID]", help="One resource; none: everything.")
    ] = "",
    objects: Annotated[
        bool, typer.Option("--objects", help="Read every DICOM object too: takes as long as reading them.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Recompute the ledger from the stored bytes and name everything that does not agree. Exit 1 on any finding.

    Examples: hdg verify · hdg verify Patient/abc123 · hdg verify --objects
    """
    from hdg.operator import verify_store
    from hdg.progress import shown

    started = time.monotonic()
    with shown("verifying") as progress:
        report = verify_store(_settings(data), reference, progress, with_objects=objects)
    for finding in report.findings:
        typer.echo(f"NOT VERIFIED  {finding}", err=True)
    typer.echo(f"{report.summary} ({time.monotonic() - started:.1f} s)")
    raise typer.Exit(1 if report.findings else 0)


@app.command()
def reindex(
    data: DataOption = None,
    type_: Annotated[str, typer.Option("--type", help="Only this resource type.")] = "",
    parameter: Annotated[
        str, typer.Option("--parameter", help="Only this search parameter (its code).")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run was.")] = False,
) -> None:
    """Make the search index anew from the stored bodies and compare it; a server may run. Exit 1 if it differs.

    Examples: hdg reindex · hdg reindex --type Observation --parameter code · hdg reindex --resume
    """
    from hdg.errors import BadRequest
    from hdg.management.store.reindexing import Scope
    from hdg.operator import reindex_store
    from hdg.progress import shown

    started = time.monotonic()
    with shown("reindexing") as progress:
        try:
            report = reindex_store(_settings(data), Scope(type_, parameter), resume=resume, progress=progress)
        except BadRequest as error:
            _fail(str(error), 2)
    for problem in report.problems:
        typer.echo(f"NOT RIGHT  {problem}", err=True)
    typer.echo(f"{report.summary} ({time.monotonic() - started:.1f} s)")
    raise typer.Exit(1 if report.problems else 0)


@map_app.command("explain")
def map_explain(
    source: Annotated[str, typer.Argument(help="A field (PID-3), or the end of a path (observation/value).")],
    message: Annotated[
        Path | None,
        typer.Option(help="A message or document: what each rule makes of it.", exists=True, dir_okay=False),
    ] = None,
    mappings: MappingsOption = None,
) -> None:
    """Show the rules of a field: where they stand (file:line), what they do, and what they make of a message.

    Example: hdg map explain PID-3 --message examples/adt-a01-admission.hl7

    Example: hdg map explain patient/birthTime --message examples/ccd-summary.xml
    """
    from hdg.ingestion.explain import lines

    found = list(lines(source, message.read_bytes() if message else None, mappings))
    for line in found:
        typer.echo(line)
    if not found:
        _fail(f"no mapping table has a row for {source}")


@map_app.command("lint")
def map_lint(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Override folder; none: the shipped tables.", exists=True, file_okay=False),
    ] = None,
) -> None:
    """Check mapping tables. Exit 1 with file:line for every finding.

    Examples: hdg map lint · hdg map lint my-tables/
    """
    from hdg.ingestion.cda.lint import findings as cda_findings
    from hdg.ingestion.device.csv_table import findings as device_findings
    from hdg.ingestion.dicom.lint import findings as dicom_findings
    from hdg.ingestion.hl7v2.lint import findings
    from hdg.ingestion.hl7v3.lint import findings as hl7v3_findings
    from hdg.mapping.library import unread

    found: list[object] = [
        *findings(folder),
        *cda_findings(folder),
        *hl7v3_findings(folder),
        *dicom_findings(folder),
    ]
    found += device_findings(folder)
    found += [f"{path}: no table is read from this place" for path in unread(folder)] if folder else []
    for finding in found:
        typer.echo(str(finding), err=True)
    typer.echo(f"{len(found)} finding{'s' * (len(found) != 1)}")
    raise typer.Exit(1 if found else 0)


# The commands of every day stand first in the help, then those of other modules.
app.command()(replay)
app.command()(prune)
app.command()(export)
app.command()(pull)
