"""What identifies a patient, a study, a piece of equipment: the converters of ``id`` rows. No parts: no resource.

A patient's number has the same facts as in HL7 v2, so that both lead to one Patient where the issuer has a URI.
"""

from __future__ import annotations

from collections.abc import Callable

from hdg.ingestion.dicom.dataset import Dataset
from hdg.ingestion.dicom.identifiers import patient_number, qualified
from hdg.ingestion.dicom.state import State
from hdg.mapping.context import Facts

__all__ = ["IDENTITIES"]

_STUDY_UID = 0x0020000D
_NOTHING = Facts(())


def patient(dataset: Dataset, state: State) -> Facts:
    """Patient ID and its issuer; without a number the patient of this one study, never of another."""
    number, (uri, name), _ = patient_number(dataset, state)
    if number:
        if "\\" in number:
            state.place = "PatientID"
            state.problem("several values where there is one: they are one number")
        issuer = uri or (f"#{name}" if name else "")
        parts = (issuer, number) if issuer else ("", state.sender.name, number)
    else:
        parts = ("dicom-study", state.header.study_uid)
        state.place = "PatientID"
        state.problem(
            "no patient identifier: this study's patient is never linked to another", code="required"
        )
    state.patient_facts = parts
    return Facts(parts, is_thing=True)


def study(dataset: Dataset, state: State) -> Facts:
    """Study Instance UID and the patient: objects of two patients under one UID are never one study."""
    return Facts(("dicom-study", dataset.text(_STUDY_UID), *state.patient_facts), is_thing=True)


def equipment(dataset: Dataset, state: State) -> Facts:
    """Device UID, else maker, model and serial number, else those with station and institution."""
    uid = dataset.text(0x00181002)
    if uid:
        return Facts(("dicom-device", uid), is_thing=True)
    maker, model, serial = (dataset.single(tag) for tag in (0x00080070, 0x00081090, 0x00181000))
    station = dataset.text(0x00081010)
    if not (maker or model or serial or station):
        return _NOTHING
    if maker and serial:
        return Facts(("dicom-device", maker, model, serial), is_thing=True)
    institution = dataset.text(0x00080080)
    return Facts(("dicom-device", maker, model, serial, station, institution), is_thing=True)


def admission(dataset: Dataset, state: State) -> Facts:
    """Admission ID and its issuer, of the patient."""
    number = dataset.single(0x00380010)
    if not number:
        return _NOTHING
    identifier = qualified(number, dataset, 0x00380014, state)
    issuer = identifier.get("system") or identifier.get("assigner", {}).get("display", "")
    return Facts(("dicom-admission", issuer, number, *state.patient_facts), is_thing=True)


def endpoint(dataset: Dataset, state: State) -> Facts:
    """Retrieve URL."""
    url = dataset.text(0x00081190)
    return Facts(("dicom-retrieve", url), is_thing=True) if url else _NOTHING


def object_(dataset: Dataset, state: State) -> Facts:
    """SOP Instance UID."""
    return Facts(("dicom-object", state.header.sop_uid))


def _of_study(kind: str) -> Callable[[Dataset, State], Facts]:
    def identify(dataset: Dataset, state: State) -> Facts:
        return Facts((f"dicom-{kind}", dataset.text(_STUDY_UID), *state.patient_facts), is_thing=True)

    identify.__doc__ = f"The {kind} that is told with a study."
    return identify


IDENTITIES: dict[str, Callable[[Dataset, State], Facts]] = {
    "identity.patient": patient,
    "identity.study": study,
    "identity.equipment": equipment,
    "identity.admission": admission,
    "identity.endpoint": endpoint,
    "identity.object": object_,
    "identity.size": _of_study("size"),
    "identity.weight": _of_study("weight"),
    "identity.bmi": _of_study("bmi"),
    "identity.age": _of_study("age"),
    "identity.pregnancy": _of_study("pregnancy"),
    "identity.menstruation": _of_study("menstruation"),
    "identity.smoking": _of_study("smoking"),
    "identity.history": _of_study("history"),
    "identity.alerts": _of_study("alerts"),
    "identity.allergies": _of_study("allergies"),
}
"""By the name that the column ``as`` of an ``id`` row gives it."""
