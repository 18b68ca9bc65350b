"""Which frames make the window of a frame, also at the ends of a run."""


def mirrored(index: int, count: int) -> int:
    """The frame that stands in for `index` in a run of `count` frames: 2 1 | 0 1 2 ... at both ends.

    The end frame is not repeated: a copy of it would let a frame-blind network see its own noise.
    """
    if count == 1:
        return 0
    folded = index % (2 * (count - 1))
    return min(folded, 2 * (count - 1) - folded)


def window_indices(centre: int, radius: int, count: int) -> list[int]:
    """The 2 * radius + 1 frames around `centre`, oldest first."""
    return [mirrored(centre + offset, count) for offset in range(-radius, radius + 1)]
