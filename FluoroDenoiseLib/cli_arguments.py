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
    one.add_argument("source", type=Path, metavar="IN", help="DICOM, NRRD, NIfTI, MHA, TIFF or .npy, or a folder of them")
    one.add_argument("target", type=Path, metavar="OUT", help="a file of the same kind as IN; a folder if IN is one")
    one.add_argument("--preset", choices=PRESETS, default="quality", help="quality (the default) looks at frames before and after, fast only before")
    one.add_argument("--model", metavar="FOLDER", help="a model of your own instead of a preset")
    add_device(one)
    one.add_argument("--strength", type=share, default=1.0, metavar="0..1", help="0 leaves the run as it is, 1 (the default) is the full effect")
    one.add_argument("--noise", type=noise_law, metavar="GAIN,PEDESTAL,READ",
                     help="variance = gain * (grey - pedestal) + read^2, in grey levels, instead of estimating it")
    one.add_argument("--compare", type=Path, metavar="PNG", help="also draw noisy | denoised | removed")
    one.add_argument("--compare-frame", type=whole_number, metavar="N", help="the frame to draw, counted from 0 (default: the middle)")
    one.add_argument("--residual", type=Path, metavar="OUT", help="also write what was removed, signed, as .npy or .nrrd")
    one.add_argument("--tile", type=pixels, metavar="N", help="compute in tiles of N pixels to save memory")
    one.add_argument("--overwrite", action="store_true", help="replace files that exist")

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

    one = command("adapt", "Suit a model to your own noisy runs, without clean images; the old weights stay unless the new are better.")
    one.add_argument("sources", type=Path, nargs="+", metavar="IN", help="noisy runs of one kind, files or folders of them")
    one.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder of the model to make")
    one.add_argument("--minutes", type=minutes, default=5.0, metavar="M", help="how long it may take in all (default: 5)")
    one.add_argument("--model", default="quality", metavar="NAME", help="preset or model folder to begin with (default: quality)")
    one.add_argument("--bare", action="store_true", help="begin with random weights instead, in the shape of that model; takes hours")
    one.add_argument("--overwrite", action="store_true", help="replace a model that is in MODEL")
    add_device(one)

    one = command("ablate", "Train step 2 with each of its terms off and each choice changed, and say which earns its place.")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for ABLATION.md, ablation.json and the trainings")
    one.add_argument("--steps", type=positive, default=600, metavar="N", help="of every student and teacher (default: 600)")
    one.add_argument("--runs", type=positive, default=24, metavar="N", help="simulated noisy runs to train on (default: 24)")
    one.add_argument("--seeds", type=positive, default=3, metavar="N", help="trainings of each variant, judged on three other scenes (default: 3)")
    add_device(one)

    one = command("evaluate", "Measure the presets and their rivals on simulated scenes.")
    one.add_argument("--presets", nargs="+", default=list(PRESETS), metavar="NAME", help="presets or model folders (default: fast quality)")
    one.add_argument("--scenes", nargs="*", metavar="NAME", help="of q8, q30, q120 and reference (default: all)")
    one.add_argument("--seeds", type=whole_number, default=3, metavar="N", help="simulated runs of each scene (default: 3)")
    one.add_argument("--size", type=pixels, default=512, metavar="N", help="rows and columns of the simulated scenes (default: 512)")
    one.add_argument("--frames", type=whole_number, default=12, metavar="N", help="of the simulated scenes (default: 12)")
    one.add_argument("--still", type=Path, nargs=2, metavar=("RUN", "TRUTH"), help="also a real run of a still scene, judged by its mean")
    one.add_argument("--noise", choices=("estimated", "true"), default="estimated", help="what every method is told (default: estimated)")
    one.add_argument("--ct", type=Path, metavar="FILE", help="project the right half of this CT volume for the scenes")
    one.add_argument("--out", type=Path, metavar="DIR", help="write table.md, rows.csv and rows.json there")
    add_device(one)
    return parser


def add_device(parser: Parser) -> None:
    parser.add_argument("--device", type=device, default="auto", metavar="auto|cpu|cuda:N", help="where to compute (default: auto, a GPU if one can be used)")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto",
                        help="of the network (default: auto, float32 on the CPU and float16 on a GPU)")


def device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a device, which are auto, cpu, cuda:0, cuda:1 and so on")
    return text


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
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
