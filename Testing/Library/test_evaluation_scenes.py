import numpy as np
import pytest
import tifffile
from PIL import Image

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.metrics import psnr
from FluoroDenoiseLib.evaluation.real_scenes import SOURCES, planned_real
from FluoroDenoiseLib.evaluation.scene_catalogue import CHANGES, GROUPS, KNOWN, REAL, named, settings_of
from FluoroDenoiseLib.evaluation.scenes import known_scene, planned_scenes, simulated_scene
from FluoroDenoiseLib.simulate import simulate


def test_a_group_stands_for_its_scenes_and_each_comes_once():
    assert named(["main", "q30", "limit"]) == ("q8", "q30", "q120", "reference")
    assert set(named(["all"])) == set(KNOWN) == {scene for group in GROUPS.values() for scene in group}
    with pytest.raises(InputError, match="moon.*dose"):
        named(["moon"])


def test_the_main_scenes_are_what_they_have_always_been():
    """Published numbers stand on these settings and seeds."""
    settings = settings_of("q8", 64, 5, projected=False)
    assert (settings.quanta, settings.correlation, settings.read_noise_quanta, settings.pan_px) == (8.0, 0.25, 1.0, 0.5)
    assert (settings.tools, settings.tool_speed_px, settings.tool_width_px, settings.tool_attenuation) == (("guidewire",), 3.5, (2.4, 2.4), (0.4, 0.4))
    assert np.array_equal(simulated_scene("q8", 2, 64, 5).noisy, simulate(settings, 1002).noisy)


@pytest.mark.parametrize("name", CHANGES)
def test_every_simulated_scene_can_be_made_again(name):
    slabs = np.full((2, 200, 200), 0.5, np.float32) * np.linspace(0.5, 1.5, 200, dtype=np.float32)
    first, second = (simulated_scene(name, 0, 48, 5, slabs) for _ in range(2))
    assert np.array_equal(first.noisy, second.noisy) and np.isfinite(first.clean).all()
    assert psnr(first.noisy[first.judged], first.clean[first.judged], first.span) > 5


def test_seeds_differ_and_are_as_many_as_asked_for():
    plan = planned_scenes(["wire4", "limit"], seeds=2, size=48, frames=5)
    assert [(one.name, one.seed) for one in plan] == [("wire4", 0), ("wire4", 1), ("reference", 0)]
    assert not np.array_equal(plan[0].make().noisy, plan[1].make().noisy)


def test_a_wire_is_the_same_at_every_speed():
    still, fast = (simulated_scene(f"wire{speed}", 0, 96, 6) for speed in (0, 8))
    assert np.array_equal(still.without_tools.shape, fast.without_tools.shape)
    moved = [np.abs(np.diff(one.clean / one.without_tools, axis=0)).mean() for one in (still, fast)]
    assert moved[0] < 1e-3 < moved[1]


def test_discs_have_a_contrast_of_their_own():
    scene = simulated_scene("discs2", 0, 96, 5)
    assert scene.discs.any() and simulated_scene("wire2", 0, 96, 5).discs is None
    known = known_scene()
    assert known.discs.any(axis=(1, 2)).all() and (known.discs <= known.near).all() and known.discs.sum() < known.near.sum()


def test_ramps_and_kinds_of_detectors_are_in_the_catalogue():
    chosen = {name: settings_of(name, 48, 5, False) for name in GROUPS["noise"]}
    assert {settings.bits for settings in chosen.values()} == {8, 10, 12, 14, 16}
    assert {settings.domain for settings in chosen.values()} == {"LIN", "LOG", "DISP"}
    assert chosen["ramp"].ramp_up and chosen["recursion"].vendor_recursion and chosen["lag"].lag and not chosen["white"].correlation


def test_projected_anatomy_without_a_ct_is_refused():
    with pytest.raises(InputError, match="--ct"):
        planned_scenes(["projected"])


@pytest.fixture
def pictures(tmp_path):
    """A folder like that of the real pictures, with made-up ones: a still run and a knee."""
    rng = np.random.default_rng(0)
    truth = rng.normal(30000, 3000, (40, 48))
    for name, files in SOURCES.items():
        (tmp_path / files[0]).parent.mkdir(parents=True, exist_ok=True)
    run, reference = (tmp_path / file for file in SOURCES["still_2bm"])
    tifffile.imwrite(run, (truth + rng.normal(0, 400, (14, 40, 48))).astype(np.uint16))
    tifffile.imwrite(reference, truth.astype(np.uint16))
    for file in SOURCES["knee"]:
        Image.fromarray(rng.integers(0, 255, (600, 530), dtype=np.uint8)).save(tmp_path / file)
    np.savez(tmp_path / SOURCES["lcd"][0], dose_010_signal_present=rng.normal(900, 60, (10, 32, 32)).astype(np.int16),
             ground_truth=np.full((32, 32), 900, np.int16))
    return tmp_path


def test_real_pictures_are_judged_by_what_truth_they_have(pictures):
    plan, absent = planned_real(REAL, pictures)
    made = {(one.name, one.seed): one.make() for one in plan}
    assert list(made) == [("still_2bm", 0), ("lcd", 0), ("knee", 0), ("knee", 1), ("knee", 2)]
    assert absent == ["leeds is left out: leeds_tor_pylinac/leeds.dcm is not in the folder of real pictures."]
    assert made["still_2bm", 0].noisy.shape == (12, 40, 48) and made["lcd", 0].clean.shape == (10, 32, 32)
    knee = made["knee", 2]
    assert knee.clean is None and knee.noisy.shape == (1, 512, 512) and knee.span > 0


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        planned_real(REAL, tmp_path / "absent")


def test_the_ceilings_are_those_of_the_frames_that_are_judged(monkeypatch):
    asked = []

    def oracle(scene, frames, targets, tool_known=False):
        asked.append((tuple(frames), tuple(targets), tool_known))
        return scene.clean[list(targets)]

    monkeypatch.setattr("FluoroDenoiseLib.evaluation.scenes.oracle", oracle)
    scene = known_scene()
    made = dict(scene.ceilings())
    assert [len(estimate) for estimate in made.values()] == [16, 16, 8, 16, 8, 16]
    assert list(made)[2:] == ["oracle, past frames", "oracle, all frames", "oracle, past frames, tool known", "oracle, all frames, tool known"]
    late = [call for call in asked if call[0] == tuple(range(call[1][-1] + 1)) and len(call[1]) == 1 and call[1][0] >= 10]
    assert len(late) == 2 * 8 and {call[1][0] for call in late} == set(range(10, 18))
    assert np.array_equal(made["oracle, past frames"], scene.clean[10:18])
