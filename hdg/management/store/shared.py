"""What the writer keeps from one group of works to the next: states, owners' codes, the tools of its trade.

DESIGN §6. Owned by the writer's thread; what it keeps is bounded by bytes and counts.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from hdg.management import vault
from hdg.management.store.batch import Batch
from hdg.management.store.custom import CustomSet, Rows
from hdg.management.store.engine import Statements
from hdg.management.store.index import Indexer
from hdg.management.store.known_states import KnownStates
from hdg.management.store.texts import Texts

__all__ = ["Shared"]

_SAID_ONCE = frozenset({"AuditEvent", "MessageHeader", "Provenance"})
"""Types of which every message has new ones: not worth remembering."""


@dataclass(slots=True)
class Shared:
    """What outlives a group; owned by the writer's thread (``keks`` is shared with readers)."""

    statements: Statements
    indexer: Indexer
    keks: vault.KekCache
    files: vault.BlobFiles
    inline_blob_bytes: int
    is_postgresql: bool
    custom: CustomSet = field(default_factory=lambda: CustomSet.of("", ()))
    """Search parameters beside R4's own, as of the running transaction."""
    custom_rows: Rows | None = None
    """Makes their rows; None: there are none."""
    texts: Texts | None = None
    """Writes the index of words; None: there is none."""
    states: KnownStates = field(default_factory=KnownStates)
    owners: OrderedDict[tuple[str, str], str] = field(default_factory=OrderedDict)
    random: vault.Randomness = field(default_factory=vault.Randomness)
    owner_limit: int = 16_384

    def learn(self, custom: CustomSet) -> None:
        """Other search parameters are in use from this transaction on."""
        self.custom = custom
        self.custom_rows = Rows(self.indexer.id_hash, custom.parameters) if custom.parameters else None
        stand = custom.texts
        self.texts = (
            Texts(self.indexer.id_hash, is_postgresql=self.is_postgresql, is_full=stand.is_full)
            if stand is not None
            else None
        )

    def settle(self, batch: Batch) -> None:
        """Remembers what a group committed; forgets the least recently used."""
        for key, state in batch.states.items():
            if state is not None and state.type not in _SAID_ONCE:
                self.states.keep(key, state)
        self.states.shrink()
        for key, (code, _) in batch.owners.items():
            self.owners[key] = code
            self.owners.move_to_end(key)
        self.keks.add_all(batch.owners.values())
        while len(self.owners) > self.owner_limit:
            self.owners.popitem(last=False)

    def forget(self) -> None:
        """Another process may have changed what the states say."""
        self.states.clear()

    def forget_all(self) -> None:
        """A group that was remembered is not committed after all: neither are the owners' keys that it made."""
        self.forget()
        self.owners.clear()
