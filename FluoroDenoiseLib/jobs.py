"""What the command line and the worker both do: whole jobs from file to file, and their failures in plain words.

A job checks its targets before it computes, streams, and leaves either complete files or none. Importing this file is
quick; torch comes in with the first job.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections import deque
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterable, Iterator, Sequence

import numpy as np

from FluoroDenoiseLib import __version__
from FluoroDenoiseLib.errors import FluoroDenoiseError, InputError, ModelError, OutputError, UnsupportedError
from FluoroDenoiseLib.formats.whole_file import whole_file
from FluoroDenoiseLib.overlap import read_ahead, write_behind
from FluoroDenoiseLib.targets import check_folder, check_space, check_targets, make_folder, residual_writer
from FluoroDenoiseLib.traces import of_the_machine, place

if TYPE_CHECKING:
    from FluoroDenoiseLib.compute import Compute
    from FluoroDenoiseLib.fluoro_run import FluoroRun
    from FluoroDenoiseLib.model_folder import Model
    from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian
    from FluoroDenoiseLib.simulate import SimulatedRun
    from FluoroDenoiseLib.training.adapt import Adaptation
    from FluoroDenoiseLib.training.loop import Progress

SMALLEST_PX = 3  # on a side; the recursion mirrors two pixels beyond the edge
TRUTH_FILES = ("clean.npy", "without_tools.npy")
Watch = Callable[[Iterable, int, dict], Iterable]


class Cancelled(KeyboardInterrupt):
    """The person who started a job does not want it any more. Takes the road of Ctrl-C, which every file cleans up on."""


@dataclass(frozen=True)
class DenoiseSettings:
    """What a person can choose about denoising. model: a preset's name or a folder; noise: None to estimate it."""

    model: str = "quality"
    device: str = "auto"
    precision: str = "auto"
    strength: float = 1.0
    noise: PoissonGaussian | None = None
    tile: int | None = None

    def __post_init__(self) -> None:
        for name in ("model", "device", "precision"):
            if not isinstance(getattr(self, name), (str, Path)):
                raise InputError(f"The setting {name} is {getattr(self, name)!r} but must be a text.")
        if not (isinstance(self.strength, (int, float)) and 0 <= self.strength <= 1):
            raise InputError(f"Strength is {self.strength} but must lie between 0 (unchanged) and 1 (full effect).")
        if self.tile is not None and not (isinstance(self.tile, int) and self.tile >= 1):
            raise InputError(f"Tile is {self.tile} but must be a whole number of pixels, 1 or more, or left out.")


@dataclass(frozen=True)
class DenoiseReport:
    """What became of a run. mean_change: of the mean grey level, as a share of the run's grey range."""

    output: str
    frames: int
    clipped: int
    pixels: int
    mean_change: float
    seconds: float

    def as_dict(self) -> dict:
        return asdict(self)


def load(settings: DenoiseSettings) -> tuple[Model, Compute]:
    """The network and the device that `settings` name."""
    from FluoroDenoiseLib.compute import choose
    from FluoroDenoiseLib.model_folder import load_model

    compute = choose(settings.device, settings.precision)
    return load_model(settings.model, compute, settings.tile), compute


def denoise_file(
    source: Path,
    target: Path,
    model: Model,
    compute: Compute,
    settings: DenoiseSettings,
    overwrite: bool = False,
    compare: Path | None = None,
    compare_frame: int | None = None,
    residual: Path | None = None,
    watch: Watch = lambda frames, count, facts: frames,
    check: Callable[[], None] = lambda: None,
) -> DenoiseReport:
    """Denoise one file into another of the same kind.

    compare: a PNG of frame `compare_frame` (default: the middle one). residual: what was taken away, see
    residual_writer. watch(frames, count, facts) may wrap the clean frames on their way to the disk, to show progress;
    facts: what was found out about noise and device, plain values. check() is called before every frame and may raise.
    Raises the errors of errors.py; every target is then as it was before.
    """
    from FluoroDenoiseLib import formats
    from FluoroDenoiseLib.denoise import FrameDenoiser
    from FluoroDenoiseLib.formats.ct_files import require_no_ct

    check_targets(source, target, compare, residual, overwrite)
    run = formats.read_run(source)
    require_no_ct(run)
    check_space(run, target, residual)
    shown = len(run) // 2 if compare_frame is None else compare_frame
    if not 0 <= shown < len(run):
        raise InputError(f"Frame {shown} is asked for, but {source.name} has frames 0 to {len(run) - 1}.")
    noise = find_noise(run, settings.noise)
    check()
    denoiser = FrameDenoiser(model.restorer, noise, compute, strength=settings.strength)
    tally = Tally(shown)
    begin = time.monotonic()
    with ExitStack() as stack:
        keep = stack.enter_context(residual_writer(residual, run)) if residual else None
        pairs = stack.enter_context(closing(tally.count(pair_up(run, denoiser, check), keep)))
        facts = facts_of(run, noise, model, compute)
        clean = watch(pairs, len(run), facts)
        if compare is not None:
            title = f"denoised ({model.name}), frame {shown} of 0-{len(run) - 1}"
            clean = _then_draw(clean, tally, title, stack.enter_context(whole_file(compare)))
        made_by = provenance(model, settings, noise)
        written = write_behind(lambda frames: formats.write_run(target, frames, run, made_by, overwrite), clean)
    return DenoiseReport(str(target), written.frames, written.clipped, written.pixels,
                         tally.mean_change / run.scale.width, round(time.monotonic() - begin, 3))


def _then_draw(clean: Iterable[np.ndarray], tally: Tally, title: str, path: Path) -> Iterator[np.ndarray]:
    """The clean frames, and then a picture into `path`: before the run itself is put in its place, so that a disk without
    room for the picture leaves all as it was."""
    from FluoroDenoiseLib.pictures import comparison

    yield from clean
    comparison(*tally.shown, title).save(path, format="PNG", optimize=True)


def pair_up(run: FluoroRun, denoiser, check: Callable[[], None]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (noisy, clean) frames in order, reading every noisy frame once; only those in the denoiser are held."""
    from FluoroDenoiseLib.denoise import denoise_frames

    inside: deque[np.ndarray] = deque()

    def noisy_frames() -> Iterator[np.ndarray]:
        for frame in run.frames:
            check()
            inside.append(frame)
            yield frame

    for clean in denoise_frames(read_ahead(noisy_frames()), denoiser):
        check()
        noisy = inside.popleft()
        # float32 cannot hold every float64, and an untouched frame must come back bit for bit.
        yield noisy, noisy if denoiser.strength == 0 else clean.cpu().numpy()


class Tally:
    """What is worth knowing about the frames that passed: the change of their mean, and one pair to show."""

    def __init__(self, shown: int) -> None:
        self.shown: tuple[np.ndarray, np.ndarray] | None = None
        self._shown_index = shown
        self._changes: list[float] = []

    def count(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]], keep_residual: Callable | None) -> Iterator[np.ndarray]:
        """Pass the clean frames on; keep_residual gets what was taken from each."""
        for index, (noisy, clean) in enumerate(pairs):
            self._changes.append(float(clean.mean(dtype=np.float64) - noisy.mean(dtype=np.float64)))
            if index == self._shown_index:
                self.shown = noisy, clean
            if keep_residual is not None:
                keep_residual(noisy.astype(np.float32) - clean)
            yield clean

    @property
    def mean_change(self) -> float:
        """Mean of denoised minus mean of noisy, grey levels."""
        return float(np.mean(self._changes))


def find_noise(run: FluoroRun, given: PoissonGaussian | None) -> NoiseEstimate:
    """The noise of a run from its frames; a law that is given replaces the law found, not the correlations."""
    from FluoroDenoiseLib.noise import NoiseEstimate, estimate_noise

    height, width = run.frames[0].shape
    if min(height, width) < SMALLEST_PX:
        raise UnsupportedError(f"{run.source.name} has frames of {height}x{width}, in which no motion can be followed; frames of "
                               f"{SMALLEST_PX}x{SMALLEST_PX} or more can be denoised.")
    try:
        found = estimate_noise(run.frames)
    except ValueError as error:
        if given is not None:
            return NoiseEstimate(given, 0.0, 0.0)
        reason = str(error).rstrip(".")
        raise UnsupportedError(f"{run.source.name}: {reason}, or state the noise with --noise GAIN,PEDESTAL,READ.") from error
    return found if given is None else replace(found, model=given)


def facts_of(run: FluoroRun, noise: NoiseEstimate, model: Model, compute: Compute) -> dict:
    """What a person should know before the first frame is done, and what to note beside the result, in plain values."""
    import torch

    from FluoroDenoiseLib.model_range import range_warnings
    from FluoroDenoiseLib.model_verdict import verdict_warnings

    return {
        "version": __version__, "model_sha256": model.sha256, "torch_version": str(torch.__version__),
        "device": compute.device, "precision": compute.precision, "reason": compute.reason, "model": model.name,
        "size": list(run.frames[0].shape), "noise": asdict(noise.model),
        "spatial_correlation": noise.spatial_correlation, "temporal_correlation": noise.temporal_correlation,
        "warnings": [*run.warnings, *noise.warnings, *range_warnings(model.card, run, noise), *verdict_warnings(model.card)],
    }


def made_with(model: Model, settings: DenoiseSettings) -> dict:
    """What results that are to be alike must share, in plain values, and the version, which they need not."""
    law = settings.noise
    return {"version": __version__, "model": model.name, "sha256": model.sha256, "strength": settings.strength,
            "noise": None if law is None else [law.gain, law.pedestal, law.read_noise]}


def provenance(model: Model, settings: DenoiseSettings, noise: NoiseEstimate):
    """What the written file says about its making."""
    from FluoroDenoiseLib.formats import Provenance

    law = noise.model
    parameters = f"strength {settings.strength:g}, noise gain {law.gain:.4g} pedestal {law.pedestal:.4g} read {law.read_noise:.4g}"
    return Provenance(__version__, model.name, model.sha256, settings.strength, parameters)


def train_recipe(
    recipe, runs: Path, out: Path, check: Callable[[], None] = lambda: None, start: str | None = None, device: str = "auto",
    teacher: str | None = None, normal: Path | None = None,
) -> Iterator[Progress]:
    """Train what a recipe describes on a folder of runs: simulated ones with their truth, or noisy ones without; or of CT.

    Leaves in `out` what run_training leaves. check() is called before every run is prepared, which takes seconds each,
    and may raise. start: preset or model folder whose weights to begin with; teacher: that of a student, which needs one.
    normal: the folder of normal-dose CT volumes, of an unpaired training. Under torchrun this is one process of many.
    """
    from FluoroDenoiseLib.compute import choose
    from FluoroDenoiseLib.ct_training import train_ct
    from FluoroDenoiseLib.model_folder import load_model
    from FluoroDenoiseLib.recipe import CtCycleRecipe, CtSlicesRecipe, PretrainRecipe, StudentRecipe, UnsupervisedRecipe
    from FluoroDenoiseLib.training.distributed import joined
    from FluoroDenoiseLib.training.pretrain import pretrain
    from FluoroDenoiseLib.training.student import train_student
    from FluoroDenoiseLib.training.teacher import train_teacher
    from FluoroDenoiseLib.training.unsupervised import train_unsupervised

    if not runs.is_dir():
        raise InputError(f"{runs} is not a folder; give the folder of the training runs.")
    if isinstance(recipe, StudentRecipe) and teacher is None:
        raise ModelError(f"{recipe.name} is a student and needs a teacher; train one with docs/recipes/teacher_small.json, "
                         "then give its folder with --teacher.")
    if teacher is not None and not isinstance(recipe, StudentRecipe):
        raise InputError(f"{recipe.name} is not a student, so it has no teacher; leave out --teacher.")
    if normal is not None and not isinstance(recipe, (CtCycleRecipe, CtSlicesRecipe)):
        raise InputError(f"{recipe.name} does not learn from normal-dose volumes; leave out --normal.")
    make_folder(out)
    compute = choose(device, recipe.precision)
    begin = None if start is None else load_model(start, compute)
    with joined(compute):
        if isinstance(recipe, (CtCycleRecipe, CtSlicesRecipe)):
            yield from train_ct(recipe, runs, normal, out, compute, begin)
        elif isinstance(recipe, PretrainRecipe):
            yield from pretrain(recipe, _simulated_runs(runs, check), out, compute, begin)
        elif isinstance(recipe, StudentRecipe):
            taught_by = load_model(teacher, compute)
            yield from train_student(recipe, _noisy_runs(runs, check), taught_by, out, compute, begin)
        elif isinstance(recipe, UnsupervisedRecipe):
            yield from train_unsupervised(recipe, _noisy_runs(runs, check), out, compute, begin)
        else:
            yield from train_teacher(recipe, _noisy_runs(runs, check), out, compute, begin)


def adapt_model(
    sources: Sequence[Path], out: Path, settings: DenoiseSettings, minutes: float, bare: bool = False, overwrite: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Adaptation:
    """Suit the model of `settings` to runs, files or folders of them: iterate over what is returned, then ask its outcome.

    See Adaptation. Its parent folder must exist; `out` itself may only where it is a model and `overwrite`.
    """
    from FluoroDenoiseLib.formats import find_runs, read_run
    from FluoroDenoiseLib.training.adapt import Adaptation

    if not (isinstance(minutes, (int, float)) and 0 < minutes < float("inf")):
        raise InputError(f"Minutes are {minutes} but must be a number above 0.")
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists already; choose another name, or add --overwrite.")
    if out.exists() and not (out / "model.json").is_file():
        raise OutputError(f"{out} exists and is no model, so it is not replaced; choose another name.")
    check_folder(out.parent)
    files = [path for source in sources for path in (find_runs(source) if source.is_dir() else [source])]
    files = [path for path in files if path.name not in TRUTH_FILES and not path.is_relative_to(out)]
    if not files:
        raise InputError(f"{sources[0]} holds no runs that can be read; give a folder of DICOM, NRRD, TIFF or .npy runs.")
    runs = []
    for path in files:
        check()
        runs.append(read_run(path))
    model, compute = load(settings)
    return Adaptation(runs, model, out, compute, minutes, bare, check, any_precision=settings.precision == "auto")


def _simulated_runs(folder: Path, check: Callable[[], None]) -> Iterator[SimulatedRun]:
    from FluoroDenoiseLib.simulate import load_simulated

    found = sorted(path.parent for path in folder.rglob("clean.npy"))
    if not found:
        raise InputError(f"{folder} holds no simulated runs; make some with: fluorodenoise simulate {folder} --count 40")
    for run_folder in found:
        check()
        yield load_simulated(run_folder)


def _noisy_runs(folder: Path, check: Callable[[], None]) -> Iterator[FluoroRun]:
    from FluoroDenoiseLib.formats import find_runs, read_run

    files = [path for path in find_runs(folder) if path.name not in TRUTH_FILES]
    if not files:
        raise InputError(f"{folder} holds no runs that can be read; give a folder of DICOM, NRRD, TIFF or .npy runs.")
    for path in files:
        check()
        yield read_run(path)


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the one sentence for whatever ended a job. The text of an unknown error is not repeated: it may
    hold a patient's name."""
    if isinstance(error, FluoroDenoiseError):
        return error.exit_code, str(error)
    if isinstance(error, KeyboardInterrupt):
        return 6, "Cancelled; nothing was left half done."
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return 5, "Memory does not suffice; close other programs, or use --tile 256 or --preset fast."
    if isinstance(error, ModuleNotFoundError):
        return 5, f"The Python package {error.name} is missing; install it with: pip install {error.name}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS):
        return 8, f"The output cannot be written ({error.strerror}); make room or choose another folder."
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return 2, "The name of a file or folder is longer than this system allows; choose a shorter one."
    if isinstance(error, OSError) and error.errno in (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.ENOTCONN):
        return 5, f"A disk or network drive does not answer ({error.strerror}); see that it is connected, then try again."
    if isinstance(error, PermissionError):
        return 8, f"Permission is denied for {Path(os.fsdecode(error.filename or 'a file')).name}; choose another place or ask for the right to it."
    said = " ".join(filter(None, [type(error).__name__, of_the_machine(error)]))
    return 1, (f"This is a fault of FluoroDenoise, not yours ({said}, at {place(error)}); "
               "please report it with the traceback that FLUORODENOISE_TRACEBACK=1 shows.")


def _is_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return False
    from FluoroDenoiseLib.compute import is_out_of_memory

    return is_out_of_memory(error)
