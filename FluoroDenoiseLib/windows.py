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
    """The 2 * radius + 1 frames around `centre`, oldest first.

    Beyond the ends the run is mirrored. Where that would give the centre itself (two frames before the second frame), the
    neighbour as far on the other side stands in, or the next one: a frame-blind network must not see its own noise.
    """
    return [_neighbour(centre, offset, count) if offset else centre for offset in range(-radius, radius + 1)]


def _neighbour(centre: int, offset: int, count: int) -> int:
    next_one = 1 if offset > 0 else -1
    candidates = [mirrored(centre + step, count) for step in (offset, -offset, next_one)]
    return next((index for index in candidates if index != centre), centre)
