"""The 3D convolutions of a small VAE as 2D ones."""

from types import SimpleNamespace

import pytest
import torch

torch_conv3d = torch.nn.functional.conv3d


def clip(channels: int, frames: int) -> torch.Tensor:
    return torch.randn(2, channels, frames, 10, 12, generator=torch.Generator().manual_seed(frames))


@pytest.fixture(scope="module")
def small(host):
    """What is under test and the host's layers; they need the host."""
    import comfy.ldm.wan.vae
    import comfy.ops

    from drawn_world.convolution import convolutions_as_2d

    return SimpleNamespace(
        as_2d=convolutions_as_2d, layer=comfy.ldm.wan.vae.CausalConv3d, conv3d=comfy.ops.disable_weight_init.Conv3d
    )


def layer(small, *sizes, **settings) -> torch.nn.Conv3d:
    made = small.layer(*sizes, **settings)
    for number, value in enumerate(made.parameters()):
        torch.nn.init.normal_(value, generator=torch.Generator().manual_seed(number))
    return made


@pytest.mark.parametrize(
    ("kernel", "settings", "frames"),
    [
        (3, {"padding": 1}, 5),
        (3, {"padding": 1}, 1),  # the host leaves out the weights that see nothing
        (1, {}, 3),
        ((3, 1, 1), {"stride": (2, 1, 1)}, 7),
        ((3, 1, 1), {"padding": (1, 0, 0)}, 4),
        (3, {"padding": 1, "stride": (1, 2, 2)}, 3),
    ],
)
def test_results_and_gradients_are_those_of_3d_ones(small, kernel, settings, frames):
    module, x = layer(small, 4, 6, kernel, **settings), clip(4, frames)
    expected = module(x)
    gradients = torch.autograd.grad(expected.square().sum(), list(module.parameters()))
    with small.as_2d():
        found = module(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for one, other in zip(torch.autograd.grad(found.square().sum(), list(module.parameters())), gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-2)


def test_no_3d_convolution_is_left_inside_and_outside_nothing_has_changed(small, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.nn.functional, "conv3d", lambda *args, **more: calls.append(1) or torch_conv3d(*args, **more))
    module, before = layer(small, 4, 4, 3, padding=1), small.conv3d._conv_forward
    with small.as_2d():
        module(clip(4, 5))
    assert not calls
    module(clip(4, 5))
    assert calls and small.conv3d._conv_forward is before


def test_grouped_ones_are_left_to_the_host(small):
    module, x = layer(small, 4, 4, 3, padding=1, groups=2), clip(4, 3)
    expected = module(x)
    with small.as_2d():
        torch.testing.assert_close(module(x), expected, rtol=0, atol=0)
