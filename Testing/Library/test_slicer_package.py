"""What 3D Slicer's build, its extension index and an installed extension demand, checked without a Slicer."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "FluoroDenoise"
RESOURCES = MODULE / "Resources"
SCREENSHOTS = RESOURCES / "Screenshots"  # for web pages, not installed
TOP = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
ENTRY = json.loads((ROOT / "FluoroDenoise.json").read_text(encoding="utf-8"))
ENTRY_FIELDS = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies", "build_subdirectory",
                "dicom_support_rule", "enabled", "tier"}
ALWAYS_THERE = sys.stdlib_module_names | {"slicer", "qt", "ctk", "vtk"}
NETWORK = {"ftplib", "http", "requests", "smtplib", "socket", "urllib3", "webbrowser"}
OPTIONAL_LIBRARIES = ("gdcm", "jpeg_ls", "openjpeg", "pylibjpeg", "skimage", "tifffile", "tqdm", "SimpleITK", "scipy")
NOT_IN_THE_PANEL = {"Cancel", "LowDoseAngiography", "Sample Data", "XA and RF"}  # other bold words of the tutorial
NOT_FOR_PEOPLE = {"_", "compile", "ValueError"}
UNTRANSLATED = {  # names, attributes of nodes, and what others say
    "FluoroDenoise.py": {"FluoroDenoise contributors", "nothing is empty"},
    "curtain.py": {"FluoroDenoise curtain"},
    "failures.py": {"no kernel image is available", "No module named '?FluoroDenoiseLib"},
    "job.py": {", pedestal ", ", read noise ", "not stated"},
    "packages.py": {"Max retries", "No matching distribution", "path too long", "Access is denied", "No space left"},
    "quality_nodes.py": {"Output of input [%]"},
    "residual.py": {"input minus output"},
    "scene_job.py": {"states no frame times"},
    "worker_process.py": {"FluoroDenoise worker "},
}
GONE_IN_QT6 = ("exec_(", "QRegExp", "QTextCodec", "stateChanged", "QDesktopWidget")


def installed_files(folder):
    """The files that the CMakeLists.txt of a folder installs, with ${MODULE_NAME} filled in."""
    text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
    name = re.search(r"set\(MODULE_NAME (\w+)\)", text)[1]
    lists = re.findall(r"set\(MODULE_PYTHON_(?:SCRIPTS|RESOURCES)\n(.*?)\n?  \)", text, re.DOTALL)
    return [line.replace("${MODULE_NAME}", name) for lines in lists for line in lines.split()]


def metadata(key):
    """A value of the extension's description, by the pattern that the extension index uses for its pictures."""
    return re.findall(rf'set\s*\(EXTENSION_{key}\s*"([^"]+)"\)', TOP, re.IGNORECASE | re.MULTILINE)[0].strip()


def imports(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def module_files():
    return sorted(path for path in MODULE.rglob("*.py"))


def test_slicer_installs_every_file_of_the_module():
    files = {path.relative_to(MODULE).as_posix() for path in MODULE.rglob("*")
             if path.is_file() and SCREENSHOTS not in path.parents and "__pycache__" not in path.parts}
    listed = installed_files(MODULE)
    assert set(listed) == files - {"CMakeLists.txt"}, "list every file in FluoroDenoise/CMakeLists.txt"
    assert len(listed) == len(set(listed))


def test_every_test_for_slicer_is_registered():
    text = (ROOT / "Testing" / "Slicer" / "CMakeLists.txt").read_text(encoding="utf-8")
    registered = re.findall(r"^slicer_add_python_unittest\(SCRIPT \$\{CMAKE_CURRENT_SOURCE_DIR\}/(\S+)\)$", text, re.MULTILINE)
    assert sorted(registered) == sorted(path.name for path in (ROOT / "Testing" / "Slicer").glob("test_*.py"))


def test_tests_for_slicer_have_names_of_their_own_and_need_no_pytest():
    """Slicer imports them by name from one path, and brings no pytest."""
    tests = [path for path in (ROOT / "Testing").rglob("test_*.py")]
    for path in (ROOT / "Testing" / "Slicer").glob("test_*.py"):
        assert [other for other in tests if other.name == path.name] == [path]
        assert "pytest" not in set(imports(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))


def test_the_index_entry_follows_its_schema():
    assert {"$schema", "category", "scm_url"} <= ENTRY.keys() <= ENTRY_FIELDS
    assert ENTRY["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert ENTRY["category"] == metadata("CATEGORY") == "Filtering" and 1 <= ENTRY["tier"] <= 5
    assert re.fullmatch(r"https://\S+/Slicer\w+\.git", ENTRY["scm_url"])
    assert metadata("HOMEPAGE") + ".git" == ENTRY["scm_url"]
    assert ENTRY["build_dependencies"] == metadata("DEPENDS").split()
    assert b"\r" not in (ROOT / "FluoroDenoise.json").read_bytes()


def test_the_project_is_called_as_its_index_entry():
    projects = re.findall(r"project\s*\(\s*([^\s\)\n\r]+)", TOP, re.IGNORECASE | re.MULTILINE)
    assert projects == ["FluoroDenoise"] and (ROOT / "FluoroDenoise.json").exists()


def test_the_pictures_of_the_description_are_in_the_repository():
    raw = metadata("HOMEPAGE").replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"
    icon, screenshots = metadata("ICONURL"), metadata("SCREENSHOTURLS").split()
    assert screenshots
    for url in (icon, *screenshots):
        assert url.startswith(raw) and url.endswith(".png")
        Image.open(ROOT / url.removeprefix(raw)).verify()


def test_the_description_is_a_sentence_or_two_and_says_research_only():
    description = metadata("DESCRIPTION")
    assert description.count(". ") <= 1 and description.endswith("For research use only.")
    assert ";" not in description and "," not in metadata("KEYWORDS")


def test_the_modules_icon_is_the_extensions():
    assert (RESOURCES / "Icons" / "FluoroDenoise.png").read_bytes() == (ROOT / "FluoroDenoise.png").read_bytes()


def test_thumbnails_of_sample_data_have_the_size_that_slicer_shows():
    width, height = Image.open(RESOURCES / "Icons" / "LowDoseAngiography.png").size
    assert 200 <= width <= 300 and 200 <= height <= 300


def test_the_sample_run_is_small_enough_for_a_repository():
    assert sum(path.stat().st_size for path in (RESOURCES / "SampleData").iterdir()) < 1.5e6


def texts_that_people_read(tree):
    """Texts with a space in them that are neither translated, nor documentation, nor for a log or a programmer."""
    hidden = {id(node.body[0].value) for node in ast.walk(tree)
              if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
            if name in NOT_FOR_PEOPLE or getattr(getattr(node.func, "value", None), "id", "") == "logging":
                hidden |= {id(part) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in hidden and " " in node.value.strip():
            if "|" not in node.value and not node.value.startswith("<"):  # a pattern, a layout
                yield node.value


@pytest.mark.parametrize("path", module_files(), ids=lambda path: path.name)
def test_what_a_person_reads_can_be_translated(path):
    untranslated = set(texts_that_people_read(ast.parse(path.read_text(encoding="utf-8"))))
    assert untranslated <= UNTRANSLATED.get(path.name, set()), 'write a text as _("...")'


def requirement_lines():
    lines = (RESOURCES / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("line", requirement_lines())
def test_a_requirement_is_a_range_and_leaves_slicers_packages_alone(line):
    name, version = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", line).groups()
    assert name.lower() not in {"torch", "torchvision", "numpy", "scipy", "simpleitk", "vtk"}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    stated = re.search(rf'^  "{name}(?:>=([0-9.]+))?[",]', project, re.MULTILINE | re.IGNORECASE)
    assert stated and stated[1] in (None, version)


def test_the_worker_needs_only_slicers_packages_torch_and_the_requirements(tmp_path):
    """Slicer has few of the library's optional packages; the worker must do without them."""
    np.save(tmp_path / "in.npy", np.random.default_rng(0).integers(0, 200, (3, 32, 32)).astype(np.uint8))
    script = (
        "import importlib.abc, json, runpy, sys\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name.partition('.')[0] in {OPTIONAL_LIBRARIES!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"sys.argv = [{str(ROOT / 'FluoroDenoiseLib' / 'worker.py')!r}]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    request = {"id": 1, "do": "denoise", "frames": str(tmp_path / "in.npy"), "output": str(tmp_path / "out.npy"), "device": "cpu"}
    worker = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    worker.stdin.write(json.dumps(request) + "\n")
    worker.stdin.flush()
    events = []
    while not events or events[-1]["event"] not in ("done", "error", "cancelled"):
        events.append(json.loads(worker.stdout.readline()))
    worker.stdin.close()
    assert worker.wait(20) == 0
    worker.stdout.close()
    assert events[-1]["event"] == "done", events[-1]


def test_opening_the_module_imports_only_what_is_loaded_anyway():
    """Also through FluoroDenoiseScene: no numpy, no pydicom, and of course no torch, before a button is pressed."""
    reached = [MODULE / "FluoroDenoise.py"]
    for path in reached:
        for name in imports(ast.parse(path.read_text(encoding="utf-8")).body):
            if name.partition(".")[0] == "FluoroDenoiseScene":
                file = MODULE.joinpath(*name.split(".")).with_suffix(".py")
                file = file if file.exists() else MODULE / "FluoroDenoiseScene" / "__init__.py"
                reached += [file] if file not in reached else []
            else:
                assert name.partition(".")[0] in ALWAYS_THERE, f"{path.name} imports {name} at file scope"


def test_the_module_has_the_four_classes_that_slicer_looks_for():
    tree = ast.parse((MODULE / "FluoroDenoise.py").read_text(encoding="utf-8"))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {"FluoroDenoise", "FluoroDenoiseWidget", "FluoroDenoiseLogic", "FluoroDenoiseTest"} <= classes


@pytest.mark.parametrize("path", module_files(), ids=lambda path: path.name)
def test_texts_for_translation_are_constants(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
            assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno} translates a text that is put together"


@pytest.mark.parametrize("path", module_files(), ids=lambda path: path.name)
def test_the_slicer_side_uses_nothing_that_qt6_or_python_312_dropped(path):
    text = path.read_text(encoding="utf-8")
    assert not [name for name in GONE_IN_QT6 if name in text]
    assert not set(imports(ast.walk(ast.parse(text)))) & {"imp", "distutils", "pkg_resources"}


@pytest.mark.parametrize("path", [*module_files(), *sorted((ROOT / "FluoroDenoiseLib").rglob("*.py"))], ids=lambda path: path.name)
def test_nothing_opens_a_connection(path):
    names = set(imports(ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    assert not {name.partition(".")[0] for name in names} & NETWORK and "urllib.request" not in names


def test_the_extension_is_far_below_the_size_that_the_index_allows():
    files = [path for folder in ("FluoroDenoise", "FluoroDenoiseLib", "docs", "Testing") for path in (ROOT / folder).rglob("*")]
    assert sum(path.stat().st_size for path in files if path.is_file() and "__pycache__" not in path.parts) < 60e6


@pytest.mark.skipif(not (shutil.which("cmake") and (shutil.which("c++") or shutil.which("cl"))), reason="no CMake or compiler is here")
def test_cmake_configures_the_extension_and_installs_its_files(tmp_path):
    """On a stand-in of Slicer's macros; what it installs is what Testing/Scene loads the module from."""
    configured = subprocess.run(
        ["cmake", "-S", ROOT, "-B", tmp_path, f"-DSlicer_DIR={ROOT / 'Testing/Scene/host/cmake'}", "-DBUILD_TESTING=ON"],
        capture_output=True, text=True)  # fmt: skip
    assert configured.returncode == 0, configured.stderr
    installed = tmp_path / "lib/Slicer-5.12/qt-scripted-modules"
    files = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    library = {f"FluoroDenoiseLib/{name}" for name in installed_files(ROOT / "FluoroDenoiseLib")}
    assert files == library | set(installed_files(MODULE))
    tests = {path.stem for path in (ROOT / "Testing" / "Slicer").glob("test_*.py")}
    assert set((tmp_path / "tests.txt").read_text().split()) == {"qSlicerFluoroDenoiseModuleGenericTest", "py_FluoroDenoise"} | {
        f"py_{name}" for name in tests
    }


def test_the_tutorial_names_buttons_that_the_panel_has():
    tutorial = (ROOT / "docs" / "SLICER.md").read_text(encoding="utf-8")
    section = re.search(r"## Tutorial.*?## From the Python console", tutorial, re.DOTALL)[0]
    panel = (RESOURCES / "UI" / "FluoroDenoise.ui").read_text(encoding="utf-8")
    for name in set(re.findall(r"\*\*([^*]+)\*\*", section)) - NOT_IN_THE_PANEL:
        assert f">{name}<" in panel, f"{name} is not in the panel"


def test_every_place_that_the_tutorial_points_to_exists():
    tutorial = (ROOT / "docs" / "SLICER.md").read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in tutorial.splitlines() if line.startswith("#")}
    for target in re.findall(r"\]\(([^)]+)\)", tutorial):
        path, _, anchor = target.partition("#")
        assert not path or (ROOT / "docs" / path).exists(), target
        assert path or anchor in headings, target
