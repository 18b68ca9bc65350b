"""Model folders that were damaged or made to do harm: refused in one sentence, and no code of theirs ever runs."""

import ast
import hashlib
import json
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from dicom_examples import noise_frames, xa_file
from FluoroDenoiseLib import cli
from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.model_folder import build_network, load_model, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe, StudentRecipe, TeacherRecipe

CPU = choose("cpu")
SMALL = [
    PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1), TeacherRecipe(name="tiny", width=4, levels=2, frames=3),
    StudentRecipe(name="tiny", width=8, levels=2),
]  # fmt: skip
HOSTILE = [
    None, True, -1, 0, 1, 2**20, 2**40, 10**30, 0.5, float("nan"), float("inf"), "", "x" * 3000, "\0", "\ud800", "../../x", "none", [], [0],
    [-1, 8], [8, 8, 8], [2**40, 8], [8] * 5000, {}, {"kind": "pretrain"}, "quality", "batch",
]  # fmt: skip
LONGEST_S = 60  # a card that makes the loading of so small a file take this long is a way to stop us


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    save_model(tmp_path / "model", build_network(SMALL[0]).state_dict(), SMALL[0], {"data": "none"})
    return tmp_path / "model"


def fate(folder):
    """The model, or None if it was refused as unusable; anything else passes through and fails the test."""
    begin = time.monotonic()
    try:
        return load_model(folder, CPU)
    except ModelError as error:
        assert "\n" not in str(error), error
        return None
    finally:
        assert time.monotonic() - begin < LONGEST_S


def damaged(blob, random):
    """The bytes with some exchanged, cut, put in or taken out; most of it in the header, which is what is parsed."""
    blob, last = bytearray(blob), len(blob) if random.random() < 0.3 else 1200
    how, place = int(random.integers(5)), int(random.integers(min(last, len(blob))))
    if how == 0:
        for other in random.integers(0, min(last, len(blob)), 4):
            blob[other] = random.integers(256)
    elif how == 1:
        del blob[place:]
    elif how == 2:
        blob[place:place] = random.bytes(int(random.integers(1, 30)))
    elif how == 3:
        del blob[place : place + int(random.integers(1, 30))]
    else:
        blob[:8] = int(random.choice([0, 1, 2**31, 2**62, len(blob) - 8, len(blob)])).to_bytes(8, "little")
    return bytes(blob)


def put(folder, blob):
    """Weights in place, and their sum in the card: what one who means harm would do."""
    (folder / "weights.safetensors").write_bytes(blob)
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "weights_sha256": hashlib.sha256(blob).hexdigest()}))


@pytest.mark.parametrize("count", [500, pytest.param(5000, marks=pytest.mark.slow)])
def test_every_mutant_of_the_weights_is_refused(folder, count):
    random, whole = np.random.default_rng(0), (folder / "weights.safetensors").read_bytes()
    refused = 0
    for _ in range(count):
        mutant = damaged(whole, random)
        (folder / "weights.safetensors").write_bytes(mutant)
        refused += (fate(folder) is None) != (mutant == whole)
    assert refused == count


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_mutants_whose_sum_was_made_to_fit_are_refused_or_are_networks(folder, count):
    random, whole, loaded = np.random.default_rng(1), (folder / "weights.safetensors").read_bytes(), 0
    for _ in range(count):
        put(folder, damaged(whole, random))
        model = fate(folder)
        if model is not None:
            loaded += 1
            assert all(weights.dtype == torch.float32 for weights in model.restorer.restorer.parameters())
    assert loaded < count / 2


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("recipe", SMALL, ids=lambda recipe: recipe.kind)
def test_cards_with_any_value_anywhere_are_refused_or_read(tmp_path, recipe, every):
    save_model(tmp_path, build_network(recipe).state_dict(), recipe, {"data": "none"})
    card = json.loads((tmp_path / "model.json").read_text())
    states = [{**card, key: value} for key in card for value in HOSTILE]
    states += [{**card, "recipe": {**card["recipe"], key: value}} for key in [*card["recipe"], "unknown"] for value in HOSTILE]
    states += [{name: value for name, value in card.items() if name != key} for key in card]
    states += [{**card, "recipe": {name: value for name, value in card["recipe"].items() if name != key}} for key in card["recipe"]]
    for state in [*states, *HOSTILE][::every]:
        (tmp_path / "model.json").write_text(json.dumps(state))
        model = fate(tmp_path)
        assert model is None or isinstance(model.name, str) and len(model.name) <= 64


def test_cards_that_are_no_text_or_no_json_are_refused(folder):
    random, whole = np.random.default_rng(2), (folder / "model.json").read_bytes()
    for mutant in [b"", b"[" * 100_000, b'{"format": ' * 50_000, b"\xff\xfe\x00", *(damaged(whole, random) for _ in range(300))]:
        (folder / "model.json").write_bytes(mutant)
        fate(folder)


class Hostile:
    """Unpickled, it makes a file."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def test_no_pickle_is_ever_opened(folder, tmp_path):
    canary = tmp_path / "canary"
    torch.save({"weights": torch.zeros(3), "x": Hostile(canary)}, tmp_path / "hostile.pt")
    hostile = [pickle.dumps(Hostile(canary), protocol) for protocol in range(6)] + [(tmp_path / "hostile.pt").read_bytes()]
    whole = (folder / "weights.safetensors").read_bytes()
    for number, blob in enumerate(hostile * 7):
        # As they are, within a length as safetensors begins, and after sound weights.
        put(folder, [blob, len(blob).to_bytes(8, "little") + blob, whole + blob][number % 3])
        for name in ("weights.pt", "model.pkl", "weights.safetensors.pt", "checkpoint.pth"):
            (folder / name).write_bytes(blob)
        assert fate(folder) is None
    assert not canary.exists()


def test_weights_of_another_kind_or_size_are_refused(folder):
    sound = safetensors.torch.load((folder / "weights.safetensors").read_bytes())
    for change in ({"extra": torch.zeros(1)}, {name: tensor[..., :-1].contiguous() for name, tensor in list(sound.items())[:1]}):
        put(folder, safetensors.torch.save({**sound, **change}))
        assert fate(folder) is None
    put(folder, safetensors.torch.save(dict(list(sound.items())[1:])))
    assert fate(folder) is None


def test_a_recipe_that_asks_for_more_than_memory_is_refused_without_taking_it(folder):
    card = json.loads((folder / "model.json").read_text())
    for change in ({"widths": [2**20, 2**20]}, {"blocks": 10**9}, {"radius": 10**9}, {"widths": [8] * 100_000}):
        (folder / "model.json").write_text(json.dumps({**card, "recipe": {**card["recipe"], **change}}))
        assert fate(folder) is None


@pytest.mark.parametrize("version", [0, 2, 99, "1", None, [1], -1])
def test_any_other_format_is_refused_with_both_versions(folder, version):
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "format": version}))
    with pytest.raises(ModelError, match="format 1; update FluoroDenoise or the model"):
        load_model(folder, CPU)


def test_an_unusable_model_ends_the_command_with_code_7_and_nothing_is_written(folder, tmp_path, capsys):
    source, random = xa_file(tmp_path / "in.dcm", noise_frames(3)), np.random.default_rng(3)
    blob, before = (folder / "weights.safetensors").read_bytes(), sorted(os.listdir(tmp_path))
    for _ in range(20):
        (folder / "weights.safetensors").write_bytes(damaged(blob, random)[:-1])
        assert cli.main(["denoise", str(source), str(tmp_path / "out.dcm"), "--model", str(folder), "--device", "cpu"]) == 7
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1 and "Traceback" not in said and sorted(os.listdir(tmp_path)) == before




def dangers(path):
    """What in a file of ours could run what another file says."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.split(".")[0] in ("pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "zipfile", "tarfile"))
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("eval", "exec", "torch.load", "os.system", "os.popen") or called.endswith((".extractall", ".unpack_archive")):
                yield called
            yield from (f"{called}({keyword.arg}=...)" for keyword in node.keywords
                        if keyword.arg in ("shell", "allow_pickle") and ast.unparse(keyword.value) != "False")  # fmt: skip


def test_nothing_of_ours_runs_what_a_file_says_nor_unpacks_an_archive():
    root = Path(__file__).resolve().parents[2]
    files = [path for folder in ("FluoroDenoiseLib", "FluoroDenoise") for path in (root / folder).rglob("*.py")]
    assert len(files) > 100 and {path.name: found for path in files if (found := list(dangers(path)))} == {}
