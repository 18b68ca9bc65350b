"""Write MODEL.md of the shipped models from their model.json: `python docs/write_model_cards.py [SEED:COUNT ...]`.

SEED:COUNT names runs that `fluorodenoise simulate FOLDER --seed SEED --count COUNT --ct CT` makes; a card that does not say
what its model was trained on gets the range of bits, dose, frame rate and so on of those runs.
"""

import json
import sys
from pathlib import Path

from FluoroDenoiseLib.model_folder import write_card
from FluoroDenoiseLib.training.preparation import facts_of
from FluoroDenoiseLib.training.prepared_runs import summarise
from FluoroDenoiseLib.training.scenes import training_draws

MODELS = Path(__file__).resolve().parents[1] / "FluoroDenoiseLib" / "models"

if __name__ == "__main__":
    draws = [argument.split(":") for argument in sys.argv[1:]]
    facts = [facts_of(draw.settings) for seed, count in draws for draw in training_draws(int(count), int(seed), with_ct=True)]
    for path in sorted(MODELS.glob("*/model.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        if facts and "facts" not in card:
            card["facts"] = summarise(facts)
        write_card(path.parent, card)
        print(f"{path.parent.name}: MODEL.md is written; bits {card.get('facts', {}).get('bits', 'not known')}")
