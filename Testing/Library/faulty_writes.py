"""Writes that go wrong, each in a process of its own: killed, without room, without permission, several at once.

Run as a program: faulty_writes.py MODE SOURCE TARGET COUNT, with the package on PYTHONPATH. It imports once, forks for
each attempt, and prints what it saw as JSON. faulty_commands.py does the same with whole commands.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
from FluoroDenoiseLib.errors import OutputError
from FluoroDenoiseLib.formats import Provenance, read_run, write_run

PATIENCE_S = 60

PROVENANCE = Provenance("0.1.0", "fast", "ab" * 32, 1.0, "preset fast")


def attempt(work):
    """Fork a process that does `work` after saying that it begins; its number. It ends with the code that `work` gives."""
    begun, begins = os.pipe()
    number = os.fork()
    if not number:
        code = 1
        try:
            os.write(begins, b"!")
            given = work()
            code = given if isinstance(given, int) else 0
        except OutputError:
            code = 8
        except KeyboardInterrupt:
            code = 9
        finally:
            os._exit(code)
    os.read(begun, 1)
    os.close(begun)
    os.close(begins)
    return number


def outcome(number):
    """The exit code of a child. One that does not end is killed: a fork of a process with threads can be born locked."""
    for _ in range(PATIENCE_S * 100):
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(number, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def ended(work):
    """The exit code of some work in a child that was not born locked."""
    code = outcome(attempt(work))
    return outcome(attempt(work)) if code == -signal.SIGKILL else code


def pixels_of(path):
    return np.stack(list(read_run(path).frames)).tobytes()


def left_aside(target):
    return sorted(path.name for path in target.parent.iterdir() if path.name.startswith(".fluorodenoise-"))


def killed(run, target, count):
    """Kill writes at random moments until `count` were hit."""
    frames = np.stack(list(run.frames))
    results = [frames, frames // 2, frames // 3]
    kill(lambda which: write_run(target, iter(results[which]), run, PROVENANCE), [result.tobytes() for result in results], target, count)


def kill(write, known, target, count):
    """Kill write(0), write(1) or write(2), which make files with these pixels, at random moments until `count` were hit.

    Every other one begins without an older file.
    """
    times = []
    for _ in range(3):
        begin = time.monotonic()
        assert outcome(attempt(lambda: write(0))) == 0
        times.append(time.monotonic() - begin)
    random.seed(0)
    seen = {"killed": 0, "finished": 0, "old": 0, "new": 0, "absent": 0, "broken": 0, "left aside": 0, "seconds of a write": round(sorted(times)[1], 4)}
    older = target.read_bytes()
    for number in range(10 * count):
        if seen["killed"] == count:
            break
        target.unlink(missing_ok=True)
        if number % 2:
            target.write_bytes(older)
        before = known[0] if number % 2 else None
        which = 1 + number // 2 % 2
        process = attempt(lambda: write(which))
        time.sleep(random.uniform(0, min(times)))
        os.kill(process, signal.SIGKILL)
        hit = outcome(process) == -signal.SIGKILL
        seen["killed" if hit else "finished"] += 1
        seen["left aside"] += bool(left_aside(target))
        try:
            now = pixels_of(target) if target.exists() else None
        except Exception:
            now = b"broken"
        state = "broken" if now not in (before, known[which]) else "absent" if now is None else "old" if now == before else "new"
        seen[state] += 1
    assert outcome(attempt(lambda: write(0))) == 0
    seen["swept"] = left_aside(target) == []
    print(json.dumps(seen))


def limited(run, target, count):
    """Write with room for so many bytes only, at `count` places of the file."""
    frames = list(run.frames)

    def write():
        write_run(target, frames, run, PROVENANCE)

    assert outcome(attempt(write)) == 0
    old, size = target.read_bytes(), target.stat().st_size
    codes = []
    for number in range(count):

        def without_room(limit=size * number // count):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            write()

        codes.append(outcome(attempt(without_room)))
        assert target.read_bytes() == old and left_aside(target) == [], number
    print(json.dumps({"codes": sorted(set(codes)), "attempts": len(codes)}))


def full(run, target, count):
    """Write to a disk that fills on the way although it promised room."""
    write_run(target, run.frames, run, PROVENANCE)
    old = target.read_bytes()
    shutil.disk_usage = lambda folder: type("Usage", (), {"free": 2**40})()
    fill = target.parent / "fill"
    fill.write_bytes(b"x" * max(0, os.statvfs(target.parent).f_bavail * os.statvfs(target.parent).f_frsize - len(old) // 2))
    codes = [outcome(attempt(lambda: write_run(target, run.frames, run, PROVENANCE))) for _ in range(count)]
    assert target.read_bytes() == old and left_aside(target) == []
    print(json.dumps({"codes": codes}))


def forbidden(run, target, count):
    """Write as someone who may not."""
    frames = list(run.frames)

    def without_right():
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        write_run(target, frames, run, PROVENANCE)

    begin = time.monotonic()
    code = outcome(attempt(without_right))
    print(json.dumps({"code": code, "seconds": time.monotonic() - begin, "files": sorted(os.listdir(target.parent))}))


def together(run, target, count):
    """Several write at once: first to one name, without overwriting, then each to a name of its own."""
    frames = list(run.frames)

    def slowly():
        for frame in frames:
            time.sleep(0.02)
            yield frame

    def codes(targets):
        return sorted(outcome(number) for number in [
            attempt(lambda place=place: write_run(place, slowly(), run, PROVENANCE, overwrite=False)) for place in targets
        ])  # fmt: skip

    same = codes([target] * count)
    late = codes([target])
    apart = codes([target.with_name(f"{number}.dcm") for number in range(count)])
    whole = all(pixels_of(path) == np.stack(frames).tobytes() for path in target.parent.glob("*.dcm"))
    print(json.dumps({"same": same, "late": late, "apart": apart, "whole": whole, "left": left_aside(target)}))


if __name__ == "__main__":
    mode, source, place, attempts = sys.argv[1:]
    {"killed": killed, "limited": limited, "full": full, "forbidden": forbidden, "together": together}[mode](
        read_run(source), Path(place), int(attempts)
    )
