"""The module as users have it: installed by the Extensions Manager, and as a folder dragged onto Slicer."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Runs in a process of its own, so that nothing of this checkout is imported by accident.
OPEN_AND_DENOISE = """
import sys
from pathlib import Path
sys.path.insert(0, {testing!r})
import host
host.start()
import slicer
module, instance = host.load_module("FluoroDenoise", {folder!r})
slicer.app.emit("startupCompleted()")
heavy = {{"torch", "pywt", "pydicom", "SimpleITK", "FluoroDenoiseLib"}} & set(sys.modules)
assert not heavy, f"opening the module imported {{heavy}}"
widget = host.make_widget(module)
from FluoroDenoiseScene import sample_data, sequences, worker_client
for imported in (module, sample_data, sequences, worker_client):
    assert Path(imported.__file__).is_relative_to({base!r}), imported.__file__
assert Path(worker_client.worker_path()).is_relative_to({base!r}), worker_client.worker_path()
run = sample_data.load_sample()
result = widget.logic.process(run, preset="fast", device="cpu", firstFrame=0, lastFrame=2)
assert result.GetNumberOfDataNodes() == 3
assert "torch" not in sys.modules and "FluoroDenoiseLib" not in sys.modules
host.close_widget(widget)
print("denoised", result.GetAttribute("FluoroDenoise.Model"))
"""


def install(folder: Path, target: Path) -> None:
    """Copy what the folder's CMakeLists.txt lists, as Slicer's build does."""
    text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
    name = re.search(r"set\(MODULE_NAME (\w+)\)", text)[1]
    for files in re.findall(r"set\(MODULE_PYTHON_(?:SCRIPTS|RESOURCES)\n(.*?)\n?  \)", text, re.DOTALL):
        for file in files.replace("${MODULE_NAME}", name).split():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / file, target / file)


def installed(base: Path) -> Path:
    modules = base / "lib" / "Slicer-5.12" / "qt-scripted-modules"
    install(ROOT / "FluoroDenoise", modules)
    install(ROOT / "FluoroDenoiseLib", modules / "FluoroDenoiseLib")
    return modules


def dragged_in(base: Path) -> Path:
    for folder in ("FluoroDenoise", "FluoroDenoiseLib"):
        shutil.copytree(ROOT / folder, base / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return base / "FluoroDenoise"


@pytest.mark.parametrize("layout", [installed, dragged_in])
def test_the_module_opens_and_denoises_from(layout, tmp_path):
    folder = layout(tmp_path)
    script = OPEN_AND_DENOISE.format(testing=str(Path(__file__).parent), folder=str(folder), base=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0 and ended.stdout.strip().endswith("denoised fast"), ended.stdout + ended.stderr
