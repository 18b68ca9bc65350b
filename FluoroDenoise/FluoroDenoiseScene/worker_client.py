"""Jobs for the worker process, as Slicer's main thread sees them: asked for, watched, cancelled, never waited for.

`WorkerClient.poll` is the one place where anything happens: something pumps it (a QTimer in Slicer, a loop in a script)
and it takes what the worker said, fires the callbacks, sends the next job and kills what does not obey. No threads ever
touch the scene, and no call takes longer than a few milliseconds, except `stop`.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import shutil
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable

from slicer.i18n import tr as _

from .failures import in_words_of_the_panel, why_it_did_not_start, why_it_ended
from .worker_process import WorkerProcess

SECONDS_TO_CANCEL = 1.5  # then the worker is killed: a cancel takes effect within 2 s
SECONDS_TO_STOP = 0.5  # at the end of Slicer, which should not be held up
SECONDS_OF_SILENCE = 600.0  # of a worker with a job; the slowest frame on the slowest computer takes less
SECONDS_OF_IDLENESS = 600.0  # then the worker goes: it holds half a gigabyte, and memory of a graphics card
SECONDS_OF_A_POLL = 0.01
SECONDS_A_POLL_CAN_ACCOUNT_FOR = 1.0  # a Slicer that was busy, or a computer that slept, is no silence of the worker

WRITTEN_ASIDE = re.compile(r"\..+\.\d+(\.[0-9a-f]{8})?\.tmp")
Callback = Callable[["Job", dict], None]


class Job:
    """A request to the worker and what has become of it.

    state: "waiting", "running", then one of "done", "cancelled", "failed". facts: of the event that it started with.
    progress: the last event on the way (index, count, eta_s and more). result: of the event that it was done with.
    message: one sentence, of a failure. on_event: called as f(job, event) from `poll`, for every event.
    """

    def __init__(self, client: WorkerClient, number: int, do: str, fields: dict) -> None:
        self.id, self.do, self.fields = number, do, fields
        self.state = "waiting"
        self.facts: dict[str, Any] = {}
        self.progress: dict[str, Any] = {}
        self.result: dict[str, Any] = {}
        self.message = ""
        self.sent_at = 0.0  # time.time()
        self.on_event: list[Callback] = []
        self._client = client

    @property
    def ended(self) -> bool:
        return self.state in ("done", "cancelled", "failed")

    def cancel(self) -> None:
        """Have it end soon; its state is "cancelled" after one of the next polls, unless it is done before."""
        self._client._cancel(self)


class WorkerClient:
    """The worker of one module: started with the first job, restarted after a crash, ended by `stop`.

    worker: the script; default: worker.py of the library beside this extension. python: the interpreter. One job runs
    at a time and the others wait in order, so the end of a worker concerns one job only. clock: the seconds by which
    `rest` counts.
    """

    def __init__(self, worker: Path | str | None = None, python: str | None = None,
                 patience_s: float = SECONDS_OF_SILENCE, clock: Callable[[], float] = time.monotonic) -> None:
        self._worker, self._python, self._patience_s, self._clock = worker, python, patience_s, clock
        self._idle_since: float | None = None
        self._process: WorkerProcess | None = None
        self._leaving: list[tuple[WorkerProcess, Job | None]] = []  # killed, with the job that they were at
        self._untold: deque[tuple[Job, dict]] = deque()
        self._numbers = itertools.count(1)
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._kill_at: float | None = None
        self._silence_s = 0.0
        self._polled_at = time.monotonic()
        self._polling = False

    @property
    def alive(self) -> bool:
        """Whether a worker process runs, busy or not."""
        return self._process is not None and self._process.exit_code is None

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits, so that polling is needed."""
        return self._running is not None or bool(self._waiting) or bool(self._untold)

    @property
    def pid(self) -> int | None:
        """Of the worker process, for tests and logs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the worker now, so that the first job need not wait for it. OSError if it cannot be started."""
        if self.alive:
            return
        self._retire()
        python = self._python or interpreter()
        self._process = WorkerProcess([python, str(self._worker or worker_path())], environment(python))

    def request(self, do: str, **fields: Any) -> Job:
        """Ask for a job, with the fields that docs/WORKER.md lists. It is sent by a later poll and never raises."""
        job = Job(self, next(self._numbers), do, fields)
        self._waiting.append(job)
        return job

    def poll(self) -> None:
        """Take what the worker said and act on it. Call it 20 times a second while `busy`, from the main thread."""
        if self._polling:  # a callback that runs the event loop
            return
        self._polling = True
        try:
            self._poll()
        finally:
            self._polling = False

    def rest(self) -> bool:
        """End a worker that has had nothing to do for SECONDS_OF_IDLENESS; whether there is still a process to look after.

        Call it now and then while no job is under way; it never waits. The next job starts another worker.
        """
        self._see_off()
        if self.busy or not self.alive:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._clock()
        elif self._clock() - self._idle_since >= SECONDS_OF_IDLENESS:
            self._retire()
        return self.alive or bool(self._leaving)

    def stop(self) -> None:
        """End the worker and cancel every job, at the module's cleanup, without callbacks. Takes up to a second."""
        running, self._running, self._kill_at = self._running, None, None
        for job in filter(None, (running, *self._waiting)):
            job.state = "cancelled"
        self._waiting.clear()
        self._untold.clear()
        if self._process is not None:
            self._leaving.append((self._process, running))
            self._process = None
        for process, job in self._leaving:
            process.close(SECONDS_TO_STOP)
            _sweep(job)
        self._leaving.clear()

    def _poll(self) -> None:
        until = time.monotonic() + SECONDS_OF_A_POLL
        self._silence_s += min(time.monotonic() - self._polled_at, SECONDS_A_POLL_CAN_ACCOUNT_FOR)
        self._see_off()
        self._tell_all()
        process = self._process
        ended = process is not None and process.ended  # asked first: what was said before is still heard
        while process is not None and process is self._process and (event := process.next_event()) is not None:
            self._silence_s = 0.0
            self._hear(event)
            self._tell_all()
            if time.monotonic() > until:
                ended = False
                break
        if ended and process is self._process:
            self._bury()
        self._enforce()
        self._send_next()
        self._tell_all()
        self._polled_at = time.monotonic()

    def _hear(self, event: dict) -> None:
        job, kind = self._running, event["event"]
        if job is None or event.get("id") != job.id:  # the answer to a cancel, or of no job of ours
            return
        values = {name: value for name, value in event.items() if name not in ("id", "event")}
        if kind == "done":
            job.result = values
            self._end_running("done")
        elif kind == "cancelled":
            self._end_running("cancelled")
        elif kind == "error":
            self._end_running("failed", in_words_of_the_panel(str(event.get("message") or _("The job failed without saying why."))))
        else:
            if kind == "started":
                job.facts = values
            else:
                job.progress = {"event": kind, **values}
            self._untold.append((job, event))

    def _bury(self) -> None:
        """The worker is gone: its job failed, or was cancelled if that was wanted, and the next starts another."""
        process, job = self._process, self._running
        self._retire()
        if job is None:
            return
        if self._kill_at is not None:
            self._end_running("cancelled")
            return
        for line in process.last_words:
            logging.info("FluoroDenoise worker: %s", line)
        self._end_running("failed", why_it_ended(process.exit_code, process.last_words))

    def _enforce(self) -> None:
        job = self._running
        if job is None:
            return
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            self._retire()
            self._end_running("cancelled")
        elif self._silence_s > self._patience_s:
            self._retire()
            self._end_running("failed", _("The computing process has been silent for {seconds} s and was ended; try again, with the "
                                          "device CPU if a graphics card was used.").format(seconds=f"{self._patience_s:.0f}"))

    def _send_next(self) -> None:
        if self._running is not None or not self._waiting:
            return
        job = self._waiting.popleft()
        try:
            self.start()
        except OSError as error:
            self._end(job, "failed", why_it_did_not_start(error, self._python or interpreter()))
            return
        job.state, job.sent_at = "running", time.time()
        self._running, self._kill_at, self._silence_s, self._idle_since = job, None, 0.0, None
        self._process.say({"id": job.id, "do": job.do, **job.fields})

    def _cancel(self, job: Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            self._end(job, "cancelled")
        elif job is self._running and self._kill_at is None:
            self._kill_at = time.monotonic() + SECONDS_TO_CANCEL
            self._process.say({"id": next(self._numbers), "do": "cancel", "job": job.id})

    def _retire(self) -> None:
        """Kill the worker and forget it; its threads end by themselves and are looked after."""
        if self._process is not None:
            self._process.kill()
            self._leaving.append((self._process, self._running))
            self._process = None

    def _see_off(self) -> None:
        for process, job in list(self._leaving):
            if process.ended:
                self._leaving.remove((process, job))
                _sweep(job)

    def _end_running(self, state: str, message: str = "") -> None:
        job, self._running, self._kill_at = self._running, None, None
        self._end(job, state, message)

    def _end(self, job: Job, state: str, message: str = "") -> None:
        job.state, job.message = state, message
        kind = {"failed": "error"}.get(state, state)
        self._untold.append((job, {"id": job.id, "event": kind, "message": message, **job.result}))

    def _tell_all(self) -> None:
        while self._untold:
            job, event = self._untold.popleft()
            for callback in list(job.on_event):
                try:
                    callback(job, event)
                except Exception:  # a callback's fault must not stop the worker from being heard
                    logging.exception("FluoroDenoise: a callback of job %s failed", job.id)


def _sweep(job: Job | None) -> None:
    """Remove what a killed worker left of files that it was writing aside, beside the targets of its job."""
    fields = job.fields if job else {}
    for name in fields.keys() & {"output", "target", "out"}:
        place = Path(str(fields[name]))
        folder = place if place.is_dir() else place.parent
        for path in (folder.rglob if name == "target" else folder.glob)(".*.tmp"):
            with suppress(OSError):
                if WRITTEN_ASIDE.fullmatch(path.name) and path.stat().st_mtime >= job.sent_at - 1:
                    path.unlink()


def worker_path() -> Path:
    """The worker's script: installed beside this package's module, or in the checkout it is part of."""
    module_folder = Path(__file__).resolve().parents[1]
    places = [folder / "FluoroDenoiseLib" / "worker.py" for folder in (module_folder, module_folder.parent)]
    return next((place for place in places if place.is_file()), places[0])


def interpreter() -> str:
    """Slicer's Python as a program of its own; outside Slicer the one that runs this."""
    return shutil.which("PythonSlicer") or sys.executable


def environment(python: str) -> dict[str, str]:
    """What the worker inherits. PythonSlicer sets Python's variables itself; what others put there stays out."""
    variables = dict(os.environ)
    if Path(python).stem == "PythonSlicer":
        for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"):
            variables.pop(name, None)
    return {**variables, "PYTHONIOENCODING": "utf-8", "PYTHONNOUSERSITE": "1"}
