"""Reads the XML of a document: no DTD, no entity, nothing fetched, bounded depth and width.

CDA R2 §1.2 (https://www.hl7.org/implement/standards/product_brief.cfm?product_id=7); XML 1.0. What senders really
send is read all the same, and said: a byte order mark or blanks before the declaration, an encoding that is not the
declared one, a missing namespace, prefixes that nobody declared.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError, XMLParser, XMLPullParser
from xml.parsers.expat import errors as expat_errors

from hdg.errors import CdaError, Issue
from hdg.ingestion.cda.nulls import says_more, without_nulled
from hdg.ingestion.cda.prefixes import parsed, prefixes_of, wrapped

__all__ = [
    "HL7",
    "SDTC",
    "XSI_TYPE",
    "Element",
    "Parents",
    "Tree",
    "children",
    "first_child",
    "is_hl7",
    "local",
    "mended",
    "read",
]

HL7: Final = "{urn:hl7-org:v3}"
SDTC: Final = "{urn:hl7-org:sdtc}"
XSI_TYPE: Final = "{http://www.w3.org/2001/XMLSchema-instance}type"
_PHARM_URI = b"urn:hl7-org:pharm"
_PHARM = "{urn:hl7-org:pharm}"
"""The pharmacy models' additions to CDA: ingredients and forms, read as if CDA had them."""
LARGE = 1_000_000
"""Bytes from which on memory counts for more than time."""
_CHUNK = 1 << 18
_HEAD = 1 << 12
"""Bytes in which most roots begin."""
MAX_DEPTH: Final = 100
MAX_ATTRIBUTES: Final = 100
"""Of one element."""

_TEXT = f"{HL7}text"
_NARRATIVE = frozenset(
    HL7 + name
    for name in ("text", "table", "thead", "tbody", "tr", "td", "th", "list", "item", "paragraph", "content")
)
"""What narratives are made of: what it holds is a narrative too."""
_PREFIXES = {
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "sdtc": "urn:hl7-org:sdtc",
    "cda": "urn:hl7-org:v3",
    "hl7": "urn:hl7-org:v3",
    "voc": "urn:hl7-org:v3/voc",
}
_NO_CHARSETS = ("punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "charmap")
"""Python's codecs that are no charset: punycode takes quadratic time, the escapes would change what is written."""
_DENIALS = ("}negationInd", "actionNegationInd", "valueNegationInd")
_TRUTH = {"1": "true", "true": "true", "0": "false", "false": "false", "": "false"}
_HOLDER = re.compile(rb"<(?:[\w.-]+:)?(?:entry|component)\s")
_HOLDERS = (f"{HL7}entry", f"{HL7}component")
"""CDA has no negation there: what they hold is withheld."""
_TRUTHS = (b'egationInd="true"', b'egationInd="false"')
"""Most senders write it in one way."""
_UNBOUND = expat_errors.codes[expat_errors.XML_ERROR_UNBOUND_PREFIX]
_BEFORE_ROOT = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|\s)*", re.DOTALL)
_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_START_TAG = re.compile(r"<[A-Za-z_][^\s/>]*")
_MARK = b"\xef\xbb\xbf"
_MARKS = (
    (_MARK, "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)


class Parents:
    """What each element of a document stands in; its root in nothing.

    Most elements hold no others, or are of a narrative; they are hardly ever asked for, and looked for when one is.
    """

    __slots__ = ("_around", "_document", "_is_whole", "_root")

    def __init__(self, document: Element, around: dict[Element, Element]) -> None:
        """``around``: of the elements below ``document`` that are asked for most, what they stand in."""
        self._document = self._root = document
        self._around = around
        self._is_whole = False

    def get(self, element: Element) -> Element | None:
        """What an element stands in; None for a root."""
        found = self._around.get(element)
        if found is None and not self._is_whole and element is not self._root:
            self._complete()
            found = self._around.get(element)
        return found

    def __getitem__(self, element: Element) -> Element:
        found = self.get(element)
        if found is None:
            raise KeyError("nothing is around a root")
        return found

    def put(self, element: Element, around: Element) -> None:
        """Says that the root stands in an element now, which is the root from now on."""
        self._around[element] = self._root = around

    def pop(self, element: Element) -> Element:
        """What an element stood in, which is a root from now on."""
        if not self._is_whole:
            self._complete()
        return self._around.pop(element)

    def clear(self) -> None:
        """Lets go of the document."""
        self._document = self._root = Element("")
        self._around.clear()
        self._is_whole = True

    def _complete(self) -> None:
        self._is_whole = True
        around = self._around
        for element in self._document.iter():
            for child in element:
                around.setdefault(child, element)


class Tree:
    """A document as elements of the standard library, which know nothing of what is around them."""

    __slots__ = ("_document", "body", "has_nulled", "identified", "parents", "prefixed", "prefixes", "root")

    def __init__(self, root: Element, body: bytes) -> None:
        """Raises CdaError for a tree that is nested too deeply or too wide."""
        self.root = self._document = root
        self.parents, self.identified, self.has_nulled = _around(root)
        """The element with each ID; whether a nullFlavor stands beside values."""
        self.body = body
        """The document in UTF-8."""
        self.prefixed: dict[Element, Any] | None = None
        """lxml's elements, which know their prefixes; None where ``prefixes`` says it all."""
        self.prefixes: Mapping[str, str] = {}
        """URI → prefix."""
        found = prefixes_of(body)
        if found is None:
            self.as_written(root)
        else:
            self.prefixes = found

    def as_written(self, element: Element) -> Any:
        """lxml's element; to be asked for before anything is removed."""
        if self.prefixed is None:
            other = parsed(self.body)
            _make_truths(other, self.body)
            if self.has_nulled:
                without_nulled(other)
            try:
                self.prefixed = dict(zip(self._document.iter(), other.iter(), strict=True))
            except ValueError:  # the two parsers are not of one mind
                raise CdaError("not well-formed XML") from None
        return self.prefixed[element]

    def rename(self, element: Element, tag: str) -> None:
        """Gives an element another name; before anything is removed."""
        self.as_written(element).tag = tag
        element.tag = tag

    def remove(self, element: Element) -> None:
        """Takes an element out, with all that is in it."""
        self.parents.pop(element).remove(element)
        if self.prefixed is not None:
            other = self.prefixed[element]
            other.getparent().remove(other)

    def wrap(self, names: Sequence[str]) -> None:
        """Puts elements of HL7 v3 around the root, the outermost first."""
        if self.prefixed is None and self.prefixes.get(HL7[1:-1]):
            self.as_written(self.root)
        inner, made = self.root, []
        for name in reversed(names):
            around = Element(HL7 + name)
            around.append(self.root)
            self.parents.put(self.root, around)
            self.root = around
            made.append(around)
        if self.prefixed is not None:
            others = wrapped(self.prefixed[inner], [one.tag for one in reversed(made)])
            self.prefixed.update(zip(reversed(made), others, strict=True))

    def place_of(self, element: Element, attribute: str = "") -> str:
        """Where it lies: ``component[2]/section/entry[1]/act/@negationInd``, numbered where it has siblings."""
        steps = [f"@{attribute.rpartition('}')[2]}"] if attribute else []
        node, root, parents = element, self.root, self.parents
        while node is not root:
            parent = parents.get(node)
            if parent is None:
                break
            name = local(node)
            same = parent.findall(node.tag)
            steps.append(f"{name}[{same.index(node) + 1}]" if len(same) > 1 else name)
            node = parent
        return "/".join(reversed(steps)) or local(element)


def read(data: bytes, issues: list[Issue]) -> Tree:
    """Raises CdaError; what had to be mended on the way is an Issue."""
    body = mended(data, issues)
    try:
        try:
            root = _root(body)
        except ParseError as error:
            if error.code != _UNBOUND:
                raise
            body = _declared(body.decode("utf-8"), issues).encode("utf-8")
            root = _root(body)
    except ParseError as error:
        raise CdaError("not well-formed XML", f"line {error.position[0]}") from None
    tree = Tree(root, body)
    _make_truths(root, body)
    for element, name in without_nulled(root) if tree.has_nulled else ():
        text = "what stands beside a nullFlavor was left out"
        issues.append(Issue("warning", "value", tree.place_of(element, name), text))
    if not root.tag.startswith("{"):
        issues.append(Issue("information", "structure", "/", "the namespace urn:hl7-org:v3 is missing"))
        for element in root.iter():
            if not element.tag.startswith("{"):
                tree.rename(element, HL7 + element.tag)
    if _PHARM_URI in body:
        for element in root.iter():
            if element.tag.startswith(_PHARM):
                tree.rename(element, HL7 + local(element))
    return tree


def _root(body: bytes) -> Element:
    """Raises ParseError. Without a DTD there are no entities, and mended() lets none pass."""
    return _parsed(body) if len(body) < LARGE else _parsed_small(body)


def _parsed(body: bytes) -> Element:
    parser = XMLParser(encoding="utf-8")  # noqa: S314
    parser.feed(body)
    root: Element = parser.close()
    return root


def _parsed_small(body: bytes) -> Element:
    """``_parsed``, for more time and a third of the memory: equal texts and equal attributes are one object.

    What is set in one element is set in all with the same attributes.
    """
    parser: Any = XMLPullParser(("end",))
    texts: dict[str, str] = {}
    attributes: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    root = Element("")
    for chunk in (b'<?xml version="1.0" encoding="utf-8"?>', *_chunks(body), None):
        if chunk is None:
            parser.close()
        else:
            parser.feed(chunk)
        for _, root in parser.read_events():
            _share(root, texts, attributes)
    return root


def _chunks(body: bytes) -> Iterator[memoryview]:
    view = memoryview(body)
    return (view[start : start + _CHUNK] for start in range(0, len(body), _CHUNK))


def _share(
    element: Element, texts: dict[str, str], attributes: dict[tuple[tuple[str, str], ...], dict[str, str]]
) -> None:
    text = element.text
    if text is not None:
        element.text = texts.setdefault(text, text)
    for child in element:
        text = child.tail
        if text is not None:
            child.tail = texts.setdefault(text, text)
    items = tuple(element.items())
    if items:
        held = attributes.get(items)
        if held is None:
            held = {name: texts.setdefault(value, value) for name, value in items}
            attributes[tuple(held.items())] = held
        element.attrib = held


def mended(data: bytes, issues: list[Issue]) -> bytes:
    """The root element in UTF-8. Raises CdaError: there is none, or a DTD before it."""
    plain = _plain(data)
    if plain is not None:
        return plain
    text = _decoded(data, issues)
    start = _BEFORE_ROOT.match(text)
    at = start.end() if start else 0
    if text.startswith("<!", at):
        raise CdaError("a document type definition is not allowed")
    if at >= len(text):
        raise CdaError("the document is empty")
    try:
        return (text[at:] if at else text).encode("utf-8")
    except UnicodeEncodeError:
        raise CdaError("not well-formed XML") from None


def _plain(data: bytes) -> bytes | None:
    """The root element of a document in UTF-8 that begins as most do, None for any other; no text is made of it all."""
    declared = _ENCODING.match(data[:200])
    if data.startswith(_MARK) or (declared and declared[1].lower() not in (b"utf-8", b"utf8")):
        return None
    head = data[:_HEAD].decode("utf-8", "ignore")
    before = _BEFORE_ROOT.match(head)
    at = before.end() if before else 0
    if not _START_TAG.match(head, at):
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _CHUNK):
            decoder.decode(data[start : start + _CHUNK])
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return None
    return data[len(head[:at].encode("utf-8")) :]


def _decoded(data: bytes, issues: list[Issue]) -> str:
    """The text without byte order mark and XML declaration's encoding. Raises CdaError."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return _text(data[len(mark) :], codec, issues)
    if data[:4] == b"<\x00?\x00" or data[:2] == b"<\x00":
        return _text(data, "utf-16-le", issues)
    if data[:2] == b"\x00<":
        return _text(data, "utf-16-be", issues)
    declared = _ENCODING.match(data[:200])
    codec = declared[1].decode("ascii").lower() if declared else "utf-8"
    if codec.startswith(("utf-16", "ucs-2", "utf-32")):  # the bytes say otherwise
        codec = "utf-8"
    return _text(data, codec, issues)


def _text(data: bytes, codec: str, issues: list[Issue]) -> str:
    try:
        if codecs.lookup(codec).name.replace("-", "_") not in _NO_CHARSETS:
            return data.decode(codec)
    except LookupError:
        pass
    except UnicodeError:
        if codec.startswith("utf-16"):
            raise CdaError("the bytes are not of the declared encoding") from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("windows-1252", errors="replace")
    issues.append(
        Issue(
            "warning",
            "structure",
            "/",
            f"not {codec if codec.isascii() else ''} as declared; read as it seems",
        )
    )
    return text


def _declared(text: str, issues: list[Issue]) -> str:
    """The document with a declaration for each usual prefix that it uses and does not declare."""
    found = _START_TAG.search(text)
    missing = [
        f' xmlns:{prefix}="{uri}"'
        for prefix, uri in _PREFIXES.items()
        if f"{prefix}:" in text and f"xmlns:{prefix}=" not in text
    ]
    if not missing or found is None:
        return text
    issues.append(Issue("information", "structure", "/", "a prefix is used that is declared nowhere"))
    return text[: found.end()] + "".join(missing) + text[found.end() :]


def _around(root: Element) -> tuple[Parents, dict[str, Element], bool]:
    """What each element stands in, the first element with each ID, and whether a nullFlavor stands beside values.

    Raises CdaError: too deep, or too wide.
    """
    around: dict[Element, Element] = {}
    named: list[Element] = []
    has_nulled = False
    level, depth = [[root]], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise CdaError(f"nested more than {MAX_DEPTH} deep")
        below: list[list[Element]] = []
        for siblings in level:
            for element in siblings:
                names = element.keys()
                if names:
                    if "ID" in names:
                        named.append(element)
                    if "nullFlavor" in names and not has_nulled:
                        has_nulled = says_more(element)
                    if len(names) > MAX_ATTRIBUTES:
                        raise CdaError(f"an element has more than {MAX_ATTRIBUTES} attributes")
                inner = element[:]
                if inner:
                    below.append(inner)
                    if element.tag not in _NARRATIVE:
                        for child in inner:
                            if len(child) and child.tag != _TEXT:
                                around[child] = element
        level = below
    identified = {element.get("ID", ""): element for element in named}
    if len(identified) < len(named):  # the first in the document counts
        identified.clear()
        for element in root.iter():
            if (name := element.get("ID")) is not None:
                identified.setdefault(name, element)
    return Parents(root, around), identified, has_nulled


def _make_truths(root: Any, body: bytes) -> None:
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
        text = element.attrib.pop(name)
        if element.get("negationInd", "false") == "false":
            element.set("negationInd", _TRUTH.get(text.strip().lower(), text))


_TAGS: Final[dict[str, str]] = {}
"""Names in the namespace of HL7 v3; tables and converters know a few hundred."""
_LOCAL: Final[dict[str, str]] = {}
"""Names without their namespace; bounded, since a document may make up as many as it likes."""
_NAMES_MAX: Final = 10_000


def _tag(name: str) -> str:
    try:
        return _TAGS[name]
    except KeyError:
        tag = _TAGS[name] = HL7 + name
        return tag


def children(element: Element, name: str) -> Sequence[Element]:
    """The children of that name in the namespace of HL7 v3."""
    return element.findall(_tag(name))


def first_child(element: Element, name: str) -> Element | None:
    """The first of ``children``."""
    return element.find(_tag(name))


def is_hl7(element: Element) -> bool:
    """Whether an element is of the namespace of HL7 v3."""
    return element.tag.startswith(HL7)


def local(element: Element) -> str:
    """The name without its namespace."""
    tag: str = element.tag
    try:
        return _LOCAL[tag]
    except KeyError:
        name = tag.rpartition("}")[2]
        if len(_LOCAL) < _NAMES_MAX:
            _LOCAL[tag] = name
        return name
