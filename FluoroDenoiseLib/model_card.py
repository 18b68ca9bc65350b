"""MODEL.md: what a person should know of a model before using it, written from its model.json and nothing else."""

from __future__ import annotations

KINDS = {
    "pretrain": "A refiner trained on simulated runs, whose truth is known.",
    "teacher": "Step 1 of Jeon et al. (arXiv 2411.00830): a network blind to its centre frame. A teacher, not for denoising.",
    "student": "Step 2 of Jeon et al. (arXiv 2411.00830): a single-frame network, trained without clean images.",
    "unsupervised": "A refiner trained without clean images.",
}
RANGES = {  # fact -> what it is called, how its values are written
    "bits": ("Bits stored", "{:.0f}"),
    "quanta": ("Dose, quanta a pixel and frame", "{:.1f}"),
    "frame_rate_hz": ("Frame rate, frames a second", "{:.3g}"),
    "height": ("Rows", "{:.0f}"),
    "width": ("Columns", "{:.0f}"),
    "noise_correlation": ("Correlation of neighbouring pixels' noise", "{:.2f}"),
    "temporal_correlation": ("Correlation of neighbouring frames' noise", "{:.2f}"),
}
SCORES = {"psnr": "PSNR, dB", "gain_db": "gain, dB", "psnr_near": "near tools, dB", "contrast": "tool contrast kept", "ssim": "SSIM"}


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
        _scores(card.get("scores", {})),
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


def _scores(scores: dict[str, dict]) -> str:
    if not scores:
        return "## Scores\n\nNot measured yet; `fluorodenoise evaluate --presets FOLDER` measures them."
    names = [name for name in SCORES if any(name in one for one in scores.values())]
    rows = [(scene, one.get("seeds", ""), *(f"{one[name]:.4g}" if name in one else "" for name in names))
            for scene, one in scores.items()]
    head = "## Scores\n\nMeans over the seeds, against the known truth (`fluorodenoise evaluate`).\n\n"
    return head + _table(("scene", "seeds", *(SCORES[name] for name in names)), rows)


def _recipe(recipe: dict) -> str:
    rows = [(f"`{name}`", ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value) for name, value in recipe.items()]
    return "## Recipe\n\n" + _table(("field", "value"), rows)


def _table(head: tuple[str, ...], rows: list[tuple]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
