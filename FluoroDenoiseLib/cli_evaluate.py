"""The command `evaluate`: what may be asked, and how its rows are told as they come."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from FluoroDenoiseLib.evaluation.rows import Row

Say = Callable[[str], None]


def evaluate(options: argparse.Namespace, say: Say) -> int:
    """Measure presets and rivals, each scene's rows as they are done, the table at the end."""
    from FluoroDenoiseLib.compute import choose
    from FluoroDenoiseLib.evaluation.rows import efficiency_table, summarise, table
    from FluoroDenoiseLib.evaluation.session import Request, Session, load_models
    from FluoroDenoiseLib.evaluation.showing import draw
    from FluoroDenoiseLib.targets import make_folder

    if options.out:
        make_folder(options.out)
    compute = choose(options.device, options.precision)
    models = load_models(options.presets, compute)
    request = Request(
        tuple(options.scenes), options.seeds, options.size, options.frames, options.noise, options.costly_seeds,
        tuple(options.without), options.ct, options.data, options.still and tuple(options.still))
    session = Session(request, models, compute, options.out, command_of(options))
    if session.rows:
        say(f"{options.out}: {len(session.rows)} rows are there already")
    for row in session:
        say(sentence(row))
    summaries = summarise(session.rows)
    for part in ("", table(summaries), "", efficiency_table(summaries), *session.remarks):
        say(part)
    if options.out:
        drawn = draw(session)
        say(f"{options.out}: table.md, rows.csv, rows.json{''.join(f', {name}' for name in drawn)} are written")
    return 0


def sentence(row: Row) -> str:
    """A row for a person who waits."""
    quality = f"NIQE {row.niqe:.1f}" if row.psnr != row.psnr else f"{row.psnr:.2f} dB"
    setting = f" {row.setting}" if row.setting else ""
    spent = "" if row.cpu_s != row.cpu_s else f", {row.cpu_s:.3g} CPU seconds a frame"
    return f"{row.scene} {row.seed}: {row.method}{setting}: {quality}{spent}"


def command_of(options: argparse.Namespace) -> str:
    """The command as others would type it, with the names of files and folders but not where they lie here."""
    words = ["fluorodenoise", "evaluate", "--scenes", *options.scenes]
    if list(options.presets) != ["fast", "quality"]:
        words += ["--presets", *(_bare(word) for word in options.presets)]
    defaults = {"seeds": 3, "size": 512, "frames": 12, "noise": "estimated", "costly_seeds": 1, "device": "auto", "precision": "auto"}
    for name, default in defaults.items():
        if getattr(options, name) != default:
            words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    for name in ("ct", "data"):
        if getattr(options, name):
            words += [f"--{name}", getattr(options, name).name]
    if options.still:
        words += ["--still", *(path.name for path in options.still)]
    if options.without:
        words += ["--without", *options.without]
    return shlex.join([*words, "--out", options.out.name if options.out else "OUT"])


def _bare(word: str) -> str:
    label, separator, place = word.rpartition("=")
    return label + separator + Path(place).name
