"""Run all benchmarks: ``python -m benchmarks [NAME ...]``; writes ``benchmarks/results/``."""

import argparse
import importlib
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

from napari_bio_superposition.core.provenance import package_versions

HERE = Path(__file__).parent


def main() -> None:
    """Run the chosen benchmark modules and write one JSON file for this kind of machine."""
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}")
    chosen = parser.parse_args().names or names
    if unknown := set(chosen) - set(names):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    path = HERE / "results" / f"{describe_machine()['name']}.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    results |= {"machine": describe_machine(), "versions": package_versions()}
    for name in chosen:
        rows: list[dict[str, Any]] = importlib.import_module(
            f"benchmarks.bench_{name}"
        ).benchmarks()
        results[name] = rows
        print_rows(name, rows)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"\nWritten to {path.relative_to(HERE.parent)}")


def describe_machine() -> dict[str, Any]:
    """Return what decides the figures: processor, cores, system; no host name."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text(encoding="utf-8"))
        processor = found.group(1) if found else processor
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = re.sub(r"\W+", "-", f"{processor}-{cores}-cores").strip("-").lower()
    return {"name": name, "processor": processor, "cores": cores, "system": platform.system()}


def print_rows(name: str, rows: list[dict[str, Any]]) -> None:
    """Print one benchmark as a table."""
    print(f"\n{name}")
    for row in rows:
        print("  " + "  ".join(f"{key}={_short(value)}" for key, value in row.items()))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
