"""Starts the stand-in host (host/README.md). Without slicer-core and PySide6 the tests of this folder are left out."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
MISSING = [name for name, package in (("slicer_core", "slicer-core"), ("PySide6", "PySide6-Essentials")) if find_spec(name) is None]

if MISSING:
    collect_ignore_glob = ["test_*.py"]
else:
    for folder in (HERE, HERE.parents[1] / "FluoroDenoise"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    import host

    host.start(os.environ.get("SLICER_PYTHON_DIR"))
    from host.fixtures import *  # noqa: F403


def pytest_terminal_summary(terminalreporter):
    if MISSING:
        terminalreporter.write_line(f"Testing/Scene was left out, because {' and '.join(MISSING)} cannot be imported: "
                                    "pip install '.[scene]'")
