"""The processes of one training, as torchrun starts them: who one is, and what all agree on.

Alone, without torchrun, every function here is free and says so: rank 0 of 1. All processes hold the same weights,
because they begin with the same and take the mean of all gradients; rank 0 is the one that writes.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterable, Iterator

import torch
import torch.distributed
from torch import Tensor

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.process_group import process_group


@contextmanager
def joined(compute: Compute) -> Iterator[None]:
    """Inside, this process is one of those that torchrun started, gloo between CPUs and NCCL between GPUs."""
    if not torch.distributed.is_torchelastic_launched() or torch.distributed.is_initialized():
        yield
        return
    with process_group(compute.collectives, device_id=compute.torch_device if compute.is_gpu else None):
        yield
        wait_for_all()  # a process that leaves while another still talks takes that one's connection with it


def rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def count() -> int:
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def average(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its mean over all processes, in place; they must come in the same order everywhere."""
    tensors = list(tensors)
    if count() == 1 or not tensors:
        return
    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, mean in zip(tensors, (flat / count()).split([tensor.numel() for tensor in tensors])):
        tensor.detach().copy_(mean.view(tensor.shape))


def gathered(tensor: Tensor) -> Tensor:
    """The tensors of all processes, of one shape, one after the other along the first axis, the same everywhere."""
    if count() == 1:
        return tensor
    everybody = [torch.empty_like(tensor) for _ in range(count())]
    torch.distributed.all_gather(everybody, tensor.contiguous())
    return torch.cat(everybody)


def share_hashes(hashes: list[str]) -> list[str]:
    """The SHA-256 of everybody's pieces: each process knows some, the others are "". Returns when all are there."""
    if count() == 1 or not hashes:
        return hashes
    known = torch.tensor([list(bytes.fromhex(sha256.rjust(64, "0"))) for sha256 in hashes], dtype=torch.int32)
    torch.distributed.all_reduce(known)
    return [bytes(row).hex() for row in known.tolist()]


def wait_for_all() -> None:
    """Return when every process has come this far."""
    if count() > 1:
        torch.distributed.all_reduce(torch.zeros(1))
