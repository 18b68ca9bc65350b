"""The logic as scripts use it: without the panel, with a fake worker, and once with the real one and the shipped weights."""

from pathlib import Path

import numpy as np
import pytest
import slicer
from host.fixtures import frames_of, make_run, run_events

FAKE = Path(__file__).parent / "fake_worker.py"


def test_five_lines_denoise_a_saved_run_with_the_shipped_weights(scene, module, tmp_path):
    """The real worker."""
    assert slicer.util.saveNode(make_run(scene, rows=96, columns=80), str(tmp_path / "run.seq.nrrd"))
    scene.Clear(0)

    logic = module.FluoroDenoiseLogic()
    run = slicer.util.loadSequence(str(tmp_path / "run.seq.nrrd"))
    clean = logic.process(run, preset="fast", device="cpu")
    slicer.util.saveNode(clean, str(tmp_path / "clean.seq.nrrd"))
    logic.stop()

    noisy, denoised = frames_of(run), frames_of(clean)
    assert denoised.dtype == np.uint16 and denoised.std() < 0.5 * noisy.std()
    assert abs(denoised.mean() / noisy.mean() - 1) < 0.01
    assert [clean.GetNthIndexValue(i) for i in range(6)] == [run.GetNthIndexValue(i) for i in range(6)]
    assert slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(run).IsSynchronizedSequenceNode(clean)
    assert clean.GetAttribute("FluoroDenoise.Model") == "fast" and len(clean.GetAttribute("FluoroDenoise.ModelSHA256")) == 64
    assert (tmp_path / "clean.seq.nrrd").is_file()


def test_a_job_can_be_watched_and_waited_for(logic, sequence):
    job = logic.process(sequence, waitForCompletion=False)
    seen = []
    job.on_change.append(lambda job: seen.append((job.state, job.fraction)))
    assert job.state == "waiting"
    clean = job.wait()
    assert job.state == "done" and clean.GetNumberOfDataNodes() == 6
    assert [fraction for _, fraction in seen] == sorted(fraction for _, fraction in seen) and seen[-1] == ("done", 1.0)


def test_a_job_goes_on_by_itself_in_slicers_event_loop(logic, sequence):
    job = logic.process(sequence, waitForCompletion=False)
    run_events(lambda: job.ended)
    assert job.result.GetNumberOfDataNodes() == 6 and not logic.errands.jobs


def test_a_cancelled_job_raises_when_it_is_waited_for(logic, sequence, monkeypatch):
    from FluoroDenoiseScene.job import JobCancelled

    monkeypatch.setenv("FAKE_WORKER", "slow")
    job = logic.process(sequence, waitForCompletion=False)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.wait()
    assert job.state == "cancelled" and len(slicer.util.getNodesByClass("vtkMRMLSequenceNode")) == 1


def test_what_cannot_be_denoised_is_refused_at_once_and_in_words(logic, scene):
    empty = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "nothing")
    for node, words in ((None, "choose"), (empty, "nothing is empty")):
        with pytest.raises(ValueError, match=words):
            logic.process(node)
    run = make_run(scene)
    with pytest.raises(ValueError, match="choose another output"):
        logic.process(run, run)


def test_one_worker_serves_many_runs(logic, scene):
    workers = set()
    for name in ("a", "b", "c"):
        logic.process(make_run(scene, count=3, name=name))
        workers.add(logic.errands.client.pid)
    assert len(workers) == 1


def test_a_range_of_frames_goes_to_an_existing_output(logic, scene, sequence):
    output = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "mine")
    assert logic.process(sequence, output, firstFrame=1, lastFrame=3) is output
    assert (frames_of(output) == frames_of(sequence)[1:4]).all()  # the fake worker copies


def test_a_volume_of_frames_becomes_a_volume(logic, scene):
    stack = np.random.default_rng(0).poisson(50, (5, 40, 48)).astype(np.int16)
    volume = slicer.util.addVolumeFromArray(stack, name="frames")
    clean = logic.process(volume, kind="slices")
    assert clean.IsA("vtkMRMLScalarVolumeNode") and (slicer.util.arrayFromVolume(clean) == stack).all()


def test_one_frame_is_previewed(logic, sequence):
    preview = logic.preview(sequence, frame=4)
    assert (slicer.util.arrayFromVolume(preview)[0] == frames_of(sequence)[4]).all()


def test_memory_is_estimated_before_anything_runs(logic, sequence):
    needed = logic.estimateMemory(sequence)
    assert needed.problem is None and needed.slicer_bytes == 6 * 64 * 48 * 2 and "6 frames" in needed.text
    assert not logic.errands.client.alive


def test_what_was_removed_is_input_minus_output(logic, sequence):
    clean = logic.process(sequence)
    slicer.util.arrayFromVolume(clean.GetNthDataNode(2))[:] -= 3
    removed = logic.compareView(sequence, clean)
    assert (frames_of(removed)[2] == 3).all() and (frames_of(removed)[1] == 0).all()


def test_regions_are_measured_into_a_table(logic, scene, sequence):
    clean = logic.process(sequence)
    table = logic.qualityTable(sequence, clean)
    assert table.IsA("vtkMRMLTableNode") and table.GetNumberOfRows() > 0
    assert logic.qualityTable(sequence, clean, tableNode=table) is table


def test_the_other_jobs_reach_the_worker_with_their_settings(logic, sequence, tmp_path):
    clean = logic.process(sequence, strength=0.5)
    assert logic.exportDicom(clean, tmp_path / "clean.dcm") == tmp_path / "clean.dcm"
    assert logic.adapt([sequence], tmp_path / "mine", minutes=2.0, model="fast") == tmp_path / "mine"
    report = logic.processFolder(tmp_path / "in", tmp_path / "out", preset="fast", overwrite=True)
    assert report["preset"] == "fast" and report["overwrite"] is True and report["source"].endswith("in")
    assert logic.probe() == {}


def test_the_module_tests_itself(scene, module):
    slicer.modules.FluoroDenoiseInstance.runTest(msec=0)


def test_a_worker_with_nothing_to_do_is_sent_away_and_comes_back_when_needed(scene, module, sequence, monkeypatch):
    from FluoroDenoiseScene import errands as errands_module
    from FluoroDenoiseScene import worker_client
    from FluoroDenoiseScene.job import DenoiseJob

    now = [0.0]
    monkeypatch.setattr(errands_module, "MILLISECONDS_BETWEEN_LOOKS", 1)
    errands = errands_module.Errands(worker_client.WorkerClient(FAKE, clock=lambda: now[0]))
    try:
        errands.run(DenoiseJob(errands.client, sequence), wait=True)
        run_events(lambda: errands._timer is not None)
        assert errands.client.alive
        now[0] += worker_client.SECONDS_OF_IDLENESS
        run_events(lambda: errands._timer is None)  # nothing is left to look after
        assert not errands.client.alive
        job = errands.run(DenoiseJob(errands.client, sequence), wait=False)
        run_events(lambda: job.ended)
        assert job.state == "done" and errands.client.alive
    finally:
        errands.stop()
