"""The command `fluorodenoise`: parse, then one call each.

Exit codes: 0 done, 2 wrong usage, 3 broken input, 4 unsupported input, 5 the machine lacks something, 6 cancelled,
7 unusable model, 8 the output cannot be written, 1 a fault of ours. A failure is one sentence on standard error; with
FLUORODENOISE_TRACEBACK=1 the traceback follows. torch is imported by the commands that compute, so help is instant.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Iterable, NoReturn, Sequence

from FluoroDenoiseLib import __version__

PACKAGE = Path(__file__).parent
PRESETS = ("fast", "quality")


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints look like all our others."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"fluorodenoise: {message[:1].upper()}{message[1:]}; see {self.prog} --help.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    warnings.showwarning = show_own_warning
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return options.command(options)
    except (Exception, KeyboardInterrupt) as error:
        return complain(error)
    finally:
        signal.signal(signal.SIGTERM, previous)
        say("", end="")


def complain(error: BaseException, name: str = "fluorodenoise") -> int:
    """Print what went wrong as one sentence and return its exit code."""
    from FluoroDenoiseLib.jobs import explain

    exit_code, sentence = explain(error)
    if os.environ.get("FLUORODENOISE_TRACEBACK") == "1":
        traceback.print_exception(error)
    print(f"{name}: {sentence}", file=sys.stderr)
    return exit_code


def say(text: str, end: str = "\n") -> None:
    """Print for whoever listens; work goes on when nobody does any more (`fluorodenoise ... | head -1`)."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_own_warning(message: Warning | str, category: type, filename: str, *_: object) -> None:
    """Print our own warnings as a line; others stay silent, since pydicom's repeat names and dates of patients."""
    if Path(filename).is_relative_to(PACKAGE):
        print(f"note: {message}", file=sys.stderr)


def make_parser() -> Parser:
    parser = Parser(prog="fluorodenoise", description="Clean pictures from noisy low-dose X-ray runs. For research use only.")
    parser.add_argument("--version", action="version", version=f"fluorodenoise {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def command(function, name: str, summary: str) -> Parser:
        made = commands.add_parser(name, help=summary, description=summary)
        made.set_defaults(command=function)
        return made

    one = command(denoise, "denoise", "Denoise a run, or every run in a folder.")
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

    one = command(probe, "probe", "Say what this machine computes with, why, and how fast.")
    one.add_argument("--json", action="store_true", help="print it for programs")

    one = command(simulate, "simulate", "Simulate runs with known truth: one .dcm, or a folder of training runs.")
    one.add_argument("target", type=Path, metavar="OUT", help="a .dcm file (its truth goes beside it) or a folder")
    one.add_argument("--count", type=whole_number, default=1, metavar="N", help="how many runs, for a folder (default: 1)")
    one.add_argument("--seed", type=whole_number, default=0, metavar="S", help="of the first run (default: 0); the next has S + 1")
    one.add_argument("--settings", type=Path, metavar="JSON", help="fix some settings; what it leaves out is drawn at random for a folder")
    one.add_argument("--ct", type=Path, metavar="FILE", help="project this CT volume instead of procedural anatomy")
    one.add_argument("--overwrite", action="store_true", help="replace files that exist")

    one = command(train, "train", "Train a model by a recipe; started again, it goes on where it stopped.")
    one.add_argument("recipe", type=Path, metavar="RECIPE.json")
    one.add_argument("--runs", type=Path, required=True, metavar="DIR", help="folder of the training runs")
    one.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for model, log and checkpoints")

    one = command(evaluate, "evaluate", "Measure the presets and their rivals on simulated scenes.")
    one.add_argument("--presets", nargs="+", default=list(PRESETS), metavar="NAME", help="presets or model folders (default: fast quality)")
    one.add_argument("--scenes", nargs="+", metavar="NAME", help="scenes to measure on (default: all)")
    one.add_argument("--seeds", type=whole_number, default=3, metavar="N", help="simulated runs of each scene (default: 3)")
    one.add_argument("--out", type=Path, metavar="DIR", help="write the table and pictures there")
    one.add_argument("--ct", type=Path, metavar="FILE", help="CT volume to project for the scenes")
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


def whole_number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
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


def denoise(options: argparse.Namespace) -> int:
    """Denoise one file, or all runs of a folder, of which a bad one does not stop the others."""
    from FluoroDenoiseLib import jobs
    from FluoroDenoiseLib.noise import PoissonGaussian
    from FluoroDenoiseLib.targets import check_targets

    settings = jobs.DenoiseSettings(
        options.model or options.preset, options.device, options.precision, options.strength,
        PoissonGaussian(*options.noise) if options.noise else None, options.tile)
    if options.source.is_dir():
        return denoise_folder(options, settings)
    check_targets(options.source, options.target, options.compare, options.residual, options.overwrite)
    model, compute = jobs.load(settings)
    denoise_one(options.source, options.target, model, compute, settings, options.overwrite,
                compare=options.compare, compare_frame=options.compare_frame, residual=options.residual)
    for extra in (options.compare, options.residual):
        if extra:
            say(f"{extra}: written")
    return 0


def denoise_folder(options: argparse.Namespace, settings) -> int:
    """Denoise every run below a folder to the same place below another; returns the code of the first failure."""
    from FluoroDenoiseLib import jobs
    from FluoroDenoiseLib.errors import InputError
    from FluoroDenoiseLib.formats import find_runs
    from FluoroDenoiseLib.targets import UsageError, make_folder

    if options.compare or options.residual:
        raise UsageError("--compare and --residual are for one run; denoise that file alone to get them.")
    if options.target.resolve() == options.source.resolve():
        raise UsageError("OUT must be another folder than IN, whose runs are never changed.")
    runs = [path for path in find_runs(options.source) if not path.is_relative_to(options.target)]
    if not runs:
        raise InputError(f"{options.source} holds no runs that can be read; give a folder of DICOM, NRRD, TIFF or .npy.")
    make_folder(options.target)
    model, compute = jobs.load(settings)
    failures: dict[Path, int] = {}
    done = skipped = 0
    for source in runs:
        target = options.target / source.relative_to(options.source)
        if target.exists() and not options.overwrite:
            skipped += 1
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            denoise_one(source, target, model, compute, settings, options.overwrite)
            done += 1
        except Exception as error:
            failures[source] = complain(error)
    there = f", {skipped} were there already (--overwrite does them again)" if skipped else ""
    say(f"{options.target}: {done} of {len(runs)} runs denoised{there}, {len(failures)} failed")
    for source, exit_code in failures.items():
        say(f"  failed with code {exit_code}: {source.relative_to(options.source)}")
    return next(iter(failures.values()), 0)


def denoise_one(source: Path, target: Path, model, compute, settings, overwrite: bool, **targets: object) -> None:
    """Denoise a file, saying what was found before and what became of it after."""
    from FluoroDenoiseLib.jobs import denoise_file
    from tqdm import tqdm

    def watch(frames: Iterable, count: int, facts: dict) -> Iterable:
        height, width = facts["size"]
        say(f"{source}: {count} frames of {width}x{height}")
        say(f"  noise: {describe_noise(facts)}")
        say(f"  device: {facts['device']} in {facts['precision']}: {facts['reason']}")
        for warning in facts["warnings"]:
            print(f"  note: {warning}", file=sys.stderr)
        return tqdm(frames, total=count, unit=" frames", desc="  denoising", leave=False, disable=None)

    report = denoise_file(source, target, model, compute, settings, overwrite, watch=watch, **targets)
    say(f"{target}: {report.frames} frames by {model.name} in {report.seconds:.1f} s "
        f"({report.frames / max(report.seconds, 1e-3):.2g} a second), {report.clipped} of {report.pixels} pixels clipped, "
        f"mean changed by {100 * report.mean_change:+.3f} % of the grey range")


def describe_noise(facts: dict) -> str:
    law = facts["noise"]
    if law["gain"] > 0:
        text = f"variance {law['gain']:.3g} x (grey - {law['pedestal']:.4g}) + {law['read_noise']:.3g}^2 grey levels"
    elif law["read_noise"] > 0:
        text = f"standard deviation {law['read_noise']:.3g} grey levels at every grey"
    else:
        return "none, so the run comes back as it is"
    return f"{text}, correlation {facts['spatial_correlation']:.2f} in space, {facts['temporal_correlation']:.2f} in time"


def probe(options: argparse.Namespace) -> int:
    """Print the devices, the one that would be used and why, and the speed of each preset on it."""
    from FluoroDenoiseLib.probe import probe as look

    found = look()
    if options.json:
        say(json.dumps(found, indent=2))
        return 0
    for one in found["devices"]:
        usable = "" if one["usable"] else " (not usable)"
        say(f"{one['device']}: {one['name']}, {one['memory_bytes'] / 2**30:.0f} GiB{usable}; {one['note']}")
    say(f"auto takes {found['device']} in {found['precision']}: {found['reason']}")
    for name, speed in found["frames_per_second"].items():
        say(f"{name}: " + ", ".join(f"{rate:.3g} frames a second at {size}" for size, rate in speed.items()))
    if not found["frames_per_second"]:
        say("no models are installed, so no speed can be measured")
    return 0


def simulate(options: argparse.Namespace) -> int:
    """Write one simulated DICOM run with its truth, or a folder of runs as training wants them."""
    from FluoroDenoiseLib.errors import OutputError
    from FluoroDenoiseLib.simulate import SimulationSettings, save_simulated
    from FluoroDenoiseLib.simulated_files import draw_run, read_ct, read_settings, save_as_xa, save_truth
    from FluoroDenoiseLib.targets import UsageError, check_folder, make_folder
    from tqdm import tqdm

    fixed = read_settings(options.settings) if options.settings else {}
    ct = read_ct(options.ct) if options.ct else None
    if options.target.suffix == ".dcm":
        truth = options.target.with_name(f"{options.target.stem}_truth.nrrd")
        if options.count != 1:
            raise UsageError("--count is for a folder of runs; give a folder, or leave it out.")
        for path in (options.target, truth):
            if path.exists() and not options.overwrite:
                raise OutputError(f"{path} exists already; choose another name, or add --overwrite.")
        check_folder(options.target.parent)
        run = draw_run(SimulationSettings(**fixed), options.seed, ct)
        save_as_xa(run, options.target)
        save_truth(run, truth)
        frames, height, width = run.noisy.shape
        say(f"{options.target}: {frames} frames of {width}x{height}, {run.settings.quanta:g} quanta a pixel; truth in {truth}")
        return 0
    if options.target.suffix in (".npy", ".nrrd", ".tif", ".tiff", ".mha", ".nii"):
        raise UsageError(f"One run is simulated as .dcm, many as a folder; {options.target.name} is neither.")
    make_folder(options.target)
    made = 0
    for seed in tqdm(range(options.seed, options.seed + options.count), unit=" runs", disable=None):
        folder = options.target / f"run_{seed:05d}"
        if not folder.exists():
            save_simulated(draw_run(fixed, seed, ct), folder)
            made += 1
    there = f", {options.count - made} were there already" if made < options.count else ""
    say(f"{options.target}: {made} runs simulated{there}, each with its truth")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    raise NotImplementedError


def train(options: argparse.Namespace) -> int:
    """Train by a recipe, with a progress bar; the loss stands in it."""
    from FluoroDenoiseLib.jobs import train_recipe
    from FluoroDenoiseLib.recipe import load_recipe
    from tqdm import tqdm

    recipe = load_recipe(options.recipe)
    say(f"{options.out}: training {recipe.name} for {recipe.steps} steps on {options.runs}")
    bar = tqdm(total=recipe.steps, unit=" steps", disable=None)
    with bar:
        for progress in train_recipe(recipe, options.runs, options.out):
            losses = {name: f"{value:.4g}" for name, value in progress.losses.items()}
            bar.set_postfix(losses, refresh=False)
            bar.update(progress.step - bar.n)
            if bar.disable:
                say(f"  step {progress.step} of {progress.steps}: {', '.join(f'{k} {v}' for k, v in losses.items())}")
    say(f"{options.out}: model.json, weights.safetensors and train.csv are written; use it with --model {options.out}")
    return 0
