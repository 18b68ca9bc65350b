"""What a benchmark found, as a table, as JSON, as a picture, and as a section for a page of results."""

import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from FluoroDenoiseLib import __version__
from FluoroDenoiseLib.evaluation.benchmark import RIVAL_FRAMES, RIVAL_NAMES, Timing
from FluoroDenoiseLib.evaluation.benchmark_course import Outcome, left_out
from FluoroDenoiseLib.evaluation.benchmark_precision import HARMLESS
from FluoroDenoiseLib.evaluation.charts import chart
from FluoroDenoiseLib.model_folder import write_whole
from FluoroDenoiseLib.pictures import save_picture

FILES = ("benchmark.md", "benchmark.json", "benchmark.png", "section.md")
LINEAR = 1.15
"""An exponent up to here is called linear: what is left is the noise of the clock and caches that larger frames outgrow."""


def table(outcome: Outcome) -> str:
    """One line for each method, device, size and batch, as Markdown."""
    head = ["size", "method", "batch", "frames/s", "wait, median", "wait, 95 %", "s a frame", *(f"faster than {name}" for name in RIVAL_NAMES),
            "of the limit", "convolution", "memory"]
    return _markdown(head, [_line(outcome, timing) for timing in outcome.timings])


def _line(outcome: Outcome, timing: Timing) -> list[str]:
    one = timing.contestant
    against = [outcome.rival(name, one.side) for name in RIVAL_NAMES]
    work = outcome.work.get((one.name, one.device, one.side))
    products = float("nan") if work is None else work.flops / outcome.rates[one.device].flops / timing.seconds_a_frame
    return [
        f"{one.side}x{one.side}", one.name if one.device == "cpu" else f"{one.name} on {one.device}", "-" if one.batch is None else str(one.batch),
        _number(timing.frames_a_second), _number(timing.wait_ms(50), " ms"), _number(timing.wait_ms(95), " ms"),
        _number(timing.seconds_a_frame), *(_number(timing.times_faster_than(rival) if rival else math.nan, " times") for rival in against),
        _share(outcome.limit_s(timing) / timing.seconds_a_frame), _share(products), _number(timing.memory_mb, " MB"),
    ]  # fmt: skip


def growth_table(outcome: Outcome) -> str:
    """The exponents of cost in pixels and in frames, and what they mean, as Markdown."""
    lines = []
    for one in outcome.growths:
        known = [power for power in (one.pixels, one.frames) if not math.isnan(power)]
        verdict = "-" if not known else "linear or better" if max(known) <= LINEAR else "more than linear"
        lines.append([one.method if one.device == "cpu" else f"{one.method} on {one.device}", _power(one.pixels), _power(one.frames), verdict])
    return _markdown(["method", "pixels of a frame", "frames of a run", "cost grows"], lines)


def precision_table(outcome: Outcome) -> str:
    """What fewer digits cost and gain, as Markdown."""
    lines = [
        [one.method if one.device == "cpu" else f"{one.method} on {one.device}", one.precision, f"{one.largest:.2f}", f"{one.rms:.3f}",
         "yes" if one.is_harmless else "no", _number(one.times_faster, " times")]
        for one in outcome.departures
    ]  # fmt: skip
    return _markdown(["method", "precision", "largest departure", "rms", f"below {HARMLESS} everywhere", "faster than float32"], lines)


def tables(outcome: Outcome) -> list[str]:
    return [table(outcome), growth_table(outcome), precision_table(outcome)]


def remarks(outcome: Outcome) -> list[str]:
    """What a reader must know to judge the numbers."""
    plan = outcome.plan
    rates = [f"{name} ({outcome.devices[name]}): {rate.flops / 1e9:.0f} GFLOP/s in the best large convolution, {rate.bytes / 1e9:.1f} GB/s read and written by a copy"
             for name, rate in outcome.rates.items()]
    turns = "one turn" if plan.rounds == 1 else f"medians of {plan.rounds} turns"
    return [
        f"Runs of {plan.frames} frames, the rivals {RIVAL_FRAMES}; {turns}, in which all methods of a size take theirs one after the other, after one "
        "to warm up. Arrays in, arrays out; files and the estimate of the noise are not included. batch: frames that go through the network "
        "together on a GPU; the CPU, which gains nothing by it, takes them one by one.",
        "s a frame: seconds of all processor cores together on the CPU, of the clock on a GPU, copies included. frames/s: by the clock.",
        "wait: from handing a frame over to having it back, frames handed over as fast as they are taken. A preset that looks ahead waits for "
        "the frames it looks at, up to 23 of them.",
        "of the limit: the time of a frame's convolutions at the machine's own rate of convolution, and of all else that is read and written "
        "at its rate of copying, over the time measured. convolution: the first of the two alone. "
        "Above 100 % caches are faster than a copy. memory: the most beyond what the process held before.",
        "largest departure, rms: from the frames in float32, in grey levels of a 12-bit run; the recursion is in float32 always. Without "
        "--precision the CPU takes float32 and a GPU float16.",
        "Measured on " + "; ".join(rates) + f". {torch.get_num_threads()} threads, torch {torch.__version__}, FluoroDenoise {__version__}.",
        *left_out(),
    ]


def write_report(outcome: Outcome, folder: Path, command: str) -> None:
    """Write FILES into a folder that exists. command: how to repeat it, for the section."""
    text = "\n\n".join([*tables(outcome), *remarks(outcome)]) + "\n"
    write_whole(folder / "benchmark.md", text.encode())
    write_whole(folder / "benchmark.json", (json.dumps(as_plain(outcome), indent=2) + "\n").encode())
    save_picture(draw(outcome), folder / "benchmark.png")
    section = f"## Speed\n\n```sh\n{command}\n```\n\n{text}\n![Seconds a frame against its size](benchmark.png)\n"
    write_whole(folder / "section.md", section.encode())


def as_plain(outcome: Outcome) -> dict:
    """Everything in plain values; what is not known is null."""
    rows = []
    for timing in outcome.timings:
        one = timing.contestant
        work = outcome.work.get((one.name, one.device, one.side))
        ratios = {name: outcome.rival(name, one.side) for name in RIVAL_NAMES}
        rows.append({
            "method": one.name, "device": one.device, "precision": one.precision, "side": one.side, "batch": one.batch,
            "frames_a_second": timing.frames_a_second, "seconds_a_frame": timing.seconds_a_frame,
            "wait_median_ms": timing.wait_ms(50), "wait_p95_ms": timing.wait_ms(95),
            "times_faster_than": {name: timing.times_faster_than(rival) for name, rival in ratios.items() if rival},
            "limit_s": outcome.limit_s(timing), "gflop": work and work.flops / 1e9, "gigabytes": work and work.bytes / 1e9,
            "memory_mb": timing.memory_mb, "turns_s": [reading.seconds for reading in timing.readings],
        })  # fmt: skip
    return _without_nan({
        "version": __version__, "torch": str(torch.__version__), "python": platform.python_version(), "threads": torch.get_num_threads(),
        "plan": vars(outcome.plan), "devices": outcome.devices, "rates": {name: vars(rate) for name, rate in outcome.rates.items()},
        "rows": rows, "growth": [vars(one) for one in outcome.growths],
        "departures": [vars(one) for one in outcome.departures], "left_out": left_out(),
    })  # fmt: skip


def draw(outcome: Outcome):
    """Seconds a frame (as powers of ten) against the side of a frame, a line a method."""
    lines: dict[str, dict[float, float]] = {}
    for timing in outcome.timings:
        one = timing.contestant
        name = one.name if one.device == "cpu" else f"{one.name}, {one.device}"
        lines.setdefault(name, {}).setdefault(one.side, float(np.log10(timing.seconds_a_frame)))
    return chart([(name, sorted(points.items())) for name, points in lines.items()], "rows and columns of a frame",
                 "log10 of seconds a frame", logarithmic=True)


def _without_nan(value):
    if isinstance(value, dict):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    rule = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in (head, rule, *lines))


def _number(value: float, unit: str = "") -> str:
    """Three digits that count."""
    if math.isnan(value):
        return "-"
    return (f"{value:.0f}" if value >= 100 else f"{value:.3g}") + unit


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.0f} %"


def _power(value: float) -> str:
    return "-" if math.isnan(value) else f"^{value:.2f}"
