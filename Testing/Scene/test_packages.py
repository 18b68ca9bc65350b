import importlib.machinery
import subprocess
import sys
import sysconfig
import types
from pathlib import PureWindowsPath

import pytest
import slicer

from FluoroDenoiseScene import installed, packages
from FluoroDenoiseScene.packages import InstallProblem, Requirements

SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty folder of packages in place of the real ones, and a function that installs into it."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(installed, "packages_folder", lambda: tmp_path)
    monkeypatch.setattr(packages, "packages_folder", lambda: tmp_path)
    # The real ones are imported already, and would be found without a look at the folder.
    for name in ("torch", "numpy", "pywt", "madeup"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def install(name, version="9.0", files=("__init__.py",), record=True, metadata=True):
        folder, info = tmp_path / name, tmp_path / f"{name}-{version}.dist-info"
        for path in (folder, info):
            path.mkdir(exist_ok=True)
        for file in files:
            (folder / file).touch()
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        if record:
            (info / "RECORD").write_text("".join(f"{name}/{file},,\n" for file in files))
        return folder

    return install


@pytest.fixture
def needed(tmp_path):
    """Requirements of one made-up package beside PyTorch and NumPy."""
    path = tmp_path / "needed.txt"
    path.write_text("# why\nmadeup>=1.5  # for this\n\n")
    return path


@pytest.fixture
def not_testing(monkeypatch):
    """A Slicer whose user presses OK; what was asked of him."""
    asked = []
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: asked.append(text) or True)
    return asked


@pytest.fixture
def everything(site):
    for name in ("torch", "numpy", "madeup"):
        site(name)


def sentence_of(name, requirements):
    return next(state for state in requirements.check() if state.name == name).sentence


def test_the_worker_has_here_what_it_needs():
    requirements = Requirements()
    assert requirements.ready, requirements.sentence
    assert {"torch", "numpy", "pydicom", "PyWavelets", "safetensors"} == {state.name for state in requirements.check()}
    assert requirements.sentence == "Everything that is needed is installed." and requirements.cautions() == []


def test_looking_imports_nothing():
    code = ("import sys, types; sys.path[:0] = sys.argv[1:]; import host; host.start(); before = set(sys.modules);"
            "from FluoroDenoiseScene.packages import Requirements; Requirements().check();"
            "print([name for name in ('torch', 'pywt', 'safetensors', 'pydicom') if name in set(sys.modules) - before])")
    here = packages.REQUIREMENTS.parents[2]
    ran = subprocess.run([sys.executable, "-c", code, str(here / "Testing" / "Scene"), str(here / "FluoroDenoise")],
                         capture_output=True, text=True)
    assert ran.stdout.strip().splitlines()[-1] == "[]", ran.stderr


def test_what_is_missing_is_named(site, needed):
    site("numpy")
    requirements = Requirements(needed)
    assert not requirements.ready
    assert requirements.sentence == "PyTorch, madeup are not installed; press Install in the Setup section."
    site("torch")
    assert requirements.sentence == "madeup is not installed; press Install in the Setup section."
    site("madeup")
    assert requirements.ready


@pytest.mark.parametrize("name, version, words", [
    ("torch", "2.1.0", "PyTorch 2.1.0 is installed but torch>=2.10 is needed; uninstall it in the PyTorch Utils module"),
    ("numpy", "1.26.4", "NumPy 1.26.4 is installed but numpy>=2.0 is needed; it belongs to this Slicer, so use Slicer 5.12"),
    ("madeup", "1.0", "madeup 1.0 is installed but madeup>=1.5 is needed; press Install"),
])  # fmt: skip
def test_what_is_too_old_says_what_to_do(site, needed, name, version, words):
    for other in {"torch", "numpy", "madeup"} - {name}:
        site(other)
    site(name, version)
    assert Requirements(needed).sentence.startswith(words)


def test_a_torch_without_its_list_of_files_is_half_installed(everything, site, needed):
    (site("torch", record=False).parent / "torch-9.0.dist-info" / "RECORD").unlink()
    words = sentence_of("torch", Requirements(needed))
    assert words.startswith("PyTorch is installed by half (its list of files is missing); close Slicer, delete all that is named torch*")


def test_metadata_without_files_is_half_installed(everything, site, needed):
    (site("torch", files=("__init__.py", f"_C{SUFFIX}")) / f"_C{SUFFIX}").unlink()
    assert "1 of its files are missing" in sentence_of("torch", Requirements(needed))


def test_metadata_that_is_empty_is_half_installed(site, needed):
    site("torch", metadata=False)
    assert "installed by half" in sentence_of("torch", Requirements(needed))


def test_files_without_metadata_are_leftovers(site, needed, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('imported')")
    assert "has left files in" in sentence_of("torch", Requirements(needed))


def test_two_versions_at_once_are_damage(everything, site, needed):
    site("torch", "9.1")
    assert "several versions at once (9.0, 9.1)" in sentence_of("torch", Requirements(needed))


def test_a_numpy_of_another_python_is_damage(everything, site, needed):
    site("numpy", files=("__init__.py", "_multiarray_umath.cpython-35m-x86_64-linux-gnu.so"))
    assert "NumPy is made for another Python (_multiarray_umath.cpython-35m" in sentence_of("numpy", Requirements(needed))
    assert "install Slicer again" in sentence_of("numpy", Requirements(needed))


def test_nothing_is_installed_in_testing_mode(site, needed):
    assert [state.ok for state in Requirements(needed).install()] == [False, False, False]


def test_without_the_pytorch_extension_a_sentence_says_how_to_get_it(site, needed, not_testing):
    site("numpy")
    with pytest.raises(InstallProblem, match="install that extension in the Extensions Manager"):
        Requirements(needed).install()


def test_torch_comes_from_its_extension_and_the_rest_from_slicer(site, needed, not_testing, monkeypatch):
    asked = []

    class Logic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            asked.append((askConfirmation, torchVersionRequirement))
            return site("torch")

    def pip_ensure(requirements, requester=None, prompt_install=True):
        asked.append((requirements, requester, prompt_install))
        site("madeup")

    module(monkeypatch, "PyTorchUtils", PyTorchUtilsLogic=Logic)
    module(monkeypatch, "slicer.packaging", pip_ensure=pip_ensure)
    site("numpy")
    assert all(state.ok for state in Requirements(needed).install(confirm=False))
    assert asked == [(False, ">=2.10"), (["madeup>=1.5"], "FluoroDenoise", False)]


def test_the_user_is_asked_once_with_size_and_time_before_anything_is_installed(site, needed, not_testing, monkeypatch):
    module(monkeypatch, "PyTorchUtils", PyTorchUtilsLogic=lambda: types.SimpleNamespace(installTorch=lambda: site("torch")))
    module(monkeypatch, "slicer.packaging", pip_ensure=lambda *given, **more: site("madeup"))
    site("numpy")
    Requirements(needed).install()
    (asked,) = not_testing
    assert asked.startswith("PyTorch, madeup will be downloaded from the internet") and "GB" in asked and "minutes" in asked


def test_a_user_who_declines_gets_nothing(site, needed, not_testing, monkeypatch):
    module(monkeypatch, "PyTorchUtils", PyTorchUtilsLogic=lambda: pytest.fail("it was installed"))
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: False)
    site("numpy")
    with pytest.raises(InstallProblem, match="were not installed"):
        Requirements(needed).install()


def test_an_older_slicer_installs_with_its_pip(site, needed, not_testing, monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(slicer.util, "pip_install", lambda requirements: site("madeup"), raising=False)
    for name in ("torch", "numpy"):
        site(name)
    assert all(state.ok for state in Requirements(needed).install(confirm=False))


def test_what_slicer_ships_is_never_replaced(site, needed, not_testing):
    site("numpy", "1.26.4")
    with pytest.raises(InstallProblem, match="use Slicer 5.12"):
        Requirements(needed).install()


@pytest.mark.parametrize("error, words", [
    (OSError("[WinError 206] The filename or extension is too long"), "C:\\\\Slicer"),
    (PermissionError("Permission denied"), "administrator"),
    (RuntimeError("SSL: CERTIFICATE_VERIFY_FAILED"), "proxy"), (OSError("No space left on device"), "make room"),
    (subprocess.CalledProcessError(1, ["pip", "install", "torch"]), "this command failed: pip install torch"),
    (TypeError("'NoneType' object is not iterable"), "TypeError"),
])  # fmt: skip
def test_a_failed_installation_is_explained(site, needed, not_testing, monkeypatch, error, words):
    class Logic:
        def installTorch(self):
            raise error

    module(monkeypatch, "PyTorchUtils", PyTorchUtilsLogic=Logic)
    site("numpy")
    with pytest.raises(InstallProblem, match=words) as problem:
        Requirements(needed).install()
    assert slicer.app.errorLogModel().filePath in str(problem.value)


def test_a_declined_installation_is_no_installation(site, needed, not_testing, monkeypatch):
    module(monkeypatch, "PyTorchUtils", PyTorchUtilsLogic=lambda: types.SimpleNamespace(installTorch=lambda: None))
    site("numpy")
    with pytest.raises(InstallProblem, match="was not installed"):
        Requirements(needed).install()


@pytest.mark.parametrize("folder, said", [
    ("C:/Slicer/lib/Python/Lib/site-packages", False),
    ("C:/Users/someone/AppData/Local/slicer.org/3D Slicer 5.12.3/lib/Python/Lib/site-packages", True),
])  # fmt: skip
def test_a_long_folder_on_windows_is_warned_of(monkeypatch, folder, said):
    monkeypatch.setattr(packages.sys, "platform", "win32")
    monkeypatch.setattr(packages, "packages_folder", lambda: PureWindowsPath(folder))
    monkeypatch.setattr(packages.os, "access", lambda *_: True)
    assert any("C:\\Slicer" in caution for caution in Requirements().cautions()) == said


def test_cautions_come_before_the_installation(monkeypatch):
    monkeypatch.setattr(packages.os, "access", lambda *_: False)
    assert "without the right to write" in Requirements().cautions()[0]


def module(monkeypatch, name, **contents):
    """A module that an import of this name finds."""
    made = types.ModuleType(name)
    made.__dict__.update(contents)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, name, made)
