"""Measure learning without clean images: `python docs/measure_adaptation.py {scratch,adapt,table} OUT ...`.

scratch: the same network for the same steps, once with clean targets, once with nothing but the noisy runs.
adapt: a shipped model, adapted to noise that it never saw. table: write docs/ADAPTATION.md from what both have left in OUT.
Trained on some scenes, judged on others; a truth is only ever used to judge. What is done already is not done again.
"""

import argparse
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.evaluation.metrics import data_range, near_tools, psnr, tool_contrast, tool_mask
from FluoroDenoiseLib.evaluation.scenes import still_scene
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.formats import read_run
from FluoroDenoiseLib.model_folder import load_model, write_whole
from FluoroDenoiseLib.recipe import PretrainRecipe, UnsupervisedRecipe
from FluoroDenoiseLib.simulate import SimulationSettings, simulate
from FluoroDenoiseLib.training.adapt import Adaptation
from FluoroDenoiseLib.training.pretrain import pretrain
from FluoroDenoiseLib.training.unsupervised import train_unsupervised

TABLE = Path(__file__).with_name("ADAPTATION.md")
HOURS_ENOUGH_MIN = 600  # steps are given instead, so that a slow machine measures the same
ENDS = 2  # frames at either end that are not judged
SCENE = SimulationSettings(
    size=(256, 256), frames=16, quanta=30.0, correlation=0.25, read_noise_quanta=1.0, pan_px=0.5,
    tools=("guidewire", "guidewire", "markers"), tool_speed_px=3.5,
)
WIRE = replace(
    SCENE, size=(192, 192), frames=12, tools=("guidewire",), tool_width_px=(2.4, 2.4), tool_attenuation=(0.4, 0.4)
)
CASES = {
    "as in training": {},
    "vendor recursion 0.45": {"vendor_recursion": 0.45},
    "8-bit display": {"domain": "DISP", "bits": 8},
    "twice the correlation length": {"correlation": 0.42},
    "logarithmic": {"domain": "LOG"},
}
STILL = "real flat panel, still"
NETWORK = dict(radius=2, guides="both", widths=(16, 32, 48), blocks=2)


def judged(model, noisy, clean, without, compute):
    """PSNR, PSNR near tools and contrast of a denoised run."""
    middle = slice(ENDS, -ENDS)
    estimate = denoise(noisy, model, compute=compute)[middle]
    clean, without = np.asarray(clean)[middle], np.asarray(without)[middle]
    near = near_tools(tool_mask(clean, without))
    span = data_range(clean)
    return [psnr(estimate, clean, span), psnr(estimate, clean, span, near), tool_contrast(estimate, clean, without)]


def measure_scratch(options, compute):
    own = [simulate(WIRE, 100 + index) for index in range(options.runs)]
    others = [simulate(WIRE, 900 + index) for index in range(3)]
    common = dict(**NETWORK, steps=options.steps, batch=6, patch=96, learning_rate=1e-3, warmup_steps=50, ema_decay=0.995,
                  precision=compute.precision, checkpoint_every=max(1, options.steps // 6), preview_every=0)
    for seed in range(options.seeds):
        recipes = {
            "clean targets": PretrainRecipe(**common, seed=seed, tool_weight=0.0, tool_share=0.25),
            "noisy runs alone, SURE": UnsupervisedRecipe(**common, seed=seed),
            "noisy runs alone, R2R": UnsupervisedRecipe(**common, seed=seed, risk="r2r", perturbation=0.5),
        }
        for name, recipe in recipes.items():
            place = options.out / f"scratch_{len(name)}_{recipe.kind}_{seed}"
            if (place / "row.json").exists():
                continue
            place.mkdir(exist_ok=True)
            if recipe.kind == "pretrain":
                training = pretrain(recipe, own, place, compute)
            else:
                training = train_unsupervised(recipe, [run.noisy for run in own], place, compute)
            for progress in training:
                print(f"{name}, seed {seed}: step {progress.step}, risk {progress.risk}", flush=True)
            model = load_model(place, compute)
            scores = [judged(model, run.noisy, run.clean, run.without_tools, compute) for run in others]
            keep(place, {"name": name, "seed": seed, "steps": options.steps, "runs": options.runs, "scores": np.mean(scores, 0).tolist()})


def measure_adapt(options, compute):
    model = load_model(options.model, compute)
    for name in options.cases or (*CASES, *([STILL] if options.still else [])):
        place = options.out / f"adapt_{name.replace(' ', '_').replace(',', '')}_{model.name}_{options.steps}"
        if (place / "row.json").exists():
            continue
        if name == STILL:
            run, truth = (np.stack(list(read_run(path).frames)) for path in options.still)
            scene = still_scene(run, truth.mean(0))
            own = others = [(scene.noisy, scene.clean, scene.without_tools)]
        else:
            made = [simulate(replace(SCENE, **CASES[name]), 500 + index) for index in range(4)]
            runs = [(run.noisy, run.clean, run.without_tools) for run in made]
            own, others = runs[:2], runs[2:]
        place.mkdir(exist_ok=True)
        job = Adaptation([FluoroRun.from_array(noisy) for noisy, _, _ in own], model, place / "model", compute, HOURS_ENOUGH_MIN, steps=options.steps)
        for progress in job:
            print(f"{name}: step {progress.step} of {progress.steps}, risk {job.risk_before:.4f} -> {progress.risk}", flush=True)
        adapted = load_model(place / "model", compute)
        row = {"name": name, "model": model.name, **job.outcome.as_dict()}
        for which, runs in (("own", own), ("others", others)):
            for when, one in (("before", model), ("after", adapted)):
                scores = np.mean([judged(one, *run, compute) for run in runs], 0)
                row[f"{which}_{when}"] = [None if score != score else score for score in scores.tolist()]
        keep(place, row)


def keep(place, row):
    write_whole(place / "row.json", json.dumps(row, indent=2).encode())
    print(json.dumps(row), flush=True)


def write_table(out):
    rows = {kind: [json.loads(path.read_text()) for path in sorted(out.glob(f"{kind}_*/row.json"))] for kind in ("scratch", "adapt")}
    lines = [
        "# Learning without clean images, measured", "",
        "Written by `docs/measure_adaptation.py table OUT` from what `scratch` and `adapt` left in OUT; the settings are in that file.",
        "Near: within 4 px of a tool. Contrast: the share of the tools' that is kept.", "",
    ]
    names = list(dict.fromkeys(row["name"] for row in rows["scratch"]))
    if names:
        first = rows["scratch"][0]
        lines += [
            "## From random weights", "",
            f"The refiner with widths {NETWORK['widths']}, {first['steps']} steps on {first['runs']} runs at 30 quanta, judged on 3 "
            "others; mean and, in brackets, standard deviation over the seeds.", "",
            "| learned from | seeds | PSNR | near tool | contrast |", "|---|---|---|---|---|",
        ]
        for name in names:
            scores = np.array([row["scores"] for row in rows["scratch"] if row["name"] == name])
            spread = scores.std(0, ddof=1) if len(scores) > 1 else np.full(3, np.nan)
            cells = " | ".join(f"{mean:.2f} ({one:.2f})" for mean, one in zip(scores.mean(0), spread))
            lines.append(f"| {name} | {len(scores)} | {cells} |")
        lines.append("")
    if rows["adapt"]:
        lines += [
            "## A shipped model adapted", "",
            "Two runs of 16 frames of 256x256 each (the real one: `docs/samples/still_2bm.tif`), judged by their truth on those runs and on two others "
            "of the same detector. Before -> after.", "",
            "| noise | model | steps | kept | estimated gain, dB | own: PSNR | near | contrast | others: PSNR | near | contrast |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in rows["adapt"]:
            gain = "-" if row["gain_db"] is None else f"{row['gain_db']:.2f}"
            cells = [cell(row[f"{which}_before"][k], row[f"{which}_after"][k], 3 if k == 2 else 2)
                     for which in ("own", "others") for k in range(3)]
            lines.append(f"| {row['name']} | {row['model']} | {row['steps']} | {row['kept']} | {gain} | {' | '.join(cells)} |")
        lines.append("")
    write_whole(TABLE, "\n".join(lines).encode())
    print(f"{TABLE}: {len(rows['scratch'])} trainings, {len(rows['adapt'])} adaptations")


def cell(before, after, digits):
    return "-" if before is None else f"{before:.{digits}f} -> {after:.{digits}f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("scratch", "adapt", "table"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, help="of every training (default: 2000 for scratch, 400 for adapt)")
    parser.add_argument("--seeds", type=int, default=3, help="scratch")
    parser.add_argument("--runs", type=int, default=10, help="scratch: noisy runs to learn from")
    parser.add_argument("--model", default="quality", help="adapt: preset or folder")
    parser.add_argument("--cases", nargs="*", help=f"adapt: of {', '.join(CASES)}, {STILL}")
    parser.add_argument("--still", type=Path, nargs=2, metavar=("RUN", "TRUTH"), help="adapt: a real still run and the mean of others")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    options.steps = options.steps or {"scratch": 2000, "adapt": 400, "table": 0}[options.what]
    options.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    if options.what == "table":
        write_table(options.out)
    else:
        chosen = choose(options.device, options.precision)
        {"scratch": measure_scratch, "adapt": measure_adapt}[options.what](options, chosen)
