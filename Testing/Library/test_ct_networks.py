"""The networks for CT: they begin as they should, keep Hounsfield units, and judge texture, not grey levels."""

import pytest
import torch

from FluoroDenoiseLib.networks.ct_features import CtFeatures, feature_distance
from FluoroDenoiseLib.networks.ct_generator import CtGenerator
from FluoroDenoiseLib.networks.ct_slices_net import CtSlicesNet
from FluoroDenoiseLib.networks.level import LEVEL_REACH, keep_level
from FluoroDenoiseLib.networks.patch_discriminator import ImagePool, PatchDiscriminator
from FluoroDenoiseLib.networks.refiner import local_mean


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def shaken(network):
    """The network with random weights everywhere, also where training begins with zeros."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return network.eval()


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_a_generator_begins_as_the_identity(norm):
    image = torch.randn(2, 32, 36)
    assert torch.equal(CtGenerator(8, 1, norm)(image[:, None]), image)
    noise = torch.randn(2, 1, 32, 36)
    assert torch.equal(CtGenerator(8, 1, norm, asks=True)(image[:, None], noise), image + noise[:, 0])


def test_a_generator_whose_last_layer_has_gone_silent_still_learns():
    network = shaken(CtGenerator(8, 1, "none"))
    torch.nn.init.constant_(network.join0[0].bias, -20.0)
    network(torch.randn(1, 1, 32, 32)).square().mean().backward()
    assert network.join0[0].weight.grad.abs().max() > 0 and network.stem[0].weight.grad.abs().max() > 0


def test_what_is_taken_away_has_no_local_mean():
    given, made = torch.randn(1, 96, 96), torch.randn(1, 96, 96) + 5
    change = keep_level(given, made) - given
    smooth = local_mean(local_mean(change[:, None], 21), 21)[0, 0]
    assert smooth[LEVEL_REACH:-LEVEL_REACH, LEVEL_REACH:-LEVEL_REACH].abs().max() < 0.2
    assert keep_level(given, given + 7).allclose(given, atol=1e-5)


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_the_slices_net_adds_no_hounsfield_units_of_its_own(radius):
    network = shaken(CtSlicesNet(radius, (8, 12), 1))
    windows = torch.randn(1, 2 * radius + 1, 96, 96)
    with torch.no_grad():
        assert network(windows + 40).allclose(network(windows) + 40, atol=1e-3)
        assert abs(float((network(windows) - windows[:, radius]).mean())) < 0.05


def test_neighbours_that_are_alike_are_averaged_and_others_are_not():
    network = CtSlicesNet(1, (8, 12), 1)
    noise = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert float(network(noise).var()) < 0.5
        strange = noise.clone()
        strange[:, 0] += 30 * torch.randn(1, 64, 64)
        strange[:, 2] += 30 * torch.randn(1, 64, 64)
        assert float((network(strange) - noise[:, 1]).square().mean()) < 0.3


def test_a_discriminator_does_not_see_the_grey_level():
    critic, image = shaken(PatchDiscriminator(4)), torch.randn(1, 64, 64)
    with torch.no_grad():
        assert critic(image + 3).allclose(critic(image), atol=1e-4)


def test_the_pool_shows_what_it_is_given_until_it_is_full_and_then_half_old_ones():
    pool = ImagePool(2, 4)
    first = torch.stack([torch.full((4, 4), 1.0), torch.full((4, 4), 2.0)])
    assert torch.equal(pool.shown(first, torch.zeros(2), torch.zeros(2, dtype=torch.long)), first)
    later = torch.stack([torch.full((4, 4), 3.0), torch.full((4, 4), 4.0)])
    shown = pool.shown(later, torch.tensor([0.1, 0.9]), torch.tensor([1, 0]))
    assert shown[0, 0, 0] == 2 and shown[1, 0, 0] == 4 and pool.images[1, 0, 0] == 3


def test_the_features_of_an_image_are_at_no_distance_from_themselves():
    features, image = CtFeatures(4), torch.randn(1, 32, 32)
    assert feature_distance(features(image), features(image)) == 0
    assert feature_distance(features(image), features(image + torch.randn(1, 32, 32))) > 0
    assert features.repaired(image).shape == image.shape
