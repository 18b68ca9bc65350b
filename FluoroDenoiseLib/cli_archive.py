"""The command `fluorodenoise denoise DIR OUT`: what is said on the way, and the table at the end.

Names of an archive's files are often those of patients. They are printed to a terminal, where a person reads them, and
not where the output goes to a file: there a run is called by its number in the order of names, unless --names is given.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from FluoroDenoiseLib.console import say, show_trace, watched_by_a_person
from FluoroDenoiseLib.folders import Archive, Outcome, Report, Task, open_archive, runs_below
from FluoroDenoiseLib.jobs import denoise_file, explain, load, made_with
from FluoroDenoiseLib.shares import joined
from FluoroDenoiseLib.targets import UsageError

if TYPE_CHECKING:
    import argparse

    from FluoroDenoiseLib.jobs import DenoiseSettings, Watch

SOME_FAILED = 3


@dataclass(frozen=True)
class Words:
    """What the things of an archive, and their parts, are called."""

    thing: str = "run"
    part: str = "frame"


def denoise_folder(options: argparse.Namespace, settings: DenoiseSettings) -> int:
    """Denoise every run below a folder to the same place below another; 0 when all are there, else 3."""
    refuse_extras(options)
    tasks = runs_below(options.source, options.target)
    model, compute = load(settings)

    def denoise(task: Task, overwrite: bool, watch: Watch) -> Report:
        return denoise_file(task.source, task.place, model, compute, settings, overwrite, watch=watch)

    by = f"by {model.name}, device: {compute.device} in {compute.precision}: {compute.reason}"
    return denoise_archive(options, tasks, made_with(model, settings), by, denoise)


def refuse_extras(options: argparse.Namespace) -> None:
    """UsageError for what is made of one file only."""
    if options.compare or options.residual:
        raise UsageError("--compare and --residual are for one file; denoise that alone to get them.")


def denoise_archive(
    options: argparse.Namespace, tasks: Sequence[Task], made: dict, by: str, denoise: Callable[[Task, bool, Watch], Report],
    words: Words = Words(),
) -> int:
    """Do those tasks that are not done yet, telling of each and of all; 0 when all are there, else 3.

    made: see open_archive; by: by what and on what, in words. denoise(task, overwrite, watch): see jobs.denoise_file.
    """
    began = time.monotonic()
    with joined() as share, open_archive(tasks, options.target, made, options.overwrite, share) as archive:
        names = Names(archive, options.names or watched_by_a_person(), words)
        if share.speaks:
            say(f"{options.target}: {len(tasks)} {words.thing}s {by}")
        rows: list[dict] = []
        try:
            for outcome in archive.denoise_each(lambda task, overwrite: denoise(task, overwrite, watch(names, task, share.speaks))):
                rows.append(row_of(outcome, names))
                if outcome.error:
                    show_trace(outcome.error)
                if share.speaks and outcome.state != "there":
                    say(f"  {rows[-1]['name']}: {in_words(rows[-1], words)}")
        except KeyboardInterrupt:
            say(f"{options.target}: stopped after these; started again, it goes on from here\n{table(rows, time.monotonic() - began, words)}")
            raise
        rows = sorted(share.gather(rows), key=lambda row: row["number"])
    if share.speaks:
        done = sum(row["state"] == "done" for row in rows)
        say(f"{options.target}: {done} of {len(tasks)} {words.thing}s denoised\n{table(rows, time.monotonic() - began, words)}")
    return SOME_FAILED if any(row["state"] == "failed" for row in rows) else 0


def watch(names: Names, task: Task, speaks: bool) -> Watch:
    """Says what a person should know of a run before its first frame, and shows how far it is."""
    from tqdm import tqdm

    def shown(frames: Iterable, count: int, facts: dict) -> Iterable:
        for warning in facts["warnings"]:
            print(f"  {names.of(task)}: note: {names.hidden_in(warning, task)}", file=sys.stderr)
        return tqdm(frames, total=count, unit=f" {names.words.part}s", desc=f"  {names.of(task)}", leave=False, disable=None if speaks else True)

    return shown


class Names:
    """What to call the tasks of an archive: by their names below its folder, or by their numbers."""

    def __init__(self, archive: Archive, shown: bool, words: Words) -> None:
        self.words = words
        self._archive, self._shown = archive, shown
        self._numbers = {task.place: number for number, task in enumerate(archive.tasks, 1)}

    def of(self, task: Task) -> str:
        number = f"{self._called(task)} of {len(self._numbers)}"
        return f"{self._archive.name_of(task)} ({number})" if self._shown else number

    def hidden_in(self, sentence: str, task: Task) -> str:
        """The sentence with a number in place of every name of its files and their folders, if they are not to be shown."""
        if self._shown:
            return sentence
        name, files = Path(self._archive.name_of(task)), [*task.files, task.place]
        known = {word for file in files for word in (str(file), file.name, file.stem)} | {*name.parts, name.stem}
        if len(name.parts) > 1:
            known |= {str(file.parent) for file in files}
        for word in sorted(known, key=len, reverse=True):
            if word in sentence:
                sentence = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", self._called(task), sentence)
        return sentence

    def _called(self, task: Task) -> str:
        return f"{self.words.thing} {self._numbers[task.place]}"


def row_of(outcome: Outcome, names: Names) -> dict:
    """An outcome in plain values."""
    exit_code, sentence = explain(outcome.error) if outcome.error else (0, "")
    return {"number": outcome.number, "name": names.of(outcome.task), "state": outcome.state, "ours": outcome.ours,
            "frames": outcome.frames, "seconds": outcome.seconds, "exit_code": exit_code,
            "sentence": names.hidden_in(sentence, outcome.task)}


def in_words(row: dict, words: Words) -> str:
    if row["state"] == "failed":
        return f"failed with code {row['exit_code']}: {row['sentence']}"
    return f"{row['frames']} {words.part}s in {row['seconds']:.1f} s"


def table(rows: Sequence[dict], seconds: float, words: Words) -> str:
    """What became of the tasks, a line for each state, and below it every failure with its reason."""
    def line(what: str, some: Sequence[dict], spent: float | None = None) -> str:
        spent = sum(row["seconds"] for row in some) if spent is None else spent
        return f"  {what:<26}{len(some):>8}{sum(row['frames'] for row in some):>10}{spent:>12.1f}"

    of = lambda state, ours=True: [row for row in rows if row["state"] == state and row["ours"] == ours]
    lines = [f"  {'':<26}{words.thing + 's':>8}{words.part + 's':>10}{'seconds':>12}", line("done", of("done")), line("already there", of("there"))]
    if foreign := of("there", False):
        lines.append(f"{line('there, not of this archive', foreign)}   --overwrite replaces them")
    lines += [line("failed", of("failed")), line("in all", rows, seconds)]
    return "\n".join(lines + [f"  {row['name']}: {in_words(row, words)}" for row in of("failed")])
