from pathlib import Path

import slicer
from host.fixtures import FAKE_WORKER, make_run

TUTORIAL = (Path(__file__).resolve().parents[2] / "docs" / "SLICER.md").read_text(encoding="utf-8")


def code_after(comment):
    return TUTORIAL.split(f"<!-- {comment} -->\n```python\n", 1)[1].split("```", 1)[0]


def test_the_tutorials_first_example_denoises_the_sample_run(scene, module):
    """With the real worker and the shipped weights."""
    names = {}
    exec(code_after("test: console"), names)
    try:
        run, clean = names["run"], names["clean"]
        assert clean.GetNumberOfDataNodes() == 6 and clean.GetAttribute("FluoroDenoise.Model") == "fast"
        noisy, quiet = (slicer.util.arrayFromVolume(node.GetNthDataNode(3)).astype(float) for node in (run, clean))
        assert quiet.dtype == noisy.dtype and quiet.std() < noisy.std() and abs(quiet.mean() / noisy.mean() - 1) < 0.01
    finally:
        names["logic"].stop()


def test_the_tutorials_script_for_a_server_denoises_a_folder(scene, module, tmp_path, monkeypatch):
    from FluoroDenoiseScene import worker_client

    monkeypatch.setattr(worker_client, "worker_path", lambda: FAKE_WORKER)
    monkeypatch.setattr(slicer.util, "exit", lambda: None)
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        assert slicer.util.saveNode(make_run(scene, name=name), str(tmp_path / "in" / f"{name}.seq.nrrd"))
    names = {}
    exec(TUTORIAL.split("# denoise_all.py\n", 1)[1].split("```", 1)[0].replace("/data", tmp_path.as_posix()), names)
    names["logic"].stop()
    scene.Clear(0)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.seq.nrrd", "b.seq.nrrd"]
    assert slicer.util.loadSequence(str(tmp_path / "out" / "b.seq.nrrd")).GetNumberOfDataNodes() == 6


def test_the_tutorials_further_examples_run(logic, sequence, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    names = {"logic": logic, "run": sequence}
    exec(code_after("test: more").replace("/data", tmp_path.as_posix()), names)
    assert names["clean"].GetNumberOfDataNodes() == sequence.GetNumberOfDataNodes()
    assert names["removed"].IsA("vtkMRMLSequenceNode") and names["table"].IsA("vtkMRMLTableNode")
    assert names["model"] == tmp_path / "my_model" and "6 frames of 48x64" in capsys.readouterr().out
