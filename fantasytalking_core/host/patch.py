"""The adapter on the host's MODEL, through its extension points.

Per sampling run an OUTER_SAMPLE wrapper checks what is wired; per model call an APPLY_MODEL wrapper takes speech, face and
motion out of the conditioning, and for its duration they join the DiT's cross-attention and timestep embedding.
"""

from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ..adapter.adapter import Adapter
from ..adapter.identity import STRENGTH
from ..errors import check_number
from .checks import check_identity, check_model, check_motion, check_speech, uncompiled
from .conditioning import IDENTITY, MOTION, SPEECH, WINDOWS, faceless, silent
from .cross_attention import joined
from .model_call import Call
from .run import Run
from .timestep import timestep_embedding_plus

KEY = "fantasytalking"
MAX_STRENGTH = 10.0
"""What the node takes."""
RUN = "fantasytalking_run"
"""Where a run's `Run` lies in the host's transformer options."""


@dataclass(frozen=True)
class AppliedAdapter:
    """The strengths of an adapter on a MODEL, and the wrappers that use them."""

    audio_strength: float
    identity_strength: float

    def outer_sample(self, executor: Any, noise: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One sampling run, of which keys and values are kept until it ends, fails or is interrupted; a run in which there
        was speech or a face and none was ever added is an error.

        Speech and face are checked against the latent and the adapter before anything is loaded. What has strength 0
        is dropped, not only ignored: then the host batches the passes as it does without it, and the result is
        bit-identical.
        """
        guider, run = executor.class_obj, Run()
        adapter = applied_adapter(guider.model_patcher)
        for items in guider.conds.values():
            for item in items:
                self.check(item["model_conds"], noise.shape, adapter)
        if 0 in (self.audio_strength, self.identity_strength):
            guider.conds = {
                name: [{**item, "model_conds": self.counting(item["model_conds"])} for item in items]
                for name, items in guider.conds.items()
            }
        outer_options = guider.model_options
        guider.model_options = comfy.model_patcher.create_model_options_clone(outer_options)
        guider.model_options["transformer_options"][RUN] = run
        try:
            latents = executor(noise, *args, **kwargs)
        finally:
            guider.model_options = outer_options
            run.cache.clear()
        run.end(uncompiled(guider.model_patcher.get_model_object("diffusion_model")))
        return latents

    def check(self, model_conds: dict[str, Any], noise_shape: torch.Size, adapter: Adapter) -> None:
        if speech := model_conds.get(SPEECH):
            check_speech(speech.cond, noise_shape, adapter.audio.widths)
        if (identity := model_conds.get(IDENTITY)) and self.identity_strength != 0:
            check_identity(identity.cond, adapter)
        if MOTION in model_conds:
            check_motion(adapter)

    def counting(self, model_conds: dict[str, Any]) -> dict[str, Any]:
        """Those of the entries that have a strength."""
        if self.audio_strength == 0:
            model_conds = silent(model_conds)
        return faceless(model_conds) if self.identity_strength == 0 else model_conds

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
        base = executor.class_obj
        speech, identity = kwargs.pop(SPEECH, None), kwargs.pop(IDENTITY, None)
        windows = kwargs.pop(WINDOWS, None) if speech is not None else None
        motion = kwargs.pop(MOTION, None)
        tokens_per_frame = ((x.shape[-2] + 1) // 2) * ((x.shape[-1] + 1) // 2)
        has_reference = kwargs.get("reference_latent") is not None and base.diffusion_model.ref_conv is not None
        dit, adapter = uncompiled(base.diffusion_model), applied_adapter(base.current_patcher)
        run: Run | None = transformer_options.get(RUN)
        call = Call(
            dit=dit,
            adapter=adapter,
            cache=None if run is None else run.cache,
            speech=speech if self.audio_strength != 0 else None,
            windows=windows,
            identity=identity if self.identity_strength != 0 else None,
            audio_strength=self.audio_strength,
            identity_strength=self.identity_strength,
            tokens_per_frame=tokens_per_frame,
            first_token=tokens_per_frame if has_reference else 0,
            weights_change=base.current_patcher.current_hooks is not None,
        )
        moved = None if motion is None or adapter.motion is None else adapter.motion(motion.to(x.device, torch.float32))
        with timestep_embedding_plus(dit, moved), joined(dit, call):
            predicted = executor(x, t, c_concat, c_crossattn, control, transformer_options, **kwargs)
        if run is not None:
            run.after(call, t, dit)
        return predicted


def adapter_of(model: ModelPatcher) -> Adapter | None:
    """The adapter that is applied to a MODEL, on that model's own device."""
    patchers = model.get_additional_models_with_key(KEY)
    return patchers[0].model if patchers else None


def applied_strengths(model: ModelPatcher) -> "AppliedAdapter":
    """The strengths of the adapter that is applied to a MODEL."""
    return model.get_attachment(KEY)


def applied_adapter(model: ModelPatcher) -> Adapter:
    """The adapter of a MODEL that has the wrappers, which come and go with it."""
    adapter = adapter_of(model)
    assert adapter is not None, "the wrappers were applied together with an adapter"
    return adapter


def apply_adapter(
    model: ModelPatcher, adapter: ModelPatcher, audio_strength: float = 1.0, identity_strength: float = STRENGTH
) -> ModelPatcher:
    """A clone of the MODEL with the adapter on it; an adapter that was there is replaced."""
    check_model(model, adapter.model.audio.widths)
    check_number("audio_strength", audio_strength, 0, MAX_STRENGTH)
    check_number("identity_strength", identity_strength, 0, MAX_STRENGTH)
    applied = AppliedAdapter(audio_strength, identity_strength)
    model = model.clone()
    model.set_additional_models(KEY, [adapter])
    model.set_attachments(KEY, applied)
    for kind, wrapper in (
        (WrappersMP.OUTER_SAMPLE, applied.outer_sample),
        (WrappersMP.APPLY_MODEL, applied.apply_model),
    ):
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)
    return model
