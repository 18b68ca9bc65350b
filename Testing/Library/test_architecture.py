"""Who may import whom, held as a table: the first wrong import fails, also one inside a function or for typing only."""

import ast
import graphlib
import re
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "FluoroDenoiseLib"
SLICER_SIDE = ROOT / "FluoroDenoise"

EVERYTHING = None
# A module or package -> what else of the library it may import. `errors` is open to all, and a package to its own
# modules. A new file needs a row.
TABLE = {
    "errors": set(),
    "recipe": set(),
    "intensity": set(),
    "fluoro_run": {"intensity"},
    "ct_volume": {"fluoro_run"},
    "formats": {"ct_volume", "fluoro_run", "intensity"},
    "targets": {"fluoro_run", "formats"},
    "ct_targets": {"ct_volume", "formats", "targets"},
    "ct_projection": set(),
    "ct_simulation": {"ct_projection"},
    "ct_noise": set(),
    "ct_window": set(),
    "ct_kept": {"ct_noise", "networks"},
    "ct_restorer": {"compute", "ct_kept", "ct_noise", "ct_window", "model_folder"},
    "ct_training": {"compute", "formats", "model_folder", "recipe", "training"},
    "cli_ct_measures": {"compute", "console", "ct_restorer", "ct_simulation", "ct_volume", "evaluation", "formats", "targets"},
    "ct_denoise": {"compute", "ct_volume", "windows"},
    "pictures": {"formats"},
    "windows": set(),
    "overlap": set(),
    "compute": set(),
    "tiling": {"compute"},
    "wavelet": set(),
    "losses": {"wavelet"},
    "anscombe": set(),
    "noise_fit": set(),
    "noise_blocks": set(),
    "noise_measurement": {"noise_blocks"},
    "noise": {"anscombe", "intensity", "noise_fit", "noise_measurement"},
    "motion": set(),
    "global_motion": {"motion"},
    "recursion": {"global_motion", "motion"},
    "tools": set(),
    "anatomy": {"tools"},
    "projection": {"anatomy"},
    "layer_motion": set(),
    "detector": {"noise"},
    "simulation_settings": set(),
    "simulate": {"anatomy", "detector", "layer_motion", "noise", "projection", "simulation_settings", "tools"},
    "networks": set(),
    "model_verdict": set(),
    "model_card": {"model_verdict"},
    "model_range": {"detector", "fluoro_run", "noise"},
    "model_folder": {"compute", "formats", "model_card", "networks", "recipe", "tiling"},
    "denoise": {"compute", "intensity", "noise", "recursion", "tiling", "windows"},
    "training": {"compute", "ct_noise", "ct_simulation", "ct_window", "detector", "fluoro_run", "formats", "losses", "model_folder", "motion", "networks", "noise",
                 "noise_measurement", "pictures", "process_group", "recipe", "recursion", "simulate", "wavelet", "windows"},
    # A row of its own where a module of a package needs more than the package.
    "training.ablation": {"compute", "denoise", "evaluation", "model_folder", "noise", "recipe", "simulate"},
    "evaluation": {"compute", "ct_noise", "ct_restorer", "ct_simulation", "denoise", "detector", "fluoro_run", "intensity", "model_folder", "motion", "noise", "pictures",
                   "recursion", "simulate", "windows"},
    "evaluation.readers_cases": {"fluoro_run", "formats", "targets"},
    "evaluation.readers_report": {"formats", "targets"},
    "evaluation.readers_study": {"compute", "denoise", "fluoro_run", "formats", "jobs", "model_folder", "targets"},
    "evaluation.safety_stage": {"anatomy", "detector", "noise"},
    "evaluation.safety_banner": {"detector", "fluoro_run", "model_range", "noise"},
    "evaluation.session": {"compute", "formats", "model_folder", "simulated_files"},
    "simulated_files": {"formats", "simulate", "simulation_settings"},
    "probe": {"compute", "denoise", "model_folder", "noise"},
    "cli_arguments": set(),
    "cli_readers": {"compute", "evaluation", "model_folder"},
    "cli_ct": {"cli_archive", "console", "ct_jobs", "ct_targets", "folders", "jobs", "targets"},
    "jobs": EVERYTHING,
    "ct_jobs": EVERYTHING,
    "preview": {"compute", "denoise", "formats", "jobs", "model_folder", "noise", "recursion", "targets", "tiling", "windows"},
    "traces": set(),
    "process_group": set(),
    "shares": {"process_group"},
    "manifest": {"formats"},
    "folders": {"formats", "jobs", "manifest", "shares", "targets"},
    "console": {"jobs", "traces"},
    "cli_archive": {"console", "folders", "jobs", "shares", "targets"},
    "exports": {"fluoro_run", "formats", "targets"},
    "worker": EVERYTHING,
    "worker_archive": {"folders", "jobs"},
    "worker_ct": {"ct_jobs", "ct_targets", "folders", "jobs", "targets", "worker_archive"},
    "model_safety": {"compute", "denoise", "evaluation", "model_folder", "model_verdict", "noise", "training"},
    "cli_safety": {"compute", "evaluation", "model_folder", "targets"},
    "cli_benchmark": {"evaluation", "targets"},
    "cli_evaluate": {"compute", "evaluation", "targets"},
    "cli": EVERYTHING,
    "__main__": {"cli"},
}
WITHOUT_TORCH = {"errors", "recipe", "intensity", "fluoro_run", "ct_volume", "formats", "targets", "ct_targets"}
STANDARD_LIBRARY_ONLY = {"errors", "recipe"}
DISKS = {"io", "json", "os", "pathlib", "pickle", "shutil", "tempfile"}
SLICER = {"ctk", "mrml", "qt", "slicer", "vtk"}
SHIPPED_BY_SLICER = SLICER | {"DICOMLib", "SimpleITK", "numpy", "pydicom", "requests"}


def python_files():
    return [path for path in ROOT.rglob("*.py") if not any(
        part.startswith(".") or part in ("build", "dist", "out") for part in path.relative_to(ROOT).parts
    )]


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


MODULES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in LIBRARY.rglob("*.py")
    if path != LIBRARY / "__init__.py"
}


def dotted_imports(nodes, package):
    """The full name of everything imported; `from a import b` counts as a.b, relative names are made absolute."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


@cache
def imports_of(module):
    """(modules of the library, other packages) that a module of the library imports anywhere in it."""
    path = MODULES[module]
    ours, others = set(), set()
    for name in dotted_imports(ast.walk(tree_of(path)), list(path.relative_to(ROOT).parent.parts)):
        first, _, rest = name.partition(".")
        if first != LIBRARY.name:
            others.add(first)
        elif rest in MODULES:
            ours.add(rest)
        elif rest.rpartition(".")[0] in MODULES:  # a name out of a module
            ours.add(rest.rpartition(".")[0])
    return ours - {module}, others


def everything_behind(module):
    """A module and all that importing it imports."""
    seen, ahead = set(), {module}
    while ahead:
        seen |= ahead
        ahead = set().union(*(imports_of(name)[0] for name in ahead)) - seen
    return seen


def package_of(module):
    return module.partition(".")[0]


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_its_row_allows(module):
    row = module if module in TABLE else package_of(module)
    assert row in TABLE, f"{module} has no row in the table; give it one"
    if TABLE[row] is EVERYTHING:
        return
    allowed = TABLE[row] | {"errors", package_of(module)}
    wrong = {name for name in imports_of(module)[0] if package_of(name) not in allowed}
    assert not wrong, f"{module} must not import {', '.join(sorted(wrong))}"


def test_no_modules_import_each_other_in_a_circle():
    graphlib.TopologicalSorter({module: imports_of(module)[0] for module in MODULES}).prepare()


@pytest.mark.parametrize("module", sorted(MODULES))
def test_the_library_never_imports_slicer(module):
    assert not imports_of(module)[1] & SLICER


@pytest.mark.parametrize("module", sorted(module for module in MODULES if package_of(module) in WITHOUT_TORCH))
def test_reading_and_writing_runs_needs_no_torch(module):
    users = {name for name in everything_behind(module) if "torch" in imports_of(name)[1]}
    assert not users, f"{module} brings in torch through {', '.join(sorted(users))}"


@pytest.mark.parametrize("module", sorted(STANDARD_LIBRARY_ONLY & set(MODULES)))
def test_recipes_and_errors_need_only_the_standard_library(module):
    assert imports_of(module)[1] <= sys.stdlib_module_names


@pytest.mark.parametrize("module", sorted(module for module in MODULES if package_of(module) == "networks"))
def test_networks_need_only_torch_and_touch_no_disk(module):
    others = imports_of(module)[1]
    assert others - sys.stdlib_module_names <= {"torch"} and not others & DISKS
    calls = {node.func.id for node in ast.walk(tree_of(MODULES[module]))
             if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "open" not in calls


@pytest.mark.parametrize("path", [*MODULES.values(), *SLICER_SIDE.rglob("*.py")], ids=lambda path: path.name)
def test_only_compute_names_cuda(path):
    if path == LIBRARY / "compute.py":
        return
    for node in ast.walk(tree_of(path)):
        # Prose that mentions a device (a help text, a docstring) is not code that depends on one.
        named = node.attr if isinstance(node, ast.Attribute) else node.value if isinstance(node, ast.Constant) else ""
        assert not (isinstance(named, str) and re.fullmatch(r"cuda(:\d*)?", named)), f"line {node.lineno}"


@pytest.mark.parametrize("path", sorted(SLICER_SIDE.rglob("*.py")), ids=lambda path: path.name)
def test_slicers_process_never_imports_torch_or_the_library(path):
    names = dotted_imports(ast.walk(tree_of(path)), list(path.relative_to(SLICER_SIDE).parent.parts))
    assert not {name.partition(".")[0] for name in names} & {"torch", LIBRARY.name}


@pytest.mark.skipif(not (SLICER_SIDE / "FluoroDenoise.py").exists(), reason="there is no Slicer module yet")
def test_the_slicer_module_opens_with_what_slicer_ships():
    names = dotted_imports(tree_of(SLICER_SIDE / "FluoroDenoise.py").body, [])
    packages = {name.partition(".")[0] for name in names}
    assert packages <= sys.stdlib_module_names | SHIPPED_BY_SLICER | {"FluoroDenoiseScene"}


@pytest.mark.parametrize("path", sorted(python_files()), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_idea_of_at_most_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_module_says_what_it_is(module):
    assert ast.get_docstring(tree_of(MODULES[module])), f"{module} has no docstring"
