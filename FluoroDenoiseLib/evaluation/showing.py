"""What an evaluation looks like: charts over dose and speed, and pictures of the best and of the worst case."""

import json
from collections.abc import Sequence

import numpy as np
from PIL import Image

from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.evaluation.charts import Series, chart
from FluoroDenoiseLib.evaluation.rivals import RIVALS
from FluoroDenoiseLib.evaluation.rows import Row, Summary, beside_equals, summarise
from FluoroDenoiseLib.evaluation.scene_catalogue import DOSES, SPEEDS
from FluoroDenoiseLib.evaluation.session import Session
from FluoroDenoiseLib.model_folder import write_whole
from FluoroDenoiseLib.pictures import one_below_the_other, save_picture, side_by_side, to_grey

SHOWN_RIVALS = ("noisy", "recursive filter, best", "NVCA", "non-local means", "multi-frame NLM", "BM3D")
CROP_PX = 192


def draw(session: Session) -> list[str]:
    """Write what there is to show into the session's folder, and the cases' story into cases.json; names of the PNGs."""
    pictures = charts_of(summarise(beside_equals(session.rows)), [model.name for model in session.models])
    stories = {}
    for kind, row in extremes(session).items():
        pictures[f"{kind}.png"], stories[kind] = picture_of_case(session, row)
    for name, picture in pictures.items():
        save_picture(picture, session.folder / name)
    write_whole(session.folder / "cases.json", (json.dumps(stories, indent=1) + "\n").encode())
    return list(pictures)


def charts_of(summaries: Sequence[Summary], models: Sequence[str]) -> dict[str, Image.Image]:
    """PSNR against dose, and contrast of wires and of discs against speed, where two scenes or more have them."""
    on_few_seeds = [name for name in dict.fromkeys(one.method for one in summaries) if name.startswith(("BM3D, ", *(f"{model}, " for model in models[-1:])))]
    methods = [*SHOWN_RIVALS, *models, *on_few_seeds]

    def series(prefix: str, steps: Sequence[int], measure: str) -> list[Series]:
        values = {(one.method, one.scene): getattr(one, measure) for one in summaries}
        found = [(method, [(step, values[method, f"{prefix}{step}"]) for step in steps if (method, f"{prefix}{step}") in values]) for method in methods]
        return [one for one in found if len(one[1]) > 1]

    drawn = {}
    if doses := series("q", DOSES, "psnr"):
        drawn["psnr_against_dose.png"] = chart(doses, "quanta a pixel and frame", "PSNR, dB", logarithmic=True)
    speeds = [(name, series(prefix, SPEEDS, "contrast")) for prefix, name in (("wire", "wire"), ("discs", "discs"))]
    panels = [chart(found, "pixels a frame", f"contrast of the {name} kept") for name, found in speeds if found]
    if panels:
        drawn["contrast_against_speed.png"] = one_below_the_other(panels)
    return drawn


def extremes(session: Session) -> dict[str, Row]:
    """The rows in which our last model gains most, and least, PSNR over the best of the others; none without a truth."""
    if not session.models:
        return {}
    gains = {}
    for planned in session.plan:
        same = [row for row in session.rows if (row.scene, row.seed) == (planned.name, planned.seed) and row.psnr == row.psnr]
        ours = [row for row in same if row.method == session.models[-1].name]
        others = _others(same)
        if ours and others:
            gains[ours[0].psnr - others[0].psnr, planned.name, planned.seed] = ours[0]
    return {"best": gains[max(gains)], "worst": gains[min(gains)]} if gains else {}


def picture_of_case(session: Session, row: Row) -> tuple[Image.Image, dict]:
    """Noisy, best rival, our model and truth of one frame, round its tool; and what is to be said of it."""
    scene = next(planned for planned in session.plan if (planned.name, planned.seed) == (row.scene, row.seed)).make()
    same = [one for one in session.rows if (one.scene, one.seed) == (row.scene, row.seed)]
    other = _others(same)[0]
    rival = next(one for one in RIVALS if one.name == other.method)
    noise = scene.noise(session.request.noise)
    middle = len(scene.noisy) // 2
    setting = float(other.setting.split()[0]) if other.setting else rival.settings[0]
    alone = slice(middle, middle + 1)
    rivals = rival.run(scene.noisy[alone], noise, setting)[0] if rival.frame_by_frame else rival.run(scene.noisy, noise, setting)[middle]
    ours = np.asarray(denoise(scene.noisy, session.models[-1], noise, session.compute))[middle]
    top, left = _round_the_tool(scene.near[middle])
    cut = np.s_[top : top + CROP_PX, left : left + CROP_PX]
    low, high = (float(value) for value in np.percentile(scene.clean[middle][cut], (0.5, 99.5)))
    low, high = low - 0.1 * (high - low), high + 0.1 * (high - low)
    images = {
        "noisy": scene.noisy[middle],
        f"{other.method}: {other.psnr:.1f} dB": rivals,
        f"{row.method}: {row.psnr:.1f} dB": ours,
        "truth": scene.clean[middle],
    }
    picture = side_by_side([(caption, to_grey(image[cut], low, high)) for caption, image in images.items()])
    gain = row.psnr - other.psnr
    return picture, {"scene": row.scene, "seed": row.seed, "frame": middle, "method": row.method, "other": other.method, "gain_db": gain}


def _others(rows: Sequence[Row]) -> list[Row]:
    """Rows of rivals that are neither ours nor the noisy frames, best first."""
    names = {rival.name for rival in RIVALS if rival.name != "noisy" and not rival.name.startswith("our ")}
    return sorted((row for row in rows if row.method in names), key=lambda row: -row.psnr)


def _round_the_tool(near: np.ndarray) -> tuple[int, int]:
    """Top left corner of a cut of CROP_PX with the tool in its middle, or of the middle of the frame."""
    at = np.argwhere(near)
    centre = np.median(at, 0) if len(at) else np.array(near.shape) / 2
    return tuple(int(np.clip(middle - CROP_PX / 2, 0, max(0, side - CROP_PX))) for middle, side in zip(centre, near.shape))
