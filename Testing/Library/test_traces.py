"""What is told of an exception, and what is not."""

import threading
import warnings

import pytest
from FluoroDenoiseLib import cli
from FluoroDenoiseLib.formats.dicom_reading import quiet_pydicom
from FluoroDenoiseLib.jobs import explain
from FluoroDenoiseLib.traces import of_the_machine, place, trace


def raised(inner, outer):
    try:
        try:
            raise inner
        except Exception as error:
            raise outer from error
    except Exception as error:
        return error


def test_a_trace_tells_lines_and_types_and_no_text():
    error = raised(KeyError("DOE^JANE"), RuntimeError("/home/doe/run.dcm"))
    text = trace(error)
    assert text.index("KeyError") < text.index("RuntimeError") and text.count("test_traces.py, line") == 2
    assert "DOE" not in text and "doe" not in text and "/" not in text
    assert place(error).startswith("test_traces.py, line ") and place(KeyError("never raised")) == "nowhere"


def test_an_error_in_a_circle_has_a_trace():
    first, second = KeyError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert sorted(trace(first).split()) == ["KeyError", "ValueError"]


@pytest.mark.parametrize("text, said", [
    ("CUDA error: an illegal memory access was encountered\nDOE", "CUDA error: an illegal memory access was encountered"),
    ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", "CUDNN_STATUS_NOT_INITIALIZED"),
    ("/home/doe/libtorch.so: undefined symbol: x", "undefined symbol"),
    ("Invalid value for VR DA: 'DOE JANE 1970'", ""),
])  # fmt: skip
def test_what_the_machine_says_is_told_and_nothing_else(text, said):
    assert of_the_machine(RuntimeError(text)) == said
    exit_code, sentence = explain(RuntimeError(text))
    assert exit_code == 1 and said in sentence and "DOE" not in sentence and "doe" not in sentence


class Left:
    """Fails when it is thrown away."""

    def __del__(self):
        raise KeyError("DOE^JANE")


def test_errors_that_nobody_caught_are_told_without_their_texts(monkeypatch, capsys):
    def command(options):
        thread = threading.Thread(target=lambda: {}["DOE^JANE"])
        thread.start()
        thread.join()
        Left()
        warnings.warn("DOE^JANE of a library", stacklevel=1)
        return 0

    before = warnings.showwarning, threading.excepthook
    monkeypatch.setitem(cli.COMMANDS, "probe", command)
    assert cli.main(["probe"]) == 0
    said = capsys.readouterr()
    assert said.err.count("KeyError") == 2 and "DOE" not in said.err + said.out
    assert (warnings.showwarning, threading.excepthook) == before


def test_pydicom_stays_quiet_until_the_last_thread_is_done_and_then_warnings_are_as_before():
    filters, steps = list(warnings.filters), [threading.Event() for _ in range(2)]

    def first():
        with quiet_pydicom():
            steps[0].set()
            steps[1].wait()

    thread = threading.Thread(target=first)
    thread.start()
    steps[0].wait()
    with quiet_pydicom():
        steps[1].set()
        thread.join()
        with warnings.catch_warnings(record=True) as caught:
            warnings.warn("DOE^JANE", stacklevel=2)
        assert not caught
    assert warnings.filters == filters
