"""A process group of torch that is really gone when its block ends, threads and all.

A module of torch that is imported while a group exists, `torch.distributed.nn.functional`, takes that group for the default
of its arguments, and the first optimiser imports it. So the group would outlive its destruction, with the threads of gloo,
until the interpreter is taken down around them; now and then such a process aborts although its work is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def process_group(backend: str, **how: object) -> Iterator[None]:
    """Inside, this process is one of those that torchrun started; `how` as init_process_group takes it."""
    import torch.distributed
    import torch.distributed.nn.functional  # before there is a group that it could keep

    torch.distributed.init_process_group(backend, **how)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()
