"""Files under fault: whatever ends a write, the place of the result holds all of it or what was there before."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_examples import COMPRESSED, PROVENANCE, changed, compressed, noise_frames, xa_file
from FluoroDenoiseLib.errors import InputError, OutputError
from FluoroDenoiseLib.formats import find_runs, read_run, write_run
from FluoroDenoiseLib.formats.whole_file import whole_file
from pydicom.uid import DeflatedExplicitVRLittleEndian

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("faulty_writes.py")
posix = pytest.mark.skipif(os.name != "posix", reason="these faults are made with POSIX means")


@pytest.fixture
def source(tmp_path):
    return xa_file(tmp_path / "source.dcm", noise_frames(12, (64, 64)))


def faulty_writes(mode, source, target, count, before=()):
    """What the program saw."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    ended = subprocess.run(
        [*before, sys.executable, str(PROGRAM), mode, str(source), str(target), str(count)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}, timeout=500,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def require_whole(seen, count):
    assert seen["killed"] == count and seen["broken"] == 0 and seen["swept"]
    assert seen["old"] + seen["new"] + seen["absent"] == count + seen["finished"]
    assert seen["left aside"] and seen["old"] and seen["absent"]  # the kills met what they were to meet


@posix
def test_a_write_killed_at_any_moment_leaves_the_old_file_or_the_new_one(tmp_path, source):
    require_whole(faulty_writes("killed", source, tmp_path / "out.dcm", 40), 40)


@posix
@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(tmp_path, source):
    seen = faulty_writes("killed", source, tmp_path / "out.dcm", 200)
    print(seen)
    require_whole(seen, 200)


@posix
def test_a_full_disk_at_any_place_of_the_file_keeps_the_old_one(tmp_path, source):
    assert faulty_writes("limited", source, tmp_path / "out.dcm", 50) == {"codes": [8], "attempts": 50}


@posix
def test_a_disk_that_fills_on_the_way_keeps_the_old_file(tmp_path, source):
    mounted = tmp_path / "small"
    mounted.mkdir()
    mount = f'mount -t tmpfs -o size=512k none "{mounted}" && exec "$@"'
    before = ["unshare", "-m", "sh", "-c", mount, "sh"]
    if not shutil.which("unshare") or subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("no small disk can be made here (unshare and mount need rights)")
    assert faulty_writes("full", source, mounted / "out.dcm", 2, before) == {"codes": [8, 8]}


@posix
def test_a_folder_without_permission_is_said_at_once(source):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders may be closed to the one who may not write
        folder = Path(name)
        shutil.copy(source, folder / "in.dcm")
        os.chmod(folder, 0o555)
        seen = faulty_writes("forbidden", folder / "in.dcm", folder / "out.dcm", 1)
    assert seen["code"] == 8 and seen["files"] == ["in.dcm"] and seen["seconds"] < 1


@posix
def test_of_four_that_write_one_file_one_wins_and_four_files_are_no_quarrel(tmp_path, source):
    (tmp_path / "out").mkdir()
    seen = faulty_writes("together", source, tmp_path / "out" / "out.dcm", 4)
    assert seen == {"same": [0, 8, 8, 8], "late": [8], "apart": [0, 0, 0, 0], "whole": True, "left": []}


def test_what_a_killed_process_left_is_removed_and_what_is_not_ours_stays(tmp_path, source, monkeypatch):
    monkeypatch.setattr(sys.modules[whole_file.__module__], "_swept", set())
    left, others = tmp_path / ".fluorodenoise-0123456789abcdef.0.tmp", tmp_path / ".other.0.tmp"
    left.write_bytes(b"half")
    others.write_bytes(b"not ours")
    run = read_run(source)
    write_run(tmp_path / "out.dcm", run.frames, run, PROVENANCE)
    assert not left.exists() and others.exists()
    assert find_runs(tmp_path) == [tmp_path / "out.dcm", source]


def test_a_file_that_appears_while_another_is_made_is_not_overwritten(tmp_path, source):
    run, target = read_run(source), tmp_path / "out.dcm"

    def frames():
        yield from list(run.frames)
        target.write_bytes(b"someone else's")

    with pytest.raises(OutputError, match="exists already"):
        write_run(target, frames(), run, PROVENANCE, overwrite=False)
    assert target.read_bytes() == b"someone else's" and sorted(tmp_path.iterdir()) == [target, source]


def test_a_source_that_changes_or_goes_while_it_is_read_is_a_sentence(tmp_path, source):
    run = read_run(compressed(source, COMPRESSED["RLE"]))
    source.unlink()
    with pytest.raises((InputError, OutputError), match="source.dcm|out.dcm"):
        write_run(tmp_path / "out.dcm", run.frames, run, PROVENANCE)
    assert list(tmp_path.iterdir()) == []


def test_a_deflated_bomb_is_not_inflated(tmp_path):
    source = changed(xa_file(tmp_path / "bomb.dcm", noise_frames(1)))
    header = pydicom.dcmread(source)
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(source)
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    content = source.read_bytes()
    start = 132 + 12 + int.from_bytes(content[140:144], "little")
    bomb = b"".join(deflate.compress(bytes(2**20)) for _ in range(256)) + deflate.flush()
    source.write_bytes(content[:start] + bomb)
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="deflated"):
        read_run(source)
    assert find_runs(tmp_path) == [source]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; the bomb has 256 MB


def test_the_result_of_one_file_does_not_depend_on_the_failure_of_another(tmp_path):
    good, bad = xa_file(tmp_path / "good.dcm"), compressed(xa_file(tmp_path / "bad.dcm"), COMPRESSED["RLE"])
    bad.write_bytes(bad.read_bytes()[:-400])
    with pytest.raises(InputError):
        read_run(bad)
    np.testing.assert_array_equal(np.stack(list(read_run(good).frames)), noise_frames())
