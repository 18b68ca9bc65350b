"""Where the compressed frames of a DICOM file lie: its items and offset tables, checked against each other (PS3.5 A.4)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from pydicom import Dataset
from pydicom.uid import UID, RLELossless

from ..errors import InputError

UNDEFINED = 0xFFFFFFFF
ITEM, ITEMS_END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
CODESTREAM_STARTS = (b"\xff\xd8", b"\xff\x4f")  # JPEG and JPEG-LS, JPEG 2000
MOST_FRAGMENTS = 1000  # of one frame; a file of nothing but empty items must not fill the memory

Piece = tuple[int, int]  # position in the file and length, bytes


def frame_pieces(file: BinaryIO, header: Dataset, frames: int, syntax: UID, name: str) -> list[list[Piece]]:
    """The pieces of each frame of a file that stands at its first item.

    InputError unless the items end properly and they and the offset tables give exactly `frames` frames.
    """
    items = _items(file, name, 1 + frames * MOST_FRAGMENTS)
    table = next(items, None)
    fragments = list(items)
    if table is None or not fragments:
        raise InputError(f"{name} has no compressed frames; it is a header without images.")
    first = _first_fragments(file, header, table, fragments, frames, syntax, name)
    if len(first) != frames:
        raise _miscounted(len(first), frames, name)
    pieces = [fragments[begin:end] for begin, end in zip(first, [*first[1:], len(fragments)])]
    if any(sum(length for _, length in piece) == 0 for piece in pieces):
        raise InputError(f"{name} has compressed frames without content; the file is damaged.")
    return pieces


def _items(file: BinaryIO, name: str, most: int) -> Iterator[Piece]:
    """Each item of the pixel data, the offset table first."""
    begin, end = file.tell(), file.seek(0, os.SEEK_END)
    file.seek(begin)
    for _ in range(most + 1):
        start = file.read(8)
        if len(start) < 8:
            raise InputError(f"{name} was cut short inside its compressed frames.")
        group, element, length = struct.unpack("<HHI", start)
        if (group, element) == ITEMS_END:
            return
        position = file.tell()
        if (group, element) != ITEM or length == UNDEFINED or position + length > end:
            raise InputError(f"{name} has damaged compressed frames at byte {position - 8}.")
        yield position, length
        file.seek(position + length)
    raise InputError(f"{name} has more than {MOST_FRAGMENTS} pieces for each of its compressed frames; the file is damaged.")


def _first_fragments(
    file: BinaryIO, header: Dataset, table: Piece, fragments: list[Piece], frames: int, syntax: UID, name: str
) -> list[int]:
    """The number of the fragment that each frame begins with."""
    if "ExtendedOffsetTable" in header:
        if table[1]:
            raise InputError(f"{name} has two offset tables where one is allowed; the file is damaged.")
        offsets = _whole_words(header.ExtendedOffsetTable, "Q", frames, name)
        lengths = _whole_words(header.get("ExtendedOffsetTableLengths") or b"", "Q", frames, name)
        first = _numbers_at(offsets, fragments, name)
        # With this table a frame is one fragment (PS3.3 C.7.6.3.1.8), padded to an even length.
        if len(fragments) != frames or any(abs(fragments[n][1] - length) > 1 for n, length in zip(first, lengths)):
            raise _misplaced(name)
        return first
    if table[1]:
        file.seek(table[0])
        return _numbers_at(_whole_words(file.read(table[1]), "I", frames, name), fragments, name)
    if len(fragments) <= frames or syntax == RLELossless:
        return list(range(len(fragments)))
    if frames == 1:
        return [0]
    # Several fragments a frame and no table: a frame begins where a codestream does.
    first = [number for number, (position, _) in enumerate(fragments) if _bytes_at(file, position, 2) in CODESTREAM_STARTS]
    if first[:1] != [0]:
        raise InputError(f"{name} has compressed frames that do not begin as such; the file is damaged.")
    return first


def _whole_words(content: bytes, word: str, frames: int, name: str) -> list[int]:
    count, rest = divmod(len(content), struct.calcsize(word))
    if rest or count != frames:
        raise _miscounted(count, frames, name)
    return list(struct.unpack(f"<{count}{word}", content))


def _numbers_at(offsets: list[int], fragments: list[Piece], name: str) -> list[int]:
    """The fragments whose items begin at these offsets from the first item, which must ascend from 0."""
    places = {position - fragments[0][0]: number for number, (position, _) in enumerate(fragments)}
    if offsets[0] != 0 or any(offset not in places for offset in offsets) or sorted(set(offsets)) != offsets:
        raise _misplaced(name)
    return [places[offset] for offset in offsets]


def _misplaced(name: str) -> InputError:
    return InputError(f"{name} has an offset table that does not point at its frames; the file is damaged.")


def _miscounted(found: int, frames: int, name: str) -> InputError:
    return InputError(f"{name} holds {found} compressed frames but its header states NumberOfFrames {frames}.")


def _bytes_at(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
