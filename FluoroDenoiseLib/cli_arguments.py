"""The arguments of the command `fluorodenoise`: what may be typed, and the sentence for what may not."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NoReturn

from FluoroDenoiseLib import __version__

PRESETS = ("fast", "quality")


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints look like all our others."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"fluorodenoise: {message[:1].upper()}{message[1:]}; see {self.prog} --help.\n")


def make_parser() -> Parser:
    """The parser of every command; the name of the one given is in `command`."""
    parser = Parser(prog="fluorodenoise", description="Clean pictures from noisy low-dose X-ray runs. For research use only.")
    parser.add_argument("--version", action="version", version=f"fluorodenoise {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def command(name: str, summary: str) -> Parser:
        made = commands.add_parser(name, help=summary, description=summary)
        made.set_defaults(command=name)
        return made

    one = command("denoise", "Denoise a run, or every run in a folder.")
    one.add_argument("source", type=Path, metavar="IN", help="DICOM, NRRD, NIfTI, MHA, TIFF or .npy, or a folder of them; a CT series is a folder")
    one.add_argument("target", type=Path, metavar="OUT", help="a file of the same kind as IN; a folder if IN is one")
    one.add_argument("--preset", choices=(*PRESETS, "ct"), default="quality",
                     help="quality (the default) looks at frames before and after, fast only before; ct is for CT volumes")
    one.add_argument("--model", metavar="FOLDER", help="a model of your own instead of a preset")
    add_device(one)
    one.add_argument("--strength", type=share, default=1.0, metavar="0..1", help="0 leaves the run as it is, 1 (the default) is the full effect")
    one.add_argument("--noise", type=noise_law, metavar="GAIN,PEDESTAL,READ",
                     help="variance = gain * (grey - pedestal) + read^2, in grey levels, instead of estimating it")
    one.add_argument("--compare", type=Path, metavar="PNG", help="also draw noisy | denoised | removed")
    one.add_argument("--compare-frame", type=whole_number, metavar="N", help="the frame to draw, counted from 0 (default: the middle)")
    one.add_argument("--residual", type=Path, metavar="OUT", help="also write what was removed, signed, as .npy or .nrrd")
    one.add_argument("--tile", type=pixels, metavar="N", help="compute in tiles of N pixels to save memory")
    one.add_argument("--overwrite", action="store_true", help="replace files that exist; in a folder, those that other settings made, or nobody knows who")
    one.add_argument("--names", action="store_true", help="of a folder, print the names of its files also where the output is not a terminal")

    one = command("probe", "Say what this machine computes with, why, and how fast.")
    one.add_argument("--json", action="store_true", help="print it for programs")

    one = command("simulate", "Simulate runs with known truth: one .dcm, or a folder of training runs.")
    one.add_argument("target", type=Path, metavar="OUT", help="a .dcm file (its truth goes beside it) or a folder")
    one.add_argument("--count", type=whole_number, default=1, metavar="N", help="how many runs, for a folder (default: 1)")
    one.add_argument("--seed", type=whole_number, default=0, metavar="S", help="of the run, or of the whole folder (default: 0)")
    one.add_argument("--settings", type=Path, metavar="JSON", help="fix some settings; the others are drawn at random in a folder")
    one.add_argument("--ct", type=Path, metavar="FILE", help="project this CT volume; in a folder every second run does, its left half only")
    one.add_argument("--overwrite", action="store_true", help="replace files that exist")

    one = command("train", "Train a model by a recipe; started again, it goes on where it stopped.")
    one.add_argument("recipe", type=Path, metavar="RECIPE.json")
    one.add_argument("--runs", type=Path, required=True, metavar="DIR", help="folder of the training runs")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for model, log and checkpoints")
    one.add_argument("--start", metavar="MODEL", help="preset or model folder whose weights to begin with")
    one.add_argument("--device", type=device, default="auto", metavar="auto|cpu|cuda:N", help="where to train (default: auto); the recipe has the precision")
    one.add_argument("--teacher", metavar="MODEL", help="folder of the teacher that a student learns from")
    one.add_argument("--normal", type=Path, metavar="DIR", help="folder of normal-dose CT volumes, for a recipe of kind ct-cycle")

    one = command("adapt", "Suit a model to your own noisy runs, without clean images; the old weights stay unless the new are better.")
    one.add_argument("sources", type=Path, nargs="+", metavar="IN", help="noisy runs of one kind, files or folders of them")
    one.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder of the model to make")
    one.add_argument("--minutes", type=minutes, default=5.0, metavar="M", help="how long it may take in all (default: 5)")
    one.add_argument("--model", default="quality", metavar="NAME", help="preset or model folder to begin with (default: quality)")
    one.add_argument("--bare", action="store_true", help="begin with random weights instead, in the shape of that model; takes hours")
    one.add_argument("--overwrite", action="store_true", help="replace a model that is in MODEL")
    one.add_argument("--no-safety", action="store_true", help="leave out the short safety report, which takes some of the time")
    add_device(one)

    one = command("ablate", "Train step 2 with each of its terms off and each choice changed, and say which earns its place.")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for ABLATION.md, ablation.json and the trainings")
    one.add_argument("--steps", type=positive, default=600, metavar="N", help="of every student and teacher (default: 600)")
    one.add_argument("--runs", type=positive, default=24, metavar="N", help="simulated noisy runs to train on (default: 24)")
    one.add_argument("--seeds", type=positive, default=3, metavar="N", help="trainings of each variant, judged on three other scenes (default: 3)")
    add_device(one)

    one = command("evaluate", "Measure the presets and their rivals on scenes with known truth; started again, it goes on where it stopped.")
    one.add_argument("--presets", nargs="+", default=list(PRESETS), metavar="NAME", help="presets or model folders, NAME=FOLDER for a name of its own (default: fast quality)")
    one.add_argument("--scenes", nargs="+", default=["main", "limit"], metavar="NAME",
                     help="groups (main, limit, dose, motion, noise, anatomy, real, all) or single scenes of them (default: main limit)")
    one.add_argument("--seeds", type=positive, default=3, metavar="N", help="simulated runs of each scene (default: 3)")
    one.add_argument("--size", type=pixels, default=512, metavar="N", help="rows and columns of the simulated scenes (default: 512)")
    one.add_argument("--frames", type=positive, default=12, metavar="N", help="of the simulated scenes (default: 12)")
    one.add_argument("--without", nargs="+", default=[], metavar="METHOD", help="leave out these rivals, BM4D for one, which takes minutes a scene")
    one.add_argument("--costly-seeds", type=whole_number, default=1, metavar="N", help="judge BM3D and BM4D on so many of the seeds (default: 1)")
    one.add_argument("--still", type=Path, nargs=2, metavar=("RUN", "TRUTH"), help="also a real run of a still scene, judged by its mean")
    one.add_argument("--data", type=Path, metavar="DIR", help="folder of real pictures for the scenes of group real")
    one.add_argument("--noise", choices=("estimated", "true"), default="estimated", help="what every method is told (default: estimated)")
    one.add_argument("--ct", type=Path, metavar="FILE", help="project the right half of this CT volume for the scenes")
    one.add_argument("--out", type=Path, metavar="DIR", help="write the tables, charts and pictures there, every row as soon as it is known")
    one.add_argument("--safety", metavar="MODEL", help="instead make the safety report of this preset or model folder, in DIR")
    one.add_argument("--quick", action="store_true", help="of a safety report, only what the verdict depends on, with less noise averaged")
    one.add_argument("--record", action="store_true", help="note a safety report's verdict also in the card of a shipped model")
    add_device(one)

    one = command("simulate-ct", "Give a CT volume the noise of a lower dose, with the texture of filtered back-projection.")
    one.add_argument("source", type=Path, metavar="CT", help="a volume in HU: NRRD, NIfTI or MHA; it is the truth")
    one.add_argument("target", type=Path, metavar="OUT", help="a file of the same kind")
    one.add_argument("--dose", type=dose, default=0.1, metavar="0.01..1", help="share of the full dose (default: 0.1)")
    one.add_argument("--already", action="store_true", help="CT has the noise of full dose itself; add only what is missing")
    one.add_argument("--quanta", type=minutes, default=2e6, metavar="QUANTA", help="of a ray at full dose without a patient (default: 2e6)")
    one.add_argument("--softness", type=share, default=0.6, metavar="0..1", help="of the kernel (default: 0.6; 0 is Ram-Lak, 1 Hann)")
    one.add_argument("--seed", type=whole_number, default=0, metavar="S", help="of the noise (default: 0)")
    one.add_argument("--overwrite", action="store_true", help="replace files that exist")

    one = command("evaluate-ct", "Measure CT models and their rivals: noise, HU, edges, faint discs, lesions.")
    one.add_argument("--models", nargs="*", default=["ct"], metavar="NAME", help="CT presets or model folders (default: ct)")
    one.add_argument("--ct", type=Path, metavar="CT", help="a clean volume; noise and lesions are put into some of its slices")
    one.add_argument("--places", type=positive, default=1, metavar="N", help="of that volume, spread evenly, judged alone and all together (default: 1, its middle)")
    one.add_argument("--repeats", type=Path, metavar="NPZ", help="repeats of one slice with their truth, as of LCD_CT (DIDSR)")
    one.add_argument("--dose", type=dose, default=0.1, metavar="0.01..1", help="of what is simulated (default: 0.1)")
    one.add_argument("--slices", type=positive, default=24, metavar="N", help="repeats of the simulated phantom (default: 24)")
    one.add_argument("--seed", type=whole_number, default=0, metavar="S", help="of the noise (default: 0)")
    one.add_argument("--without-phantom", action="store_true", help="leave the simulated phantom out")
    one.add_argument("--without-rivals", action="store_true", help="leave Gaussian, non-local means and BM3D out")
    one.add_argument("--without", nargs="+", default=[], metavar="METHOD", help="leave out these rivals, BM3D for one, which takes seconds a slice")
    one.add_argument("--network-alone", action="store_true", help="leave out what is put back after the network (docs/CT.md)")
    one.add_argument("--strength", type=share, default=1.0, metavar="0..1", help="of the models, as of denoise (default: 1)")
    one.add_argument("--out", type=Path, metavar="DIR", help="write table.md, rows.csv, rows.json and plots there")
    add_device(one)

    one = command("benchmark", "Measure how fast the presets are here, beside rivals and beside what this machine can do.")
    one.add_argument("--presets", nargs="+", default=list(PRESETS), metavar="NAME", help="presets or model folders (default: fast quality)")
    one.add_argument("--sizes", type=pixels, nargs="+", default=[512, 1024], metavar="N", help="rows and columns of the frames (default: 512 1024)")
    one.add_argument("--batch", type=positive, nargs="+", default=[1, 8], metavar="N", help="frames restored at a time (default: 1 8)")
    one.add_argument("--frames", type=positive, default=24, metavar="N", help="of the runs that are timed (default: 24)")
    one.add_argument("--rounds", type=positive, default=3, metavar="N", help="turns of each method, of which the medians are shown (default: 3)")
    one.add_argument("--out", type=Path, metavar="DIR", help="write benchmark.md, benchmark.json and benchmark.png there")
    one.add_argument("--device", type=device_or_all, default="all", metavar="all|cpu|cuda:N", help="where to compute (default: all, the CPU and every GPU)")
    add_precision(one)

    one = command("readers", "Make a page on which physicians rate runs blindly: noisy, denoised and by others, unlabelled.")
    one.add_argument("target", type=Path, metavar="OUT.html", help="the page; its key goes beside it and stays with you")
    one.add_argument("sources", type=Path, nargs="+", metavar="RUN", help="noisy runs, files or folders of them")
    one.add_argument("--presets", nargs="*", default=list(PRESETS), metavar="NAME",
                     help="denoise every run by these presets or model folders (default: fast quality; no name: by none)")
    one.add_argument("--arm", action="append", default=[], metavar="NAME=PATH",
                     help="also show what something else made of the runs: a folder of files of the same names; may be repeated")
    one.add_argument("--without-noisy", action="store_true", help="do not show the noisy runs themselves")
    one.add_argument("--frames", type=positive, metavar="N", help="show only the middle N frames of each run (default: all)")
    one.add_argument("--seed", type=whole_number, default=0, metavar="S", help="of codes and order (default: 0)")
    one.add_argument("--overwrite", action="store_true", help="replace files that exist")
    add_device(one)

    one = command("readers-join", "Join the CSVs of the readers: means, paired tests, agreement.")
    one.add_argument("key", type=Path, metavar="KEY", help="the .key.json that lies beside the page")
    one.add_argument("answers", type=Path, nargs="+", metavar="CSV", help="one of each reader")
    one.add_argument("--out", type=Path, metavar="DIR", help="write report.md and the tables as CSV there")
    one.add_argument("--overwrite", action="store_true", help="replace files that exist")
    return parser


def add_device(parser: Parser) -> None:
    parser.add_argument("--device", type=device, default="auto", metavar="auto|cpu|cuda:N", help="where to compute (default: auto, a GPU if one can be used)")
    add_precision(parser)


def add_precision(parser: Parser) -> None:
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto",
                        help="of the network (default: auto, float32 on the CPU and float16 on a GPU)")


def device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device, which are auto, cpu, cuda:0, cuda:1 and so on")
    return text


def device_or_all(text: str) -> str:
    return text if text == "all" else device(text)


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def dose(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.01 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share of the full dose from 0.01 to 1")
    return value


def minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes above 0")
    return value


def whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def pixels(text: str) -> int:
    if not text.isdecimal() or int(text) < 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of pixels from 32 up")
    return int(text)


def noise_law(text: str) -> tuple[float, float, float]:
    try:
        gain, pedestal, read_noise = (float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers with commas: gain,pedestal,read noise") from None
    return gain, pedestal, read_noise
