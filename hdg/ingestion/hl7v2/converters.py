"""Named converters of the HL7 v2 tables: what a row cannot say (``as`` names such as
``hl7v2.authority_system``).

Values in and out as in hdg.mapping.convert; HL7 v2.9 §2.A (datatypes), R4 datatypes.html.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from hdg.ingestion.hl7v2.authority import authority_uri, part, split
from hdg.ingestion.hl7v2.authority import universal_uri as uri_of
from hdg.ingestion.hl7v2.encoding import unescape
from hdg.ingestion.hl7v2.primitives import packed_base64, plain
from hdg.ingestion.hl7v2.state import State
from hdg.ingestion.times import to_time
from hdg.mapping.context import Several, Unfit
from hdg.mapping.convert import Registry

CONVERTERS: Final = Registry()

_URL: Final = re.compile(r"(?:https?|ftp|file|urn|mllp|mailto|data):\S+", re.IGNORECASE)
_MEDIA: Final = frozenset(
    ("application", "audio", "font", "image", "message", "model", "multipart", "text", "video")
)
_LOCAL: Final = 3
"""XTN.7, counted from XTN.5."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+\-]{0,126}")


@CONVERTERS.register("hl7v2.constant", type="", is_pure=True)
def constant(text: str, state: State) -> None:
    """Nothing: the row's default is the value."""


@CONVERTERS.register("hl7v2.authority_system", type="uri", is_pure=True)
def authority_system(text: str, state: State) -> str | None:
    """HD as an identifier system: the sender's declared one, or the universal id as a URI; or nothing."""
    parts = split(text)
    return authority_uri(part(parts, 1, state), part(parts, 2, state), part(parts, 3, state), state)


@CONVERTERS.register("hl7v2.entity_system", type="uri", is_pure=True, reads=(2, 3, 4))
def entity_system(text: str, state: State) -> str | None:
    """EI.2 to EI.4 as an identifier system."""
    parts = split(text)
    return authority_uri(part(parts, 2, state), part(parts, 3, state), part(parts, 4, state), state)


@CONVERTERS.register("hl7v2.entity_value", type="string", is_pure=True)
def entity_value(text: str, state: State) -> str | None:
    """EI.1 of an EI that is itself a component."""
    return part(split(text), 1, state) or None


@CONVERTERS.register("hl7v2.odd_universal_id", type="string", is_pure=True)
def odd_universal_id(text: str, state: State) -> str | None:
    """HD.2 when no identifier system could be made of the HD, although HD.3 names a type that gives one."""
    return part(split(text), 2, state) if authority_system(text, state) is None else None


@CONVERTERS.register("hl7v2.odd_entity_id", type="string", is_pure=True, reads=(2, 3, 4))
def odd_entity_id(text: str, state: State) -> str | None:
    """EI.3 when no identifier system could be made of EI.2 to EI.4."""
    return part(split(text), 3, state) if entity_system(text, state) is None else None


@CONVERTERS.register("hl7v2.cnn_system", type="uri", is_pure=True)
def cnn_system(text: str, state: State) -> str | None:
    """CNN.9 to CNN.11 as an identifier system."""
    parts = split(text)
    return authority_uri(part(parts, 9, state), part(parts, 10, state), part(parts, 11, state), state)


@CONVERTERS.register("hl7v2.universal_uri", type="string", is_pure=True)
def universal_uri(text: str, state: State) -> str | None:
    """HD.2 as a URI by HD.3, when the text is the whole HD or only HD.2 of it."""
    parts = split(text)
    if len(parts) >= 3:
        return uri_of(part(parts, 2, state), part(parts, 3, state), state)
    for kind in ("ISO", "UUID", "URI"):
        found = uri_of(plain(text, state), kind, state)
        if found:
            return found
    return None


@CONVERTERS.register("hl7v2.identifier_type_system", type="uri", is_pure=True)
def identifier_type_system(text: str, state: State) -> str | None:
    """The one system in the world of an identifier type (NPI), when the registry has it."""
    return state.systems.uri(plain(text, state))


@CONVERTERS.register("hl7v2.driver_license_system", type="uri", is_pure=True)
def driver_license_system(text: str, state: State) -> str | None:
    """The identifier system of a licence-issuing state, by the map ``driver-license-system``."""
    table = state.library.concept_map("driver-license-system")
    found = table.translate(plain(text, state)) if table else None
    return found.code if found else None


@CONVERTERS.register("hl7v2.namespace_or_uid", type="string", is_pure=True)
def namespace_or_uid(text: str, state: State) -> str | None:
    """An HD's namespace id, else its universal id."""
    parts = split(text)
    return part(parts, 1, state) or part(parts, 2, state) or None


@CONVERTERS.register("hl7v2.coding_system", type="uri", is_pure=True)
def coding_system(text: str, state: State) -> str | None:
    """A coding system's name or OID (CWE.3, CWE.14) as its URI; an unknown name gives none, and an Issue."""
    name = plain(text.partition("&")[0], state)
    if not name:
        return None
    found = state.systems.uri(name) or state.sender.authorities.get(name) or uri_of(name, "ISO", state)
    if found is None:
        raise Unfit("the coding system is not registered", code="not-found", severity="information")
    return found


@CONVERTERS.register("hl7v2.unknown_coding_system", type="string", is_pure=True)
def unknown_coding_system(text: str, state: State) -> str | None:
    """A coding system's name as sent, when the registry does not know it."""
    name = plain(text, state)
    if (
        not name
        or state.systems.uri(name)
        or state.sender.authorities.get(name)
        or uri_of(name, "ISO", state)
    ):
        return None
    return name


def _coded(text: str, state: State) -> tuple[str, str, str]:
    parts = split(text)
    return part(parts, 1, state), part(parts, 2, state), part(parts, 3, state)


@CONVERTERS.register("hl7v2.coded_text", type="string", is_pure=True)
def coded_text(text: str, state: State) -> str | None:
    """What a CWE reads as: its original text, else its text, else its code; codes beside are reported."""
    parts = split(text)
    found = part(parts, 9, state) or part(parts, 2, state) or part(parts, 1, state) or None
    if any(part(parts, number, state) not in ("", found) for number in range(1, len(parts) + 1)):
        state.problem("the text was kept, its codes were not", code="incomplete", severity="information")
    return found


@CONVERTERS.register("hl7v2.coded_code", type="code", is_pure=True)
def coded_code(text: str, state: State) -> str | None:
    """The code of a CWE that is itself a component."""
    return _coded(text, state)[0] or None


@CONVERTERS.register("hl7v2.coded_display", type="string", is_pure=True)
def coded_display(text: str, state: State) -> str | None:
    """The text of a CWE that is itself a component."""
    return _coded(text, state)[1] or None


@CONVERTERS.register("hl7v2.coded_system", type="uri", is_pure=True)
def coded_system(text: str, state: State) -> str | None:
    """The coding system of a CWE that is itself a component."""
    name = _coded(text, state)[2]
    return coding_system(name, state) if name else None


@CONVERTERS.register("hl7v2.unit_text", type="string", is_pure=True)
def unit_text(text: str, state: State) -> str | None:
    """A unit as people read it: its text, else its code."""
    code, display, _ = _coded(text, state)
    return display or code or None


def _unit_coding(text: str, state: State) -> tuple[str, str] | None:
    """(code, system) of a unit: by its registered system, else UCUM for a code of the map ``ucum-unit``."""
    parts = split(text)
    for first in (1, 4):
        code, name = part(parts, first, state), part(parts, first + 2, state)
        uri = state.systems.uri(name) if code and name else None
        if uri:
            return code, uri
    if part(parts, 3, state):
        return None
    table = state.library.concept_map("ucum-unit")
    found = table.translate(part(parts, 1, state)) if table else None
    return (found.code, found.system) if found else None


@CONVERTERS.register("hl7v2.unit_system", type="uri", is_pure=True)
def unit_system(text: str, state: State) -> str | None:
    """The unit's coding system: a registered one that is named, or UCUM for a unit that is plainly UCUM's."""
    found = _unit_coding(text, state)
    return found[1] if found else None


def unit_code(text: str, state: State) -> str | None:
    """The unit's code, only with a coding system (R4 qty-3)."""
    found = _unit_coding(text, state)
    return found[0] if found else None


@CONVERTERS.register("hl7v2.unit_code", type="code", is_pure=True)
def whole_unit_code(text: str, state: State) -> str | None:
    """``unit_code``; what neither the unit's text nor its code shows (a local code beside it) is reported."""
    code = unit_code(text, state)
    if "^" in text:
        parts = split(text)
        shown = {"", unit_text(text, state)}
        for first in (1, 4):
            if code and part(parts, first, state) == code:
                shown |= {code, part(parts, first + 2, state)}
        if any(part(parts, number, state) not in shown for number in range(1, len(parts) + 1)):
            reason = "the unit's text was kept, further codes were not"
            state.problem(reason, code="incomplete", severity="information")
    return code


@CONVERTERS.register("hl7v2.location_name", type="string", is_pure=True)
def location_name(text: str, state: State) -> str | None:
    """A PL in reading order: point of care, room, bed, floor, building."""
    parts = text.split("^")
    found = []
    for number in (1, 2, 3, 8, 7):
        name = namespace_or_uid(parts[number - 1], state) if number <= len(parts) else None
        if name and name not in found:
            found.append(name)
    return " ".join(found) or None


@CONVERTERS.register("hl7v2.phone_number", type="string", is_pure=True, is_composing=True)
def phone_number(text: str, state: State) -> str | None:
    """XTN.5 to XTN.8 as ``+country area local Xextension``; XTN.10 is the extension's own prefix."""
    parts = text.split("^", 8)
    numbers = parts[4:8]
    if len(numbers) >= _LOCAL and numbers[_LOCAL - 1].isalnum() and "".join(numbers).isalnum():
        country, area, local = numbers[0], numbers[1], numbers[2]
        extension = numbers[3] if len(numbers) > _LOCAL else ""
    else:
        country, area = part(parts, 5, state), part(parts, 6, state)
        local, extension = part(parts, 7, state), part(parts, 8, state)
    if not local:
        return None
    found = local
    if area:
        found = f"{area} {found}"
    if country:
        found = f"+{country.lstrip('+')} {found}"
    return f"{found} X{extension}" if extension else found


@CONVERTERS.register("hl7v2.times_of_day", type="time")
def times_of_day(text: str, state: State) -> Several:
    """RI.2: ``0800,1600`` as times."""
    return Several(to_time(item.strip()) for item in plain(text, state).split(",") if item.strip())


def _media(kind: str, subtype: str, state: State) -> str | None:
    """A media type of type of data and subtype, by the map ``media-type`` or by their own names."""
    table = state.library.concept_map("media-type")
    if table:
        found = table.translate(f"{kind}/{subtype}".upper()) or table.translate(
            subtype.upper() or kind.upper()
        )
        if found:
            return found.code
    if kind.lower() in _MEDIA and _TOKEN.fullmatch(subtype):
        return f"{kind.lower()}/{subtype.lower()}"
    return None


@CONVERTERS.register("hl7v2.media_type", type="code", is_pure=True)
def media_type(text: str, state: State) -> str | None:
    """ED.2 and ED.3 as a media type."""
    parts = text.split("^")
    return _media(part(parts, 2, state), part(parts, 3, state), state)


@CONVERTERS.register("hl7v2.pointer_media_type", type="code", is_pure=True)
def pointer_media_type(text: str, state: State) -> str | None:
    """RP.3 and RP.4 as a media type."""
    parts = text.split("^")
    return _media(part(parts, 3, state), part(parts, 4, state), state)


@CONVERTERS.register("hl7v2.pointer_url", type="url", is_pure=True)
def pointer_url(text: str, state: State) -> str | None:
    """RP.1 when it is an absolute URL."""
    found = plain(text, state)
    return found if _URL.fullmatch(found) else None


@CONVERTERS.register("hl7v2.encapsulated_data", type="base64Binary")
def encapsulated_data(text: str, state: State) -> str | None:
    """ED.5 in base64, whatever ED.4 says it is in (A, Hex, Base64; table 0299)."""
    parts = text.split("^", 4)
    if len(parts) < 5 or not parts[4]:
        return None
    coding = parts[3].strip().upper()
    data = unescape(parts[4], state.charset)
    try:
        if coding == "BASE64":
            return packed_base64(data)
        raw = bytes.fromhex(data) if coding == "HEX" else data.encode("utf-8")
    except ValueError:
        raise Unfit("the data is not in the encoding that ED.4 names") from None
    if coding not in ("A", "HEX", ""):
        raise Unfit("ED.4 names no encoding of table 0299")
    return base64.b64encode(raw).decode("ascii")
