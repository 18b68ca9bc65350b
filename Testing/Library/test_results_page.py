import json

import pytest
from PIL import Image

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.aims import aims_table
from FluoroDenoiseLib.evaluation.results_page import README_MARKS, pivot, readme_table, write_page, write_readme
from FluoroDenoiseLib.evaluation.rows import Row, summarise, write_rows

SCENES = ("q8", "q30", "q120")
METHODS = {"noisy": 20.0, "BM3D": 30.0, "fast": 31.5, "quality": 33.5}


def rows(scenes=SCENES, seeds=2):
    return [Row(scene, seed, method, "", psnr + seed, psnr - 1, 0.95, 0.9, 13.0 if method == "BM3D" else 0.5, 1.0, weights="")
            for scene in scenes for seed in range(seeds) for method, psnr in METHODS.items()]  # fmt: skip


@pytest.fixture
def out(tmp_path):
    """A folder as `evaluate` leaves it."""
    folder = tmp_path / "OUT"
    write_rows(rows(), folder)
    about = {"settings": {}, "commands": ["fluorodenoise evaluate --scenes main --out OUT"], "seconds": 120.0, "groups": ["main"], "seeds": 2,
             "models": {"quality": "ab" * 32}, "remarks": ["BM4D is left out."], "versions": {"torch": "2.13.0"}}
    case = {"scene": "q8", "seed": 1, "frame": 3, "method": "quality", "other": "BM3D", "gain_db": 3.5}
    (folder / "session.json").write_text(json.dumps(about))
    (folder / "cases.json").write_text(json.dumps({"best": case, "worst": {**case, "gain_db": -0.5}}))
    for name in ("best.png", "worst.png"):
        Image.new("L", (8, 8)).save(folder / name)
    return folder


def test_the_page_shows_each_table_with_its_command_versions_and_cases(out, tmp_path):
    page = tmp_path / "RESULTS.md"
    write_page([out], page)
    text = page.read_text()
    assert "34.00 (0.50)" in text and "```sh\nfluorodenoise evaluate --scenes main --out OUT\n```" in text
    assert "BM4D is left out." in text and "torch 2.13.0" in text and "`quality` abababababab" in text
    assert "+3.5 dB, scene q8, seed 1" in text and "-0.5 dB" in text and (tmp_path / "results" / "best.png").is_file()
    assert "nan" not in text


def test_the_best_of_several_evaluations_is_shown(out, tmp_path):
    better = tmp_path / "BETTER"
    better.mkdir()
    for path in out.iterdir():
        (better / path.name).write_bytes(path.read_bytes())
    cases = json.loads((better / "cases.json").read_text())
    (better / "cases.json").write_text(json.dumps({"best": {**cases["best"], "gain_db": 9.0}}))
    write_page([out, better], tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    assert "+9.0 dB" in text and "+3.5 dB" not in text and "-0.5 dB" in text


def test_a_section_of_others_is_taken_over_with_its_pictures(out, tmp_path):
    other = tmp_path / "speed"
    other.mkdir()
    (other / "section.md").write_text("## Speed\n\n![frames a second](fps.png)\n")
    Image.new("L", (8, 8)).save(other / "fps.png")
    write_page([out, other], tmp_path / "RESULTS.md")
    assert "![frames a second](results/speed_fps.png)" in (tmp_path / "RESULTS.md").read_text()
    assert (tmp_path / "results" / "speed_fps.png").is_file()


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither"):
        write_page([tmp_path], tmp_path / "RESULTS.md")
    write_rows(rows(), tmp_path)
    with pytest.raises(InputError, match="session.json"):
        write_page([tmp_path], tmp_path / "RESULTS.md")


def test_the_readmes_table_stands_between_its_marks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n" + "\nold\n".join(README_MARKS) + "\nafter\n")
    assert write_readme(readme, summarise(rows()))
    text = readme.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "**`quality`**" in text and "34.0 / 32.5 / 0.95" in text and "0.038" in text
    readme.write_text("no marks")
    assert not write_readme(readme, summarise(rows())) and readme.read_text() == "no marks"


def test_the_readmes_table_needs_its_three_doses():
    assert readme_table(summarise(rows(("q8", "q30")))) == ""


def test_aims_are_judged_by_what_was_measured():
    told = aims_table([[], summarise(rows())])
    assert "| quality above BM3D at 8 quanta, dB" in told and "3.50" in told and "efficiency" not in told
    assert [line.split("|")[4].strip() for line in told.splitlines() if "times BM3D" in line] == ["yes", "yes"]
    worse = aims_table([summarise([row for row in rows() if row.method != "quality"]
                                  + [Row("q8", 0, "quality", "", 31.0, 31.0, 0.5, 0.9, 0.5, 1.0)])])  # fmt: skip
    assert "**no**" in worse
    assert aims_table([]) == ""


def test_a_pivot_has_a_column_a_scene():
    lines = pivot(summarise(rows()), "psnr", 1).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == ["method", *SCENES, "mean"]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["noisy", "20.5", "20.5", "20.5", "20.5"]
    assert pivot(summarise(rows()), "disc_contrast", 2) == ""
