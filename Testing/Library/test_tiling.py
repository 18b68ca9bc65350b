"""Any size through any restorer, in one piece or in many, with the same result."""

import warnings

import pytest
import torch

from FluoroDenoiseLib.errors import ResourceError
from FluoroDenoiseLib.networks.msr2au_net import MSR2AUNet
from FluoroDenoiseLib.networks.student_unet import StudentUNet
from FluoroDenoiseLib.tiling import Tiled, pad_to_multiple

SIZES = [(1, 1), (1, 64), (7, 9), (63, 65), (513, 511)]


class Identity:
    """The centre frame, as a restorer of stride 8 that refuses what such a network would refuse."""

    radius, guides, stride, receptive_radius = 1, "none", 8, 0

    def __call__(self, windows, guides=None):
        assert windows.shape[-2] % 8 == 0 and windows.shape[-1] % 8 == 0
        return windows[:, 1]


class Hungry(Identity):
    """An identity that runs out of memory above so many pixels, and remembers what it was given."""

    def __init__(self, pixels):
        self.pixels, self.shapes = pixels, []

    def __call__(self, windows, guides=None):
        self.shapes.append(tuple(windows.shape))
        if windows[:, 0].numel() > self.pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return windows[:, 1]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return StudentUNet(width=8, levels=4).eval()


@pytest.mark.parametrize("tile", [None, 32, 100])
@pytest.mark.parametrize("size", SIZES)
def test_every_size_keeps_its_shape_and_its_pixels(size, tile):
    windows = torch.rand(2, 3, *size)
    assert torch.equal(Tiled(Identity(), tile)(windows), windows[:, 1])


@pytest.mark.parametrize("size", SIZES[:-1])
def test_every_size_goes_through_a_real_network(network, size):
    with torch.no_grad():
        restored = Tiled(network)(torch.rand(1, 1, *size))
    assert restored.shape == (1, *size) and restored.isfinite().all()


@pytest.mark.parametrize("make", [lambda: StudentUNet(width=8, levels=3), lambda: MSR2AUNet(width=8, levels=2)])
def test_tiles_give_what_the_whole_frame_gives(make):
    torch.manual_seed(0)
    network = make().eval()
    # A ramp of 20 grey levels: every tile has a mean of its own, and must not use it.
    windows = torch.randn(1, 2 * network.radius + 1, 150, 90) + torch.linspace(0, 20, 90)
    with torch.no_grad():
        whole, tiled = Tiled(network)(windows), Tiled(network, tile=36)(windows)
    # Much less than one grey level (1 here is the noise's deviation); only the order of the sums differs.
    assert torch.allclose(whole, tiled, atol=1e-4)


def test_guides_are_cut_into_the_same_tiles_as_the_windows():
    windows, guides = torch.rand(2, 1, 70, 45), torch.rand(2, 2, 70, 45)
    restorer = lambda windows, guides: windows[:, 0] + guides[:, 1]
    restorer.radius, restorer.guides, restorer.stride = 0, "causal", 4
    tiled = Tiled(restorer, tile=16, halo=3)
    assert tiled.guides == "causal"
    assert torch.equal(tiled(windows, guides), windows[:, 0] + guides[:, 1])


def test_padding_mirrors_without_repeating_the_edge():
    row = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert pad_to_multiple(row, 8)[0, 0].tolist() == [1, 2, 3, 2, 1, 2, 3, 2]
    assert torch.equal(pad_to_multiple(torch.full((1, 1, 1), 5.0), 4), torch.full((1, 4, 4), 5.0))


def test_padding_agrees_with_torch_where_torch_can():
    images = torch.rand(1, 2, 13, 11)
    assert torch.equal(pad_to_multiple(images, 8), torch.nn.functional.pad(images, (0, 5, 0, 3), mode="reflect"))


def test_out_of_memory_takes_the_windows_one_by_one_and_says_so_once():
    restorer, windows = Hungry(64 * 64), torch.rand(3, 3, 64, 64)
    tiled = Tiled(restorer)
    with pytest.warns(UserWarning, match="Memory ran out on 3 windows of 64x64") as told:
        assert torch.equal(tiled(windows), windows[:, 1])
        assert torch.equal(tiled(windows), windows[:, 1])
    assert len(told) == 1 and tiled.tile is None
    assert [shape[0] for shape in restorer.shapes] == [3, 1, 1, 1, 1, 1, 1]


def test_out_of_memory_halves_the_tile_until_it_fits_and_keeps_it():
    restorer, windows = Hungry(20 * 20), torch.rand(1, 3, 64, 64)
    tiled = Tiled(restorer)
    with pytest.warns(UserWarning) as told:
        assert torch.equal(tiled(windows), windows[:, 1])
    assert tiled.tile == 16 and len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiled(windows)


def test_out_of_memory_is_given_up_after_four_halvings_with_a_way_out():
    with pytest.warns(UserWarning), pytest.raises(ResourceError, match="in tiles of 16; close other programs"):
        Tiled(Hungry(0))(torch.rand(1, 3, 256, 256))


def test_other_errors_pass_through_at_once():
    restorer = lambda windows, guides: [][0]
    restorer.radius, restorer.guides = 0, "none"
    with pytest.raises(IndexError):
        Tiled(restorer)(torch.rand(1, 1, 8, 8))


def test_a_tile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="A tile of 0 pixels"):
        Tiled(Identity(), tile=0)
