"""A folder of runs into another."""

import numpy as np
import pytest
from FluoroDenoiseLib.errors import InputError, OutputError
from FluoroDenoiseLib.folders import denoise_each, runs_below
from FluoroDenoiseLib.targets import UsageError


@pytest.fixture
def runs(tmp_path):
    for name in ("a.npy", "deep/b.npy", "c.npy"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "in" / name, np.zeros((2, 4, 4), np.uint16))
    return tmp_path / "in"


def copy(run, place):
    if run.name == "c.npy":
        raise InputError("c.npy is broken.")
    place.write_bytes(run.read_bytes())


def test_every_run_goes_to_its_place_and_a_bad_one_does_not_stop_the_rest(runs, tmp_path):
    out = tmp_path / "out"
    outcomes = list(denoise_each(runs_below(runs, out), runs, out, copy, overwrite=False))
    assert [(outcome.source.name, outcome.state) for outcome in outcomes] == [("a.npy", "done"), ("c.npy", "failed"), ("b.npy", "done")]
    assert str(outcomes[1].error) == "c.npy is broken." and (out / "deep" / "b.npy").exists()
    for overwrite, states in ((False, ["there", "failed", "there"]), (True, ["done", "failed", "done"])):
        again = denoise_each(runs_below(runs, out), runs, out, copy, overwrite)
        assert [outcome.state for outcome in again] == states


def test_an_interrupt_ends_the_folder(runs, tmp_path):
    def interrupted(run, place):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(denoise_each(runs_below(runs, tmp_path / "out"), runs, tmp_path / "out", interrupted, overwrite=False))


def test_results_inside_the_source_are_not_denoised_again(runs):
    (runs / "out").mkdir()
    np.save(runs / "out" / "old.npy", np.zeros((2, 4, 4)))
    assert [path.name for path in runs_below(runs, runs / "out")] == ["a.npy", "c.npy", "b.npy"]


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
