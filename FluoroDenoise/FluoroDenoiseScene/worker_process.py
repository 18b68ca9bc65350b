"""One worker process: started without a window, spoken to without waiting, ended with everything it started."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from contextlib import suppress

LONGEST_LINE = 2**20  # bytes; what goes on longer is no event
LAST_WORDS = 40  # lines
SECONDS_FOR_THE_LAST_EVENTS = 1.0  # between the end of the process and that of its output
NICENESS = 3  # the person at the screen comes first


class WorkerProcess:
    """A running worker. `say`, `next_event`, `ended` and `kill` never wait.

    Threads of its own read what it writes and write what it is told, since a pipe can be full or silent at any time.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        """Start `command`. OSError if it cannot be started."""
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         env=environment, **_apart())
        self._events: queue.SimpleQueue[dict] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
        self._died_at: float | None = None
        self._killed = False
        self.last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._threads = [threading.Thread(target=work, name=f"FluoroDenoise worker {work.__name__}", daemon=True)
                         for work in (self._hear, self._hear_complaints, self._speak)]
        for thread in self._threads:
            thread.start()
        if os.name == "posix":
            with suppress(OSError):
                os.setpriority(os.PRIO_PGRP, self._process.pid, NICENESS)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number where a signal ended it."""
        return self._process.poll()

    def say(self, request: dict) -> None:
        """Send one request."""
        self._requests.put(request)

    def next_event(self) -> dict | None:
        """The oldest event not yet taken; None where there is none."""
        with suppress(queue.Empty):
            return self._events.get_nowait()
        return None

    @property
    def ended(self) -> bool:
        """Whether it is gone and nothing more will be heard of it; events may still wait to be taken."""
        if self.exit_code is None:
            if not self._threads[0].is_alive():  # it closed its output but lives: of no use to anyone
                self.kill()
            return False
        self._died_at = self._died_at or time.monotonic()
        return not self._threads[0].is_alive() or time.monotonic() > self._died_at + SECONDS_FOR_THE_LAST_EVENTS

    def kill(self) -> None:
        """End it and what it started (PythonSlicer is a launcher: the real Python is its child), without waiting."""
        self._requests.put(None)
        if self._killed:
            return
        self._killed = True
        if os.name == "posix":
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            with suppress(OSError):
                subprocess.Popen(["taskkill", "/T", "/F", "/PID", str(self._process.pid)], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **_apart())

    def close(self, grace_s: float) -> None:
        """Ask it to end, wait so long at most, then kill it. The threads are gone when this returns."""
        self.say({"do": "quit"})
        self._requests.put(None)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        for thread in self._threads:
            thread.join(1.0)

    def _hear(self) -> None:
        with self._process.stdout as output:
            for line in _lines(output):
                event = _event(line)
                if event is None:
                    self.last_words.append(line)
                else:
                    self._events.put(event)

    def _hear_complaints(self) -> None:
        with self._process.stderr as output:
            for line in _lines(output):
                self.last_words.append(line)

    def _speak(self) -> None:
        # Closing a pipe that is broken or full raises too.
        with suppress(OSError, ValueError), self._process.stdin as pipe:
            while (request := self._requests.get()) is not None:
                # ASCII, so that the encoding of the other side does not matter.
                pipe.write(json.dumps(request).encode("ascii") + b"\n")
                pipe.flush()


def _apart() -> dict:
    """How to start a process in a group of its own, without a window, below the priority of Slicer."""
    if os.name == "posix":
        return {"start_new_session": True}
    return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.BELOW_NORMAL_PRIORITY_CLASS}


def _lines(output):
    while line := output.readline(LONGEST_LINE):
        if text := line.decode("utf-8", "replace").strip():
            yield text


def _event(line: str) -> dict | None:
    """The event of a line; None for whatever else a library may print."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None
