"""The commands of a reader study: `readers` makes the page, `readers-join` says what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

Say = Callable[[str], None]


def make_page(options: argparse.Namespace, say: Say) -> int:
    """Make the page and its key, with a progress bar for every arm of every run."""
    from FluoroDenoiseLib.compute import choose
    from FluoroDenoiseLib.evaluation.readers_cases import find_cases, parse_arm
    from FluoroDenoiseLib.evaluation.readers_study import StudyPlan, check_page, key_path, make_study
    from FluoroDenoiseLib.model_folder import load_model
    from tqdm import tqdm

    check_page(options.target, options.overwrite)
    arms = [parse_arm(text) for text in options.arm]
    cases = find_cases(options.sources, arms)
    compute = choose(options.device, options.precision)
    models = [load_model(name, compute) for name in options.presets]
    plan = StudyPlan(cases, models, [arm.name for arm in arms], not options.without_noisy, options.frames, options.seed)

    def watch(frames: Iterable, count: int, name: str) -> Iterable:
        return tqdm(frames, total=count, unit=" frames", desc=f"  {name}", leave=False, disable=None)

    key, pictures = make_study(options.target, plan, compute, options.overwrite, watch)
    runs = "1 run" if len(cases) == 1 else f"{len(cases)} runs"
    say(f"{options.target}: {runs} by {', '.join(plan.arms)}, {pictures.bytes / 1e6:.1f} MB; send it to the readers")
    say(f"{key_path(options.target)}: which picture is which, with the names of your files; keep it, readers must not see it")
    say("  The page holds pixels and no names, but text that is burned into the pictures stays: look at them before you send it.")
    say(f"  When the CSVs are back: fluorodenoise readers-join {key_path(options.target)} CSV... --out DIR")
    return 0


def join_answers(options: argparse.Namespace, say: Say) -> int:
    """Print what the readers found, and write it if asked to."""
    from FluoroDenoiseLib.evaluation.readers_answers import join
    from FluoroDenoiseLib.evaluation.readers_key import read_key
    from FluoroDenoiseLib.evaluation.readers_report import FILES, as_text, report, write_report

    key = read_key(options.key)
    found = report(key, join(key, options.answers))
    if options.out:
        write_report(found, options.out, options.overwrite)
    say(as_text(found))
    if options.out:
        say(f"{options.out}: {', '.join(FILES)} are written")
    return 0
