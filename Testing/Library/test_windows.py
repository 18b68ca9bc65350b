import pytest

from FluoroDenoiseLib.windows import mirrored, window_indices


def test_the_ends_of_a_run_are_mirrored_without_repeating_the_end_frame():
    assert window_indices(0, 2, 10) == [2, 1, 0, 1, 2]
    assert window_indices(9, 2, 10) == [7, 8, 9, 8, 7]
    assert window_indices(4, 1, 10) == [3, 4, 5]


def test_the_frames_next_to_the_ends_do_not_stand_in_for_their_own_neighbours():
    assert window_indices(1, 2, 10) == [3, 0, 1, 2, 3]
    assert window_indices(8, 2, 10) == [6, 7, 8, 9, 6]
    assert window_indices(1, 2, 3) == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("radius", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 9, 20])
def test_no_neighbour_of_a_frame_is_that_frame(radius, count):
    for centre in range(count):
        window = window_indices(centre, radius, count)
        assert window.pop(radius) == centre and centre not in window
        assert all(0 <= index < count and abs(index - centre) <= radius for index in window)


def test_runs_shorter_than_the_window_are_mirrored_until_it_is_full():
    assert window_indices(0, 2, 1) == [0] * 5
    assert window_indices(1, 2, 2) == [0, 0, 1, 0, 0]
    assert all(0 <= mirrored(index, 3) < 3 for index in range(-20, 20))
