"""Short sampling runs on the reference's model, and a look at what happens in them."""

from dataclasses import dataclass, field
from typing import Any

import torch

from fantasytalking_core.speech.windows import latent_frames
from support.reference import SEED, Case, normalised


@dataclass
class Watch:
    """What the model and the speech attention saw, in order.

    Attributes:
        calls: per model call: sigma, indices of the passes in it, rows of the batch, latent frames (None: all).
        windows: per speech attention: the windows that were attended to, `[1, T, l′]`.
        queries: per speech attention: shape of the query.
    """

    calls: list[dict[str, Any]] = field(default_factory=list)
    windows: list[torch.Tensor] = field(default_factory=list)
    queries: list[torch.Size] = field(default_factory=list)

    def on(self, model):
        """A clone of the MODEL that reports its calls here."""
        import comfy.patcher_extension as pe

        def wrapper(executor, x, t, *args, **kwargs):
            options = args[3] if len(args) > 3 else kwargs["transformer_options"]
            window = options.get("context_window")
            anchor = getattr(window, "causal_anchor_index", None)
            frames = (
                None if window is None else ([anchor] if anchor is not None and anchor >= 0 else []) + list(window.index_list)
            )
            self.calls.append(
                {"sigma": float(t[0]), "passes": list(options["cond_or_uncond"]), "rows": x.shape[0], "frames": frames}
            )
            return executor(x, t, *args, **kwargs)

        model = model.clone()
        model.add_wrapper_with_key(pe.WrappersMP.APPLY_MODEL, "watch", wrapper)
        return model

    def attention(self, host, monkeypatch):
        """Report the speech attention of the pack here; it runs as it is."""
        call = host.core("host.model_call")
        real = call.window_attention

        def watched(q, k, v, windows, *args):
            self.windows.append(windows.clone())
            self.queries.append(q.shape)
            return real(q, k, v, windows, *args)

        monkeypatch.setattr(call, "window_attention", watched)


def speech(host, frames: int, seed: int = 3):
    """Random audio tokens for a clip, about 50 a second at 23 fps."""
    tokens = int(frames / 23 * 50) - 1
    values = torch.randn(tokens, 768, generator=torch.Generator().manual_seed(seed))
    return host.core("speech.speech").Speech(values, frames, 23.0)


def clip(frames: int, size: int = 4, batch: int = 1) -> tuple[list, list, dict]:
    """Positive, negative and latent of a small clip."""
    conditioning = []
    generator = torch.Generator().manual_seed(5)
    shape = (1, 16, latent_frames(frames), size, size)
    image, mask = torch.randn(shape, generator=generator), torch.ones(1, 1, *shape[2:])
    mask[:, :, 0] = 0
    for which in ("pos", "neg"):
        text = Case("case_a").text(which)[:, :48]
        clip_vision = Case("case_a").conditioning()[0][0][1]["clip_vision_output"]
        conditioning.append([[text, {"concat_latent_image": image, "concat_mask": mask, "clip_vision_output": clip_vision}]])
    return *conditioning, {"samples": torch.zeros(batch, *shape[1:])}


def apply(run, model, adapter, audio_strength: float = 1.0):
    return run(
        "FantasyTalkingApplyAdapter", model=model, adapter=adapter, audio_strength=audio_strength, identity_strength=0.5
    )[0]


def adapter_with(part, run, models):
    """The reference's audio weights with the random ones of `support.identity` or `support.motion`, from a file."""
    part.write(models / "fantasytalking" / part.NAME)
    return run("FantasyTalkingAdapterLoader", adapter_name=part.NAME)[0]


def compiled(model, backend: str, keys: list[str]):
    """As the host's TorchCompileModel does it; backends without a compiler trace and guard in the same way."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper
    from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

    model = model.clone(disable_dynamic=True)
    options = {"guard_filter_fn": skip_torch_compile_dict} if backend == "inductor" else None
    set_torch_compile_wrapper(model, backend, options=options, keys=keys)
    return model


def hear(run, positive, negative, speech):
    return run("FantasyTalkingConditioning", positive=positive, negative=negative, speech=speech)


def sample(run, model, positive, negative, latent, **settings) -> torch.Tensor:
    """The one-box sampler with the release's settings, two steps, unless told otherwise."""
    inputs = {
        "seed": SEED,
        "steps": 2,
        "text_cfg": 4.0,
        "audio_cfg": 5.0,
        "audio_start_percent": 0.0,
        "audio_end_percent": 1.0,
        "sampler_name": "euler",
        "scheduler": "fantasytalking",
        "shift": 5.0,
        "denoise": 1.0,
    }
    out = run(
        "FantasyTalkingSampler",
        model=model,
        positive=positive,
        negative=negative,
        latent_image=latent,
        **{**inputs, **settings},
    )
    return out[0]["samples"]


def ksample(run, model, positive, negative, latent, cfg: float = 3.0, steps: int = 2) -> torch.Tensor:
    """The host's own KSampler."""
    return run(
        "KSampler",
        model=model,
        seed=SEED,
        steps=steps,
        cfg=cfg,
        sampler_name="euler",
        scheduler="simple",
        positive=positive,
        negative=negative,
        latent_image=latent,
        denoise=1.0,
    )[0]["samples"]


def sample_with(run, guider, latent, steps: int) -> torch.Tensor:
    """SamplerCustomAdvanced with a guider, our schedule and the same noise as `sample`."""
    return run(
        "SamplerCustomAdvanced",
        noise=run("RandomNoise", noise_seed=SEED)[0],
        guider=guider,
        sampler=run("KSamplerSelect", sampler_name="euler")[0],
        sigmas=run("FantasyTalkingScheduler", steps=steps, shift=5.0, denoise=1.0)[0],
        latent_image=latent,
    )[0]["samples"]


def velocity(run, guider, x: torch.Tensor, sigma: float, latent) -> torch.Tensor:
    """What a guider predicts for `x` at `sigma`: one Euler step from there to 0 moves x by −sigma · v."""

    class AsIs:  # the host scales noise by sigma: x itself is what the model must see
        seed = 0

        def generate_noise(self, latent):
            return x / sigma

    out = run(
        "SamplerCustomAdvanced",
        noise=AsIs(),
        guider=guider,
        sampler=run("KSamplerSelect", sampler_name="euler")[0],
        sigmas=torch.tensor([sigma, 0.0]),
        latent_image=latent,
    )[0]
    return (x - normalised(out)) / sigma
