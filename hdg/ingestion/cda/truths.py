"""Negations as one word each: xs:boolean has two for both, senders have more, and tables compare with ``true``.

CDA R2 §4.3.5 (negationInd); negations of later models and at places where CDA has none.
"""

from __future__ import annotations

import re
from typing import Any, Final

from hdg.ingestion.cda.element import HL7, without

__all__ = ["make_truths"]

_DENIALS: Final = ("}negationInd", "actionNegationInd", "valueNegationInd")
_TRUTH: Final = {"1": "true", "true": "true", "0": "false", "false": "false", "": "false"}
_HOLDER: Final = re.compile(rb"<(?:[\w.-]+:)?(?:entry|component)\s")
_HOLDERS: Final = (f"{HL7}entry", f"{HL7}component")
"""CDA has no negation there: what they hold is withheld."""
_TRUTHS: Final = (b'egationInd="true"', b'egationInd="false"')
"""Most senders write it in one way."""


def make_truths(root: Any, body: bytes) -> None:
    """Makes one word of each truth, of elements of either library: xs:boolean has two, and tables compare with one."""
    is_odd = is_prefixed = is_held = False
    at = body.find(b"egationInd")
    while at >= 0:
        before = body[max(at - 2, 0) : at]
        is_prefixed = is_prefixed or before == b":n" or before.endswith(b"N")
        is_odd = is_odd or not body.startswith(_TRUTHS, at)
        is_held = is_held or _HOLDER.match(body, body.rfind(b"<", 0, at)) is not None
        at = body.find(b"egationInd", at + 1)
    if not is_prefixed and not is_odd and not is_held:
        return
    for element in root.iter():
        text = element.get("negationInd")
        if text is not None and text != "true" and text != "false":
            element.set("negationInd", _TRUTH.get(text.strip().lower(), text))
        if is_prefixed:
            _without_prefix(element)
        if is_held and element.tag in _HOLDERS and element.get("negationInd", "false") != "false":
            for inner in element:  # neither true nor false: no table knows what that means
                inner.set("negationInd", "said by what holds it")


def _without_prefix(element: Any) -> None:
    """sdtc:negationInd, which HL7 withdrew and senders use at supplies and encounters, is read as negationInd.

    So are actionNegationInd and valueNegationInd of later models. Where several stand, each denies.
    """
    for name in [one for one in element.keys() if one.endswith(_DENIALS)]:  # noqa: SIM118  # of an element
        text = without(element, name)
        if element.get("negationInd", "false") == "false":
            element.set("negationInd", _TRUTH.get(text.strip().lower(), text))
