"""Damaged DICOM files by the thousand, each one the same whenever its number and the seed are.

Half of the ways to damage a file know nothing of DICOM (bytes, cuts, insertions); half aim at what a reader trusts:
lengths, value representations, values, the order of elements.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from dicom_examples import COMPRESSED, OLD_SYNTAXES, capture_file, compressed, enhanced_file, noise_frames, reencoded, rf_file, xa_file
from FluoroDenoiseLib.formats.dicom_reading import quiet_pydicom
from pydicom import Dataset, dcmread
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless, RLELossless

SMALL = (16, 16)
VRS = [b"AT", b"CS", b"DA", b"DS", b"FD", b"IS", b"LO", b"OB", b"OW", b"PN", b"SQ", b"UI", b"UL", b"UN", b"US", b"UT", b"XX"]
LENGTHS = [b"\0\0\0\0", b"\x01\0\0\0", b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\0\0\x01\0"]
TEXTS = [b"", b"-1", b"0", b"2147483648", b"NaN", b"1e400", b"1\\2\\3", b"\xff\xfe\0", b"9" * 40, b"../../x", b"CT", b"MONOCHROME1"]
NUMBERS = [0, 1, 7, 8, 12, 16, 17, 255, 256, 4096, 32767, 65535]
COMPRESSED_SHARE = 0.08  # a decoder process for each takes ten times as long as the rest


class Place(NamedTuple):
    """Where an element of a file lies: its tag, the length field, whether that has four bytes, its value, how long."""

    tag: int
    field: int
    wide: bool
    value: int
    length: int


@dataclass(frozen=True)
class Seed:
    """A file to damage, and the places of its elements at the top level."""

    name: str
    content: bytes
    places: tuple[Place, ...]


def places_of(path: Path) -> tuple[Place, ...]:
    """Every element at the top level of a file with defined lengths."""
    found = []
    with quiet_pydicom():
        header = dcmread(path)
        for tag in header.keys():
            raw = header.get_item(tag)
            start = getattr(raw, "value_tell", None)
            if start is None or raw.length == 0xFFFFFFFF:
                continue
            wide = raw.is_implicit_VR or raw.VR in ("OB", "OW", "SQ", "UN", "UT", "OF", "OD", "UC", "UR", "OL", "OV")
            field = start - (4 if wide else 2)
            found.append(Place(field - (4 if raw.is_implicit_VR else 8 if wide else 6), field, wide, start, raw.length))
    return tuple(found)


def make_seeds(folder: Path, killers: tuple[Path, ...] = ()) -> tuple[list[Seed], list[Seed]]:
    """(uncompressed, compressed) files of every kind that is read, and some that are refused; small, made in `folder`."""
    frames = noise_frames(3, SMALL)
    make = lambda name, **changes: xa_file(folder / f"{name}.dcm", frames, **changes)
    mask = Dataset()
    mask.MaskOperation, mask.MaskFrameNumbers, mask.ApplicableFrameRange = "AVG_SUB", 1, [2, 3]
    overlay = dcmread(make("overlay"))
    overlay.add_new(0x60000010, "US", SMALL[0]), overlay.add_new(0x60000011, "US", SMALL[1])
    overlay.add_new(0x60003000, "OW", bytes(SMALL[0] * SMALL[1] // 8))
    overlay.private_block(9, "VENDOR", create=True).add_new(1, "LO", "private")
    overlay.save_as(folder / "overlay.dcm")
    plain = [
        make("xa"), xa_file(folder / "bytes.dcm", noise_frames(3, SMALL, 8), bits=8), rf_file(folder / "rf.dcm"),
        enhanced_file(folder / "enhanced.dcm"), *(reencoded(make(f"old{number}"), syntax) for number, syntax in enumerate(OLD_SYNTAXES)),
        make("vector", FrameTime=None, FrameTimeVector=[0, 50, 70], FrameIncrementPointer=0x00181065),
        make("mask", MaskSubtractionSequence=[mask], ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=2), folder / "overlay.dcm",
        make("negative", PhotometricInterpretation="MONOCHROME1"),
        make("single", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT"),
        capture_file(folder / "capture.dcm"),
        make("lossy", LossyImageCompression="01", WindowCenter=["2000", "1"], WindowWidth=["3000", "2"], SpecificCharacterSet="ISO_IR 144"),
    ]  # fmt: skip
    sources = [(make(f"packed{number}"), syntax, syntax) for number, syntax in enumerate(COMPRESSED.values())]
    sources += [
        (make("lossy2000"), JPEG2000Lossless, JPEG2000), (make("near"), JPEGLSLossless, JPEGLSNearLossless),
        (xa_file(folder / "packed_bytes.dcm", noise_frames(3, SMALL, 8), bits=8), RLELossless, RLELossless),
        (enhanced_file(folder / "packed_enhanced.dcm"), RLELossless, RLELossless),
    ]  # fmt: skip
    packed = []
    for path, syntax, label in sources:
        with suppress(pytest.skip.Exception):  # no encoder is installed
            header = dcmread(compressed(path, syntax))
            header.file_meta.TransferSyntaxUID = label  # what may have losses need not have any
            header.save_as(path)
            packed.append(path)
    return [[Seed(path.stem, path.read_bytes(), places_of(path)) for path in paths] for paths in (plain, [*packed, *killers])]


class Chance:
    """The random choices of one mutant."""

    def __init__(self, seed: int, number: int) -> None:
        self.random = np.random.default_rng([seed, number])

    def one(self, things):
        return things[int(self.random.integers(len(things)))]

    def below(self, limit: int) -> int:
        return int(self.random.integers(max(1, limit)))


def _bytes(blob: bytearray, seed: Seed, chance: Chance, last: int) -> None:
    for _ in range(1 + chance.below(8)):
        blob[128 + chance.below(last - 128)] = chance.below(256)


def flip_bytes(blob, seed, chance):
    _bytes(blob, seed, chance, len(blob))


def flip_header(blob, seed, chance):
    _bytes(blob, seed, chance, min(len(blob), 2500))


def flip_bit(blob, seed, chance):
    blob[128 + chance.below(min(len(blob), 2500) - 128)] ^= 1 << chance.below(8)


def cut_short(blob, seed, chance):
    del blob[chance.below(len(blob)) :]


def insert(blob, seed, chance):
    where = 128 + chance.below(len(blob) - 128)
    blob[where:where] = chance.random.bytes(1 + chance.below(40))


def delete(blob, seed, chance):
    where = 128 + chance.below(len(blob) - 128)
    del blob[where : where + 1 + chance.below(60)]


def repeat(blob, seed, chance):
    where = 128 + chance.below(len(blob) - 128)
    blob[where:where] = blob[where : where + 1 + chance.below(400)]


def four_bytes(blob, seed, chance):
    where = 128 + 2 * chance.below((len(blob) - 132) // 2)
    blob[where : where + 4] = chance.one(LENGTHS)


def wrong_length(blob, seed, chance):
    place = chance.one(seed.places)
    size = 4 if place.wide else 2
    near = struct.pack("<I", max(0, place.length + chance.one([-2, -1, 1, 2, 8, 100])))
    blob[place.field : place.field + size] = chance.one([*LENGTHS, near])[:size]


def wrong_vr(blob, seed, chance):
    place = chance.one(seed.places)
    blob[place.tag + 4 : place.tag + 6] = chance.one(VRS)


def wrong_value(blob, seed, chance):
    place = chance.one(seed.places)
    if place.length in (2, 4) and chance.below(2):
        value = struct.pack("<H" if place.length == 2 else "<I", chance.one(NUMBERS))
    else:
        value = chance.one(TEXTS)
    size = min(place.length, 64)
    blob[place.value : place.value + size] = value[:size].ljust(size, b" ")


def drop_element(blob, seed, chance):
    place = chance.one(seed.places)
    del blob[place.tag : place.value + place.length]


def move_element(blob, seed, chance):
    place, other = chance.one(seed.places), chance.one(seed.places)
    element = blob[place.tag : place.value + place.length]
    blob[other.tag : other.tag] = element


BLIND: list[Callable] = [flip_bytes, flip_header, flip_bit, cut_short, insert, delete, repeat, four_bytes]
AIMED: list[Callable] = [wrong_length, wrong_length, wrong_vr, wrong_value, wrong_value, drop_element, move_element]


def mutant(seeds: tuple[list[Seed], list[Seed]], seed: int, number: int) -> tuple[str, bytes]:
    """(what it is, the file): seed file number `number` as it is while there are some, then damaged ones."""
    plain, packed = seeds
    if number < len(plain) + len(packed):
        whole = (plain + packed)[number]
        return f"{whole.name}, whole", whole.content
    chance = Chance(seed, number)
    origin = chance.one(packed if packed and chance.random.random() < COMPRESSED_SHARE else plain)
    choice = BLIND + AIMED if origin.places else BLIND
    blob, ways = bytearray(origin.content), [chance.one(choice) for _ in range(1 + (chance.below(4) == 0))]
    for way in ways:
        if len(blob) > 200:
            way(blob, origin, chance)
    return f"{origin.name}, {' and '.join(way.__name__ for way in ways)}", bytes(blob)


