"""The adapter on the host's MODEL: speech in every block's cross-attention, through the host's extension points.

Per model call an APPLY_MODEL wrapper takes the speech out of the conditioning and installs an attention override;
`arm`, which runs between a block's self-attention and its cross-attention, arms it; the next attention is the
cross-attention's, whose query the speech shares and whose result it joins before the output projection. That it is
this block's is checked: another node may have replaced it.

The state is there in every call, also without speech, and its two hooks are kept out of torch.compile's traces:
otherwise its guards would fail between calls.
"""

from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ..adapter import Adapter, AudioWidths
from ..attention import clip_attention, window_attention, window_mask
from ..errors import FantasyTalkingError
from ..keys_values import CallKeysValues, RunCache, SpeechKeysValues
from ..speech import Speech
from .conditioning import SPEECH, WINDOWS, silent

KEY = "fantasytalking"
RUN = "fantasytalking_run"
IMAGE_TO_VIDEO = "Wan2.1 I2V 14B (480p or 720p)"


@dataclass
class Call:
    """State of one model call.

    Attributes:
        inner: the attention override of another pack, which is called first.
        tokens_per_frame: video tokens S of a latent frame.
        first_token: where the video begins among the tokens, after a reference image's.
        armed: block and shape of the cross-attention's query that is expected next.
    """

    inner: Any
    adapter: Adapter
    cache: RunCache | None
    speech: Speech | None
    windows: torch.Tensor | None
    strength: float
    tokens_per_frame: int
    first_token: int
    armed: tuple[int, torch.Size] | None = None
    prepared: tuple[CallKeysValues, torch.Tensor | None] | None = None

    def prepare(self, q: torch.Tensor) -> tuple[CallKeysValues, torch.Tensor | None]:
        """Keys and values, and the windows' mask: the same for every block of a call."""
        if self.cache is None:
            speech = SpeechKeysValues(self.adapter.audio, self.speech.tokens, q.device, q.dtype, keep=False)
        else:
            speech = self.cache.get(self.adapter, self.speech, q.device, q.dtype)
        # the rows of a batch share the speech, and so the windows
        call = speech.for_call(None if self.windows is None else self.windows[:1].to(q.device))
        return call, None if call.windows is None else window_mask(call.windows, q.dtype)

    def add_speech(self, out: torch.Tensor, q: torch.Tensor, heads: int, block: int) -> torch.Tensor:
        """λ1·Attn(Q, K_audio, V_audio) on top of the block's other cross-attention (Eq. 4)."""
        if self.prepared is None:
            self.prepared = self.prepare(q)
        call, mask = self.prepared
        k, v = call.block(block)
        # PyTorch's own attention: it takes masks in every setup of the host, and with 17 keys none is faster
        if call.windows is None:
            return torch.add(out, clip_attention(q, k, v, heads, attention=attention_pytorch), alpha=self.strength)
        first, count = self.first_token, call.windows.shape[1] * self.tokens_per_frame
        video = q if count == q.shape[1] else q[:, first : first + count]
        heard = window_attention(video, k, v, call.windows, heads, mask, attention_pytorch)
        if video is not q:  # tokens of reference images hear nothing
            heard = torch.nn.functional.pad(heard, (0, 0, first, q.shape[1] - first - count))
        return torch.add(out, heard, alpha=self.strength)


@torch.compiler.disable
def arm(args: dict[str, Any]) -> torch.Tensor:
    """attn1_patch: the next attention is the block's cross-attention."""
    call = args["transformer_options"].get(KEY)
    if call is not None:
        call.armed = (args["transformer_options"]["block_index"], args["x"].shape)
    return args["x"]


@torch.compiler.disable
def attend(func: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
    """optimized_attention_override: the attention that was asked for, plus the speech where it is armed."""
    options = kwargs.get("transformer_options") or {}
    call: Call | None = options.get(KEY)
    if call is None:
        return func(*args, **kwargs)
    armed, call.armed = call.armed, None  # before anything else, which may attend on its own
    out = func(*args, **kwargs) if call.inner is None else call.inner(func, *args, **kwargs)
    if armed is None or call.speech is None or call.strength == 0:
        return out
    if armed != (options["block_index"], args[0].shape):
        raise FantasyTalkingError(
            "Another node has replaced the model's cross-attention by one that speech can't join: remove that node "
            "(NAG and the like), or set audio_strength to 0."
        )
    heads = kwargs["heads"] if "heads" in kwargs else args[3]
    return call.add_speech(out, args[0], heads, options["block_index"])


@dataclass(frozen=True)
class AppliedAdapter:
    """The strengths of an adapter on a MODEL, and the wrappers that use them."""

    audio_strength: float
    identity_strength: float

    def outer_sample(self, executor: Any, noise: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """One sampling run, of which keys and values are kept until it ends, fails or is interrupted.

        The speech is checked against the latent and the adapter before anything is loaded. At strength 0 it is
        dropped, not only ignored: then the host batches the passes as it does without this pack, and the result is
        bit-identical.
        """
        guider, cache = executor.class_obj, RunCache()
        widths = adapter_of(guider.model_patcher).audio.widths
        for items in guider.conds.values():
            for item in items:
                if speech := item["model_conds"].get(SPEECH):
                    check_speech(speech.cond, noise.shape, widths)
        if self.audio_strength == 0:
            guider.conds = {
                name: [{**item, "model_conds": silent(item["model_conds"])} for item in items]
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

    def apply_model(
        self, executor: Any, x: torch.Tensor, t: Any, c_concat=None, c_crossattn=None, control=None,
        transformer_options: dict[str, Any] = {}, **kwargs: Any,
    ) -> torch.Tensor:
        base = executor.class_obj
        speech = kwargs.pop(SPEECH, None)
        tokens_per_frame = ((x.shape[-2] + 1) // 2) * ((x.shape[-1] + 1) // 2)
        has_reference = kwargs.get("reference_latent") is not None and base.diffusion_model.ref_conv is not None
        options = transformer_options.copy()
        options[KEY] = Call(
            inner=options.get("optimized_attention_override"),
            adapter=adapter_of(base.current_patcher),
            cache=options.get(RUN),
            speech=speech,
            windows=kwargs.pop(WINDOWS, None) if speech is not None else None,
            strength=self.audio_strength,
            tokens_per_frame=tokens_per_frame,
            first_token=tokens_per_frame if has_reference else 0,
        )
        options["optimized_attention_override"] = attend
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)


def adapter_of(model: ModelPatcher) -> Adapter | None:
    """The adapter that is applied to a MODEL, on that model's own device."""
    patchers = model.get_additional_models_with_key(KEY)
    return patchers[0].model if patchers else None


def apply_adapter(
    model: ModelPatcher, adapter: ModelPatcher, audio_strength: float = 1.0, identity_strength: float = 0.5
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


def check_model(model: ModelPatcher, widths: AudioWidths) -> None:
    """Refuse a MODEL that the adapter does not fit."""
    dit = model.get_model_object("diffusion_model")
    dit = getattr(dit, "_orig_mod", dit)
    kind = type(dit).__name__
    if kind != "WanModel":
        raise FantasyTalkingError(f"The model is a {kind}, expected a Wan I2V DiT: load {IMAGE_TO_VIDEO}.")
    if dit.img_emb is None:
        raise FantasyTalkingError(
            "The model is a Wan T2V or Wan2.2 one, which does not read the portrait's image tokens: load "
            f"{IMAGE_TO_VIDEO}."
        )
    if (widths.model, widths.blocks) != (dit.dim, len(dit.blocks)):
        raise FantasyTalkingError(
            f"The adapter was made for a DiT of {widths.blocks} blocks of width {widths.model}, the model has "
            f"{len(dit.blocks)} of width {dit.dim}: load {IMAGE_TO_VIDEO}, or an adapter made for this model."
        )


def check_speech(speech: Speech, noise_shape: Any, widths: AudioWidths) -> None:
    """Refuse a latent of another length than the speech, and tokens of another encoder than the adapter's."""
    if speech.tokens.shape[-1] != widths.audio:
        raise FantasyTalkingError(
            f"The speech has tokens of width {speech.tokens.shape[-1]}, the adapter hears {widths.audio}: "
            "load wav2vec2-base-960h (768) in the Wav2Vec2 loader."
        )
    if len(noise_shape) != 5 or noise_shape[2] != speech.latent_frames:
        found = f"for {4 * noise_shape[2] - 3} frames" if len(noise_shape) == 5 else f"of shape {list(noise_shape)}"
        raise FantasyTalkingError(
            f"The latent is {found}, the speech for {speech.frames}: wire the length output of Encode Speech into the "
            "length of WanImageToVideo."
        )
