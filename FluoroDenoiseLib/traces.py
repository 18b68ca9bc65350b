"""Where a program went wrong, told without a value: the text of an exception can repeat a patient's name."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

PACKAGE = Path(__file__).parent
# What drivers and libraries say of themselves, in their own words only.
OF_THE_MACHINE = re.compile(
    r"(CUDA|cuDNN) error: [a-z ]+|C(UDNN|UBLAS)_STATUS_[A-Z_]+|CUDA driver version is insufficient|driver/library version mismatch"
    r"|driver on your system is too old|no kernel image is available|compiled using NumPy 1|Numpy is not available|_ARRAY_API not found"
    r"|numpy\.core\.multiarray failed|numpy\.dtype size changed|DLL load failed|WinError \d+|cannot open shared object file"
    r"|(undefined symbol|symbol not found)"
)


def trace(error: BaseException) -> str:
    """A traceback of files, lines, functions and types of exceptions, without their texts and without folders."""
    lines = []
    for one in reversed(_chain(error)):
        frames = traceback.extract_tb(one.__traceback__)
        lines += [f"  {_file(frame.filename)}, line {frame.lineno}, in {frame.name}" for frame in frames]
        lines.append(type(one).__name__)
    return "\n".join(lines)


def place(error: BaseException) -> str:
    """The innermost of our own lines that an exception came through, as file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)]
    last = (ours or frames or [None])[-1]
    return f"{_file(last.filename)}, line {last.lineno}" if last else "nowhere"


def of_the_machine(error: BaseException) -> str:
    """What the text of an exception says of drivers and libraries, which is never a patient's; "" for all others."""
    found = OF_THE_MACHINE.search(str(error))
    return found[0].strip() if found else ""


def _chain(error: BaseException) -> list[BaseException]:
    """The exception, and those that it was raised from or while handling, the newest first."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return chain


def _file(name: str) -> str:
    path = Path(name)
    return path.relative_to(PACKAGE.parent).as_posix() if path.is_relative_to(PACKAGE) else path.name
