"""FHIR XML to and from the JSON form that everything else works with. R4 xml.html.

Elements are written in the order of their definitions; a decimal keeps its literal. Reading is strict about what
XML says and the definitions decide: unknown elements and attributes, other namespaces, text between elements.
Whether the content is right is for hdg.fhir.validate. No DTD, no entity but XML's own, nothing is fetched.
"""

from __future__ import annotations

import re
from html.entities import name2codepoint
from typing import Any

from lxml import etree

from hdg.errors import BadRequest
from hdg.fhir.definitions import ElementInfo, element_info, is_primitive, resource_types, type_definition
from hdg.fhir.json import Decimal, JsonError, JsonObject, decimal

__all__ = ["dumps", "loads"]

FHIR = "http://hl7.org/fhir"
XHTML = "http://www.w3.org/1999/xhtml"
MAX_DEPTH = 200
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_ENTITY = re.compile(r"<!--.*?-->|<!\[CDATA\[.*?\]\]>|&([A-Za-z][A-Za-z0-9]*);", re.DOTALL)
"""A named entity where it is one, after that in which it is not."""
_OF_XML = frozenset({"amp", "lt", "gt", "quot", "apos"})
_INTEGERS = frozenset({"integer", "positiveInt", "unsignedInt"})

# --- JSON to XML -----------------------------------------------------------------------------------------


def dumps(resource: JsonObject) -> bytes:
    """A valid resource as an XML document in UTF-8."""
    root = _resource(resource)
    written: bytes = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    return written


def _resource(resource: JsonObject) -> Any:
    type_ = resource["resourceType"]
    node = etree.Element(f"{{{FHIR}}}{type_}", nsmap={None: FHIR})  # type: ignore[dict-item]  # the stubs know no default namespace
    _write(node, resource, type_, is_resource=True)
    return node


def _write(node: Any, value: JsonObject, type_: str, *, is_resource: bool = False) -> None:
    for element in type_definition(type_).elements:
        for name, kind in element.json_names():
            if name not in value and f"_{name}" not in value:
                continue
            if (name == "id" and not is_resource) or (name == "url" and type_ == "Extension"):
                node.set(name, str(value[name]))
            elif is_primitive(kind) and kind != "xhtml":
                for item, more in _pairs(value.get(name), value.get(f"_{name}")):
                    _write_primitive(etree.SubElement(node, f"{{{FHIR}}}{name}"), item, more)
            else:
                found = value[name]
                for item in found if isinstance(found, list) else [found]:
                    _write_object(node, name, item, kind)


def _pairs(value: Any, more: Any) -> list[tuple[Any, Any]]:
    """Each value of a primitive with its companion."""
    if not isinstance(value, list) and not isinstance(more, list):
        return [(value, more)]
    values, mores = list(value or ()), list(more or ())
    size = max(len(values), len(mores))
    values += [None] * (size - len(values))
    mores += [None] * (size - len(mores))
    return list(zip(values, mores, strict=True))


def _write_primitive(node: Any, value: Any, more: JsonObject | None) -> None:
    if more:
        _write(node, more, "Element")
    if value is not None:
        text = "true" if value is True else "false" if value is False else None
        node.set("value", text or (value.literal if isinstance(value, Decimal) else str(value)))


def _write_object(node: Any, name: str, value: Any, kind: str) -> None:
    if kind == "xhtml":
        node.append(_narrative(value))
        return
    child = etree.SubElement(node, f"{{{FHIR}}}{name}")
    if "resourceType" in value and kind == "Resource":
        child.append(_resource(value))
    else:
        _write(child, value, kind)


def _narrative(text: str) -> Any:
    """The element of a ``div``. Its entities of HTML, which XML does not know, become their characters."""
    try:
        return etree.fromstring(_ENTITY.sub(_character, text), _parser(huge_tree=True))
    except etree.XMLSyntaxError:  # too deep, and stored before that was refused
        raise BadRequest(
            "a narrative is nested too deeply for XML; ask for JSON", code="not-supported"
        ) from None


def _character(found: re.Match[str]) -> str:
    """What stands for an entity; one that HTML does not have is text, as browsers show it."""
    name = found[1]
    if name is None or name in _OF_XML:
        return found[0]
    return chr(name2codepoint[name]) if name in name2codepoint else f"&amp;{name};"


# --- XML to JSON -----------------------------------------------------------------------------------------


def _parser(*, huge_tree: bool = False) -> Any:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=huge_tree,
        remove_pis=True,
    )


_HINTS = frozenset(
    f"{{http://www.w3.org/2001/XMLSchema-instance}}{name}"
    for name in ("schemaLocation", "noNamespaceSchemaLocation")
)
"""Where a schema may lie, which some tools write at a resource: it says nothing about it."""
_MOST_ATTRIBUTES = 5
"""``id``, ``url``, ``value`` and both hints: no element has more."""


def loads(data: bytes) -> JsonObject:
    """The resource of an XML document. Raises BadRequest naming the element, never a value."""
    try:
        root = etree.fromstring(data, _parser())
    except (etree.XMLSyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise BadRequest(
            f"the body is not XML{f' (line {line})' if line else ''}", code="structure"
        ) from None
    if root.getroottree().docinfo.doctype or root.getroottree().docinfo.internalDTD is not None:
        raise BadRequest("a document type definition is not allowed", code="structure")
    return _read_resource(root, 0)


def _read_resource(node: Any, depth: int) -> JsonObject:
    namespace, name = _named(node)
    if namespace != FHIR or name not in resource_types():
        raise BadRequest("the element is no R4 resource in the namespace of FHIR", code="structure")
    found: JsonObject = {"resourceType": name}
    found.update(_read(node, name, name, depth, is_resource=True))
    return found


def _named(node: Any) -> tuple[str, str]:
    qualified = etree.QName(node)
    return qualified.namespace or "", qualified.localname


def _read(node: Any, type_: str, place: str, depth: int, *, is_resource: bool = False) -> JsonObject:
    if depth > MAX_DEPTH:
        raise BadRequest("nested too deeply", code="too-costly", place=place)
    found: JsonObject = {}
    for name, text in _attributes(node, place):
        if is_resource and name in _HINTS:
            continue
        if is_resource or name not in ("id", "url") or (name == "url" and type_ != "Extension"):
            raise BadRequest("there is no such attribute", code="structure", place=place)
        found[name] = text
    _refuse_text(node, place)
    for child in _children(node, place):
        namespace, name = _named(child)
        below = f"{place}.{name}"
        info = element_info(type_, name)
        is_div = info is not None and info.type == "xhtml"
        if info is None or len(info.types) > 1 or namespace != (XHTML if is_div else FHIR):
            raise BadRequest("R4 has no such element here", code="structure", place=below)
        _add(found, name, info, child, below, depth)
    return found


def _add(found: JsonObject, name: str, info: ElementInfo, child: Any, place: str, depth: int) -> None:
    """One more element into the JSON object."""
    kind = info.type
    if kind == "xhtml":
        _once(found, name, place)
        found[name] = _div(child)
    elif is_primitive(kind):
        value, more = _read_primitive(child, kind, place, depth)
        if value is None and not more:  # ele-1; passed over it would be lost
            raise BadRequest("an element has a value or children", code="structure", place=place)
        _add_primitive(found, name, info, value, more, place)
    else:
        value = (
            _read_contained(child, place, depth)
            if kind == "Resource"
            else _read(child, kind, place, depth + 1)
        )
        if info.is_list:
            found.setdefault(name, []).append(value)
        else:
            _once(found, name, place)
            found[name] = value


def _add_primitive(
    found: JsonObject, name: str, info: ElementInfo, value: Any, more: JsonObject, place: str
) -> None:
    shadow = f"_{name}"
    if not info.is_list:
        _once(found, name, place)
        _once(found, shadow, place)
        if value is not None:
            found[name] = value
        if more:
            found[shadow] = more
        return
    count = max(len(found.get(name, ())), len(found.get(shadow, ())))
    _append(found, name, value, count)
    _append(found, shadow, more or None, count)


def _append(found: JsonObject, name: str, item: Any, count: int) -> None:
    """One more item behind ``count`` others; a list of nothing but None is not there."""
    if name in found:
        found[name].append(item)
    elif item is not None:
        found[name] = [*[None] * count, item]


def _once(found: JsonObject, name: str, place: str) -> None:
    if name in found:
        raise BadRequest("the element is there twice", code="structure", place=place)


def _read_contained(node: Any, place: str, depth: int) -> JsonObject:
    _refuse_text(node, place)
    children = _children(node, place)
    if len(children) != 1 or node.attrib:
        raise BadRequest("one resource is expected", code="structure", place=place)
    return _read_resource(children[0], depth + 1)


def _read_primitive(node: Any, kind: str, place: str, depth: int) -> tuple[Any, JsonObject]:
    attributes = dict(_attributes(node, place))
    text = attributes.pop("value", None)
    for name in attributes:
        if name != "id":
            raise BadRequest("there is no such attribute", code="structure", place=place)
    more: JsonObject = {"id": attributes["id"]} if "id" in attributes else {}
    _refuse_text(node, place)
    for child in _children(node, place):
        if _named(child) != (FHIR, "extension"):
            raise BadRequest("only extensions can be here", code="structure", place=place)
        more.setdefault("extension", []).append(_read(child, "Extension", f"{place}.extension", depth + 1))
    return (None if text is None else _value(text, kind, place)), more


def _value(text: str, kind: str, place: str) -> Any:
    """The JSON value of a literal; what does not fit its type is refused here, since JSON could not show it."""
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    if kind in _INTEGERS and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "decimal":
        try:
            return decimal(text) if set(text) & set(".eE") else int(decimal(text))
        except JsonError:
            pass
    elif kind != "boolean" and kind not in _INTEGERS:
        return text
    raise BadRequest(f"the value is no {kind}", code="value", place=place)


def _attributes(node: Any, place: str) -> list[tuple[str, str]]:
    """Names and values. Of many nothing is read: lxml walks through all of them for each value."""
    if len(node.attrib) > _MOST_ATTRIBUTES:
        raise BadRequest("there is no such attribute", code="structure", place=place)
    found: list[tuple[str, str]] = node.attrib.items()
    return found


def _children(node: Any, place: str) -> list[Any]:
    """The elements in an element; comments are passed over."""
    found = []
    for child in node:
        if isinstance(child.tag, str):
            found.append(child)
        elif child.tag is not etree.Comment:
            raise BadRequest("an entity is not allowed", code="structure", place=place)
    return found


def _refuse_text(node: Any, place: str) -> None:
    if (node.text or "").strip() or any((child.tail or "").strip() for child in node):
        raise BadRequest("text stands between elements", code="structure", place=place)


def _div(node: Any) -> str:
    copy = etree.fromstring(etree.tostring(node, with_tail=False), _parser())
    etree.cleanup_namespaces(copy)
    text: str = etree.tostring(copy, encoding="unicode", with_tail=False)
    return text
