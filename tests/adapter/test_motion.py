"""The motion network: its sizes, its formula, its file; the coefficients and their ranges."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.adapter.adapter import Adapter
from fantasytalking_core.adapter.audio import AudioWidths
from fantasytalking_core.adapter.file import read_adapter, save_adapter
from fantasytalking_core.adapter.motion import Motion, MotionNetwork, MotionRanges, MotionWidths
from fantasytalking_core.errors import FantasyTalkingError
from support import motion
from support.reference import FOLDER

AUDIO = AudioWidths(audio=768, projected=512, model=256, blocks=2)
WIDTHS = MotionWidths(model=motion.MODEL, hidden=motion.HIDDEN)


@pytest.fixture
def file(tmp_path):
    motion.write(tmp_path / "adapter.safetensors")
    return tmp_path / "adapter.safetensors"


def test_by_default_it_is_512_wide_inside():
    with torch.device("meta"):
        network = MotionNetwork(MotionWidths(model=5120))
    shapes = {key: tuple(value.shape) for key, value in network.state_dict(prefix="motion.").items()}
    assert shapes == motion.shapes(5120, 512)


def test_the_network_is_its_formula(file):
    network = MotionNetwork(WIDTHS)
    network.load_state_dict({key.removeprefix("motion."): value for key, value in motion.weights().items()})
    pairs = [(0.0, 1.0), (0.5, 0.5), (0.83, 0.12)]
    with torch.no_grad():
        ours = network(torch.tensor(pairs))
    expected = torch.stack([motion.network(motion.weights(), *pair) for pair in pairs])
    torch.testing.assert_close(ours.double(), expected, atol=1e-5, rtol=0)
    assert (expected[0] - expected[1]).abs().max() > 0.1


def test_expression_and_body_are_not_the_same_thing():
    network = MotionNetwork(WIDTHS)
    network.load_state_dict({key.removeprefix("motion."): value for key, value in motion.weights().items()})
    one, other = network(torch.tensor([[0.2, 0.9], [0.9, 0.2]])).detach()
    assert (one - other).abs().max() > 0.1


def test_a_fresh_network_gives_zero():
    torch.manual_seed(0)
    assert not MotionNetwork(WIDTHS)(torch.rand(3, 2)).any()


# ---------------------------------------------------------------------------------------------------------- the file


def test_widths_and_ranges_are_read_from_the_file(file):
    found = read_adapter(file)
    assert found.motion == WIDTHS and found.parts == ("audio", "motion")
    assert found.ranges == MotionRanges(expression=(0.001, 0.003), body=(0.01, 0.05), map="linear")


def test_a_saved_adapter_comes_back(tmp_path):
    torch.manual_seed(0)
    ranges = MotionRanges((0.25, 0.5), (0.125, 4.0))
    adapter = Adapter(AUDIO, motion=WIDTHS, ranges=ranges)
    save_adapter(tmp_path / "adapter.safetensors", adapter.state_dict(), adapter.metadata())
    found = read_adapter(tmp_path / "adapter.safetensors")
    assert (found.audio, found.identity, found.motion, found.ranges) == (AUDIO, None, WIDTHS, ranges)
    for key, weight in adapter.state_dict().items():
        assert torch.equal(found.weights[key], weight), key


def test_the_published_file_has_no_motion():
    found = read_adapter(FOLDER / "fantasytalking" / "fantasytalking_tiny.safetensors")
    assert found.motion is None and found.parts == ("audio",)


def test_a_damaged_file_is_refused_in_words(file, tmp_path):
    whole = load_file(file)
    damaged = {
        "lacks motion.body.0.bias": {k: v for k, v in whole.items() if k != "motion.body.0.bias"},
        "lacks motion.out.weight": {k: v for k, v in whole.items() if k != "motion.out.weight"},
        "motion.out.bias has shape [7], expected [256]": {**whole, "motion.out.bias": torch.zeros(7)},
        "holds motion.bonus.weight": {**whole, "motion.bonus.weight": torch.zeros(7)},
    }
    for said, weights in damaged.items():
        save_file(weights, tmp_path / "damaged.safetensors")
        with pytest.raises(FantasyTalkingError) as error:
            read_adapter(tmp_path / "damaged.safetensors")
        assert said in str(error.value)


@pytest.mark.parametrize(
    "ranges",
    [
        "",
        "[]",
        "7",
        "{}",
        '{"expression": [0, 1]}',
        '{"expression": [1, 0], "body": [0, 1]}',
        '{"expression": [0], "body": [0, 1]}',
        '{"expression": [0, NaN], "body": [0, 1]}',
        '{"expression": [-1, 1], "body": [0, 1]}',
        '{"expression": ["a", 1], "body": [0, 1]}',
        '{"expression": [0, 1], "body": [1, 2], "map": "log"}',
        '{"expression": [1, 2], "body": [1, 2], "map": "sideways"}',
    ],
)
def test_ranges_that_are_none_are_refused(file, tmp_path, ranges):
    save_file(load_file(file), tmp_path / "damaged.safetensors", {"motion_ranges": ranges})
    with pytest.raises(FantasyTalkingError, match="expected two ranges"):
        read_adapter(tmp_path / "damaged.safetensors")


def test_a_coefficient_without_a_range_comes_back_as_one(tmp_path):
    adapter = Adapter(AUDIO, motion=WIDTHS, ranges=MotionRanges(body=None))
    save_adapter(tmp_path / "adapter.safetensors", adapter.state_dict(), adapter.metadata())
    assert read_adapter(tmp_path / "adapter.safetensors").ranges.trained == (True, False)


@pytest.mark.parametrize(
    ("encoders", "known"),
    [
        ({"face": "w600k_r50.onnx (174383860 bytes)"}, "w600k_r50.onnx (174383860 bytes)"),
        ({"face": "side file"}, ""),
        ({}, ""),
        ({"face": 7}, ""),
        ("none", ""),
    ],
)
def test_the_face_encoder_of_the_training_is_known_by_the_files_of_its_cache(file, tmp_path, encoders, known):
    about = {"data": json.dumps({"encoders": encoders})}
    save_adapter(tmp_path / "with_data.safetensors", load_file(file), about)
    assert read_adapter(tmp_path / "with_data.safetensors").face_encoder == known
    assert read_adapter(file).face_encoder == ""


# ---------------------------------------------------------------------------------------------------- the coefficients


def test_variances_map_over_the_logarithm_and_stay_within_0_and_1():
    """From 0.001 to 0.1 is a hundredfold: ten times the lower end is the middle."""
    ranges = MotionRanges(expression=(0.001, 0.1), body=(0.01, 0.16))
    between = ranges.motion(0.01, 0.02)
    assert (between.expression, between.body) == (pytest.approx(0.5), pytest.approx(0.25))
    assert ranges.motion(0.0, 7.0) == Motion(0.0, 1.0) and ranges.motion(0.001, 0.16) == Motion(0.0, 1.0)


def test_the_median_real_person_comes_out_near_the_middle():
    """Median 0.00087 (expression) and 0.0006 (body), measured; ln 8.7 / ln 40 and ln 3 / ln 15."""
    motion = MotionRanges().motion(0.00087, 0.0006)
    assert (motion.expression, motion.body) == (pytest.approx(0.586, abs=1e-3), pytest.approx(0.406, abs=1e-3))


def test_files_that_do_not_say_it_map_linearly_and_measure_as_they_did():
    ranges = MotionRanges.from_json('{"expression": [0.001, 0.003], "body": [0.01, 0.05]}')
    between = ranges.motion(0.002, 0.02)
    assert (between.expression, between.body) == (pytest.approx(0.5), pytest.approx(0.25))
    assert ranges.with_outline and not MotionRanges().with_outline
    assert MotionRanges.from_json(ranges.to_json()) == ranges


def test_what_was_not_measured_is_neutral():
    assert MotionRanges().motion(0.0, None) == Motion(0.0, 0.5)
    assert MotionRanges(body=None).motion(7.0, 7.0) == Motion(1.0, 0.5)


def test_what_was_not_trained_is_held_at_neutral():
    network = MotionNetwork(WIDTHS, MotionRanges(body=None))
    network.load_state_dict({key.removeprefix("motion."): value for key, value in motion.weights().items()})
    with torch.no_grad():
        still, neutral, lively = network(torch.tensor([[0.3, 0.0], [0.3, 0.5], [0.3, 1.0]]))
    expected = motion.network(motion.weights(), 0.3, 0.5)
    for held in (still, neutral, lively):
        torch.testing.assert_close(held.double(), expected, atol=1e-5, rtol=0)
    assert (expected - motion.network(motion.weights(), 0.3, 1.0)).abs().max() > 0.1  # else it could not differ


def test_ranges_survive_their_text():
    for ranges in (MotionRanges((0.1, 1 / 3), (0.25, 2.5)), MotionRanges(None, (0.25, 2.5)), MotionRanges(None, None)):
        assert MotionRanges.from_json(ranges.to_json()) == ranges
    assert json.loads(MotionRanges((0.1, 0.2), None).to_json()) == {"expression": [0.1, 0.2], "body": None, "map": "log"}


@pytest.mark.parametrize(("name", "value"), [("expression", -0.01), ("expression", 1.5), ("body", 2.0), ("body", float("nan"))])
def test_coefficients_outside_of_0_to_1_are_refused(name, value):
    with pytest.raises(FantasyTalkingError, match=rf"{name} is {value}, expected 0 .* to 1"):
        Motion(**{name: value})
