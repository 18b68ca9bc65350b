"""Whether a Python package is there and whole, told from the files of its installation: nothing is imported.

An import would not be safe: that of a damaged PyTorch has ended Slicer, and a package once imported cannot be replaced.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sysconfig
from pathlib import Path

from slicer.i18n import tr as _

COMPILED = (".so", ".pyd", ".dll", ".dylib")
MADE_FOR = re.compile(r"\.(cpython-3\d+\w*|cp3\d+\w*)[-.]")  # in the name of a compiled file
IMPORTED_AS = {"PyWavelets": "pywt"}


def installed_version(name: str) -> str | None:
    """The version that is installed; None where there is none, or where its files do not say."""
    try:
        # A package without its metadata has no version rather than an error.
        return importlib.metadata.distribution(name).metadata["Version"]
    except importlib.metadata.PackageNotFoundError:
        return None


def damage(name: str) -> str | None:
    """What is wrong with an installation, as the rest of the sentence "PyTorch ..."; None where it is whole or absent."""
    importlib.invalidate_caches()
    found = list(importlib.metadata.distributions(name=name))
    if not found:
        leftover = _folder(IMPORTED_AS.get(name, name))
        return _("has left files in {folder} but is not installed").format(folder=leftover) if leftover else None
    versions = sorted({str(one.metadata["Version"]) for one in found if _place(one) == _place(found[0])})
    if len(versions) > 1:
        return _("is installed in several versions at once ({versions})").format(versions=", ".join(versions))
    files = _files_that_matter(found[0])
    if found[0].metadata["Version"] is None or files is None:
        return _("is installed by half (its list of files is missing)")
    missing = [file for file in files if not Path(found[0].locate_file(file)).exists()]
    if missing:
        return _("is installed by half ({count} of its files are missing, {file} for one)").format(count=len(missing), file=missing[0])
    tagged = [file.rpartition("/")[2] for file in files if MADE_FOR.search(file)]
    ours = sysconfig.get_config_var("EXT_SUFFIX") or ""
    if tagged and not any(name.endswith(ours) for name in tagged):
        return _("is made for another Python ({file})").format(file=tagged[0])
    return None


def packages_folder() -> Path:
    """Where pip installs to."""
    return Path(sysconfig.get_paths()["purelib"])


def _files_that_matter(distribution) -> list[str] | None:
    """Compiled files and the packages' own first files: the few of many thousand without which nothing works.

    None where there is no list of files. Read as text: `distribution.files` takes a second for those of PyTorch.
    """
    record = distribution.read_text("RECORD")
    if record is not None:
        names = [line.rsplit(",", 2)[0].strip('"') for line in record.splitlines() if line]
    elif distribution.files is not None:  # installed in the old way, without a RECORD
        names = [str(file) for file in distribution.files]
    else:
        return None
    return [name for name in names if name.endswith(COMPILED) or (name.endswith("/__init__.py") and name.count("/") == 1)]


def _place(distribution) -> Path:
    return Path(distribution.locate_file(""))


def _folder(package: str) -> Path | None:
    """The folder that an import of this name would find."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # ValueError: imported before, its specification lost
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None
