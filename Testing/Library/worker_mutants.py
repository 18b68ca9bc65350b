"""Requests to the worker that no sane program sends, each the same whenever its number and the seed are."""

from __future__ import annotations

import json

import numpy as np

HOSTILE = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, float("nan"), float("inf"), 1e308, "", " ", "..", ".", "a" * 3000, "\0",
    "a\0b", "\ud800", "\u202e", "😀", "-1", "NaN", "auto", "cpu", "cuda:0", "quality", "absent", "no/such/folder/x", [], [None], [[]],
    ["a", "b", "c"], [1, 2, 3], [0, 0, 0], [1e400, 0, 1], {}, {"kind": "pretrain"}, {"kind": []}, {"a": {"b": {}}},
]  # fmt: skip
LINES = [
    "", " ", "{", "}", "[]", "null", "0", '"x"', "nonsense", "{}" * 50, "[" * 3000, "{\"do\":" * 3000, "\ufeff{}", "\0", "\x7f" * 9,
    '{"do": "probe", "id": 1}}', '{"do": "probe" "id": 1}', "{'do': 'probe', 'id': 1}", '{"id": 1, "id": 2}', '{"do": "quit2", "id": 3}',
    "9" * 5000, "NaN", '{"do": "cancel", "id": 1, "job": []}', '{"do": "cancel", "id": 1, "job": {}}', '{"do": "cancel", "id": 1}',
]  # fmt: skip
# Fields whose other values start work of minutes, or would reach out of the folder that the test gave.
KEPT = {("train", "recipe"), ("adapt", "minutes")}


def requests(paths: dict[str, str], model: str) -> list[dict]:
    """One sound request of every kind but probe, which is slow: what it asks for is small or is refused at once."""
    settings = {"model": model, "device": "cpu", "strength": 1.0, "noise": [0.0, 0.0, 30.0], "tile": None, "precision": "auto"}
    return [
        {"do": "denoise", "frames": paths["run"], "output": paths["out"], "overwrite": True, **settings},
        {"do": "preview", "frames": paths["run"], "index": 1, "output": paths["out"], **settings},
        {"do": "folder", "source": paths["runs"], "target": paths["results"], **settings},
        {"do": "export", "frames": paths["run"], "output": paths["dcm"], "version": "1", "model": "tiny", "model_sha256": "ab" * 32,
         "parameters": "none", "strength": 1.0, "first": 0, "pixel_spacing_mm": [0.2, 0.2], "frame_time_s": 0.1, "overwrite": True, "source": []},
        {"do": "train", "recipe": paths["absent"], "runs": paths["runs"], "out": paths["trained"]},
        {"do": "adapt", "runs": [paths["absent"]], "out": paths["trained"], "minutes": 0.001, "model": model, "device": "cpu"},
        {"do": "cancel", "job": 1},
    ]  # fmt: skip


def mutant(sound: list[dict], seed: int, number: int) -> str:
    """A line: a known bad one while there are some, then a request with some of its fields exchanged, or its text damaged."""
    if number < len(LINES):
        return LINES[number]
    random = np.random.default_rng([seed, number])
    one = lambda things: things[int(random.integers(len(things)))]
    request = {"id": number, **one(sound)}
    for _ in range(int(random.integers(1, 4))):
        key, how = one(list(request)), int(random.integers(5))
        if (request.get("do"), key) in KEPT or key == "do" and how != 0:
            continue
        if how == 0:
            del request[key]
        elif how == 1:
            request[one(["frames", "colour", "output ", "Frames", "", "job", "id"])] = one(HOSTILE)
        else:
            request[key] = one(HOSTILE)
        if "do" not in request:
            break
    text = json.dumps(request)
    if int(random.integers(6)) == 0:
        place = int(random.integers(len(text)))
        text = text[:place] + one(["", "\0", "}", "{", '"', "\\", ","]) + text[place + int(random.integers(3)) :]
    return text
