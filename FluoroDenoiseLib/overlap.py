"""Reading, computing and writing at the same time, on short belts from thread to thread: order, errors and results are as
without them.

Computing stays where it is called, so that an interrupt reaches it at once; what reads runs ahead of it, what writes behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

AHEAD = 3  # items that wait on a belt: enough to even out a slow disk, few enough for frames of any size
LOOKS_FOR_A_START = 50  # an interrupt can come while a thread is being started; then it may never have been
LOOK_S = 0.2  # how often one who waits looks whether the other side is still there

Item = TypeVar("Item")
Result = TypeVar("Result")


class Belt(Generic[Item]):
    """A queue of a few items between two threads, which either of them can end."""

    def __init__(self, most: int = AHEAD) -> None:
        self._queue: Queue = Queue(most)
        self._left = Event()

    def put(self, item: Item) -> bool:
        """Wait for room; False if nobody takes items any more."""
        return self._offer((item, False, None))

    def end(self, error: BaseException | None = None) -> None:
        """There is no more, because of `error` if there is one; who takes items meets it after the last of them."""
        self._offer((None, True, error))

    def leave(self) -> None:
        """Nobody takes items any more."""
        self._left.set()

    def items(self) -> Iterator[Item]:
        """The items in the order in which they were put."""
        while True:
            try:
                item, is_end, error = self._queue.get(timeout=LOOK_S)
            except Empty:  # a wait without end could not be interrupted on Windows
                continue
            if error is not None:
                raise error
            if is_end:
                return
            yield item

    def fill(self, items: Iterable[Item]) -> None:
        """Put them all, or as many as are wanted, and end as they end."""
        try:
            for item in items:
                if not self.put(item):
                    return
        except BaseException as error:
            self.end(error)
        else:
            self.end()

    def _offer(self, entry: tuple) -> bool:
        while not self._left.is_set():
            try:
                self._queue.put(entry, timeout=LOOK_S)
                return True
            except Full:
                continue
        return False


def read_ahead(items: Iterable[Item], most: int = AHEAD) -> Iterator[Item]:
    """The items in order, up to `most` of them made ahead in a thread of their own; an error comes in its item's place."""
    belt: Belt[Item] = Belt(most)
    reader = Thread(target=belt.fill, args=(items,), daemon=True)
    reader.start()
    try:
        yield from belt.items()
    finally:
        belt.leave()
        reader.join()


def write_behind(write: Callable[[Iterator[Item]], Result], items: Iterable[Item], most: int = AHEAD) -> Result:
    """write(items), in a thread of its own, while the items are made here, up to `most` of them ahead.

    An error in making them, an interrupt included, is raised where `write` takes its next item, so that it can clean up;
    an error of `write` is raised here. Returns, or raises, when `write` has ended.
    """
    belt: Belt[Item] = Belt(most)
    ended: list[tuple[Result | None, BaseException | None]] = []
    over = Event()  # not the thread's own join: in Python 3.11 an interrupt of it makes a running thread look ended

    def work() -> None:
        try:
            ended.append((write(belt.items()), None))
        except BaseException as error:
            ended.append((None, error))
        finally:
            belt.leave()
            over.set()

    writer = Thread(target=work, daemon=True)
    interrupt, looks = None, 0
    try:
        writer.start()
        belt.fill(items)
    except KeyboardInterrupt as error:
        interrupt = error
        belt.end(error)
    while not over.is_set() and (writer.ident is not None or looks < LOOKS_FOR_A_START):
        looks += 1
        try:
            over.wait(LOOK_S)
        except KeyboardInterrupt as error:  # what is being put in its place is not left half-way
            interrupt = error
    result, failure = ended[0] if ended else (None, None)
    if failure is not None or interrupt is not None:
        raise failure or interrupt
    return result
