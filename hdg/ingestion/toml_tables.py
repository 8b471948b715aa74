"""Files of named TOML tables: read with file and line of what is wrong, and again when they change.

Used for ``senders.toml`` and ``destinations.toml``.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from hdg.errors import SettingsError

__all__ = ["Model", "Problem", "Reloaded", "read", "validated"]

Model = TypeVar("Model", bound=BaseModel)
Content = TypeVar("Content")
Problem = tuple[str, str]
"""(key of a table, what is wrong with it)."""

_LOOK_S = 1.0


def validated(kind: type[Model], table: Any) -> tuple[Model | None, list[Problem]]:
    """A table as its model, or its problems."""
    try:
        return kind.model_validate(table), []
    except ValidationError as error:
        return None, [(str((*one["loc"], "")[0]), one["msg"]) for one in error.errors()]


def read(
    path: Path, section: str, check: Callable[[str, Any], tuple[Model | None, Iterable[Problem]]]
) -> dict[str, Model]:
    """The tables ``[section.NAME]`` of a file, none when there is no file. ``check`` makes each of them.

    Raises SettingsError that names every problem with ``file:line``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name}: cannot be read ({type(error).__name__})") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise SettingsError(f"{path.name}:{line[1] if line else text.count(chr(10)) + 1}: {error}") from None
    named = content.get(section, {})
    if not isinstance(named, dict):
        raise SettingsError(f"{path.name}:1: {section} must be tables")
    problems = [
        (_line(text, section, "", name), f"{name}: there are only [{section}.…] tables here")
        for name in content
        if name != section
    ]
    tables: dict[str, Model] = {}
    for name, table in named.items():
        made, wrong = check(name, table)
        problems += [
            (_line(text, section, name, key), f'{section}."{name}".{key}: {problem}')
            for key, problem in wrong
        ]
        if made is not None:
            tables[name] = made
    if problems:
        raise SettingsError("; ".join(f"{path.name}:{line}: {text}" for line, text in sorted(problems)))
    return tables


def _line(text: str, section: str, table: str, key: str) -> int:
    """The line of a key in a table, else of the table, else the first; TOML's reader does not tell."""
    lines = text.splitlines()
    quoted = re.escape(table)
    header = re.compile(rf"""\s*\[\s*{section}\s*\.\s*["']?{quoted}["']?\s*(\.|\])""")
    start = next((n for n, line in enumerate(lines) if table and header.match(line)), 0)
    setting = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
    for number in range(start + (1 if table else 0), len(lines)):
        if setting.match(lines[number].lstrip("[")):
            return number + 1
        if table and lines[number].lstrip().startswith("[") and not header.match(lines[number]):
            break
    return start + 1


class Reloaded(Generic[Content]):
    """A file as it is now.

    A change is seen within a second; a wrong one leaves the last good reading in force. So does a file that is gone or
    blank while an earlier one was not: it is being written anew, or its folder is away, and what was declared must not
    be forgotten meanwhile.
    """

    def __init__(
        self,
        path: Path,
        load: Callable[[Path], Content],
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises SettingsError when the file is wrong at the start: there is no good reading yet."""
        self.path = path
        self.problem = ""
        """What is wrong with the file as it lies there; '' when it is in force."""
        self.generation = 0
        """Counts the readings in force; whoever caches what follows from one compares it."""
        self._load = load
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._state = self._look()
        self._looked = clock()
        self._content = load(path)
        self._is_given = self._is_there()

    def current(self) -> Content:
        """The reading in force."""
        if self._clock() - self._looked >= _LOOK_S and self._lock.acquire(blocking=False):
            try:
                self._looked = self._clock()
                self._refresh()
            finally:
                self._lock.release()
        return self._content

    def _is_there(self) -> bool:
        """Whether the file holds anything. Raises SettingsError when it cannot be read."""
        try:
            return bool(self.path.read_bytes().strip())
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SettingsError(f"{self.path.name}: cannot be read ({type(error).__name__})") from None

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

    def _refresh(self) -> None:
        state = self._look()
        if state == self._state:
            return
        self._state = state
        try:
            is_given = self._is_there()
            if self._is_given and not is_given:
                raise SettingsError(f"{self.path.name} is gone or empty; a comment in it declares nothing")
            content = self._load(self.path)
        except SettingsError as error:
            self.problem = str(error)
            self._log.error("%s is wrong and NOT in force, the last good one is: %s", self.path.name, error)
            return
        self._content, self.problem, self._is_given = content, "", is_given
        self.generation += 1
        self._log.warning("%s is in force: %s", self.path.name, content)
