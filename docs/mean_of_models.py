"""The mean of two models of one network, weight by weight: `python docs/mean_of_models.py A B OUT [SHARE]`.

SHARE: of B, 0 to 1, or a little beyond; one half if not given. The card is that of B, and says of what the weights are the mean.
"""

import sys
from pathlib import Path

import safetensors.torch
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.model_folder import load_model, save_model
from FluoroDenoiseLib.recipe import recipe_from_dict

if __name__ == "__main__":
    folders = sys.argv[1:3]
    first, second = (load_model(folder, choose("cpu")) for folder in folders)
    files = (safetensors.torch.load_file(Path(folder) / "weights.safetensors") for folder in folders)
    weights = [{name: tensor.float() for name, tensor in one.items()} for one in files]
    share = float(sys.argv[4]) if len(sys.argv) > 4 else 0.5
    mean = {name: torch.lerp(weights[0][name], weights[1][name], share) for name in weights[0]}
    kept = {name: value for name, value in second.card.items() if name not in ("format", "name", "recipe", "weights_sha256", "scores", "safety")}
    card = {**kept, "mean_of": {first.sha256: 1 - share, second.sha256: share}}
    save_model(sys.argv[3], mean, recipe_from_dict(second.card["recipe"]), card)
