"""One frozen Settings object, read from ``hdg.toml`` in the data folder and from ``HDG_*`` variables.

Variables win over the file; explicit arguments win over both.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from hdg.errors import SettingsError

DEFAULT_DATA = Path("hdg-data")


class DicomReads(BaseModel):
    """As whom a DICOM peer reads by C-FIND, C-MOVE and C-GET. ``institution``: None: the gateway's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["clinician"] = "clinician"
    user: str = Field(min_length=1, max_length=64)
    institution: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$")
    purpose: str = "TREAT"


class DicomPeer(BaseModel):
    """A ``[dicom_peers."AE TITLE"]`` table: who may associate, and what is known of them (docs/dicom.md).

    ``institution``: whose objects theirs are; None: the gateway's own. ``tls_subject``: the certificate that they must
    show (RFC 4514). ``address``: ``HOST:PORT`` for reports of storage commitment and for C-MOVE. ``zone``: as
    Settings.zone. ``reads``: as whom they query and retrieve; None: they do not. That needs ``tls_subject`` or
    ``from_address`` (the network address from which they may ask), for anybody can give an AE title.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    institution: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$")
    tls_subject: str | None = None
    from_address: str | None = None
    address: str | None = None
    zone: str | None = None
    reads: DicomReads | None = None

    @model_validator(mode="after")
    def _is_told_apart(self) -> DicomPeer:
        if self.reads is not None and self.tls_subject is None and self.from_address is None:
            raise ValueError("a peer that reads needs tls_subject or from_address")
        return self


class MqttTopic(BaseModel):
    """One ``[[mqtt.topics]]`` table: a topic filter, and what its messages are (docs/devices.md).

    ``format``: ``device`` (any kind of docs/devices.md) or ``hl7v2``. ``institution``: whose data they are; None: the
    gateway's own. ``patient``: id of the patient, for data that name nobody.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    filter: str = Field(min_length=1, max_length=65_535)
    format: Literal["device", "hl7v2"] = "device"
    institution: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$")
    patient: str = Field(default="", pattern=r"^[A-Za-z0-9.-]{0,64}$")


class Mqtt(BaseModel):
    """The ``[mqtt]`` table: a broker whose messages are taken in (hdg/device_mqtt.py, docs/devices.md).

    ``credentials``: a file with the user's name in its first line and the password in its second. ``ca``: PEM issuers
    of the broker's certificate; None: the system's. ``certificate`` and ``key``: our own, for mutual TLS.
    ``client_id``: names our session at the broker, and is no other client's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(pattern=r"^mqtts?://[^/@\s]+/?$")
    topics: tuple[MqttTopic, ...] = Field(min_length=1)
    client_id: str = Field(default="hdg", pattern=r"^[A-Za-z0-9._-]{1,128}$")
    credentials: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    session_s: int = Field(default=0xFFFF_FFFF, gt=0)
    """How long the broker keeps our session, and what comes for it, while we are away; as shipped: for ever."""
    in_flight: int = Field(default=32, gt=0, le=65_535)
    """Messages that the broker may send before the first of them is acknowledged."""


class Settings(BaseSettings):
    """Everything that can be set. Sizes in bytes, times in the unit their name ends with."""

    model_config = SettingsConfigDict(
        env_prefix="HDG_", frozen=True, extra="forbid", env_nested_delimiter="__"
    )

    data: Path = DEFAULT_DATA
    """Folder with keys, database, vault and hdg.toml."""
    database_url: str | None = None
    """SQLAlchemy URL; None is SQLite in the data folder. ``postgresql+psycopg://…`` for PostgreSQL."""
    http: str = "127.0.0.1:8080"
    mllp: str = "127.0.0.1:2575"
    dicom: str = "127.0.0.1:11112"
    base_url: str | None = None
    """Public base of the FHIR API; None derives it from ``http``."""
    institution: str = "local"
    """The institution that owns this gateway; senders without their own institution get a name from MSH-4."""
    zone: str | None = None
    """Zone of senders that declare none; None cuts zone-less times to dates, with an Issue."""
    policy: Path | None = None
    """Access policy file; None is the shipped default."""
    log_origin: str = "hdg.local/ledger"
    """Origin line of the ledger's checkpoints (C2SP tlog-checkpoint)."""
    max_message_bytes: int = 16 * 1024 * 1024
    mllp_idle_s: float = 300.0
    mllp_frame_s: float = Field(default=60.0, gt=0)
    """So long a message may take to arrive, and a second more for each 32 KiB of it."""
    mllp_held_bytes: int = Field(default=256 * 1024 * 1024, gt=0)
    """What all MLLP connections may hold of messages not answered yet; beyond it large ones wait unread."""
    mllp_end_pause_s: float = Field(default=0.0, ge=0)
    """For senders that end frames with FS without CR: so long a pause behind FS ends one. 0: CR is required."""
    mllp_tls: str | None = None
    """Address of a second MLLP listener that speaks TLS only; None: no such listener."""
    mllp_tls_certificate: Path | None = None
    """PEM chain of the TLS listener, own certificate first; needed with ``mllp_tls``."""
    mllp_tls_key: Path | None = None
    """PEM key; None: it lies in the certificate's file."""
    mllp_tls_client_ca: Path | None = None
    """PEM issuers of client certificates; when set, a client without such a certificate is refused."""
    mqtt: Mqtt | None = None
    """The broker of body-sensor gateways; None: none."""
    dicom_ae_title: str | None = None
    """The AE title by which the DICOM listener wants to be called; None: any."""
    dicom_peers: dict[str, DicomPeer] = Field(default_factory=dict)
    """AE title → what is known of who calls by it. With any declared, all others are refused."""
    dicom_associations: int = Field(default=32, gt=0)
    """DICOM associations at a time; the next is told to come again."""
    dicom_max_bytes: int = Field(default=16 * 1024**3, gt=0)
    """Largest DICOM object."""
    dicom_idle_s: float = Field(default=60.0, gt=0)
    """Time between two messages of an association; an object may take that and a second more for each 32 KiB."""
    dicom_artim_s: float = Field(default=30.0, gt=0)
    """Time for the TLS handshake, the association request, and the other side's end of a released one."""
    dicom_tls: str | None = None
    """Address of a second DICOM listener that speaks TLS only; None: no such listener."""
    dicom_tls_certificate: Path | None = None
    dicom_tls_key: Path | None = None
    dicom_tls_client_ca: Path | None = None
    """These three as for MLLP."""
    imaging_quiet_s: float = Field(default=1.0, ge=0)
    """An ImagingStudy is made anew when so long no object of its study came, or after 15 times that."""
    ingest_max_bytes: int = 64 * 1024 * 1024
    """Largest body of POST /ingest/hl7v2 and largest file of the inbox folder: a batch of many messages."""
    inbox: Path | None = None
    """Watch folder (hdg/watch.py): files put there are taken in; None: no such folder."""
    inbox_poll_s: float = Field(default=1.0, gt=0)
    """Time between two looks at the inbox folder; a file must stay the same that long."""
    inline_blob_bytes: int = 262_144
    """Vault objects up to this size lie in the database, in the same transaction; larger ones in files."""
    min_free_bytes: int = Field(default=512 * 1024 * 1024, ge=0)
    """With less than this free under the data folder messages are refused (AE, 503); 0: never."""
    keep_messages_days: float = Field(default=400, ge=0)
    """The raw bytes of handled messages are kept so long (docs/hl7v2-transport.md); 0: for ever."""
    keep_outbox_days: float = Field(default=30, ge=0)
    """The same for outbox rows that were dropped, or delivered to a destination that is not declared any more."""
    keep_work_days: float = Field(default=90, ge=0)
    """The same for closed work items, from the last message that they count."""
    converter_process: bool = (os.cpu_count() or 1) > 1
    """Helper processes under load, for HL7 v2 and large transactions (hdg/helper.py); as shipped: with two cores."""
    group_commit_max: int = 64
    """Units of work that share one transaction at most."""
    group_commit_wait_ms: float = 0.0
    """How long the writer waits for company once it has work; 0 takes what has queued up."""
    search_page_default: int = 50
    search_page_max: int = 1000
    search_text: bool = False
    """Searches by words of the narrative and of all text (_text, _content; docs/fhir-api.md); their index lies in the
    database. What the process says that was started last counts for all on one database.
    """
    validate_claimed_profiles: bool = True
    """$validate asks the loaded profiles that meta.profile names, beside those that the request names."""
    enforce_profiles: bool = False
    """The FHIR API refuses what breaks a loaded profile that its meta.profile names, or a loaded extension's rules."""
    subscription_endpoints: tuple[str, ...] = ()
    """Where notifications may go (docs/subscriptions.md): ``https://HOST[:PORT][/PATH]``, HOST may be ``*`` or
    ``*.DOMAIN``; as shipped nowhere.
    """
    subscription_ca: Path | None = None
    """PEM issuers of the endpoints' certificates; None: the system's."""
    subscription_mail: str = ""
    """The mail server for Subscriptions by email: ``smtps://[USER@]HOST[:PORT]``, or ``smtp://…`` with STARTTLS."""
    subscription_mail_from: str = ""
    """The address that such mail comes from."""
    subscription_mail_password: SecretStr = SecretStr("")
    subscription_sms: str = ""
    """The relay for Subscriptions by sms (docs/subscriptions.md): ``https://HOST[:PORT][/PATH]``."""
    subscription_sms_authorization: SecretStr = SecretStr("")
    """The Authorization header that the relay wants."""
    subscription_attempts: int = Field(default=24, gt=0)
    """Failures in a row after which a Subscription is in error."""
    subscription_backoff_s: float = Field(default=1.0, gt=0)
    """Pause before the next attempt: doubled each time up to ``subscription_backoff_max_s``."""
    subscription_backoff_max_s: float = Field(default=3600.0, gt=0)
    subscription_timeout_s: float = Field(default=20.0, gt=0)
    """For connecting, sending and the answer's status together, unless the Subscription says otherwise."""

    @property
    def fhir_base(self) -> str:
        """The public FHIR base, without a slash at its end."""
        return (self.base_url or f"http://{self.http}/fhir").rstrip("/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then variables, then ``hdg.toml`` in the data folder."""
        chosen = init_settings().get("data") or env_settings().get("data") or DEFAULT_DATA
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, Path(chosen) / "hdg.toml")


def load(**overrides: Any) -> Settings:
    """The settings; overrides that are None count as not given.

    Raises SettingsError naming each wrong setting (never its value, which may be a secret).
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        if any(one["loc"][:1] == ("senders",) for one in error.errors()):
            raise SettingsError("senders: what is declared about senders lies in senders.toml now") from None
        places = (".".join(str(part) for part in one["loc"]) + ": " + one["msg"] for one in error.errors())
        raise SettingsError("; ".join(places)) from None
    except ValueError as error:
        raise SettingsError(f"hdg.toml cannot be read: {error}") from None


def existing(settings: Settings) -> Settings:
    """The same settings, for an operator's command, which never makes a data folder: a mistyped path must not look
    like an empty gateway. Raises SettingsError.
    """
    if not (settings.data / "keys").is_dir():
        raise SettingsError(f"{settings.data} is no data folder; hdg serve makes one")
    return settings


def host_port(text: str, setting: str) -> tuple[str, int]:
    """Splits ``HOST:PORT`` (``[::1]:2575`` for IPv6). Raises SettingsError."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise SettingsError(f"{setting}: expected HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)
