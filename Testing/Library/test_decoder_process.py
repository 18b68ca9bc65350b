"""Compressed frames are decoded elsewhere: a decoder that crashes, hangs or panics costs one sentence, and no more."""

import gc
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_examples import COMPRESSED, PROVENANCE, compressed, noise_frames, xa_file
from FluoroDenoiseLib.errors import InputError, ResourceError
from FluoroDenoiseLib.formats import decoder_process, decoding, dicom_pixels, read_run, write_run
from FluoroDenoiseLib.formats.decoding import DecoderProcess
from FluoroDenoiseLib.formats.dicom_reading import quiet_pydicom
from pydicom.uid import JPEGLSLossless, RLELossless

KILLERS = sorted((Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom-killers").glob("*.dcm"))
CRASHING = [path for path in KILLERS if "gdcm" in path.name]
HANGING = [path for path in KILLERS if "pyjpegls" in path.name]
needs_killers = pytest.mark.skipif(not KILLERS, reason="the files that kill decoders are not here")


def header_of(path):
    """The header and the encoded first frame of a killer, found by hand: most were cut short within it."""
    with quiet_pydicom():
        header = pydicom.dcmread(path, stop_before_pixels=True)
    content = path.read_bytes()
    place = content.rindex(b"\xe0\x7f\x10\x00O") + 12
    place += 8 + struct.unpack_from("<I", content, place + 4)[0]  # the offset table
    return header, content[place + 8 : place + 8 + struct.unpack_from("<I", content, place + 4)[0]]


def process_for(header, plugin, seconds=10.0):
    size = header.Rows * header.Columns * header.SamplesPerPixel * header.BitsAllocated // 8
    options = {
        "rows": header.Rows, "columns": header.Columns, "number_of_frames": 1, "samples_per_pixel": header.SamplesPerPixel,
        "photometric_interpretation": header.PhotometricInterpretation, "pixel_representation": header.PixelRepresentation,
        "bits_allocated": header.BitsAllocated, "bits_stored": header.BitsStored, "pixel_keyword": "PixelData",
        "planar_configuration": header.get("PlanarConfiguration", 0),
    }  # fmt: skip
    return DecoderProcess("run.dcm", header.file_meta.TransferSyntaxUID, plugin, size, options, seconds)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"


@needs_killers
def test_a_crash_is_a_sentence():
    pytest.importorskip("gdcm")
    header, frame = header_of(CRASHING[0])
    with pytest.raises(InputError, match="the decoder gdcm broke down on frame 3 .SIG.*; the file is damaged"):
        process_for(header, "gdcm").decode(3, [frame])


def hang(path, seconds):
    pytest.importorskip("jpeg_ls")
    header, frame = header_of(path)
    process = process_for(header, "pyjpegls", seconds)
    begin = time.monotonic()
    with pytest.raises(InputError) as refusal:
        process.decode(0, [frame])
    assert time.monotonic() - begin < seconds + decoding.START_SECONDS and process._process is None
    return str(refusal.value)


@needs_killers
def test_an_endless_loop_is_stopped():
    assert "did not finish frame 0 within 1 s" in hang(HANGING[-1], 1.0)


@needs_killers
@pytest.mark.slow
@pytest.mark.parametrize("path", HANGING, ids=lambda path: path.name)
def test_every_known_endless_loop_is_refused_in_time(path):
    pytest.importorskip("jpeg_ls")
    header, frame = header_of(path)
    begin = time.monotonic()
    # Some give up by themselves after seconds, sooner or later than the limit, as the machine is.
    with pytest.raises(InputError, match="did not finish frame 0 within 3 s|decoding frame 0 failed"):
        process_for(header, "pyjpegls", 3.0).decode(0, [frame])
    assert time.monotonic() - begin < 3.0 + decoding.START_SECONDS


def disguised(target, killer, copies=2):
    """The codestream of a killer as the frames of an otherwise sound XA run."""
    header, frame = header_of(killer)
    run = pydicom.dcmread(xa_file(target, noise_frames(copies, (header.Rows, header.Columns))))
    run.BitsAllocated, run.BitsStored, run.HighBit = header.BitsAllocated, header.BitsStored, header.HighBit
    run.file_meta.TransferSyntaxUID = header.file_meta.TransferSyntaxUID
    run.PixelData = pydicom.encaps.encapsulate([frame] * copies)
    run["PixelData"].VR = "OB"
    run.save_as(target)
    return target


@needs_killers
def test_killers_inside_a_sound_header_are_refused_and_the_next_run_is_read(tmp_path, monkeypatch):
    pytest.importorskip("jpeg_ls")
    monkeypatch.setitem(decoding.PLUGINS, JPEGLSLossless, ("pyjpegls",))
    monkeypatch.setattr(dicom_pixels, "DecoderProcess", lambda *facts: DecoderProcess(*facts, seconds=1.0))
    for killer in (HANGING[-1], *CRASHING):
        with pytest.raises(InputError, match="the file is damaged"):
            read_run(disguised(tmp_path / "bad.dcm", killer))
    good = compressed(xa_file(tmp_path / "good.dcm"), COMPRESSED["JPEG-LS"])
    np.testing.assert_array_equal(np.stack(list(read_run(good).frames)), noise_frames())


class PanicException(BaseException):
    """As a Rust decoder throws it: not an Exception."""


@pytest.mark.parametrize("error", [PanicException("Doe^John"), MemoryError(), SystemExit(3), ValueError("Doe^John")])
def test_a_panic_of_a_decoder_is_answered_by_its_name_only(monkeypatch, error):
    def throw(options, encoded):
        raise error

    monkeypatch.setattr(decoder_process, "decode", throw)
    assert decoder_process.answer_to({}, b"") == (b"-", type(error).__name__.encode())


def program(monkeypatch, tmp_path, body):
    """Put another program in the place of the decoder's."""
    path = tmp_path / "program.py"
    path.write_text("import os, sys, struct, time\nout = sys.stdout.buffer\nout.write(b'+'); out.flush()\n" + body)
    monkeypatch.setattr(decoding, "PROGRAM", path)


RUBBISH = {
    "ends": ("sys.exit(0)", "broke down on frame 0"),
    "aborts": ("sys.stdin.buffer.read(8); os.abort()", "SIGABRT"),
    "is killed": ("sys.stdin.buffer.read(8); os.kill(os.getpid(), 9)", "SIGKILL"),
    "promises too much": ("sys.stdin.buffer.read(8); out.write(struct.pack('<cQ', b'+', 2**40)); out.flush(); time.sleep(60)", "broke down"),
    "gives too little": ("sys.stdin.buffer.read(8); out.write(struct.pack('<cQ', b'+', 3) + b'abc'); out.flush(); time.sleep(60)", "3 bytes"),
}


@pytest.mark.parametrize("mood", RUBBISH)
def test_whatever_the_process_does_the_answer_is_a_sentence(monkeypatch, tmp_path, mood):
    body, sentence = RUBBISH[mood]
    program(monkeypatch, tmp_path, body)
    with pytest.raises(InputError, match=sentence):
        DecoderProcess("run.dcm", RLELossless, "pydicom", 100, {}).decode(0, [b"ab"])


def test_a_process_that_cannot_start_is_no_fault_of_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    with pytest.raises(ResourceError, match="could not be started"):
        DecoderProcess("run.dcm", RLELossless, "pydicom", 100, {}).decode(0, [b"ab"])


def test_an_interrupt_does_not_leave_an_answer_for_the_next_frame(tmp_path, monkeypatch):
    run = read_run(compressed(xa_file(tmp_path / "xa.dcm"), COMPRESSED["RLE"]))
    ask = DecoderProcess._ask

    def interrupted(self, encoded):
        to = self._process.stdin
        to.write(decoding.REQUEST.pack(len(self._options), len(encoded)) + self._options + encoded)
        to.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr(DecoderProcess, "_ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.frames[0]
    monkeypatch.setattr(DecoderProcess, "_ask", ask)
    np.testing.assert_array_equal(run.frames[3], noise_frames()[3])


def test_one_process_serves_a_file_and_ends_with_it(tmp_path):
    run = read_run(compressed(xa_file(tmp_path / "xa.dcm"), COMPRESSED["RLE"]))
    pid = run.frames._decoder._process.pid
    np.testing.assert_array_equal(np.stack(list(run.frames)), noise_frames())
    assert run.frames._decoder._process.pid == pid and not gone(pid)
    del run
    gc.collect()
    assert gone(pid)


def test_many_open_runs_share_few_processes_and_all_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "PROCESSES", 1)
    path = compressed(xa_file(tmp_path / "xa.dcm"), COMPRESSED["RLE"])
    runs = [read_run(path) for _ in range(2)]
    assert [run.frames._decoder._process is not None for run in runs] == [False, True]
    for run in runs:
        np.testing.assert_array_equal(run.frames[1], noise_frames()[1])


@pytest.mark.skipif(os.name != "posix", reason="limits of memory are POSIX")
def test_a_decoder_cannot_swallow_memory_write_files_or_outlive_its_time(tmp_path):
    script = (
        "import resource, sys\nsys.path.insert(0, sys.argv[1])\nimport decoder_process as d\nd._limit(2 ** 30)\n"
        "try:\n    bytearray(2 ** 31)\nexcept MemoryError:\n    print('memory')\n"
        "try:\n    open(sys.argv[2], 'w', buffering=1).write('x\\n')\nexcept OSError:\n    print('files')\n"
        "sys.stdout.flush()\nd._allow_seconds(0)\nwhile True: pass\n"
    )
    folder = Path(decoder_process.__file__).parent
    ended = subprocess.run([sys.executable, "-c", script, str(folder), str(tmp_path / "file")], stdout=subprocess.PIPE, text=True, timeout=60)
    assert ended.stdout.split() == ["memory", "files"] and ended.returncode == -24  # SIGXCPU


def test_the_decoders_process_knows_no_torch_no_path_and_no_library(tmp_path):
    text = Path(decoder_process.__file__).read_text()
    assert "import torch" not in text and "FluoroDenoiseLib" not in text
    path = compressed(xa_file(tmp_path / "Doe^John.dcm"), COMPRESSED["RLE"])
    run = read_run(path)
    process = run.frames._decoder._process
    if Path("/proc").is_dir():
        assert "Doe" not in " ".join(process.args) and "Doe" not in Path(f"/proc/{process.pid}/cmdline").read_text()
        libraries = Path(f"/proc/{process.pid}/maps").read_text()
        assert "torch" not in libraries.replace("libtorch", "torch") or "site-packages/torch" not in libraries


def test_compressed_values_beyond_the_stated_bits_are_refused(tmp_path):
    source = compressed(xa_file(tmp_path / "xa.dcm", noise_frames(bits=12)), COMPRESSED["RLE"])
    header = pydicom.dcmread(source)
    header.BitsStored, header.HighBit = 10, 9
    header.save_as(source)
    with pytest.raises(InputError, match="10 bits"):
        read_run(source)


def test_a_result_is_written_from_compressed_frames_while_they_are_read(tmp_path):
    run = read_run(compressed(xa_file(tmp_path / "in.dcm"), COMPRESSED["J2K"]))
    write_run(tmp_path / "out.dcm", iter(run.frames), run, PROVENANCE)
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "out.dcm").pixel_array, noise_frames())
