import pytest
import torch

from FluoroDenoiseLib.networks.refiner import RefinerUNet


def inputs(guides, radius=1, size=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    windows = torch.randn(2, 2 * radius + 1, size, size, generator=generator)
    predictions = torch.randn(2, 2 if guides == "causal" else 4, size, size, generator=generator)
    predictions[:, 1::2] = predictions[:, 1::2].abs() + 0.3
    return windows, predictions


@pytest.mark.parametrize("guides", ["causal", "both"])
def test_untrained_it_is_the_inverse_variance_average(guides):
    windows, predictions = inputs(guides)
    output = RefinerUNet(1, guides, (8, 8), 1)(windows, predictions)
    values = torch.cat([windows[:, 1:2], predictions[:, 0::2]], 1)
    precision = torch.cat([torch.ones_like(windows[:, :1]), predictions[:, 1::2] ** -2], 1)
    torch.testing.assert_close(output, (precision * values).sum(1) / precision.sum(1))


def test_an_offset_of_the_input_is_an_offset_of_the_output():
    network = RefinerUNet(2, "both", (8, 8), 1)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    windows, predictions = inputs("both", radius=2)
    raised = predictions.clone()
    raised[:, 0::2] += 7
    torch.testing.assert_close(network(windows + 7, raised), network(windows, predictions) + 7, atol=1e-4, rtol=1e-4)


def test_unknown_guides_are_refused():
    with pytest.raises(ValueError, match="causal"):
        RefinerUNet(1, "sideways", (8, 8), 1)


def test_turned_it_also_sees_the_picture_a_quarter_round_and_in_reversed_time():
    torch.manual_seed(0)
    network = RefinerUNet(1, "both", (8, 8), 1, turned=True)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    windows, predictions = inputs("both")
    upright = network(windows, predictions)
    mean = network.eval()(windows, predictions)
    round_and_back = [torch.rot90(part, 1, (-2, -1)) for part in (windows.flip(1), predictions[:, [2, 3, 0, 1]])]
    turned = torch.rot90(network.train()(*round_and_back), -1, (-2, -1))
    torch.testing.assert_close(mean, (upright + turned) / 2)
    assert (mean - upright).abs().max() > 1e-3
