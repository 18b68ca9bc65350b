"""What an evaluation found: one row a method, scene and seed, their means over the seeds, and both as tables and files."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from FluoroDenoiseLib.errors import InputError, OutputError
from FluoroDenoiseLib.evaluation.scenes import ALL_FRAMES, PAST_FRAMES, TOOL_KNOWN
from FluoroDenoiseLib.model_folder import write_whole

NAN = float("nan")


@dataclass(frozen=True)
class Row:
    """One method on one scene; nan where a number does not apply.

    frames: how many were judged. psnr, psnr_near, contrast, disc_contrast, ssim, vif, niqe: see Score; psnr_late,
    psnr_near_late: PSNR of the frames from LATE on, and near tools in them. cpu_s: processor seconds a frame over all cores;
    wall_s: seconds a frame by the clock, which on a GPU are its own; device: where. memory_mb: the most that was held beyond
    what was held before. sigma_ratio: the noise that the methods were told, over the true one, at the median grey. weights:
    of our models, first digits of the SHA-256.
    """

    scene: str
    seed: int
    method: str
    setting: str
    psnr: float
    psnr_near: float
    contrast: float
    ssim: float
    cpu_s: float
    sigma_ratio: float
    vif: float = NAN
    disc_contrast: float = NAN
    niqe: float = NAN
    psnr_late: float = NAN
    psnr_near_late: float = NAN
    wall_s: float = NAN
    memory_mb: float = NAN
    frames: int = 0
    device: str = "cpu"
    weights: str = ""

    @property
    def key(self) -> tuple[str, int, str, str]:
        """What makes a row the same as another one of another time."""
        return self.scene, self.seed, self.method, self.weights


MEASURED = ("psnr", "psnr_near", "contrast", "disc_contrast", "ssim", "vif", "niqe", "psnr_late", "psnr_near_late", "cpu_s", "wall_s", "memory_mb")


@dataclass(frozen=True)
class Summary:
    """Means over the seeds of a scene, and the standard deviation of PSNR over them.

    efficiency: mean square error of the oracle that sees all frames, over the method's; efficiency_causal: the same of the
    oracle that sees the past, on the late frames; each also beside an oracle that is given the tool's picture, which no
    method is. nan where no oracle is known.
    """

    scene: str
    method: str
    seeds: int
    frames: int
    psnr: float
    psnr_spread: float
    psnr_near: float
    contrast: float
    disc_contrast: float
    ssim: float
    vif: float
    niqe: float
    psnr_late: float
    psnr_near_late: float
    cpu_s: float
    wall_s: float
    memory_mb: float
    efficiency: float = NAN
    efficiency_given: float = NAN
    efficiency_causal: float = NAN
    efficiency_causal_given: float = NAN


def summarise(rows: Iterable[Row]) -> list[Summary]:
    """Average the rows of the same scene and method over their seeds, in the order in which they first came."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.scene, row.method), []).append(row)
    ceilings = {key: (_mean(same, "psnr"), _mean(same, "psnr_late")) for key, same in groups.items()}
    summaries = []
    for (scene, method), same in groups.items():
        means = {name: _mean(same, name) for name in MEASURED}
        all_judged = len({row.frames for row in same}) == 1 and not method.startswith(PAST_FRAMES)
        share = {}
        for given, ending in (("", ""), (TOOL_KNOWN, "_given")):
            best, _ = ceilings.get((scene, ALL_FRAMES + given), (NAN, NAN))
            _, best_late = ceilings.get((scene, PAST_FRAMES + given), (NAN, NAN))
            share["efficiency" + ending] = 10 ** ((means["psnr"] - best) / 10) if all_judged else NAN
            share["efficiency_causal" + ending] = 10 ** ((means["psnr_late"] - best_late) / 10)
        spread = float(np.std([row.psnr for row in same]))
        summaries.append(Summary(scene, method, len(same), max(row.frames for row in same), psnr_spread=spread, **means, **share))
    return summaries


def beside_equals(rows: Sequence[Row]) -> list[Row]:
    """The rows, but methods that were judged on fewer seeds than others say so, and our models have rows of those seeds too.

    Seeds differ by more than methods do, so a mean over one seed must not stand beside a mean over three.
    """
    seeds: dict[str, set[int]] = {}
    judged: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        seeds.setdefault(row.scene, set()).add(row.seed)
        judged.setdefault((row.scene, row.method), set()).add(row.seed)
    fewer = {key: found for key, found in judged.items() if found < seeds[key[0]]}
    kept = [row for row in rows if (row.scene, row.method) not in fewer]
    named = [replace(row, method=row.method + _only(fewer[row.scene, row.method])) for row in rows if (row.scene, row.method) in fewer]
    for row in rows:
        same = {tuple(sorted(found)) for (scene, _), found in fewer.items() if scene == row.scene and row.seed in found}
        if row.weights and (row.scene, row.method) not in fewer:
            named += [replace(row, method=row.method + _only(set(found))) for found in sorted(same)]
    return kept + named


def _only(seeds: set[int]) -> str:
    return f", seed{'s' * (len(seeds) > 1)} {', '.join(map(str, sorted(seeds)))}"


HEAD = ("scene", "method", "PSNR", "near tool", "contrast", "discs", "SSIM", "VIF", "NIQE", "CPU s/frame", "MB")


def table(summaries: Sequence[Summary]) -> str:
    """The results as a Markdown table that also reads well in a terminal; seconds by the clock where a GPU made them."""
    lines = [
        (
            one.scene, one.method, _number(one.psnr, 2) + (f" ({one.psnr_spread:.2f})" if one.seeds > 1 and one.psnr == one.psnr else ""),
            _number(one.psnr_near, 2), _number(one.contrast, 3), _number(one.disc_contrast, 3), _number(one.ssim, 3),
            _number(one.vif, 3), _number(one.niqe, 1), _number(one.cpu_s, 3), _number(one.memory_mb, 0),
        )
        for one in summaries
    ]  # fmt: skip
    empty = [column for column in range(2, len(HEAD)) if all(line[column] == "-" for line in lines)]
    return markdown([[cell for column, cell in enumerate(line) if column not in empty] for line in (HEAD, *lines)])


def efficiency_table(summaries: Sequence[Summary]) -> str:
    """How much of what the best linear estimate reaches each method reaches, where that is known; "" where it is not."""
    known = [one for one in summaries if one.efficiency == one.efficiency or one.efficiency_causal == one.efficiency_causal]
    if not known:
        return ""
    head = ("scene", "method", "PSNR", "efficiency both ways", "tool given", "PSNR from frame 10 on", "near tool", "efficiency causal", "tool given")
    measures = ("psnr", "efficiency", "efficiency_given", "psnr_late", "psnr_near_late", "efficiency_causal", "efficiency_causal_given")
    return markdown([head, *((one.scene, one.method, *(_number(getattr(one, name), 2) for name in measures)) for one in known)])


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of a head and rows, its columns aligned."""
    head, *rest = lines
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in (head, rule, *rest)
    )


def write_rows(rows: Sequence[Row], folder: Path, remarks: Sequence[str] = ()) -> None:
    """Write rows.csv and rows.json (one entry a method, scene and seed) and table.md (means) into a folder, each whole.

    remarks: sentences printed below the table. Raises OutputError where the folder cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(Row)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    entries = [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in asdict(row).items()}
        for row in rows
    ]
    summaries = summarise(beside_equals(rows))
    efficiency = efficiency_table(summaries)
    parts = [table(summaries), *([efficiency] if efficiency else []), *remarks]
    contents = {"rows.csv": text.getvalue(), "rows.json": json.dumps(entries, indent=1) + "\n", "table.md": "\n\n".join(parts) + "\n"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_whole(folder / name, content.encode())
    except OSError as error:
        raise OutputError(f"The report cannot be written to {folder} ({error.strerror}); choose another folder.") from error


def read_rows(folder: Path) -> list[Row]:
    """The rows that write_rows wrote; none where there is no rows.json. InputError where it is not one."""
    path = folder / "rows.json"
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [Row(**{name: NAN if value is None else value for name, value in entry.items()}) for entry in entries]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} does not hold the rows of this version's evaluation; choose another folder.") from error


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([getattr(row, name) for row in rows]))


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
