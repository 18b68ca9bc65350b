"""The key of a reader study: what is asked, and which code in the page stands for which denoiser on which run.

Readers get the page, in which pictures have codes only; who makes the study keeps the key, a JSON file beside it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from FluoroDenoiseLib.errors import InputError

SCALE = (1, 2, 3, 4, 5)
FORMAT = 1


@dataclass(frozen=True)
class Question:
    """A five-point scale. worst, best: the words at 1 and at 5; 5 is always the better end."""

    name: str
    title: str
    worst: str
    best: str


QUESTIONS = (
    Question("noise", "Noise", "hides the picture", "hardly any"),
    Question("sharpness", "Sharpness", "blurred", "crisp"),
    Question("structures", "Small structures", "not visible", "clearly visible"),
    Question("artefacts", "Artefacts", "disturbing", "none"),
    Question("overall", "Overall", "unusable", "excellent"),
)


@dataclass(frozen=True)
class StudyCase:
    """One run of a study. pictures: arm of each code, in the order of the codes, which says nothing."""

    run: str
    pictures: dict[str, str]


@dataclass(frozen=True)
class StudyKey:
    """study: the number in the page and in every CSV. arms: in the order they were given. cases: by their codes.

    models: SHA-256 of the weights of the arms that are ours. made_with: version of this library.
    """

    study: str
    seed: int
    arms: tuple[str, ...]
    cases: dict[str, StudyCase]
    models: dict[str, str]
    made_with: str

    def as_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"


def read_key(path: Path) -> StudyKey:
    """The key that `fluorodenoise readers` wrote. InputError for anything else."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields.pop("format") != FORMAT:
            raise ValueError
        cases = {code: StudyCase(**case) for code, case in fields.pop("cases").items()}
        key = StudyKey(**{**fields, "arms": tuple(fields["arms"]), "cases": cases})
        if any(set(case.pictures.values()) != set(key.arms) for case in cases.values()):
            raise ValueError
    except FileNotFoundError:
        raise InputError(f"{path.name} does not exist; give the .key.json that lies beside the page.") from None
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}); give the .key.json that lies beside the page.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path.name} is not the key of a reader study; give the .key.json that lies beside the page.") from error
    return key
