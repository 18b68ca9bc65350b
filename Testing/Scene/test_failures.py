import pytest

from FluoroDenoiseScene.failures import in_words_of_the_panel, why_it_ended


@pytest.mark.parametrize("said, words", [
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "Memory does not suffice"),
    ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", "update the driver"),
    ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "not made for this graphics card"),
    ("RuntimeError: CUDA error: an illegal memory access was encountered", "The graphics card failed"),
    ("ModuleNotFoundError: No module named 'torch'", "PyTorch is not installed; press Install"),
    ("ModuleNotFoundError: No module named 'pywt._extensions'", "The Python package pywt is missing; press Install"),
    ("ModuleNotFoundError: No module named 'FluoroDenoiseLib'", "installed incompletely"),
    ("A module that was compiled using NumPy 1.x cannot be run in NumPy 2.1.0", "do not fit each other"),
    ("OSError: [WinError 126] The specified module could not be found. Error loading c10.dll", "installation is damaged"),
    ("ImportError: libcudart.so.12: cannot open shared object file: No such file", "installation is damaged"),
    ("OSError: [Errno 28] No space left on device", "The disk is full"),
])  # fmt: skip
def test_what_a_library_says_becomes_what_a_person_can_do(said, words):
    assert words in why_it_ended(1, ["Traceback (most recent call last):", said, ""])


@pytest.mark.parametrize("code, words", [
    (-9, "memory ran out"), (-11, "crashed (a memory access error)"), (-4, "does not know"), (0xC0000005, "crashed"),
    (-1073741819, "crashed (a memory access error)"), (-64, "signal 64"), (3, "with code 3: the last line;"), (None, "unexpectedly"),
])  # fmt: skip
def test_an_end_without_words_is_explained_by_its_code(code, words):
    sentence = why_it_ended(code, ["first", "the last line"])
    assert words in sentence and sentence.endswith(".")


def test_advice_for_a_command_line_becomes_advice_for_the_panel():
    assert "--tile" not in in_words_of_the_panel("Memory does not suffice; close other programs, or use --tile 256 or --preset fast.")
    assert in_words_of_the_panel("The Python package torch is missing; install it with: pip install torch").endswith("Setup section.")
    assert in_words_of_the_panel("Frame 3 is broken; repair it.") == "Frame 3 is broken; repair it."
