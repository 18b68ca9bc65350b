"""The processes that do one archive together, as torchrun starts them: whose share is what, and what became of all.

They need no GPU and no network but the one between them. Alone, without torchrun, everything here is free.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from FluoroDenoiseLib.process_group import process_group

PATIENCE = datetime.timedelta(days=365)  # of the first to finish for the last
Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Process `rank` of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def speaks(self) -> bool:
        """Whether this one speaks for all."""
        return self.rank == 0

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every count-th item, so that neighbours, which are often alike, are spread."""
        return items[self.rank :: self.count]

    def gather(self, mine: list) -> list:
        """The lists of all processes, in turn, one after the other; plain values. Returns when every process is here."""
        if self.count == 1:
            return mine
        import torch
        import torch.distributed

        text = torch.tensor(list(json.dumps(mine).encode()), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        torch.distributed.all_gather(lengths, torch.tensor([len(text)]))
        longest = max(int(length) for length in lengths)
        texts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.count)]
        torch.distributed.all_gather(texts, torch.nn.functional.pad(text, (0, longest - len(text))))
        return [item for text, length in zip(texts, lengths) for item in json.loads(bytes(text[: int(length)].tolist()))]


@contextmanager
def joined() -> Iterator[Share]:
    """Inside, this process is one of those that torchrun started, or alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield Share()
        return
    import torch.distributed

    with process_group("gloo", timeout=PATIENCE):
        yield Share(torch.distributed.get_rank(), torch.distributed.get_world_size())
