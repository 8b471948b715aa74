"""The wheel carries its data: built, installed in a fresh environment, it converts a message; so does a checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_an_installed_wheel_finds_its_tables_and_converts(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = (tmp_path / "dist").glob("hdg-*.whl")
    # The dependencies come from the environment that runs the tests; hdg itself only from the wheel.
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True, capture_output=True
    )
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    dependencies = tmp_path / "dependencies"
    dependencies.mkdir()
    for entry in Path(next(p for p in sys.path if p.endswith("site-packages"))).iterdir():
        if not entry.name.lower().startswith(("hdg", "__editable__", "_editable", "_hdg")):
            (dependencies / entry.name).symlink_to(entry)
    (site / "dependencies.pth").write_text(str(dependencies))
    done = subprocess.run(
        [tmp_path / "venv" / "bin" / "hdg", "convert", str(ROOT / "examples" / "oru-r01-chemistry.hl7")],
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["resourceType"] == "Bundle"
    assert places(python, tmp_path) == [
        site / "hdg" / "_data" / name for name in ("mappings", "terminology", "examples")
    ]
    linted = subprocess.run(
        [tmp_path / "venv" / "bin" / "hdg", "map", "lint"], capture_output=True, check=False, cwd=tmp_path
    )
    assert (linted.returncode, linted.stdout) == (0, b"0 findings\n")


def places(python: str | Path, cwd: Path) -> list[Path]:
    """Where the installed hdg finds its data, asked from another folder."""
    code = (
        "from hdg.data import folder; print(*map(folder, ('mappings', 'terminology', 'examples')), sep='\\n')"
    )
    return [
        Path(line) for line in subprocess.check_output([python, "-c", code], text=True, cwd=cwd).splitlines()
    ]


def test_an_editable_install_finds_the_folders_of_its_checkout_and_converts(tmp_path: Path) -> None:
    """The environment of the tests is one (``pip install -e .``)."""
    assert places(sys.executable, tmp_path) == [
        ROOT / name for name in ("mappings", "terminology", "examples")
    ]
    command = [Path(sys.executable).with_name("hdg"), "convert", ROOT / "examples" / "oru-r01-chemistry.hl7"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path)
    assert json.loads(done.stdout)["resourceType"] == "Bundle"
