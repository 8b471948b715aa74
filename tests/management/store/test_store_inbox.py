"""The inbox from behind and work items, on both databases."""

from __future__ import annotations

import pytest

from hdg.errors import NotFound
from hdg.management.store import Store
from hdg.management.store.inbox import close_item, entries, entry, mark, note_loss, work_items
from hdg.management.store.session import WriteSession
from hdg.management.store.unit import InboxRow


def row(number: int, status: str = "quarantined", sender: str = "A|B") -> InboxRow:
    return InboxRow(
        sender,
        f"C{number}",
        "00",
        status,
        number * 1000,
        "cid",
        b"ACK",
        "why",
        "PID-3",
        '{"listener":"http"}',
    )


def test_messages_are_listed_by_status_time_and_sender_in_order(store: Store, do) -> None:
    numbers = [do(lambda s, n=n: s.inbox_add(row(n, sender="A|B" if n % 2 else "C|D"))) for n in range(6)]
    do(lambda s: mark(s, numbers[3], "replayed"))
    listed = list(entries(store.engine, status="quarantined"))
    assert [each.control_id for each in listed] == ["C0", "C1", "C2", "C4", "C5"]
    assert [each.control_id for each in entries(store.engine, status="quarantined", sender="A|B")] == [
        "C1",
        "C5",
    ]
    between = entries(store.engine, status="quarantined", since_us=1000, until_us=5000)
    assert [each.control_id for each in between] == ["C1", "C2", "C4"]
    found = entry(store.engine, numbers[3])
    assert (found.status, found.origin, found.ack) == ("replayed", '{"listener":"http"}', b"ACK")
    with pytest.raises(NotFound):
        entry(store.engine, 99)


def test_equal_losses_are_one_item_that_opens_again_unless_ignored(store: Store, do) -> None:
    def lose(session: WriteSession, place: str = "PID-8", ikey: int = 1) -> None:
        note_loss(
            session, "unmapped code", "A|B", "ADT^A01", place, "the code is not in the map x", ikey=ikey
        )

    do(lambda s: [lose(s, ikey=1), lose(s, ikey=2), lose(s, "PID-9")])
    do(lambda s: lose(s, ikey=3))
    first, second = work_items(store.engine)
    assert (first.place, first.count, first.message) == ("PID-8", 3, 3)
    assert first.first_us < first.last_us
    do(lambda s: close_item(s, first.id, is_ignored=False))
    do(lambda s: close_item(s, second.id, is_ignored=True))
    assert work_items(store.engine) == []
    do(lambda s: [lose(s), lose(s, "PID-9")])
    assert [(item.id, item.count) for item in work_items(store.engine)] == [(first.id, 4)]
    assert len(work_items(store.engine, status=None)) == 2


def test_a_work_that_fails_notes_nothing(store: Store, do) -> None:
    def work(session: WriteSession) -> None:
        note_loss(session, "lost data", "A|B", "ADT^A01", "ZPI", "a local segment", ikey=1)
        raise NotFound("no")

    with pytest.raises(NotFound):
        do(work)
    assert work_items(store.engine, status=None) == []
