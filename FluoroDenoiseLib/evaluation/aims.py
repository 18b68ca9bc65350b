"""What the shipped presets aim at beside their rivals and the limit, and whether an evaluation shows it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from FluoroDenoiseLib.evaluation.rows import Summary, markdown

Found = dict[tuple[str, str], Summary]
LEAST_CONTRAST = 0.90


@dataclass(frozen=True)
class Aim:
    """measure(found) gives the number, which should be `least` or more; KeyError where a row of it is missing."""

    what: str
    least: float
    digits: int
    measure: Callable[[Found], float]


def aims() -> list[Aim]:
    """Every aim that an evaluation can show."""
    listed = []
    for scene, quanta in (("q8", 8), ("q30", 30)):
        for method, gain in (("quality", 3.0), ("fast", 1.0)):
            listed.append(Aim(f"{method} above BM3D at {quanta} quanta, dB", gain, 2, _gain(method, scene, "psnr")))
            listed.append(Aim(f"{method}, wire's contrast at {quanta} quanta", LEAST_CONTRAST, 3, _value(method, scene, "contrast")))
        listed.append(Aim(f"quality above BM3D near the wire at {quanta} quanta, dB", 2.0, 2, _gain("quality", scene, "psnr_near")))
    listed += [
        Aim("quality, efficiency both ways on reference", 0.5, 2, _value("quality", "reference", "efficiency")),
        Aim("fast, efficiency causal after 10 frames on reference", 0.5, 2, _value("fast", "reference", "efficiency_causal")),
        Aim("quality near the tool on reference, dB", 34.0, 2, _value("quality", "reference", "psnr_near")),
        Aim("fast near the tool on reference, dB", 34.0, 2, _value("fast", "reference", "psnr_near")),
        Aim("fast, times BM3D's speed in processor time, 512x512", 20.0, 1, _speed("fast", "q30")),
        Aim("quality, times BM3D's speed in processor time, 512x512", 3.0, 1, _speed("quality", "q30")),
    ]
    return listed


def aims_table(evaluations: Sequence[Sequence[Summary]]) -> str:
    """Each aim, what was measured in the first evaluation that shows it, and whether it is reached; "" where none was measured."""
    lines = [("aim", "at least", "measured", "reached")]
    for aim in aims():
        values = (_measured(aim, summaries) for summaries in evaluations)
        value = next((value for value in values if value == value), None)
        if value is not None:
            lines.append((aim.what, f"{aim.least:g}", f"{value:.{aim.digits}f}", "yes" if value >= aim.least else "**no**"))
    return markdown(lines) if len(lines) > 1 else ""


def _measured(aim: Aim, summaries: Sequence[Summary]) -> float:
    """nan where the evaluation does not show it."""
    try:
        return aim.measure({(one.method, one.scene): one for one in summaries})
    except KeyError:
        return float("nan")


def _value(method: str, scene: str, name: str) -> Callable[[Found], float]:
    return lambda found: getattr(found[method, scene], name)


def _gain(method: str, scene: str, name: str) -> Callable[[Found], float]:
    return lambda found: getattr(found[method, scene], name) - getattr(found["BM3D", scene], name)


def _speed(method: str, scene: str) -> Callable[[Found], float]:
    return lambda found: found["BM3D", scene].cpu_s / found[method, scene].cpu_s
