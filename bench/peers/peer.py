"""Parses every message of a file with a PyPI library and reads the same fields; README.md tells the protocol.

python peer.py hl7|hl7apy INPUT SECONDS
"""

import json
import sys
import time

FIELDS = [
    ("MSH", 9), ("MSH", 10), ("PID", 3), ("PID", 5), ("PID", 7), ("PID", 8), ("PID", 11), ("PV1", 2),
    ("PV1", 19), ("ORC", 2), ("OBR", 4), ("OBR", 7), ("OBX", 3), ("OBX", 5), ("OBX", 6),
]  # fmt: skip


def read_hl7(text):
    """python-hl7."""
    import hl7

    message = hl7.parse(text)
    names = {str(segment[0]) for segment in message}
    for name, number in FIELDS:
        if name in names:
            segment = message.segment(name)
            str(segment[number]) if number < len(segment) else ""
    return sum(str(segment[0]) == "OBX" for segment in message)


def read_hl7apy(text):
    """hl7apy, with groups, without validation."""
    from hl7apy.parser import parse_message

    message = parse_message(text, find_groups=True)
    found = {}
    for segment in _segments(message):
        found.setdefault(segment.name, []).append(segment)
    for name, number in FIELDS:
        if name in found:
            getattr(found[name][0], f"{name}_{number}".lower()).to_er7()
    return len(found.get("OBX", ()))


def _segments(element):
    for child in element.children:
        if child.classname == "Group":
            yield from _segments(child)
        else:
            yield child


def run(read, messages, seconds):
    """Messages a second of CPU time."""
    started = time.process_time()
    done = 0
    while time.process_time() - started < seconds:
        for text in messages:
            try:
                read(text)
                done += 1
            except Exception:  # counted in main
                pass
            if time.process_time() - started >= seconds:
                break
    return done / (time.process_time() - started)


def main(which, path, seconds):
    """Prints one line of JSON."""
    read = {"hl7": read_hl7, "hl7apy": read_hl7apy}[which]
    with open(path, "rb") as file:
        messages = [raw[1:].decode() for raw in file.read().split(b"\x1c\r") if raw]
    failed = obx = 0
    for text in messages:
        try:
            obx += read(text)
        except Exception:  # what a peer cannot read is its result
            failed += 1
    run(read, messages, seconds)
    print(json.dumps({"rate": run(read, messages, seconds), "failed": failed, "obx": obx}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
