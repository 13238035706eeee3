"""The release's guidance as a guider of the host, for any of its samplers."""

from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher

from ..errors import FantasyTalkingError
from ..guidance import Guidance, Pass, Passes, step_of
from .conditioning import SPEECH, Conditioning, speech_entries, with_entries, without_speech
from .patch import adapter_of

CONDS = {
    Pass.SPEECH: "positive",
    Pass.NEGATIVE: "negative",
    Pass.TEXT: "text_only",
    Pass.NEGATIVE_SPEECH: "negative_speech",
}


class FantasyTalkingGuider(comfy.samplers.CFGGuider):
    """Guidance by text and by speech; see `guidance`.

    A step makes one call of `calc_cond_batch`, positive first and negative second, as other packs' patches expect.
    Without speech it is the host's own classifier-free guidance with scale `text_cfg`.
    """

    def __init__(self, model: ModelPatcher, positive: Conditioning, negative: Conditioning, guidance: Guidance) -> None:
        super().__init__(model)
        speech = speech_entries(positive)
        if speech and adapter_of(model) is None:
            raise FantasyTalkingError(
                "The conditioning carries speech, but the model has no FantasyTalking adapter and would not hear it: "
                "wire the model through Apply Adapter."
            )
        self.guidance = guidance
        self.set_cfg(guidance.text_cfg)
        silent_negative = without_speech(negative)
        self.inner_set_conds(
            {
                CONDS[Pass.SPEECH]: positive,
                CONDS[Pass.NEGATIVE]: silent_negative,
                CONDS[Pass.TEXT]: without_speech(positive),
                CONDS[Pass.NEGATIVE_SPEECH]: with_entries(silent_negative, speech),
            }
        )

    def hears_speech(self) -> bool:
        return any(SPEECH in cond["model_conds"] for cond in self.conds[CONDS[Pass.SPEECH]])

    def passes(self, timestep: torch.Tensor, model_options: dict[str, Any]) -> Passes:
        if self.hears_speech():
            sigmas = model_options["transformer_options"]["sample_sigmas"]
            passes = self.guidance.passes(*step_of(float(timestep[0]), sigmas))
        else:
            passes = Guidance(self.guidance.text_cfg, 0.0).passes(0, 1)
        if passes.negative is None and model_options.get("disable_cfg1_optimization", False):
            passes = Passes(passes.positive, Pass.NEGATIVE, passes.speech)  # a patch wants to see it
        return passes

    def predict_noise(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: dict[str, Any] = {}, seed: int | None = None
    ) -> torch.Tensor:
        passes = self.passes(timestep, model_options)
        positive, negative, speech = (self.conds[CONDS[p]] if p else None for p in (passes.positive, passes.negative, passes.speech))
        conds = [positive, negative] if speech is None else [speech, negative, positive]
        about = {"input": x, "sigma": timestep, "model": self.inner_model, "model_options": model_options}
        if calc := model_options.get("sampler_calc_cond_batch_function"):
            out = calc({"conds": conds, **about})
        else:
            out = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
        # the host's own classifier-free guidance, with what other packs hang into it, on the text
        pair = [out[-1] if speech else out[0], out[1]]
        for fn in model_options.get("sampler_pre_cfg_function", []):
            pair = fn({"conds": [positive, negative], "conds_out": pair, "cond_scale": self.cfg, "timestep": timestep, **about})
        guided = comfy.samplers.cfg_function(
            self.inner_model, *pair[:2], self.cfg, x, timestep, model_options=model_options, cond=positive, uncond=negative
        )
        return guided if speech is None else guided + self.guidance.audio_cfg * (out[0] - out[-1])
