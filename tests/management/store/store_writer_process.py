"""Writes units until it is killed; prints the number of each unit once it is acknowledged.

Run by test_store_durable.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path

from hdg.management.keys import KeyRing
from hdg.management.store import InboxRow, Store
from hdg.settings import Settings

OBSERVATIONS = 3


def unit(session, number: int) -> None:
    patient = f"p{number}"
    session.put({"resourceType": "Patient", "id": patient, "birthDate": "1970"}, institution="s")
    for n in range(OBSERVATIONS):
        session.put(
            {
                "resourceType": "Observation",
                "id": f"o{number}-{n}",
                "status": "final",
                "code": {"coding": [{"code": str(n)}]},
                "subject": {"reference": f"Patient/{patient}"},
            },
            institution="s",
        )
    # Every fourth raw message is larger than what lies in the database.
    cid = session.blob_put(b"raw" * (1000 if number % 4 == 0 else 10), patient=patient, institution="s")
    session.inbox_add(InboxRow("A", str(number), f"{number:064x}", "accepted", session.at_us, cid, b"AA"))


def main(folder: str, first: int) -> None:
    keys = KeyRing.of_bytes(*(bytes([number]) * 32 for number in range(1, 6)))
    settings = Settings(data=Path(folder), inline_blob_bytes=2000, group_commit_max=8)
    with Store.open(settings, keys, lambda: time.time_ns() // 1000) as store:
        print("open", flush=True)
        waiting: deque = deque()
        number = first
        while True:
            waiting.append((number, store.submit(lambda s, n=number: unit(s, n))))
            number += 1
            if len(waiting) >= 20:
                done, future = waiting.popleft()
                future.result()
                sys.stdout.write(f"{done}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
