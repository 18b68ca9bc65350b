from threading import Event, current_thread

import pytest

from FluoroDenoiseLib.overlap import read_ahead, write_behind


def test_items_read_ahead_come_in_order():
    assert list(read_ahead(range(50), most=3)) == list(range(50))
    assert list(read_ahead([])) == []


def test_no_more_is_read_ahead_than_was_asked_for():
    made = []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    for number in read_ahead(items(), most=2):
        assert len(made) <= number + 1 + 2 + 1  # taken, waiting, and the one in hand


def test_an_error_of_reading_comes_after_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("broken")

    taken = []
    with pytest.raises(ValueError, match="broken"):
        taken.extend(read_ahead(items()))
    run, seen = read_ahead(items()), []
    with pytest.raises(ValueError):
        for item in run:
            seen.append(item)
    assert seen == [1, 2]


def test_who_takes_no_more_ends_the_reading():
    closed = Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    run = read_ahead(items(), most=1)
    assert next(run) == 0
    run.close()
    assert closed.wait(60)


def test_what_is_written_behind_is_what_was_made_and_its_result_comes_back():
    assert write_behind(list, (number * 2 for number in range(30)), most=2) == [number * 2 for number in range(30)]


def test_items_are_made_where_they_are_asked_for():
    makers = write_behind(list, (current_thread() for _ in range(3)))
    assert set(makers) == {current_thread()}


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_an_error_in_making_reaches_the_writer_which_can_clean_up(error):
    kept = []

    def write(items):
        try:
            for item in items:
                kept.append(item)
        except BaseException:
            kept.clear()
            raise

    def items():
        yield 1
        yield 2
        raise error

    with pytest.raises(type(error)):
        write_behind(write, items())
    assert kept == []


def test_an_error_of_the_writer_ends_the_making():
    made = []

    def items():
        for number in range(1000):
            made.append(number)
            yield number

    def write(items):
        next(items)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write_behind(write, items(), most=2)
    assert len(made) < 1000


def test_a_writer_that_wants_no_items_is_heard():
    assert write_behind(lambda items: "nothing", iter(range(1000)), most=1) == "nothing"
