"""What a model's own file says about it, in words."""

from __future__ import annotations

import json
from pathlib import Path

from slicer.i18n import tr as _

from .worker_client import worker_path

FAILURES_SHOWN = 3

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
    if not str(facts.get("recipe", {}).get("kind", "")).startswith("ct"):
        yield _safety(facts)
    yield _("SHA-256 of the weights: {digest}...").format(digest=facts.get("weights_sha256", "?")[:16])


def _safety(facts: dict) -> str:
    """What the safety report of these very weights found; one of other weights says nothing of them."""
    verdict = facts.get("safety")
    if not isinstance(verdict, dict) or verdict.get("weights_sha256") != facts.get("weights_sha256"):
        return _("Safety: not checked; look at what was removed before you trust a picture")
    failed, limits = ([str(text) for text in verdict.get(name) or ()] for name in ("failed", "limits"))
    if not verdict.get("passed"):
        more = _(" and {count} more").format(count=len(failed) - FAILURES_SHOWN) if len(failed) > FAILURES_SHOWN else ""
        return _("Safety: FAILS its report: {failed}{more}").format(failed="; ".join(failed[:FAILURES_SHOWN]), more=more)
    if limits:
        return _("Safety: passes its report, with {count} limits beyond what must be passed: {first}...").format(
            count=len(limits), first=limits[0])
    return _("Safety: passes its report")
