"""The page of the OpenAPI description is whole in itself (tests/interop/test_docs_browser.py shows it to a browser)."""

from __future__ import annotations

import re

import pytest
from lxml import html

from hdg.usage.fhir_api.docs_page import METHODS, page
from hdg.usage.fhir_api.openapi import openapi


@pytest.fixture
def served(world):
    return world.client.get("/docs")


def test_the_page_shows_every_operation_of_the_description(served):
    tree = html.fromstring(served.text)
    shown = {(summary.findtext("span").lower(), summary.findtext("code")) for summary in tree.iter("summary")}
    described = openapi()["paths"].items()
    assert shown == {(method, path) for path, item in described for method in METHODS if method in item}


def test_the_page_asks_nothing_of_any_other_host_and_runs_no_script(served):
    policy = served.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    tree = html.fromstring(served.text)
    assert not list(tree.iter("script", "img", "iframe", "form", "object"))
    assert not [
        node for node in tree.iter() if any(name.startswith("on") or name == "style" for name in node.attrib)
    ]
    targets = [value for node in tree.iter() for name, value in node.items() if name in ("href", "src")]
    assert targets
    assert all(re.match(r"#|/(?!/)|data:,$", target) for target in targets)
    assert "url(" not in served.text
    assert "@import" not in served.text


def test_the_page_can_be_walked_without_seeing_it(served):
    tree = html.fromstring(served.text)
    assert tree.get("lang") == "en"
    assert [node.tag for node in tree.iter("h1", "h2")][:2] == ["h1", "h2"]
    ids = [node.get("id") for node in tree.iter() if node.get("id")]
    assert len(ids) == len(set(ids))
    for link in tree.iter("a"):
        assert (link.text or "").strip()
        if link.get("href").startswith("#"):
            assert link.get("href")[1:] in ids
    for table in tree.iter("table"):
        assert table.findtext("caption")
        assert all(head.get("scope") for head in table.iter("th"))


def test_a_text_of_the_description_is_text_on_the_page():
    text = "<script>alert(1)</script> & \"'"
    operation = {"summary": text, "responses": {"200": {"description": text}}}
    description = {
        "info": {"title": text, "version": "1", "description": text},
        "paths": {"/fhir": {"get": operation}},
    }
    made = page(description, "http://x/fhir")
    assert b"<script>" not in made
    assert html.fromstring(made.decode()).findtext(".//h1") == text


def test_the_description_is_served_as_it_is(world):
    assert world.client.get("/openapi.json").json() == openapi()
