"""A denoised array as a derived DICOM object: with the header of the run it was made from, or of nobody without one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from FluoroDenoiseLib.errors import InputError, OutputError, UnsupportedError
from FluoroDenoiseLib.fluoro_run import ASSUMED_FRAME_TIME_S, FluoroRun
from FluoroDenoiseLib.formats import Provenance, WriteReport, frame_range, kind_of, read_run, write_run, write_without_source
from FluoroDenoiseLib.formats.whole_folder import whole_folder
from FluoroDenoiseLib.targets import UsageError, check_folder

BITS = (8, 10, 12, 16)  # that an XA object may store
BLOCK = 8  # pixels; averages of so many squared hold almost no noise
NUMBERED = re.compile(r"\d{5,}\.dcm")  # the files of a folder that we may replace
LARGEST_DIFFERENCE = 0.1  # of the run's grey range, root mean square over blocks; denoising changes less


def export(
    clean: Path,
    target: Path,
    sources: Sequence[Path],
    provenance: Provenance,
    first: int = 0,
    frame_time_s: float | None = None,
    pixel_spacing_mm: tuple[float, float] | None = None,
    overwrite: bool = False,
    check: Callable[[], None] = lambda: None,
) -> tuple[WriteReport, list[str]]:
    """Write the frames of `clean` (.npy, [T, H, W] or [H, W]) as a derived XA or RF file; a report and warnings.

    sources: the file of the run that was denoised; without it a new XA object without a patient is written, with
    frame_time_s and pixel_spacing_mm. A run of one file a frame becomes one file a frame again, in a folder that is called
    as `target` without its ending, and the report's path. first: the frame of the source, from 0, that the first of `clean`
    is. check() is called before every frame and may raise. Raises the errors of errors.py; the target is then as it was
    before.
    """
    if kind_of(clean) != "npy":
        raise UsageError(f"The frames to export are a .npy file; {clean.name} is none.")
    if kind_of(target) != "dicom":
        raise UsageError(f"{target.name} would not be a DICOM file by its name; end it in .dcm.")
    check_folder(target.parent)
    if target.exists() and not overwrite:
        raise OutputError(f"{target.name} exists already; choose another name.")
    frames = read_run(clean).frames
    if len(sources) > 1:
        return _file_by_file(frames, target.with_suffix(""), _one_a_frame(sources, first, len(frames)), provenance, overwrite, check), []

    def checked() -> Iterator[np.ndarray]:
        for frame in frames:
            check()
            yield frame

    if sources:
        run = frame_range(_xray_run(sources[0]), first, len(frames))
        require_same_pictures(frames, run)
        return write_run(target, checked(), run, provenance, overwrite), []
    bits = _bits_for(frames, check)
    warnings = [] if frame_time_s else ["The time between frames is not known; 15 frames a second are stated."]
    report = write_without_source(target, checked(), provenance, bits, frame_time_s or ASSUMED_FRAME_TIME_S,
                                  pixel_spacing_mm or (1.0, 1.0))
    return report, warnings


def _one_a_frame(sources: Sequence[Path], first: int, count: int) -> list[FluoroRun]:
    """The runs of one frame that `count` frames were made of, of all files of a run or of just these.

    UnsupportedError unless there is one file for each; InputError unless they are of one series and in its order, since
    neighbouring frames look too much alike to be told apart.
    """
    files = sources[first : first + count] if len(sources) > count else sources
    runs = [_xray_run(path) for path in files] if len(files) == count else []
    if not runs or any(len(run) > 1 for run in runs):
        raise UnsupportedError(f"{count} frames from {len(sources)} DICOM files can be exported only if each file holds one of them; "
                               "denoise the run as a multi-frame object.")
    headers = [run.source.header for run in runs]
    numbers = [header.get("InstanceNumber") for header in headers]
    if len({header.get("SeriesInstanceUID") for header in headers}) > 1 or None in numbers or sorted(set(numbers)) != numbers:
        raise InputError(f"The {count} DICOM files of these frames are not of one series in the order of their instance numbers; "
                         "export to the files that were denoised.")
    return runs


def _file_by_file(
    frames: Sequence[np.ndarray], folder: Path, runs: Sequence[FluoroRun], provenance: Provenance, overwrite: bool, check: Callable[[], None],
) -> WriteReport:
    """Write each frame with the header of its own run into a folder that appears whole."""
    reports = []
    with whole_folder(folder, lambda there: overwrite and all(NUMBERED.fullmatch(path.name) for path in there.iterdir())) as aside:
        for number, (frame, run) in enumerate(zip(frames, runs, strict=True), 1):
            check()
            require_same_pictures([frame], run)
            reports.append(write_run(aside / f"{number:05d}.dcm", [frame], run, provenance))
    return WriteReport(folder, len(reports), sum(one.clipped for one in reports), sum(one.pixels for one in reports))


def require_same_pictures(clean: Sequence[np.ndarray], run: FluoroRun) -> None:
    """InputError unless some of the frames show what the run's show, the same way up and in the same grey values.

    A header on the pixels of another run would be a danger to a patient.
    """
    if clean[0].shape != run.frames[0].shape:
        given, there = ("x".join(map(str, image.shape)) for image in (clean[0], run.frames[0]))
        raise InputError(f"The frames are {given} but those of {run.source.name} are {there}; export to the file that was denoised.")
    for index in sorted({0, len(run) // 2, len(run) - 1}):
        ours, theirs = _averaged(clean[index]), _averaged(run.frames[index])
        as_it_is, *turned = (float(np.sqrt(np.mean((view - theirs) ** 2)))
                             for view in (ours, ours[::-1], ours[:, ::-1], ours[::-1, ::-1]))
        if as_it_is > LARGEST_DIFFERENCE * run.scale.width or as_it_is > 2 * min(turned):
            raise InputError(f"Frame {index} does not show what frame {index} of {run.source.name} shows, or not the same way up; "
                             "export to the file that was denoised, or without a source.")


def _averaged(frame: np.ndarray) -> np.ndarray:
    """Means over blocks, symmetric from both ends so that a turned frame has the same blocks; whole small frames."""
    height, width = (side // BLOCK * BLOCK for side in frame.shape)
    if not height or not width:
        return np.asarray(frame, np.float64)
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    inner = np.asarray(frame[top : top + height, left : left + width], np.float64)
    return inner.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((1, 3))


def _xray_run(path: Path) -> FluoroRun:
    run = read_run(path)
    if run.source.kind != "dicom":
        raise UnsupportedError(f"{path.name} is not a DICOM file, so there is no header to take over; export without a source.")
    return run


def _bits_for(frames: Sequence[np.ndarray], check: Callable[[], None]) -> int:
    """The fewest bits of an XA object that hold every value."""
    lowest, highest = 0, 0
    for frame in frames:
        check()
        if frame.dtype.kind == "f":
            raise UnsupportedError("XA objects hold whole numbers and these frames have fractions; save them as .nrrd instead.")
        lowest, highest = min(lowest, int(frame.min())), max(highest, int(frame.max()))
    if lowest < 0 or highest >= 2 ** BITS[-1]:
        raise UnsupportedError(f"XA objects hold the values 0 to 65535 and these frames have {lowest} to {highest}; "
                               "save them as .nrrd instead.")
    return next(bits for bits in BITS if highest < 2**bits)
