"""The command `evaluate --safety`: one model, every check as it is done, the page at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    import argparse


def report(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Write safety.html and safety.json into --out, and the verdict into the model's card: always where the model is a folder of
    one's own, of a shipped one with --record."""
    from FluoroDenoiseLib.compute import choose
    from FluoroDenoiseLib.evaluation.safety import QUICK, WHOLE, safety_report
    from FluoroDenoiseLib.evaluation.safety_rows import in_digits
    from FluoroDenoiseLib.model_folder import SHIPPED, load_model, shipped_models
    from FluoroDenoiseLib.targets import UsageError, make_folder

    if options.out is None:
        raise UsageError("A safety report needs a folder to be written to; add --out DIR.")
    make_folder(options.out)
    compute = choose(options.device, options.precision)
    model = load_model(options.safety, compute)
    shipped = options.safety in shipped_models()
    folder = SHIPPED / options.safety if shipped else Path(options.safety)

    def watch(section) -> None:
        failed = [row for row in section.rows if row.passed is False]
        say(f"{section.check} {section.title}: {words(section.passed)}")
        for row in failed:
            unit = f" {row.unit}" if row.unit else ""
            say(f"  {row.name}: {in_digits(row.value, row.rule)}{unit}, not {row.rule}{f' ({row.note})' if row.note else ''}")

    made = safety_report(model, compute, options.out, QUICK if options.quick else WHOLE,
                         folder if options.record or not shipped else None, watch=watch)
    say(f"{options.out}: safety.html and safety.json are written")
    limits = len(made.failures(required=False))
    say(f"{model.name} {'passes' if made.passed else 'FAILS'} the safety report{f', with {limits} limits beyond it' if limits else ''}")
    return 0


def words(passed: bool | None) -> str:
    return "reported" if passed is None else "passed" if passed else "FAILED"
