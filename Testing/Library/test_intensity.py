"""The intensity scale: one affine map a run, made from its first frames."""

import numpy as np
import pytest
from FluoroDenoiseLib.intensity import IntensityScale


def test_the_scale_comes_back_to_the_stored_value():
    scale = IntensityScale(100.0, 1300.0)
    stored = np.array([-50.0, 100.0, 700.0, 5000.0])
    np.testing.assert_allclose(scale.to_stored(scale.to_unit(stored)), stored)


def test_values_outside_the_scale_are_not_clamped():
    scale = IntensityScale(0.0, 10.0)
    assert scale.to_unit(-5.0) == -0.5 and scale.to_unit(20.0) == 2.0


def test_the_scale_spans_the_percentiles_of_a_ramp():
    ramp = np.arange(1001.0).reshape(1, 1, 1001).repeat(3, axis=0)
    scale = IntensityScale.from_frames(ramp)
    assert scale.low == pytest.approx(1.0) and scale.high == pytest.approx(999.0)


def test_one_flash_frame_does_not_set_the_scale():
    frames = np.random.default_rng(0).normal(500, 20, (9, 32, 32))
    quiet = IntensityScale.from_frames(frames)
    frames[4] = 4095
    assert IntensityScale.from_frames(frames).high == pytest.approx(quiet.high, rel=0.02)


def test_only_the_first_frames_are_read():
    read = []

    def frames():
        for index in range(100):
            read.append(index)
            yield np.full((4, 4), index)

    IntensityScale.from_frames(frames())
    assert len(read) <= 17


def test_a_constant_run_gets_a_scale_of_one_stored_value():
    assert IntensityScale.from_frames(np.full((2, 4, 4), 7)) == IntensityScale(7.0, 8.0)


@pytest.mark.parametrize("low, high", [(1.0, 1.0), (2.0, 1.0), (0.0, float("nan"))])
def test_a_scale_without_width_is_refused(low, high):
    with pytest.raises(ValueError, match="no width"):
        IntensityScale(low, high)


def test_no_frames_have_no_scale():
    with pytest.raises(ValueError, match="without frames"):
        IntensityScale.from_frames([])
