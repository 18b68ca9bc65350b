"""Nonsense to the worker: every line is answered once, and the worker lives on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from queue import Queue

import numpy as np
import pytest
import torch
from FluoroDenoiseLib.model_folder import build_network, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe
from FluoroDenoiseLib.worker import Worker
from worker_mutants import LINES, mutant, requests

WORKER = Path(__file__).resolve().parents[2] / "FluoroDenoiseLib" / "worker.py"
TINY = PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1, precision="float32")
ENDS = ("done", "cancelled", "error")


@pytest.fixture
def sound(tmp_path, monkeypatch):
    """Sound requests about small things in the working folder, and a last one that works."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_model("tiny", build_network(TINY).state_dict(), TINY, {"data": "none"})
    (tmp_path / "runs").mkdir()
    for place in ("run.npy", "runs/one.npy"):
        np.save(place, np.random.default_rng(0).normal(1000, 30, (3, 16, 16)).astype(np.uint16))
    paths = {"run": "run.npy", "out": "out.npy", "dcm": "out.dcm", "runs": "runs", "results": "results", "absent": "absent", "trained": "trained"}
    return requests(paths, "tiny")


def conversation(lines):
    """For every line the events of a worker in this process; the next line comes when the one before is answered."""
    said, ended = [], Queue()

    def speak():
        for line in lines:
            said.append((line, []))
            yield line
            if line.strip():
                ended.get(timeout=300)

    def hear(event):
        said[-1][1].append(event)
        if event["event"] in ENDS:
            ended.put(event)

    Worker(speak(), hear).run()
    return said


@pytest.mark.parametrize("count", [400, pytest.param(5000, marks=pytest.mark.slow)])
def test_every_mutant_of_a_request_is_answered_once_without_a_fault_of_ours(sound, capfd, count):
    lines = [mutant(sound, 0, number) for number in range(count)]
    *said, (_, last) = conversation([*lines, json.dumps({"id": "last", **sound[0]})])
    for line, events in said:
        ends = [event for event in events if event["event"] in ENDS]
        assert len(ends) == bool(line.strip()), (line, events)
        assert all(event.get("exit_code") != 1 for event in ends), (line, ends)
    assert "Traceback" not in capfd.readouterr().err
    assert last[-1]["event"] == "done" and not [name for name in os.listdir() if name.endswith(".tmp")]


def test_a_worker_process_survives_bytes_that_are_no_text(sound):
    random = np.random.default_rng(0)
    noise = b"\n".join(random.bytes(60).replace(b"\n", b"").replace(b"\r", b"") or b"x" for _ in range(200))
    lines = [noise, *(line.encode("utf-8", "replace") for line in LINES), b'{"id": 7, "do": "cancel", "job": 1}', b'{"do": "quit"}', b""]
    ended = subprocess.run([sys.executable, str(WORKER)], input=b"\n".join(lines), capture_output=True, timeout=300)
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0 and b"Traceback" not in ended.stderr
    assert events[-1] == {"id": 7, "event": "done", "job": 1, "found": False}
    assert len(events) >= 200 and all(event["event"] == "error" for event in events[:-1])
