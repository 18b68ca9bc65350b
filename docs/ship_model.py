"""Put a trained model among the shipped ones: `python docs/ship_model.py TRAINED NAME`.

Its weights are rounded to float16, by 0.05 % at most, and so stored in half the space; they are computed with as float32 like
any other. The largest change is printed.
"""

import json
import sys
from pathlib import Path

import safetensors.torch

from FluoroDenoiseLib.model_folder import SHIPPED, save_model
from FluoroDenoiseLib.recipe import recipe_from_dict

if __name__ == "__main__":
    trained, folder = Path(sys.argv[1]), SHIPPED / sys.argv[2]
    card = json.loads((trained / "model.json").read_text(encoding="utf-8"))
    weights = safetensors.torch.load_file(trained / "weights.safetensors")
    stored = {name: tensor.half().float() for name, tensor in weights.items()}
    if not all(bool(tensor.isfinite().all()) for tensor in stored.values()):
        sys.exit("A weight is beyond 65504, the largest float16; ship it as float32.")
    kept = {name: value for name, value in card.items() if name not in ("format", "recipe", "weights_sha256", "scores", "safety")}
    sha256 = save_model(folder, stored, recipe_from_dict(card["recipe"]), {**kept, "name": sys.argv[2]})
    error = max(float((stored[name] - tensor).abs().max()) for name, tensor in weights.items())
    print(f"{folder.name}: {sha256[:12]}, {(folder / 'weights.safetensors').stat().st_size / 1e6:.1f} MB, no weight rounded by more than {error:.1e}")
