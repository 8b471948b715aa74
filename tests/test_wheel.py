"""The wheel carries its data: built, installed in a fresh environment, it converts a message."""

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
    where = subprocess.check_output(
        [python, "-c", "import hdg.data; print(hdg.data.folder('mappings'))"], text=True, cwd=tmp_path
    )
    assert str(site) in where
