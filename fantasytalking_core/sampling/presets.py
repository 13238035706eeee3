"""Named settings: how good, how fast. Only `quality` is as published; what saves passes is this project's."""

from dataclasses import dataclass

from .guidance import AUDIO_CFG, TEXT_CFG, Guidance
from .schedule import STEPS


@dataclass(frozen=True)
class Preset:
    """Settings of one run.

    Attributes:
        steps: of the sampler.
        text_cfg, audio_cfg: scales; where they are equal, a step of full guidance is two passes.
        guidance_every: steps from one with full guidance to the next; those between are one pass.
        longest_edge: pixels that the portrait is scaled to before it is sampled.
        about: what it is, in a few words.
    """

    steps: int
    text_cfg: float = TEXT_CFG
    audio_cfg: float = AUDIO_CFG
    guidance_every: int = 1
    longest_edge: int = 512
    about: str = "as published"

    def passes(self) -> int:
        """Predictions of the model in a whole run, the speech guided in all of its steps and nothing eased in silence."""
        guidance, total = Guidance(self.text_cfg, self.audio_cfg, every=self.guidance_every), 0
        for step in range(self.steps):
            full = guidance.passes(step, self.steps)
            total += 1 + (full.negative is not None) + (full.speech is not None) if guidance.is_full(step, self.steps) else 1
        return total


PRESETS = {
    "quality": Preset(STEPS),
    "fast": Preset(20, guidance_every=2, about="half the passes of the published setting"),
    "preview": Preset(10, guidance_every=2, longest_edge=384, about="a quick look, not the final picture"),
}
"""`quality` is the release's number of steps and scales, with every pass, at 512 pixels. `fast` and `preview` are ours: fewer
steps, full guidance in every second one, and for a preview a smaller picture."""
