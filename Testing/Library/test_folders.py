"""A folder of runs into another: what is made, what is kept, and what a second start does."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from FluoroDenoiseLib.errors import InputError, OutputError
from FluoroDenoiseLib.folders import Task, open_archive, runs_below
from FluoroDenoiseLib.formats.held_folder import held_folder
from FluoroDenoiseLib.formats.whole_file import whole_file
from FluoroDenoiseLib.manifest import FIRST
from FluoroDenoiseLib.shares import Share
from FluoroDenoiseLib.targets import UsageError

ROOT = Path(__file__).resolve().parents[2]
MADE_WITH = {"version": "1", "model": "quality", "sha256": "ab" * 32, "strength": 1.0, "noise": None}


@pytest.fixture
def runs(tmp_path):
    for index, name in enumerate(("a.npy", "deep/b.npy", "c.npy")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "in" / name, np.full((2, 4, 4), index, np.uint16))
    return tmp_path / "in"


def copy(task, overwrite):
    """Stands for denoising: writes as it does."""
    if task.source.name == "c.npy":
        raise InputError("c.npy is broken.")
    with whole_file(task.place, overwrite) as temporary:
        temporary.write_bytes(task.source.read_bytes())
    return SimpleNamespace(frames=2, seconds=0.1)


def archived(runs, out, denoise=copy, overwrite=False, share=Share(), **made_with):
    """What became of each run, by its name."""
    with open_archive(runs_below(runs, out), out, {**MADE_WITH, **made_with}, overwrite, share) as archive:
        outcomes = list(archive.denoise_each(denoise))
    return {outcome.task.source.name: outcome.state if outcome.ours else "foreign" for outcome in outcomes}


def test_every_run_goes_to_its_place_and_a_bad_one_does_not_stop_the_rest(runs, tmp_path):
    out = tmp_path / "out"
    assert archived(runs, out) == {"a.npy": "done", "c.npy": "failed", "b.npy": "done"}
    assert (out / "deep" / "b.npy").read_bytes() == (runs / "deep" / "b.npy").read_bytes() and not (out / "c.npy").exists()
    assert archived(runs, out) == {"a.npy": "there", "c.npy": "failed", "b.npy": "there"}
    assert sorted(os.listdir(out)) == ["a.npy", "deep", FIRST]


def test_what_changed_is_made_again_and_what_is_missing_is_made(runs, tmp_path):
    out = tmp_path / "out"
    archived(runs, out)
    np.save(runs / "a.npy", np.full((3, 4, 4), 9, np.uint16))
    (out / "deep" / "b.npy").unlink()
    assert archived(runs, out) == {"a.npy": "done", "c.npy": "failed", "b.npy": "done"}
    assert (out / "a.npy").read_bytes() == (runs / "a.npy").read_bytes()
    assert archived(runs, out) == {"a.npy": "there", "c.npy": "failed", "b.npy": "there"}


def test_a_run_that_broke_and_was_mended_is_made_again(runs, tmp_path):
    def refuse(*_):
        raise InputError("broken.")

    archived(runs, tmp_path / "out")
    np.save(runs / "a.npy", np.full((3, 4, 4), 9, np.uint16))
    assert archived(runs, tmp_path / "out", refuse)["a.npy"] == "failed"
    assert archived(runs, tmp_path / "out")["a.npy"] == "done"


def test_files_that_the_archive_did_not_make_are_kept_unless_told_otherwise(runs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.npy").write_bytes(b"mine")
    assert archived(runs, out) == {"a.npy": "foreign", "c.npy": "failed", "b.npy": "done"}
    (out / "deep" / "b.npy").write_bytes(b"edited by hand")
    np.save(runs / "deep" / "b.npy", np.zeros((1, 4, 4)))
    assert archived(runs, out) == {"a.npy": "foreign", "c.npy": "failed", "b.npy": "foreign"}
    assert (out / "a.npy").read_bytes() == b"mine" and (out / "deep" / "b.npy").read_bytes() == b"edited by hand"
    assert archived(runs, out, overwrite=True) == {"a.npy": "done", "c.npy": "failed", "b.npy": "done"}


def test_results_of_other_settings_are_not_mixed(runs, tmp_path):
    out = tmp_path / "out"
    archived(runs, out)
    with pytest.raises(OutputError, match="2 results of another model or other settings.*--overwrite"):
        archived(runs, out, strength=0.5)
    assert archived(runs, out, version="2") == {"a.npy": "there", "c.npy": "failed", "b.npy": "there"}
    assert archived(runs, out, strength=0.5, overwrite=True) == {"a.npy": "done", "c.npy": "failed", "b.npy": "done"}
    assert archived(runs, out, strength=0.5, overwrite=True)["a.npy"] == "there"  # a second start goes on, it does not begin again


def test_processes_share_the_runs_and_each_record_counts_for_all(runs, tmp_path):
    out = tmp_path / "out"
    alike = type("Two", (Share,), {"gather": lambda self, mine: mine})
    first = archived(runs, out, share=alike(0, 2))
    second = archived(runs, out, share=alike(1, 2))
    assert first == {"a.npy": "done", "b.npy": "done"} and second == {"c.npy": "failed"}
    assert archived(runs, out) == {"a.npy": "there", "c.npy": "failed", "b.npy": "there"}
    assert archived(runs, out, share=alike(1, 3))["c.npy"] == "failed"


def test_one_run_at_a_time_fills_a_folder(runs, tmp_path):
    with open_archive(runs_below(runs, tmp_path / "out"), tmp_path / "out", MADE_WITH):
        with pytest.raises(OutputError, match="is being filled by another run"):
            archived(runs, tmp_path / "out")
    assert archived(runs, tmp_path / "out")["a.npy"] == "done"


def test_a_folder_is_held_until_its_process_ends(tmp_path):
    code = ("import sys; from pathlib import Path; from FluoroDenoiseLib.formats.held_folder import held_folder\n"
            "with held_folder(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()")
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(OutputError, match="another run at this moment"), held_folder(tmp_path):
        pass
    holder.kill()
    holder.communicate()
    with held_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_record_tells_nothing_but_how_and_how_long(runs, tmp_path):
    (runs / "DOE^JANE").mkdir()
    (runs / "a.npy").rename(runs / "DOE^JANE" / "a.npy")
    archived(runs, tmp_path / "out")
    head, start, *records = map(json.loads, (tmp_path / "out" / FIRST).read_text().splitlines())
    assert set(head) == {"archive", "salt"} and start == {"start": 1, **MADE_WITH}
    told = {key for record in records for key in record}
    assert told == {"run", "state", "source", "before", "result", "frames", "seconds", "exit_code"}
    assert not any(word in (tmp_path / "out" / FIRST).read_text() for word in ("DOE", "a.npy", "deep", str(tmp_path)))
    stamps = {str(path.stat().st_mtime_ns)[:8] for path in runs.rglob("*.npy")}
    assert not any(stamp in (tmp_path / "out" / FIRST).read_text() for stamp in stamps)
    archived(runs, tmp_path / "again")
    again = [json.loads(line) for line in (tmp_path / "again" / FIRST).read_text().splitlines()]
    assert {record.get("run") for record in again} & {record["run"] for record in records} == set()  # no table of names helps


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b'{"archive": 99, "salt": "a"}\n', b"[]\n", b'{"archive": 1, "salt": 3}\n'])
def test_a_record_that_is_none_is_refused(runs, tmp_path, damage):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / FIRST).write_bytes(damage)
    with pytest.raises(OutputError, match="is not a record that this version reads"):
        archived(runs, tmp_path / "out")


def test_damaged_lines_of_a_record_are_passed_over(runs, tmp_path):
    archived(runs, tmp_path / "out")
    record = tmp_path / "out" / FIRST
    whole = record.read_bytes()
    for left in (b'{"run": "12', b"\0\0\0", b'{"run": 3, "state": "done"}\n', b'{"run": "ab", "state": "done"}\n{"run": "ab", "state": [1]}\n'):
        record.write_bytes(whole + left)
        assert archived(runs, tmp_path / "out") == {"a.npy": "there", "c.npy": "failed", "b.npy": "there"}
    record.write_bytes(whole[: whole.rindex(b'"done"') - 20])  # b is done, but its line is torn
    assert archived(runs, tmp_path / "out") == {"a.npy": "there", "c.npy": "failed", "b.npy": "there"}


def test_folders_of_files_can_be_made_from_folders_of_files(tmp_path):
    """As CT series are."""
    for name in ("1", "2"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"slice")

    def series(task, overwrite):
        task.place.mkdir(exist_ok=overwrite)
        for file in task.files:
            (task.place / file.name).write_bytes(file.read_bytes())
        return SimpleNamespace(frames=2, seconds=0.1)

    def state():
        (tmp_path / "out").mkdir(exist_ok=True)
        task = Task(tmp_path / "in", tuple(sorted((tmp_path / "in").iterdir())), tmp_path / "out" / "series")
        with open_archive([task], tmp_path / "out", MADE_WITH) as archive:
            (outcome,) = archive.denoise_each(series)
        return outcome.state if outcome.ours else "foreign"

    assert [state(), state()] == ["done", "there"]
    (tmp_path / "in" / "2").write_bytes(b"another slice")
    assert [state(), state()] == ["done", "there"]
    (tmp_path / "in" / "3").write_bytes(b"one more")
    assert [state(), state()] == ["done", "there"]
    (tmp_path / "out" / "series" / "2").write_bytes(b"edited by hand")
    assert [state(), state()] == ["foreign", "foreign"]


def test_an_interrupt_ends_the_folder(runs, tmp_path):
    def interrupted(task, overwrite):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archived(runs, tmp_path / "out", interrupted)


def test_results_inside_the_source_are_not_denoised_again(runs):
    (runs / "out").mkdir()
    np.save(runs / "out" / "old.npy", np.zeros((2, 4, 4)))
    assert [task.source.name for task in runs_below(runs, runs / "out")] == ["a.npy", "c.npy", "b.npy"]


def test_folders_that_cannot_be_meant_are_refused(runs, tmp_path):
    with pytest.raises(UsageError, match="another folder"):
        runs_below(runs, runs / ".")
    with pytest.raises(InputError, match="is not a folder"):
        runs_below(tmp_path / "absent", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no runs"):
        runs_below(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(OutputError, match="does not exist"):
        runs_below(runs, tmp_path / "no" / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_made_fails_one_run(runs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").write_bytes(b"a file")
    assert archived(runs, tmp_path / "out") == {"a.npy": "done", "c.npy": "failed", "b.npy": "failed"}


# Forks children that fill the folder; each dies by SIGKILL just before its nth change of the disk, the last lives.
KILLER = """
import itertools, json, os, signal, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from pathlib import Path
from test_folders import archived
runs, out = Path(sys.argv[3]), Path(sys.argv[4])

def child(out, moment):
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        count = itertools.count()
        def hook(event, arguments):
            if event in ("os.rename", "os.remove", "os.mkdir") or event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
                if str(arguments[0]).startswith(str(out.parent)) and next(count) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(hook)
        out.mkdir(exist_ok=True)
        states = archived(runs, out)
        os.write(writer, json.dumps([next(count), states]).encode())
        os._exit(0)
    os.close(writer)
    ended = os.waitpid(pid, 0)[1]
    said = os.read(reader, 9999)
    os.close(reader)
    return (os.WTERMSIG(ended), None) if os.WIFSIGNALED(ended) else (0, json.loads(said))

moments = child(out, -1)[1][0]
for moment in range(moments):
    place = out.with_name(f"killed{moment}")
    killed, whole, again = child(place, moment), child(place, -1), child(place, -1)
    found = sorted((str(path.relative_to(place)), path.is_file() and path.suffix == ".npy" and path.read_bytes().hex()) for path in place.rglob("*"))
    print(json.dumps([killed[0], whole[1] and whole[1][1], again[1] and again[1][1], found]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_an_archive_killed_before_any_change_of_the_disk_is_finished_by_a_second_start(runs, tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLER, str(ROOT), str(Path(__file__).parent), str(runs), str(tmp_path / "out")],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(ends) > 20 and all(killed == signal.SIGKILL for killed, *_ in ends)
    wanted = [[name, (runs / name).read_bytes().hex()] for name in ("a.npy", "deep/b.npy")]
    for _, states, again, found in ends:
        assert states["c.npy"] == again["c.npy"] == "failed"
        assert {states["a.npy"], states["b.npy"]} <= {"done", "there"} and again["a.npy"] == again["b.npy"] == "there"
        assert found == sorted([*wanted, ["deep", False], [FIRST, False]])
    assert any(states["a.npy"] == "there" for _, states, *_ in ends) and any(states["a.npy"] == "done" for _, states, *_ in ends)
