"""Measurements are checked on pictures whose noise, contrast, lag and lost structure are known by construction."""

import numpy as np
import pytest
import slicer
from FluoroDenoiseScene import sequences
from FluoroDenoiseScene.measurements import quality, quality_plots, quality_table, remove_quality
from FluoroDenoiseScene.regions import regions_of
from FluoroDenoiseScene.removal_checks import RepeatingStructure
from FluoroDenoiseScene.sequences import InputProblem, OutputBuilder
from test_output import Watch, content, result_of
from test_sequences import make_volume, state_of

RNG = np.random.default_rng


def run_of(scene, stack, name="run", spacing=0.3):
    """A float32 sequence with the given frames [T, H, W], in a browser."""
    node = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    node.SetIndexUnit("s")
    for number, frame in enumerate(stack):
        volume = slicer.vtkMRMLScalarVolumeNode()
        volume.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
        volume.SetSpacing(spacing, spacing, 1)
        slicer.util.updateVolumeFromArray(volume, np.asarray(frame, np.float32)[None])
        node.SetDataNodeAtValue(volume, f"{number / 10:.3f}")
    scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode").SetAndObserveMasterSequenceNodeID(node.GetID())
    return node


def output_of(run, stack):
    builder = OutputBuilder(sequences.resolve_input(run))
    builder.add(np.asarray(stack, np.float32))
    return builder.finish()


def roi(scene, run, rows, columns, name="ROI", depth_mm=1.0):
    """An ROI around pixels, which Slicer's user would draw in the view; both ends are included."""
    volume = sequences.shown_volume(run)
    spacing = volume.GetSpacing()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    node.SetCenter(-(columns[0] + columns[1]) / 2 * spacing[0], -(rows[0] + rows[1]) / 2 * spacing[1], 0)
    node.SetSize((columns[1] - columns[0] + 0.5) * spacing[0], (rows[1] - rows[0] + 0.5) * spacing[1], depth_mm)
    return node


def line(scene, run, start, end, name="L"):
    """A line between two pixels (row, column)."""
    spacing = sequences.shown_volume(run).GetSpacing()
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", name)
    for row, column in (start, end):
        node.AddControlPoint(-column * spacing[0], -row * spacing[1], 0)
    return node


def measured(run, output, **more):
    return sequences.completed(quality(sequences.resolve_input(run), output, **more))


def value_of(result, region, quantity):
    (row,) = [row for row in result.rows if (row.region, row.quantity) == (region, quantity)]
    return row.input, row.output


def test_the_noise_of_a_shaded_region_is_that_of_its_noise(scene):
    shading = 500 + np.add.outer(np.arange(90) * 2.0, np.arange(70) * 3.0)
    noise = RNG(0).normal(0, 10, (40, 90, 70))
    run = run_of(scene, shading + noise)
    output = output_of(run, shading + 0.4 * noise)
    result = measured(run, output, regions=[roi(scene, run, (10, 79), (5, 64))])
    for quantity in ("noise", "temporal noise"):
        # 168 000 samples: 0.2 % of a standard deviation, and the shading costs 6 of 4 200 freedoms.
        np.testing.assert_allclose(value_of(result, "ROI", quantity), (10, 4), rtol=0.01)
    np.testing.assert_allclose(value_of(result, "ROI", "mean"), [shading[10:80, 5:65].mean()] * 2, rtol=1e-3)


def test_cnr_is_contrast_over_the_noise_of_the_background(scene):
    clean = np.full((60, 80), 100.0)
    clean[10:30, 10:30] = 130
    noise = RNG(1).normal(0, 6, (30, 60, 80))
    run = run_of(scene, clean + noise)
    output = output_of(run, clean + noise / 3)
    result = measured(
        run, output, regions=[roi(scene, run, (12, 27), (12, 27), "vessel")],
        background=roi(scene, run, (35, 55), (35, 75), "tissue"),
    )
    np.testing.assert_allclose(value_of(result, "vessel", "CNR"), (30 / 6, 30 / 2), rtol=0.02)
    assert not [row for row in result.rows if (row.region, row.quantity) == ("tissue", "CNR")]


def moving_scene(count=20, rows=128, columns=160):
    """A disc and a wire that drift over a shaded ground, [T, H, W]."""
    row, column = np.mgrid[:rows, :columns].astype(float)
    frames = []
    for number in range(count):
        frame = 400 + row
        frame[np.hypot(row - 60, column - 50 - number) < 18] += 90
        frame[np.abs(row - 0.4 * column - 20 - 0.5 * number) < 1.5] -= 120
        frames.append(frame)
    return np.array(frames)


@pytest.fixture(scope="module")
def noisy_scene():
    clean = moving_scene()
    return clean, RNG(5).normal(0, 15, clean.shape)


def structure_of(before, after):
    checks = RepeatingStructure()
    for number in range(0, len(before) - 1, 2):
        sequences.completed(checks.add(*((before[number + k], after[number + k]) for k in (0, 1))))
    return checks


@pytest.mark.parametrize("left", [0.0, 0.5, 0.9])
def test_removing_noise_alone_finds_no_structure(noisy_scene, left):
    clean, noise = noisy_scene
    checks = structure_of(clean + noise, clean + left * noise)
    assert checks.share == 0 and checks.removed_of_noise == pytest.approx(1 - left, rel=0.03)


def test_noise_of_a_real_detector_is_no_structure(noisy_scene):
    """Blurred by a scintillator and 8 % of it left in the next frame."""
    clean, noise = noisy_scene
    blurred = sum(np.roll(noise, (row, column), (1, 2)) for row in (-1, 0, 1) for column in (-1, 0, 1)) / 3
    lagged = blurred[1:] + 0.08 * blurred[:-1]
    assert structure_of(clean[1:] + lagged, clean[1:]).share == 0


def test_a_temporal_mean_is_no_structure_at_rest():
    still = np.broadcast_to(400 + np.add.outer(np.arange(96.0), np.zeros(96)), (24, 96, 96))
    noisy = still + RNG(6).normal(0, 15, still.shape)
    mean = np.array([noisy[max(number - 2, 0) : number + 3].mean(axis=0) for number in range(24)])
    assert structure_of(noisy, mean).share == 0


def test_erased_structure_is_found(noisy_scene):
    clean, noise = noisy_scene
    without_wire = moving_scene() * 0 + (400 + np.arange(128)[:, None])
    assert structure_of(clean + noise, without_wire).share > 0.05
    blurred = sum(np.roll(clean, shift, axis) for axis in (1, 2) for shift in (-3, -2, -1, 0, 1, 2, 3)) / 14
    assert structure_of(clean + noise, blurred).share > 0.05


def test_sentences_follow_the_numbers(scene, noisy_scene):
    clean, noise = noisy_scene
    run = run_of(scene, clean + noise)
    region = roi(scene, run, (100, 124), (100, 150))
    edge = line(scene, run, (110, 20), (110, 150))
    good = measured(run, output_of(run, clean + 0.2 * noise), regions=[region], edge=edge)
    said = " ".join(good.verdicts)
    assert "Mean grey values are kept" in said and "looks like noise" in said
    assert "Noise in ROI fell to 20 %" in said
    bad = measured(run, output_of(run, 1.1 * clean.mean(axis=0)[None].repeat(20, 0)), regions=[region])
    said = " ".join(bad.verdicts)
    assert "The mean grey value of" in said and "repeats from frame to frame" in said
    for sentence in (*good.verdicts, *bad.verdicts):
        assert sentence.endswith(".") and "nan" not in sentence


def test_lag_on_a_drawn_line(scene):
    stack = np.full((20, 40, 50), 300.0)
    stack[9:, 10:30, 10:40] = 200
    stack += RNG(7).normal(0, 3, stack.shape)
    late = stack.copy()
    late[9, 10:30, 10:40] += 40
    run = run_of(scene, stack)
    result = measured(run, output_of(run, late), edge=line(scene, run, (20, 5), (20, 45), "front"))
    before, after = value_of(result, "front", "lag, first frame")
    assert abs(before) < 3 and after == pytest.approx(40, abs=3)
    assert "On front brightness arrives late: " in result.verdicts[-1] and result.lag.name == "front"
    slow = stack.copy()
    slow[9, 10:30, 10:40] += 40  # contrast that takes its time, and a result that shows it so
    filling = run_of(scene, slow, "filling")
    kept = measured(filling, output_of(filling, slow), edge=line(scene, filling, (20, 5), (20, 45), "slow"))
    early, first = value_of(kept, "slow", "lag, first frame")
    assert early == first > 30 and "On slow brightness arrives in time: " in kept.verdicts[-1]
    still = measured(run, output_of(run, late), edge=line(scene, run, (2, 2), (2, 45), "ground"))
    assert still.lag is None and "No step of brightness was found on ground" in still.verdicts[-1]


def test_a_region_lies_where_it_was_drawn(scene):
    run = run_of(scene, np.zeros((3, 40, 60)))
    frames = sequences.resolve_input(run)
    (region,) = regions_of(roi(scene, run, (5, 14), (20, 49)), frames)
    assert (region.rows, region.columns) == (slice(5, 15), slice(20, 50)) and region.mask.all()
    shift = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[0, 3] = -3.0  # ten columns further
    shift.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    sequences.shown_volume(run).SetAndObserveTransformNodeID(shift.GetID())
    (moved,) = regions_of(slicer.util.getNode("ROI"), sequences.resolve_input(run))
    assert (moved.rows, moved.columns) == (slice(5, 15), slice(10, 40))


def test_a_turned_region_is_a_turned_mask(scene):
    run = run_of(scene, np.zeros((3, 60, 60)), spacing=1.0)
    node = roi(scene, run, (20, 39), (20, 39))
    turn = np.eye(4)
    turn[:2, :2] = [[np.sqrt(0.5), -np.sqrt(0.5)], [np.sqrt(0.5), np.sqrt(0.5)]]
    turn[:3, 3] = -29.5, -29.5, 0
    node.SetCenter(0, 0, 0)
    node.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(turn))
    (region,) = regions_of(node, sequences.resolve_input(run))
    assert not region.mask[0, 0] and region.mask.sum() == pytest.approx(19.5**2, rel=0.05)
    assert region.mask.shape[0] == pytest.approx(19.5 * np.sqrt(2), abs=2)


@pytest.fixture(scope="module")
def converters():
    """What Slicer's Segmentations module registers at start."""
    rule = slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule()
    slicer.vtkSegmentationConverterFactory.GetInstance().RegisterConverterRule(rule)


def segmentation_of(scene, run, masks):
    """A segmentation with the given masks as segments."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    node.SetSourceRepresentationToBinaryLabelmap()
    volume = sequences.shown_volume(run)
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for name, mask in masks.items():
        identity = node.GetSegmentation().AddEmptySegment(name, name)
        slicer.util.updateSegmentBinaryLabelmapFromArray(np.asarray(mask, np.uint8), node, identity, volume)
    return node


def test_each_segment_is_a_region(scene, converters):
    noise = RNG(8).normal(100, 5, (6, 40, 60))
    run = run_of(scene, noise)
    disc = np.hypot(*(np.mgrid[:40, :60] - np.array([20, 30])[:, None, None])) < 9
    box = np.zeros((40, 60), bool)
    box[3:9, 40:55] = True
    node = segmentation_of(scene, run, {"disc": disc[None], "box": box[None]})
    regions = {region.name: region for region in regions_of(node, sequences.resolve_input(run))}
    whole = np.zeros((40, 60), bool)
    whole[regions["disc"].rows, regions["disc"].columns] = regions["disc"].mask
    np.testing.assert_array_equal(whole, disc)
    result = measured(run, output_of(run, noise), regions=[node])
    assert value_of(result, "disc", "noise")[0] == pytest.approx(5, rel=0.1)
    assert value_of(result, "box", "mean")[0] == pytest.approx(noise[:, 3:9, 40:55].mean(), rel=1e-5)


def test_regions_in_a_ct_volume_have_a_depth(scene, converters):
    stack = np.full((12, 40, 40), -1000, np.int16)
    stack[4:8] = 50
    volume = make_volume(scene, stack, "CT")
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "liver")
    node.SetCenter(20, 20, 5.5)
    node.SetSize(12, 12, 3.5)
    frames = sequences.resolve_input(volume)
    assert frames.kind == "volume"
    (region,) = regions_of(node, frames)
    assert region.numbers == range(4, 8)
    output = result_of(volume)
    result = measured(volume, output, regions=[node])
    assert value_of(result, "liver", "mean") == (50, 50)
    assert {row.quantity for row in result.rows if row.region == "liver"} == {"mean", "noise", "mean noise frequency"}
    assert any("share noise" in sentence for sentence in result.verdicts) and result.time_label == "slice"
    ball = np.zeros((12, 40, 40), bool)
    ball[5:7, 10:20, 10:20] = True
    assert regions_of(segmentation_of(scene, volume, {"ball": ball}), frames)[0].numbers == range(5, 7)


def test_regions_that_cannot_be_measured_are_refused(scene):
    run = run_of(scene, np.zeros((3, 40, 60)))
    frames = sequences.resolve_input(run)
    with pytest.raises(InputProblem, match="The region ROI lies outside run"):
        regions_of(roi(scene, run, (200, 210), (5, 10)), frames)
    with pytest.raises(InputProblem, match="has 4 pixels, too few"):
        regions_of(roi(scene, run, (5, 6), (5, 6)), frames)
    with pytest.raises(InputProblem, match="neither an ROI nor a segmentation"):
        regions_of(line(scene, run, (1, 1), (5, 5)), frames)
    output = result_of(run)
    for edge in (roi(scene, run, (5, 15), (5, 15)), scene.AddNewNodeByClass("vtkMRMLMarkupsLineNode", "empty")):
        with pytest.raises(InputProblem, match="not a line of two points"):
            measured(run, output, edge=edge)
    with pytest.raises(InputProblem, match="The line L lies outside run"):
        measured(run, output, edge=line(scene, run, (100, 1), (100, 9)))


def test_a_result_of_a_range_is_measured_on_its_range(scene):
    stack = np.arange(8.0)[:, None, None] + np.zeros((8, 30, 30))
    run = run_of(scene, stack)
    result = measured(run, result_of(run, first=2, last=5), regions=[roi(scene, run, (5, 20), (5, 20))])
    np.testing.assert_allclose(result.time_courses[0].x, [0.2, 0.3, 0.4, 0.5])
    np.testing.assert_allclose(result.time_courses[0].input, [2, 3, 4, 5])
    assert result.time_label == "time [s]"


def test_table_and_plots_hold_the_numbers_and_are_filled_again(scene, noisy_scene):
    clean, noise = noisy_scene
    stack = clean + noise
    stack[10:, 30:60, 100:140] += 200
    run = run_of(scene, stack)
    output = output_of(run, stack)
    before = state_of(run)
    more = {"regions": [roi(scene, run, (100, 124), (100, 150))], "edge": line(scene, run, (45, 105), (45, 135))}
    drawn = content(scene)
    result = measured(run, output, **more)
    table = quality_table(result)
    charts = quality_plots(result, table)
    data = table.GetTable()
    assert [data.GetColumnName(column) for column in range(6)] == [
        "Region", "Quantity", "Unit", "Input", "Output", "Output of input [%]"]
    assert data.GetNumberOfRows() == len(result.rows)
    assert data.GetValue(1, 0).ToString() == "ROI" and data.GetValueByName(1, "Input").ToDouble() == result.rows[1].input
    assert table.GetAttribute("FluoroDenoise.Verdicts").splitlines() == list(result.verdicts)
    assert [chart.GetTitle() for chart in charts] == ["Noise power spectrum", "Mean over time", "Lag"]
    series = charts[0].GetNthPlotSeriesNode(1)
    curve = slicer.util.arrayFromTableColumn(series.GetTableNode(), series.GetYColumnName())
    np.testing.assert_array_equal(curve, result.spectra[0].output)
    there = content(scene)
    assert quality_table(result, table) is table and quality_plots(result, table) == charts and content(scene) == there
    without_edge = measured(run, output, regions=more["regions"])
    assert len(quality_plots(without_edge, table)) == 2
    remove_quality(table)
    assert content(scene) == drawn and state_of(run) == before


def test_quality_of_another_runs_output_is_refused(scene):
    run, other = run_of(scene, np.zeros((3, 20, 20))), run_of(scene, np.zeros((3, 20, 21)), "other")
    with pytest.raises(InputProblem, match="made from this input"):
        measured(run, other)


@pytest.mark.parametrize("multiple", [1, 32])
def test_bands_change_no_number(scene, noisy_scene, monkeypatch, multiple):
    """Rows are taken some at a time; sums in another order agree to 1e-12."""
    clean, noise = noisy_scene
    run = run_of(scene, clean + noise)
    output = output_of(run, clean + 0.3 * noise)
    more = {"regions": [roi(scene, run, (3, 120), (5, 150))], "edge": line(scene, run, (20, 20), (90, 120))}
    whole = measured(run, output, **more)
    monkeypatch.setattr("FluoroDenoiseScene.bands.BAND_PIXELS", 160 * 7 * multiple)
    in_bands = measured(run, output, **more)
    for row, same in zip(whole.rows, in_bands.rows, strict=True):
        np.testing.assert_allclose((row.input, row.output), (same.input, same.output), rtol=1e-12)
    assert whole.verdicts == in_bands.verdicts


@pytest.mark.slow
def test_measuring_large_frames_does_not_block(scene):
    stack = RNG(9).normal(1000, 30, (1, 1024, 1024)).astype(np.float32)
    run = run_of(scene, [stack[0]] * 12)
    output = output_of(run, np.repeat(stack, 12, axis=0) - 3)
    regions = [roi(scene, run, (50, 400), (50, 400), "A"), roi(scene, run, (0, 1023), (0, 1023), "B")]
    watch = Watch()
    watch.over(quality(sequences.resolve_input(run), output, regions, regions[1], line(scene, run, (20, 20), (900, 900))))
    print(f"longest step {1e3 * watch.longest_s:.0f} ms")
    assert watch.longest_s < 0.1
