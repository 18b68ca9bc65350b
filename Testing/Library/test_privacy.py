"""Nothing of the patient gets out of the program: a canary in every name and field, and a search of all that was said,
written, or named on the way. Nothing is sent: the same work in a place without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest
from test_dicom_privacy import FIELDS

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("canary_program.py")
pytestmark = pytest.mark.slow
NAMES = (b"CANARY", b"19010203")
TYPED = b"TYPED"
ALONE = ["unshare", "-rn"]
NO_NETWORK_PLACE = "no place without a network can be made here (unshare -rn needs the right to user namespaces)"


def may_be_alone():
    try:
        return subprocess.run([*ALONE, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What canary_program left and said: home, out, err, and what it told of itself."""
    home, told = tmp_path_factory.mktemp("CANARY^HOME"), tmp_path_factory.mktemp("told") / "told.json"
    path = os.pathsep.join([str(ROOT), str(PROGRAM.parent), os.environ.get("PYTHONPATH", "")])
    alone = may_be_alone()
    ended = subprocess.run([*(ALONE if alone else []), sys.executable, str(PROGRAM), str(home), str(told)], capture_output=True,
                           env={**os.environ, "PYTHONPATH": path})
    assert ended.returncode == 0, ended.stderr.decode(errors="replace")
    return SimpleNamespace(home=home, out=ended.stdout, err=ended.stderr, alone=alone, **json.loads(told.read_text()))


def test_every_command_and_request_ended_as_it_should(seen):
    assert seen.codes == {
        "denoise": 0, "denoise broken": 3, "archive": 3, "archive again": 3, "train": 0, "adapt": 0, "simulate": 0,
        "crash": 1, "archive with crashes": 3,
    }  # fmt: skip
    assert [event["event"] for event in seen.last] == ["done"] * 6 + ["error"] and seen.last[-1]["exit_code"] == 1
    assert seen.last[2]["done"] == 2 and seen.last[2]["failed"] == 2


def test_what_is_printed_repeats_what_was_typed_and_nothing_else(seen):
    printed = seen.out + seen.err
    assert not [line for line in printed.splitlines() if any(name in line for name in (*NAMES, bytes(seen.home)))]
    assert b"TYPED_BROKEN.dcm was cut short" in seen.err and b"RuntimeError" in seen.err  # it was not simply silent
    assert b"text burned into its pictures" in seen.err and b"overlays, which can show the patient's name" in seen.err


def results(seen):
    """Where results of the archive lie, by the names of their sources."""
    return {seen.home / out / "CANARY^PATIENT" / name for out in ("results", "w_results") for name in ("CANARY_RUN.dcm", "CANARY_RLE.dcm")}


def test_no_file_says_anything_but_the_results_what_their_sources_say(seen):
    written = [path for path in seen.home.rglob("*") if path.is_file() and str(path.relative_to(seen.home)) not in seen.before]
    derived = {path for path in written if path.suffix == ".dcm" and path.name != "simulated.dcm"}
    kinds = {path.suffix for path in written}
    assert results(seen) <= derived and {".json", ".jsonl", ".md", ".csv", ".png", ".safetensors", ".npy", ".nrrd"} <= kinds
    for path in written:
        content = path.read_bytes()
        assert not any(name in content for name in (TYPED, bytes(seen.home))), path.name
        if path not in derived:
            assert not any(name in content for name in NAMES), path.name
    for path in derived:
        for element in pydicom.dcmread(path).iterall():
            if element.keyword not in {*FIELDS, "ReferencedSOPInstanceUID"} and element.VR != "SQ":
                assert "CANARY" not in str(element.value), (path.name, element.keyword)


def test_no_name_of_a_file_or_folder_says_anything_even_for_a_moment(seen):
    allowed = {str(path) for path in results(seen)} | {str(path.parent) for path in results(seen)}
    allowed.add(str(seen.home / "never" / "CANARY^GOOD"))  # where the result of a run that failed would be
    for name in set(seen.made) - allowed - {str(seen.home)}:
        assert not any(word in Path(name).name.encode() for word in NAMES), name
        assert str(Path(name).parent) in allowed or not any(word in os.path.relpath(name, seen.home).encode() for word in NAMES), name
    aside = [name for name in seen.made if name.endswith(".tmp")]
    assert len(aside) > 10 and not any("TYPED" in name for name in aside)


def test_events_of_the_worker_name_files_to_whoever_asked_and_nothing_else(seen):
    """The name of a run stands in the event about it, and at the head of the sentence about it."""
    for event in seen.events:
        event = {key: value for key, value in event.items() if key != "name"}
        text = json.dumps(event).replace("CANARY_BROKEN.dcm", "").replace("CANARY_DATE.dcm", "")
        assert not any(name.decode() in text for name in (*NAMES, bytes(seen.home))), text


def test_nothing_reaches_for_a_network(seen):
    assert seen.connections == []


def test_the_commands_work_where_there_is_no_network(seen):
    if not seen.alone:
        pytest.skip(NO_NETWORK_PLACE)
    assert 0 in seen.codes.values()  # the first test says how each of them ended
