"""Whole videos, from the conditioning to the latents: the release's way against ours.

    python dev.py run benchmarks/whole_video.py [--steps 6] [--pairs 5]
    python dev.py run benchmarks/whole_video.py --dim 5120 --blocks 40 --ffn 13824 --size 512 --dtype bfloat16 --steps 30

The release's way: three passes in every step, keys and values of the speech in every call, padding of the windows attended.
The default is a DiT of 8 blocks, dim 1024, 81 frames of 128 × 128.
"""

from dataclasses import replace

from host_model import random_clip, random_model  # before what looks for a GPU

# isort: split
import comfy.sample
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from common import command_line, compare
from live_tensors import Live

from fantasytalking_core.adapter.attention import window_mask
from fantasytalking_core.host import model_call
from fantasytalking_core.host.conditioning import SPEECH, speakers_of, without_speech
from fantasytalking_core.host.guider import FantasyTalkingGuider
from fantasytalking_core.host.patch import applied
from fantasytalking_core.sampling import schedule
from fantasytalking_core.sampling.guidance import Guidance, Passes
from fantasytalking_core.speech.speech import Speech


class ReleaseGuider(FantasyTalkingGuider):
    """Three passes in every step."""

    def passes(self, timestep, model_options, eases: bool) -> Passes:
        return self.guidance.passes(*self.step(timestep, model_options), text_is_patched=True, always_negative=True)


def in_every_call(model: ModelPatcher, speech: Speech) -> ModelPatcher:
    """A clone of the MODEL that computes keys and values of the speech in every call, in its blocks."""
    ours = applied(model)
    assert ours is not None
    audio = ours.adapter.audio

    def apply_model(executor, x, *args, **kwargs):
        if SPEECH in kwargs:
            rows = audio.project(speech.tokens[None].to(x.device, torch.float32)).to(x.dtype)
            kwargs[SPEECH] = tuple(
                replace(voice, keys_values=lambda index: audio.blocks[index](rows)) for voice in kwargs[SPEECH]
            )
        return executor(x, *args, **kwargs)

    model = model.clone()
    # before ours: the wrapper that was added first is outermost
    mine = model.wrappers["apply_model"].pop("fantasytalking")
    model.add_wrapper_with_key("apply_model", "in_every_call", apply_model)
    model.wrappers["apply_model"]["fantasytalking"] = mine
    return model


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--ffn", type=int, default=4096)
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--pairs", type=int, default=5, help="0: the memory alone")
    options = parser.parse_args()
    model = random_model(options.dim, options.blocks, options.ffn, dtype=getattr(torch, options.dtype))
    positive, negative, latent = random_clip(options.frames, options.size, options.size)
    (speaker,) = speakers_of(positive[0][1])
    release_model, calls = in_every_call(model, speaker.speech), []

    def counted(executor, *args, **kwargs):
        calls.append(len(args[5]["cond_or_uncond"]) if len(args) > 5 else len(kwargs["transformer_options"]["cond_or_uncond"]))
        return executor(*args, **kwargs)

    for each in (model, release_model):
        each.add_wrapper_with_key("apply_model", "counted", counted)

    def sampled(guider: FantasyTalkingGuider, steps: int) -> torch.Tensor:
        calls.clear()
        noise, sampler = comfy.sample.prepare_noise(latent["samples"], 0), comfy.samplers.sampler_object("euler")
        with torch.inference_mode():
            return guider.sample(noise, latent["samples"], sampler, schedule.sigmas(steps), disable_pbar=True, seed=0)

    def release() -> torch.Tensor:
        model_call.window_mask = lambda windows, dtype: torch.zeros_like(window_mask(windows, dtype))
        try:
            return sampled(ReleaseGuider(release_model, positive, negative, Guidance(5.0, 4.5)), options.steps)
        finally:
            model_call.window_mask = window_mask

    def ours(guidance: Guidance, steps: int) -> torch.Tensor:
        return sampled(FantasyTalkingGuider(model, positive, negative, guidance), steps)

    def compared() -> None:
        first = release()
        print(f"the release's way: {sum(calls)} passes")
        for name, guidance, steps in (
            ("as it comes, scales 5 and 4.5", Guidance(5.0, 4.5), options.steps),
            ("equal scales, 5 and 5", Guidance(5.0, 5.0), options.steps),
            ("guidance_every 2, scales 5 and 4.5", Guidance(5.0, 4.5, every=2), options.steps),
            ("guidance_every 2, equal scales", Guidance(5.0, 5.0, every=2), options.steps),
            ("four steps, text_cfg 1, as with a distilled LoRA", Guidance(1.0, 4.5), 4),
        ):
            out = ours(guidance, steps)
            passes, change = sum(calls), float((out - first).abs().mean() / first.std())
            compare(
                f"{name}: {passes} passes, latents differ by {change:.4f} of their spread",
                lambda g=guidance, s=steps: ours(g, s),
                release,
                options.pairs,
                warm_up=0,
            )

    def without_adapter() -> torch.Tensor:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(without_speech(positive), negative)
        guider.set_cfg(1.0)
        return sampled(guider, options.steps)

    print(f"{options.blocks} blocks of width {options.dim}, {options.frames} frames of {options.size} x {options.size}, ")
    print(f"{options.steps} steps, {options.dtype}; each against the release's way in the same run")
    if options.pairs:
        compared()
    else:
        without_adapter()  # the first run loads the model
    # with one pass in every step: of two, the host puts those of the plain model into one call
    for name, run in (("the plain model", without_adapter), ("ours", lambda: ours(Guidance(1.0, 1.0), options.steps))):
        with Live() as live:
            run()
        print(f"most tensors at a time, {name}: {live.peak / 2**20:.1f} MiB")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            run()
            print(f"peak memory, {name}: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
    rows, width = speaker.speech.tokens.shape[0], options.dim
    held = 2 * options.blocks * rows * width * getattr(torch, options.dtype).itemsize
    print(f"of which keys and values of {rows} speech tokens: {held / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
