"""What reads PCD-01 is imported when a message is PCD-01, and not for all the others."""

from __future__ import annotations

import ast
import subprocess
import sys

CODE = """
import sys
from hdg.fhir.ids import PUBLIC_KEY
from hdg.ingestion.hl7v2.convert import Converter
from tests.messages import oru
from tests.pcd_messages import MONITOR, SPO2, number, pcd

def held():
    return sorted(name for name in sys.modules if name.startswith("hdg.ingestion.device"))

converter = Converter(id_key=PUBLIC_KEY)
converter.convert(oru(), at_us=0)
print(held())
converter.convert(pcd(MONITOR, number(SPO2, "1.1.1.1", "97")), at_us=0)
print("hdg.ingestion.device.pcd_measurement" in held())
"""


def test_an_ordinary_message_imports_nothing_that_reads_devices_but_what_tells_them_apart() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True, text=True)
    first, second = done.stdout.splitlines()
    assert ast.literal_eval(first) == ["hdg.ingestion.device", "hdg.ingestion.device.pcd_profile"]
    assert second == "True"
