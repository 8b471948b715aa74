"""What a client does with a proof: checks it against a root it trusts. Also the proof as one
offline-verifiable file.

RFC 9162 §2.1.3.2 and §2.1.4.2 (the same proofs as RFC 6962 §2.1.1 and §2.1.2, with the checking written out);
the file is a C2SP tlog-proof (https://c2sp.org/tlog-proof).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

__all__ = ["is_consistent", "is_included", "tlog_proof"]


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def is_included(entry: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """True when ``proof`` shows that leaf ``index`` of the tree (``size``, ``root``) is ``entry`` (RFC 9162
    §2.1.3.2).
    """
    if not 0 <= index < size:
        return False
    value = hashlib.sha256(b"\x00" + entry).digest()
    here, last = index, size - 1
    for sibling in proof:
        if last == 0:
            return False
        if here & 1 or here == last:
            value = _node(sibling, value)
            while not here & 1 and here:
                here >>= 1
                last >>= 1
        else:
            value = _node(value, sibling)
        here >>= 1
        last >>= 1
    return last == 0 and value == root


def is_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """True when ``proof`` shows that the tree (old, old_root) is a prefix of (new, new_root) (RFC 9162
    §2.1.4.2).
    """
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == hashlib.sha256(b"").digest()
    if not 0 < old < new or not proof:
        return False
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    here, last = old - 1, new - 1
    while here & 1:
        here >>= 1
        last >>= 1
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            first = _node(sibling, first)
            second = _node(sibling, second)
            while not here & 1 and here:
                here >>= 1
                last >>= 1
        else:
            second = _node(second, sibling)
        here >>= 1
        last >>= 1
    return last == 0 and first == old_root and second == new_root


def tlog_proof(index: int, proof: Sequence[bytes], note: str) -> str:
    """A self-contained proof file: index, audit path and the signed checkpoint (C2SP tlog-proof, Format)."""
    path = "".join(base64.b64encode(value).decode() + "\n" for value in proof)
    return f"c2sp.org/tlog-proof@v1\nindex {index}\n{path}\n{note}"
