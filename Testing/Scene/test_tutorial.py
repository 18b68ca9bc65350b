from pathlib import Path

import slicer

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


def test_the_tutorials_further_examples_run(logic, sequence, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    names = {"logic": logic, "run": sequence}
    exec(code_after("test: more").replace("/data", tmp_path.as_posix()), names)
    assert names["clean"].GetNumberOfDataNodes() == sequence.GetNumberOfDataNodes()
    assert names["removed"].IsA("vtkMRMLSequenceNode") and names["table"].IsA("vtkMRMLTableNode")
    assert names["model"] == tmp_path / "my_model" and "6 frames of 48x64" in capsys.readouterr().out
