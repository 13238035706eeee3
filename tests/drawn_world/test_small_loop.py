"""The training loop of the small networks, and its optimizer."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from drawn_world.loop import Plan, fit
from drawn_world.muon import Muon, orthogonal
from drawn_world.passes import Passes

PLAN = Plan(steps=8, rate=0.1, muon=0.05, warmup=2, average=0.5, checkpoint_every=4)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (9, 9)])
def test_all_singular_values_come_near_one(shape):
    matrices = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    found = torch.linalg.svdvals(orthogonal(matrices))
    assert found.min() > 0.5 and found.max() < 1.4
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert (nn.functional.cosine_similarity(orthogonal(matrices).flatten(1), (u @ v).flatten(1)) > 0.95).all()


def test_a_step_is_the_rate_times_an_orthogonal_matrix():
    value = nn.Parameter(torch.zeros(8, 4))
    optimizer = Muon([value], lr=0.1)
    value.grad = 1000 * torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    sizes = torch.linalg.svdvals(-value.detach()) / (0.1 * 2**0.5)
    assert sizes.min() > 0.5 and sizes.max() < 1.4
    assert (value.detach() * value.grad).sum() < 0


def test_kernels_of_convolutions_are_matrices_too():
    value = nn.Parameter(torch.zeros(4, 2, 3, 3))
    value.grad = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(2))
    Muon([value], lr=1.0).step()
    found, expected = -value.detach().flatten(), orthogonal(value.grad.flatten(1)[None]).flatten()
    assert nn.functional.cosine_similarity(found, expected, dim=0) > 0.98
    assert torch.linalg.svdvals(found.view(4, 18)).min() > 0.5


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.inner, self.out = nn.Linear(3, 5), nn.Linear(5, 2)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        return (self.out(self.inner(x).tanh()) - x[:, :2]).square().mean()


def draw(step: int) -> tuple[torch.Tensor]:
    return (torch.randn(16, 3, generator=torch.Generator().manual_seed(step)),)


def test_the_loss_falls_and_the_averaged_weights_come_back(tmp_path):
    module = Line()
    before = module.loss(*draw(1000)).item()
    weights = fit(module, draw, module.loss, replace(PLAN, steps=200), tmp_path / "line.pt")
    assert any(not torch.equal(weights[name], value) for name, value in module.state_dict().items())
    module.load_state_dict(weights)
    assert module.loss(*draw(1000)).item() < 0.1 * before


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    whole, begun = Line(), Line()
    expected = fit(whole, draw, whole.loss, PLAN, tmp_path / "whole.pt")

    def interrupted(step: int) -> tuple[torch.Tensor]:
        if step == 6:
            raise KeyboardInterrupt
        return draw(step)

    with pytest.raises(KeyboardInterrupt):
        fit(begun, interrupted, begun.loss, PLAN, tmp_path / "line.pt")
    again, steps = Line(), []

    def counted(step: int) -> tuple[torch.Tensor]:
        steps.append(step)
        return draw(step)

    found = fit(again, counted, again.loss, PLAN, tmp_path / "line.pt")
    assert steps == [4, 5, 6, 7]
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_checkpoint_of_another_plan_is_not_used(tmp_path):
    first, second, steps = Line(), Line(), []
    fit(first, draw, first.loss, PLAN, tmp_path / "line.pt")

    def counted(step: int) -> tuple[torch.Tensor]:
        steps.append(step)
        return draw(step)

    fit(second, counted, second.loss, replace(PLAN, steps=3), tmp_path / "line.pt")
    assert steps == [0, 1, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recorded_pass_has_the_loss_and_the_gradients_of_one_that_is_not():
    here, there = Line(), Line().cuda()

    def loss(x: torch.Tensor) -> torch.Tensor:
        return there.loss(x) * torch.arange(2).to(x)[1]  # numbers that begin on the CPU, as the host makes them

    recorded = Passes(loss, list(there.parameters()))
    for step in range(3):  # the last ones are replayed
        (x,) = draw(step)
        here.zero_grad()
        expected = here.loss(x)
        expected.backward()
        torch.testing.assert_close(recorded(x.cuda()).cpu(), expected.detach())
        for found, parameter in zip(there.parameters(), here.parameters(), strict=True):
            torch.testing.assert_close(found.grad.cpu(), parameter.grad)
