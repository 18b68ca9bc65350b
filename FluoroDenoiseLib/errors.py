"""The refusals a person can meet, each with the exit code that a script can test for.

A message is one sentence for a radiographer: the file or value, the rule it breaks, the way out.
Everything that is not one of these is a fault of ours and ends with exit code 1.
"""


class FluoroDenoiseError(Exception):
    exit_code = 1


class InputError(FluoroDenoiseError, ValueError):
    """The input is broken: truncated, empty, lying about itself, not finite."""

    exit_code = 3


class UnsupportedError(FluoroDenoiseError, ValueError):
    """The input is sound but outside what we denoise: colour, ultrasound, mixed sizes."""

    exit_code = 4


class ResourceError(FluoroDenoiseError, RuntimeError):
    """The machine lacks what was asked for: a GPU, memory, an optional package."""

    exit_code = 5


class ModelError(FluoroDenoiseError, ValueError):
    """A model folder is absent, altered, or made for another architecture."""

    exit_code = 7


class OutputError(FluoroDenoiseError, OSError):
    """The result cannot be written where it was asked for."""

    exit_code = 8
