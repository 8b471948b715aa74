"""WADO-RS: objects, their headers, frames and pictures, of what the gate has let through. DICOM PS3.18 §10.4, §8.7.

Objects leave as they are stored; the answer says their transfer syntax. Another one is made only by decompressing,
where Explicit VR Little Endian is asked for by name.
"""

from __future__ import annotations

import io
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import orjson
from pydicom import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from starlette.requests import Request
from starlette.responses import Response

from hdg.errors import BadRequest, NotFound
from hdg.management.vault_stream import chunks
from hdg.usage.dicomweb.archive import Image
from hdg.usage.dicomweb.datasets import as_json, described, header, passed_over, tag_of, whole
from hdg.usage.dicomweb.media import Range, boundary, multipart
from hdg.usage.dicomweb.pixels import PICTURE_TYPES, WHOLE_MAX, Frames, View, picture
from hdg.usage.fhir_api.negotiation import NotAcceptable
from hdg.usage.fhir_api.query import Pairs, describe

__all__ = [
    "FRAMES_MAX",
    "PICTURE_TYPES",
    "THUMBNAIL",
    "VIEWPORT_MAX",
    "Answer",
    "Handler",
    "Range",
    "bulk",
    "decompressed",
    "frames",
    "metadata",
    "rendered",
    "retrieved",
    "view",
]

Handler = Callable[[Request], Awaitable[Response]]
DICOM = "application/dicom"
OCTETS = "application/octet-stream"
FRAMES_MAX = 1_000
THUMBNAIL, VIEWPORT_MAX = 200, 8_192
_CHUNK = 1 << 20
_LITTLE = str(ExplicitVRLittleEndian)
_PLAIN = frozenset(
    (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, piece by piece."""

    content: Iterable[bytes]
    media_type: str


def retrieved(found: Sequence[Image], accepted: Sequence[Range], *, is_one: bool) -> Answer:
    """Whole objects; one alone also without multipart. Raises NotAcceptable."""
    wanted = next((one for one in accepted if one.takes(DICOM)), None)
    if wanted is None or not (wanted.is_multipart or is_one or wanted.type == "*/*"):
        raise NotAcceptable(f'multipart/related; type="{DICOM}"')
    for image in found:
        _check_syntax(image, wanted.syntax)
    if is_one and not wanted.is_multipart and wanted.type == DICOM:
        return Answer(_file(found[0], wanted.syntax), _dicom_type(found[0], wanted.syntax))
    mark = boundary()
    parts = (
        ({"Content-Type": _dicom_type(image, wanted.syntax)}, _file(image, wanted.syntax)) for image in found
    )
    return Answer(multipart(parts, mark), f'multipart/related; type="{DICOM}"; boundary={mark}')


def _check_syntax(image: Image, syntax: str) -> None:
    """Raises NotAcceptable where an object is neither stored in this transfer syntax nor can be brought to it."""
    if syntax in ("", "*", image.transfer_syntax):
        return
    if syntax != _LITTLE or image.size > WHOLE_MAX or not _is_unpacked_here(image.transfer_syntax):
        raise NotAcceptable(f'{DICOM}; transfer-syntax="{image.transfer_syntax}"')


def _is_unpacked_here(syntax: str) -> bool:
    """Whether a transfer syntax is no compressed one, or its decoder is there."""
    if syntax in _PLAIN:
        return True
    from pydicom.pixels.decoders.base import get_decoder  # brings numpy

    try:
        return get_decoder(UID(syntax)).is_available
    except NotImplementedError:
        return False


def _dicom_type(image: Image, syntax: str) -> str:
    made = image.transfer_syntax if syntax in ("", "*") else syntax
    return f"{DICOM}; transfer-syntax={made}"


def _file(image: Image, syntax: str) -> Iterator[bytes]:
    with image.open() as source:
        if syntax in ("", "*", image.transfer_syntax):
            while piece := source.read(_CHUNK):
                yield piece
            return
        yield decompressed(whole(source))


def decompressed(data: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """A Part 10 file in Explicit or Implicit VR Little Endian. Raises BadRequest where that cannot be made."""
    made = io.BytesIO()
    try:
        if data.file_meta.TransferSyntaxUID.is_encapsulated:
            data.decompress(generate_instance_uid=False)
        data.file_meta.TransferSyntaxUID = syntax
        is_implicit = syntax.is_implicit_VR
        data.save_as(made, implicit_vr=is_implicit, little_endian=True, enforce_file_format=True)
    except Exception as error:  # of decoders: what they raise is theirs to choose
        raise BadRequest(
            f"the object cannot be unpacked here ({type(error).__name__})", code="not-supported"
        ) from None
    return made.getvalue()


def metadata(found: Sequence[Image], base: str) -> Iterator[bytes]:
    """A JSON array, one object for each."""
    yield b"["
    for number, image in enumerate(found):
        place = f"{base}/studies/{image.study_uid}/series/{image.series_uid}/instances/{image.sop_uid}"

        def uri(tag: str, place: str = place) -> str:
            return f"{place}/bulkdata/{tag}"

        data = described(image)
        made = as_json(data, bulk=uri)
        if "Rows" in data and "Columns" in data:
            made["7FE00010"] = {"vr": "OW", "BulkDataURI": uri("7FE00010")}
        yield (b"," if number else b"") + orjson.dumps(made)
    yield b"]"


def frames(image: Image, numbers: Sequence[int], accepted: Sequence[Range]) -> Answer:
    """Raises NotFound, NotAcceptable."""
    source = image.open()
    try:
        of = Frames(source, image.transfer_syntax, image.size)
        for number in numbers:
            of.check(number)
        kind = of.media_type
        if not any(one.takes(kind) or one.takes(OCTETS) for one in accepted):
            raise NotAcceptable(f'multipart/related; type="{kind}"')
        first = next(of.frame(numbers[0]), None)
        if first is None:
            raise NotFound("no such frame")
    except BaseException:
        source.close()
        raise
    mark = boundary()

    def content() -> Iterator[bytes]:
        with source:
            yield from multipart(
                (
                    ({"Content-Type": f"{kind}; transfer-syntax={image.transfer_syntax}"}, of.frame(number))
                    for number in numbers
                ),
                mark,
            )

    return Answer(content(), f'multipart/related; type="{kind}"; boundary={mark}')


def bulk(image: Image, tag: str, accepted: Sequence[Range]) -> Answer:
    """One large value of the top level. Raises NotFound, NotAcceptable."""
    if not any(one.takes(OCTETS) for one in accepted):
        raise NotAcceptable(f'multipart/related; type="{OCTETS}"')
    number = tag_of(tag)
    if number is None:
        raise NotFound("no such attribute")
    if number == 0x7FE00010:
        with image.open() as source:
            count = Frames(source, image.transfer_syntax, image.size).held()
        if not count:
            raise NotFound("no such value")
        return frames(image, range(1, count + 1), [Range("*/*", True, "", 1.0)])
    with image.open() as source:
        data = header(source)
    raw = passed_over(data, number)
    if raw is not None:
        return _octets(chunks(image.open(), raw.value_tell, raw.length))
    try:
        value = data[number].value if number in data else None
    except Exception:
        value = None
    if not isinstance(value, bytes):
        raise NotFound("no such value")
    return _octets([value])


def _octets(pieces: Iterable[bytes]) -> Answer:
    mark = boundary()
    return Answer(
        multipart([({"Content-Type": OCTETS}, pieces)], mark),
        f'multipart/related; type="{OCTETS}"; boundary={mark}',
    )


def view(given: Pairs, most: int) -> View:
    """What the query says of a picture (PS3.18 §8.3.5). Raises BadRequest."""
    width = height = most
    window, quality = None, 90
    for name, value in given:
        parts = value.split(",")
        try:
            if name == "viewport":
                width, height = (min(int(part), most) for part in parts[:2])
            elif name == "window":
                window = _finite(parts[0]), max(_finite(parts[1]), 1.0)
            elif name == "quality":
                quality = int(value)
            else:
                raise BadRequest(f"{describe(name)} is not supported here", code="not-supported")
        except (ValueError, IndexError):
            raise BadRequest(f"{name}: numbers with commas between", code="value") from None
    if min(width, height, quality) < 1 or quality > 100:
        raise BadRequest("viewport and quality: from 1 on", code="value")
    return View(width, height, window, quality)


def _finite(text: str) -> float:
    """Raises ValueError for what is no number that one can count with."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def rendered(found: Sequence[Image], number: int, view: View, media_type: str) -> bytes:
    """A picture of one object; of several, of the one in the middle that has any.

    ``number`` 0: the frame in the middle. Raises NotFound where none has a picture.
    """
    middle = len(found) // 2
    for image in (*found[middle:], *reversed(found[:middle])):
        with image.open() as source:
            try:
                return picture(source, number, view, media_type)
            except NotFound:
                if len(found) == 1:
                    raise
    raise NotFound("there is no picture here")
