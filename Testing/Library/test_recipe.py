import json

import pytest

from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.recipe import (
    PretrainRecipe, StudentRecipe, TeacherRecipe, UnsupervisedRecipe, load_recipe, recipe_from_dict, recipe_to_dict, save_recipe,
)


@pytest.mark.parametrize("recipe", [PretrainRecipe(widths=(8, 16), tool_weight=2.0), TeacherRecipe(width=16, blind=False),
                                    StudentRecipe(flow=False, edge=0.0), UnsupervisedRecipe(accumulate=4)])
def test_a_recipe_reads_back_the_same(recipe, tmp_path):
    save_recipe(recipe, tmp_path / "recipe.json")
    assert load_recipe(tmp_path / "recipe.json") == recipe


def test_a_misspelt_field_is_refused_by_name():
    with pytest.raises(ModelError, match="'stesp'"):
        recipe_from_dict({"kind": "teacher", "stesp": 10})


@pytest.mark.parametrize("values", [{"steps": "many"}, {"steps": 1.5}, {"widths": [8, "a"]}, {"blind": 1}])
def test_a_value_of_the_wrong_type_is_refused_by_name(values):
    kind = "teacher" if "blind" in values else "pretrain"
    with pytest.raises(ModelError, match=next(iter(values))):
        recipe_from_dict({"kind": kind, **values})


@pytest.mark.parametrize("values", [{"steps": 0}, {"batch": -1}, {"accumulate": 0}, {"preview_every": -1}, {"ema_decay": 1.0}])
def test_a_number_that_makes_no_training_is_refused_by_name(values):
    with pytest.raises(ModelError, match=next(iter(values))):
        recipe_from_dict({"kind": "student", **values})


def test_what_is_no_recipe_is_refused_with_its_file(tmp_path):
    for content in ("{", "[]", json.dumps({"kind": "magic"})):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ModelError):
            load_recipe(tmp_path / "bad.json")
    with pytest.raises(ModelError, match="absent.json"):
        load_recipe(tmp_path / "absent.json")


def test_the_kind_stands_first_in_the_file():
    assert next(iter(recipe_to_dict(TeacherRecipe()))) == "kind"
