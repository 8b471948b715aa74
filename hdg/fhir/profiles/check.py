"""A resource against profiles, and against the definitions of the extensions that it has.

R4 validation.html, R4 profiling.html, R4 extensibility.html, R4 resource.html#profile-tags (meta.profile). R4's own
rules are asked first (hdg.fhir.validate): profiles are not, where the JSON is not built as R4 says. What was not
checked is said as a warning, or as information where that is the usual case. Texts hold no value of the resource.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hdg.errors import Issue
from hdg.fhir.definitions import type_definition, type_names
from hdg.fhir.json import JsonObject
from hdg.fhir.profiles.compiled import Compiler
from hdg.fhir.profiles.library import Library, core_type
from hdg.fhir.profiles.run import Run
from hdg.fhir.profiles.tree import find_element
from hdg.fhir.profiles.values import Item, fetcher
from hdg.fhir.validate import validate

__all__ = ["Profiles"]

_EXTENSIONS = ("extension", "modifierExtension")
_MISBUILT = frozenset({"structure", "too-costly"})


class Profiles:
    """The checks of everything in a library."""

    def __init__(self, library: Library) -> None:
        self.library = library
        """What is loaded."""
        self._compiler = Compiler(library)

    def check(
        self, resource: JsonObject, profiles: Sequence[str] = (), *, with_claimed: bool = True
    ) -> list[Issue]:
        """Everything found: R4's own rules, then ``profiles`` (canonical URLs) and extensions.

        ``with_claimed``: also what meta.profile names, of the resource and of those inside it. Issues of
        severity error say that the resource does not conform.
        """
        found = validate(resource)
        if any(issue.code in _MISBUILT for issue in found):
            if profiles or with_claimed:
                text = "profiles were not asked, since this is not built as R4 says"
                found.append(Issue("information", "informational", "", text))
            return found
        run = Run(resource)
        root = Item(resource, None, resource["resourceType"], resource["resourceType"])
        try:
            for profile in profiles:
                self._asked(profile, root, run)
            self._below(root, run, (root.type, root.type), with_claimed=with_claimed)
        except RecursionError:
            run.add("error", "too-costly", root.place, "nested too deeply")
        missing = {issue.place for issue in found if issue.code == "required"}
        more = [one for one in run.issues if one.code != "required" or one.place not in missing]
        return [*found, *dict.fromkeys(more)]

    def is_loaded(self, profile: str) -> bool:
        """Whether a profile is known: loaded, or R4's own."""
        return bool(self._compiler.type_of(profile))

    def _asked(self, profile: str, root: Item, run: Run) -> None:
        if not self.is_loaded(profile):
            run.add("error", "not-found", "", "a profile that was asked for is not loaded")
            return
        self._one(profile, root, run)

    def _one(self, profile: str, item: Item, run: Run) -> None:
        type_ = core_type(profile)
        if type_:
            if type_ not in _ancestry(item.type):
                run.add("error", "structure", item.place, f"the profile is for {type_}")
            return
        check = self._compiler.profile(profile)
        key = (id(item.value), profile)
        if check is not None and key not in run.active:
            run.active.add(key)
            check(item, run)
            run.active.discard(key)

    # --- meta.profile and extensions, all the way down ----------------------------------------------------------

    def _below(self, item: Item, run: Run, paths: tuple[str, str], *, with_claimed: bool) -> None:
        """``paths``: where the item is, from its resource and from the type that it is an element of."""
        owner = item.value if type(item.value) is dict else item.companion
        if type(owner) is not dict:
            return
        if "resourceType" in owner:
            paths = (item.type, item.type)
            if with_claimed:
                self._claimed(item, run)
        for name, is_choice in _names(item.type, owner).items():
            for one in fetcher(item.type, name)(item):
                if type(one.value) is not dict and type(one.companion) is not dict:
                    continue
                if name in _EXTENSIONS:
                    self._extension(one, item, paths, run, is_modifier=name == "modifierExtension")
                here = run.at(one, name)
                suffix = "[x]" if is_choice else ""
                further = (f"{paths[0]}.{name}{suffix}", f"{item.type}.{name}{suffix}")
                self._below(one, here, further, with_claimed=with_claimed)

    def _claimed(self, item: Item, run: Run) -> None:
        """What meta.profile names."""
        meta = item.value.get("meta")
        for index, profile in enumerate(meta.get("profile", ()) if type(meta) is dict else ()):
            if type(profile) is not str:
                continue
            if self.is_loaded(profile):
                self._one(profile, item, run)
            else:
                place = f"{item.place}.meta.profile[{index}]"
                run.add("warning", "not-found", place, "this profile is not loaded: not checked")

    def _extension(
        self, item: Item, owner: Item, paths: tuple[str, str], run: Run, *, is_modifier: bool
    ) -> None:
        url = item.value.get("url") if type(item.value) is dict else None
        if type(url) is not str or (":" not in url):
            return  # a part of a complex extension, which its definition knows
        if self._compiler.type_of(url) != "Extension" or core_type(url):
            if is_modifier:
                text = "a modifier extension whose definition is not loaded: not checked"
                run.add("warning", "not-found", item.place, text)
            else:
                text = "extensions whose definitions are not loaded were not checked"
                run.tell("information", item.place, text)
            return
        self._one(url, item, run)
        definition = self._compiler.library.find("StructureDefinition", url) or {}
        if not _is_in_context(definition.get("context", ()), owner, paths):
            run.add(
                "error", "structure", item.place, f"the extension is not for elements of this kind [{url}]"
            )


def _names(type_: str, owner: JsonObject) -> dict[str, bool]:
    """Name of each element of ``owner`` that may have something below → whether it is a choice."""
    found: dict[str, bool] = {}
    for key, value in owner.items():
        if type(value) is not dict and type(value) is not list:
            continue
        element = find_element((type_,), key.removeprefix("_"))
        if element is not None:
            found[element[0].name] = element[0].is_choice
    return found


def _ancestry(type_: str) -> list[str]:
    """A type and those that it descends from."""
    found = []
    while type_:
        found.append(type_)
        type_ = type_definition(type_).base if type_.partition(".")[0] in type_names() else ""
    return found


def _is_in_context(contexts: Sequence[Any], owner: Item, paths: Sequence[str]) -> bool:
    """Whether an extension may stand on its owner. R4 defining-extensions.html#context; FHIRPath is not asked.

    ``Element`` is anything: R4's own examples have such extensions on resources.
    """
    if not contexts:
        return True
    here = {"Element", *paths, *(path.replace("[x]", "") for path in paths), *_ancestry(owner.type)}
    for context in contexts:
        kind, expression = context.get("type"), context.get("expression")
        if kind == "fhirpath" or (kind == "element" and expression in here):
            return True
        if kind == "extension" and type(owner.value) is dict and owner.value.get("url") == expression:
            return True
    return False
