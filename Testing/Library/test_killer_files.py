"""Files that crash decoders or never let them end, through the whole command line: a sentence, and the next file."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from dicom_examples import COMPRESSED, compressed, noise_frames, xa_file
from FluoroDenoiseLib import cli
from FluoroDenoiseLib.formats import read_run
from FluoroDenoiseLib.model_folder import build_network, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe
from test_decoder_process import KILLERS, disguised, needs_killers

ROOT = Path(__file__).resolve().parents[2]
TINY = PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1, steps=1, batch=1, patch=32, warmup_steps=1,
                      checkpoint_every=1, precision="float32")  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, build_network(TINY).state_dict(), TINY, {"data": "none"})
    return str(folder)


@needs_killers
@pytest.mark.parametrize("killer", KILLERS, ids=lambda path: path.stem)
def test_a_killer_is_refused_in_one_sentence(killer, model, tmp_path, capfd):
    assert cli.main(["denoise", str(killer), str(tmp_path / "out.dcm"), "--model", model, "--device", "cpu"]) in (3, 4)
    said = capfd.readouterr()
    assert len(said.err.splitlines()) == 1 and "Traceback" not in said.err and killer.name in said.err
    assert list(tmp_path.iterdir()) == []


@needs_killers
def test_killers_that_look_like_runs_do_not_stop_a_folder(model, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for killer in KILLERS[:3]:
        disguised(source / f"a_{killer.name}", killer)
    shutil.copy(KILLERS[2], source)
    compressed(xa_file(source / "z_good.dcm", noise_frames(3, (40, 48))), COMPRESSED["RLE"])
    ended = subprocess.run(
        [sys.executable, "-m", "FluoroDenoiseLib", "denoise", str(source), str(target), "--model", model, "--device", "cpu"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 3 and "Traceback" not in ended.stderr
    assert len({line.strip() for line in ended.stdout.splitlines() if "failed with code 3" in line}) == 4
    assert [path.name for path in target.glob("*.dcm")] == ["z_good.dcm"]
    assert np.stack(list(read_run(target / "z_good.dcm").frames)).shape == (3, 40, 48)
    assert pydicom.dcmread(target / "z_good.dcm").ImageType[0] == "DERIVED"
