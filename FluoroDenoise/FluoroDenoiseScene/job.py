"""The jobs of the module: denoise a node into a node, preview a frame, export to DICOM, adapt a model, denoise a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from .estimate import estimate
from .scene_job import COMPUTED, JobCancelled, JobFailed, SceneJob, duration
from .sequences import Frames, InputProblem, OutputBuilder, frames_of, resolve_input
from .suited import is_for_ct, require_suited, told_of
from .worker_client import Job, WorkerClient

__all__ = ["AdaptJob", "DenoiseJob", "ExportJob", "FolderJob", "JobCancelled", "JobFailed", "PreviewFrame", "PreviewJob", "estimate"]

PREVIEW_NEIGHBOURS = 8  # on each side, of which the worker takes those that it has time for
SAID_IN_ATTRIBUTES = {"Version": "version", "Model": "model", "ModelSHA256": "model_sha256", "Device": "device",
                      "Precision": "precision", "TorchVersion": "torch_version"}  # fmt: skip
ATTRIBUTE = "FluoroDenoise."


class DenoiseJob(SceneJob):
    """Denoises the frames of a node into another. result: the output node.

    first, last: numbers of frames, from 0, both included; all by default. preset: of a shipped model, or the folder of
    one's own. output_node: replaced whole at the end; by default a new node called `name`. kind: how a volume is meant, see
    resolve_input. InputProblem, at once, if the input cannot be denoised, or disk or memory do not suffice.
    """

    def __init__(self, client: WorkerClient, input_node, output_node=None, *, preset: str = "quality", strength: float = 1.0,
                 device: str = "auto", first: int | None = None, last: int | None = None, name: str = "",
                 kind: str | None = None) -> None:
        self.frames = resolve_input(input_node, first, last, kind)
        require_suited(self.frames, preset)
        OutputBuilder(self.frames, output_node).discard()  # refuses an output that does not fit, before the work
        needed = estimate(self.frames, preset, device)
        if needed.problem:
            raise InputProblem(needed.problem)
        self._settings = {"preset": preset, "strength": strength, "device": device}
        self._output_node, self._name = output_node, name
        super().__init__(client, [input_node, self.frames.node, output_node])

    def _steps(self) -> Generator[None, None, None]:
        noisy, clean = self.folder / "noisy.npy", self.folder / "clean.npy"
        yield from self._save(self.frames, noisy)
        yield from self._ask("denoise", frames=str(noisy), output=str(clean), **told_of(self.frames), **self._settings)
        _delete(noisy)
        yield
        self.state, self.fraction = "reading", COMPUTED
        provenance = provenance_of(self.report, self._settings["strength"])
        builder = OutputBuilder(self.frames, self._output_node, self._name, provenance)
        try:
            for done, count in builder.add_file(clean):
                self.text = _("Writing frame {done} of {count}").format(done=done, count=count)
                self.fraction = COMPUTED + (1 - COMPUTED) * done / count
                yield
            _delete(clean)
            yield
            self.result = builder.finish()
        finally:
            builder.discard()


def _delete(path: Path) -> None:
    """Free the disk early, one large file a step since each takes a while; Windows refuses while the worker has it open."""
    with contextlib.suppress(OSError):
        path.unlink()


@dataclass(frozen=True)
class PreviewFrame:
    """One frame [H, W] as it is and as it would be. number: in the node. reach: neighbours used on each side."""

    number: int
    noisy: np.ndarray
    clean: np.ndarray
    reach: int


class PreviewJob(SceneJob):
    """Denoises one frame of a node from its nearest neighbours alone. result: a PreviewFrame; nothing enters the scene."""

    def __init__(self, client: WorkerClient, input_node, number: int, *, preset: str = "quality", strength: float = 1.0,
                 device: str = "auto", kind: str | None = None) -> None:
        everything = resolve_input(input_node, kind=kind)
        require_suited(everything, preset)
        first, last = max(everything.first, number - PREVIEW_NEIGHBOURS), min(everything.last, number + PREVIEW_NEIGHBOURS)
        if not everything.first <= number <= everything.last:
            raise InputProblem(_("{name} has no frame {number}; choose one of {count}.").format(
                name=everything.name, number=number + 1, count=everything.total))
        self.frames = everything.narrowed(first, last)
        self._number = number
        self._settings = {"preset": preset, "strength": strength, "device": device}
        super().__init__(client, [input_node, self.frames.node])

    def _steps(self) -> Generator[None, None, None]:
        noisy, clean = self.folder / "noisy.npy", self.folder / "clean.npy"
        index = self._number - self.frames.first
        yield from self._save(self.frames, noisy)
        said = yield from self._ask("preview", frames=str(noisy), output=str(clean), index=index, **told_of(self.frames),
                                    **self._settings)
        self.result = PreviewFrame(self._number, np.load(noisy, mmap_mode="r")[index].copy(), np.load(clean)[0], said["reach"])


class ExportJob(SceneJob):
    """Writes a denoised node as a derived multi-frame XA or RF file. result: its path, of a folder if each frame had a file.

    source_files: the DICOM files that the input was loaded from; by default those that Slicer's DICOM database knows
    for the node's source. Without any the file is a new XA object, derived, of no patient.
    """

    def __init__(self, client: WorkerClient, node, path: Path | str, *, source_files: Sequence[Path | str] | None = None,
                 overwrite: bool = True) -> None:
        self.frames = frames_of(node)
        if self.frames.kind == "volume":
            raise InputProblem(_("{name} is a volume, and what is written here is a run; use Slicer's own DICOM export, or denoise the "
                                 "series with the command line, which writes a derived one.").format(name=self.frames.name))
        self._made = made_by(self.frames.node)
        files = source_files_of(self.frames) if source_files is None else source_files
        self._path, self._files, self._overwrite = Path(path), [str(file) for file in files], overwrite
        super().__init__(client, [node, self.frames.node])

    def _steps(self) -> Generator[None, None, None]:
        clean = self.folder / "clean.npy"
        yield from self._save(self.frames, clean)
        times = self.frames.times_s
        frame_time_s = (times[-1] - times[0]) / (len(times) - 1) if times and len(times) > 1 else None
        said = yield from self._ask(
            "export", frames=str(clean), output=str(self._path), source=self._files, overwrite=self._overwrite,
            first=int(self.frames.node.GetAttribute(f"{ATTRIBUTE}FirstFrame") or 0), frame_time_s=frame_time_s,
            pixel_spacing_mm=list(self.frames.spacing_mm), **self._made)
        self.result = Path(said["output"])


class AdaptJob(SceneJob):
    """Adapts a model to the runs of nodes. result: the folder of the new model; report: whether it is better.

    losses: (step, losses) of every report of the training, for a live plot. model: what to begin with.
    """

    def __init__(self, client: WorkerClient, input_nodes: Sequence[Any], out: Path | str, *, minutes: float = 5.0,
                 model: str = "quality", device: str = "auto", overwrite: bool = False) -> None:
        if is_for_ct(model):
            raise InputProblem(_("A model for CT is trained with the command line (docs/CT.md); choose the preset Quality or Fast to adapt."))
        self._runs = [resolve_input(node) for node in input_nodes]
        if not self._runs:
            raise InputProblem(_("No sequence is chosen; choose those to adapt the model to."))
        self._out = Path(out)
        self._settings = {"minutes": minutes, "model": model, "device": device, "overwrite": overwrite}
        self.losses: list[tuple[int, dict[str, float]]] = []
        super().__init__(client, [*input_nodes, *(run.node for run in self._runs)])

    def _steps(self) -> Generator[None, None, None]:
        pixels = sum(run.nbytes for run in self._runs)
        paths, before = [], 0.0
        for number, run in enumerate(self._runs):
            path = self.folder / f"run_{number:04d}.npy"
            yield from self._save(run, path, run.nbytes / pixels, before)
            before += run.nbytes / pixels
            paths.append(str(path))
        yield from self._ask("adapt", runs=paths, out=str(self._out), **self._settings)
        self.result = self._out

    def _hear(self, job: Job, event: dict) -> None:
        super()._hear(job, event)
        if event["event"] == "step":
            self.losses.append((event["index"], event.get("losses") or {}))

    def _in_words(self, event: dict) -> str:
        losses = ", ".join(f"{name} {value:.3g}" for name, value in (event.get("losses") or {}).items())
        return _("Step {done} of {count}, {left} left; {losses}").format(
            done=event["index"], count=event["count"], left=duration(event.get("eta_s") or 0), losses=losses)


class FolderJob(SceneJob):
    """Denoises every run below a folder to the same place below another; the scene is not touched. result: the report.

    files: (name, state, message) of every file so far; states "done", "there" (and not overwritten) and "failed". One bad
    file does not stop the rest.
    """

    def __init__(self, client: WorkerClient, source: Path | str, target: Path | str, *, preset: str = "quality",
                 strength: float = 1.0, device: str = "auto", overwrite: bool = False) -> None:
        self._fields = {"source": str(source), "target": str(target), "preset": preset, "strength": strength,
                        "device": device, "overwrite": overwrite}
        self.files: list[tuple[str, str, str]] = []
        self._file: dict[str, Any] = {}
        super().__init__(client, [])

    def _steps(self) -> Generator[None, None, None]:
        self.result = yield from self._ask("folder", **self._fields)

    def _hear(self, job: Job, event: dict) -> None:
        if event["event"] == "file":
            self._file = event
            if event["state"] != "started":
                self.files.append((event["name"], event["state"], event.get("message") or ""))
        elif event["event"] == "frame" and self._file and not self._cancelling:
            files, done = self._file["count"], self._file["index"] + (event["index"] + 1) / event["count"]
            self.fraction = COMPUTED * done / files
            self.text = _("File {number} of {files} ({name}), frame {done} of {count}").format(
                number=self._file["index"] + 1, files=files, name=self._file["name"], done=event["index"] + 1, count=event["count"])
        elif event["event"] == "started":
            super()._hear(job, event)


def provenance_of(report: dict, strength: float) -> dict[str, str]:
    """What a result says about its making, as attributes of its node (without their prefix)."""
    said = {name: str(report[key]) for name, key in SAID_IN_ATTRIBUTES.items() if report.get(key)}
    law = report.get("noise")
    if law:
        said["Noise"] = f"gain {law['gain']:.6g}, pedestal {law['pedestal']:.6g}, read noise {law['read_noise']:.6g}"
    return {**said, "Strength": f"{strength:g}"}


def made_by(node) -> dict[str, str | float]:
    """How a result was made, as an export is told it. InputProblem for a node that is no result of ours."""
    said = {key: node.GetAttribute(ATTRIBUTE + name) for name, key in SAID_IN_ATTRIBUTES.items()}
    if not said["model_sha256"]:
        raise InputProblem(_("{name} is not a result of FluoroDenoise; choose a denoised one to export.").format(name=node.GetName()))
    return {
        "version": said["version"] or "", "model": said["model"] or "", "model_sha256": said["model_sha256"],
        "strength": float(node.GetAttribute(f"{ATTRIBUTE}Strength") or 1.0),
        "parameters": f"noise {node.GetAttribute(f'{ATTRIBUTE}Noise') or 'not stated'}",
    }


def source_files_of(frames: Frames) -> list[str]:
    """The DICOM files that a result's input was loaded from, as far as Slicer's DICOM database knows them."""
    database = getattr(slicer, "dicomDatabase", None)
    if database is None or not database.isOpen:
        return []
    files = (database.fileForInstance(uid) for uid in frames.source_uids)
    return list(dict.fromkeys(file for file in files if file and Path(file).is_file()))
