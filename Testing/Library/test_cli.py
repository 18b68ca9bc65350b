import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from FluoroDenoiseLib import cli
from FluoroDenoiseLib.formats import read_run
from FluoroDenoiseLib.model_folder import build_network, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe, recipe_to_dict

ROOT = Path(__file__).resolve().parents[2]
TINY = PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1, steps=2, batch=1, patch=32, warmup_steps=1,
                      checkpoint_every=1, precision="float32")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder that needs no training: an untrained refiner averages by inverse variance."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, build_network(TINY).state_dict(), TINY, {"data": "none"})
    return str(folder)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A folder with one simulated XA run and its truth, made by the command itself."""
    folder = tmp_path_factory.mktemp("sample")
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"size": [48, 56], "frames": 5, "tools": ["guidewire"]}))
    assert cli.main(["simulate", str(folder / "run.dcm"), "--settings", str(settings), "--seed", "4"]) == 0
    return folder


def noisy_file(path, count=4, height=40, width=48):
    np.save(path, np.random.default_rng(0).normal(1000, 30, (count, height, width)).astype(np.uint16))
    return path


def sentence(capsys):
    """The one line on standard error."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fluorodenoise: ")]
    assert len(lines) == 1
    return lines[0]


def leftovers(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_simulated_run_is_denoised_compared_and_subtracted(sample, model, tmp_path, capsys):
    out, picture, residual = tmp_path / "clean.dcm", tmp_path / "compare.png", tmp_path / "removed.nrrd"
    assert cli.main(["denoise", str(sample / "run.dcm"), str(out), "--model", model, "--device", "cpu",
                     "--compare", str(picture), "--residual", str(residual)]) == 0
    noisy, clean, removed = (np.stack(list(read_run(path).frames)).astype(float) for path in (sample / "run.dcm", out, residual))
    truth = np.stack(list(read_run(sample / "run_truth.nrrd").frames))
    assert np.std(clean - truth) < 0.7 * np.std(noisy - truth)
    np.testing.assert_allclose(noisy - removed, clean, atol=0.51)  # the file is rounded, the residual is not
    assert Image.open(picture).width > 3 * 56
    printed = capsys.readouterr().out
    for fact in ("5 frames of 56x48", "noise: variance", "device: cpu in float32", "pixels clipped", "mean changed by"):
        assert fact in printed
    assert leftovers(tmp_path) == ["clean.dcm", "compare.png", "removed.nrrd"]


def test_strength_zero_gives_the_same_file_back(model, tmp_path):
    source = noisy_file(tmp_path / "in.npy")
    assert cli.main(["denoise", str(source), str(tmp_path / "out.npy"), "--model", model, "--strength", "0"]) == 0
    assert (tmp_path / "out.npy").read_bytes() == source.read_bytes()


def test_a_residual_can_be_an_array(model, tmp_path):
    source = noisy_file(tmp_path / "in.npy")
    assert cli.main(["denoise", str(source), str(tmp_path / "out.npy"), "--model", model,
                     "--noise", "0,0,30", "--residual", str(tmp_path / "removed.npy")]) == 0
    removed = np.load(tmp_path / "removed.npy")
    assert removed.dtype == np.float32 and removed.min() < 0 < removed.max()
    np.testing.assert_allclose(np.load(source) - removed, np.load(tmp_path / "out.npy"), atol=0.51)


def test_one_bad_file_does_not_stop_a_folder(model, tmp_path, capsys):
    runs, out = tmp_path / "runs", tmp_path / "out"
    (runs / "deep").mkdir(parents=True)
    noisy_file(runs / "a.npy")
    (runs / "b.npy").write_bytes(b"not an array")
    noisy_file(runs / "deep" / "c.npy")
    arguments = ["denoise", str(runs), str(out), "--model", model]
    assert cli.main(arguments) == 3
    assert (out / "a.npy").exists() and (out / "deep" / "c.npy").exists() and not (out / "b.npy").exists()
    printed = capsys.readouterr()
    assert "2 of 3 runs denoised" in printed.out and "run 2 of 3: failed with code 3: run 2 is not a NumPy file" in printed.out
    assert "b.npy" not in printed.out + printed.err
    assert cli.main([*arguments, "--names"]) == 3
    printed = capsys.readouterr().out
    assert re.search(r"already there +2 ", printed) and "b.npy (run 2 of 3): failed with code 3: b.npy is not a NumPy file" in printed
    (runs / "b.npy").unlink()
    assert cli.main(arguments) == 0


@pytest.mark.parametrize("arguments, code, words", [
    (["{in}", "{tmp}/out.dcm"], 2, "same kind"),
    (["{in}", "{tmp}/out.npy", "--compare", "{tmp}/c.jpg"], 2, ".png"),
    (["{in}", "{tmp}/out.npy", "--residual", "{tmp}/r.tif"], 2, ".npy or .nrrd"),
    (["{in}", "{tmp}/out.npy", "--residual", "{tmp}/out.npy"], 2, "different"),
    (["{tmp}", "{tmp}"], 2, "another folder"),
    (["{tmp}/absent.npy", "{tmp}/out.npy"], 3, "does not exist"),
    (["{in}", "{tmp}/out.npy", "--compare", "{tmp}/c.png", "--compare-frame", "9"], 3, "frames 0 to 3"),
    (["{in}", "{tmp}/out.npy", "--model", "{tmp}"], 7, "model.json"),
    (["{in}", "{in}", "--overwrite"], 8, "never changed"),
    (["{in}", "{tmp}/here.npy"], 8, "--overwrite"),
    (["{in}", "{tmp}/no/such/out.npy"], 8, "does not exist"),
])  # fmt: skip
def test_a_refusal_is_one_sentence_with_its_code(model, tmp_path, capsys, arguments, code, words):
    noisy_file(tmp_path / "in.npy")
    (tmp_path / "here.npy").write_bytes(b"mine")
    before = leftovers(tmp_path)
    filled = [argument.format(**{"in": tmp_path / "in.npy"}, tmp=tmp_path) for argument in arguments]
    assert cli.main(["denoise", "--model", model, *filled]) == code
    assert words in sentence(capsys)
    assert leftovers(tmp_path) == before and (tmp_path / "here.npy").read_bytes() == b"mine"


@pytest.mark.parametrize("arguments", [
    [], ["denoise"], ["clean"], ["denoise", "a", "b", "--strength", "2"], ["denoise", "a", "b", "--noise", "1,2"],
    ["denoise", "a", "b", "--device", "gpu"], ["denoise", "a", "b", "--tile", "x"], ["simulate", "a", "--seed", "-1"],
])  # fmt: skip
def test_wrong_usage_is_one_sentence_with_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "--help" in sentence(capsys)


def test_a_fault_of_ours_is_code_1_and_its_traceback_is_for_those_who_ask(monkeypatch, capsys):
    def fail(options):
        raise KeyError("broken")

    monkeypatch.setitem(cli.COMMANDS, "probe", fail)
    assert cli.main(["probe"]) == 1
    assert "fault of FluoroDenoise" in sentence(capsys)
    monkeypatch.setenv("FLUORODENOISE_TRACEBACK", "1")
    assert cli.main(["probe"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_wrong_settings_are_refused_by_name(tmp_path, capsys):
    settings = tmp_path / "settings.json"
    settings.write_text('{"quantum": 3}')
    assert cli.main(["simulate", str(tmp_path / "run.dcm"), "--settings", str(settings)]) == 3
    assert "'quantum'" in sentence(capsys)
    assert leftovers(tmp_path) == ["settings.json"]


def test_simulated_runs_of_a_folder_differ_and_can_be_trained_on(tmp_path, model, capsys):
    settings, recipe = tmp_path / "settings.json", tmp_path / "recipe.json"
    settings.write_text('{"size": [48, 48], "frames": 3}')
    recipe.write_text(json.dumps(recipe_to_dict(TINY)))
    runs, out = str(tmp_path / "runs"), tmp_path / "trained"
    for count in ("1", "2"):
        assert cli.main(["simulate", runs, "--count", count, "--settings", str(settings)]) == 0
    assert "1 were there already" in capsys.readouterr().out
    first, second = (np.load(tmp_path / "runs" / f"run_000_0000{index}" / "noisy.npy") for index in (0, 1))
    assert first.shape == (3, 48, 48) and not np.array_equal(first, second)
    assert cli.main(["train", str(recipe), "--runs", runs, "--out", str(out)]) == 0
    assert "step 2 of 2" in capsys.readouterr().out
    assert Image.open(out / "train.png").size > (200, 200)
    assert cli.main(["denoise", f"{runs}/run_000_00000/noisy.npy", str(tmp_path / "out.npy"), "--model", str(out)]) == 0


def test_an_evaluation_prints_a_table_and_writes_it(model, tmp_path, capsys):
    out = tmp_path / "report"
    assert cli.main(["evaluate", "--presets", model, "--scenes", "q30", "--seeds", "1", "--size", "32", "--frames", "5",
                     "--without", "BM3D", "BM4D", "--device", "cpu", "--out", str(out)]) == 0
    assert "| q30" in capsys.readouterr().out and "| tiny" in (out / "table.md").read_text()
    assert Image.open(out / "best.png").size[0] > 600


@pytest.mark.parametrize("runs", ["absent", "empty"])
def test_a_training_without_runs_is_refused(tmp_path, runs, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "recipe.json").write_text(json.dumps(recipe_to_dict(TINY)))
    assert cli.main(["train", str(tmp_path / "recipe.json"), "--runs", str(tmp_path / runs), "--out", str(tmp_path / "out")]) == 3
    assert runs in sentence(capsys)


def test_help_comes_without_torch():
    code = "import sys; from FluoroDenoiseLib import cli; from FluoroDenoiseLib.cli_arguments import make_parser; make_parser().format_help(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(model, tmp_path, number):
    source = noisy_file(tmp_path / "in.npy", count=5000, height=64, width=64)
    (tmp_path / "out").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "FluoroDenoiseLib", "denoise", str(source), str(tmp_path / "out" / "out.npy"),
         "--model", model, "--residual", str(tmp_path / "out" / "r.npy")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # a shell's background jobs are born deaf to interrupts
    for line in process.stdout:
        if "device:" in line:
            break
    time.sleep(0.3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 6
    assert "Cancelled" in errors and "Traceback" not in errors
    assert leftovers(tmp_path / "out") == []


def test_a_reader_that_goes_away_does_not_stop_the_work(model, tmp_path):
    source = noisy_file(tmp_path / "in.npy")
    process = subprocess.Popen(
        [sys.executable, "-m", "FluoroDenoiseLib", "denoise", str(source), str(tmp_path / "out.npy"), "--model", model],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=300) == 0, errors
    assert "Traceback" not in errors and (tmp_path / "out.npy").exists()
