"""What the numbers of a comparison mean, in sentences that say what to do."""

from __future__ import annotations

from collections.abc import Sequence

from slicer.i18n import tr as _

MEAN_KEPT = 0.005  # of the grey range
STRUCTURE_SHARE = 0.005  # of the picture; below, chance and single blocks
REMOVED_AT_MOST = 1.1  # of the noise; more cannot have been noise
REMOVED_AT_LEAST = 0.3  # of the noise; less is hardly seen
LAG_AT_MOST = 10.0  # %, what detectors themselves have at most in their first frame


def about_mean(means: Sequence[float], regions: Sequence[tuple[str, float, float]], grey_range: float) -> str:
    """Whether grey values are kept on the average. regions: (name, mean before, mean after)."""
    everywhere = [(_("the whole picture"), *means), *regions]
    name, before, after = max(everywhere, key=lambda place: abs(place[2] - place[1]))
    share = abs(after - before) / grey_range if grey_range else 0.0
    sentence = (_("Mean grey values are kept; the largest change is in {name}: {before} before, {after} after, {percent} % of the grey range.")
                if share <= MEAN_KEPT else
                _("The mean grey value of {name} changed: {before} before, {after} after, {percent} % of the grey range. Take densities "
                  "from the original."))
    return sentence.format(name=name, before=f"{before:.5g}", after=f"{after:.5g}", percent=f"{100 * share:.2g}")


def about_noise(region: str, before: float, after: float) -> str:
    """How much of a region's noise is left."""
    if before == 0:
        return _("{region} holds no noise; draw the region on the picture, not on its border.").format(region=region)
    return _("Noise in {region} fell to {percent} % ({before} before, {after} after).").format(
        region=region, percent=f"{100 * after / before:.0f}", before=f"{before:.4g}", after=f"{after:.4g}")


def about_removal(share: float, removed_of_noise: float, checked: bool) -> str:
    """Whether what was removed is noise. share: of the picture, where it repeats from frame to frame."""
    if not checked:
        return _("Slices of a volume share noise, so what was removed is not judged here; look at the difference.")
    if share > STRUCTURE_SHARE:
        return _("In {percent} % of the picture what was removed repeats from frame to frame: structure went with the noise there. "
                 "Look at the difference, and lower the strength.").format(percent=f"{100 * share:.2g}")
    if removed_of_noise > REMOVED_AT_MOST:
        return _("{times} times the noise was removed, more than noise alone. Look at the difference, and lower the strength.").format(
            times=f"{removed_of_noise:.2f}")
    if removed_of_noise < REMOVED_AT_LEAST:
        return _("What was removed is little, {percent} % of the noise, and nothing of it repeats.").format(
            percent=f"{100 * removed_of_noise:.0f}")
    return _("What was removed looks like noise: it does not repeat from frame to frame. Fine detail may still differ.")


def about_lag(line: str, missing: tuple[float, float] | None, frames_needed: int) -> str:
    """Whether brightness arrives as it did in the input. missing: % of a step that its first frame lacks, before and after;
    None without a step. Contrast that flows in slowly lacks much in the input already.
    """
    if missing is None:
        return _("No step of brightness was found on {line}; draw it where contrast arrives or an edge passes, in a run of {count} "
                 "frames or more.").format(line=line, count=frames_needed)
    before, after = missing
    sentence = (_("On {line} brightness arrives in time: {after} % of a step is missing in its first frame, {before} % in the input.")
                if after - before <= LAG_AT_MOST else
                _("On {line} brightness arrives late: {after} % of a step is missing in its first frame, {before} % in the input. Lower "
                  "the strength for fast motion."))
    return sentence.format(line=line, before=f"{before:.1f}", after=f"{after:.1f}")
