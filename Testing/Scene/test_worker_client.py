import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from FluoroDenoiseScene import worker_client
from FluoroDenoiseScene.worker_client import WorkerClient, environment, interpreter, worker_path

FAKE = Path(__file__).parent / "fake_worker.py"
PATIENCE_S = 60


@pytest.fixture
def start(monkeypatch):
    """A function that makes a client of the fake worker in some mood; all are stopped afterwards."""
    clients = []

    def make(mood="", **options):
        monkeypatch.setenv("FAKE_WORKER", mood)
        clients.append(WorkerClient(worker=FAKE, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.stop()


@pytest.fixture
def run_file(tmp_path):
    np.save(tmp_path / "in.npy", np.arange(5 * 4 * 6, dtype=np.uint16).reshape(5, 4, 6))
    return {"frames": str(tmp_path / "in.npy"), "output": str(tmp_path / "out.npy")}


def until(client, true, seconds=PATIENCE_S):
    """Poll until something is true; the longest poll in seconds."""
    begin, longest = time.monotonic(), 0.0
    while not true():
        assert time.monotonic() < begin + seconds, "it took too long"
        before = time.monotonic()
        client.poll()
        longest = max(longest, time.monotonic() - before)
        time.sleep(0.005)
    return longest


def gone(pid):
    """Whether a process has ended, zombies counted as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_job_tells_its_progress_and_its_result(start, run_file):
    client, heard = start(), []
    job = client.request("denoise", **run_file)
    job.on_event.append(lambda job, event: heard.append((event["event"], job.state)))
    assert job.state == "waiting" and not client.alive and client.busy
    until(client, lambda: job.ended)
    assert job.state == "done" and job.result["frames"] == 5 and job.facts["device"] == "cpu"
    assert heard == [("started", "running"), *[("frame", "running")] * 5, ("done", "done")]
    assert job.progress == {"event": "frame", "index": 4, "count": 5, "eta_s": 0}
    assert client.alive and not client.busy


def test_jobs_run_one_after_the_other_and_a_waiting_one_can_be_cancelled(start, run_file, tmp_path):
    client = start("slow")
    first, second, third = (client.request("denoise", **{**run_file, "output": str(tmp_path / f"{n}.npy")}) for n in range(3))
    until(client, lambda: first.progress)
    second.cancel()
    assert second.state == "cancelled" and third.state == "waiting"
    until(client, lambda: third.ended)
    assert (first.state, third.state) == ("done", "done") and not (tmp_path / "1.npy").exists()


def test_callbacks_come_from_poll_alone_and_on_the_thread_that_polls(start, run_file):
    client, heard = start("slow"), []
    running, waiting = client.request("denoise", **run_file), client.request("denoise", **run_file)
    for job in (running, waiting):
        job.on_event.append(lambda job, event: heard.append((job, threading.current_thread())))
    waiting.cancel()
    time.sleep(0.3)
    assert not heard
    until(client, lambda: running.ended)
    assert {job for job, _ in heard} == {running, waiting} and {thread for _, thread in heard} == {threading.main_thread()}


def test_a_callback_that_fails_or_polls_does_not_stop_the_others(start, run_file, caplog):
    client, heard = start(), []
    job = client.request("denoise", **run_file)
    job.on_event += [lambda job, event: client.poll(), lambda job, event: 1 / 0, lambda job, event: heard.append(event["event"])]
    until(client, lambda: job.ended)
    assert heard[-1] == "done" and "ZeroDivisionError" in caplog.text


def test_a_cancel_is_obeyed_and_the_worker_lives_on(start, run_file):
    client = start("slow")
    job = client.request("denoise", **run_file)
    until(client, lambda: job.progress)
    worker = client.pid
    job.cancel()
    until(client, lambda: job.ended, 2.0)
    again = client.request("denoise", **run_file)
    until(client, lambda: again.ended)
    assert (job.state, again.state, client.pid) == ("cancelled", "done", worker)


@pytest.mark.skipif(sys.platform != "linux", reason="the test looks into /proc")
def test_a_worker_that_does_not_obey_is_killed_within_two_seconds_and_replaced(start, run_file, monkeypatch):
    client = start("hang")
    job = client.request("denoise", **run_file)
    until(client, lambda: client.alive)
    time.sleep(0.3)
    worker, begin = client.pid, time.monotonic()
    job.cancel()
    longest = until(client, lambda: job.ended, 2.0)
    assert job.state == "cancelled" and time.monotonic() - begin < 2.0 and longest < 0.1
    until(client, lambda: gone(worker), 2.0)
    monkeypatch.setenv("FAKE_WORKER", "")
    again = client.request("denoise", **run_file)
    until(client, lambda: again.ended)
    assert again.state == "done" and client.pid != worker


@pytest.mark.skipif(sys.platform != "linux", reason="the test kills with signals")
def test_a_worker_that_is_killed_fails_its_job_in_a_sentence_and_the_next_job_has_another(start, run_file, monkeypatch):
    client = start("slow")
    job, next_job = client.request("denoise", **run_file), client.request("denoise", **run_file)
    until(client, lambda: job.progress)
    os.kill(client.pid, signal.SIGKILL)
    until(client, lambda: next_job.ended)
    assert job.state == "failed" and "ended from outside" in job.message and next_job.state == "done"


def test_a_worker_that_dies_fails_its_job_with_its_exit_code(start, run_file):
    client = start("die")
    job = client.request("denoise", **run_file)
    until(client, lambda: job.ended)
    assert job.state == "failed" and "code 9" in job.message and not client.alive


def test_a_worker_that_cannot_import_torch_says_which_button_to_press(start, run_file):
    client = start("missing")
    job = client.request("denoise", **run_file)
    until(client, lambda: job.ended)
    assert job.message == "PyTorch is not installed; press Install in the Setup section."


def test_a_refusal_comes_in_the_workers_words(start, run_file):
    client = start("refuse")
    job = client.request("denoise", **run_file)
    until(client, lambda: job.ended)
    assert (job.state, job.message) == ("failed", "Frame 3 is broken; repair it.")


def test_nonsense_is_passed_over(start, run_file):
    client = start("nonsense")
    job = client.request("denoise", **run_file)
    until(client, lambda: job.ended)
    assert job.state == "done" and job.result["frames"] == 5


def test_silence_ends_a_job_at_last(start, run_file):
    client = start("hang", patience_s=0.5)
    job = client.request("denoise", **run_file)
    until(client, lambda: job.ended, 10)
    assert job.state == "failed" and "silent" in job.message and not client.alive


def test_a_time_without_polls_is_no_silence(start, run_file):
    client = start("slow", patience_s=PATIENCE_S - 1)  # a loaded computer takes its time to start a worker
    job = client.request("denoise", **run_file)
    until(client, lambda: job.progress)
    client._polled_at -= 3600  # Slicer was busy, or the computer slept
    until(client, lambda: job.ended)
    assert job.state == "done"


def test_an_idle_worker_goes_after_some_minutes_and_the_next_job_starts_another(start, run_file):
    now = [0.0]
    client = start(clock=lambda: now[0])
    assert not client.rest()
    job = client.request("denoise", **run_file)
    until(client, lambda: job.ended and not client.busy)
    worker = client.pid
    assert client.rest()
    now[0] += worker_client.SECONDS_OF_IDLENESS - 1
    assert client.rest() and client.alive
    now[0] += 1
    client.rest()
    assert not client.alive
    until(client, lambda: not client.rest())
    assert gone(worker)
    again = client.request("denoise", **run_file)
    until(client, lambda: again.ended)
    assert again.state == "done" and client.pid != worker


def test_a_job_makes_the_idle_minutes_count_anew(start, run_file):
    now = [0.0]
    client = start(clock=lambda: now[0])
    for _ in range(3):
        job = client.request("denoise", **run_file)
        assert client.busy and (client.rest() or not client.alive)
        until(client, lambda: job.ended and not client.busy)
        assert client.rest()
        now[0] += worker_client.SECONDS_OF_IDLENESS - 1
        assert client.rest() and client.alive


def test_an_interpreter_that_is_not_there_fails_the_job(start, run_file):
    client = start(python="/no/such/python")
    job = client.request("denoise", **run_file)
    until(client, lambda: job.ended)
    assert job.state == "failed" and "/no/such/python cannot be started" in job.message


def test_a_long_request_does_not_block_where_nobody_reads(start):
    client = start("hang")
    begin = time.monotonic()
    job = client.request("train", runs=["x" * 100] * 20_000)
    assert until(client, lambda: client.alive) < 0.2
    client.poll()
    assert time.monotonic() - begin < 2 and not job.ended


def test_stop_ends_the_jobs_the_worker_and_the_threads(start, run_file):
    before = set(threading.enumerate())
    for mood in ("slow", "hang"):
        client, heard = start(mood), []
        job, other = client.request("denoise", **run_file), client.request("denoise", **run_file)
        until(client, lambda: client.alive)
        client.poll()
        job.on_event.append(lambda *_: heard.append(1))
        worker, begin = client.pid, time.monotonic()
        client.stop()
        assert time.monotonic() - begin < 2.5 and gone(worker)
        assert (job.state, other.state) == ("cancelled", "cancelled") and not heard and not client.busy
    assert set(threading.enumerate()) <= before


@pytest.mark.skipif(sys.platform != "linux", reason="the test looks into /proc")
def test_no_worker_outlives_the_program_that_started_it(tmp_path):
    program = (
        "import sys, time; sys.path[:0] = sys.argv[1:]; import host; host.start();"
        "from FluoroDenoiseScene.worker_client import WorkerClient;"
        "client = WorkerClient(); job = client.request('probe'); client.poll(); print(client.pid, flush=True); time.sleep(60)"
    )
    folders = map(str, (FAKE.parent, FAKE.parents[2] / "FluoroDenoise"))
    parent = subprocess.Popen([sys.executable, "-c", program, *folders], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    time.sleep(1)
    assert not gone(worker)
    parent.kill()
    parent.communicate()
    begin = time.monotonic()
    while not gone(worker):
        assert time.monotonic() < begin + 2 * PATIENCE_S, "the worker outlived its parent"
        time.sleep(0.1)


def test_what_a_killed_worker_was_writing_aside_is_removed(start, tmp_path):
    old = tmp_path / ".other.npy.1.0123abcd.tmp"
    old.touch()
    os.utime(old, (0, 0))
    client = start("hang")
    job = client.request("denoise", output=str(tmp_path / "out.npy"))
    until(client, lambda: client.alive)
    (tmp_path / ".out.npy.123.0123abcd.tmp").touch()
    job.cancel()
    until(client, lambda: not list(tmp_path.glob(".out*")), 10)
    assert job.state == "cancelled" and old.exists()


def test_the_worker_is_found_beside_the_module_and_runs_slicers_python(monkeypatch, tmp_path):
    assert worker_path() == FAKE.parents[2] / "FluoroDenoiseLib" / "worker.py"
    installed = tmp_path / "qt-scripted-modules"
    for folder in ("FluoroDenoiseScene", "FluoroDenoiseLib"):
        (installed / folder).mkdir(parents=True)
    (installed / "FluoroDenoiseLib" / "worker.py").touch()
    monkeypatch.setattr(worker_client, "__file__", str(installed / "FluoroDenoiseScene" / "worker_client.py"))
    assert worker_path() == installed.resolve() / "FluoroDenoiseLib" / "worker.py"
    assert interpreter() == sys.executable
    (tmp_path / "PythonSlicer").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert interpreter() == str(tmp_path / "PythonSlicer")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    assert "PYTHONPATH" not in environment(interpreter()) and environment(sys.executable)["PYTHONPATH"] == "/elsewhere"
