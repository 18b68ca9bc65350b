"""An evaluation from its request to its folder: what is done already is kept, every row is on disk as soon as it is known.

The folder holds rows.csv, rows.json, table.md and session.json (what was asked and by what it was computed), and once all is
done the charts and the pictures of the best and of the worst case.
"""

import hashlib
import json
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np

from FluoroDenoiseLib import __version__
from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.errors import InputError, OutputError
from FluoroDenoiseLib.evaluation import report
from FluoroDenoiseLib.evaluation.real_scenes import planned_real
from FluoroDenoiseLib.evaluation.rivals import RIVALS, Rival
from FluoroDenoiseLib.evaluation.rows import Row, read_rows, write_rows
from FluoroDenoiseLib.evaluation.scene_catalogue import DEFAULT, GROUPS, REAL, REFERENCE, named
from FluoroDenoiseLib.evaluation.scenes import ALL_FRAMES, TOOL_KNOWN, EvaluationScene, PlannedScene, planned_scenes, still_scene
from FluoroDenoiseLib.formats import read_run
from FluoroDenoiseLib.model_folder import Model, load_model, write_whole
from FluoroDenoiseLib.simulated_files import read_ct

PACKAGES = ("torch", "numpy", "scikit-image", "opencv-python-headless", "bm3d", "bm4d")


@dataclass(frozen=True)
class Request:
    """What is asked for. scenes: names of scenes and groups; costly_seeds: on how many seeds costly rivals are judged;
    without: methods to leave out; ct, data, still: files of one's own; noise: "estimated" or "true"."""

    scenes: tuple[str, ...] = DEFAULT
    seeds: int = 3
    size: int = 512
    frames: int = 12
    noise: str = "estimated"
    costly_seeds: int = 1
    without: tuple[str, ...] = ()
    ct: Path | None = None
    data: Path | None = None
    still: tuple[Path, Path] | None = None

    def fingerprint(self) -> dict:
        """What must be the same for rows to stand in one table."""
        files = {"ct": self.ct, "still": self.still and self.still[0]}
        hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in files.items() if path and path.is_file()}
        return {"version": __version__, "size": self.size, "frames": self.frames, "noise": self.noise, **hashes}


def load_models(words: Sequence[str], compute: Compute) -> list[Model]:
    """Presets by name and models by folder, either with a name of its own in front: NAME=FOLDER. Names must differ."""
    models = []
    for word in words:
        label, separator, place = word.partition("=")
        model = load_model(place if separator else word, compute)
        if str(model.card["recipe"].get("kind", "")).startswith("ct-"):
            raise InputError(f"{word} is a model for CT volumes, not for runs; leave it out.")
        models.append(replace(model, name=label) if separator else model)
    names = [model.name for model in models]
    taken = [name for name in names if names.count(name) > 1 or name in (rival.name for rival in RIVALS)]
    if taken:
        raise InputError(f'Two methods are called "{taken[0]}"; give one another name: NAME=FOLDER.')
    return models


class Session:
    """One evaluation. Iterate to do what is not done yet; rows holds everything known, in the order of the table."""

    def __init__(self, request: Request, models: Sequence[Model], compute: Compute, folder: Path | None = None, command: str = ""):
        self.request, self.models, self.compute, self.folder = request, models, compute, folder
        self._begin = time.monotonic()
        self.rivals = _without(RIVALS, request.without)
        self.plan, self.remarks = _plan(request)
        self.remarks += report.left_out(self.rivals)
        self.remarks += [f"{rival.name}: {rival.licence}" for rival in self.rivals if rival.licence and not rival.missing]
        self.remarks.append(f"Computed on {compute.device} in {compute.precision}: {compute.reason}")
        self._about = {"settings": request.fingerprint(), "commands": [command], "seconds": 0.0}
        self._known: dict[report.Key, Row] = {}
        if folder is not None:
            self._take_up(command)

    @property
    def rows(self) -> list[Row]:
        methods = [*(rival.name for rival in RIVALS), *(model.name for model in self.models)]
        scenes = list(dict.fromkeys([planned.name for planned in self.plan] + [row.scene for row in self._known.values()]))
        place = lambda row: (scenes.index(row.scene), row.seed, methods.index(row.method) if row.method in methods else len(methods))
        return sorted(self._known.values(), key=place)

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows that are new, each after it is on disk."""
        for planned in self.plan:
            rivals = [rival for rival in self.rivals if not rival.costly or planned.seed < self.request.costly_seeds]
            if not self._lacks(planned, rivals):
                continue
            ceilings = (planned.name, planned.seed, ALL_FRAMES + TOOL_KNOWN, "") not in self._known
            rows = report.rows_of_scene(
                planned.make(), self.models, self.compute, self.request.noise, rivals, self._known.keys(), ceilings
            )
            for row in rows:
                self._known[row.key] = row
                self._save()
                yield row

    def _lacks(self, planned: PlannedScene, rivals: Sequence[Rival]) -> bool:
        keys = [(planned.name, planned.seed, rival.name, "") for rival in rivals if rival.missing is None]
        keys += [report.key_of(planned.name, planned.seed, model) for model in self.models]
        if planned.name == REFERENCE:
            keys.append((planned.name, planned.seed, ALL_FRAMES + TOOL_KNOWN, ""))
        return any(key not in self._known for key in keys)

    def _take_up(self, command: str) -> None:
        """Keep the rows that the folder holds, but those of our models with other weights."""
        current = {model.name: model.sha256[:12] for model in self.models}
        self._known = {row.key: row for row in read_rows(self.folder) if row.weights == current.get(row.method, row.weights)}
        path = self.folder / "session.json"
        if not path.is_file():
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            settings, commands, seconds = before["settings"].items(), before["commands"], float(before["seconds"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not the record of an evaluation; choose another folder.") from error
        for name, value in settings:
            asked = self._about["settings"].get(name, value)
            if asked != value:
                raise OutputError(f"{self.folder} holds an evaluation with {name} {value}, and now it is {asked}; choose another folder.")
        self._about["settings"] = {**dict(settings), **self._about["settings"]}
        self._about["commands"] = [*(one for one in commands if one != command), command]
        self._about["seconds"] = seconds

    def _save(self) -> None:
        if self.folder is None:
            return
        rows = self.rows
        write_rows(rows, self.folder, self.remarks)
        now = time.monotonic()
        self._about["seconds"] += now - self._begin
        self._begin = now
        about = {
            **self._about,
            "groups": [word for word in self.request.scenes if word in GROUPS],
            "seeds": self.request.seeds,
            "models": {model.name: model.sha256 for model in self.models},
            "remarks": list(self.remarks),
            "versions": versions(),
        }
        write_whole(self.folder / "session.json", (json.dumps(about, indent=1) + "\n").encode())


def versions() -> dict[str, str]:
    """Of FluoroDenoise, Python and the packages that methods come from, those that are installed."""
    found = {"FluoroDenoise": __version__, "Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _without(rivals: Sequence[Rival], names: Sequence[str]) -> list[Rival]:
    unknown = [name for name in names if name not in {rival.name for rival in rivals}]
    if unknown:
        raise InputError(f'Method "{unknown[0]}" is not known; choose from {", ".join(rival.name for rival in rivals)}.')
    return [rival for rival in rivals if rival.name not in names]


def _plan(request: Request) -> tuple[list[PlannedScene], list[str]]:
    """The scenes, and a sentence for each of a group that cannot be made from the files given."""
    names, absent = named(request.scenes), []
    asked_by_name = set(request.scenes)
    ct = read_ct(request.ct) if request.ct else None
    real = [name for name in names if name in REAL]
    if ct is None and "projected" not in asked_by_name and "projected" in names:
        absent.append("projected is left out: no CT volume was named with --ct.")
        names = tuple(name for name in names if name != "projected")
    plan = planned_scenes([name for name in names if name not in REAL], request.seeds, request.size, request.frames, ct)
    if request.data is not None:
        found, lacking = planned_real(real, request.data)
        plan, absent = plan + found, absent + lacking
    elif real and asked_by_name & {"real", *REAL}:
        raise InputError("Scenes of real pictures need their folder; name it with --data, or leave them out.")
    elif real:
        absent.append("The real pictures are left out: no folder was named with --data.")
    if request.still:
        plan.append(PlannedScene("still", 0, lambda: _still(*request.still)))
    return plan, absent


def _still(run: Path, truth: Path) -> EvaluationScene:
    frames, means = (np.stack(list(read_run(path).frames)) for path in (run, truth))
    return still_scene(frames, means.mean(0))
