"""Frames as they are stored, and pictures for people. DICOM PS3.5 §8, §A.4; PS3.18 §8.2.3, §8.7.3, §10.4.

A picture is a preview: 8 bits a sample, through the modality and VOI transforms of the object. It is not for diagnosis.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any

from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from hdg.errors import BadRequest, NotFound
from hdg.usage.dicomweb.datasets import header, hush, whole

__all__ = ["PICTURE_TYPES", "Frames", "View", "picture"]

PICTURE_TYPES = ("image/jpeg", "image/png")
PIXELS_MAX = 64_000_000
"""Pixels of a frame that a picture is made of; a larger one is refused."""
WHOLE_MAX = 512 * 1024 * 1024
"""Bytes of an object that has to be unpacked as a whole (a deflated one)."""
_DEFLATED = "1.2.840.10008.1.2.1.99"
_FRAME_TYPES = {
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
_CHUNK = 1 << 20
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class View:
    """How a picture is wanted: at most this wide and high (0: as it is), and through which window, if any."""

    width: int = 0
    height: int = 0
    window: tuple[float, float] | None = None
    quality: int = 90


class Frames:
    """The frames of one object. Read through ``source``, which stays open as long as they are asked for."""

    def __init__(self, source: BufferedIOBase, transfer_syntax: str, size: int) -> None:
        self._syntax = transfer_syntax
        self._source = source
        self._bytes: bytes | None = None
        if transfer_syntax == _DEFLATED:
            if size > WHOLE_MAX:
                raise BadRequest("the object is too large to be unpacked", code="too-costly")
            self.data: Dataset = whole(source)
            element = self.data.get("PixelData")
            self._bytes = None if element is None else bytes(element)
        else:
            self.data = header(source)
            self._at = source.tell()
        self.count = min(_count(self.data), size)  # each takes a byte or more, whatever the object says

    @property
    def media_type(self) -> str:
        """Of one frame as it is stored (PS3.18 Table 8.7.3-5)."""
        if not self._is_encapsulated:
            return "application/octet-stream"
        return _FRAME_TYPES.get(self._syntax, "application/octet-stream")

    @property
    def _is_encapsulated(self) -> bool:
        """As the pixel data lies (PS3.5 §A.4), whatever the transfer syntax. Raises NotFound: there is none."""
        return self._bytes is None and self._pixel_data()[0] == _UNDEFINED

    def check(self, number: int) -> None:
        """Raises NotFound where there is no such frame."""
        if not 1 <= number <= self.count:
            raise NotFound("no such frame")

    def held(self) -> int:
        """How many of them are there. Raises NotFound where there is no pixel data."""
        if self._is_encapsulated:
            return self.count
        length = self._pixel_data()[0] if self._bytes is None else len(self._bytes)
        return min(self.count, length // self._frame_bytes())

    def frame(self, number: int) -> Iterator[bytes]:
        """Frame ``number`` (from 1 on), piece by piece. Raises NotFound: there is no such frame, or no pixel data."""
        self.check(number)
        if self._bytes is not None:
            size = self._frame_bytes()
            yield self._bytes[(number - 1) * size : number * size]
            return
        length, value_at = self._pixel_data()
        if length == _UNDEFINED:
            self._source.seek(value_at)
            hush()
            try:
                found = get_frame(self._source, number - 1, number_of_frames=self.count)
            except Exception as error:  # of what is no sequence of fragments
                text = f"the pixels cannot be read here ({type(error).__name__})"
                raise BadRequest(text, code="not-supported") from None
            yield found
            return
        size = self._frame_bytes()
        start = (number - 1) * size
        if start + size > length:
            raise NotFound("no such frame")
        self._source.seek(value_at + start)
        while size:
            piece = self._source.read(min(size, _CHUNK))
            if not piece:
                raise NotFound("no such frame")
            size -= len(piece)
            yield piece

    def _frame_bytes(self) -> int:
        data = self.data
        bits = math.prod(
            max(_number(data, name), 0) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
        )
        if not bits:
            raise NotFound("no such frame")
        if bits % 8 and self.count > 1:
            raise BadRequest("the frames of this object do not begin at bytes", code="not-supported")
        size = (bits + 7) // 8
        if data.get("PhotometricInterpretation") == "YBR_FULL_422":
            size = size // 3 * 2
        return size

    def _pixel_data(self) -> tuple[int, int]:
        """Length of the value and where it begins. Raises NotFound where there is none."""
        self._source.seek(self._at)
        order = "big" if self._syntax == ExplicitVRBigEndian else "little"
        head = self._source.read(12)
        if len(head) < 12:
            raise NotFound("the object has no pixel data")
        group, element = int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order)  # type: ignore[arg-type]
        if (group, element) not in ((0x7FE0, 0x10), (0x7FE0, 0x8), (0x7FE0, 0x9)):
            raise NotFound("the object has no pixel data")
        if self._syntax == ImplicitVRLittleEndian:
            return int.from_bytes(head[4:8], order), self._at + 8  # type: ignore[arg-type]
        if head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"OV", b"UN"):
            return int.from_bytes(head[8:12], order), self._at + 12  # type: ignore[arg-type]
        return int.from_bytes(head[6:8], order), self._at + 8  # type: ignore[arg-type]


def _count(data: Dataset) -> int:
    return max(_number(data, "NumberOfFrames") or 1, 0)


def _number(data: Dataset, keyword: str) -> int:
    """One number; of a value that is none or several, and where there is no value, 1 for samples, else 0."""
    try:
        return int(data.get(keyword, 1 if keyword == "SamplesPerPixel" else 0))
    except Exception:  # of a value that is not of its VR
        return 0


def picture(source: BufferedIOBase, number: int, view: View, media_type: str) -> bytes:
    """Frame ``number`` (0: the one in the middle) for a person.

    Raises NotFound (no picture in it), BadRequest (too large, cannot be unpacked).
    """
    data = header(source)
    rows, columns = _number(data, "Rows"), _number(data, "Columns")
    if rows < 1 or columns < 1:
        raise NotFound("the object has no picture")
    number = number or (_count(data) + 1) // 2
    if not 1 <= number <= _count(data):
        raise NotFound("no such frame")
    if rows * columns > PIXELS_MAX:
        raise BadRequest("the frame is too large for a picture", code="too-costly")
    source.seek(0)
    hush()
    try:
        samples = _samples(source, data, number, view)
    except (BadRequest, NotFound):
        raise
    except Exception as error:  # of decoders: what they raise is theirs to choose
        text = f"the pixels cannot be unpacked here ({type(error).__name__})"
        raise BadRequest(text, code="not-supported") from None
    return _encoded(samples, view, media_type)


def _samples(source: BufferedIOBase, data: Dataset, number: int, view: View) -> Any:
    """8-bit samples: rows, columns, and 3 where it is in colour."""
    import numpy
    from PIL import Image
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
    from pydicom.pixels.utils import pixel_array

    # What is packed may be larger than the object says: Pillow raises at twice this, before it unpacks.
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX // 2
    values = pixel_array(source, index=number - 1)  # type: ignore[arg-type]
    kind = str(data.get("PhotometricInterpretation", ""))
    if kind == "PALETTE COLOR":
        values = apply_color_lut(values, data)
        return (values >> 8).astype(numpy.uint8) if values.dtype.itemsize > 1 else values
    if values.ndim == 3:
        bits = int(data.get("BitsStored", 8))
        return (values >> max(bits - 8, 0)).astype(numpy.uint8)
    values = apply_modality_lut(values, data).astype(numpy.float64)
    window = view.window
    if window is None and "WindowCenter" in data:
        window = _first(data.WindowCenter), max(_first(data.WindowWidth), 1.0)
    if window is None and "VOILUTSequence" in data:
        values = apply_voi_lut(values.astype(numpy.int64), data).astype(numpy.float64)
    if window is not None:
        low, high = window[0] - window[1] / 2, window[0] + window[1] / 2
    else:
        low, high = float(values.min()), float(values.max())
    spread = numpy.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255
    return (255 - spread if kind == "MONOCHROME1" else spread).astype(numpy.uint8)


def _first(value: Any) -> float:
    return float(value[0] if hasattr(value, "__len__") and not isinstance(value, str) else value)


def _encoded(samples: Any, view: View, media_type: str) -> bytes:
    from PIL import Image

    image = Image.fromarray(samples)
    width, height = view.width or image.width, view.height or image.height
    image.thumbnail((width, height))
    made = io.BytesIO()
    if media_type == "image/png":
        image.save(made, "PNG")
    else:
        image.convert("RGB" if samples.ndim == 3 else "L").save(made, "JPEG", quality=view.quality)
    return made.getvalue()
