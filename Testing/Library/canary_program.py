"""Does what FluoroDenoise can do with runs whose every name is a canary, and tells what was seen; started by test_privacy.

Called with an empty folder, which becomes the working folder and whose own name is a canary too. What is typed on the
command line holds TYPED; every other name, and every field of a header, holds CANARY or 19010203.
"""

import json
import logging
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pydicom
from dicom_examples import COMPRESSED, compressed
from test_dicom_privacy import with_canaries

TINY = dict(radius=1, guides="both", widths=(8, 8), blocks=1)
made: set[str] = set()
connections: list[str] = []
events: list[dict] = []


def watch(event, arguments):
    """Note every name that is given to a file or folder, and every step towards a network."""
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        made.add(os.path.abspath(os.fsdecode(arguments[0])))
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "tempfile.mkstemp", "tempfile.mkdtemp"):
        made.add(os.path.abspath(os.fsdecode(arguments[1 if event in ("os.rename", "os.link", "os.symlink") else 0])))
    elif event.startswith("socket."):
        connections.append(event)


def make_runs():
    """Sound, compressed, drawn-over and broken runs, below folders and by themselves."""
    from FluoroDenoiseLib.formats import write_simulated
    from FluoroDenoiseLib.simulate import SimulationSettings, simulate

    frames = simulate(SimulationSettings(size=(64, 64), frames=8, bits=12, quanta=40.0), 3).noisy
    patient = Path("runs", "CANARY^PATIENT")
    for folder in (patient, Path("good", "CANARY^GOOD")):
        folder.mkdir(parents=True)
    write_simulated(Path("TYPED.dcm"), frames)
    header = pydicom.dcmread(with_canaries(Path("TYPED.dcm")))
    header.BurnedInAnnotation = "YES"
    header.add_new(0x60003000, "OW", bytes(512))
    header.save_as("TYPED.dcm")
    shutil.copy("TYPED.dcm", patient / "CANARY_RUN.dcm")
    shutil.copy("TYPED.dcm", Path("good", "CANARY^GOOD", "CANARY_GOOD.dcm"))
    compressed(shutil.copy("TYPED.dcm", patient / "CANARY_RLE.dcm"), COMPRESSED["RLE"])
    whole = Path("TYPED.dcm").read_bytes()
    for place in (Path("TYPED_BROKEN.dcm"), patient / "CANARY_BROKEN.dcm"):
        place.write_bytes(whole[:-4000])
    (patient / "CANARY_DATE.dcm").write_bytes(whole.replace(b"DA\x08\x0019010203", b"DA\x08\x00CANARY^X").replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00PN"))


def make_model_and_recipe():
    import torch
    from FluoroDenoiseLib.model_folder import build_network, save_model
    from FluoroDenoiseLib.recipe import PretrainRecipe, UnsupervisedRecipe, save_recipe

    torch.manual_seed(0)
    recipe = PretrainRecipe(name="tiny", **TINY)
    save_model("model", build_network(recipe).state_dict(), recipe, {"steps_done": 0, "data": "none"})
    save_recipe(UnsupervisedRecipe(name="tiny", **TINY, steps=2, batch=1, patch=32, checkpoint_every=1, warmup_steps=1, precision="float32",
                                   preview_every=1), "recipe.json")


def crash(*arguments, **named):
    """What a fault of ours could look like: its text repeats what it was working on."""
    try:
        raise KeyError("CANARY^NAME 19010203")
    except KeyError as error:
        raise RuntimeError(f"CANARY^NAME in {os.getcwd()}") from error


def by_command():
    """The exit code of every command."""
    from FluoroDenoiseLib import cli, formats, model_safety
    from FluoroDenoiseLib.training.adapt import Adaptation

    Adaptation._steps_in_time = lambda self, *_: 2
    # The whole safety report, of less: it is what the report says that is searched here.
    model_safety.QUICK = replace(model_safety.QUICK, doses=(40.0,), lag=1, speeds=(0, 8), flat=3)
    model = ["--model", "model", "--device", "cpu"]
    codes = {
        "denoise": cli.main(["denoise", "TYPED.dcm", "TYPED_out.dcm", *model, "--compare", "compare.png", "--residual", "removed.nrrd"]),
        "denoise broken": cli.main(["denoise", "TYPED_BROKEN.dcm", "never.dcm", *model]),
        "archive": cli.main(["denoise", "runs", "results", *model]),
        "archive again": cli.main(["denoise", "runs", "results", *model]),
        "train": cli.main(["train", "recipe.json", "--runs", "good", "--out", "trained", "--device", "cpu"]),
        "adapt": cli.main(["adapt", "TYPED.dcm", "--out", "adapted", "--minutes", "60", *model, "--precision", "float32"]),
        "simulate": cli.main(["simulate", "simulated.dcm", "--settings", "settings.json"]),
    }
    read, formats.read_run = formats.read_run, crash
    os.environ["FLUORODENOISE_TRACEBACK"] = "1"
    codes["crash"] = cli.main(["denoise", "TYPED.dcm", "never.dcm", *model])
    codes["archive with crashes"] = cli.main(["denoise", "good", "never", *model])
    formats.read_run = read
    return codes


def by_worker():
    """The last event of every request."""
    from FluoroDenoiseLib import formats
    from FluoroDenoiseLib.worker import Worker

    model = {"model": "model", "device": "cpu"}
    how = {"version": "1", "model": "tiny", "model_sha256": "ab" * 32, "parameters": "none"}
    requests = {
        "denoise": dict(frames="TYPED.dcm", output="TYPED_w.dcm", **model),
        "preview": dict(frames="TYPED.npy", index=3, output="TYPED_one.npy", **model),
        "folder": dict(source="runs", target="w_results", **model),
        "export": dict(frames="TYPED.npy", output="TYPED_export.dcm", source=["TYPED.dcm"], **how),
        "train": dict(recipe="recipe.json", runs="good", out="w_trained", device="cpu"),
        # Without the safety report, for which so little time does not suffice; the command's adaptation makes one.
        "adapt": dict(runs=["TYPED.dcm"], out="w_adapted", minutes=1e-4, precision="float32", **model),
    }
    import numpy as np

    np.save("TYPED.npy", np.stack(list(formats.read_run("TYPED.dcm").frames)))
    worker = Worker([], events.append)
    for number, (do, fields) in enumerate(requests.items()):
        worker._work({"id": number, "do": do, **fields})
    read, formats.read_run = formats.read_run, crash
    worker._work({"id": "crash", "do": "denoise", "frames": "TYPED.dcm", "output": "never.dcm", **model})
    formats.read_run = read
    return {event["id"]: event for event in events}


def main():
    os.chdir(sys.argv[1])
    logging.basicConfig(level=logging.DEBUG)  # as a host program might; goes to standard error
    Path("settings.json").write_text('{"size": [48, 48], "frames": 3}')
    make_runs()
    make_model_and_recipe()
    before = sorted(str(path) for path in Path().rglob("*"))
    sys.addaudithook(watch)
    codes = by_command()
    last = by_worker()
    print(json.dumps({"codes": codes, "last": list(last.values()), "events": events, "made": sorted(made), "before": before,
                      "connections": connections}), file=open(sys.argv[2], "w"))


if __name__ == "__main__":
    main()
