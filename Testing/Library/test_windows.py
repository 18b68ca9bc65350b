from FluoroDenoiseLib.windows import mirrored, window_indices


def test_the_ends_of_a_run_are_mirrored_without_repeating_the_end_frame():
    assert window_indices(0, 2, 10) == [2, 1, 0, 1, 2]
    assert window_indices(9, 2, 10) == [7, 8, 9, 8, 7]
    assert window_indices(4, 1, 10) == [3, 4, 5]


def test_runs_shorter_than_the_window_are_mirrored_until_it_is_full():
    assert window_indices(0, 2, 1) == [0] * 5
    assert window_indices(1, 2, 2) == [1, 0, 1, 0, 1]
    assert all(0 <= mirrored(index, 3) < 3 for index in range(-20, 20))
