"""Damaged DICOM files through the whole command `fluorodenoise denoise`, and what became of each.

    python Testing/fuzz_dicom.py --mutants 50000 --seed 0 --jobs 2

Each job is a process that imports once and then runs the command's main() on one file after another, with standard
output and error as files. A mutant passes when the exit code is 0, 3 or 4, a failure is one sentence without a
traceback and leaves nothing in the output folder, a success leaves the result and nothing else, and the process lives.
Ends with 0 if all passed. Files that did not are kept in --keep. POSIX only.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Library")]

import torch
from dicom_mutants import Seed, make_seeds, mutant
from FluoroDenoiseLib import cli
from test_decoder_process import KILLERS, disguised

SECONDS = 240  # two decoders that never end take 20 s; a file that takes this long hangs
MEMORY = 16 * 2**30  # of addresses: a file that makes the command ask for more ends with code 5, which is not passing
ALLOWED = (0, 3, 4)


def complaints(code: object, said: str, left: list[str]) -> list[str]:
    """What is wrong with the end of a command; nothing if it passed."""
    found = []
    if code not in ALLOWED:
        found.append(f"exit code {code}")
    if "Traceback" in said or code and len([line for line in said.splitlines() if line.startswith("fluorodenoise: ")]) != 1:
        found.append("not one sentence on standard error")
    if left != ([] if code else ["out.dcm"]):
        found.append(f"the output folder holds {left}")
    return found


def run_command(source: Path, target: Path, model: Path) -> object:
    try:
        return cli.main(["denoise", str(source), str(target), "--model", str(model), "--device", "cpu"])
    except BaseException as error:
        return type(error).__name__


def serve(orders: Connection, seeds: tuple[list[Seed], list[Seed]], seed: int, model: Path, folder: Path) -> None:
    """Take numbers, answer with what became of these mutants."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    source, out = folder / "in.dcm", folder / "out"
    out.mkdir(parents=True)
    streams = [os.open(folder / name, os.O_RDWR | os.O_CREAT) for name in ("stdout", "stderr")]
    for stream, handle in enumerate(streams, 1):
        os.dup2(handle, stream)
    for number in iter(orders.recv, None):
        name, content = mutant(seeds, seed, number)
        source.write_bytes(content)
        code = run_command(source, out / "out.dcm", model)
        sys.stderr.flush()
        said = (folder / "stderr").read_text(errors="replace")
        left = sorted(os.listdir(out))
        orders.send((number, name, code, complaints(code, said, left), said))
        for path in out.iterdir():
            path.unlink()
        for handle in streams:
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)


class Job:
    """A process that serves, and the mutant it has in hand; one that dies or hangs is replaced."""

    def __init__(self, *facts: object) -> None:
        self._facts, self._starts = facts, 0
        self.number: int | None = None
        self._start()

    def _start(self) -> None:
        self.orders, theirs = multiprocessing.Pipe()
        *facts, folder = self._facts
        self._starts += 1
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=serve, args=(theirs, *facts, folder / str(self._starts)), daemon=True)
        self.process.start()
        theirs.close()

    def take(self, number: int | None) -> None:
        self.number, self.begin = number, time.monotonic()
        self.orders.send(number)

    def lost(self, why: str) -> tuple:
        """The outcome of a mutant that ended or hung the process."""
        self.process.kill()
        self.process.join()
        number = self.number
        self._start()
        return number, mutant(self._facts[0], self._facts[1], number)[0], why, [why], ""

    def answer(self) -> tuple | None:
        """The outcome, if it is there."""
        try:
            if self.orders.poll():
                return self.orders.recv()
        except EOFError:
            return self.lost(f"the process died, code {self.process.exitcode}")
        return self.lost(f"hung for {SECONDS} s") if time.monotonic() - self.begin > SECONDS else None


def outcomes(jobs: list[Job], numbers: range):
    """What became of every mutant, as they end."""
    todo = iter(numbers)
    busy = [job for job in jobs if (number := next(todo, None)) is not None and (job.take(number) or True)]
    while busy:
        wait([job.orders for job in busy], timeout=1)
        for job in list(busy):
            outcome = job.answer()
            if outcome is None:
                continue
            yield outcome
            if (number := next(todo, None)) is None:
                busy.remove(job)
            else:
                job.take(number)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first, to go on where a run was stopped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--keep", type=Path, help="folder for the files that did not pass")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = Path(shutil.copytree(ROOT / "FluoroDenoiseLib" / "models" / options.preset, folder / "model"))
        (folder / "seeds").mkdir()
        disguises = tuple(disguised(folder / "seeds" / killer.name, killer) for killer in KILLERS)
        seeds = make_seeds(folder / "seeds", (*KILLERS, *disguises))
        jobs = [Job(seeds, options.seed, model, folder / f"job{index}") for index in range(options.jobs)]
        codes, ways, faults, begin = collections.Counter(), collections.defaultdict(collections.Counter), [], time.monotonic()
        for number, what, code, wrong, said in outcomes(jobs, range(options.first, options.first + options.mutants)):
            codes[str(code)] += 1
            ways[what.split(", ")[-1].split(" and ")[-1]][str(code)] += 1
            if wrong:
                faults.append({"mutant": number, "what": what, "wrong": wrong, "said": said[-2000:]})
                print(f"mutant {number} ({what}): {', '.join(wrong)}\n{said}", flush=True)
                if options.keep:
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / f"{options.seed}_{number}.dcm").write_bytes(mutant(seeds, options.seed, number)[1])
            done = sum(codes.values())
            if done % 1000 == 0:
                print(f"{done} of {options.mutants}, {time.monotonic() - begin:.0f} s: {dict(codes)}, {len(faults)} did not pass", flush=True)
        for job in jobs:
            job.orders.send(None)
            job.process.join()
    for way, counts in sorted(ways.items()):
        print(f"  {way}: {dict(sorted(counts.items()))}")
    print(json.dumps({"mutants": sum(codes.values()), "seed": options.seed, "exit codes": dict(sorted(codes.items())),
                      "did not pass": len(faults), "seconds": round(time.monotonic() - begin)}))  # fmt: skip
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
