"""Long work between nodes of the scene and the worker, in steps so short that Slicer stays usable.

A job is a generator of steps. `advance` takes some of them: from a QTimer in the panel, from `wait` in a script. Only
these steps touch the scene, on the thread that calls. Before each, the job looks whether its nodes are still there, so it
needs no observers: a closed scene or a deleted node ends it as cancelled. Its folder of temporary files goes in every ending.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .sequences import Frames, InputProblem, save_frames
from .worker_client import Job, WorkerClient

PREFIX = "FluoroDenoise-"
SECONDS_OF_AN_ADVANCE = 0.015
SECONDS_A_FORGOTTEN_FOLDER_STAYS = 86_400  # that of a Slicer which crashed
KNOWN_TO_THE_NODE = "states no frame times"  # what the worker says of every .npy file
SAVED, COMPUTED = 0.05, 0.95  # of the whole work


class JobFailed(RuntimeError):
    """A job that could not be done, in one sentence for a person."""


class JobCancelled(RuntimeError):
    """A job that somebody ended, or that lost its nodes."""


class SceneJob:
    """What all jobs share. A subclass gives the steps and sets `result`.

    state: "waiting", "saving", "running", "reading", then one of "done", "cancelled", "failed". text: for the progress
    bar. fraction: 0 to 1. message: one sentence, of a failure. report: what the worker said about the work and its result.
    on_change: called as f(job) from `advance` and `cancel` when anything of this changed.
    """

    def __init__(self, client: WorkerClient, nodes: Iterable[Any]) -> None:
        self.state, self.text, self.fraction, self.message = "waiting", _("Waiting"), 0.0, ""
        self.report: dict[str, Any] = {}
        self.result: Any = None
        self.on_change: list[Callable[[SceneJob], None]] = []
        self._client = client
        self._nodes = [node for node in nodes if node is not None]
        self._asked: Job | None = None
        self._cancelling = False
        self._stepping = False  # the scene's own callbacks may call back here
        self._began = 0.0
        self._temporary: tempfile.TemporaryDirectory | None = None
        self._names: dict[str, str] = {}  # of temporary files -> of the nodes whose frames they hold
        self._work = self._steps()

    def _steps(self) -> Generator[None, None, None]:
        """The work, a yield at least every 50 ms; what it leaves unfinished when it is closed, it takes back."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        return self.state in ("done", "cancelled", "failed")

    def cancel(self) -> None:
        """Have it end: at once, or within 2 s where the worker is at it. Nothing of it will be in the scene."""
        if self.ended or self._cancelling:
            return
        self._cancelling = True
        if self._asked is not None and not self._asked.ended:
            self._asked.cancel()
            self.text = _("Cancelling")
        elif not self._stepping:
            self._end("cancelled")
        self._tell()

    def advance(self) -> bool:
        """Do some of the work, for 50 ms at most. True as long as there is more to do."""
        if self.ended or self._stepping:
            return not self.ended
        before = (self.state, self.text, self.fraction)
        self._client.poll()
        if not self._cancelling and any(node.GetScene() is None for node in self._nodes):
            self.cancel()
        elif self._cancelling and (self._asked is None or self._asked.ended):
            self._end("cancelled")
        elif not self._cancelling:
            self._work_for(SECONDS_OF_AN_ADVANCE)
        if before != (self.state, self.text, self.fraction):
            self._tell()
        return not self.ended

    def wait(self, idle: Callable[[], None] | None = None, timeout_s: float | None = None) -> Any:
        """Work until it has ended and return the result. JobFailed or JobCancelled otherwise.

        idle: called between the steps, for example slicer.app.processEvents. timeout_s: TimeoutError after so long, and
        the job is cancelled.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while self.advance():
            if idle is not None:
                idle()
            if self._is_waiting:
                time.sleep(0.01)
            if until is not None and time.monotonic() > until:
                until = None
                self.cancel()
                self.message = _("The job took longer than {seconds:g} s and was cancelled.").format(seconds=timeout_s)
        if self.state == "done":
            return self.result
        if self.state == "cancelled" and timeout_s is not None and self.message:
            raise TimeoutError(self.message)
        raise (JobFailed(self.message) if self.state == "failed" else JobCancelled(_("The job was cancelled.")))

    @property
    def folder(self) -> Path:
        """The job's own folder for temporary files, made when it is first asked for."""
        if self._temporary is None:
            _remove_forgotten(Path(slicer.app.temporaryPath))
            self._temporary = tempfile.TemporaryDirectory(prefix=PREFIX, dir=slicer.app.temporaryPath, ignore_cleanup_errors=True)
        return Path(self._temporary.name)

    @property
    def _is_waiting(self) -> bool:
        return self._asked is not None and not self._asked.ended

    def _work_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._stepping = True
        try:
            next(self._work)
            while not (self._cancelling or self._is_waiting) and time.monotonic() < until:
                next(self._work)
        except StopIteration:
            self.fraction, self.text = 1.0, _("Done")
            self._end("done")
        except JobCancelled:
            self._end("cancelled")
        except (InputProblem, JobFailed) as problem:
            self._end("failed", str(problem))
        except OSError as error:
            logging.error("FluoroDenoise: a job could not use the disk (%s)", error.strerror or type(error).__name__)
            self._end("failed", _("The job could not use the disk ({reason}); make room in Slicer's temporary folder.").format(
                reason=error.strerror or type(error).__name__))
        except MemoryError:
            self._end("failed", _("Memory does not suffice for the result; choose fewer frames or close other data."))
        except Exception as error:
            # Where it happened, not its text, which may hold the name of a patient's file.
            logging.error("FluoroDenoise: a job failed with %s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            self._end("failed", _("This is a fault of FluoroDenoise ({reason}); please report it with the application log.").format(
                reason=type(error).__name__))
        finally:
            self._stepping = False

    def _save(self, frames: Frames, path: Path, of: float = 1.0, before: float = 0.0) -> Generator[None, None, None]:
        """Write frames to a file; `of` is the share of these in all that is saved, `before` that of those before."""
        self.state = "saving"
        self._names[path.name] = frames.name
        for done, count in save_frames(frames, path):
            self.text = _("Reading frame {done} of {count}").format(done=done, count=count)
            self.fraction = SAVED * (before + of * done / count)
            yield
        if frames.changed():
            raise InputProblem(_("{name} was changed while its frames were read; start again.").format(name=frames.name))

    def _ask(self, do: str, **fields: Any) -> Generator[None, None, dict]:
        """Have the worker do something; returns what it said when it was done, together with the facts before."""
        self.state, self.text = "running", _("Starting")
        job = self._asked = self._client.request(do, **fields)
        job.on_event.append(self._hear)
        while not job.ended:
            if job.state == "waiting":
                self.text = _("Waiting for the job before this one")
            yield
        if job.state == "failed":
            raise JobFailed(self._by_name(job.message))
        if job.state == "cancelled":
            raise JobCancelled
        self.report = self._said(job)
        return self.report

    def _said(self, job: Job) -> dict:
        said = {**job.facts, **job.result}
        if "warnings" in said:
            said["warnings"] = [self._by_name(text) for text in said["warnings"] if KNOWN_TO_THE_NODE not in text]
        return said

    def _by_name(self, sentence: str) -> str:
        """A sentence of the worker about a temporary file, as one about the node that the person knows."""
        for file, node in self._names.items():
            sentence = sentence.replace(file, node)
        return sentence

    def _hear(self, job: Job, event: dict) -> None:
        """Put an event of the worker into words. A subclass may look at more of it."""
        if self._cancelling:
            return
        if event["event"] == "started":
            self._began = time.monotonic()
            self.report = self._said(job)
            self.text = _("Computing with {reason}").format(reason=job.facts.get("reason") or job.facts.get("device") or "")
        elif "index" in event and "count" in event:
            self.fraction = SAVED + (COMPUTED - SAVED) * (event["index"] + 1) / max(event["count"], 1)
            self.text = self._in_words(event)

    def _in_words(self, event: dict) -> str:
        """The progress of frames, how many a second and what remains."""
        done = event["index"] + 1
        rate = done / max(time.monotonic() - self._began, 1e-3)
        return _("Frame {done} of {count}, {rate} frames a second, {left} left").format(
            done=done, count=event["count"], rate=f"{rate:.{0 if rate >= 10 else 1 if rate >= 1 else 2}f}",
            left=duration(event.get("eta_s") or 0))

    def _end(self, state: str, message: str = "") -> None:
        self.state, self.message = state, message or self.message
        if state != "done":
            self.result = None
            self.text = _("Cancelled") if state == "cancelled" else self.message
        # From within the generator there is nothing to close: it has ended already.
        self._work.close()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None
        self._nodes.clear()
        self._asked = None

    def _tell(self) -> None:
        for callback in list(self.on_change):
            try:
                callback(self)
            except Exception:  # the panel's fault must not end the work
                logging.exception("FluoroDenoise: a callback of a job failed")


def duration(seconds: float) -> str:
    """Seconds in words that do not promise more than is known."""
    if seconds < 90:
        return _("{count} s").format(count=max(round(seconds), 0))
    return _("{count} min").format(count=round(seconds / 60))


def _remove_forgotten(place: Path) -> None:
    """Temporary folders of a Slicer that crashed: they hold pixels of patients."""
    for folder in place.glob(f"{PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime > SECONDS_A_FORGOTTEN_FOLDER_STAYS:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
