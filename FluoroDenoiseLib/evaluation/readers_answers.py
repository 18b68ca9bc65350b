"""The answers of readers: the CSVs that the page saved, read with mistrust and joined with the key."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.readers_key import QUESTIONS, SCALE, StudyKey

COLUMNS = ("study", "reader", "order", "case", "position", "code", *(one.name for one in QUESTIONS), "seconds", "comment")
MOST_BYTES = 20_000_000


@dataclass(frozen=True)
class Answer:
    """What one reader said of one picture. order: of the case among those of the reader, from 1; position: its letter.

    scores: 1..5 of every question. seconds: spent on the whole case.
    """

    reader: str
    order: int
    case: str
    position: str
    arm: str
    scores: dict[str, int]
    seconds: float
    comment: str


def join(key: StudyKey, paths: Sequence[Path]) -> list[Answer]:
    """All answers of all readers. InputError, naming file and line, for a file that is not a reader's of this study."""
    files: dict[str, Path] = {}
    joined: list[Answer] = []
    for path in paths:
        answers = read_answers(path, key)
        reader = answers[0].reader.lower()
        if reader in files:
            raise InputError(f"{path.name} and {files[reader].name} are both of the reader {answers[0].reader!r}; give the newer one alone.")
        files[reader] = path
        joined += answers
    return joined


def read_answers(path: Path, key: StudyKey) -> list[Answer]:
    """The answers in one CSV; a spreadsheet may have saved it again, with semicolons. InputError as `join`."""
    lines = _lines(path)
    found: dict[str, Answer] = {}
    for number, line in lines:
        try:
            code, answer = _answer(line, key)
        except ValueError as error:
            raise InputError(f"{path.name}, line {number}: {error}; give the file as the page saved it.") from error
        if code in found:
            raise InputError(f"{path.name}, line {number}: picture {code} is there twice; give the file as the page saved it.")
        found[code] = answer
    readers = sorted({answer.reader for answer in found.values()})
    if len(readers) > 1:
        raise InputError(f"{path.name} has answers of {len(readers)} readers, {readers[0]!r} and {readers[1]!r}; give one file a reader.")
    for case in dict.fromkeys(answer.case for answer in found.values()):
        missing = set(key.cases[case].pictures) - set(found)
        if missing:
            raise InputError(f"{path.name} lacks picture {min(missing)} of case {case}; give the file as the page saved it.")
    return list(found.values())


def _lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path.name} has more than {MOST_BYTES / 1e6:.0f} MB, so it is not from the page; give the reader's CSV.")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path.name} does not exist; check the name.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not a text in UTF-8; give the file as the page saved it, or save it as CSV UTF-8.") from error
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name} cannot be read ({error.strerror}); give the reader's CSV.") from error
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    try:
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise InputError(f"{path.name} has no column {missing[0]!r}, so it is not from the page; give the reader's CSV.")
        lines = [(rows.line_num, row) for row in rows if any(row.values())]
    except csv.Error as error:
        raise InputError(f"{path.name} cannot be read as CSV ({error}); give the file as the page saved it.") from error
    if not lines:
        raise InputError(f"{path.name} holds no answers; the reader must finish a case before saving.")
    return lines


def _answer(line: dict[str, str], key: StudyKey) -> tuple[str, Answer]:
    """(code of the picture, what was said of it). ValueError, with what is wrong, if this cannot be."""
    if any(line[name] is None for name in COLUMNS) or None in line:
        raise ValueError("it has not as many fields as the head of the file")
    if line["study"] != key.study:
        raise ValueError(f"study is {line['study']!r} but the key is that of {key.study}")
    case = key.cases.get(line["case"])
    if case is None or line["code"] not in case.pictures:
        raise ValueError(f"case {line['case']!r} with picture {line['code']!r} is not in the key")
    if not line["reader"].strip():
        raise ValueError("the reader has no name")
    scores = {}
    for question in QUESTIONS:
        text = line[question.name].strip()
        if text not in map(str, SCALE):
            raise ValueError(f"{question.name} is {text!r} but must be one of {', '.join(map(str, SCALE))}")
        scores[question.name] = int(text)
    if not line["order"].isdecimal():
        raise ValueError(f"order is {line['order']!r} but must be a whole number")
    try:
        seconds = float(line["seconds"].replace(",", "."))
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"seconds are {line['seconds']!r} but must be a number from 0 up")
    return line["code"], Answer(line["reader"].strip(), int(line["order"]), line["case"], line["position"], case.pictures[line["code"]],
                                scores, seconds, line["comment"].strip())
