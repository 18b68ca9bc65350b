"""The command `fluorodenoise`: parse, then one call each.

Exit codes: 0 done, 2 wrong usage, 3 broken input, 4 unsupported input, 5 the machine lacks something, 6 cancelled,
7 unusable model, 8 the output cannot be written, 1 a fault of ours. A failure is one sentence on standard error; with
FLUORODENOISE_TRACEBACK=1 the traceback follows. torch is imported by the commands that compute, so help is instant.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Sequence

from FluoroDenoiseLib.cli_arguments import make_parser
from FluoroDenoiseLib.console import complain, say, values_kept_in

if TYPE_CHECKING:
    import argparse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = make_parser().parse_args(arguments)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with values_kept_in():
            return COMMANDS[options.command](options)
    except (Exception, KeyboardInterrupt) as error:
        return complain(error)
    finally:
        signal.signal(signal.SIGTERM, previous)
        say("", end="")


def denoise(options: argparse.Namespace) -> int:
    """Denoise one file, or all runs of a folder, of which a bad one does not stop the others; CT where the model is for CT."""
    from FluoroDenoiseLib import jobs
    from FluoroDenoiseLib.ct_jobs import is_for_ct
    from FluoroDenoiseLib.noise import PoissonGaussian
    from FluoroDenoiseLib.targets import check_targets

    settings = jobs.DenoiseSettings(
        options.model or options.preset, options.device, options.precision, options.strength,
        PoissonGaussian(*options.noise) if options.noise else None, options.tile)
    if is_for_ct(settings.model):
        from FluoroDenoiseLib import cli_ct

        return cli_ct.denoise(options, settings)
    if options.source.is_dir():
        from FluoroDenoiseLib.cli_archive import denoise_folder

        return denoise_folder(options, settings)
    check_targets(options.source, options.target, options.compare, options.residual, options.overwrite)
    model, compute = jobs.load(settings)
    denoise_one(options.source, options.target, model, compute, settings, options.overwrite,
                compare=options.compare, compare_frame=options.compare_frame, residual=options.residual)
    for extra in (options.compare, options.residual):
        if extra:
            say(f"{extra}: written")
    return 0


def denoise_one(source: Path, target: Path, model, compute, settings, overwrite: bool, **targets: object) -> None:
    """Denoise a file, saying what was found before and what became of it after."""
    from FluoroDenoiseLib.jobs import denoise_file
    from tqdm import tqdm

    def watch(frames: Iterable, count: int, facts: dict) -> Iterable:
        height, width = facts["size"]
        say(f"{source}: {frames_in_words(count)} of {width}x{height}")
        say(f"  noise: {describe_noise(facts)}")
        say(f"  device: {facts['device']} in {facts['precision']}: {facts['reason']}")
        for warning in facts["warnings"]:
            print(f"  note: {warning}", file=sys.stderr)
        return tqdm(frames, total=count, unit=" frames", desc="  denoising", leave=False, disable=None)

    report = denoise_file(source, target, model, compute, settings, overwrite, watch=watch, **targets)
    rate = report.frames / max(report.seconds, 1e-3)
    say(f"{target}: {frames_in_words(report.frames)} by {model.name} in {report.seconds:.1f} s ({rate:.{1 if rate < 10 else 0}f} a second)")
    say(f"  {report.clipped} of {report.pixels} pixels clipped, mean changed by {100 * report.mean_change:+.3f} % of the grey range")


def frames_in_words(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


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
    from FluoroDenoiseLib.simulated_files import read_ct, read_settings
    from FluoroDenoiseLib.targets import UsageError

    fixed = read_settings(options.settings) if options.settings else {}
    ct = read_ct(options.ct) if options.ct else None
    if options.target.suffix == ".dcm":
        if options.count != 1:
            raise UsageError("--count is for a folder of runs; give a folder, or leave it out.")
        return simulate_one(options, fixed, ct)
    if options.target.suffix in (".npy", ".nrrd", ".tif", ".tiff", ".mha", ".nii"):
        raise UsageError(f"One run is simulated as .dcm, many as a folder; {options.target.name} is neither.")
    return simulate_folder(options, fixed, ct)


def simulate_one(options: argparse.Namespace, fixed: dict, ct: tuple | None) -> int:
    from FluoroDenoiseLib.errors import OutputError
    from FluoroDenoiseLib.simulate import SimulationSettings
    from FluoroDenoiseLib.simulated_files import one_run, save_as_xa, save_truth
    from FluoroDenoiseLib.targets import check_folder

    truth = options.target.with_name(f"{options.target.stem}_truth.nrrd")
    for path in (options.target, truth):
        if path.exists() and not options.overwrite:
            raise OutputError(f"{path} exists already; choose another name, or add --overwrite.")
    check_folder(options.target.parent)
    run = one_run(SimulationSettings(**fixed), options.seed, ct)
    save_as_xa(run, options.target)
    save_truth(run, truth)
    frames, height, width = run.noisy.shape
    say(f"{options.target}: {frames_in_words(frames)} of {width}x{height}, {run.settings.quanta:g} quanta a pixel; truth in {truth}")
    return 0


def simulate_folder(options: argparse.Namespace, fixed: dict, ct: tuple | None) -> int:
    """Runs are made in a fixed order, so what an interrupted start has made need not be made again."""
    from FluoroDenoiseLib.formats.held_folder import held_folder
    from FluoroDenoiseLib.simulate import save_simulated
    from FluoroDenoiseLib.targets import make_folder
    from FluoroDenoiseLib.training.scenes import training_runs
    from tqdm import tqdm

    make_folder(options.target)
    with held_folder(options.target):
        folders = [options.target / f"run_{options.seed:03d}_{index:05d}" for index in range(options.count)]
        there = len(list(itertools.takewhile(Path.exists, folders)))
        runs = training_runs(options.count - there, options.seed, ct, there, **fixed)
        for folder, run in zip(folders[there:], tqdm(runs, total=options.count - there, unit=" runs", disable=None)):
            if not folder.exists():
                save_simulated(run, folder)
    before = f", {there} were there already" if there else ""
    say(f"{options.target}: {options.count - there} runs simulated{before}, each with its truth")
    return 0


def evaluate(options: argparse.Namespace) -> int:
    if options.safety:
        from FluoroDenoiseLib import cli_safety

        return cli_safety.report(options, say)
    from FluoroDenoiseLib import cli_evaluate

    return cli_evaluate.evaluate(options, say)


def train(options: argparse.Namespace) -> int:
    """Train by a recipe, with a progress bar; losses, risk and remaining time stand in it.

    Under torchrun the first process speaks for all.
    """
    from FluoroDenoiseLib.jobs import train_recipe
    from FluoroDenoiseLib.recipe import load_recipe
    from tqdm import tqdm

    recipe = load_recipe(options.recipe)
    speaks = os.environ.get("RANK", "0") == "0"
    if speaks:
        say(f"{options.out}: training {recipe.name} for {recipe.steps} steps on {options.runs}")
    bar = tqdm(total=recipe.steps, disable=None if speaks else True,
               bar_format="{percentage:3.0f}%|{bar}| {n_fmt} of {total_fmt} steps, {elapsed}{postfix}")
    with bar:
        for progress in train_recipe(recipe, options.runs, options.out, start=options.start, device=options.device,
                                     teacher=options.teacher, normal=options.normal):
            risk = {} if progress.risk is None else {"risk": progress.risk}
            numbers = {name: f"{value:.4g}" for name, value in {**risk, **progress.losses}.items()}
            left = tqdm.format_interval(progress.remaining_s)
            bar.set_postfix({"left": left, **numbers}, refresh=False)
            bar.update(progress.step - bar.n)
            if speaks and bar.disable:
                numbers = ", ".join(f"{name} {value}" for name, value in numbers.items())
                say(f"  step {progress.step} of {progress.steps}: {numbers}, {left} left")
    if speaks:
        say(f"{options.out}: the model, its card MODEL.md, train.csv and train.png are written; use it with --model {options.out}")
    return 0


def adapt(options: argparse.Namespace) -> int:
    """Adapt a model, with a progress bar of the time; says at the end which weights are kept and why."""
    from FluoroDenoiseLib.jobs import DenoiseSettings, adapt_model
    from FluoroDenoiseLib.model_safety import judge_adapted, reserve_time
    from tqdm import tqdm

    settings = DenoiseSettings(options.model, options.device, options.precision)
    job = adapt_model(options.sources, options.out, settings, options.minutes, options.bare, options.overwrite)
    judged = not options.no_safety and reserve_time(job)
    say(f"{options.out}: adapting {options.model} to {len(job.runs)} runs for {options.minutes:g} minutes, some of it to prepare them")
    bar, shown = tqdm(unit=" steps", disable=None), None
    with bar:
        for progress in job:
            bar.total = progress.steps
            risk = "not judged yet" if progress.risk is None else f"{progress.risk:.4f}"
            bar.set_postfix({"error at first": f"{job.risk_before:.4f}", "now": risk}, refresh=False)
            if bar.disable and progress.risk not in (None, shown):
                say(f"  step {progress.step} of {progress.steps}: estimated error {risk}, at first {job.risk_before:.4f}")
            shown = progress.risk
            bar.update(progress.step - bar.n)
    say(f"{options.out}: {job.outcome.sentence}")
    if not options.no_safety:
        say(f"  {judge_adapted(options.out, job.compute, judged)}")
    say(f"  {job.outcome.frames} frames, {job.outcome.steps} steps, {job.outcome.seconds:.0f} s; use it with --model {options.out}")
    return 0


def ablate(options: argparse.Namespace) -> int:
    """Run the ablation of step 2, each row as it is known; the tables at the end."""
    from FluoroDenoiseLib.compute import choose
    from FluoroDenoiseLib.targets import make_folder
    from FluoroDenoiseLib.training.ablation import Size, ablate as run_ablation
    from FluoroDenoiseLib.training.ablation_report import write_report

    make_folder(options.out)
    size = Size(options.steps, options.runs, options.seeds)
    compute = choose(options.device, "bfloat16" if options.precision == "auto" else options.precision)
    rows = []
    for row in run_ablation(options.out, size, compute, choose(options.device, "float32")):
        rows.append(row)
        say(f"{row.method}, training {row.seed}, scene {row.scene}: {row.psnr:.2f} dB, wire {row.psnr_near:.2f} dB, "
            f"contrast {row.contrast:.3f}, lag {row.lag:.3f}")
    write_report(rows, size, options.out, [f"Trained on {compute.device} in {compute.precision}: {compute.reason}"])
    say(f"{options.out}: ABLATION.md and ablation.json are written")
    return 0


def benchmark(options: argparse.Namespace) -> int:
    from FluoroDenoiseLib import cli_benchmark

    return cli_benchmark.benchmark(options, say)


def readers(options: argparse.Namespace) -> int:
    from FluoroDenoiseLib.cli_readers import make_page

    return make_page(options, say)


def readers_join(options: argparse.Namespace) -> int:
    from FluoroDenoiseLib.cli_readers import join_answers

    return join_answers(options, say)


def simulate_ct(options: argparse.Namespace) -> int:
    from FluoroDenoiseLib.cli_ct_measures import simulate_ct as simulate_volume

    return simulate_volume(options)


def evaluate_ct(options: argparse.Namespace) -> int:
    from FluoroDenoiseLib.cli_ct_measures import evaluate_ct as evaluate_volumes

    return evaluate_volumes(options)


COMMANDS = {"adapt": adapt, "denoise": denoise, "probe": probe, "simulate": simulate, "train": train, "evaluate": evaluate, "ablate": ablate,
            "simulate-ct": simulate_ct, "evaluate-ct": evaluate_ct, "benchmark": benchmark, "readers": readers, "readers-join": readers_join}
