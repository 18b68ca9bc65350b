"""What the answers of a reader study come to: means, paired differences and agreement, as tables and as CSV.

The unit is the run: scores of one run are first averaged over the readers, so that five readers of ten runs count as ten
observations and not as fifty. What follows holds for these readers and for runs like these.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from FluoroDenoiseLib.errors import OutputError
from FluoroDenoiseLib.evaluation.readers_answers import Answer
from FluoroDenoiseLib.evaluation.readers_key import QUESTIONS, SCALE, StudyKey
from FluoroDenoiseLib.evaluation.readers_statistics import Interval, holm, mean_interval, weighted_kappa, wilcoxon_signed_rank
from FluoroDenoiseLib.formats.whole_file import whole_file
from FluoroDenoiseLib.targets import make_folder

FILES = ("scores.csv", "means.csv", "differences.csv", "agreement.csv", "report.md")


@dataclass(frozen=True)
class Mean:
    """The mean score of an arm with its 95 % interval over runs, cut at the ends of the scale."""

    question: str
    arm: str
    runs: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """How much better `arm` was than `than`, in points, over the same runs. p: Wilcoxon's, p_holm: for all rows together."""

    question: str
    arm: str
    than: str
    runs: int
    mean: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class Agreement:
    """Quadratic weighted kappa of two readers on the pictures that both rated."""

    question: str
    reader: str
    other: str
    pictures: int
    kappa: float


@dataclass(frozen=True)
class Report:
    means: list[Mean]
    differences: list[Difference]
    agreements: list[Agreement]
    answers: list[Answer]
    key: StudyKey

    @property
    def readers(self) -> list[str]:
        return sorted({answer.reader for answer in self.answers})


def report(key: StudyKey, answers: list[Answer]) -> Report:
    """All tables of a study. answers: of `join`, at least one."""
    return Report(_means(key, answers), _differences(key, answers), _agreements(answers), answers, key)


def as_text(found: Report) -> str:
    """The report as Markdown, which also reads well in a terminal."""
    cases = {answer.case for answer in found.answers}
    seconds = {(answer.reader, answer.case): answer.seconds for answer in found.answers}
    total = len(found.key.cases) * len(found.readers)
    parts = [
        f"Reader study {found.key.study}: {_count(len(found.readers), 'reader')}, {len(cases)} of {_count(len(found.key.cases), 'run')}, "
        f"{len(seconds)} of {total} readings, {np.median(list(seconds.values())):.0f} s each in the median.",
        "Scores are 1 to 5, 5 is best. Mean [95 % interval] over runs, each averaged over its readers:",
        _table(("question", *found.key.arms), _mean_lines(found)),
        "Paired differences: points by which the first is better than the second. p is of Wilcoxon's signed-rank test (exact, "
        "two-sided), and then for all these rows together (Holm):",
        _table(("question", "first - second", "runs", "difference", "p", "p (Holm)"), [
            (_title(one.question), f"{one.arm} - {one.than}", str(one.runs), _interval(one, "+.2f"), _chance(one.p), _chance(one.p_holm))
            for one in found.differences]),
    ]
    if found.agreements:
        parts += ["Agreement of readers, quadratic weighted kappa (1: the same scores; 0: no more alike than chance):",
                  _table(("question", "pairs", "mean kappa", "lowest", "highest"), list(_kappa_lines(found.agreements)))]
    else:
        parts.append("Agreement between readers needs two of them.")
    if len(cases) < 6:
        parts.append(f"With {_count(len(cases), 'run')} no difference can reach p < 0.05 in this test; it takes 6.")
    return "\n\n".join(parts) + "\n"


def report_files(found: Report) -> dict[str, str]:
    """The report as the texts of FILES. scores.csv holds every answer with the arm and the run that the key names."""
    scores = [{"reader": one.reader, "order": one.order, "case": one.case, "run": found.key.cases[one.case].run, "position": one.position,
               "arm": one.arm, **one.scores, "seconds": one.seconds, "comment": one.comment} for one in found.answers]
    tables = [scores, *([asdict(row) for row in rows] for rows in (found.means, found.differences, found.agreements))]
    return dict(zip(FILES, [*map(_csv, tables), as_text(found)]))


def write_report(found: Report, folder: Path, overwrite: bool = False) -> None:
    """Write FILES into a folder, which is made where its parent exists. OutputError if one is there or cannot be written."""
    there = [name for name in FILES if (folder / name).exists()]
    if there and not overwrite:
        raise OutputError(f"{folder / there[0]} exists already; choose another folder, or add --overwrite.")
    make_folder(folder)
    for name, text in report_files(found).items():
        with whole_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="")


def _run_means(answers: Sequence[Answer], arm: str, question: str) -> dict[str, float]:
    """Case -> mean score over readers."""
    scores: dict[str, list[int]] = {}
    for answer in answers:
        if answer.arm == arm:
            scores.setdefault(answer.case, []).append(answer.scores[question])
    return {case: float(np.mean(given)) for case, given in scores.items()}


def _means(key: StudyKey, answers: Sequence[Answer]) -> list[Mean]:
    rows = []
    for question, arm in itertools.product(QUESTIONS, key.arms):
        values = list(_run_means(answers, arm, question.name).values())
        mean, low, high = mean_interval(values)
        rows.append(Mean(question.name, arm, len(values), mean, max(low, SCALE[0]), min(high, SCALE[-1])))
    return rows


def _differences(key: StudyKey, answers: Sequence[Answer]) -> list[Difference]:
    found: list[tuple[str, str, str, int, Interval, float]] = []
    for question in QUESTIONS:
        for than, arm in itertools.combinations(key.arms, 2):
            ours, others = _run_means(answers, arm, question.name), _run_means(answers, than, question.name)
            values = [ours[case] - others[case] for case in ours]
            found.append((question.name, arm, than, len(values), mean_interval(values), wilcoxon_signed_rank(values)))
    adjusted = holm([one[-1] for one in found])
    return [Difference(*names, *interval, p, p_holm) for (*names, interval, p), p_holm in zip(found, adjusted)]


def _agreements(answers: Sequence[Answer]) -> list[Agreement]:
    by_reader: dict[str, dict[tuple[str, str], Answer]] = {}
    for answer in answers:
        by_reader.setdefault(answer.reader, {})[answer.case, answer.arm] = answer
    rows = []
    for question in QUESTIONS:
        for reader, other in itertools.combinations(sorted(by_reader), 2):
            both = [picture for picture in by_reader[reader] if picture in by_reader[other]]
            if both:
                pair = ([by_reader[one][picture].scores[question.name] for picture in both] for one in (reader, other))
                rows.append(Agreement(question.name, reader, other, len(both), weighted_kappa(*pair, SCALE)))
    return rows


def _mean_lines(found: Report) -> list[tuple[str, ...]]:
    rows = {(one.question, one.arm): one for one in found.means}
    return [(one.title, *(_interval(rows[one.name, arm], ".2f") for arm in found.key.arms)) for one in QUESTIONS]


def _kappa_lines(agreements: Sequence[Agreement]) -> Iterator[tuple[str, ...]]:
    for question in QUESTIONS:
        kappas = [one.kappa for one in agreements if one.question == question.name]
        known = [kappa for kappa in kappas if not math.isnan(kappa)]
        numbers = (f"{np.mean(known):.2f}", f"{min(known):.2f}", f"{max(known):.2f}") if known else ("-", "-", "-")
        yield (question.title, str(len(kappas)), *numbers)


def _title(question: str) -> str:
    return next(one.title for one in QUESTIONS if one.name == question)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _interval(row: Mean | Difference, form: str) -> str:
    return f"{row.mean:{form}}" + ("" if math.isnan(row.low) else f" [{row.low:{form}}, {row.high:{form}}]")


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _table(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    rule = tuple("-" * width for width in widths)
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in (head, rule, *lines))


def _csv(rows: Sequence[dict]) -> str:
    text = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(text, [*rows[0]])
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """A value as a spreadsheet should see it: nothing where there is none, and no text of a reader as a formula."""
    if isinstance(value, float) and math.isnan(value):
        return ""
    return f" {value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
