"""Whether a model is for what is to be denoised: runs have frames in time, CT volumes have slices in space."""

from __future__ import annotations

import json

from slicer.i18n import tr as _

from .input_frames import modality_of
from .model_card import is_model, model_folder
from .sequences import Frames, InputProblem

CT = "ct"


def is_for_ct(model: str) -> bool:
    """Whether a preset, or the model in a folder, is for CT volumes; False where nobody can say."""
    if model == CT:
        return True
    try:
        kind = json.loads((model_folder(model) / "model.json").read_text(encoding="utf-8"))["recipe"]["kind"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return str(kind).startswith("ct-")


def kind_of(frames: Frames) -> str:
    """What the worker calls frames: "volume" for slices that lie side by side, "run" for the others."""
    return "volume" if frames.kind == "volume" else "run"


def told_of(frames: Frames) -> dict:
    """What a request tells the worker of its pixels: the kind, and of a volume how far apart slices, rows and columns are."""
    kind = kind_of(frames)
    return {"kind": kind, "spacing_mm": [frames.slice_mm, *frames.spacing_mm]} if kind == "volume" else {"kind": kind}


def require_suited(frames: Frames, model: str) -> None:
    """InputProblem, with the way out, unless `model` is for such frames."""
    if is_for_ct(model) and frames.kind != "volume":
        raise InputProblem(_("{name} is a run of frames, and this model is for CT volumes; choose the preset Quality or Fast.").format(
            name=frames.name))
    if is_for_ct(model) and modality_of(frames.node) not in ("", "CT"):
        raise InputProblem(_("{name} is a volume of {modality}, whose values are no Hounsfield units; only CT volumes can be denoised.").format(
            name=frames.name, modality=modality_of(frames.node)))
    if not is_for_ct(model) and frames.kind == "volume":
        raise InputProblem(_("{name} is a CT volume, and this model is for runs; choose the preset CT volume, or say under Options that its "
                             "slices are frames.").format(name=frames.name))


def why_not_installed(model: str) -> str:
    """A sentence if a preset is not part of this installation; "" otherwise."""
    if model != CT or is_model(str(model_folder(CT))):
        return ""
    return _("The preset CT volume is not part of this installation; choose Own model and the folder of a model for CT.")
