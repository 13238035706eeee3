"""The loss on worked-out numbers, and what chance decides."""

import math
from pathlib import Path

import pytest
import torch

from fantasytalking_core.training.run.config import Config, Drop
from fantasytalking_core.training.run.objective import chosen_losses, draw, lip_losses, noised, whole_losses

CONFIG = Config("dit", Path("cache"), Path("output"))
SMALL = torch.Size((1, 1, 1, 1))


def pictures(*values: float) -> torch.Tensor:
    """`[B, 2, 1, 1, 2]`: two channels and two places."""
    return torch.tensor(values, dtype=torch.float32).reshape(-1, 2, 1, 1, 2)


VELOCITY, LATENTS, NOISE = pictures(1, 2, 3, 4), pictures(0, 0, 1, 1), pictures(1, 1, 1, 1)
# v − (ε − x0) = 0 1 / 3 4, squared 0 1 / 9 16 for the two places of the first and the second channel


def test_the_loss_is_the_mean_squared_error_of_noise_minus_latents():
    assert whole_losses(VELOCITY, LATENTS, NOISE).tolist() == [26 / 4]


@pytest.mark.parametrize(
    "mask, expected", [((1.0, 0.0), 9 / 2), ((0.0, 1.0), 17 / 2), ((0.5, 0.25), (0.5 * 9 + 0.25 * 17) / (2 * 0.75))]
)
def test_the_lips_loss_is_the_mean_over_what_the_mask_shows(mask, expected):
    lips = torch.tensor(mask).reshape(1, 1, 1, 2)
    assert lip_losses(VELOCITY, LATENTS, NOISE, lips).item() == pytest.approx(expected, rel=1e-6)


def test_a_small_mouth_counts_as_much_as_a_large_one():
    error = torch.ones(1, 16, 1, 40, 40)
    small = torch.zeros(1, 1, 40, 40)
    small[..., 0, 0] = 1
    assert lip_losses(error, 0 * error, 0 * error, small).item() == 1.0


def test_the_loss_is_that_of_the_lips_unless_p_is_at_most_eta():
    whole, lip, lips = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0]), torch.ones(2, 1, 1, 1)
    assert chosen_losses(whole, lip, lips, torch.tensor([False, True])).tolist() == [10.0, 2.0]


def test_where_no_lips_are_known_the_whole_picture_counts_and_its_gradient_is_a_number():
    velocity, lips = VELOCITY.clone().requires_grad_(), torch.zeros(1, 1, 1, 2)
    whole, lip = whole_losses(velocity, LATENTS, NOISE), lip_losses(velocity, LATENTS, NOISE, lips)
    loss = chosen_losses(whole, lip, lips, torch.tensor([False]))
    loss.sum().backward()
    assert loss.tolist() == [26 / 4]
    assert torch.equal(velocity.grad, pictures(0, 2, 6, 8) / 4)


def test_noise_is_mixed_in_by_sigma():
    mixed = noised(torch.full((2, 1, 1, 1, 1), 4.0), torch.full((2, 1, 1, 1, 1), 8.0), torch.tensor([0.25, 1.0]))
    assert mixed.flatten().tolist() == [5.0, 8.0]


@pytest.fixture(scope="module")
def draws():
    return [draw(number, SMALL, CONFIG) for number in range(10_000)]


def within(count: int, probability: float) -> bool:
    """Five standard deviations of a count of 10,000 draws."""
    return abs(count - 10_000 * probability) < 5 * math.sqrt(10_000 * probability * (1 - probability))


def test_one_loss_in_five_is_that_of_the_whole_picture(draws):
    assert within(sum(each.whole for each in draws), 0.2)


def test_image_speech_and_prompt_are_each_dropped_once_in_ten_and_on_their_own(draws):
    for name in ("drop_image", "drop_speech", "drop_text"):
        assert within(sum(getattr(each, name) for each in draws), 0.1)
    for pair in (("drop_image", "drop_speech"), ("drop_image", "drop_text"), ("drop_speech", "drop_text")):
        assert within(sum(getattr(each, pair[0]) and getattr(each, pair[1]) for each in draws), 0.01)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_what_is_never_or_always_dropped(probability):
    config = Config("dit", Path("cache"), Path("output"), drop=Drop(*(probability,) * 3), eta=probability)
    for number in range(50):
        found = draw(number, SMALL, config)
        assert {found.drop_image, found.drop_speech, found.drop_text, found.whole} == {bool(probability)}


def test_sigmas_are_uniform_before_the_shift(draws):
    sigmas = torch.tensor([each.sigma for each in draws], dtype=torch.float64)
    u = sigmas / (5 - 4 * sigmas)  # σ = 5u / (1 + 4u), solved for u
    for quarter in range(4):
        assert within(int(((u >= quarter / 4) & (u < (quarter + 1) / 4)).sum()), 0.25)
    assert sigmas.median() == pytest.approx(5 * 0.5 / 3, abs=0.01)


def test_noise_is_normal(draws):
    noise = torch.cat([each.noise.flatten() for each in draws])
    assert abs(noise.mean()) < 0.05 and abs(noise.var() - 1) < 0.1


def test_a_number_of_a_run_always_draws_the_same_and_another_run_draws_something_else():
    shape = torch.Size((16, 2, 4, 4))
    once, again = draw(7, shape, CONFIG), draw(7, shape, CONFIG)
    assert once.sigma == again.sigma and torch.equal(once.noise, again.noise)
    others = [draw(8, shape, CONFIG), draw(7, shape, Config("dit", Path("cache"), Path("output"), seed=1))]
    assert all(other.sigma != once.sigma and not torch.equal(other.noise, once.noise) for other in others)
