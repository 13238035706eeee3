"""The release's guidance as a guider of the host, for any of its samplers."""

from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher

from ..errors import FantasyTalkingError
from ..sampling.guidance import Guidance, Pass, Passes, step_of
from .checks import check_conditioning, check_portrait
from .conditioning import IDENTITY, MOTION, SPEECH, Conditioning, carries, hearing_as, without_speech
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
        self.guidance = guidance
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

    def passes(self, timestep: torch.Tensor, model_options: dict[str, Any]) -> Passes:
        wanted = {
            "text_is_patched": any(model_options.get(patch) for patch in CFG_PATCHES),
            "always_negative": bool(model_options.get("disable_cfg1_optimization")),
        }
        if not self.hears_speech():
            return Guidance(self.guidance.text_cfg, audio_cfg=0.0).passes(0, 1, **wanted)
        sigmas = model_options["transformer_options"]["sample_sigmas"]
        return self.guidance.passes(*step_of(float(timestep[0]), sigmas), **wanted)

    def predict_noise(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: dict[str, Any] = {}, seed: int | None = None
    ) -> torch.Tensor:
        passes = self.passes(timestep, model_options)
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
        return guided + self.guidance.audio_cfg * (out[0] - out[-1]) if passes.speech else guided


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
