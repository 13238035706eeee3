"""The release's guidance as a guider of the host, for any of its samplers."""

from typing import Any, NamedTuple

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher

from ..errors import FantasyTalkingError
from ..sampling.guidance import Guidance, Pass, Passes, step_of
from ..speech.speaker import speaking
from .checks import check_conditioning, check_portrait
from .conditioning import IDENTITY, MOTION, SPEECH, Conditioning, carries, hearing_as, speakers_of, without_speech
from .patch import applied

CONDS = {
    Pass.SPEECH: "positive",
    Pass.NEGATIVE: "negative",
    Pass.TEXT: "text_only",
    Pass.NEGATIVE_SPEECH: "negative_speech",
}
ADDED = {"speech": SPEECH, "a face": IDENTITY, "motion": MOTION}
CFG_PATCHES = ("sampler_cfg_function", "sampler_pre_cfg_function", "sampler_post_cfg_function")
"""Where other packs change how the two predictions of the text guidance are combined."""


class FantasyTalkingGuider(comfy.samplers.CFGGuider):
    """Guidance by text and by speech; see `guidance`.

    A step makes one call of `calc_cond_batch`, positive first and negative second, as other packs' patches expect.
    Without speech it is the host's own classifier-free guidance with scale `text_cfg`.
    """

    def __init__(self, model: ModelPatcher, positive: Conditioning, negative: Conditioning, guidance: Guidance) -> None:
        super().__init__(model)
        check_wiring(model, positive, negative)
        check_every(model, guidance.every)
        self.guidance = guidance
        self.heard = [options for _, options in positive]
        self.last: Last | None = None
        self.spoken: torch.Tensor | None = None
        self.set_cfg(guidance.text_cfg)
        silent_negative = without_speech(negative)
        self.inner_set_conds(
            {
                CONDS[Pass.SPEECH]: positive,
                CONDS[Pass.NEGATIVE]: silent_negative,
                CONDS[Pass.TEXT]: without_speech(positive),
                CONDS[Pass.NEGATIVE_SPEECH]: hearing_as(silent_negative, positive),
            }
        )

    def hears_speech(self) -> bool:
        return any(SPEECH in cond["model_conds"] for cond in self.conds[CONDS[Pass.SPEECH]])

    def passes(self, timestep: torch.Tensor, model_options: dict[str, Any], eases: bool) -> Passes:
        wanted = {
            "text_is_patched": any(model_options.get(patch) for patch in CFG_PATCHES),
            "always_negative": bool(model_options.get("disable_cfg1_optimization")),
        }
        if not self.hears_speech():
            return Guidance(self.guidance.text_cfg, audio_cfg=0.0).passes(0, 1, **wanted)
        return self.guidance.passes(*self.step(timestep, model_options), eases=eases, **wanted)

    def step(self, timestep: torch.Tensor, model_options: dict[str, Any]) -> tuple[int, int]:
        return step_of(float(timestep[0]), model_options["transformer_options"]["sample_sigmas"])

    def sample(self, noise: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One sampling run, as the host's."""
        self.last, self.spoken = None, self.speaking(noise)
        try:
            return super().sample(noise, *args, **kwargs)
        finally:
            self.last = self.spoken = None

    def predict_noise(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: dict[str, Any] = {}, seed: int | None = None
    ) -> torch.Tensor:
        passes = self.passes(timestep, model_options, self.spoken is not None)
        last = self.last if self.last is not None and self.last.passes == passes else None
        if last is not None and not self.guidance.is_full(*self.step(timestep, model_options)):
            base = self.conds[CONDS[passes.base]]
            return comfy.samplers.calc_cond_batch(self.inner_model, [base], x, timestep, model_options)[0] + last.added
        base, guided = self.guided(passes, x, timestep, model_options)
        if self.guidance.every > 1:
            self.last = Last(passes, guided - base)
        return guided

    def guided(
        self,
        passes: Passes,
        x: torch.Tensor,
        timestep: torch.Tensor,
        model_options: dict[str, Any],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The prediction with speech and prompt alone, and with guidance."""
        positive = self.conds[CONDS[passes.positive]]
        negative = self.conds[CONDS[passes.negative]] if passes.negative else None
        conds = [positive, negative]
        if passes.speech:
            conds = [self.conds[CONDS[passes.speech]], negative, positive]
        shared = {"input": x, "sigma": timestep, "model": self.inner_model, "model_options": model_options}
        if calc := model_options.get("sampler_calc_cond_batch_function"):
            # other packs know the host's two conditionings: the third pass is computed beside them
            out = list(calc({"conds": conds[:2], **shared}))
            if passes.speech:
                out += comfy.samplers.calc_cond_batch(self.inner_model, conds[2:], x, timestep, model_options)
        else:
            out = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
        # the host's own classifier-free guidance, with what other packs hang into it, on the text
        pair = [out[-1] if passes.speech else out[0], out[1]]
        for fn in model_options.get("sampler_pre_cfg_function", []):
            args = {"conds": [positive, negative], "conds_out": pair, "cond_scale": self.cfg, "timestep": timestep}
            pair = fn({**args, **shared})
        guided = comfy.samplers.cfg_function(
            self.inner_model, *pair[:2], self.cfg, x, timestep, model_options=model_options, cond=positive, uncond=negative
        )
        if not passes.speech:
            return out[0], guided
        audio_cfg = self.guidance.audio_cfg
        scale = audio_cfg if self.spoken is None else 1 + (audio_cfg - 1) * self.spoken.to(x)
        return out[0], guided + scale * (out[0] - out[-1])

    def speaking(self, x: torch.Tensor) -> torch.Tensor | None:
        """`[1, 1, T, h or 1, w or 1]`: where the speech's scale holds (1) and where it is 1 (0); None: it holds everywhere."""
        if not self.guidance.ease_in_silence or self.guidance.audio_cfg <= 1:
            return None
        speakers = [speaker for options in self.heard for speaker in speakers_of(options)]
        found = speaking(speakers, *x.shape[-2:]) if speakers else None
        if found is None:
            return None
        beyond = x.shape[2] - len(found)  # frames that another node appends
        return torch.nn.functional.pad(found, (0, 0, 0, 0, 0, beyond), value=1.0)[None, None]


class Last(NamedTuple):
    """Of the last step with full guidance: its passes, and what guidance added to the prediction with speech and prompt."""

    passes: Passes
    added: torch.Tensor


def check_every(model: ModelPatcher, every: int) -> None:
    """Raises FantasyTalkingError where another node wants to see the guidance of every step."""
    theirs = [name for name in (*CFG_PATCHES, "sampler_calc_cond_batch_function") if model.model_options.get(name)]
    if every > 1 and theirs:
        raise FantasyTalkingError(
            f"guidance_every is {every}, and another node on the model changes the guidance of every step "
            f"({', '.join(theirs)}): set guidance_every to 1, or remove that node."
        )


def check_wiring(model: ModelPatcher, positive: Conditioning, negative: Conditioning) -> None:
    """Refuse what ends in a face that does not speak, or in another person, before anything is loaded.

    Raises:
        FantasyTalkingError
    """
    for conditioning, name in ((positive, "positive"), (negative, "negative")):
        check_conditioning(conditioning, name, "FantasyTalking Conditioning")
        check_portrait(conditioning, name)
    has_speech, adapter = carries(positive, SPEECH), applied(model)
    if not has_speech and carries(negative, SPEECH):
        raise FantasyTalkingError("The speech is in the negative conditioning: swap positive and negative.")
    added = [name for name, entry in ADDED.items() if carries(positive, entry)]
    if added and adapter is None:
        raise FantasyTalkingError(
            f"The conditioning carries {' and '.join(added)}, but the model has no FantasyTalking adapter to use it: "
            "wire the model through Apply Adapter."
        )
    if adapter is not None and not has_speech and adapter.audio_strength != 0:
        raise FantasyTalkingError(
            "The positive conditioning carries no speech, and the face would not speak: wire it through FantasyTalking "
            "Conditioning, or set audio_strength to 0."
        )
