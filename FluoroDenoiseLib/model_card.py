"""MODEL.md: what a person should know of a model before using it, written from its model.json and nothing else."""

from __future__ import annotations

from FluoroDenoiseLib.model_verdict import verdict_in_words, verdict_of

KINDS = {
    "pretrain": "A refiner trained on simulated runs, whose truth is known.",
    "teacher": "Step 1 of Jeon et al. (arXiv 2411.00830): a network blind to its centre frame. A teacher, not for denoising.",
    "student": "Step 2 of Jeon et al. (arXiv 2411.00830): a single-frame network, trained without clean images.",
    "unsupervised": "A refiner trained without clean images.",
    "ct-slices": "A refiner for the slices of CT volumes. Not for fluoroscopy.",
    "ct-cycle": "A generator for CT slices trained unpaired, after Pu et al. (arXiv 2605.00793). Not for fluoroscopy.",
}
RANGES = {  # fact -> what it is called, how its values are written
    "bits": ("Bits stored", "{:.0f}"),
    "quanta": ("Dose, quanta a pixel and frame", "{:.1f}"),
    "frame_rate_hz": ("Frame rate, frames a second", "{:.3g}"),
    "height": ("Rows", "{:.0f}"),
    "width": ("Columns", "{:.0f}"),
    "noise_correlation": ("Correlation of neighbouring pixels' noise", "{:.2f}"),
    "noise_hu": ("Noise level, HU", "{:.1f}"),
    "between_slices": ("Correlation of neighbouring slices' noise", "{:.2f}"),
    "pixel_mm": ("Pixel, mm", "{:.2f}"),
    "softness": ("Kernel, 0 sharp to 1 soft", "{:.2f}"),
    "temporal_correlation": ("Correlation of neighbouring frames' noise", "{:.2f}"),
}
SCORES = {"psnr": "PSNR, dB", "gain_db": "gain, dB", "psnr_near": "near tools, dB", "contrast": "tool contrast kept", "ssim": "SSIM",
          "rmse": "RMSE, HU", "bias": "bias, HU", "noise": "noise left, HU", "dprime_more": "d' less noisy's", "dprime_low": "95 % from",
          "shown": "lesions shown", "lost": "lost", "lesion_contrast": "lesion contrast kept", "pairs": "line pairs kept"}


def model_markdown(card: dict) -> str:
    """The readable card of a model.

    card: what model.json holds; what it does not say is left out, or said to be unknown where a user must know.
    """
    recipe = card["recipe"]
    parts = [
        f"# {card['name']}\n\n{KINDS.get(recipe['kind'], recipe['kind'])} For research use only; not a medical device.",
        _intended(card.get("facts", {})),
        _data(card),
        _training(card),
        _scores(card.get("scores", {}), "evaluate-ct" if recipe["kind"].startswith("ct-") else "evaluate"),
        _safety(card),
        _recipe(recipe),
        f"SHA-256 of weights.safetensors: `{card['weights_sha256']}`. This page is written from model.json.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _intended(facts: dict) -> str:
    rows = [(title, _range(facts[name], form)) for name, (title, form) in RANGES.items() if name in facts]
    if "domain" in facts:
        rows.append(("Pixel intensity relationship", ", ".join(facts["domain"])))
    if not rows:
        return "## Intended range\n\nThe range of bits, dose and frame rate that it learned from is not recorded."
    return "## Intended range\n\nWhat it learned from; outside of it nothing was trained.\n\n" + _table(("", "from - to"), rows)


def _range(values: list, form: str) -> str:
    low, high = (form.format(value) for value in values)
    return low if low == high else f"{low} - {high}"


def _data(card: dict) -> str:
    facts, sentences = card.get("facts", {}), [f"{card.get('data', 'not recorded')}."]
    if "frames" in facts:
        sentences.append(f"The ranges are those of {facts['runs']} runs with {facts['frames']} frames in all.")
    began = card.get("began_as")
    if began:
        sentences.append(f"It began with the weights of {began['name']} (SHA-256 {began['weights_sha256'][:12]}), which had learned "
                         f"from: {began.get('data', 'not recorded')}.")
    if "adaptation" in card:
        sentences.append(card["adaptation"]["sentence"])
    return "## Data\n\n" + " ".join(sentences)


def _training(card: dict) -> str:
    rows = [("Steps done", card.get("steps_done")), ("Step that was kept", card.get("kept_step")), ("Seed", card.get("seed")),
            ("Processes", card.get("processes")), ("Computed on", card.get("trained_on"))]
    if card.get("risk") is not None:
        rows.append(("Risk of what was kept, from noisy frames alone, in noise variances", f"{card['risk']:.4g}"))
    rows += card.get("versions", {}).items()
    return "## Training\n\n" + _table(("", ""), [(name, value) for name, value in rows if value is not None])


def _scores(scores: dict[str, dict], command: str) -> str:
    if not scores:
        return f"## Scores\n\nNot measured yet; `fluorodenoise {command}` measures them."
    names = [name for name in SCORES if any(name in one for one in scores.values())]
    rows = [(scene, one.get("seeds", ""), *(f"{one[name]:.4g}" if name in one else "" for name in names))
            for scene, one in scores.items()]
    head = f"## Scores\n\nMeans over the seeds, against the known truth (`fluorodenoise {command}`).\n\n"
    return head + _table(("scene", "seeds", *(SCORES[name] for name in names)), rows)


def _safety(card: dict) -> str:
    verdict = verdict_of(card)
    if card["recipe"]["kind"].startswith("ct"):
        return ""
    if verdict is None:
        return f"## Safety\n\n{verdict_in_words(card)}"
    head = "These weights pass" if verdict["passed"] else "**These weights fail**"
    parts = [f"{head} the safety report ({verdict['form']} form, FluoroDenoise {verdict['version']}): `fluorodenoise evaluate --safety`."]
    for title, phrases in (("Failed, so that every use warns of it", verdict["failed"]), ("Limits beyond what must be passed", verdict["limits"])):
        if phrases:
            parts.append(f"{title}:\n\n" + "\n".join(f"- {phrase}" for phrase in phrases))
    return "## Safety\n\n" + "\n\n".join(parts)


def _recipe(recipe: dict) -> str:
    rows = [(f"`{name}`", ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value) for name, value in recipe.items()]
    return "## Recipe\n\n" + _table(("field", "value"), rows)


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
