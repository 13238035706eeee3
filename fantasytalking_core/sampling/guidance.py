"""Classifier-free guidance by text and by speech (paper, inference settings; the release's formula).

With e(speech, prompt), speech a or none 0, prompt positive p or negative n:

    inside the interval    v = e(0,n) + text_cfg·[e(0,p) − e(0,n)] + audio_cfg·[e(a,p) − e(0,p)]
    outside                v = e(a,n) + text_cfg·[e(a,p) − e(a,n)]

The two scales are added, never multiplied with one another. A pass whose coefficient is zero is not run, which
the release does not do; the result is the same.

Two ideas of this project, off unless asked for. **Guidance every few steps**: v = e(a,p) + g, where g, all that guidance
adds to the one prediction with speech and prompt, changes slowly; in the steps between, the last g is used again, and a step is
one pass. **Ease in silence**: where a latent frame hears only silence, the speech's scale falls to 1, since guidance overshoots
where there is nothing to say.
"""

import math
from dataclasses import dataclass
from enum import Enum

import torch

from ..errors import FantasyTalkingError, check_number

TEXT_CFG = AUDIO_CFG = 5.0
"""The release's scales (3 to 7 recommended; the paper used 4.5 for speech)."""
MAX_CFG = 100.0
"""What the nodes take, as the host's own."""
MAX_EVERY = 10
WARM_UP = 2
"""Steps at the beginning that always have full guidance, as has the last one."""


class Pass(Enum):
    """One prediction of the model: which speech it hears and which prompt it reads."""

    SPEECH = "e(a,p)"
    TEXT = "e(0,p)"
    NEGATIVE = "e(0,n)"
    NEGATIVE_SPEECH = "e(a,n)"


@dataclass(frozen=True)
class Passes:
    """What one step computes: `negative + text_cfg·(positive − negative) + audio_cfg·(speech − positive)`.

    `negative` None: the step is `positive` alone; `speech` None: nothing is added.
    """

    positive: Pass
    negative: Pass | None
    speech: Pass | None = None

    @property
    def base(self) -> Pass:
        """The one to which guidance adds."""
        return self.speech or self.positive


@dataclass(frozen=True)
class Guidance:
    """Scales, interval and formula.

    Attributes:
        text_cfg: s_text; at 1 no negative pass is run.
        audio_cfg: s_audio; at 0 no pass hears speech inside the interval.
        audio_start, audio_end: step i of N lies inside the interval if start ≤ i/N < end. The authors ask for at
            least 70 % of the steps; all of them is the reference.
        every: steps from one with full guidance to the next; 1 as published.
        ease_in_silence: whether the speech's scale falls to 1 where nobody speaks.
    """

    text_cfg: float = TEXT_CFG
    audio_cfg: float = AUDIO_CFG
    audio_start: float = 0.0
    audio_end: float = 1.0
    every: int = 1
    ease_in_silence: bool = False

    def __post_init__(self) -> None:
        check_number("guidance_every", self.every, 1, MAX_EVERY)
        check_number("text_cfg", self.text_cfg, 0, MAX_CFG)
        check_number("audio_cfg", self.audio_cfg, 0, MAX_CFG)
        if not 0.0 <= self.audio_start <= self.audio_end <= 1.0:
            raise FantasyTalkingError(
                f"Audio guidance from {self.audio_start:g} to {self.audio_end:g} is no interval: expected "
                "0 ≤ audio_start_percent ≤ audio_end_percent ≤ 1."
            )

    def inside(self, step: int, steps: int) -> bool:
        return self.audio_start <= step / steps < self.audio_end

    def is_full(self, step: int, steps: int) -> bool:
        """Whether a step has full guidance, and not that of the last one that had."""
        return step < WARM_UP or step == steps - 1 or (step - WARM_UP + 1) % self.every == 0

    def passes(
        self, step: int, steps: int, text_is_patched: bool = False, always_negative: bool = False, eases: bool = False
    ) -> Passes:
        """The passes that can change the result of step `step` of `steps`.

        Args:
            eases: the speech's scale is not the same in all latent frames; then, too, e(0,p) does not cancel out.
            text_is_patched: something else changes how e(·,n) and e(0,p) are combined; then equal scales do not make
                e(0,p) cancel out.
            always_negative: something else wants to see the negative pass also where its coefficient is zero.
        """
        needs_negative = always_negative or not math.isclose(self.text_cfg, 1.0)
        if not self.inside(step, steps):
            return Passes(Pass.SPEECH, Pass.NEGATIVE_SPEECH if needs_negative else None)
        negative = Pass.NEGATIVE if needs_negative else None
        if math.isclose(self.audio_cfg, 0.0, abs_tol=1e-9):
            return Passes(Pass.TEXT, negative)
        if math.isclose(self.audio_cfg, self.text_cfg) and not text_is_patched and not eases:
            return Passes(Pass.SPEECH, negative)
        return Passes(Pass.TEXT, negative, Pass.SPEECH)


def step_of(sigma: float, sample_sigmas: torch.Tensor) -> tuple[int, int]:
    """The step that `sigma` belongs to, and how many steps there are.

    Found from the schedule, not by counting calls: multi-stage samplers call the model more often.
    """
    starts = sample_sigmas[:-1]
    nearest = int((starts - sigma).abs().argmin())
    if abs(float(starts[nearest]) - sigma) > 1e-4 * sigma:  # between two steps
        nearest = max(int((starts > sigma).sum()) - 1, 0)
    return nearest, len(starts)
