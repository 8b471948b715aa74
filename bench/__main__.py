"""``make bench``: every figure beside the limit that was measured in the same run. Writes bench/out/results.json.

python -m bench [NAME …]        only these figures
"""

from __future__ import annotations

import json
import os
import platform
import sys
import sysconfig
from pathlib import Path

from bench import cda, cli_figures, core, device, dicom, dicom_store, hl7v2, imports, pcd, service
from bench.measure import Figure
from hdg.mapping import runs

OUT = Path(__file__).parent / "out" / "results.json"
FIGURES = {
    "parse": core.parse,
    "convert_oru": core.convert_oru,
    "convert_mix": hl7v2.convert_mix,
    "convert_oru_200": hl7v2.convert_oru_200,
    "convert_mdm_5mb": hl7v2.convert_mdm_5mb,
    "convert_linear": hl7v2.convert_linear,
    "validate_observation": core.validate_observation,
    "convert_cda": cda.convert_cda,
    "cda_linear": cda.cda_linear,
    "cda_memory": cda.cda_memory,
    "pcd_100": pcd.pcd_100,
    "pcd_durable": pcd.pcd_durable,
    "mllp_durable": service.mllp_durable,
    "mllp_single_median": service.mllp_single_median,
    "read_gated": service.read_gated,
    "import_transactions": imports.import_transactions,
    "import_transactions_postgresql": imports.import_transactions_postgresql,
    "convert_folder": cli_figures.convert_folder,
    "convert_folder_memory": cli_figures.convert_folder_memory,
    "dicom_headers": dicom.dicom_headers,
    "dicom_study": dicom.dicom_study,
    "dicom_store_one": dicom_store.dicom_store_one,
    "dicom_store_four": dicom_store.dicom_store_four,
    "dicom_store_large": dicom_store.dicom_store_large,
    "cli_convert_one": cli_figures.cli_convert_one,
    "apple_export": device.apple_export,
    "apple_export_memory": device.apple_export_memory,
    "cli_help": cli_figures.cli_help,
}


def _interpreter() -> str:
    """Where it is from tells more than how it was built: Debian's is optimised and does not say so."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return f"Python {platform.python_version()} of {sys.base_prefix}{', optimised' if optimised else ''}"


def _build() -> str:
    return "pure Python" if (runs.__file__ or "").endswith(".py") else "compiled"


def main(names: list[str]) -> None:
    """Measures and prints one table."""
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        sys.exit(f"no such figure: {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    print(
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {_interpreter()}, hdg {_build()}\n"
    )
    print("| figure | measured | goal | limit in the same run | ratio |")
    print("|---|---|---|---|---|")
    figures: list[Figure] = []
    for name in names or FIGURES:
        figure = FIGURES[name]()
        figures.append(figure)
        print(
            f"| {figure.name} | {figure.value:,.4g} {figure.unit} | {figure.goal} "
            f"| {figure.limit:,.4g} {figure.unit} ({figure.limit_is}) | {figure.ratio:.2f} |",
            flush=True,
        )
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps([figure.as_json() for figure in figures], indent=1) + "\n")
    print(f"\nwritten to {OUT.relative_to(Path.cwd()) if OUT.is_relative_to(Path.cwd()) else OUT}")


if __name__ == "__main__":
    main(sys.argv[1:])
