"""A model on disk: weights.safetensors, model.json and the page MODEL.md in one folder, and back into a ready network.

model.json holds the recipe, from which the network is built, and the SHA-256 of the weights, which is checked before a
byte of them is parsed. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.formats.whole_file import whole_file
from FluoroDenoiseLib.model_card import model_markdown
from FluoroDenoiseLib.networks.ct_generator import CtGenerator
from FluoroDenoiseLib.networks.ct_slices_net import CtSlicesNet
from FluoroDenoiseLib.networks.msr2au_net import MSR2AUNet
from FluoroDenoiseLib.networks.refiner import RefinerUNet
from FluoroDenoiseLib.networks.student_unet import StudentUNet
from FluoroDenoiseLib.recipe import (
    CtCycleRecipe, CtSlicesRecipe, PretrainRecipe, Recipe, StudentRecipe, TeacherRecipe, UnsupervisedRecipe, recipe_from_dict, recipe_to_dict,
)
from FluoroDenoiseLib.tiling import Tiled

FORMAT = 1
SHIPPED = Path(__file__).parent / "models"


@dataclass(frozen=True)
class Model:
    """A network ready to restore, and the card that says where it comes from."""

    restorer: Tiled
    card: dict
    name: str
    sha256: str


def build_network(recipe: Recipe) -> nn.Module:
    """The untrained network of a recipe."""
    match recipe:
        case PretrainRecipe() | UnsupervisedRecipe():
            return RefinerUNet(recipe.radius, recipe.guides, recipe.widths, recipe.blocks, recipe.turned)
        case TeacherRecipe():
            return MSR2AUNet(recipe.width, recipe.levels, recipe.recurrences, recipe.norm, recipe.frames, recipe.blind)
        case StudentRecipe():
            return StudentUNet(recipe.width, recipe.levels, recipe.norm)
        case CtSlicesRecipe():
            return CtSlicesNet(recipe.radius, recipe.widths, recipe.blocks)
        case CtCycleRecipe():
            return CtGenerator(recipe.width, recipe.blocks, recipe.norm)
    raise TypeError(f"no network is known for {type(recipe).__name__}")


def shipped_models() -> tuple[str, ...]:
    """The names that `load_model` knows without a path."""
    return tuple(sorted(card.parent.name for card in SHIPPED.glob("*/model.json")))


def save_model(folder: str | Path, weights: dict[str, Tensor], recipe: Recipe, card: dict) -> str:
    """Write a model folder and return the SHA-256 of its weights.

    card: what else a user should know (data, facts, scores, versions); "recipe" and "weights_sha256" are added here.
    Weights that float16 holds exactly, such as those of shipped models, are stored so, in half the space. Each file is
    written under a temporary name and renamed, the weights first.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    blob = safetensors.torch.save(_compact({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}))
    sha256 = hashlib.sha256(blob).hexdigest()
    card = {"format": FORMAT, "name": recipe.name, "recipe": recipe_to_dict(recipe), "weights_sha256": sha256, **card}
    write_whole(folder / "weights.safetensors", blob)
    write_card(folder, card)
    return sha256


def _compact(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights as float16 if that changes none of them, otherwise as they are."""
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    return half if all(torch.equal(half[name].to(tensor.dtype), tensor) for name, tensor in weights.items()) else weights


def write_card(folder: Path, card: dict) -> None:
    """Write model.json, and MODEL.md from it."""
    write_whole(folder / "model.json", (json.dumps(card, indent=2) + "\n").encode())
    write_whole(folder / "MODEL.md", model_markdown(card).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` at `path`, or nothing: a reader never sees a part of it."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def load_model(name_or_folder: str | Path, compute: Compute, tile: int | None = None) -> Model:
    """A shipped model by its name, or one's own by its folder, on the device of `compute`.

    ModelError, naming the folder, when a file is absent, altered, or made for another version.
    """
    folder = SHIPPED / name_or_folder if str(name_or_folder) in shipped_models() else Path(name_or_folder)
    card = _read_card(folder)
    blob = _read_weights(folder, card)
    network = _network(folder, recipe_from_dict(card["recipe"]), blob)
    network = network.to(compute.torch_device).eval().requires_grad_(False)
    return Model(Tiled(network, tile=tile), card, card["name"], card["weights_sha256"])


def _network(folder: Path, recipe: Recipe, blob: bytes) -> nn.Module:
    """The network of a recipe with these weights; ModelError unless they are those of just this network, and finite.

    Shapes are compared before memory is taken: a card may ask for any size, the weights' own size is bounded by the file.
    """
    unfit = ModelError(f"The weights in {folder} do not fit the network of its recipe; train the model again.")
    try:
        weights = safetensors.torch.load(blob)
        repeated = (len(getattr(recipe, "widths", ())), *(getattr(recipe, name, 0) for name in ("blocks", "levels", "recurrences")))
        if max(repeated) > len(weights):
            raise unfit
        with torch.device("meta"):
            needed = build_network(recipe).state_dict()
        if _shapes(needed) != _shapes(weights):
            raise unfit
        network = build_network(recipe)
        network.load_state_dict(weights, strict=True)
    except ModelError:
        raise
    except Exception as error:  # a recipe can ask for what torch refuses in many ways
        raise unfit from error
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise ModelError(f"The weights in {folder} hold values that are not finite; copy the model folder again, or train it again.")
    return network


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, tuple]:
    return {name: (tensor.shape, tensor.is_floating_point()) for name, tensor in weights.items()}


def _read_card(folder: Path) -> dict:
    path = folder / "model.json"
    if not path.is_file():
        raise ModelError(f"{folder} is no model: it has no model.json; shipped are {', '.join(shipped_models()) or 'none'}.")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        version = card["format"]
        name, recipe, sha256 = card["name"], card["recipe"], card["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is not a model card; copy the model folder again.") from error
    if type(version) is not int or version != FORMAT:
        said = str(version)[:20]
        raise ModelError(f"{path} has format {said}, this version reads format {FORMAT}; update FluoroDenoise or the model.")
    if not (isinstance(recipe, dict) and isinstance(sha256, str) and isinstance(name, str) and 0 < len(name) <= 64 and name.isprintable()):
        raise ModelError(f"{path} is not a model card: its name, recipe or checksum is none; copy the model folder again.")
    return card


def _read_weights(folder: Path, card: dict) -> bytes:
    path = folder / "weights.safetensors"
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); copy the model folder again.") from error
    if hashlib.sha256(blob).hexdigest() != card["weights_sha256"]:
        raise ModelError(f"{path} is not the file that model.json describes (SHA-256 differs); copy the model folder again.")
    return blob
