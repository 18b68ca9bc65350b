"""The paper's networks: their size, what they see, and what they leave alone."""

import pytest
import torch

from FluoroDenoiseLib.networks.blocks import AttentionGate, MultiScaleFront, RecurrentConv, norm_layer
from FluoroDenoiseLib.networks.msr2au_net import MSR2AUNet
from FluoroDenoiseLib.networks.student_unet import StudentUNet

NORMS = ["batch", "group"]


def windows_of(frames, seed=0, size=32):
    return torch.randn(2, frames, size, size, generator=torch.Generator().manual_seed(seed))


def small(**options):
    torch.manual_seed(0)
    return MSR2AUNet(width=8, levels=3, **options).eval()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "width, blind, parameters",
    [(16, True, 633_026), (32, True, 2_479_162), (64, True, 9_844_010),
     (16, False, 637_314), (32, False, 2_484_986), (64, False, 9_852_906)],
)
def test_msr2au_net_has_the_parameters_of_the_paper(width, blind, parameters, norm):
    with torch.device("meta"):
        network = MSR2AUNet(width, levels=4, recurrences=2, norm=norm, frames=5, blind=blind)
    assert sum(weights.numel() for weights in network.parameters()) == parameters


@pytest.mark.parametrize("norm", NORMS)
def test_the_teacher_does_not_see_its_centre_frame(norm):
    windows = windows_of(5).requires_grad_()
    small(norm=norm)(windows).square().sum().backward()
    assert torch.equal(windows.grad[:, 2], torch.zeros(2, 32, 32))
    assert all(windows.grad[:, frame].abs().min() > 0 for frame in (0, 1, 3, 4))


def test_the_teacher_does_not_see_its_centre_frame_even_where_it_is_broken():
    windows, broken = windows_of(5), windows_of(5)
    broken[:, 2] = float("nan")
    network = small()
    assert torch.equal(network(windows), network(broken))


def test_msr2au_net_sees_all_its_frames_when_it_is_not_blind():
    windows = windows_of(5).requires_grad_()
    small(blind=False)(windows).square().sum().backward()
    assert all(windows.grad[:, frame].abs().max() > 0 for frame in range(5))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("make", [lambda norm: small(norm=norm), lambda norm: StudentUNet(8, 3, norm).eval()])
def test_a_constant_added_to_the_input_is_added_to_the_output(make, norm):
    network = make(norm)
    windows = windows_of(2 * network.radius + 1)
    # 1,000 deviations of noise in float32: rounding is 6e-5 of the input, amplified by the network.
    assert torch.allclose(network(windows + 1000), network(windows) + 1000, atol=5e-3)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("make", [lambda norm: small(norm=norm), lambda norm: StudentUNet(8, 3, norm)])
def test_training_gives_every_weight_a_finite_gradient(make, norm):
    network = make(norm).train()
    estimate = network(windows_of(2 * network.radius + 1))
    estimate.square().mean().backward()
    assert estimate.shape == (2, 32, 32)
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in network.parameters())


def test_the_smallest_frame_and_a_constant_one_stay_finite():
    for norm in NORMS:
        network = small(norm=norm)
        assert network(torch.full((1, 5, network.stride, network.stride), 7.0)).isfinite().all()


@pytest.mark.parametrize("make", [lambda: MSR2AUNet(8, levels=2), lambda: StudentUNet(8, levels=3)])
def test_nothing_beyond_the_receptive_radius_matters_and_something_near_it_does(make):
    torch.manual_seed(0)
    network = make().double().eval()
    radius, size = network.receptive_radius, 128
    windows = torch.randn(1, 2 * network.radius + 1, 8, size, dtype=torch.float64, requires_grad=True)
    level = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for column in (63, 64):
        slopes, = torch.autograd.grad(network(windows, level=level)[0, 4, column], windows)
        reached = slopes.abs().sum(dim=(0, 1, 2)).nonzero()
        assert radius / 2 < max(column - reached.min(), reached.max() - column) <= radius


def test_both_networks_say_what_a_restorer_says():
    teacher, student = MSR2AUNet(8, frames=7), StudentUNet(8)
    assert (teacher.radius, teacher.guides, teacher.stride) == (3, "none", 8)
    assert (student.radius, student.guides, student.stride) == (0, "none", 8)


def test_half_precision_is_left_before_the_residual_is_added():
    for network in (small(), StudentUNet(8)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert network(windows_of(2 * network.radius + 1)).dtype == torch.float32


def test_windows_that_do_not_suit_are_refused():
    with pytest.raises(ValueError, match="Windows of 3 frames do not suit a network of 5"):
        small()(windows_of(3))
    with pytest.raises(ValueError, match="one frame at a time"):
        StudentUNet(8)(windows_of(3))
    for frames in (1, 4):
        with pytest.raises(ValueError, match="no centre with neighbours"):
            MSR2AUNet(8, frames=frames)
    with pytest.raises(ValueError, match="use one of batch, group, none"):
        norm_layer("layer", 8)


def test_the_front_keeps_the_frames_apart():
    front, frames = MultiScaleFront(4), windows_of(4)[:1].requires_grad_()
    front(frames)[0, 32:64].sum().backward()  # the 3x3 maps of the second frame
    assert [bool(frames.grad[0, frame].any()) for frame in range(4)] == [False, True, False, False]


def test_a_recurrent_convolution_applies_one_layer_three_times():
    block = RecurrentConv(4, recurrences=2, norm="none")
    features, layer = torch.randn(1, 4, 8, 8), block.layer
    by_hand = layer(features + layer(features + layer(features)))
    assert torch.equal(block(features), by_hand)


def test_an_attention_gate_only_ever_weakens_the_skip():
    gate, skip = AttentionGate(8, "group"), torch.randn(2, 8, 16, 16)
    assert (gate(torch.randn(2, 8, 16, 16), skip).abs() <= skip.abs()).all()
