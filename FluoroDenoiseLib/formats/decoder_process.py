"""The program that decodes compressed frames apart from the one that needs them: a decoder may crash, hang or swallow
memory here, and only this process ends.

`decoding` starts it by the path of this file, so it imports nothing of the library: pydicom and numpy only. It is told
everything through its standard input, no file name among it, opens no file itself and can write none.

Arguments: its memory in bytes, and the seconds of processor time that a frame may take. It says b"+" when it is ready.
Request: two little-endian uint32, the sizes of what follows: JSON {"syntax", "plugin", and pydicom's options that
describe the pixels}, and one frame as encapsulated pixel data. Answer: b"+" or b"-", a little-endian uint64, and that
many bytes: the pixels, rows first, little endian; or the name of the exception's type, never its text, which may hold
values of the patient.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

REQUEST = struct.Struct("<II")
ANSWER = struct.Struct("<cQ")
READY = b"+"


def decode(options: dict, encoded: bytes) -> bytes:
    """The pixels of one encapsulated frame, little endian; whatever the decoder throws."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(UID(options.pop("syntax")))
    frame, _ = decoder.as_array(encoded, index=0, raw=True, decoding_plugin=options.pop("plugin"), **options)
    return frame.astype(frame.dtype.newbyteorder("<"), copy=False).tobytes()


def answer_to(options: dict, encoded: bytes) -> tuple[bytes, bytes]:
    """b"+" and the pixels, or b"-" and what kind of exception there was; a Rust decoder's panic is a BaseException."""
    try:
        return b"+", decode(options, encoded)
    except BaseException as error:
        return b"-", type(error).__name__.encode("ascii", "replace")[:64]


def main() -> None:
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # decoders print there, also values of the patient
        os.dup2(silent, stream)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end ends this process
    import pydicom.pixels  # noqa: F401  now, since it takes longer than a frame

    _limit(memory)
    answers.write(READY)
    answers.flush()
    while len(sizes := requests.read(REQUEST.size)) == REQUEST.size:
        options_size, encoded_size = REQUEST.unpack(sizes)
        options = json.loads(requests.read(options_size))
        _allow_seconds(seconds)
        verdict, content = answer_to(options, requests.read(encoded_size))
        answers.write(ANSWER.pack(verdict, len(content)))
        answers.write(content)
        answers.flush()


def _limit(memory: int) -> None:
    """Where the system can: so much address space, no files, no core dumps (they would hold pictures)."""
    with suppress(ImportError):
        import resource

        for limit, value in (
            (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0),
        ):  # fmt: skip
            with suppress(OSError, ValueError):
                resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))


def _allow_seconds(seconds: int) -> None:
    """Where the system can, end this process after so much more processor time, even when the parent is gone."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        allowed = int(used.ru_utime + used.ru_stime) + 1 + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.getrlimit(resource.RLIMIT_CPU)[1]))


if __name__ == "__main__":
    beside = Path(__file__).parent
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != beside.resolve()]
    main()
