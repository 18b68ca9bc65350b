"""What a model's own file says about it, in words."""

from __future__ import annotations

import json
from pathlib import Path

from slicer.i18n import tr as _

from .worker_client import worker_path


def model_folder(model: str) -> Path:
    """The folder of a shipped model by its name, or the folder itself."""
    shipped = worker_path().parent / "models" / model
    return shipped if shipped.is_dir() else Path(model)


def is_model(folder: str) -> bool:
    """Whether a folder looks like one; whether it is whole is found out when it is used. "" is none."""
    return bool(folder) and (Path(folder) / "model.json").is_file()


def card(model: str) -> str:
    """The card of a model, a fact a line: what it learned from, how long, how good. "" where there is none."""
    path = model_folder(model) / "model.json"
    if not path.is_file():
        return ""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return "\n".join(_lines(facts))
    except (OSError, ValueError, AttributeError) as error:
        return _("{path} cannot be read ({reason}).").format(path=path, reason=error)


def _lines(facts: dict):
    version = facts.get("versions", {}).get("FluoroDenoise", "")
    yield _("Model: {name} (FluoroDenoise {version})").format(name=facts.get("name", ""), version=version)
    yield _("Learned from: {data}").format(data=facts.get("data", _("not stated")))
    yield _("Training: {steps} steps on {device}").format(steps=facts.get("steps_done", "?"), device=facts.get("trained_on", "?"))
    if facts.get("began_as"):
        yield _("Began as: {name}").format(name=facts["began_as"].get("name", ""))
    gains = {scene: score["gain_db"] for scene, score in (facts.get("scores") or {}).items() if "gain_db" in score}
    if gains:
        yield _("Gain on scenes with known truth: {gains}").format(
            gains=", ".join(f"{scene} {gain:.1f} dB" for scene, gain in gains.items()))
    yield _("SHA-256 of the weights: {digest}...").format(digest=facts.get("weights_sha256", "?")[:16])
