"""A deeper refiner that begins as a trained one: `python docs/deepen_model.py MODEL OUT BLOCKS`.

MODEL and OUT are folders. Every level gets residual blocks until it has BLOCKS of them. What a new one adds is zero at first, so OUT computes what
MODEL does; training goes on from there (`fluorodenoise train RECIPE --start OUT`).
"""

import sys
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.model_folder import build_network, load_model, save_model
from FluoroDenoiseLib.recipe import recipe_from_dict

if __name__ == "__main__":
    model = load_model(sys.argv[1], choose("cpu"))
    recipe = replace(recipe_from_dict(model.card["recipe"]), blocks=int(sys.argv[3]))
    torch.manual_seed(recipe.seed)
    network = build_network(recipe)
    stored = safetensors.torch.load_file(Path(sys.argv[1]) / "weights.safetensors")
    trained = {name: tensor.float() for name, tensor in stored.items()}
    unknown = network.load_state_dict(trained, strict=False).missing_keys
    weights = network.state_dict()
    for name in unknown:
        if ".second." in name:
            weights[name].zero_()
    save_model(sys.argv[2], weights, recipe, {"data": f"{model.sha256[:12]}, with {recipe.blocks} blocks a level"})
