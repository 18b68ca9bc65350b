import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.model_folder import build_network, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe, recipe_to_dict
from FluoroDenoiseLib.simulate import SimulationSettings, save_simulated, simulate

WORKER = Path(__file__).resolve().parents[2] / "FluoroDenoiseLib" / "worker.py"
TINY = PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1, steps=2, batch=1, patch=32, warmup_steps=1,
                      checkpoint_every=1, precision="float32")
PATIENCE_S = 300  # only a broken worker takes this long


class Client:
    """A worker started as Slicer starts it, and what it said so far."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        self.events: Queue[dict | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))
        self.events.put(None)

    def ask(self, **request):
        self.say(json.dumps(request))

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def until(self, *events, job=None):
        """The events up to and with the first of these kinds (of this job)."""
        seen = []
        while not seen or seen[-1]["event"] not in events or job not in (None, seen[-1]["id"]):
            event = self.events.get(timeout=PATIENCE_S)
            assert event is not None, self.process.stderr.read()
            seen.append(event)
        return seen


@pytest.fixture
def worker():
    client = Client()
    yield client
    client.process.kill()
    client.process.wait()
    for pipe in (client.process.stdin, client.process.stdout, client.process.stderr):
        pipe.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, build_network(TINY).state_dict(), TINY, {"data": "none"})
    return str(folder)


def noisy_file(path, count=6, side=40):
    np.save(path, np.random.default_rng(0).normal(1000, 30, (count, side, side)).astype(np.uint16))
    return str(path)


def test_a_run_is_denoised_frame_by_frame(worker, model, tmp_path):
    source, output = noisy_file(tmp_path / "in.npy"), tmp_path / "out.npy"
    worker.ask(id=2, do="denoise", frames=source, output=str(output), model=model, device="cpu")
    started, *frames, done = worker.until("done", "error")
    assert started["event"] == "started" and started["count"] == 6 and started["device"] == "cpu"
    assert started["noise"]["read_noise"] >= 0
    assert [(frame["event"], frame["index"], frame["count"]) for frame in frames] == [("frame", i, 6) for i in range(6)]
    assert frames[-1]["eta_s"] == 0 and all(event["id"] == 2 for event in (started, *frames, done))
    assert done["event"] == "done" and done["frames"] == 6
    clean = np.load(output)
    assert clean.dtype == np.uint16 and clean.shape == (6, 40, 40) and np.std(clean) < np.std(np.load(source))
    assert sorted(os.listdir(tmp_path)) == ["in.npy", "out.npy"]


def test_nonsense_is_answered_and_the_worker_goes_on(worker, model, tmp_path):
    for line in ("nonsense", "[1]", '{"do": "dance", "id": 1}', '{"do": "denoise"}', "", '{"do": {}, "id": 3}', '{"id": {}, "do": "probe"}'):
        worker.say(line)
    answers = [worker.until("error")[0] for _ in range(6)]
    assert all(answer["exit_code"] == 2 and answer["message"] for answer in answers)
    worker.ask(id=5, do="denoise", frames=noisy_file(tmp_path / "in.npy"), output=str(tmp_path / "out.npy"), model=model)
    assert worker.until("done", "error")[-1]["event"] == "done"


@pytest.mark.parametrize("change, exit_code", [
    ({"frames": "absent.npy"}, 3), ({"output": "no/such/out.npy"}, 8), ({"model": "nowhere"}, 7), ({"strength": 3}, 3),
    ({"noise": [1]}, 2), ({"colour": "red"}, 2), ({"output": None}, 2), ({"device": "toaster"}, 4),
])  # fmt: skip
def test_a_job_that_cannot_be_done_ends_in_a_sentence(model, tmp_path, change, exit_code):
    from FluoroDenoiseLib.worker import Worker

    request = {"id": 1, "do": "denoise", "frames": noisy_file(tmp_path / "in.npy"), "output": str(tmp_path / "out.npy"), "model": model}
    events = []
    worker = Worker([], events.append)
    worker._work({**request, **change})
    assert [(event["event"], event["exit_code"]) for event in events] == [("error", exit_code)]
    assert events[0]["message"].endswith((".", ")")) and not (tmp_path / "out.npy").exists()


def test_a_cancel_takes_effect_within_a_frame_and_later_jobs_run(worker, model, tmp_path):
    long, short = noisy_file(tmp_path / "long.npy", 300, 64), noisy_file(tmp_path / "short.npy")
    (tmp_path / "out").mkdir()
    worker.ask(id="long", do="denoise", frames=long, output=str(tmp_path / "out" / "a.npy"), model=model)
    worker.ask(id="waits", do="denoise", frames=long, output=str(tmp_path / "out" / "b.npy"), model=model)
    worker.until("frame")
    worker.ask(id=8, do="cancel", job="waits")
    worker.ask(id=9, do="cancel", job="long")
    told = worker.until("done", job=9)[-1]
    assert told["found"] is True
    after = worker.until("cancelled", job="long")
    assert sum(event["event"] == "frame" for event in after) <= 1
    worker.until("cancelled", job="waits")
    assert os.listdir(tmp_path / "out") == []
    worker.ask(id=10, do="denoise", frames=short, output=str(tmp_path / "out" / "c.npy"), model=model)
    worker.until("done", job=10)
    worker.ask(id=11, do="cancel", job="long")
    assert worker.until("done")[-1]["found"] is False


def asked(**request):
    """The events of one request to a worker in this process."""
    from FluoroDenoiseLib.worker import Worker

    events = []
    Worker([], events.append)._work({"id": 1, **request})
    return events


def test_a_folder_is_denoised_file_by_file_and_a_bad_file_does_not_stop_the_rest(model, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.npy").write_bytes(b"broken")
    noisy_file(tmp_path / "in" / "b.npy", 2)
    events = asked(do="folder", source=str(tmp_path / "in"), target=str(tmp_path / "out"), model=model)
    files = [(event["index"], event["name"], event["state"]) for event in events if event["event"] == "file"]
    assert files == [(0, "a.npy", "started"), (0, "a.npy", "failed"), (1, "b.npy", "started"), (1, "b.npy", "done")]
    assert [event["event"] for event in events] == ["started", "file", "file", "file", "frame", "frame", "file", "done"]
    assert events[2]["message"].startswith("a.npy is not a NumPy file") and (tmp_path / "out" / "b.npy").exists()
    assert (events[-1]["done"], events[-1]["there"], events[-1]["failed"]) == (1, 0, 1)


def test_a_frame_is_previewed(model, tmp_path):
    source = noisy_file(tmp_path / "in.npy")
    (done,) = asked(do="preview", frames=source, index=3, output=str(tmp_path / "out.npy"), model=model, strength=0.0)
    np.testing.assert_array_equal(np.load(done["output"]), np.load(source)[3:4])
    (error,) = asked(do="preview", frames=source, index="3", output=str(tmp_path / "out.npy"))
    assert error["exit_code"] == 2


def test_a_result_is_exported(tmp_path):
    made = {"version": "1", "model": "tiny", "model_sha256": "ab" * 32, "parameters": "none"}
    request = {"do": "export", "frames": noisy_file(tmp_path / "in.npy"), "output": str(tmp_path / "out.dcm")}
    (done,) = asked(**request, **made, frame_time_s=0.1, pixel_spacing_mm=[0.2, 0.2])
    assert done["event"] == "done" and done["frames"] == 6 and done["source"] is None and (tmp_path / "out.dcm").exists()
    for wrong in ({"strength": "much"}, {"pixel_spacing_mm": [1]}, {"model": None}):
        (error,) = asked(**{**request, **made, **wrong})
        assert error["exit_code"] == 2


@pytest.mark.parametrize("how", ["quit", "closed"])
def test_the_worker_ends_when_told_or_left_alone(worker, model, tmp_path, how):
    (tmp_path / "out").mkdir()
    worker.ask(id=1, do="denoise", frames=noisy_file(tmp_path / "in.npy", 300, 64), output=str(tmp_path / "out" / "a.npy"), model=model)
    worker.until("frame")
    if how == "quit":
        worker.ask(do="quit")
    else:
        worker.process.stdin.close()
    assert worker.process.wait(timeout=PATIENCE_S) == 0
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.skipif(sys.platform != "linux", reason="the test looks into /proc")
def test_the_worker_ends_when_its_parent_dies_though_its_input_stays_open(tmp_path):
    pipe_out, pipe_in = os.pipe()
    parent = (f"import subprocess, sys; w = subprocess.Popen([sys.executable, {str(WORKER)!r}], stdin={pipe_out}, "
              "stdout=subprocess.DEVNULL); print(w.pid, flush=True); import time; time.sleep(2)")
    started = subprocess.run([sys.executable, "-c", parent], stdout=subprocess.PIPE, pass_fds=[pipe_out], text=True)
    worker = int(started.stdout)
    try:
        gone = threading.Event()

        def wait():
            while Path(f"/proc/{worker}").exists() and Path(f"/proc/{worker}/stat").read_text().split()[2] != "Z":
                gone.wait(0.1)
            gone.set()

        threading.Thread(target=wait, daemon=True).start()
        assert gone.wait(20), "the worker outlived its parent"
    finally:
        os.close(pipe_in)
        os.close(pipe_out)


def test_a_training_reports_its_losses(worker, tmp_path):
    save_simulated(simulate(SimulationSettings(size=(48, 48), frames=3), 0), tmp_path / "runs" / "run")
    worker.ask(id=3, do="train", recipe=recipe_to_dict(TINY), runs=str(tmp_path / "runs"), out=str(tmp_path / "out"))
    *_, step, done = worker.until("done", "error")
    assert step["event"] == "step" and step["index"] == step["count"] == 2 and step["losses"] and step["risk"] is None
    assert done["event"] == "done" and (tmp_path / "out" / "model.json").exists()


def test_a_probe_is_answered(worker):
    worker.ask(id=1, do="probe")
    done = worker.until("done", "error")[-1]
    assert done["devices"][0]["device"] == "cpu" and done["reason"]


def test_stray_prints_do_not_reach_the_protocol():
    code = ("import sys, os; sys.path.insert(0, sys.argv[1]); from FluoroDenoiseLib.worker import claim_stdout; "
            "out = claim_stdout(); print('stray'); os.write(1, b'from C'); out.write('{}'); out.flush()")
    ran = subprocess.run([sys.executable, "-c", code, str(WORKER.parents[1])], capture_output=True, text=True, check=True)
    assert ran.stdout == "{}" and "stray" in ran.stderr and "from C" in ran.stderr
