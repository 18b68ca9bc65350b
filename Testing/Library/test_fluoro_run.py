"""A run: frames with all that is needed to denoise them and to write them back."""

import dataclasses

import numpy as np
import pytest
from FluoroDenoiseLib.fluoro_run import FluoroRun


def test_an_array_becomes_a_run():
    run = FluoroRun.from_array(np.zeros((4, 3, 2), "u2"), frame_time_s=0.1, bits_stored=12)
    assert len(run) == 4 and run.frame_times_s == pytest.approx((0, 0.1, 0.2, 0.3))
    assert run.frame_time_s == pytest.approx(0.1) and run.stored_range == (0, 4095)


@pytest.mark.parametrize("dtype, limits", [("u1", (0, 255)), ("i2", (-32768, 32767)), ("f4", None)])
def test_the_stored_range_is_that_of_the_type(dtype, limits):
    assert FluoroRun.from_array(np.zeros((1, 2, 2), dtype)).stored_range == limits


def test_one_image_is_no_run_until_it_has_a_frame_axis():
    with pytest.raises(ValueError, match="2 dimensions"):
        FluoroRun.from_array(np.zeros((3, 2)))


def test_a_run_needs_a_time_for_every_frame():
    run = FluoroRun.from_array(np.zeros((4, 3, 2), "u2"))
    with pytest.raises(ValueError, match="4 frames was given 1 frame times"):
        dataclasses.replace(run, frame_times_s=(0.0,))


def test_an_unknown_relationship_is_refused():
    with pytest.raises(ValueError, match="SQRT"):
        FluoroRun.from_array(np.zeros((4, 3, 2), "u2"), intensity_relationship="SQRT")
