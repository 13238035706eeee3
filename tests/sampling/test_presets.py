"""What the presets hold, and how many passes of the model they are."""

import pytest

from fantasytalking_core.sampling.presets import PRESETS, Preset


def test_quality_is_as_published():
    """The release: 30 steps, both scales 5, every step with full guidance, at 512 pixels."""
    assert PRESETS["quality"] == Preset(
        steps=30, text_cfg=5.0, audio_cfg=5.0, guidance_every=1, longest_edge=512, about="as published"
    )


@pytest.mark.parametrize(
    ("name", "steps", "every", "edge"), [("fast", 20, 2, 512), ("preview", 10, 2, 384)], ids=["fast", "preview"]
)
def test_the_others_save_steps_and_guidance_at_the_same_scales(name, steps, every, edge):
    found = PRESETS[name]
    assert (found.steps, found.guidance_every, found.longest_edge) == (steps, every, edge)
    assert (found.text_cfg, found.audio_cfg) == (5.0, 5.0)


def test_every_step_of_quality_is_two_passes():
    assert PRESETS["quality"].passes() == 30 * 2


def test_the_steps_between_those_of_full_guidance_are_one_pass():
    """Full are the first two, then every second one, and the last: of 20 steps 0, 1, 3, 5 … 19, of 10 steps 0, 1, 3 … 9."""
    assert PRESETS["fast"].passes() == 11 * 2 + 9
    assert PRESETS["preview"].passes() == 6 * 2 + 4


def test_a_full_step_of_different_scales_is_three_passes_and_one_of_text_scale_1_saves_the_negative():
    assert Preset(4, text_cfg=3.0, audio_cfg=5.0).passes() == 4 * 3
    assert Preset(4, text_cfg=1.0, audio_cfg=2.0).passes() == 4 * 2
    assert Preset(4, text_cfg=1.0, audio_cfg=1.0).passes() == 4
