"""The page of images holds nothing of a patient and can ask nobody but the gateway that it came from.

tests/interop/test_images_browser.py shows it to a browser.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import pytest
from lxml import html


@pytest.fixture
def served(world):
    return world.client.get("/images")


def test_only_the_pages_own_script_and_style_may_run(served):
    policy = dict(part.split(" ", 1) for part in served.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["img-src"] == "blob: data:"
    tree = html.fromstring(served.text)
    for tag in ("script", "style"):
        (one,) = tree.iter(tag)
        text = re.search(rf"<{tag}>(.*?)</{tag}>", served.text, re.DOTALL)[1]
        assert policy[f"{tag}-src"] == f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
        assert not one.attrib
    assert not [name for node in tree.iter() for name in node.attrib if name.startswith("on")]


def test_nothing_that_comes_from_an_object_is_read_as_html_and_the_token_is_kept_nowhere(served):
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function("):
        assert forbidden not in served.text
    for kept in ("localStorage", "sessionStorage", "cookie", "location", "://"):
        assert kept not in served.text


def test_the_page_can_be_walked_without_seeing_it(served):
    tree = html.fromstring(served.text)
    assert tree.get("lang") == "en"
    assert tree.findtext(".//h1") == "Images"
    assert tree.xpath("//*[@role='status']")
    for field in tree.iter("input"):
        assert (field.getparent().text or "").strip()
    for list_ in tree.iter("ul"):
        assert list_.get("aria-label")
