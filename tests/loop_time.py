"""An event loop whose clock a test moves, for what happens after a while: nothing ends by chance, nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Loop(asyncio.SelectorEventLoop):
    """``ahead_s``: by so much its clock is ahead of the machine's."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        super().__init__()

    def time(self) -> float:
        return super().time() + self.ahead_s


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """``asyncio.run`` on such a loop."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main)


async def pass_by(seconds: float) -> None:
    """Lets the time pass; what is due then is done."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    loop.ahead_s += seconds
    for _ in range(3):
        await asyncio.sleep(0)
