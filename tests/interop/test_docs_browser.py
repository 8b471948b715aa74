"""``/docs`` in a real browser, which notes every request that it makes. ``make interop`` fetches Chromium."""

from __future__ import annotations

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from lxml import html

from bench.measure import start_gateway
from hdg.usage.fhir_api.docs_page import METHODS
from hdg.usage.fhir_api.openapi import openapi

pytestmark = pytest.mark.interop


def shown(url: str, folder: Path) -> tuple[str, set[str]]:
    """The document as the browser holds it after loading, and the hosts that the page made it ask."""
    log = folder / "net.json"
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={log}",
        "--virtual-time-budget=3000",
        "--dump-dom",
        url,
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    events = json.loads(log.read_text())["events"]
    asked = [event["params"] for event in events if "url" in event.get("params", {})]
    by_pages = {one["url"] for one in asked if one.get("initiator", "").startswith("http")}
    return done.stdout, {urlsplit(one).hostname or "" for one in by_pages}


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A page that asks another host for a script."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<!DOCTYPE html><script src='http://cdn.example/x.js'></script><p>x"
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_the_page_shows_every_operation_and_asks_no_other_host(tmp_path: Path) -> None:
    running = start_gateway(tmp_path / "data")
    try:
        host, port = running.http
        text, hosts = shown(f"http://{host}:{port}/docs", tmp_path)
    finally:
        running.process.terminate()
        running.close()
    tree = html.fromstring(text)
    operations = [item for path in openapi()["paths"].values() for item in METHODS if item in path]
    assert len(tree.findall(".//summary")) == len(operations)
    assert tree.findtext(".//h1") == "Healthcare Data Gateway"
    assert hosts == set()


def test_a_page_that_asks_another_host_would_be_found(elsewhere: str, tmp_path: Path) -> None:
    _, hosts = shown(elsewhere, tmp_path)
    assert "cdn.example" in hosts
