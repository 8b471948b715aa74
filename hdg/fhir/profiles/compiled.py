"""Profiles as closures, made when they are first asked for and then kept. R4 profiling.html, elementdefinition.html."""

from __future__ import annotations

from hdg.fhir.profiles.library import Library, core_type
from hdg.fhir.profiles.package import PackageError
from hdg.fhir.profiles.rules import Check, item_rules
from hdg.fhir.profiles.run import Run
from hdg.fhir.profiles.slicing import Slicing
from hdg.fhir.profiles.tree import Node, tree_of
from hdg.fhir.profiles.values import Item, fetcher
from hdg.fhir.profiles.valuesets import ValueSets

__all__ = ["Compiler"]


class Compiler:
    """The compiled profiles of one library. Threads may share it: at worst something is made twice."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.value_sets = ValueSets(library)
        self._trees: dict[str, Node | PackageError] = {}
        self._profiles: dict[str, Check | None] = {}
        self._checks: dict[tuple[int, str], Check] = {}
        self._roots: dict[int, Node] = {}

    def type_of(self, canonical: str) -> str:
        """The type that a profile is of, '' when it is neither loaded nor R4's own."""
        core = core_type(canonical)
        if core:
            return core
        found = self.library.find("StructureDefinition", canonical)
        return str(found.get("type", "")) if found is not None else ""

    def node(self, canonical: str) -> Node | None:
        """The tree of a loaded profile; None for R4's own types, what is not loaded, what cannot be used."""
        found = self._tree(canonical)
        return found if isinstance(found, Node) else None

    def _tree(self, canonical: str) -> Node | PackageError | None:
        if core_type(canonical):
            return None
        known = self._trees.get(canonical)
        if known is None:
            definition = self.library.find("StructureDefinition", canonical)
            if definition is None:
                return None
            try:
                known = tree_of(definition, self.library)
                _connect(known, known, self._roots)
            except PackageError as error:
                known = error
            self._trees[canonical] = known
        return known

    def profile(self, canonical: str) -> Check | None:
        """The check of a profile; None when it is not loaded (or is R4's own, which asks nothing more)."""
        if canonical not in self._profiles:
            self._profiles[canonical] = self._profile(canonical)
        return self._profiles[canonical]

    def _profile(self, canonical: str) -> Check | None:
        tree = self._tree(canonical)
        if tree is None:
            return None
        label = canonical.partition("|")[0]
        if isinstance(tree, PackageError):
            text = f"the profile cannot be used: {tree}"
            return lambda item, run: run.add("error", "exception", item.place, text)
        type_, text = tree.types[0], f"the profile {label} is for {tree.types[0]}"

        def check(item: Item, run: Run) -> None:
            if item.type != type_:
                run.add("error", "structure", item.place, text)
                return
            self.check_of(tree, item.type, label)(item, run)

        return check

    def check_of(self, node: Node, type_: str, label: str) -> Check:
        """The check of items of a type by a node."""
        key = (id(node), type_)
        known = self._checks.get(key)
        if known is None:
            known = self._checks[key] = self._check_of(node, type_, label)
        return known

    def _check_of(self, node: Node, type_: str, label: str) -> Check:
        checks = item_rules(node, type_, self, label)
        checks += [self._element(child, type_, label) for child in node.children.values()]
        referred = self._referred(node)
        if referred is not None:
            checks.append(lambda item, run: self.check_of(referred, item.type, label)(item, run))
        if len(checks) == 1:
            return checks[0]

        def check(item: Item, run: Run) -> None:
            for one in checks:
                one(item, run)

        return check

    def _referred(self, node: Node) -> Node | None:
        """What a content reference (``#Questionnaire.item``) names in the same profile."""
        reference = node.definition.get("contentReference")
        at = self._roots.get(id(node))
        if not isinstance(reference, str) or at is None:
            return None
        for name in reference.rpartition("#")[2].split(".")[1:]:
            found = at.children.get(name)
            if found is None:
                return None
            at = found
        return None if at is node else at

    def _element(self, node: Node, owner: str, label: str) -> Check:
        """The check of an element below an item: how often it is there, each of its items, its slices."""
        fetch = fetcher(owner, node.name)
        place = "." + node.name.removesuffix("[x]")
        least, most = node.min, node.max
        few = f"at least {least} needed [{label}]"
        many = f"at most {most} allowed [{label}]" if most else f"it is not allowed here [{label}]"
        slicing = Slicing(node, self, label) if node.slices else None
        checks: dict[str, Check] = {}

        def check(item: Item, run: Run) -> None:
            items = fetch(item)
            count = len(items)
            if count < least:
                run.add("error", "required", item.place + place, few)
            if most is not None and count > most:
                run.add("error", "structure", item.place + place, many)
            for one in items:
                own = checks.get(one.type)
                if own is None:
                    own = checks[one.type] = self.check_of(node, one.type, label)
                own(one, run.at(one, node.name))
            if slicing is not None:
                slicing.check(items, item.place + place, run)

        return check


def _connect(node: Node, root: Node, roots: dict[int, Node]) -> None:
    """Notes the root of every node, which is kept alive by it."""
    roots[id(node)] = root
    for below in (*node.children.values(), *node.slices.values()):
        _connect(below, root, roots)
