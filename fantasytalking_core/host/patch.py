"""The adapter on the host's MODEL: speech and face in every block's cross-attention, through its extension points.

Per model call an APPLY_MODEL wrapper takes speech, face and motion out of the conditioning and installs an attention override;
`arm`, which runs between a block's self-attention and its cross-attention, arms it; the next attention is the
cross-attention's, whose query they share and whose result they join before the output projection. That it is this
block's is checked: another node may have replaced it.

The state is there in every call, also without speech, and its two hooks are kept out of torch.compile's traces:
otherwise its guards would fail between calls.
"""

from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ..adapter.adapter import Adapter
from ..adapter.identity import STRENGTH
from ..adapter.keys_values import RunCache
from ..errors import FantasyTalkingError
from .checks import check_identity, check_model, check_motion, check_speech, uncompiled
from .conditioning import IDENTITY, MOTION, SPEECH, WINDOWS, faceless, silent
from .model_call import Call
from .timestep import timestep_embedding_plus

KEY = "fantasytalking"
RUN = "fantasytalking_run"


@torch.compiler.disable
def arm(args: dict[str, Any]) -> torch.Tensor:
    """attn1_patch: the next attention is the block's cross-attention."""
    call = args["transformer_options"].get(KEY)
    if call is not None:
        call.armed = (args["transformer_options"]["block_index"], args["x"].shape)
    return args["x"]


@torch.compiler.disable
def attend(func: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    """optimized_attention_override: the attention that was asked for, plus speech and face where it is armed."""
    options = kwargs.get("transformer_options") or {}
    call: Call | None = options.get(KEY)
    if call is None:
        return func(*args, **kwargs)
    armed, call.armed = call.armed, None  # before anything else, which may attend on its own
    out = func(*args, **kwargs) if call.inner is None else call.inner(func, *args, **kwargs)
    if armed is None or not call.adds:
        return out
    if armed != (options["block_index"], args[0].shape):
        raise FantasyTalkingError(
            "Another node has replaced the model's cross-attention by one that speech and face can't join: remove that "
            "node (NAG and the like), or set audio_strength and identity_strength to 0."
        )
    heads = kwargs["heads"] if "heads" in kwargs else args[3]
    return call.add(out, args[0], heads, options["block_index"])


@dataclass(frozen=True)
class AppliedAdapter:
    """The strengths of an adapter on a MODEL, and the wrappers that use them."""

    audio_strength: float
    identity_strength: float

    def outer_sample(self, executor: Any, noise: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One sampling run, of which keys and values are kept until it ends, fails or is interrupted.

        Speech and face are checked against the latent and the adapter before anything is loaded. What has strength 0
        is dropped, not only ignored: then the host batches the passes as it does without it, and the result is
        bit-identical.
        """
        guider, cache = executor.class_obj, RunCache()
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
        guider.model_options["transformer_options"][RUN] = cache
        try:
            return executor(noise, *args, **kwargs)
        finally:
            guider.model_options = outer_options
            cache.clear()

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
        options = transformer_options.copy()
        dit, adapter = uncompiled(base.diffusion_model), applied_adapter(base.current_patcher)
        options[KEY] = Call(
            inner=options.get("optimized_attention_override"),
            dit=dit,
            adapter=adapter,
            cache=options.get(RUN),
            speech=speech if self.audio_strength != 0 else None,
            windows=windows,
            identity=identity if self.identity_strength != 0 else None,
            audio_strength=self.audio_strength,
            identity_strength=self.identity_strength,
            tokens_per_frame=tokens_per_frame,
            first_token=tokens_per_frame if has_reference else 0,
            weights_change=base.current_patcher.current_hooks is not None,
        )
        options["optimized_attention_override"] = attend
        moved = None if motion is None or adapter.motion is None else adapter.motion(motion.to(x.device, torch.float32))
        with timestep_embedding_plus(dit, moved):
            return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)


def adapter_of(model: ModelPatcher) -> Adapter | None:
    """The adapter that is applied to a MODEL, on that model's own device."""
    patchers = model.get_additional_models_with_key(KEY)
    return patchers[0].model if patchers else None


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
    applied = AppliedAdapter(audio_strength, identity_strength)
    model = model.clone()
    model.set_additional_models(KEY, [adapter])
    patches = model.model_options["transformer_options"].get("patches", {})
    if arm not in patches.get("attn1_patch", []):
        model.set_model_attn1_patch(arm)
    for kind, wrapper in (
        (WrappersMP.OUTER_SAMPLE, applied.outer_sample),
        (WrappersMP.APPLY_MODEL, applied.apply_model),
    ):
        model.remove_wrappers_with_key(kind, KEY)
        model.add_wrapper_with_key(kind, KEY, wrapper)
    return model
