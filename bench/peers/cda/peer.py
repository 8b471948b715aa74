"""Converts every document of a list with a PyPI library; ../README.md tells the protocol of a driver.

python peer.py ccda-to-fhir|python-fhir-converter LIST SECONDS OUT
"""

import json
import logging
import sys
import time
import warnings
from io import BytesIO
from pathlib import Path


def ccda_to_fhir():
    """The first of them."""
    from ccda_to_fhir import convert_document

    return lambda raw: json.dumps(convert_document(raw.decode("utf-8-sig"))["bundle"], default=str)


TEMPLATES = {
    "11488-4": "ConsultationNote",
    "18842-5": "DischargeSummary",
    "34117-2": "HistoryandPhysical",
    "11504-8": "OperativeNote",
    "28570-0": "ProcedureNote",
    "11506-3": "ProgressNote",
    "57133-1": "ReferralNote",
    "18761-7": "TransferSummary",
}
"""By the document's code; all others are rendered as a CCD, which has most sections."""


def python_fhir_converter():
    """The second one, which wants to be told the kind of document."""
    import re

    from fhir_converter.renderers import CcdaRenderer

    renderer = CcdaRenderer()
    code = re.compile(rb"""<(?:\w+:)?code\b[^>]*?\bcode\s*=\s*["']([^"']*)""")

    def convert(raw):
        found = code.search(raw)
        template = TEMPLATES.get(found[1].decode() if found else "", "CCD")
        return json.dumps(json.loads(renderer.render_fhir_string(template, BytesIO(raw))))

    return convert


def run(convert, documents, seconds):
    """Documents a second of CPU time."""
    started = time.process_time()
    done = 0
    while not done or time.process_time() - started < seconds:
        for raw in documents:
            convert(raw)
        done += len(documents)
    return done / (time.process_time() - started)


def main(which, listed, seconds, out):
    """Prints one line of JSON."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    convert = {"ccda-to-fhir": ccda_to_fhir, "python-fhir-converter": python_fhir_converter}[which]()
    documents = [Path(path).read_bytes() for path in json.loads(Path(listed).read_text())]
    lines, good = [], []
    for raw in documents:
        try:
            lines.append(convert(raw))
            good.append(raw)
        except Exception as error:  # what a peer cannot convert is its result
            cause = error.__cause__ or error.__context__ or error
            said = f"{type(error).__name__}: {error} {type(cause).__name__}: {cause}"
            lines.append(json.dumps({"error": " ".join(said.split())[:300]}))
    Path(out).write_text("\n".join(lines) + "\n")
    rate = 0.0
    if seconds > 0 and good:
        run(convert, good, seconds)  # warm-up
        rate = run(convert, good, seconds)
    print(json.dumps({"rate": rate}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4])
