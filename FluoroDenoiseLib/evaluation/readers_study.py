"""A reader study from runs to page: every run by every arm, unlabelled, and the key that stays behind.

The readers' kit of `fluorodenoise readers`. Each reader sees the cases, and the pictures of a case, in an order of
their own that follows from the study and their name.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from FluoroDenoiseLib import __version__
from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.denoise import FrameDenoiser, denoise_frames
from FluoroDenoiseLib.errors import OutputError
from FluoroDenoiseLib.evaluation.readers_cases import CaseRuns
from FluoroDenoiseLib.evaluation.readers_frames import GreyLevels, first_window, pack
from FluoroDenoiseLib.evaluation.readers_key import StudyCase, StudyKey
from FluoroDenoiseLib.evaluation.readers_page import PageCase, PagePictures, page
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.formats.whole_file import whole_file
from FluoroDenoiseLib.jobs import find_noise
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.targets import UsageError, check_folder

NOISY = "noisy"
MOST_ARMS = 6
Watch = Callable[[Iterable, int, str], Iterable]


@dataclass(frozen=True)
class StudyPlan:
    """What a study compares. others: arms whose results are files; frames: of each run, the middle ones, None for all."""

    cases: Sequence[CaseRuns]
    models: Sequence[Model]
    others: Sequence[str] = ()
    noisy: bool = True
    frames: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        arms = self.arms
        if len(set(arms)) < len(arms):
            twice = next(arm for arm in arms if arms.count(arm) > 1)
            raise UsageError(f"Two arms are called {twice}; give each its own name.")
        if not 2 <= len(arms) <= MOST_ARMS:
            raise UsageError(f"A study compares 2 to {MOST_ARMS} pictures of a run but {len(arms)} would be shown; "
                             "choose with --presets and --arm.")

    @property
    def arms(self) -> tuple[str, ...]:
        return (*([NOISY] if self.noisy else []), *self.others, *(model.name for model in self.models))


def key_path(target: Path) -> Path:
    """Where the key of a page lies: beside it."""
    return target.with_suffix(".key.json")


def check_page(target: Path, overwrite: bool) -> None:
    """Raise UsageError or OutputError unless page and key can be written."""
    if target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"The page {target.name} must end in .html; rename it.")
    for path in (target, key_path(target)):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists already; choose another name, or add --overwrite.")
    check_folder(target.parent)


def make_study(
    target: Path, plan: StudyPlan, compute: Compute, overwrite: bool = False,
    watch: Watch = lambda frames, count, name: frames,
) -> tuple[StudyKey, PagePictures]:
    """Write the page `target` and its key, and say what is in them.

    watch(frames, count, name) may wrap the frames of each arm of each run on their way, to show progress. Nothing is
    written unless all of it can be; what needs no computing comes first, so that too much is noticed soon.
    """
    check_page(target, overwrite)
    codes = draw_codes(plan)
    pictures, digest = PagePictures(), hashlib.sha256(repr(codes).encode())
    page_cases = [_page_case(case, plan, *codes[index]) for index, case in enumerate(plan.cases)]
    for arm, model in _work(plan):
        for case, facts, (_, arms) in zip(plan.cases, page_cases, codes):
            code = next(code for code, name in arms.items() if name == arm)
            frames = _frames_of(case, arm, model, compute)
            levels = GreyLevels(facts.low, facts.step)
            for index, frame in enumerate(watch(frames, len(case.noisy), f"{case.name}, {arm}")):
                if index in _shown(case.noisy, plan.frames):
                    packed = pack(levels.levels(frame))
                    digest.update(packed.encode())
                    pictures.add(code, packed)
    cases = {code: StudyCase(case.name, arms) for case, (code, arms) in sorted(zip(plan.cases, codes), key=lambda one: one[1][0])}
    key = StudyKey(digest.hexdigest()[:12], plan.seed, plan.arms, cases, {one.name: one.sha256 for one in plan.models}, __version__)
    with whole_file(target, overwrite) as temporary, whole_file(key_path(target), overwrite) as key_temporary:
        key_temporary.write_text(key.as_json(), encoding="utf-8")
        with open(temporary, "w", encoding="utf-8") as file:
            file.writelines(page(key.study, sorted(page_cases, key=lambda one: one.code), pictures))
    return key, pictures


def draw_codes(plan: StudyPlan) -> list[tuple[str, dict[str, str]]]:
    """(code of the case, arm of each picture's code) for every case, by the seed; codes of a case are in their own order."""
    chance = random.Random(f"reader study {plan.seed}")
    count = len(plan.cases) * (1 + len(plan.arms))
    unused = iter(chance.sample(range(16**5, 16**6), count))
    codes = []
    for _ in plan.cases:
        case = f"c{next(unused):x}"
        arms = sorted((f"p{next(unused):x}", arm) for arm in plan.arms)
        codes.append((case, dict(arms)))
    return codes


def _work(plan: StudyPlan) -> Iterator[tuple[str, Model | None]]:
    for arm in plan.arms[: len(plan.arms) - len(plan.models)]:
        yield arm, None
    for model in plan.models:
        yield model.name, model


def _frames_of(case: CaseRuns, arm: str, model: Model | None, compute: Compute) -> Iterable[np.ndarray]:
    if model is not None:
        denoiser = FrameDenoiser(model.restorer, find_noise(case.noisy, None), compute)
        return (clean.cpu().numpy() for clean in denoise_frames(case.noisy.frames, denoiser))
    return case.others.get(arm, case.noisy).frames


def _shown(run: FluoroRun, frames: int | None) -> range:
    """The numbers of the frames that are shown: the middle ones."""
    count = min(frames or len(run), len(run))
    first = (len(run) - count) // 2
    return range(first, first + count)


def _page_case(case: CaseRuns, plan: StudyPlan, code: str, arms: dict[str, str]) -> PageCase:
    run = case.noisy
    shown = _shown(run, plan.frames)
    height, width = run.frames[0].shape
    grey = GreyLevels.of_run(run)
    window = first_window(grey.levels(run.frames[shown[len(shown) // 2]]))
    inverted = getattr(run.source.header, "PhotometricInterpretation", "") == "MONOCHROME1"
    return PageCase(code, tuple(arms), width, height, len(shown), run.frame_time_s, window, grey.low, grey.step, inverted)
