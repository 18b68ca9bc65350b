"""Whole commands that go wrong, each in a process of its own: killed, interrupted, without room; and trainings killed.

Run as a program: faulty_commands.py MODEL SOURCE TARGET MODE=COUNT ..., with the package and this folder on PYTHONPATH. It
imports once, forks for each command, and prints what it saw as a line of JSON for each mode. TARGET is in a folder with
nothing else in it. For trainings MODEL is the recipe and SOURCE the folder of runs.
"""

import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
from faulty_writes import attempt, ended, kill, left_aside, outcome, pixels_of
from FluoroDenoiseLib import cli
from tqdm import tqdm

STRENGTHS = ("1", "0.5", "0.25")


def denoise(model, source, target, strength="1", *more):
    """The command, silent; its exit code."""
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(silent, stream)
    return cli.main(["denoise", str(source), str(target), "--model", model, "--strength", strength, "--device", "cpu", "--overwrite", *more])


def results(model, source, target):
    """The pixels that the command makes at each strength."""
    known = []
    for strength in STRENGTHS:
        assert ended(lambda: denoise(model, source, target, strength)) == 0
        known.append(pixels_of(target))
    assert len(set(known)) == len(known)
    return known


def killed(model, source, target, count):
    kill(lambda which: denoise(model, source, target, STRENGTHS[which]), results(model, source, target), target, count)


def interrupted(model, source, target, count):
    """Ctrl-C at random moments: ended with 6 and the old file, or the new one where it came late, or with 0 and the new.

    Code 9 stands for an interrupt that came when the command had ended.
    """
    known, denoise_options = results(model, source, target), cli.COMMANDS["denoise"]
    begin = time.monotonic()
    assert ended(lambda: denoise(model, source, target)) == 0
    duration, before, seen = time.monotonic() - begin, known[0], {}
    for number in range(count):
        which, (begun, begins) = 1 + number % 2, os.pipe()

        def announced(options):
            os.write(begins, b"!")
            return denoise_options(options)

        cli.COMMANDS["denoise"] = announced
        process = attempt(lambda: denoise(model, source, target, STRENGTHS[which]))
        os.read(begun, 1)
        os.close(begun), os.close(begins)
        time.sleep(random.Random(number).uniform(0, duration))
        os.kill(process, signal.SIGINT)
        code = outcome(process)
        if code == -signal.SIGKILL:
            continue
        now = pixels_of(target)
        what = "old" if now == before and code else "new" if now == known[which] else "wrong"
        if sorted(os.listdir(target.parent)) != [target.name]:
            what = "left aside"
        seen[f"{code} {what}"] = seen.get(f"{code} {what}", 0) + 1
        before = now
    cli.COMMANDS["denoise"] = denoise_options
    print(json.dumps(seen))


def limited(model, source, target, count):
    """The command, its picture and its residual with room for so many bytes only, at `count` places of the largest."""
    extras = [target.with_name("compare.png"), target.with_name("residual.npy")]
    options = ["--compare", str(extras[0]), "--residual", str(extras[1])]
    assert ended(lambda: denoise(model, source, target, "1", *options)) == 0
    olds = {path: path.read_bytes() for path in (target, *extras)}
    codes = []
    for number in range(count):

        def without_room(limit=max(map(len, olds.values())) * number // count):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return denoise(model, source, target, "0.5", *options)

        codes.append(ended(without_room))
        assert target.read_bytes() == olds[target] and left_aside(target) == [], number
        assert sorted(os.listdir(target.parent)) == sorted(path.name for path in olds)
    print(json.dumps({"codes": sorted(set(codes)), "attempts": len(codes)}))
    for path in extras:
        path.unlink()


def train(recipe, runs, out):
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(silent, stream)
    return cli.main(["train", str(recipe), "--runs", str(runs), "--out", str(out), "--device", "cpu"])


def what_remains(folder):
    return {name: (folder / name).read_bytes() for name in ("weights.safetensors", "model.json", "train.csv", "recipe.json")}


def training_killed(model, source, target, count):
    """Trainings killed at random moments until one ends by itself, and again, until `count` kills have hit."""
    begin = time.monotonic()
    assert outcome(attempt(lambda: train(model, source, target))) == 0
    duration, whole = time.monotonic() - begin, what_remains(target)
    seen = {"killed": 0, "trainings": 0, "bit-equal": 0}
    random.seed(0)
    while seen["killed"] < count:
        shutil.rmtree(target)
        for number in range(50):
            process = attempt(lambda: train(model, source, target))
            if number < 49:
                time.sleep(random.uniform(0, 0.7 * duration))
                os.kill(process, signal.SIGKILL)
            code = outcome(process)
            if code != -signal.SIGKILL:
                break
            seen["killed"] += 1
        assert code == 0, f"attempt {number} of training {seen['trainings']} ended with {code}"
        seen["trainings"] += 1
        seen["bit-equal"] += what_remains(target) == whole
    print(json.dumps({**seen, "seconds of a training": round(duration, 2)}))


def training_limited(model, source, target, count):
    """Trainings whose disk fills at `count` places of their largest file: code 8, and then they go on to the same end."""
    assert outcome(attempt(lambda: train(model, source, target))) == 0
    whole, codes, equal = what_remains(target), [], 0
    largest = max(path.stat().st_size for path in target.rglob("*") if path.is_file())
    for number in range(count):
        shutil.rmtree(target)

        def without_room(limit=largest * number // count):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return train(model, source, target)

        codes.append(ended(without_room))
        assert outcome(attempt(lambda: train(model, source, target))) == 0
        equal += what_remains(target) == whole
    print(json.dumps({"codes": sorted(set(codes)), "attempts": count, "bit-equal": equal}))


def as_nobody(work):
    def without_right():
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        return work()

    return ended(without_right)


def forbidden(model, source, target, count):
    """By someone who may only read: into the folder of the source, and from there into one of his own."""
    os.environ["TMPDIR"] = "/absent"
    inside, own = source.with_name("out.dcm"), Path(tempfile.mkdtemp(dir="/tmp"))
    os.chmod(own, 0o777)
    os.chmod(source.parent, 0o555)
    begin = time.monotonic()
    codes = [as_nobody(lambda: denoise(model, source, inside))]
    seconds = time.monotonic() - begin
    codes.append(as_nobody(lambda: denoise(model, source, own / target.name)))
    print(json.dumps({"codes": codes, "seconds": seconds, "there": sorted(os.listdir(source.parent)), "own": os.listdir(own)}))
    os.chmod(source.parent, 0o755)
    shutil.rmtree(own)


def training_forbidden(model, source, target, count):
    os.chmod(target.parent, 0o555)
    print(json.dumps({"code": as_nobody(lambda: train(model, source, target)), "there": os.listdir(target.parent)}))
    os.chmod(target.parent, 0o755)


MODES = {"killed": killed, "interrupted": interrupted, "limited": limited, "forbidden": forbidden, "training-killed": training_killed,
         "training-limited": training_limited, "training-forbidden": training_forbidden}  # fmt: skip

def progress_bars_of_one_process():
    """Bars' lock is shared with forked children: a child killed while it drew would leave it locked for all that follow."""
    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0  # a fork has only the thread that forked: no other one here may hold the lock then


if __name__ == "__main__":
    torch.set_num_threads(1)
    progress_bars_of_one_process()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    model, source, target, *modes = sys.argv[1:]
    with redirect_stdout(StringIO()):  # brings in what every child would otherwise import again
        warm = Path(target).with_name("warm.dcm")
        if modes[0].startswith("training"):
            assert cli.main(["train", model, "--runs", source, "--out", str(warm), "--device", "cpu"]) == 0
            shutil.rmtree(warm)
        else:
            assert cli.main(["denoise", source, str(warm), "--model", model, "--device", "cpu", "--compare", f"{warm}.png"]) == 0
            warm.unlink(), Path(f"{warm}.png").unlink()
    for mode in modes:
        name, count = mode.split("=")
        MODES[name](model, Path(source), Path(target), int(count))
