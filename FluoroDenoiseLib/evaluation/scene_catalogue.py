"""The named scenes of `evaluate` and their groups: what each changes of one common scene.

The common scene: three slabs of anatomy that move apart, one faint wire of 2.4 pixels at 3.5 pixels a frame, 30 quanta a
pixel, spatially correlated noise, 12 bits. A number in a name is the thing that is varied: quanta (q30), pixels a frame
(wire4, discs8), bits (display8).
"""

from collections.abc import Sequence

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.simulate import SimulationSettings

COMMON = dict(
    quanta=30.0, correlation=0.25, read_noise_quanta=1.0, pan_px=0.5,
    tools=("guidewire",), tool_speed_px=3.5, tool_width_px=(2.4, 2.4), tool_attenuation=(0.4, 0.4),
)  # fmt: skip
DOSES = (5, 8, 15, 30, 60, 120, 300)
SPEEDS = (0, 1, 2, 4, 8)
REST = dict(breathing_px=0.0, heart_px=0.0, pan_px=0.0)
DISCS = dict(tools=("markers",), tool_width_px=(4.0, 4.0))  # Gaussian spots of 5.9 pixels' width at half height

CHANGES: dict[str, dict] = {
    **{f"q{dose}": {"quanta": float(dose)} for dose in DOSES},
    "rest": {**REST, "tool_speed_px": 0.0},
    "breathing": {**REST, "breathing_px": 8.0},
    "beating": {**REST, "heart_px": 6.0},
    "panning": {**REST, "pan_px": 4.0},
    **{f"wire{speed}": {"tool_speed_px": float(speed)} for speed in SPEEDS},
    **{f"discs{speed}": {**DISCS, "tool_speed_px": float(speed)} for speed in SPEEDS},
    "white": {"correlation": 0.0},
    "correlated": {"correlation": 0.30},
    "lag": {"lag": 0.08},
    "recursion": {"vendor_recursion": 0.45},
    "ramp": {"vendor_recursion": 0.45, "ramp_up": True},
    "display8": {"domain": "DISP", "bits": 8},
    "linear10": {"bits": 10},
    "log12": {"domain": "LOG", "bits": 12},
    "linear14": {"bits": 14},
    "linear16": {"bits": 16},
    "procedural": {"anatomy": "procedural"},
    "projected": {"anatomy": "slabs"},
}
REFERENCE = "reference"
REAL = ("still_2bm", "leeds", "lcd", "knee")
GROUPS: dict[str, tuple[str, ...]] = {
    "main": ("q8", "q30", "q120"),
    "limit": (REFERENCE,),
    "dose": tuple(f"q{dose}" for dose in DOSES),
    "motion": (
        "rest", "breathing", "beating", "panning",
        *(f"wire{speed}" for speed in SPEEDS), *(f"discs{speed}" for speed in SPEEDS),
    ),
    "noise": ("white", "correlated", "lag", "recursion", "ramp", "display8", "linear10", "log12", "linear14", "linear16"),
    "anatomy": ("procedural", "projected"),
    "real": REAL,
}  # fmt: skip
DEFAULT = ("main", "limit")
KNOWN = (*CHANGES, REFERENCE, *REAL)


def named(words: Sequence[str]) -> tuple[str, ...]:
    """The scenes that scenes' and groups' names stand for, each once, in that order; "all" is all of them."""
    scenes: list[str] = []
    for word in words:
        if word != "all" and word not in GROUPS and word not in KNOWN:
            raise InputError(
                f'Scene "{word}" is not known; choose a group ({", ".join(GROUPS)}, all) or scenes ({", ".join(KNOWN)}).'
            )
        scenes += KNOWN if word == "all" else GROUPS.get(word, (word,))
    return tuple(dict.fromkeys(scenes))


def settings_of(name: str, size: int, frames: int, projected: bool) -> SimulationSettings:
    """How a scene of CHANGES is simulated. projected: slabs of a CT are at hand, for scenes that do not say which anatomy."""
    anatomy = "slabs" if projected else "procedural"
    return SimulationSettings(**{"size": (size, size), "frames": frames, "anatomy": anatomy, **COMMON, **CHANGES[name]})
