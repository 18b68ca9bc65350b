import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
from conftest import make_run

from FluoroDenoiseScene import estimate as estimates
from FluoroDenoiseScene import scene_job
from FluoroDenoiseScene.estimate import estimate
from FluoroDenoiseScene.job import AdaptJob, DenoiseJob, ExportJob, FolderJob, JobCancelled, JobFailed, PreviewJob
from FluoroDenoiseScene.sequences import InputProblem, resolve_input
from FluoroDenoiseScene.worker_client import WorkerClient

FAKE = Path(__file__).parent / "fake_worker.py"
PATIENCE_S = 300  # only something broken takes this long


@pytest.fixture
def start(monkeypatch):
    """A function that gives a client of the fake worker in some mood; all are stopped afterwards."""
    clients = []

    def make(mood="", **options):
        monkeypatch.setenv("FAKE_WORKER", mood)
        clients.append(WorkerClient(worker=FAKE, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.stop()


@pytest.fixture(autouse=True)
def nothing_is_left():
    """After every test: no temporary folder of ours."""
    yield
    assert not temporary_folders()


def temporary_folders():
    return list(Path(slicer.app.temporaryPath).glob("FluoroDenoise-*"))


def pixels(node):
    return np.stack([slicer.util.arrayFromVolume(node.GetNthDataNode(n))[0] for n in range(node.GetNumberOfDataNodes())])


def until(job, true):
    """Advance until something is true; the longest advance in seconds."""
    begin, longest = time.monotonic(), 0.0
    while not true():
        assert time.monotonic() < begin + PATIENCE_S, f"still {job.state}: {job.text}"
        before = time.monotonic()
        job.advance()
        longest = max(longest, time.monotonic() - before)
        time.sleep(0.002)
    return longest


def sequences():
    return slicer.util.getNodesByClass("vtkMRMLSequenceNode")


def test_a_sequence_becomes_a_denoised_sequence(start, sequence):
    before, told = pixels(sequence).copy(), []
    job = DenoiseJob(start("slow"), sequence, name="clean", strength=0.5)  # slow enough to be heard between its frames
    job.on_change.append(lambda job: told.append((job.state, job.text, job.fraction)))
    output = job.wait()
    np.testing.assert_array_equal(pixels(output), before)  # the fake worker copies
    np.testing.assert_array_equal(pixels(sequence), before)
    assert output.GetName() == "clean" and output is job.result and (job.state, job.fraction) == ("done", 1.0)
    assert [output.GetNthIndexValue(n) for n in range(6)] == [sequence.GetNthIndexValue(n) for n in range(6)]
    assert output.GetAttribute("FluoroDenoise.ModelSHA256") == "0" * 64 and output.GetAttribute("FluoroDenoise.Strength") == "0.5"
    assert job.report["warnings"] == ["fluoro is dark."]  # by the name that the person knows
    order = list(dict.fromkeys(state for state, *_ in told))
    assert order[-1] == "done" and order == [s for s in ("saving", "running", "reading", "done") if s in order]
    assert [fraction for *_, fraction in told] == sorted(fraction for *_, fraction in told)
    assert any("frames a second" in text and "left" in text for _, text, _ in told)


def test_a_range_of_frames_goes_into_an_existing_output(start, sequence):
    output = make_run(slicer.mrmlScene, 3, 10, 10, "old", browser=False)
    assert DenoiseJob(start(), sequence, output, first=1, last=4).wait() is output
    np.testing.assert_array_equal(pixels(output), pixels(sequence)[1:5])


@pytest.mark.parametrize("when", ["waiting", "saving", "running", "reading"])
def test_a_cancel_leaves_nothing_whatever_the_job_is_at(start, sequence, when, monkeypatch):
    monkeypatch.setattr(scene_job, "SECONDS_OF_AN_ADVANCE", 0)
    job = DenoiseJob(start("slow" if when == "running" else ""), sequence)
    if when != "waiting":
        until(job, lambda: job.state == when and (when != "running" or job.report))
    begin, before, told = time.monotonic(), len(sequences()), []
    job.on_change.append(lambda job: told.append(job.state))
    job.cancel()
    job.cancel()
    until(job, lambda: job.ended)
    assert job.state == "cancelled" and time.monotonic() - begin < 2 and len(sequences()) == before == 1
    assert told.count("cancelled") == 1 and told[-1] == "cancelled"
    with pytest.raises(JobCancelled):
        job.wait()


def test_a_worker_that_does_not_obey_delays_a_cancel_by_less_than_two_seconds(start, sequence):
    client = start("hang")
    job = DenoiseJob(client, sequence)
    until(job, lambda: job.state == "running" and client.alive)
    begin = time.monotonic()
    job.cancel()
    longest = until(job, lambda: job.ended)
    assert job.state == "cancelled" and time.monotonic() - begin < 2 and longest < 0.1


@pytest.mark.parametrize("gone", ["scene", "input", "output"])
@pytest.mark.parametrize("when", ["saving", "running", "reading"])
def test_a_job_whose_nodes_go_ends_as_cancelled_with_no_half_node(start, sequence, gone, when, monkeypatch):
    monkeypatch.setattr(scene_job, "SECONDS_OF_AN_ADVANCE", 0)
    output = make_run(slicer.mrmlScene, 2, 8, 8, "old", browser=False)
    job = DenoiseJob(start("slow" if when == "running" else ""), sequence, output)
    until(job, lambda: job.state == when and (when != "running" or job.report))
    if gone == "scene":
        slicer.mrmlScene.Clear(0)
    else:
        slicer.mrmlScene.RemoveNode(sequence if gone == "input" else output)
    until(job, lambda: job.ended)
    assert job.state == "cancelled" and job.result is None
    assert len(sequences()) == (0 if gone == "scene" else 1)
    if gone == "input":
        assert output.GetNumberOfDataNodes() == 2


def test_an_input_that_changes_while_it_is_read_is_refused(start, sequence, monkeypatch):
    monkeypatch.setattr(scene_job, "SECONDS_OF_AN_ADVANCE", 0)
    job = DenoiseJob(start(), sequence)
    until(job, lambda: job.state == "saving")
    slicer.util.updateVolumeFromArray(sequence.GetNthDataNode(5), np.zeros((1, 64, 48), np.uint16))
    until(job, lambda: job.ended)
    assert job.state == "failed" and "was changed while" in job.message


@pytest.mark.parametrize("mood, words", [
    ("die", "code 9"), ("refuse", "Frame 3 is broken"), ("missing", "PyTorch is not installed"),
])  # fmt: skip
def test_a_failure_is_one_sentence(start, sequence, mood, words):
    job = DenoiseJob(start(mood), sequence)
    with pytest.raises(JobFailed, match=words):
        job.wait()
    assert job.message and job.text == job.message and "\n" not in job.message and len(sequences()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the test kills with signals")
def test_a_worker_that_is_killed_fails_the_job_and_not_the_next(start, sequence, monkeypatch):
    client = start("slow")
    job = DenoiseJob(client, sequence)
    until(job, lambda: job.report)
    os.kill(client.pid, signal.SIGKILL)
    until(job, lambda: job.ended)
    assert job.state == "failed" and "ended from outside" in job.message
    monkeypatch.setenv("FAKE_WORKER", "")
    assert DenoiseJob(client, sequence).wait().GetNumberOfDataNodes() == 6


def test_a_second_job_waits_and_says_so(start, sequence):
    client = start("slow")
    first, second = DenoiseJob(client, sequence), DenoiseJob(client, sequence)
    until(first, lambda: first.report)
    until(second, lambda: second.state == "running")
    second.advance()
    assert second.text == "Waiting for the job before this one"
    assert second.wait(idle=first.advance).GetNumberOfDataNodes() == 6 and first.state == "done"


def test_a_job_can_be_asked_to_take_not_too_long(start, sequence):
    with pytest.raises(TimeoutError, match="longer than 0.5 s"):
        DenoiseJob(start("hang"), sequence).wait(timeout_s=0.5)


def test_stopping_the_client_ends_the_job(start, sequence):
    client = start("slow")
    job = DenoiseJob(client, sequence)
    until(job, lambda: job.report)
    client.stop()
    job.advance()
    assert job.state == "cancelled"


def test_a_callback_of_the_scene_may_cancel_and_advance(start, sequence):
    job = DenoiseJob(start(), sequence)
    heard = []

    def added(*_):
        heard.append(job.advance())
        job.cancel()

    tag = slicer.mrmlScene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, added)
    output = job.wait()
    slicer.mrmlScene.RemoveObserver(tag)
    assert heard and job.state == "done" and output.GetNumberOfDataNodes() == 6


def test_a_preview_is_one_frame_of_a_few_and_touches_no_scene(start, scene):
    run = make_run(scene, 30)
    nodes = scene.GetNumberOfNodes()
    job = PreviewJob(start(), run, 20)
    shown = job.wait()
    assert (job.frames.first, job.frames.last) == (12, 28) and scene.GetNumberOfNodes() == nodes
    assert shown.number == 20 and shown.reach == 1
    for frame in (shown.noisy, shown.clean):
        np.testing.assert_array_equal(frame, pixels(run)[20])
    with pytest.raises(InputProblem, match="no frame 31"):
        PreviewJob(start(), run, 30)


def test_an_export_says_how_the_result_was_made(start, sequence, tmp_path):
    client = start()
    with pytest.raises(InputProblem, match="not a result of FluoroDenoise"):
        ExportJob(client, sequence, tmp_path / "x.dcm")
    output = DenoiseJob(client, sequence, first=2).wait()
    job = ExportJob(client, output, tmp_path / "x.dcm", source_files=["a.dcm"])
    assert job.wait() == tmp_path / "x.dcm"
    asked = job.report
    assert asked["source"] == ["a.dcm"] and asked["first"] == 2 and asked["model_sha256"] == "0" * 64
    assert asked["frame_time_s"] == pytest.approx(1 / 15, abs=1e-3) and asked["pixel_spacing_mm"] == pytest.approx([0.3, 0.3])


def test_an_export_finds_its_source_in_the_dicom_database(start, sequence, tmp_path, monkeypatch):
    class Database:
        isOpen = True

        def fileForInstance(self, uid):
            return str(tmp_path / "in.dcm") if uid == "1.2.3" else ""

    (tmp_path / "in.dcm").touch()
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    for number in range(6):
        sequence.GetNthDataNode(number).SetAttribute("DICOM.instanceUIDs", "1.2.3")
    client = start()
    job = ExportJob(client, DenoiseJob(client, sequence).wait(), tmp_path / "x.dcm")
    job.wait()
    assert job.report["source"] == [str(tmp_path / "in.dcm")]


def test_an_export_of_one_file_a_frame_ends_in_a_folder(start, sequence, tmp_path, monkeypatch):
    client = start()
    output = DenoiseJob(client, sequence).wait()
    monkeypatch.setattr(client, "request", lambda do, output, **fields: WorkerClient.request(client, do, output=output.removesuffix(".dcm"), **fields))
    assert ExportJob(client, output, tmp_path / "x.dcm", source_files=list("abcdef")).wait() == tmp_path / "x"


def test_runs_for_an_adaptation_are_saved_one_after_the_other(start, scene, tmp_path):
    first, second = make_run(scene), make_run(scene, 3, name="other")
    job = AdaptJob(start(), [first, second], tmp_path / "model", minutes=2)
    assert job.wait() == tmp_path / "model"
    assert [Path(path).name for path in job.report["runs"]] == ["run_0000.npy", "run_0001.npy"] and job.report["minutes"] == 2
    with pytest.raises(InputProblem, match="No sequence is chosen"):
        AdaptJob(start(), [], tmp_path / "model")


def test_what_a_crashed_slicer_left_is_removed_after_a_day(start, sequence):
    old, young = (Path(slicer.app.temporaryPath) / f"FluoroDenoise-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir()
        (folder / "noisy.npy").touch()
    os.utime(old, (0, 0))
    DenoiseJob(start(), sequence).wait()
    assert temporary_folders() == [young]
    (young / "noisy.npy").unlink()
    young.rmdir()


def test_what_it_takes_is_known_before(sequence, start, monkeypatch):
    frames = resolve_input(sequence)
    needed = estimate(frames)
    assert needed.slicer_bytes == frames.nbytes == 6 * 64 * 48 * 2 and needed.disk_bytes == pytest.approx(2.2 * frames.nbytes, abs=1)
    assert needed.problem is None and "6 frames of 48x64" in needed.text and needed.worker_bytes > 5e8
    monkeypatch.setattr(estimates, "free_memory", lambda: 1000)
    with pytest.raises(InputProblem, match="of memory but 0.1 MB are free"):
        DenoiseJob(start(), sequence)
    monkeypatch.setattr(estimates.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(InputProblem, match="temporary files are needed"):
        DenoiseJob(start(), sequence)


@pytest.mark.skipif(sys.platform != "linux", reason="the test reads /proc")
def test_the_free_memory_is_that_of_the_system():
    assert 1e7 < estimates.free_memory() < 1e14


def test_slicer_stays_usable_with_a_long_run(start, scene):
    run = make_run(scene, 40, 512, 512)
    job = DenoiseJob(start(), run)
    longest = until(job, lambda: job.ended)
    assert job.state == "done" and longest < 0.25  # 0.05 s by itself; the machine that tests is shared


def test_the_real_worker_denoises_previews_and_exports_a_sequence(scene, tmp_path):
    """One road from end to end, with the real worker and a shipped model."""
    import pydicom

    run = make_run(scene, 4, 48, 64)
    client = WorkerClient()
    try:
        output = DenoiseJob(client, run, preset="fast", device="cpu").wait(timeout_s=PATIENCE_S)
        shown = PreviewJob(client, run, 2, preset="fast", device="cpu").wait(timeout_s=PATIENCE_S)
        noisy, clean = pixels(run).astype(float), pixels(output).astype(float)
        assert clean.std() < 0.6 * noisy.std() and abs(clean.mean() - noisy.mean()) < 0.5
        np.testing.assert_array_equal(shown.clean, pixels(output)[2])
        assert len(output.GetAttribute("FluoroDenoise.ModelSHA256")) == 64
        path = ExportJob(client, output, tmp_path / "clean.dcm").wait(timeout_s=PATIENCE_S)
        header = pydicom.dcmread(path)
        assert header.NumberOfFrames == 4 and header.ImageType[0] == "DERIVED" and header.PatientName == ""
        np.testing.assert_array_equal(header.pixel_array, pixels(output))

        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "run.dcm").write_bytes(Path(path).read_bytes())
        (tmp_path / "in" / "broken.dcm").write_bytes(b"nothing of use")
        job = FolderJob(client, tmp_path / "in", tmp_path / "out", preset="fast", device="cpu")
        job.wait(timeout_s=PATIENCE_S)
        assert [(name, state) for name, state, _ in job.files] == [("broken.dcm", "failed"), ("run.dcm", "done")]
        assert job.files[0][2] and job.result["done"] == job.result["failed"] == 1 and (tmp_path / "out" / "run.dcm").exists()
        with pytest.raises(JobFailed, match="nowhere is no model"):
            DenoiseJob(client, run, preset="nowhere").wait(timeout_s=PATIENCE_S)
    finally:
        client.stop()
