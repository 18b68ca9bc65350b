"""The library as a process of its own: JSON lines in, JSON lines out, pixels through .npy files.

What 3D Slicer starts, so that a network can never freeze or crash it, and a press on Cancel always works.

    request   {"id": 1, "do": "probe"}
              {"id": 2, "do": "denoise", "frames": "in.npy", "output": "out.npy", "preset": "quality"}
              {"id": 3, "do": "train", "recipe": "recipe.json", "runs": "folder", "out": "folder"}
              {"id": 5, "do": "adapt", "runs": ["run.dcm"], "out": "model", "minutes": 5, "model": "quality"}
              {"id": 6, "do": "preview", "frames": "in.npy", "index": 12, "output": "out.npy"}
              {"id": 7, "do": "folder", "source": "folder", "target": "folder"}
              {"id": 8, "do": "export", "frames": "out.npy", "source": ["in.dcm"], "output": "out.dcm", ...}
              {"id": 4, "do": "cancel", "job": 2}
              {"do": "quit"}
    event     {"id": 2, "event": "started", "count": 120, "device": ..., "noise": ...}
              {"id": 2, "event": "frame", "index": 12, "count": 120, "eta_s": 3.1}       training: "step"
              {"id": 2, "event": "done", "output": "out.npy", "seconds": 5.2, ...}
              {"id": 2, "event": "cancelled"}
              {"id": 2, "event": "error", "message": "one sentence", "exit_code": 3}

Jobs run one after the other in the order of their requests, and each ends in exactly one of done, cancelled and error.
A cancel takes effect before the next frame, also for a job that still waits, and is itself answered with done. Output
files appear whole or not at all. docs/WORKER.md lists every field.

The worker ends on quit and when whoever started it is gone: its standard input closes, or its parent process changes.
A job that still runs is then cancelled, so its caller keeps standard input open as long as it wants an answer.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path
from typing import Callable, Iterable, Iterator, TextIO

if __package__ in (None, ""):  # started by its path, as Slicer does
    sys.path[0] = str(Path(__file__).resolve().parents[1])
STARTED_BY = os.getppid()  # before the imports, which take seconds in which a parent can die

from FluoroDenoiseLib.console import values_kept_in
from FluoroDenoiseLib.jobs import Cancelled, DenoiseSettings, explain
from FluoroDenoiseLib.targets import UsageError
from FluoroDenoiseLib.traces import trace

SECONDS_BETWEEN_LOOKS_AT_THE_PARENT = 1.0
SECONDS_TO_CLEAN_UP = 10.0
Check = Callable[[], None]


class Worker:
    """Reads requests from `lines`, does the jobs on the thread that calls `run`, and hands events to `send`."""

    def __init__(self, lines: Iterable[str], send: Callable[[dict], None]) -> None:
        self._lines = lines
        self._send = send
        self._waiting: queue.Queue[dict | None] = queue.Queue()
        self._lock = threading.Lock()
        self._known: set[object] = set()
        self._cancelled: set[object] = set()
        self._stopping = threading.Event()
        self._models = ModelShelf()

    def run(self) -> None:
        """Work until quit or the end of `lines`, then return."""
        threading.Thread(target=self._listen, daemon=True).start()
        while (request := self._waiting.get()) is not None:
            self._work(request)

    def stop(self) -> None:
        """Cancel what runs and what waits; `run` returns soon after. From any thread."""
        self._stopping.set()
        self._waiting.put(None)

    def _listen(self) -> None:
        for line in self._lines:
            if not line.strip():
                continue
            try:
                request = _parse(line)
            except UsageError as error:
                self._send({"id": None, "event": "error", "message": str(error), "exit_code": error.exit_code})
                continue
            if request["do"] == "quit":
                break
            if request["do"] == "cancel":
                self._cancel(request)
            else:
                with self._lock:
                    self._known.add(request["id"])
                self._waiting.put(request)
        self.stop()

    def _cancel(self, request: dict) -> None:
        job = request.get("job")
        with self._lock:
            running_or_waiting = job in self._known
            if running_or_waiting:
                self._cancelled.add(job)
        self._send({"id": request["id"], "event": "done", "job": job, "found": running_or_waiting})

    def _work(self, request: dict) -> None:
        name = request["id"]

        def check() -> None:
            if self._stopping.is_set() or name in self._cancelled:
                raise Cancelled

        def send(event: str, **values: object) -> None:
            self._send({"id": name, "event": event, **values})

        try:
            check()
            result = JOBS[request["do"]](request, send, check, self._models)
            last = ("done", result)
        except Cancelled:
            last = ("cancelled", {})
        except Exception as error:
            exit_code, message = explain(error)
            if exit_code == 1:
                print(trace(error), file=sys.stderr)
            last = ("error", {"message": message, "exit_code": exit_code})
        with self._lock:
            self._known.discard(name)
            self._cancelled.discard(name)
        send(last[0], **last[1])


class ModelShelf:
    """The last model and device, kept between jobs: loading takes longer than many a run."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._ready: tuple | None = None

    def get(self, settings: DenoiseSettings) -> tuple:
        """Return (model, compute) for these settings; a restorer of slices as the model if it is for CT."""
        from FluoroDenoiseLib.ct_jobs import is_for_ct, load_ct
        from FluoroDenoiseLib.jobs import load

        key = (settings.model, settings.device, settings.precision, settings.tile)
        if key != self._key:
            self._key, self._ready = None, None
            self._ready = (load_ct if is_for_ct(settings.model) else load)(settings)
            self._key = key
        return self._ready


def _parse(line: str) -> dict:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"This line is not JSON ({error}); send one JSON object a line.") from error
    if not isinstance(request, dict) or request.get("do") not in ("cancel", "quit", *JOBS):
        raise UsageError(f'A request is an object whose "do" is one of {", ".join(JOBS)}, cancel or quit.')
    if request["do"] != "quit" and not isinstance(request.get("id"), (int, str)):
        raise UsageError(f'A request to {request["do"]} needs an "id", a number or a text, to be answered under.')
    if request["do"] == "cancel" and not isinstance(request.get("job"), (int, str)):
        raise UsageError('A request to cancel needs "job", the id of the job that is not wanted any more.')
    if any(not _is_plain(value) for value in request.values() if isinstance(value, str)):
        raise UsageError("A text of a request holds a character that no path and no name can have.")
    return request


def _is_plain(text: str) -> bool:
    """Whether a text can be part of a path: half of a surrogate pair and the character 0 cannot."""
    return "\0" not in text and text.encode("utf-8", "ignore").decode() == text


def _require(request: dict, *names: str) -> list[str]:
    missing = [name for name in names if not isinstance(request.get(name), str)]
    if missing:
        raise UsageError(f'A request to {request["do"]} needs "{missing[0]}", a text.')
    return [request[name] for name in names]


def _settings(request: dict, *fields_of_its_own: str) -> DenoiseSettings:
    """The settings that a request names; those it leaves out are as on the command line. UsageError for others."""
    from FluoroDenoiseLib.noise import PoissonGaussian

    known = [field.name for field in fields(DenoiseSettings)]
    unknown = sorted(set(request) - {*known, *fields_of_its_own, "id", "do", "preset", "overwrite"})
    if unknown:
        raise UsageError(f"A request to {request['do']} has no {unknown[0]!r}; it may have {', '.join(known)}, preset and overwrite.")
    values = {name: request[name] for name in known if name in request}
    if "preset" in request:
        values.setdefault("model", request["preset"])
    if values.get("noise") is not None:
        try:
            values["noise"] = PoissonGaussian(*(float(value) for value in values["noise"]))
        except (TypeError, ValueError) as error:
            raise UsageError('"noise" is a list of three numbers: gain, pedestal, read noise.') from error
    return DenoiseSettings(**values)


def _probe(request: dict, send: Callable, check: Check, models: ModelShelf) -> dict:
    from FluoroDenoiseLib.probe import probe

    return probe()


def _denoise(request: dict, send: Callable, check: Check, models: ModelShelf) -> dict:
    from FluoroDenoiseLib import worker_ct
    from FluoroDenoiseLib.jobs import denoise_file

    source, target = _require(request, "frames", "output")
    settings = _settings(request, "frames", "output", "kind", "spacing_mm")
    if worker_ct.meant_for_ct(request, settings):
        return worker_ct.denoise(request, settings, send, check, models, _counted)
    model, compute = models.get(settings)
    check()

    def watch(frames: Iterable, count: int, facts: dict) -> Iterator:
        send("started", count=count, **facts)
        yield from _counted(frames, count, send)

    report = denoise_file(Path(source), Path(target), model, compute, settings,
                          overwrite=bool(request.get("overwrite", True)), watch=watch, check=check)
    return report.as_dict()


def _counted(frames: Iterable, count: int, send: Callable) -> Iterator:
    """The frames, and an event after each."""
    begin = time.monotonic()
    for index, frame in enumerate(frames):
        yield frame
        eta_s = (time.monotonic() - begin) / (index + 1) * (count - index - 1)
        send("frame", index=index, count=count, eta_s=round(eta_s, 2))


def _preview(request: dict, send: Callable, check: Check, models: ModelShelf) -> dict:
    from FluoroDenoiseLib import worker_ct
    from FluoroDenoiseLib.preview import preview_file

    source, target = _require(request, "frames", "output")
    settings = _settings(request, "frames", "output", "index", "kind", "spacing_mm")
    if not isinstance(request.get("index"), int):
        raise UsageError('A request to preview needs "index", the number of a frame from 0.')
    if worker_ct.meant_for_ct(request, settings):
        return worker_ct.preview(request, settings, check, models)
    model, compute = models.get(settings)
    check()
    return preview_file(Path(source), Path(target), request["index"], model, compute, settings,
                        overwrite=bool(request.get("overwrite", True)), check=check)


def _folder(request: dict, send: Callable, check: Check, models: ModelShelf) -> dict:
    from FluoroDenoiseLib import worker_ct
    from FluoroDenoiseLib.folders import Task, runs_below
    from FluoroDenoiseLib.jobs import denoise_file, made_with
    from FluoroDenoiseLib.worker_archive import do_archive

    source, target = map(Path, _require(request, "source", "target"))
    settings, overwrite = _settings(request, "source", "target"), bool(request.get("overwrite", False))
    if worker_ct.meant_for_ct(request, settings):
        return worker_ct.folder(request, settings, send, check, models, _counted)
    tasks = runs_below(source, target)
    model, compute = models.get(settings)
    send("started", count=len(tasks), device=compute.device, precision=compute.precision, reason=compute.reason, model=model.name)

    def denoise(task: Task, replace: bool):
        return denoise_file(task.source, task.place, model, compute, settings, replace, check=check,
                            watch=lambda frames, count, facts: _counted(frames, count, send))

    return do_archive(tasks, target, made_with(model, settings), overwrite, denoise, send, check)


def _export(request: dict, send: Callable, check: Check, models: ModelShelf) -> dict:
    from FluoroDenoiseLib.exports import export
    from FluoroDenoiseLib.formats import Provenance

    clean, target, version, model, sha256, parameters = _require(
        request, "frames", "output", "version", "model", "model_sha256", "parameters")
    try:
        made = Provenance(version, model, sha256, float(request.get("strength", 1.0)), parameters)
        sources = [Path(path) for path in request.get("source") or ()]
        spacing = request.get("pixel_spacing_mm")
        facts = {"first": int(request.get("first", 0)), "pixel_spacing_mm": spacing and (float(spacing[0]), float(spacing[1])),
                 "frame_time_s": request.get("frame_time_s") and float(request["frame_time_s"])}
        lengths = [*(facts["pixel_spacing_mm"] or ()), *filter(None, [facts["frame_time_s"]])]
        if not (all(0 < length < 1e6 for length in lengths) and 0 <= made.strength <= 1):
            raise ValueError("a spacing, a time or a strength is out of range")
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise UsageError(f"A value of the request to export cannot be meant ({error}); docs/WORKER.md lists them.") from error
    report, warnings = export(Path(clean), Path(target), sources, made, overwrite=bool(request.get("overwrite", False)),
                              check=check, **facts)
    return {"output": str(report.path), "frames": report.frames, "clipped": report.clipped, "pixels": report.pixels,
            "source": str(sources[0]) if sources else None, "warnings": warnings}


def _train(request: dict, send: Callable, check: Check, models: ModelShelf) -> dict:
    from FluoroDenoiseLib.jobs import train_recipe
    from FluoroDenoiseLib.recipe import load_recipe, recipe_from_dict

    runs, out = _require(request, "runs", "out")
    recipe = request.get("recipe")
    recipe = recipe_from_dict(recipe) if isinstance(recipe, dict) else load_recipe(*_require(request, "recipe"))
    options = {name: request[name] for name in ("start", "teacher", "device") if isinstance(request.get(name), str)}
    send("started", count=recipe.steps, out=out)
    begin, step = time.monotonic(), 0
    for progress in train_recipe(recipe, Path(runs), Path(out), check, **options):
        step = progress.step
        send("step", index=step, count=progress.steps, losses=progress.losses, risk=progress.risk,
             eta_s=round(progress.remaining_s, 2))
        check()
    return {"out": out, "steps": step, "seconds": round(time.monotonic() - begin, 2)}


def _adapt(request: dict, send: Callable, check: Check, models: ModelShelf) -> dict:
    from FluoroDenoiseLib.jobs import adapt_model
    from FluoroDenoiseLib.model_safety import judge_adapted, reserve_time

    (out,) = _require(request, "out")
    runs = request.get("runs")
    if not (isinstance(runs, list) and runs and all(isinstance(path, str) for path in runs)):
        raise UsageError('A request to adapt needs "runs", a list of paths.')
    settings = DenoiseSettings(*(request.get(name, default) for name, default in
                                 (("model", "quality"), ("device", "auto"), ("precision", "auto"))))
    job = adapt_model([Path(path) for path in runs], Path(out), settings, request.get("minutes", 5.0),
                      bool(request.get("bare", False)), bool(request.get("overwrite", False)), check)
    send("started", runs=len(job.runs), out=out)
    there_is_time = reserve_time(job)
    for progress in job:
        send("step", index=progress.step, count=progress.steps, losses=progress.losses, eta_s=round(progress.remaining_s, 2),
             risk=progress.risk, risk_before=job.risk_before)
    return {"out": out, **job.outcome.as_dict(), "safety": judge_adapted(Path(out), job.compute, there_is_time, check)}


JOBS = {"adapt": _adapt, "probe": _probe, "denoise": _denoise, "preview": _preview, "folder": _folder, "export": _export,
        "train": _train}


def claim_stdout() -> TextIO:
    """Return a stream to the real standard output, and lead everything else that is printed to standard error.

    Done on the file descriptor, so that a print in a C library cannot break the protocol either.
    """
    protocol = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return protocol


def _watch_parent(worker: Worker, parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS_AT_THE_PARENT)
    worker.stop()


def _end_late(worker: Worker) -> None:
    """End the process even when a job does not come to its next frame after the worker was told to stop."""
    worker._stopping.wait()
    time.sleep(SECONDS_TO_CLEAN_UP)
    os._exit(6)


def main() -> int:
    """Serve standard input until it ends. Returns the exit code, 0."""
    protocol = claim_stdout()
    lock = threading.Lock()

    def send(event: dict) -> None:
        text = json.dumps(event, default=str)
        with lock:
            try:
                protocol.write(text + "\n")
                protocol.flush()
            except (BrokenPipeError, ValueError):  # nobody listens any more
                worker.stop()

    sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # a byte that is no text must not end the listening
    worker = Worker(sys.stdin, send)
    for guard, arguments in ((_watch_parent, (worker, STARTED_BY)), (_end_late, (worker,))):
        threading.Thread(target=guard, args=arguments, daemon=True).start()
    with values_kept_in():
        worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
