import numpy as np
import pytest
import torch

from FluoroDenoiseLib.global_motion import global_motion
from FluoroDenoiseLib.motion import estimate_flow, flow_confidence, halved, leaves_frame, median, smooth, spline_noise_gain, warp


def texture(size, seed=0):
    """Smooth anatomy of standard deviation 6 in a stabilised frame, [size, size]."""
    image = smooth(torch.randn(size, size, generator=torch.Generator().manual_seed(seed)), 4.0)
    return 6 * image / image.std()


def constant_flow(x, y, height, width):
    return torch.tensor([x, y]).view(1, 2, 1, 1).expand(1, 2, height, width).contiguous()


def shifted_pair(dx, dy, size=128, seed=0):
    """Two noisy guides [1, size, size]: the source's content lies at p + (dx, dy) of what the target shows at p."""
    big, edge = texture(size + 64, seed), slice(32, 32 + size)
    moved = warp(big, constant_flow(dx, dy, *big.shape))
    noise = torch.randn(2, size, size, generator=torch.Generator().manual_seed(seed + 1))
    return smooth(moved[edge, edge] + noise[0], 1.0)[None], smooth(big[edge, edge] + noise[1], 1.0)[None]


def test_zero_flow_is_the_identity():
    image = torch.randn(2, 3, 21, 34)
    zero = torch.zeros(2, 2, 21, 34)
    assert torch.allclose(warp(image, zero), image, atol=1e-4)
    assert torch.allclose(warp(image, zero, "bilinear"), image, atol=1e-4)
    assert torch.equal(warp(image[0, 0], zero[:1]), warp(image, zero)[0, 0])


@pytest.mark.parametrize("kernel", ["spline", "bilinear"])
def test_warping_by_a_whole_pixel_is_a_shift(kernel):
    image = torch.randn(20, 30)
    moved = warp(image, constant_flow(3.0, -2.0, 20, 30), kernel)
    assert torch.allclose(moved[2:, :-3], image[:-2, 3:], atol=1e-4)


def test_what_lies_outside_is_the_border():
    image = torch.randn(12, 12)
    flow = constant_flow(40.0, 0.0, 12, 12)
    assert torch.allclose(warp(image, flow), image[:, -1:].expand(12, 12), atol=1e-4)
    assert leaves_frame(flow)[:, :, 1:].all() and not leaves_frame(0 * flow).any()


def test_the_spline_is_that_of_scipy():
    image = torch.randn(40, 40, generator=torch.Generator().manual_seed(0))
    moved = warp(image, constant_flow(0.3, -0.6, 40, 40))
    expected = pytest.importorskip("scipy.ndimage").shift(image.numpy(), (0.6, -0.3), order=3, mode="mirror")
    np.testing.assert_allclose(moved[1:, :-1], expected[1:, :-1], atol=2e-5)


def test_noise_keeps_the_share_stated_of_its_variance():
    noise = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    for dx, dy in ((0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.2, -0.7)):
        x, y = (spline_noise_gain(torch.tensor(part % 1)) for part in (dx, dy))
        assert warp(noise, constant_flow(dx, dy, 256, 256)).var().item() == pytest.approx(float(x * y), rel=0.05)


def test_blurring_leaves_the_variance_it_states():
    noise = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    assert smooth(noise, 2.0).var().item() == pytest.approx(1 / (4 * torch.pi * 2.0**2), rel=0.1)
    assert torch.allclose(smooth(torch.full((9, 7), 3.0), 5.0), torch.full((9, 7), 3.0))


@pytest.mark.parametrize("dx, dy", [(0.4, -0.7), (2.3, 1.6), (8.0, 0.0), (-6.5, 9.0)])
def test_a_known_shift_is_found_below_a_tenth_of_a_pixel_in_noise(dx, dy):
    flow = estimate_flow(*shifted_pair(dx, dy))[..., 32:-32, 32:-32]
    assert (flow - torch.tensor([dx, dy]).view(1, 2, 1, 1)).square().sum(1).sqrt().mean() < 0.1


def test_flow_in_flat_noise_is_that_of_the_anatomy_around():
    target, source = shifted_pair(3.0, 0.0)
    flat = smooth(torch.randn(2, 128, 128, generator=torch.Generator().manual_seed(5)), 1.0)
    target[..., 50:78, 50:78], source[..., 50:78, 53:81] = flat[0, 50:78, 50:78], flat[1, 50:78, 53:81]
    hole = estimate_flow(target, source)[..., 56:72, 56:72]
    assert (hole[:, 0] - 3.0).abs().mean() < 0.5 and hole[:, 1].abs().mean() < 0.5


def test_flow_of_odd_and_tiny_images_has_their_size():
    for height, width in ((67, 101), (9, 7)):
        guides = torch.randn(2, height, width)
        flow = estimate_flow(guides[:1], guides[1:])
        assert flow.shape == (1, 2, height, width) and flow.isfinite().all()


@pytest.mark.parametrize("contrast", [0.0, 1.0, 1e4, 1e6])
def test_a_hard_oblique_edge_without_noise_has_a_finite_flow(contrast):
    y, x = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    edge = contrast * (x > y).float()[None]
    assert torch.allclose(estimate_flow(edge, edge), torch.zeros(1, 2, 48, 48), atol=1e-3)


def test_confidence_is_high_where_going_and_coming_back_agree():
    forward, backward = constant_flow(2.0, 1.0, 32, 32), constant_flow(-2.0, -1.0, 32, 32)
    assert torch.allclose(flow_confidence(forward, backward), torch.ones(1, 32, 32))
    backward[..., :16] += 2.0
    confidence = flow_confidence(forward, backward)[0, 8:24]
    assert confidence[:, :12].max() < 0.01 and confidence[:, 16:].min() > 0.99


@pytest.mark.parametrize("cached", [2, 300, 2**40])
def test_results_do_not_depend_on_the_blocks_they_are_made_in(cached, monkeypatch):
    image, other = texture(61, seed=3)[:, :45], texture(61, seed=4)[:, :45]
    flow = 3 * torch.stack([texture(61, seed=5)[:, :45], texture(61, seed=6)[:, :45]])[None]

    def everything():
        return (
            smooth(torch.stack([image, other]), 2.0), warp(image, flow), warp(image, flow, "bilinear"), leaves_frame(flow),
            estimate_flow(image[None], other[None]), global_motion(image[None], image[None].roll(1, 2)),
        )  # fmt: skip

    expected = everything()
    monkeypatch.setattr("FluoroDenoiseLib.motion.CACHED_PIXELS", cached)
    for one, another in zip(everything(), expected):
        torch.testing.assert_close(one, another, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("height, width", [(1, 1), (2, 7), (5, 4), (33, 64)])
def test_halving_averages_the_pixels_there_are(height, width):
    image = torch.randn(1, 2, height, width)
    expected = torch.nn.functional.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)
    torch.testing.assert_close(halved(image), expected)


def test_the_middle_value_is_that_of_torch():
    for count in (1, 2, 9, 100):
        values = torch.randn(count)
        assert median(values) == values.median()
