"""Damaged DICOM files through the whole command; `python Testing/fuzz_dicom.py --mutants 50000` does as many as one likes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[1] / "fuzz_dicom.py"


@pytest.mark.skipif(os.name != "posix", reason="the processes of the program are forked")
@pytest.mark.parametrize("first, count", [(45, 100), pytest.param(0, 2000, marks=pytest.mark.slow)])
def test_no_mutant_ends_the_command_but_by_a_result_or_a_sentence(first, count):
    """The first 45 are whole files and those that kill decoders, which have tests of their own."""
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), "--first", str(first), "--mutants", str(count)], capture_output=True, text=True, timeout=3000,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    print(ended.stdout)
    seen = json.loads(ended.stdout.splitlines()[-1])
    assert seen["mutants"] == count and seen["did not pass"] == 0 and set(seen["exit codes"]) <= {"0", "3", "4"}
