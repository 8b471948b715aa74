"""What of hdg is compiled in the compiled wheel, as pyproject.toml says.

python scripts/compiled.py            the names of the modules, separated by commas
python scripts/compiled.py --check    exit 1 unless each of them is imported as compiled code
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def modules() -> list[str]:
    """Dotted names of the modules that mypyc compiles."""
    project: Any = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    return [path.removeprefix("/").removesuffix(".py").replace("/", ".") for path in hook["include"]]


def interpreted() -> list[str]:
    """Those that this interpreter imports as Python, each with the file that it finds."""
    found = {name: str(importlib.import_module(name).__file__) for name in modules()}
    return [f"{name}: {file}" for name, file in found.items() if not file.endswith((".so", ".pyd"))]


def main(arguments: list[str]) -> None:
    """Prints the names, or what is not compiled."""
    if arguments != ["--check"]:
        print(",".join(modules()))
    elif wrong := interpreted():
        sys.exit("not compiled:\n" + "\n".join(wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
