"""``/images`` in a real browser: a person types in a token, opens a study and looks at its pictures.

``make interop`` fetches Chromium; it is driven by the Chrome DevTools Protocol.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from bench.measure import Running, start_gateway
from dicom_objects import image, part10

pytestmark = pytest.mark.interop

MARKUP = "<img src=x onerror=alert(1)>"


class Page:
    """One page of a browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.asked: list[str] = []
        """The URLs that the page requested."""
        self.call("Network.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._socket.recv(30))
            if said.get("method") == "Network.requestWillBeSent":
                self.asked.append(said["params"]["request"]["url"])
            if said.get("id") == self._number:
                return dict(said["result"])

    def does(self, script: str) -> Any:
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script: str) -> Any:
        end = time.monotonic() + 300
        while not (found := self.does(script)):
            assert time.monotonic() < end, (script, self.does("document.body.innerText"))
            time.sleep(0.05)
        return found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Running]:
    running = start_gateway(tmp_path / "data")
    yield running
    running.process.terminate()
    running.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={tmp_path / 'profile'}", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
        try:
            lines = iter(browser.stderr or ())
            (port,) = next(
                found.groups() for line in lines if (found := re.search(r"ws://[^:]+:(\d+)/", line))
            )
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
                target = next(one for one in json.load(answer) if one["type"] == "page")
            with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Page(socket)
        finally:
            browser.kill()


def test_a_person_finds_a_study_and_looks_through_its_pictures(
    served: Running, page: Page, tmp_path: Path
) -> None:
    white, black = b"\xff\x07" * 256, bytes(512)
    made = [image(1, pixels=black, StudyDescription=MARKUP), image(2, pixels=white, StudyDescription=MARKUP)]
    made.append(image(3, series=2, pixels=white + black, NumberOfFrames=2, SeriesDescription="Cine"))
    for number, one in enumerate(made):
        file = tmp_path / f"{number}.dcm"
        file.write_bytes(part10(one))
        subprocess.run(["storescu", *map(str, served.dicom), str(file)], check=True)
    command = ["-m", "hdg", "token", "--role", "clinician", "--user", "u1", "--institution", "local"]
    token = subprocess.check_output([sys.executable, *command, "--data", str(served.data)], text=True).strip()
    host, port = served.http
    page.call("Page.navigate", url=f"http://{host}:{port}/images")
    page.until("document.readyState === 'complete' && !!document.getElementById('token')")
    ask = "by('ask').requestSubmit()"
    page.does(f"by('token').value = 'wrong'; {ask}")
    page.until("by('said').textContent.includes('not accepted')")
    page.does(f"by('token').value = '{token}'; {ask}")
    found = "by('studies').querySelector('button')?.innerText.includes('3 objects')"
    page.until(f"{found} || (by('said').textContent === 'Loading …' || {ask}, false)")  # until it is made
    assert MARKUP in page.does("by('studies').innerText")
    page.does("by('studies').querySelector('button').click()")
    page.until("by('series').querySelectorAll('img').length === 2")
    page.until("[...by('series').querySelectorAll('img')].every((one) => one.naturalWidth)")
    page.does(
        "[...by('series').querySelectorAll('button')].find((one) => one.innerText.includes('Cine')).click()"
    )
    page.until("by('caption').textContent === '1 of 2' && by('picture').naturalWidth > 0")
    page.does("by('series').querySelector('button').click()")
    page.until("by('caption').textContent === '1 of 2' && by('picture').alt === 'Series 1'")
    page.does("by('at').value = 2; by('at').dispatchEvent(new Event('input'))")
    page.until("by('caption').textContent === '2 of 2'")
    page.does("by('centre').value = 1024; by('width').value = 100; by('window').requestSubmit()")
    page.until("by('said').textContent === ''")
    page.until("by('picture').naturalWidth > 0")
    assert page.does(GREY) > 250
    assert {one.split("/")[2] for one in page.asked if one.startswith("http")} == {f"{host}:{port}"}
    assert page.does("document.querySelectorAll('img[onerror]').length") == 0


GREY = """(() => { const canvas = document.createElement("canvas"), at = canvas.getContext("2d");
at.drawImage(by("picture"), 0, 0); return at.getImageData(2, 2, 1, 1).data[0]; })()"""
"""How bright the picture is that is shown."""
