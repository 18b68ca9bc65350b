"""What has been done in an archive: a file of JSON lines in the folder of the results, from which a second start goes on.

    {"archive": 1, "salt": "..."}                                                            once, by the first process
    {"start": 3, "version": "0.1.0", "model": "quality", "sha256": "...", "strength": 1.0, "noise": null}
    {"run": "...", "state": "begun", "source": "...", "before": null}
    {"run": "...", "state": "done", "source": "...", "result": "...", "frames": 40, "seconds": 3.2}
    {"run": "...", "state": "failed", "source": "...", "exit_code": 3}

Names of files are often those of patients, and the time of a file can be that of an examination. So a run is told by a
SHA-256 of the salt and its name, and a file's state by one of the salt, its name, size and time of change; no name, path,
date or sentence is stored. A line is added and flushed to the disk as a whole; half a line, which a killed process
left, is passed over. Each process of many writes a file of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from FluoroDenoiseLib.errors import OutputError
from FluoroDenoiseLib.formats.whole_file import whole_file

FORMAT = 1
FIRST, OTHERS = "fluorodenoise-archive.jsonl", "fluorodenoise-archive.{}.jsonl"
KEYS = {"begun": {"source", "before"}, "done": {"source", "result"}, "failed": {"source"}}
INFORMATION_ONLY = ("start", "version")  # of a start: results of other versions are not made again


class Manifest:
    """The record of the archive in `folder`, as process `rank` of those that fill it together.

    The first process makes one before the others do. made_with: plain values that tell how results are made.
    OutputError where the file is none of ours.
    """

    def __init__(self, folder: Path, made_with: dict, rank: int = 0) -> None:
        self.path = folder / (OTHERS.format(rank) if rank else FIRST)
        self._made_with = _comparable(made_with)
        self._done: dict[str, dict] = {}
        self._begun: dict[str, dict] = {}
        if rank == 0 and not self.path.exists():
            with whole_file(self.path) as temporary:
                temporary.write_text(json.dumps({"archive": FORMAT, "salt": secrets.token_hex(16)}) + "\n", encoding="ascii")
        self._salt, starts = self._read(folder)
        _end_last_line(self.path)
        self._add({"start": starts + 1 if rank == 0 else starts, **made_with})

    def standing(self, name: str, source: Iterable[Path], place: Path) -> str:
        """How the result of a run stands: "absent", "current", "foreign" (not made here, as far as is known), or made here
        but out of date: "changed" (the source is another now) or "other" (made with something else)."""
        run, there = self._hash(name), self.state_of(name, place)
        if there is None:
            return "absent"
        made = self._done.get(run)
        begun = self._begun.get(run)
        if begun is not None and begun["before"] != there:  # its process was killed before it could say that it is done
            made = begun
        elif made is None or made["result"] != there:
            return "foreign"
        if made["made_with"] != self._made_with:
            return "other"
        return "current" if made["source"] == self.state_of(name, *source) else "changed"

    def begin(self, name: str, source: str | None, place: Path) -> None:
        """Note that a run is being made, whose source is in this state."""
        self._add({"run": self._hash(name), "state": "begun", "source": source, "before": self.state_of(name, place)})

    def finish(self, name: str, source: str | None, place: Path, frames: int, seconds: float) -> None:
        self._add({"run": self._hash(name), "state": "done", "source": source, "result": self.state_of(name, place),
                   "frames": frames, "seconds": seconds})

    def fail(self, name: str, source: str | None, exit_code: int) -> None:
        self._add({"run": self._hash(name), "state": "failed", "source": source, "exit_code": exit_code})

    def state_of(self, name: str, *files: Path) -> str | None:
        """What tells these files, and those in them that are folders, from themselves after a change; None where one is not
        there or a folder is empty."""
        try:
            each = [one for file in files for one in (sorted(file.rglob("*")) if file.is_dir() else [file])]
            found = [one.stat() for one in each]
        except OSError:
            return None
        return self._hash("\0".join([name, *(f"{one.st_size} {one.st_mtime_ns}" for one in found)])) if found else None

    def _hash(self, text: str) -> str:
        return hashlib.sha256(f"{self._salt}\0{text}".encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def _read(self, folder: Path) -> tuple[str, int]:
        """The salt, and how many starts there have been; what they did is kept."""
        head, *_ = _lines(folder / FIRST) or [{}]
        if head.get("archive") != FORMAT or not isinstance(head.get("salt"), str):
            raise OutputError(f"{FIRST} in {folder} is not a record that this version reads; choose another folder, or remove it: "
                              "results that are there are then kept as they are.")
        told: list[tuple[int, dict, dict]] = []
        starts = 0
        for path in sorted(folder.glob(OTHERS.format("*"))) + [folder / FIRST]:
            start: dict = {"start": 0}
            for line in _lines(path):
                if isinstance(line.get("start"), int):
                    start = line
                elif isinstance(line.get("run"), str) and KEYS.get(str(line.get("state")), {""}) <= line.keys():
                    told.append((start["start"], line, _comparable(start)))
                starts = max(starts, start["start"])
        for _, line, made_with in sorted(told, key=lambda one: one[0]):
            self._begun.pop(line["run"], None)
            if line["state"] != "failed":
                where = self._done if line["state"] == "done" else self._begun
                where[line["run"]] = {**line, "made_with": made_with}
        return head["salt"], starts

    def _add(self, record: dict) -> None:
        with open(self.path, "ab") as file:
            file.write((json.dumps(record) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())


def _comparable(start: dict) -> dict:
    return {name: value for name, value in start.items() if name not in INFORMATION_ONLY}


def _lines(path: Path) -> list[dict]:
    """The whole lines of a file, those that are JSON objects; none of a file that is not there."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            found.append(record)
    return found


def _end_last_line(path: Path) -> None:
    """What a killed process left of a line becomes a line of its own, which readers pass over."""
    if path.exists() and path.stat().st_size:
        with open(path, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
