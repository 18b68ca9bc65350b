"""The command `benchmark`: how fast the presets are on this machine, beside rivals and beside the machine's own limits."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

Say = Callable[[str], None]


def benchmark(options: argparse.Namespace, say: Say) -> int:
    """Measure, say what is done as it is done, and print the tables at the end."""
    from FluoroDenoiseLib.evaluation import benchmark_course, benchmark_report
    from FluoroDenoiseLib.targets import make_folder

    if options.out:
        make_folder(options.out)
    plan = benchmark_course.Plan(
        tuple(options.presets), tuple(options.sizes), tuple(options.batch), options.frames, options.rounds)
    outcome = benchmark_course.Outcome(plan)
    for sentence, outcome in benchmark_course.run(plan, benchmark_course.devices(options.device, options.precision)):
        say(sentence)
    for part in (*benchmark_report.tables(outcome), *benchmark_report.remarks(outcome)):
        say(f"\n{part}")
    if options.out:
        benchmark_report.write_report(outcome, options.out, command_of(options))
        say(f"{options.out}: {', '.join(benchmark_report.FILES)} are written")
    return 0


def command_of(options: argparse.Namespace) -> str:
    """The command as others would type it, with the names of folders but not where they lie here."""
    words = ["fluorodenoise", "benchmark"]
    if options.presets != ["fast", "quality"]:
        words += ["--presets", *(Path(name).name for name in options.presets)]
    for name, default in (("sizes", [512, 1024]), ("batch", [1, 8])):
        if getattr(options, name) != default:
            words += [f"--{name}", *map(str, getattr(options, name))]
    for name, default in (("frames", 24), ("rounds", 3), ("device", "all"), ("precision", "auto")):
        if getattr(options, name) != default:
            words += [f"--{name}", str(getattr(options, name))]
    return shlex.join([*words, "--out", options.out.name])
