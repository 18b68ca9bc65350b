"""What the worker needs of Python packages: what is there, what is not and why, and one call that installs it.

PyTorch comes through the PyTorch extension, which knows the graphics card; the rest through Slicer's own pip. What Slicer
ships is never replaced. Nothing is installed unasked, and nothing at all in testing mode.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .installed import damage, installed_version, packages_folder

TORCH = "torch>=2.10"  # older ones load weights unsafely
SHIPPED_BY_SLICER = ("numpy", "pydicom", "SimpleITK")
NUMPY = "numpy>=2.0"
REQUIREMENTS = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
SHOWN = {"torch": "PyTorch", "numpy": "NumPy"}
LONGEST_PATH = 260  # of a file on Windows, unless it is told otherwise
LONGEST_IN_TORCH = 175  # of a file of PyTorch, below the folder of packages
NETWORK_SIGNS = ("SSL", "certificate", "Proxy", "ConnectionError", "Max retries", "getaddrinfo", "No matching distribution")


class InstallProblem(RuntimeError):
    """Why packages could not be installed, in a sentence with the way out."""


@dataclass(frozen=True)
class PackageState:
    """One package: the version installed or None, what is needed ("torch>=2.10"), whether that will do, and a sentence."""

    name: str
    installed: str | None
    needed: str
    ok: bool
    sentence: str


class Requirements:
    """What the worker needs: PyTorch, what Slicer ships, and the packages of Resources/requirements.txt."""

    def __init__(self, requirements_txt: Path | str = REQUIREMENTS) -> None:
        lines = (line.partition("#")[0].strip() for line in Path(requirements_txt).read_text(encoding="utf-8").splitlines())
        self._needed = [TORCH, NUMPY, *filter(None, lines)]

    def check(self) -> list[PackageState]:
        """The state of every package, from the files on the disk: some milliseconds, and nothing is imported."""
        return [_state(needed) for needed in self._needed]

    @property
    def ready(self) -> bool:
        """Whether the worker can do its work."""
        return all(state.ok for state in self.check())

    @property
    def sentence(self) -> str:
        """One sentence for the panel: all is there, or what is not."""
        wrong = [state for state in self.check() if not state.ok]
        if not wrong:
            return _("Everything that is needed is installed.")
        if len(wrong) == 1 or any(state.installed for state in wrong):
            return next((state for state in wrong if state.installed), wrong[0]).sentence
        return _("{names} are not installed; press Install in the Setup section.").format(names=_shown([state.name for state in wrong]))

    def cautions(self) -> list[str]:
        """Sentences about what may make an installation fail on this computer, before it is tried."""
        folder, said = packages_folder(), []
        if sys.platform == "win32" and len(str(folder)) + LONGEST_IN_TORCH > LONGEST_PATH:
            said.append(_("Slicer lies in a folder with a long name ({folder}), and Windows may refuse files of PyTorch there; "
                          "install Slicer in a short one such as C:\\Slicer, or allow long paths in Windows.").format(folder=folder))
        if not os.access(folder, os.W_OK):
            said.append(_("Packages cannot be installed into {folder} without the right to write there; start Slicer once as "
                          "administrator, or install Slicer in a folder of your own.").format(folder=folder))
        return said

    def install(self, confirm: bool = True) -> list[PackageState]:
        """Install what is missing and return the states afterwards. It blocks, for minutes if PyTorch is missing.

        confirm: ask before, once, with size and time. InstallProblem, with the way out, where something cannot be installed
        or was declined.
        """
        states = self.check()
        if slicer.app.testingEnabled():
            return states
        wrong = [state for state in states if not state.ok]
        kept = next((state for state in wrong if state.name in SHIPPED_BY_SLICER or damage(state.name)), None)
        if kept is not None:
            raise InstallProblem(kept.sentence)
        names, others = [state.name for state in wrong], [state.needed for state in wrong if state.name != "torch"]
        if "torch" in names:
            _require_pytorch_extension()
        if wrong and confirm and not slicer.util.confirmOkCancelDisplay(question(names)):
            raise InstallProblem(_("{names} were not installed; without them nothing can be denoised.").format(names=_shown(names)))
        if "torch" in names:
            _install_torch()
        if others:
            _install_others(others)
        states = self.check()
        if not all(state.ok for state in states):
            raise InstallProblem(_("The installation ended without an error, yet: {sentence}").format(
                sentence=next(state for state in states if not state.ok).sentence))
        return states


def _state(needed: str) -> PackageState:
    from packaging.requirements import Requirement

    requirement = Requirement(needed)
    name, version, wrong = requirement.name, installed_version(requirement.name), damage(requirement.name)
    shown = SHOWN.get(name, name)

    def state(ok: bool, sentence: str) -> PackageState:
        return PackageState(name, version, needed, ok, sentence)

    if wrong:
        return state(False, _("{name} {wrong}; {repair}").format(name=shown, wrong=wrong, repair=_repair(name)))
    if version is None:
        return state(False, _("{name} is not installed; press Install in the Setup section.").format(name=shown))
    if requirement.specifier.contains(version, prereleases=True):
        return state(True, _("{name} {version} is installed.").format(name=shown, version=version))
    if name in SHIPPED_BY_SLICER:
        way_out = _("it belongs to this Slicer, so use Slicer 5.12 or later")
    elif name == "torch":
        way_out = _("uninstall it in the PyTorch Utils module, restart Slicer and press Install")
    else:
        way_out = _("press Install in the Setup section")
    return state(False, _("{name} {version} is installed but {needed} is needed; {way_out}.").format(
        name=shown, version=version, needed=needed, way_out=way_out))


def _repair(name: str) -> str:
    if name in SHIPPED_BY_SLICER:
        return _("it belongs to Slicer, so install Slicer again.")
    return _("close Slicer, delete all that is named {name} in {folder}, start Slicer and press Install.").format(
        name=f"{name}*", folder=packages_folder())


def question(names: list[str]) -> str:
    """What is asked before packages are installed: what, how large, how long, from where."""
    size = (_("PyTorch takes about 0.8 GB of the disk, several GB with support of a graphics card, and the download some minutes.")
            if "torch" in names else _("They take some megabytes, and the download some seconds."))
    return _("{names} will be downloaded from the internet and installed into Slicer's own Python. {size} Continue?").format(
        names=_shown(names), size=size)


def _shown(names: list[str]) -> str:
    return ", ".join(SHOWN.get(name, name) for name in names)


def _require_pytorch_extension() -> None:
    if importlib.util.find_spec("PyTorchUtils") is None:
        raise InstallProblem(_("PyTorch is installed by the extension PyTorch, which is not there; install that extension in the "
                               "Extensions Manager, restart Slicer and press Install again."))


def _install_torch() -> None:
    """Have the PyTorch extension install PyTorch. It imports it afterwards: that is its own way to check the result."""
    try:
        import PyTorchUtils

        install = PyTorchUtils.PyTorchUtilsLogic().installTorch
        wanted = {"askConfirmation": False, "torchVersionRequirement": TORCH.removeprefix("torch")}
        known = inspect.signature(install).parameters  # they have changed between versions of the extension
        torch = install(**{name: value for name, value in wanted.items() if name in known})
    except Exception as error:
        logging.exception("FluoroDenoise: PyTorch could not be installed")
        raise InstallProblem(_failure("PyTorch", error)) from error
    if torch is None:
        raise InstallProblem(_("PyTorch was not installed; without it nothing can be denoised."))


def _install_others(needed: list[str]) -> None:
    names = ", ".join(needed)
    try:
        if importlib.util.find_spec("slicer.packaging") is not None:
            from slicer.packaging import pip_ensure

            pip_ensure(needed, requester="FluoroDenoise", prompt_install=False)
        else:
            slicer.util.pip_install(needed)
    except Exception as error:
        logging.exception("FluoroDenoise: %s could not be installed", names)
        raise InstallProblem(_failure(names, error)) from error


def _failure(names: str, error: Exception) -> str:
    """The sentence for an installation that failed: the cause where it is known, and what was tried."""
    said = " ".join(str(part) for part in (error, getattr(error, "output", ""), getattr(error, "stderr", "")) if part)
    if "206" in said or "path too long" in said.lower():
        way_out = _("the path of a file is too long for Windows, so install Slicer in a short folder such as C:\\Slicer")
    elif "Permission" in said or "Access is denied" in said:
        way_out = _("writing to Slicer's folder is not allowed, so start Slicer once as administrator")
    elif "No space left" in said:
        way_out = _("the disk is full, so make room")
    elif any(sign in said for sign in NETWORK_SIGNS):
        way_out = _("the package server was not reached, so check network and proxy, or install offline as the README says")
    elif isinstance(error, subprocess.CalledProcessError):
        command = error.cmd if isinstance(error.cmd, str) else " ".join(map(str, error.cmd or ()))
        way_out = _("this command failed: {command}").format(command=command)
    else:
        way_out = f"{type(error).__name__}: {str(error)[:200]}"
    return _("{names} could not be installed ({way_out}); details are in the application log, {log}.").format(
        names=names, way_out=way_out, log=slicer.app.errorLogModel().filePath)
