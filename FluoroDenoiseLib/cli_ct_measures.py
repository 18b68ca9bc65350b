"""The commands `simulate-ct` and `evaluate-ct`: low dose with its truth, and what methods make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Iterator

import numpy as np

from FluoroDenoiseLib import __version__
from FluoroDenoiseLib.console import say
from FluoroDenoiseLib.targets import UsageError, check_folder, make_folder

if TYPE_CHECKING:
    import argparse

    from FluoroDenoiseLib.ct_volume import CtVolume
    from FluoroDenoiseLib.evaluation.ct_methods import CtRival

VOLUME_FILES = ("nrrd", "nifti", "mha")
MOST_SLICES = 9  # of a place of a volume that evaluate-ct judges


def simulate_ct(options: argparse.Namespace) -> int:
    """Write a volume with the noise of a lower dose; what was given is its truth."""
    from FluoroDenoiseLib.errors import OutputError, UnsupportedError
    from FluoroDenoiseLib.formats.ct import read_ct, write_ct
    from FluoroDenoiseLib.formats.stored_frames import Provenance

    if options.target.exists() and not options.overwrite:
        raise OutputError(f"{options.target} exists already; choose another name, or add --overwrite.")
    check_folder(options.target.parent)
    volume = read_ct(options.source)
    if volume.source.kind not in VOLUME_FILES:
        raise UnsupportedError(f"Low dose is simulated for NRRD, NIfTI and MHA volumes, not for {volume.source.kind}; convert {volume.name}.")
    made = Provenance(__version__, "simulate-ct", "", 1.0, f"dose {options.dose:g}, seed {options.seed}")
    write_ct(options.target, _low_dose(volume, options), volume, made, options.overwrite)
    say(f"{options.target}: {len(volume)} slices at {100 * options.dose:g} % of the dose")
    return 0


def _low_dose(volume: CtVolume, options: argparse.Namespace) -> Iterator[np.ndarray]:
    import torch
    from tqdm import tqdm

    from FluoroDenoiseLib.ct_simulation import Scanner, ct_noise

    height, width = volume[0].shape
    pixel_mm = volume.spacing_mm[1]
    scanner = Scanner(quanta=options.quanta, softness=options.softness, bowtie_radius_mm=0.45 * pixel_mm * max(height, width))
    generator = torch.Generator().manual_seed(options.seed)
    for index in tqdm(range(len(volume)), unit=" slices", leave=False, disable=None):
        hu = torch.from_numpy(volume[index])
        noise = ct_noise(hu, pixel_mm, options.dose, scanner, generator, already=options.already)[0]
        yield volume.values[index].to_stored((hu + noise).numpy())


def evaluate_ct(options: argparse.Namespace) -> int:
    """Measure models and their rivals on CT, each row as it is done, the table at the end."""
    from FluoroDenoiseLib.compute import choose
    from FluoroDenoiseLib.ct_restorer import load_ct_restorer
    from FluoroDenoiseLib.evaluation import ct_report

    if options.places > 1 and not options.ct:
        raise UsageError("--places are those of a volume; name it with --ct.")
    rivals = _rivals(options)
    scenes = list(_scenes(options))
    if not scenes:
        raise UsageError("Nothing is left to judge; give --ct or --repeats, or leave out --without-phantom.")
    if options.out:
        make_folder(options.out)
    compute = choose(options.device, options.precision)
    restorers = [load_ct_restorer(name, compute, network_alone=options.network_alone) for name in options.models]
    judged = []
    for one in ct_report.evaluate_ct(scenes, restorers, rivals, options.strength):
        judged.append(one)
        say(f"{one.row.scene}: {one.row.method}, noise {one.row.noise:.1f} HU, {one.row.cpu_s:.3g} CPU seconds a slice")
    remarks = [f"{rival.name} is left out: the Python package {rival.needs} is not installed." for rival in rivals if rival.missing]
    remarks.append(f"Computed on {compute.device} in {compute.precision}: {compute.reason}")
    rows = [one.row for one in judged]
    if options.places > 1:
        of_places = [row for row in rows if ", place " in row.scene]
        rows += ct_report.pooled(of_places, f"{of_places[0].scene.split(', place ')[0]}, all {options.places} places")
    say("")
    say(ct_report.table(rows))
    for remark in remarks:
        say(remark)
    if options.out:
        ct_report.write_ct_report(rows, judged, options.out, remarks)
        say(f"{options.out}: table.md, rows.csv, rows.json and plots are written")
    return 0


def _rivals(options: argparse.Namespace) -> list[CtRival]:
    from FluoroDenoiseLib.evaluation.ct_methods import RIVALS

    unknown = set(options.without) - {rival.name for rival in RIVALS}
    if unknown:
        raise UsageError(f'There is no rival "{min(unknown)}"; choose from {", ".join(rival.name for rival in RIVALS)}.')
    return [rival for rival in RIVALS if not (options.without_rivals or rival.name in options.without)]


def _scenes(options: argparse.Namespace) -> Iterator:
    from FluoroDenoiseLib.evaluation import ct_scenes
    from FluoroDenoiseLib.formats.ct import read_ct

    if not options.without_phantom:
        yield ct_scenes.phantom(options.dose, options.slices, options.seed)
    if options.repeats:
        yield ct_scenes.repeats_of(options.repeats)
    if options.ct:
        volume = read_ct(options.ct)
        if len(volume) < options.places:
            raise UsageError(f"{volume.name} has {len(volume)} slices, too few for {options.places} places; ask for fewer.")
        count = min(MOST_SLICES, len(volume) // options.places)
        for place in range(options.places):
            middle = (2 * place + 1) * len(volume) // (2 * options.places)
            first = min(max(0, middle - count // 2), len(volume) - count)
            slices = np.stack([volume[index] for index in range(first, first + count)])
            scene = ct_scenes.anatomy(slices, volume.spacing_mm[1], options.dose, options.seed + place, slice_mm=volume.spacing_mm[0])
            yield scene if options.places == 1 else replace(scene, name=f"{scene.name}, place {place + 1}")
