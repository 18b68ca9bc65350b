"""Frames of any size through a network that wants multiples of its stride, and frames too large for memory in tiles.

A network that halves its frames three times takes multiples of eight. Frames are mirrored beyond their lower and right
edges up to that, and cropped afterwards. Tiles begin on multiples of the stride too, and see `halo` pixels around what
they keep; where the halo covers the receptive field they give what the whole frame gives. Group norm has no such halo:
its statistics are those of the tile, so a network with it wants tiles as large as memory allows.
"""

from __future__ import annotations

import warnings
from typing import Protocol

import torch
from torch import Tensor

from FluoroDenoiseLib import compute
from FluoroDenoiseLib.errors import ResourceError

DEFAULT_HALO = 64
HALVINGS = 4


class Restorer(Protocol):
    """What every denoising network is: windows in the stabilised domain in, their clean centre frames out.

    Optional attributes: `stride` (frame sizes must be multiples of it), `receptive_radius` (pixels) and
    `level(windows)` (the grey level [B, 1, 1, 1] it takes for zero, which all tiles of a frame must share).
    """

    radius: int
    guides: str

    def __call__(self, windows: Tensor, guides: Tensor | None = None) -> Tensor:
        """windows: [B, 2*radius+1, H, W], guides: [B, G, H, W] -> [B, H, W]."""
        ...


class Tiled:
    """A Restorer that gives another one whole frames padded to its stride, or overlapping tiles.

    tile: pixels on a side that a tile keeps, or None for whole frames. halo: pixels seen around it; by default the
    restorer's receptive radius. Both are rounded up to the stride. When memory runs out the windows of a batch are taken
    one by one, then the tile is halved, up to four times; the first time with a warning. What helped is kept for the
    frames that follow. Raises ResourceError if nothing helped.
    """

    def __init__(self, restorer: Restorer, tile: int | None = None, halo: int | None = None) -> None:
        if tile is not None and tile < 1:
            raise ValueError(f"A tile of {tile} pixels holds nothing; give at least 1, or none for whole frames.")
        self.restorer = restorer
        self.radius = restorer.radius
        self.guides = getattr(restorer, "guides", "none")
        self.tile = tile
        self.halo = getattr(restorer, "receptive_radius", DEFAULT_HALO) if halo is None else halo
        self._stride = getattr(restorer, "stride", 1)
        self._one_by_one = False
        self._halvings = 0

    def __call__(self, windows: Tensor, guides: Tensor | None = None) -> Tensor:
        while True:
            try:
                return self._restore(windows, guides)
            except Exception as error:
                if not compute.is_out_of_memory(error):
                    raise
                cause = str(error)
            # Outside the except block: the error's traceback no longer keeps the tensors that filled the memory.
            self._ask_for_less(tuple(windows.shape), cause)

    def _ask_for_less(self, shape: tuple[int, ...], cause: str) -> None:
        batch, _, height, width = shape
        if not self._one_by_one:
            warnings.warn(f"Memory ran out on {batch} windows of {height}x{width}; they go one by one, in tiles if that "
                          f"is still too much, which is slower.", stacklevel=3)
            self._one_by_one = True
            if batch > 1:
                compute.release_cached_memory()
                return
        if self._halvings == HALVINGS or self.tile == 1:
            raise ResourceError(f"Memory does not suffice for a frame of {height}x{width} even in tiles of {self.tile}; "
                                f"close other programs or choose a smaller model ({cause.splitlines()[0]}).")
        whole = max(height, width)
        self.tile = -(-min(self.tile or whole, whole) // 2)
        self._halvings += 1
        compute.release_cached_memory()

    def _restore(self, windows: Tensor, guides: Tensor | None) -> Tensor:
        if self._one_by_one and len(windows) > 1:
            each_guides = [None] * len(windows) if guides is None else guides.split(1)
            return torch.cat([self._restore(*pair) for pair in zip(windows.split(1), each_guides)])
        height, width = windows.shape[-2:]
        # The level of the whole frame, so that neither padding nor tiles shift it.
        level = getattr(self.restorer, "level", None)
        options = {} if level is None else {"level": level(windows)}
        windows = pad_to_multiple(windows, self._stride)
        guides = None if guides is None else pad_to_multiple(guides, self._stride)
        if self.tile is None:
            return self.restorer(windows, guides, **options)[..., :height, :width]
        return self._restore_in_tiles(windows, guides, options)[..., :height, :width]

    def _restore_in_tiles(self, windows: Tensor, guides: Tensor | None, options: dict[str, Tensor]) -> Tensor:
        tile, halo = _round_up(self.tile, self._stride), _round_up(self.halo, self._stride)
        rows, columns = (_spans(size, tile, halo) for size in windows.shape[-2:])
        output = None
        for row_keep, row_see, row_crop in rows:
            for column_keep, column_see, column_crop in columns:
                tile_guides = None if guides is None else guides[..., row_see, column_see]
                restored = self.restorer(windows[..., row_see, column_see], tile_guides, **options)
                if output is None:
                    output = restored.new_empty(len(windows), *windows.shape[-2:])
                output[..., row_keep, column_keep] = restored[..., row_crop, column_crop]
        return output


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Images [..., H, W] continued by their mirror images below and to the right, up to multiples of `multiple`.

    The edge pixels are not repeated; an image too small for its mirror image is mirrored back and forth, down to one
    pixel, which is repeated.
    """
    for axis in (-2, -1):
        size = images.shape[axis]
        padded = _round_up(size, multiple)
        if padded > size:
            period = max(1, 2 * (size - 1))
            position = torch.arange(padded, device=images.device) % period
            images = images.index_select(axis, torch.minimum(position, period - position) if size > 1 else position)
    return images


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _spans(size: int, tile: int, halo: int) -> list[tuple[slice, slice, slice]]:
    """Along one axis, for every tile: what it keeps of the frame, what it sees of it, what to keep of what it gives."""
    spans = []
    for start in range(0, size, tile):
        stop = min(start + tile, size)
        see = max(0, start - halo)
        spans.append((slice(start, stop), slice(see, min(size, stop + halo)), slice(start - see, stop - see)))
    return spans
