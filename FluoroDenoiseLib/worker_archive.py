"""What the worker tells of an archive: an event when a run begins and one when it ends, and the counts at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from FluoroDenoiseLib.folders import Report, Task, open_archive
from FluoroDenoiseLib.jobs import explain


def do_archive(
    tasks: Sequence[Task], target: Path, made: dict, overwrite: bool, denoise: Callable[[Task, bool], Report], send: Callable,
    check: Callable[[], None],
) -> dict:
    """Do those tasks that are not done yet; the fields of the last event. made and denoise: see open_archive."""
    states: list[str] = []
    begin = time.monotonic()
    with open_archive(tasks, target, made, overwrite) as archive:

        def tell(task: Task, state: str, message: str = "") -> None:
            send("file", index=len(states), count=len(tasks), name=archive.name_of(task), state=state, message=message)

        def denoise_one(task: Task, replace: bool) -> Report:
            check()
            tell(task, "started")
            return denoise(task, replace)

        for outcome in archive.denoise_each(denoise_one):
            tell(outcome.task, outcome.state, explain(outcome.error)[1] if outcome.error else "")
            states.append(outcome.state)
    counts = {state: states.count(state) for state in ("done", "there", "failed")}
    return {"target": str(target), **counts, "seconds": round(time.monotonic() - begin, 2)}
