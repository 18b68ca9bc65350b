"""The lines of a safety report: what was measured, what it may be, and whether it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from FluoroDenoiseLib import __version__
from FluoroDenoiseLib.evaluation.safety_figures import Figure

REQUIRED = ("B1", "B2", "B3", "B4", "B6", "B7", "B8", "B9", "B12")
"""What a model must pass to be used without a warning; the other checks tell its limits."""


@dataclass(frozen=True)
class SafetyRow:
    """One number and its rule. passed is None where the number is told for information."""

    check: str  # "B7"
    name: str
    value: float
    unit: str
    rule: str
    passed: bool | None
    note: str = ""

    def as_dict(self) -> dict:
        """Plain values for JSON, which knows no nan."""
        value = None if not math.isfinite(self.value) else float(f"{self.value:.6g}")
        return {"check": self.check, "name": self.name, "value": value, "unit": self.unit, "rule": self.rule,
                "passed": self.passed, "note": self.note}


@dataclass(frozen=True)
class Section:
    """One check of the report: about says what is shown and where the measure is from."""

    check: str
    title: str
    about: str
    rows: tuple[SafetyRow, ...]
    figures: tuple[Figure, ...] = ()

    @property
    def passed(self) -> bool | None:
        judged = [row.passed for row in self.rows if row.passed is not None]
        return all(judged) if judged else None


@dataclass(frozen=True)
class SafetyReport:
    """What was found out about one model. extent: "whole" or "quick". passed: all that is required, see REQUIRED."""

    model: str
    weights_sha256: str
    extent: str
    sections: tuple[Section, ...]

    @property
    def rows(self) -> list[SafetyRow]:
        return [row for section in self.sections for row in section.rows]

    @property
    def passed(self) -> bool:
        return not self.failures(required=True)

    def failures(self, required: bool) -> list[str]:
        """A phrase for every row that fails among the checks that are required, or among the others."""
        return [f"{row.check} {row.name} {in_digits(row.value, row.rule)}{_space(row.unit)}, not {row.rule}" for row in self.rows
                if row.passed is False and (row.check in REQUIRED) == required]

    def verdict(self) -> dict:
        """What the model's card keeps of the report, plain values."""
        return {
            "passed": self.passed, "form": self.extent, "weights_sha256": self.weights_sha256, "version": __version__,
            "checks": {section.check: section.passed for section in self.sections},
            "failed": self.failures(required=True), "limits": self.failures(required=False),
        }


@dataclass
class Rows:
    """Collects the rows of one check."""

    check: str
    made: list[SafetyRow] = field(default_factory=list)

    def at_most(self, name: str, value: float, limit: float, unit: str = "", note: str = "") -> None:
        self._add(name, value, unit, f"{limit:g}{_space(unit)} or less", value <= limit, note)

    def at_least(self, name: str, value: float, limit: float, unit: str = "", note: str = "") -> None:
        self._add(name, value, unit, f"{limit:g}{_space(unit)} or more", value >= limit, note)

    def within(self, name: str, value: float, low: float, high: float, unit: str = "", note: str = "") -> None:
        self._add(name, value, unit, f"{low:g} to {high:g}{_space(unit)}", low <= value <= high, note)

    def told(self, name: str, value: float, unit: str = "", note: str = "") -> None:
        """A number without a rule."""
        self.made.append(SafetyRow(self.check, name, float(value), unit, "reported", None, note))

    def _add(self, name: str, value: float, unit: str, rule: str, passed: bool, note: str) -> None:
        self.made.append(SafetyRow(self.check, name, float(value), unit, rule, bool(passed), note))


def in_digits(value: float, rule: str) -> str:
    """A value in three digits, or in as many more, up to six, as tell it from the limit in its rule."""
    for digits in (3, 4, 5, 6):
        text = f"{value:.{digits}g}"
        if value == 0 or text not in rule.split():
            break
    return text


def _space(unit: str) -> str:
    return f" {unit}" if unit else ""
