"""The adapter on the host's MODEL, through its extension points.

Per sampling run an OUTER_SAMPLE wrapper checks what is wired and prepares it; per model call an APPLY_MODEL wrapper takes it
out of the conditioning, and for the call's duration it joins the DiT's cross-attention and timestep embedding.
"""

from dataclasses import dataclass
from typing import Any

import comfy.conds
import comfy.model_patcher
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ..adapter.adapter import Adapter
from ..adapter.identity import STRENGTH, FaceTokens
from ..adapter.keys_values import KeysValues
from ..errors import check_number
from ..speech.speaker import MAX_STRENGTH
from .checks import check_identity, check_model, check_motion, check_speech, uncompiled
from .conditioning import IDENTITY, MOTION, PLACES, SPEECH, Voices, faceless, silent
from .cross_attention import joined
from .model_call import Call, Voice
from .prepared import Preparation, own_image_attention
from .run import Run
from .timestep import timestep_embedding_plus

KEY = "fantasytalking"
RUN = "fantasytalking_run"
"""Where a run's `Run` lies in the host's transformer options."""


@dataclass(frozen=True)
class AppliedAdapter:
    """An adapter on a MODEL with its strengths, and the wrappers that use them."""

    adapter: Adapter
    audio_strength: float
    identity_strength: float

    def outer_sample(self, executor: Any, noise: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One sampling run; a run in which there was speech or a face and none was ever added is an error.

        Speech and face are checked against the latent and the adapter before anything is loaded, and prepared. What has
        strength 0 is dropped, not only ignored: then the host batches the passes as it does without it, and the result is
        bit-identical.
        """
        guider, run = executor.class_obj, Run()
        for items in guider.conds.values():
            for item in items:
                self.check(item["model_conds"], noise.shape)
        patcher = guider.model_patcher
        dtype = patcher.get_model_object("manual_cast_dtype") or patcher.model.get_dtype()
        prepare = Preparation(self.adapter, patcher.load_device, dtype, *noise.shape[-2:])
        with torch.no_grad():
            guider.conds = {
                name: [{**item, "model_conds": self.prepared(item["model_conds"], prepare)} for item in items]
                for name, items in guider.conds.items()
            }
        outer_options = guider.model_options
        guider.model_options = comfy.model_patcher.create_model_options_clone(outer_options)
        guider.model_options["transformer_options"][RUN] = run
        try:
            latents = executor(noise, *args, **kwargs)
        finally:
            guider.model_options = outer_options
        run.end(uncompiled(patcher.get_model_object("diffusion_model")))
        return latents

    def check(self, model_conds: dict[str, Any], noise_shape: torch.Size) -> None:
        for speaker in model_conds[SPEECH].cond if SPEECH in model_conds else ():
            check_speech(speaker.speech, noise_shape, self.adapter.audio.widths)
        if (identity := model_conds.get(IDENTITY)) and self.identity_strength != 0:
            check_identity(identity.cond, self.adapter)
        if MOTION in model_conds:
            check_motion(self.adapter)

    def prepared(self, model_conds: dict[str, Any], prepare: Preparation) -> dict[str, Any]:
        """Those of the entries that have a strength, as the blocks take them."""
        if self.audio_strength == 0:
            model_conds = silent(model_conds)
        if self.identity_strength == 0:
            model_conds = faceless(model_conds)
        made: dict[str, Any] = {}
        if SPEECH in model_conds:
            made[SPEECH] = Voices(prepare.voices(model_conds[SPEECH].cond, PLACES in model_conds))
        if IDENTITY in model_conds:
            made[IDENTITY] = comfy.conds.CONDConstant(prepare.face(model_conds[IDENTITY].cond))
        if MOTION in model_conds:
            made[MOTION] = comfy.conds.CONDRegular(prepare.motion(model_conds[MOTION].cond))
        return {**model_conds, **made}

    def apply_model(
        self,
        executor: Any,
        x: torch.Tensor,
        t: Any,
        c_concat=None,
        c_crossattn=None,
        control=None,
        transformer_options: dict[str, Any] = {},
        **kwargs: Any,
    ) -> torch.Tensor:
        base, run = executor.class_obj, transformer_options.get(RUN)
        voices: tuple[Voice, ...] = kwargs.pop(SPEECH, ())
        places: torch.Tensor | None = kwargs.pop(PLACES, None) if voices else None
        face: KeysValues | FaceTokens | None = kwargs.pop(IDENTITY, None)
        motion: torch.Tensor | None = kwargs.pop(MOTION, None)
        dit = uncompiled(base.diffusion_model)
        if isinstance(face, FaceTokens):
            kept = None if run is None or base.current_patcher.current_hooks else run.kept(face, x.device)
            face = own_image_attention(dit, face.tokens, x.device, base.get_dtype_inference(), kept)
        tokens_per_frame = ((x.shape[-2] + 1) // 2) * ((x.shape[-1] + 1) // 2)
        has_reference = kwargs.get("reference_latent") is not None and base.diffusion_model.ref_conv is not None
        call = Call(
            # the rows of a batch hear the same
            voices=voices if places is None else tuple(voice.at(places[0].cpu()) for voice in voices),
            face=face,
            audio_strength=self.audio_strength,
            identity_strength=self.identity_strength,
            frames=x.shape[2] if places is None else places.shape[1],  # frames that another node appends hear nothing
            tokens_per_frame=tokens_per_frame,
            first_token=tokens_per_frame if has_reference else 0,
        )
        moved = None if motion is None else motion.to(x.device)
        with timestep_embedding_plus(dit, moved), joined(dit, call):
            predicted = executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
        if run is not None:
            run.after(call, t, dit)
        return predicted


def applied(model: ModelPatcher) -> AppliedAdapter | None:
    """The adapter that is applied to a MODEL."""
    return model.get_attachment(KEY)


def adapter_of(model: ModelPatcher) -> Adapter | None:
    return None if (found := applied(model)) is None else found.adapter


def apply_adapter(
    model: ModelPatcher, adapter: ModelPatcher, audio_strength: float = 1.0, identity_strength: float = STRENGTH
) -> ModelPatcher:
    """A clone of the MODEL with the adapter on it; an adapter that was there is replaced."""
    check_model(model, adapter.model.audio.widths)
    check_number("audio_strength", audio_strength, 0, MAX_STRENGTH)
    check_number("identity_strength", identity_strength, 0, MAX_STRENGTH)
    applied = AppliedAdapter(adapter.model, audio_strength, identity_strength)
    model = model.clone()
    model.set_attachments(KEY, applied)
    for kind, wrapper in (
        (WrappersMP.OUTER_SAMPLE, applied.outer_sample),
        (WrappersMP.APPLY_MODEL, applied.apply_model),
    ):
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)
    return model
