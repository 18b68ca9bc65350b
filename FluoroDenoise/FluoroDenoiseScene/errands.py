"""The jobs under way, the worker that serves them, and the timer that moves them on."""

from __future__ import annotations

from typing import Any

import qt
import slicer

from .scene_job import SceneJob
from .worker_client import WorkerClient

MILLISECONDS_BETWEEN_ADVANCES = 30
MILLISECONDS_BETWEEN_LOOKS = 20_000  # at a worker that has nothing to do


class Errands:
    """Runs jobs, either at once or beside everything else in Slicer.

    client: the worker's, which starts when needed, and ends after some idle minutes.
    """

    def __init__(self, client: WorkerClient | None = None) -> None:
        self.client = client or WorkerClient()
        self._beside: list[SceneJob] = []
        self._waited_for: list[SceneJob] = []
        self._timer: qt.QTimer | None = None
        self._advancing = False

    @property
    def jobs(self) -> tuple[SceneJob, ...]:
        """Those that have not ended."""
        return (*self._beside, *self._waited_for)

    def run(self, job: SceneJob, wait: bool) -> Any:
        """With `wait` the job's result, when it is there, or an exception; without, the job itself, at once."""
        if not wait:
            self._beside.append(job)
            self._start_timer(MILLISECONDS_BETWEEN_ADVANCES)
            return job
        self._waited_for.append(job)
        try:
            return job.wait(idle=slicer.app.processEvents)
        finally:
            self._waited_for.remove(job)
            if not self._beside:
                self._rest()

    def cancel(self) -> None:
        """Ask every job to end. What waits ends at once, what computes within two seconds."""
        for job in self.jobs:
            job.cancel()

    def stop(self) -> None:
        """End every job and the worker process now, without callbacks; takes up to a second. Another job starts it again."""
        for job in self.jobs:
            job.on_change.clear()
        self.cancel()
        self.client.stop()
        for job in self.jobs:
            job.advance()
        self._beside.clear()
        self._stop_timer()

    def _advance(self) -> None:
        if self._advancing:  # a callback that runs the event loop
            return
        self._advancing = True
        try:
            for job in list(self._beside):
                if not job.advance() and job in self._beside:
                    self._beside.remove(job)
        finally:
            self._advancing = False
        if not self._beside:
            self._rest()

    def _rest(self) -> None:
        """Look at an idle worker now and then, until it has gone."""
        if self.client.rest():
            self._start_timer(MILLISECONDS_BETWEEN_LOOKS)
        else:
            self._stop_timer()

    def _start_timer(self, milliseconds: int) -> None:
        if self._timer is None:
            self._timer = qt.QTimer()
            self._timer.connect("timeout()", self._advance)
        self._timer.start(milliseconds)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.disconnect("timeout()", self._advance)
            self._timer = None
