import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from FluoroDenoiseLib.model_folder import shipped_models

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "FluoroDenoiseLib"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
CMAKE = (LIBRARY / "CMakeLists.txt").read_text(encoding="utf-8")
INSTALLED_AS = {"PIL": "pillow", "pywt": "pywavelets", "skimage": "scikit-image", "gdcm": "python-gdcm", "openjpeg": "pylibjpeg-openjpeg",
                "jpeg_ls": "pyjpegls", "cv2": "opencv-python-headless"}
INSTALLED_BY_THE_USER = {"bm3d", "bm4d"}  # see the README: their licence is not ours to pass on


def cmake_list(name):
    return re.search(rf"set\({name}\n(.*?)\n?  \)", CMAKE, re.DOTALL)[1].split()


def code_after(comment):
    """The first code block of the README after a comment."""
    return README.split(comment + "\n", 1)[1].split("```", 2)[1].partition("\n")[2]


def requirements():
    """The packages that pyproject.toml names, in lower case."""
    lines = re.findall(r'^  "([A-Za-z0-9_.-]+)[^"]*"', PYPROJECT, re.MULTILINE)
    return {name.lower() for name in lines} - {"fluorodenoise"}


def test_slicer_installs_every_file_of_the_library():
    scripts = {path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.py")}
    places = [LIBRARY / "models", LIBRARY / "evaluation" / "readers_page"]
    resources = {path.relative_to(LIBRARY).as_posix() for place in places for path in place.rglob("*") if path.is_file()}
    resources |= {path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.npz")}
    assert set(cmake_list("MODULE_PYTHON_SCRIPTS")) == scripts, "list every .py in FluoroDenoiseLib/CMakeLists.txt"
    assert set(cmake_list("MODULE_PYTHON_RESOURCES")) == resources, "list every model file and page in FluoroDenoiseLib/CMakeLists.txt"


def test_every_package_that_is_imported_is_required():
    imported = set()
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    imported -= sys.stdlib_module_names | {"FluoroDenoiseLib"} | INSTALLED_BY_THE_USER
    assert {INSTALLED_AS.get(name, name).lower() for name in imported} <= requirements()


@pytest.mark.parametrize("package", sorted(requirements()))
def test_every_requirement_has_a_tested_version_and_a_reason(package):
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    assert re.search(rf"^{re.escape(package)}==", constraints, re.MULTILINE)
    lines = [line for line in PYPROJECT.splitlines() if re.match(rf'  "{package}\b', line, re.IGNORECASE)]
    assert package == "pytest" or "#" in lines[0]


def test_the_installed_package_brings_the_models():
    folders = {path.name for path in (LIBRARY / "models").iterdir() if (path / "model.json").exists()}
    assert set(shipped_models()) == folders


def test_ci_runs_the_readmes_own_commands():
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for name, end in (("denoise", "--compare out/compare.png --overwrite"), ("test", "&& pytest")):
        assert f"readme_command {name})" in run
        found = re.search(r"^readme_command\(\) \{\n.*?^\}", run, re.MULTILINE | re.DOTALL)[0]
        command = subprocess.run(["bash", "-c", f"root={ROOT}\n{found}\nreadme_command {name}"], capture_output=True, text=True)
        assert command.stdout == code_after(f"<!-- ci: {name} -->") and command.stdout.rstrip().endswith(end)


@pytest.mark.skipif("quality" not in shipped_models(), reason="no weights are here")
def test_the_readmes_python_works():
    names = {"frames": np.random.default_rng(0).normal(500, 20, (3, 32, 40)).astype(np.uint16)}
    exec(code_after("<!-- test: python -->"), names)
    assert names["clean"].shape == (3, 32, 40) and names["clean"].dtype == np.float32


def test_every_file_that_the_readme_points_to_exists():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_samples_are_small():
    samples = ROOT / "docs" / "samples"
    assert sum(path.stat().st_size for path in samples.iterdir()) < 6e6


def test_the_icon_is_slicers_size_and_transparent_outside():
    icon = Image.open(ROOT / "FluoroDenoise.png")
    assert icon.size == (128, 128) and icon.mode == "RGBA" and icon.getpixel((0, 0))[3] == 0


def test_the_licence_is_apache_2():
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence and "Version 2.0, January 2004" in licence and 'license = "Apache-2.0"' in PYPROJECT
