import dataclasses

import numpy as np
import pytest

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.lag import STEP, lag, step_run
from FluoroDenoiseLib.evaluation.scenes import simulated_scene


@pytest.fixture(scope="module")
def scene():
    return simulated_scene("q120", 0, 96, 5)


def recursive(frames, a):
    out = [frames[0].astype(float)]
    for frame in frames[1:]:
        out.append(a * frame + (1 - a) * out[-1])
    return np.stack(out)


def test_a_method_of_one_frame_has_no_lag_and_a_recursive_filter_what_it_keeps(scene):
    run = step_run(scene)
    clean = np.stack([run.before] * STEP + [run.after] * (len(run.noisy) - STEP))
    assert lag(run, lambda frames: clean) == 0
    assert lag(run, lambda frames: np.roll(clean, 1, axis=0)) == 1
    assert lag(run, lambda frames: frames) == pytest.approx(0, abs=1e-6)  # both signs of the noise
    # The last of 7 frames still holds 0.6^7 of the step.
    assert lag(run, lambda frames: recursive(frames, 0.4)) == pytest.approx(0.6, abs=0.03)


def test_the_step_has_the_noise_of_its_scene(scene):
    run = step_run(scene)
    law = scene.true_noise.model
    noise = (run.noisy[0] - run.before) / np.sqrt(law.variance(run.before))
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert (noise[:, 1:] * noise[:, :-1]).mean() == pytest.approx(0.25, abs=0.05)
    assert np.allclose(run.noisy + run.opposite, 2 * np.stack([run.before] * STEP + [run.after] * (len(run.noisy) - STEP)))
    assert np.array_equal(run.noisy, step_run(scene).noisy) and not np.array_equal(run.noisy, step_run(scene, 1).noisy)


def test_a_scene_without_a_tool_is_refused(scene):
    with pytest.raises(InputError, match="no tool or no known noise"):
        step_run(dataclasses.replace(scene, without_tools=scene.clean))
