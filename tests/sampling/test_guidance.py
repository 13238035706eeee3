"""The guidance formula, and which passes a step runs."""

import itertools

import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.sampling.guidance import Guidance, Pass, Passes, step_of
from fantasytalking_core.sampling.schedule import sigmas
from support.reference import numbers

PREDICTIONS = {Pass.SPEECH: 3.0, Pass.TEXT: 1.7, Pass.NEGATIVE: 0.4, Pass.NEGATIVE_SPEECH: -0.9}


def combined(guidance: Guidance, passes: Passes) -> float:
    positive = PREDICTIONS[passes.positive]
    value = positive
    if passes.negative is not None:
        negative = PREDICTIONS[passes.negative]
        value = negative + guidance.text_cfg * (positive - negative)
    if passes.speech is not None:
        value += guidance.audio_cfg * (PREDICTIONS[passes.speech] - positive)
    return value


@pytest.mark.parametrize(("text", "audio"), list(itertools.product([0.0, 1.0, 2.5, 5.0], repeat=2)))
def test_inside_the_interval_the_passes_give_the_three_pass_formula(text, audio):
    guidance = Guidance(text, audio)
    a, p, n = PREDICTIONS[Pass.SPEECH], PREDICTIONS[Pass.TEXT], PREDICTIONS[Pass.NEGATIVE]
    assert combined(guidance, guidance.passes(0, 10)) == pytest.approx(n + text * (p - n) + audio * (a - p))


@pytest.mark.parametrize("text", [0.0, 1.0, 5.0])
def test_outside_the_interval_both_passes_hear_the_speech(text):
    guidance = Guidance(text, 5.0, 0.0, 0.5)
    a, n = PREDICTIONS[Pass.SPEECH], PREDICTIONS[Pass.NEGATIVE_SPEECH]
    assert combined(guidance, guidance.passes(5, 10)) == pytest.approx(n + text * (a - n))


@pytest.mark.parametrize(
    ("text", "audio", "run"),
    [
        (4.0, 5.0, {Pass.NEGATIVE, Pass.TEXT, Pass.SPEECH}),
        (5.0, 5.0, {Pass.NEGATIVE, Pass.SPEECH}),
        (5.0, 0.0, {Pass.NEGATIVE, Pass.TEXT}),
        (1.0, 5.0, {Pass.TEXT, Pass.SPEECH}),
        (1.0, 1.0, {Pass.SPEECH}),
        (1.0, 0.0, {Pass.TEXT}),
    ],
)
def test_a_pass_that_cannot_change_the_result_is_not_run(text, audio, run):
    passes = Guidance(text, audio).passes(0, 10)
    assert {passes.positive, passes.negative, passes.speech} - {None} == run


def test_outside_the_interval_a_distilled_model_runs_one_pass():
    assert Guidance(1.0, 5.0, 0.0, 0.0).passes(0, 10) == Passes(Pass.SPEECH, None)


@pytest.mark.parametrize(
    ("start", "end", "inside"),
    [(0.0, 1.0, range(10)), (0.0, 0.7, range(7)), (0.25, 1.0, range(3, 10)), (0.3, 0.3, []), (0.0, 0.65, range(7))],
)
def test_step_i_of_n_is_inside_if_start_le_i_over_n_lt_end(start, end, inside):
    guidance = Guidance(audio_start=start, audio_end=end)
    assert [i for i in range(10) if guidance.inside(i, 10)] == list(inside)


@pytest.mark.parametrize(("start", "end"), [(0.6, 0.5), (-0.1, 1.0), (0.0, 1.1), (float("nan"), 1.0)])
def test_what_is_no_interval_is_refused(start, end):
    with pytest.raises(FantasyTalkingError, match="is no interval: expected"):
        Guidance(audio_start=start, audio_end=end)


def test_a_step_is_found_from_its_sigma():
    schedule = torch.tensor([1.0, 0.8, 0.5, 0.0])
    assert [step_of(sigma, schedule) for sigma in (1.0, 0.8, 0.5)] == [(0, 3), (1, 3), (2, 3)]


def test_a_sigma_between_two_steps_belongs_to_the_earlier_one():
    """Multi-stage samplers ask the model there."""
    schedule = torch.tensor([1.0, 0.8, 0.5, 0.0])
    assert [step_of(sigma, schedule)[0] for sigma in (0.9, 0.79, 0.1)] == [0, 1, 2]


# -------------------------------------------------------------------------------------------------------- schedule


@pytest.mark.parametrize("steps", sorted(map(int, numbers("schedule")["sigmas"])))
def test_the_schedule_is_the_releases_exact_list(steps):
    assert sigmas(steps).tolist() == numbers("schedule")["sigmas"][str(steps)]


def test_denoise_keeps_the_last_steps_of_a_longer_schedule():
    assert sigmas(5, denoise=0.5).tolist() == numbers("schedule")["sigmas"]["10"][-6:]


def test_denoise_zero_is_no_step():
    assert sigmas(5, denoise=0.0).numel() == 0


@pytest.mark.parametrize(
    ("every", "steps", "full"),
    [
        (1, 5, [0, 1, 2, 3, 4]),
        (2, 10, [0, 1, 3, 5, 7, 9]),
        (3, 10, [0, 1, 4, 7, 9]),
        (2, 4, [0, 1, 3]),
        (10, 2, [0, 1]),
    ],
)
def test_the_first_steps_and_the_last_one_are_full_and_every_so_many_between(every, steps, full):
    guidance = Guidance(every=every)
    assert [step for step in range(steps) if guidance.is_full(step, steps)] == full


@pytest.mark.parametrize("every", [0, -1, 11, float("nan")])
def test_guidance_every_no_steps_is_refused(every):
    with pytest.raises(FantasyTalkingError, match="guidance_every is .*, expected 1 to 10"):
        Guidance(every=every)


def test_where_the_speechs_scale_differs_equal_scales_need_the_third_pass():
    assert Guidance(5.0, 5.0).passes(0, 10, eases=True) == Passes(Pass.TEXT, Pass.NEGATIVE, Pass.SPEECH)
    assert Guidance(5.0, 5.0, 0.0, 0.5).passes(5, 10, eases=True) == Passes(Pass.SPEECH, Pass.NEGATIVE_SPEECH)
