"""Compressed frames through a process of their own, which a bad file may crash, hang or fill without harm to ours.

Decoders fail in ways that no `except` stops: of 3,000 damaged files one crashed GDCM, 54 made a Rust decoder panic and
11 kept CharLS busy for ever. Here each of these is one sentence.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydicom.pixels import get_decoder
from pydicom.uid import UID

from ..errors import InputError, ResourceError, UnsupportedError
from .decoder_process import ANSWER, READY, REQUEST

PROGRAM = Path(__file__).with_name("decoder_process.py")
FRAME_SECONDS = 10
START_SECONDS = 60
BASE_MEMORY = 3 * 2**30  # address space of Python, numpy and the decoders' libraries
FRAMES_OF_MEMORY = 8  # JPEG 2000 works in int32 and keeps several copies
PROCESSES = 4  # at once; the one longest unused is ended for a new one

# The decoders for each transfer syntax, the first that is installed is taken and no other tried: a second opinion on a
# damaged frame would only be another guess. All have permissive licences; pydicom's "pylibjpeg" would be the GPL's
# libjpeg for JPEG, and its RLE panics on damage where pydicom's own does not.
_JPEG, _JPEG_LS, _JPEG_2000, _HTJ2K = ("gdcm", "pillow"), ("gdcm", "pyjpegls"), ("pylibjpeg", "gdcm", "pillow"), ("pylibjpeg",)
PLUGINS = {
    "1.2.840.10008.1.2.5": ("pydicom",),
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": _JPEG,
    "1.2.840.10008.1.2.4.57": ("gdcm",),
    "1.2.840.10008.1.2.4.70": ("gdcm",),
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _HTJ2K,
    "1.2.840.10008.1.2.4.202": _HTJ2K,
    "1.2.840.10008.1.2.4.203": _HTJ2K,
}
Answer = TypeVar("Answer")
PACKAGES = {"gdcm": "python-gdcm", "pylibjpeg": "pylibjpeg-openjpeg"}


def decoder_for(syntax: UID, name: str) -> str:
    """The decoder to use for a transfer syntax: a name of pydicom's; UnsupportedError or ResourceError if there is none."""
    if syntax not in PLUGINS:
        compression = "an unknown way" if syntax.name == str(syntax) else syntax.name
        raise UnsupportedError(f"{name} is compressed as {compression}, which cannot be decoded here; save it uncompressed first.")
    installed = get_decoder(syntax).available_plugins
    for plugin in PLUGINS[syntax]:
        if plugin in installed:
            return plugin
    package = PACKAGES.get(PLUGINS[syntax][0], PLUGINS[syntax][0])
    raise ResourceError(f"{name} is compressed as {syntax.name}; install the package {package} to read it (pip install {package}).")


class DecoderProcess:
    """Decodes frames of one file or series; started with its first frame and ended with this object or its process.

    name: of the file, for messages. frame_bytes: of a decoded frame. options: what pydicom needs to know of the pixels.
    seconds: the time that a frame may take. One file or series, one process: what a damaged file did to a decoder's
    memory must not touch the pictures of another patient.
    """

    def __init__(self, name: str, syntax: UID, plugin: str, frame_bytes: int, options: dict, seconds: float = FRAME_SECONDS):
        self._name, self._plugin, self._frame_bytes, self._seconds = name, plugin, frame_bytes, seconds
        self._options = json.dumps({"syntax": str(syntax), "plugin": plugin, **options}).encode()
        self._process: subprocess.Popen | None = None
        self._owner = 0
        self._end: weakref.finalize | None = None
        self._lock = threading.RLock()

    def decode(self, index: int, pieces: list[bytes], name: str | None = None) -> bytes:
        """The pixels of frame `index`, little endian, from its compressed pieces; InputError if they are not to be had.

        name: of the file of this frame, where the frames are a series of files.
        """
        self._name = name or self._name
        encoded = _encapsulated(pieces)
        with self._lock:
            if self._owner != os.getpid():  # the other side of a fork: its pipes are not ours to use
                self._process = None
            try:
                if self._process is None:
                    self._start()
                verdict, content = self._within(self._seconds, lambda: self._ask(encoded))
            except TimeoutError:
                raise InputError(f"{self._name} cannot be read: the decoder {self._plugin} did not finish frame {index} within "
                                 f"{self._seconds:g} s and was stopped; the file is damaged.") from None
            except (EOFError, OSError):  # Windows has other names for a broken pipe
                raise InputError(f"{self._name} cannot be read: the decoder {self._plugin} broke down on frame {index}"
                                 f"{self._how_it_ended()}; the file is damaged.") from None
            except BaseException:  # an interrupt between request and answer: the next frame must not get this one's pixels
                self.close()
                raise
        if verdict != b"+":
            raise InputError(f"{self._name} cannot be read: decoding frame {index} failed ({content.decode('ascii', 'replace')}); "
                             "the file is damaged or was cut short.")
        if len(content) != self._frame_bytes:
            raise InputError(f"Frame {index} of {self._name} has {len(content)} bytes when decoded but its header states "
                             f"{self._frame_bytes}; the file is damaged.")
        return content

    def close(self) -> None:
        """End the process; the next frame starts another."""
        with self._lock:
            if self._end is not None:
                self._end()
            self._process = None

    def _start(self) -> None:
        self.close()
        memory = BASE_MEMORY + FRAMES_OF_MEMORY * self._frame_bytes
        # numpy's libraries reserve address space for each thread that they could start.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(
                [sys.executable or "", "-B", "-W", "ignore", str(PROGRAM), str(memory), str(int(2 * self._seconds + 1))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )  # fmt: skip
        except OSError:
            raise self._cannot_start() from None
        self._owner = os.getpid()
        self._end = weakref.finalize(self, _end, self._process, os.getpid())
        _make_room_for(self)
        try:
            ready = self._within(START_SECONDS, lambda: self._process.stdout.read(len(READY)))
        except (TimeoutError, EOFError):
            ready = b""
        if ready != READY:
            self.close()
            raise self._cannot_start()

    def _cannot_start(self) -> ResourceError:
        return ResourceError(f"{self._name} is compressed, and the process that decodes such files could not be started; "
                             "save it uncompressed, or see that Python can start programs.")

    def _ask(self, encoded: bytes) -> tuple[bytes, bytes]:
        to, back = self._process.stdin, self._process.stdout
        to.write(REQUEST.pack(len(self._options), len(encoded)) + self._options)
        to.write(encoded)
        to.flush()
        verdict, size = ANSWER.unpack(_exactly(back, ANSWER.size))
        if size > self._frame_bytes + 2**16:  # a decoder gone mad must not fill our memory
            raise EOFError
        return verdict, _exactly(back, size)

    def _within(self, seconds: float, act: Callable[[], Answer]) -> Answer:
        """What act() gives; TimeoutError if it takes longer, the process then being killed, which ends its waiting."""
        late = threading.Event()

        def stop(process=self._process) -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            return act()
        except (EOFError, OSError):
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()
            timer.join()
            if late.is_set():  # also where the answer came with the bell: this process is ended
                self.close()

    def _how_it_ended(self) -> str:
        process = self._process
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)
        code = process.poll()
        self.close()
        if code is None or code >= 0:
            return ""
        with suppress(ValueError):
            return f" ({signal.Signals(-code).name})"
        return ""


_running: OrderedDict[int, weakref.ref] = OrderedDict()
_running_lock = threading.Lock()


def _make_room_for(process: DecoderProcess) -> None:
    """Remember a process that was started; end the oldest where there are too many and no one is waiting for it."""
    with _running_lock:
        _running.pop(id(process), None)
        _running[id(process)] = weakref.ref(process)
        for key, reference in list(_running.items())[:-PROCESSES]:
            other = reference()
            if other is None or other is process:
                del _running[key]
            elif other._lock.acquire(blocking=False):
                try:
                    other.close()
                finally:
                    other._lock.release()
                del _running[key]


def _end(process: subprocess.Popen, owner: int) -> None:
    if owner != os.getpid():
        return
    process.kill()
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):
            stream.close()
    process.wait()


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError
    return content


def _encapsulated(pieces: list[bytes]) -> bytes:
    """One frame as encapsulated pixel data: an empty offset table, its pieces, the end (PS3.5 A.4)."""
    items = [struct.pack("<HHI", 0xFFFE, 0xE000, len(piece)) + piece for piece in (b"", *pieces)]
    return b"".join(items) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
