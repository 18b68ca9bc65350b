"""The two last states of a training on disk, from which it goes on exactly, and what must be the same for that.

A checkpoint is one safetensors file: tensors, and in its header a JSON of plain values with the SHA-256 of the tensors'
bytes and of that JSON. It is written aside and renamed, so a power cut leaves the one before; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.model_folder import write_whole

FORMAT = 3
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, on the CPU, and plain values."""

    step: int
    tensors: dict[str, Tensor]
    values: dict

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin so, without the beginning."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write checkpoint_<step>.safetensors, whole or not at all, and remove all but the two newest."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    text = json.dumps({"format": FORMAT, "step": checkpoint.step, "values": checkpoint.values})
    blob = safetensors.torch.save(tensors, {"training": text, "sha256": _digest(tensors, text)})
    write_whole(folder / f"checkpoint_{checkpoint.step:07d}.safetensors", blob)
    drop_old_checkpoints(folder)


def drop_old_checkpoints(folder: Path) -> None:
    """Remove all but the two newest."""
    for old in _found(folder)[:-KEPT]:
        old.unlink()


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest state that is whole, None where there is none; one that is damaged is passed over with a warning.

    ModelError when there are some and all are damaged.
    """
    found = _found(folder)
    for path in reversed(found):
        try:
            checkpoint = _read(path)
        except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError):
            warnings.warn(f"{path.name} is damaged; the training goes on from the checkpoint before it.", stacklevel=2)
            continue
        return checkpoint
    if found:
        raise ModelError(f"Every checkpoint in {folder} is damaged; remove them to begin this training again.")
    return None


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint_*.safetensors"), key=lambda path: (len(path.name), path.name))


def _read(path: Path) -> Checkpoint:
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    described = json.loads(metadata["training"])
    if described["format"] == 2:  # its sum is in the JSON and speaks of the tensors alone
        altered = described["sha256"] != _digest(tensors, "")
    else:
        altered = described["format"] != FORMAT or metadata["sha256"] != _digest(tensors, metadata["training"])
    if altered:
        raise ValueError("altered, or of another format")
    return Checkpoint(described["step"], tensors, described["values"])


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def require_same_recipe(folder: Path, before: dict, now: dict) -> None:
    """ModelError that names every field in which the recipe of the training in `folder` differs from the one given."""
    if before != now:
        raise ModelError(
            f"{folder} holds a training by another recipe ({_differences(before, now)}); choose another --out, or remove it."
        )


def require_same_data(folder: Path, before: dict[str, str], now: dict[str, str]) -> None:
    """ModelError that names every piece of data that is not what the training in `folder` began with."""
    if before != now:
        short = [{name: f"SHA-256 {sha256[:12]}" for name, sha256 in pieces.items()} for pieces in (before, now)]
        raise ModelError(
            f"The data of the training in {folder} changed ({_differences(*short)}); put it back, or choose another --out."
        )


def _differences(before: dict, now: dict, most: int = 8) -> str:
    """field: old -> new, for the first few fields that differ."""
    named = [
        f"{name}: {before.get(name, 'absent')} -> {now.get(name, 'absent')}"
        for name in [*before, *(name for name in now if name not in before)]
        if before.get(name) != now.get(name)
    ]
    more = [f"and {len(named) - most} more"] if len(named) > most else []
    return ", ".join(named[:most] + more)
