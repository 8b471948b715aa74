"""Every function of the compiled modules that calls itself, alone or by way of others, is known and bounded.

Compiled code has no RecursionError. Looked at are calls of functions of the same module or of another compiled one, by
name, and of methods of the same class, by name too. Functions that are handed on as values (the converters that tables
become, the checks of a type) nest as tables do, which Compiler, State.by_table and CDA's Program.fill bound, or come
through hdg.fhir.validate_objects, which is not compiled, or hdg.fhir.accept_parts, which Scope.room bounds.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
BOUNDED = {
    "hdg.fhir.accept_parts.Object.asks": "Scope.room, by Shape.asks",
    "hdg.fhir.accept_parts.Shapes.asks": "Scope.room, by Shape.asks",
    "hdg.fhir.bundle._pointed": "its room",
    "hdg.ingestion.cda.alike._has_been_read": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.alike._is_by_itself": "the number of tables: each once",
    "hdg.ingestion.cda.alike._put": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.authorship.Authorship._authors": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.authorship.Authorship._xpath": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.canonical._write": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.compile.Compiler.is_by_itself": "calls another module's",
    "hdg.ingestion.cda.convert._without": "MAX_DEPTH of a document: only sections are nested",
    "hdg.ingestion.cda.dispatch.Dispatch._holder": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.dispatch.Dispatch._inside": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.dispatch.Dispatch._read": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.dispatch.Dispatch.statement": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.dispatch._sections": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.element.Element._put_elements": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.element.Element._put_texts": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.element.Element.append": "calls another class's",
    "hdg.ingestion.cda.element.Element.get": "calls another class's",
    "hdg.ingestion.cda.element.Element.height": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.element.Element.release": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.named_people._nearest": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.named_times._times": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.narrative._content": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.narrative._element": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.narrative._inside": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.narrative._put": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.paths.Path.among": "_STEPS_MAX",
    "hdg.ingestion.cda.paths._chained": "_STEPS_MAX",
    "hdg.ingestion.cda.paths._check": "_NESTED_MAX",
    "hdg.ingestion.cda.paths._step": "_NESTED_MAX",
    "hdg.ingestion.cda.paths.parse_path": "_NESTED_MAX",
    "hdg.ingestion.cda.state.State.place_of": "calls another class's",
    "hdg.ingestion.cda.state.State.uri": "calls another class's",
    "hdg.ingestion.cda.values_codes._codings": "_DEEPEST",
    "hdg.ingestion.cda.xml.Tree._place": "MAX_DEPTH of a document",
    "hdg.ingestion.cda.xml.Tree.remove": "calls another class's",
    "hdg.ingestion.device.pcd_facets.Target.bits": "calls another class's",
    "hdg.ingestion.device.pcd_values.with_unit": "a Range has Quantities, which have none",
    "hdg.ingestion.device.pcd_values.words": "what single_value makes of one text",
    "hdg.ingestion.hl7v2.convert.Converter.feeds": "calls another class's",
    "hdg.ingestion.hl7v2.finish.Linker.resolve": "groups: the grammar's",
    "hdg.ingestion.hl7v2.groups.Group.nearest": "groups: the grammar's",
    "hdg.ingestion.hl7v2.groups._define": "groups: the grammar's",
    "hdg.ingestion.hl7v2.parser.Message.encode": "calls another class's",
    "hdg.ingestion.hl7v2.state.State._within": "groups: the grammar's",
    "hdg.ingestion.hl7v2.state.State.datatype": "calls another class's",
    "hdg.ingestion.hl7v2.state.State.field": "calls another class's",
    "hdg.ingestion.hl7v2.state.State.place": "calls another class's",
    "hdg.ingestion.hl7v2.state.State.resource_id": "calls another class's",
    "hdg.mapping.blocks._settled": "its room",
    "hdg.mapping.compile.Compiler._are_pure": "_is_pure",
    "hdg.mapping.compile.Compiler._compile_datatype": "the number of tables that are open",
    "hdg.mapping.compile.Compiler._converter": "_compile_datatype",
    "hdg.mapping.compile.Compiler._converting": "_compile_datatype",
    "hdg.mapping.compile.Compiler._fire": "_compile_datatype",
    "hdg.mapping.compile.Compiler._is_pure": "its room",
    "hdg.mapping.compile.Compiler._is_pure_as": "its room",
    "hdg.mapping.compile.Compiler._program": "_compile_datatype",
    "hdg.mapping.compile.Compiler._reference": "_compile_datatype",
    "hdg.mapping.compile.Compiler._step": "_compile_datatype",
    "hdg.mapping.compile.Compiler.datatype": "_compile_datatype",
    "hdg.mapping.context.Problem.copy": "calls another class's",
    "hdg.mapping.forms._leaves": "the length of its path",
    "hdg.mapping.remembered.fresh": "its room",
    "hdg.mapping.when._Parser.conjunction": "_Parser.enter",
    "hdg.mapping.when._Parser.expression": "_Parser.enter",
    "hdg.mapping.when._Parser.term": "_Parser.enter",
    "hdg.mapping.when._conjunction": "halves",
    "hdg.mapping.when._disjunction": "halves",
    "hdg.mapping.when.compared": "trees are as deep as _Parser.enter lets them be",
    "hdg.mapping.when.compile_when": "the same",
    "hdg.mapping.when.leaves": "the same",
    "hdg.mapping.when.needed": "the same",
    "hdg.mapping.when.operands": "the same",
    "hdg.mapping.when.simplified": "the same",
    "hdg.terminology.systems._Declared.uri": "calls another class's",
}


class Calls(ast.NodeVisitor):
    """Who calls whom in one module; ``found``: dotted function → for each call, the names that it may mean."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self.scope = [module]
        self.owner: list[str] = []
        self.classes: list[str] = []
        self.found: dict[str, list[tuple[str, ...]]] = {}
        self.imported = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self.visit(tree)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.append(node.name)
        self.classes.append(".".join(self.scope))
        self.generic_visit(node)
        self.classes.pop()
        self.scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.scope.append(node.name)
        self.owner.append(".".join(self.scope))
        self.found[self.owner[-1]] = []
        self.generic_visit(node)
        self.owner.pop()
        self.scope.pop()

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if not self.owner:
            return
        match node.func:
            case ast.Name(id=name):
                here = [".".join((*self.scope[:size], name)) for size in range(len(self.scope), 0, -1)]
                self.found[self.owner[-1]].append((*here, self.imported.get(name, "")))
            case ast.Attribute(attr=name) if self.classes and name != "__init__":
                self.found[self.owner[-1]].append((f"{self.classes[-1]}.{name}",))


def resolved(found: dict[str, list[tuple[str, ...]]]) -> dict[str, set[str]]:
    """The functions that each calls: of the names that a call may mean, the first that is a function."""
    return {
        caller: {name for names in called for name in [next((n for n in names if n in found), "")] if name}
        for caller, called in found.items()
    }


def reached(calls: dict[str, set[str]], start: str) -> Iterator[str]:
    seen: set[str] = set()
    pending = list(calls[start])
    while pending:
        name = pending.pop()
        if name in calls and name not in seen:
            seen.add(name)
            yield name
            pending += calls[name]


def test_whatever_calls_itself_in_compiled_code_is_bounded() -> None:
    names = subprocess.check_output([sys.executable, ROOT / "scripts" / "compiled.py"], text=True)
    every: dict[str, list[tuple[str, ...]]] = {}
    for module in names.strip().split(","):
        text = (ROOT / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")
        every |= Calls(module, ast.parse(text)).found
    calls = resolved(every)
    found = {name for name in calls if name in set(reached(calls, name))}
    assert sorted(found ^ set(BOUNDED)) == []


def test_no_compiled_module_lies_beside_its_source() -> None:
    """It would run instead of it: wheels are built from an unpacked sdist (docs/wheels.md)."""
    assert [file for end in ("so", "pyd") for file in (ROOT / "hdg").rglob(f"*.{end}")] == []
