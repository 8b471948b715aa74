"""Requests to a FHIR API that no client would send: searches, resources, patches, Bundles and headers, mutated.

Every text that is made up holds ``CANARY``, so that an answer which repeats a value of its request is seen.
Pure: the same generator of chance makes the same requests.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

from bench.fhir_words import (
    ASKED,
    CANARY,
    FHIR_JSON,
    GIVEN,
    HEADERS,
    JSON_PATCH,
    LIKELY,
    MAIN,
    MODIFIERS,
    NAMES,
    OPERATIONS,
    PARTS,
    PUT_IN,
    REFERENCES,
    RESULTS,
    SCALARS,
    STEPS,
    TAILS,
    TYPES,
    VALUES,
    stored,
)
from bench.records import bundles
from hdg.fhir import xml
from hdg.usage.fhir_api.parameters import supported


@dataclass(slots=True)
class Ask:
    """One request. ``path``: percent-encoded, from the root; ``query``: encoded."""

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __str__(self) -> str:
        body = self.body[:1500].decode("utf-8", "backslashreplace")
        return f"{self.method} {self.path}?{self.query} {self.headers} {body}"


def seeds() -> list[dict[str, Any]]:
    """Resources of several types, all of them about ann."""
    some: dict[str, dict[str, Any]] = {}
    for raw in bundles(3, seed=7, size=(30, 40)):
        text = raw.decode()
        for entry in json.loads(raw)["entry"]:
            place = {"Patient": "Patient/ann", "Encounter": "Encounter/ann-stay"}.get(
                entry["request"]["url"], ""
            )
            text = text.replace(entry["fullUrl"], place or entry["fullUrl"])
        some.update({entry["request"]["url"]: entry["resource"] for entry in json.loads(text)["entry"]})
    return [*some.values(), *(one for one in stored() if not one["id"].startswith("bob"))]


class Requests:
    """Makes requests, one after the other."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._seeds = seeds()
        self._kinds: list[Callable[[], Ask]] = [
            self._search, self._search, self._search, self._write, self._write, self._patch, self._patch, self._bundle,
            self._bundle, self._operation, self._operation, self._read,
        ]  # fmt: skip

    def next(self) -> Ask:
        """The next one."""
        rng = self._rng
        try:
            ask = rng.choice(self._kinds)()
        except RecursionError:  # nested more deeply than can be copied
            return self.next()
        if rng.random() < 0.15:
            for name in rng.sample(sorted(HEADERS), rng.choice([1, 1, 2, 4])):
                ask.headers[name] = rng.choice(HEADERS[name])
        if rng.random() < 0.03:
            ask.method = rng.choice(
                ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"]
            )
        if rng.random() < 0.05 and ask.body:
            ask.body = self._bytes(ask.body)
        return ask

    # --- searches and reads ---------------------------------------------------------------------------------

    def _search(self) -> Ask:
        rng = self._rng
        type_ = rng.choice(MAIN if rng.random() < 0.8 else TYPES)
        place = rng.choice(
            [type_] * 6
            + ["", "Patient/ann/*", "_history", f"{type_}/_history"]
            + [f"Patient/ann/{type_}", f"Encounter/ann-stay/{type_}"]
        )
        query = self._query(type_)
        if rng.random() < 0.15 and "_history" not in place:
            form = {"content-type": "application/x-www-form-urlencoded"}
            return Ask("POST", f"/fhir/{place}/_search".replace("//", "/"), "", form, query.encode())
        return Ask(rng.choice(["GET"] * 9 + ["HEAD"]), f"/fhir/{place}", query, self._prefer())

    def _prefer(self) -> dict[str, str]:
        return {"prefer": "handling=lenient"} if self._rng.random() < 0.2 else {}

    def _query(self, type_: str) -> str:
        rng = self._rng
        pairs = [self._pair(type_) for _ in range(rng.choice([0, 1, 1, 2, 3, 6]))]
        text = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs)
        if rng.random() < 0.03:
            at = rng.randrange(len(text) + 1)
            text = (
                text[:at] + rng.choice(["%", "%zz", "%ff", "&", "=", "&&", "%00", "#", "%C0%80"]) + text[at:]
            )
        return text

    def _pair(self, type_: str) -> tuple[str, str]:
        rng = self._rng
        chance = rng.random()
        codes = sorted(supported(type_)) or ["_id"]
        if chance < 0.1:
            sorts = [rng.choice(["", "-"]) + rng.choice(codes) for _ in range(rng.randint(1, 3))]
            return "_sort", ",".join(sorts)
        if chance < 0.2:
            source = rng.choice([*MAIN, type_])
            code = rng.choice(sorted(supported(source)) or ["x"])
            named = [
                "*",
                f"{source}:*",
                f"{source}:{code}",
                f"{source}:{code}:Patient",
                CANARY,
                "a:b:c:d",
                "",
                f"{CANARY}:x",
            ]
            return rng.choice(
                ["_include", "_revinclude", "_include:iterate", "_revinclude:iterate"]
            ), rng.choice(named)
        if chance < 0.35:
            return rng.choice(RESULTS), rng.choice([*VALUES, "count", "10", "name", "text", "data"])
        if chance < 0.45:
            return rng.choice(LIKELY)
        return self._name(type_), rng.choice(VALUES)

    def _name(self, type_: str, depth: int = 0) -> str:
        rng = self._rng
        codes = sorted(supported(type_)) or ["_id"]
        chance = rng.random()
        if depth < 4 and chance < 0.2:
            references = [code for code in codes if supported(type_)[code] == "reference"] or ["x"]
            target = rng.choice([*MAIN, "Practitioner", "Organization"])
            of = f":{target}" if rng.random() < 0.6 else ""
            return f"{rng.choice(references)}{of}.{self._name(target, depth + 1)}"
        if depth < 4 and chance < 0.35:
            source = rng.choice(MAIN)
            references = [code for code in supported(source) if supported(source)[code] == "reference"] or [
                "x"
            ]
            return f"_has:{source}:{rng.choice(sorted(references))}:{self._name(source, depth + 1)}"
        return rng.choice(codes) + rng.choice(MODIFIERS)

    def _place(self) -> str:
        rng = self._rng
        type_ = rng.choice(sorted(NAMES))
        id_ = rng.choice(
            [*NAMES[type_], *NAMES[type_], CANARY, "x" * 65, "a b", "é", ".", "..", "%00", "a%2Fb"]
        )
        return f"{type_ if rng.random() < 0.95 else rng.choice(['patient', CANARY, '$x', '_x'])}/{quote(id_, safe='%')}"

    def _read(self) -> Ask:
        rng = self._rng
        tail = rng.choice(TAILS)
        query = "" if rng.random() < 0.5 else self._query("Patient")
        if rng.random() < 0.05:
            path = rng.choice(
                [
                    "/",
                    "/docs",
                    "/openapi.json",
                    "/ledger/checkpoint",
                    "/ledger/proof",
                    "/readyz",
                    "/fhir/metadata",
                ]
            )
            return Ask(rng.choice(["GET", "HEAD", "POST"]), path, query)
        return Ask(rng.choice(["GET", "GET", "HEAD", "DELETE"]), f"/fhir/{self._place()}{quote(tail)}", query)

    # --- bodies ---------------------------------------------------------------------------------------------

    def _resource(self) -> dict[str, Any]:
        made = copy.deepcopy(self._rng.choice(self._seeds))
        for _ in range(self._rng.choice([0, 0, 1, 1, 2, 5])):
            self._mutate(made)
        return made

    def _mutate(self, value: Any) -> None:
        """Changes one place somewhere below."""
        rng = self._rng
        places: list[tuple[Any, Any]] = []
        pending = [value]
        while pending:
            item = pending.pop()
            for key, below in item.items() if isinstance(item, dict) else enumerate(item):
                places.append((item, key))
                if isinstance(below, dict | list):
                    pending.append(below)
        if not places:
            return
        holder, key = rng.choice(places)
        kind = rng.randrange(9)
        if kind == 0:
            del holder[key]
        elif kind in (1, 2, 3):
            holder[key] = copy.deepcopy(rng.choice(SCALARS))
        elif kind == 4 and isinstance(holder, dict):
            name = rng.choice(
                [
                    f"{CANARY} x",
                    "unknown",
                    f"_{key}",
                    f"{key}x",
                    "",
                    "id",
                    "extension",
                    "contained",
                    "meta",
                    "resourceType",
                    "a b",
                    "é",
                ]
            )
            holder[name] = copy.deepcopy(rng.choice([*SCALARS, holder[key]]))
        elif kind == 5:
            holder[key] = [copy.deepcopy(holder[key]) for _ in range(rng.choice([1, 2, 30]))]
        elif kind == 6:
            other, at = rng.choice(places)
            holder[key] = copy.deepcopy(other[at])
        elif kind == 7 and isinstance(holder[key], str):
            text = holder[key]
            at = rng.randrange(len(text) + 1)
            holder[key] = (
                text[:at] + rng.choice([CANARY, "\x00", "\n", "é", "-", "0", "/", "|", "\ud800"]) + text[at:]
            )
        else:
            deep: Any = copy.deepcopy(holder[key])
            for _ in range(rng.choice([3, 30, 100])):
                deep = rng.choice(
                    [lambda one: [one], lambda one: {"extension": [{"url": "x", "extension": one}]}]
                )(deep)
            holder[key] = deep

    def _bytes(self, body: bytes) -> bytes:
        rng = self._rng
        made = bytearray(body)
        at = rng.randrange(len(made) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            made[at:at] = rng.choice(
                [b"\x00", b"\xff", b"\xed\xa0\x80", b"{", b"]", b",", b'"', b"1e999999", b"NaN", b"\\ud800"]
            )
        elif kind == 1:
            del made[at:]
        elif kind == 2:
            del made[at : at + rng.choice([1, 2, 50])]
        elif kind == 3:
            made[0:0] = rng.choice([b"\xef\xbb\xbf", b" ", b"[" * 3000, b'{"a":' * 3000])
        elif kind == 4:
            return bytes(
                body.decode("utf-8", "replace").encode(
                    rng.choice(["utf-16", "utf-32-le", "latin-1"]), "replace"
                )
            )
        else:
            made += rng.choice([b"x", bytes(body), b"\n", b"\x00"])
        return bytes(made)

    def _write(self) -> Ask:
        rng = self._rng
        resource = self._resource()
        type_, id_ = str(resource.get("resourceType", "Patient")), str(resource.get("id", "x"))
        headers = {"content-type": FHIR_JSON}
        body = _dumped(resource)
        if rng.random() < 0.1:
            headers = {"content-type": "application/fhir+xml"}
            body = self._xml(resource)
        if rng.random() < 0.3:
            name = rng.choice(["if-match", "if-none-match", "if-none-exist", "prefer"])
            headers[name] = rng.choice(HEADERS[name])
        where = _step(type_)
        kind = rng.randrange(6)
        if kind < 2:
            return Ask("POST", f"/fhir/{where}", "", headers, body)
        if kind < 4:
            return Ask("PUT", f"/fhir/{where}/{_step(id_)}", "", headers, body)
        query = self._query(type_ if type_ in TYPES else "Patient")
        return Ask(rng.choice(["PUT", "DELETE"]), f"/fhir/{where}", query, headers, body)

    def _xml(self, resource: dict[str, Any]) -> bytes:
        rng = self._rng
        try:
            body = xml.dumps(resource)
        except Exception:  # what was mutated need not be FHIR
            body = xml.dumps(self._seeds[0])
        found = rng.choice(
            [b"", b"<!DOCTYPE a [<!ENTITY x 'y'>]>", b"<?x?>", b"<!-- -->", b"<a/>", b"&#0;", b"&x;", b" "]
        )
        at = rng.choice([0, body.find(b">") + 1, rng.randrange(len(body))])
        return body if rng.random() < 0.4 else body[:at] + found + body[at:]

    # --- patches --------------------------------------------------------------------------------------------

    def _patch(self) -> Ask:
        rng = self._rng
        target = rng.choice(stored())
        place = f"{target['resourceType']}/{target['id']}"
        query = ""
        if rng.random() < 0.1:
            place, query = target["resourceType"], self._query(target["resourceType"])
        if rng.random() < 0.5:
            return Ask(
                "PATCH",
                f"/fhir/{place}",
                query,
                {"content-type": JSON_PATCH},
                _dumped(self._operations(target)),
            )
        return Ask(
            "PATCH", f"/fhir/{place}", query, {"content-type": FHIR_JSON}, _dumped(self._fhirpath(target))
        )

    def _operations(self, target: Any) -> Any:
        rng = self._rng
        made: list[Any] = [
            {
                "op": rng.choice(["add", "remove", "replace", "move", "copy", "test", "x"]),
                "path": self._pointer(target),
                **({"from": self._pointer(target)} if rng.random() < 0.5 else {}),
                **({"value": copy.deepcopy(rng.choice([*SCALARS, target]))} if rng.random() < 0.8 else {}),
            }
            for _ in range(rng.choice([0, 1, 1, 1, 2, 5]))
        ]
        if made and rng.random() < 0.1:
            self._mutate(made)
        return made if rng.random() < 0.97 else rng.choice(SCALARS)

    def _pointer(self, target: Any) -> str:
        rng = self._rng
        steps: list[str] = []
        while isinstance(target, dict | list) and target and rng.random() < 0.8:
            key = rng.choice(list(target) if isinstance(target, dict) else range(len(target)))
            steps.append(str(key))
            target = target[key]
        if rng.random() < 0.2:
            steps.append(rng.choice(["-", "99", "-1", "01", "~", "~2", "", f"{CANARY} x", "9" * 30, "é"]))
        return (
            "".join(f"/{step}" for step in steps)
            if rng.random() < 0.97
            else rng.choice(["x", "/", "//", f"{CANARY} x"])
        )

    def _fhirpath(self, target: dict[str, Any]) -> Any:
        rng = self._rng
        type_ = target["resourceType"]
        names = [*target, "extension", "contained", "nothing", "name", "contact"]

        def path() -> str:
            known = [*names, "coding", "given", "code", "value"]
            below = [rng.choice(known) + rng.choice(STEPS) for _ in range(rng.randrange(4))]
            steps = [rng.choice([type_, type_, type_, "", "Resource", CANARY]), *below]
            return ".".join(steps)

        def operation() -> dict[str, Any]:
            parts: list[Any] = [
                {
                    "name": "type",
                    "valueCode": rng.choice(["add", "insert", "delete", "replace", "move", "x"]),
                },
                {"name": "path", "valueString": path()},
            ]
            if rng.random() < 0.6:
                parts.append({"name": "name", "valueString": rng.choice([*names, f"{CANARY} x", ""])})
            if rng.random() < 0.7:
                value = rng.choice(PUT_IN)
                parts.append({"name": "value", **copy.deepcopy(value)})
            parts += [
                {"name": name, "valueInteger": rng.choice([0, 1, -1, 99, 2**31, 2**70])}
                for name in ("index", "source", "destination")
                if rng.random() < 0.3
            ]
            return {"name": "operation", "part": parts}

        made = {
            "resourceType": "Parameters",
            "parameter": [operation() for _ in range(rng.choice([0, 1, 1, 2, 4]))],
        }
        if rng.random() < 0.2:
            self._mutate(made)
        return made

    # --- Bundles and operations -----------------------------------------------------------------------------

    def _bundle(self) -> Ask:
        rng = self._rng
        kind = rng.choice(["batch", "transaction", "transaction"])
        made: dict[str, Any] = {"resourceType": "Bundle", "type": kind}
        made["entry"] = [self._entry(number) for number in range(rng.choice([0, 1, 2, 3, 6]))]
        if rng.random() < 0.25:
            self._mutate(made)
        headers = {"content-type": FHIR_JSON}
        if rng.random() < 0.5:
            headers["prefer"] = rng.choice(HEADERS["prefer"])
        return Ask("POST", rng.choice(["/fhir", "/fhir/"]), "", headers, _dumped(made))

    def _entry(self, number: int) -> dict[str, Any]:
        rng = self._rng
        kind = rng.randrange(7)
        resource: Any = self._resource() if rng.random() < 0.4 else copy.deepcopy(rng.choice(self._seeds))
        type_, id_ = str(resource.get("resourceType", "Patient")), str(resource.get("id", "x"))
        if rng.random() < 0.3:
            resource["subject"] = {"reference": rng.choice(REFERENCES)}
        entry: dict[str, Any] = {
            "fullUrl": rng.choice([f"urn:uuid:{number}", "urn:uuid:0", f"http://x/{type_}/{id_}"])
        }
        if kind < 2:
            request = {"method": "POST", "url": type_}
            if rng.random() < 0.3:
                request["ifNoneExist"] = rng.choice(HEADERS["if-none-exist"])
        elif kind == 2:
            request = {
                "method": "PUT",
                "url": rng.choice([f"{type_}/{id_}", f"{type_}?{self._query('Patient')}"]),
            }
        elif kind == 3:
            target = rng.choice(stored())
            request = {"method": "PATCH", "url": f"{target['resourceType']}/{target['id']}"}
            resource = self._fhirpath(target)
            if rng.random() < 0.6:
                data = base64.b64encode(_dumped(self._operations(target))).decode()
                resource = {"resourceType": "Binary", "contentType": JSON_PATCH, "data": data}
        else:
            ask = rng.choice([self._search, self._read, self._operation])()
            method = rng.choice(["GET", "GET", "DELETE", "HEAD", ask.method, CANARY])
            request = {"method": method, "url": f"{ask.path.removeprefix('/fhir/')}?{ask.query}"}
            resource = None
        if rng.random() < 0.1:
            request[rng.choice(["ifMatch", "ifNoneMatch", "ifModifiedSince", "ifNoneExist"])] = rng.choice(
                [*HEADERS["if-match"], *HEADERS["if-none-match"], "é", "\r\nx: y"]
            )
        entry["request"] = request
        if resource is not None:
            entry["resource"] = resource
        return entry

    def _operation(self) -> Ask:
        rng = self._rng
        name = rng.choice(OPERATIONS)
        place = (
            self._place()
            if rng.random() < 0.6
            else rng.choice(["Observation", "Subscription", "Patient", "Composition"])
        )
        query = self._query("Observation") if rng.random() < 0.6 else rng.choice(ASKED)
        path = f"/fhir/{place}/{quote('$' + name, safe='$')}"
        if rng.random() < 0.4:
            return Ask("GET", path, query)
        body = rng.choice([self._parameters, self._resource, self._resource])()
        return Ask("POST", path, query, {"content-type": FHIR_JSON}, _dumped(body))

    def _parameters(self) -> dict[str, Any]:
        rng = self._rng
        parts: list[Any] = []
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            name = rng.choice(GIVEN)
            value = rng.choice(
                [
                    {"valueString": rng.choice(VALUES)},
                    {"valueMeta": rng.choice(SCALARS)},
                    {"resource": self._resource()},
                    *PARTS,
                ]
            )
            parts.append({"name": name, **value})
        made = {"resourceType": "Parameters", "parameter": parts}
        if rng.random() < 0.3:
            self._mutate(made)
        return made


def _quoted(text: str) -> str:
    return quote_plus(text.encode("utf-8", "surrogatepass"), safe=":*$,|/")


def _step(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def _dumped(value: Any) -> bytes:
    """JSON; lone surrogates stand as escapes."""
    return json.dumps(value).encode()
