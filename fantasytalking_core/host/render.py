"""A long take through the host: window by window from the conditioning to a video file, in memory of one window.

Nobody waits for the end to see or to keep anything: a window's latents and its encoded frames are on disk as soon as they are
made, and the same job goes on after the last of them.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher

from ..errors import FantasyTalkingError
from ..latent_grid import MULTIPLE, nearest_sides, video_frames
from ..sampling.guidance import Guidance
from ..sampling.long_take import Window, plan
from ..speech.recording import Recording
from ..speech.speech import Speech
from .conditioning import Conditioning, entries_of, speakers_of, with_entries
from .guider import FantasyTalkingGuider
from .job import Job, digest
from .patch import applied
from .streamed_decoding import REBUILT_FROM, StreamedDecoding
from .video_file import join, write_part

SAMPLED_VALUES = 16
"""Numbers of each weight of a model that tell it from another one."""

Tell = Callable[[int, int, float], None]
"""Called with the windows done, their frames, and the seconds of work in this session."""


@dataclass(frozen=True, eq=False)
class Take:
    """A long take: all that decides its frames.

    Attributes:
        positive, negative: from FantasyTalking Conditioning, wired to the prompts.
        portrait: `[1, H, W, 3]` in [0, 1].
        sigmas: of every window.
        sound: of the whole video, None: it is silent.
    """

    model: ModelPatcher
    vae: Any
    positive: Conditioning
    negative: Conditioning
    portrait: torch.Tensor
    clip_vision_output: Any
    guidance: Guidance
    sampler_name: str
    sigmas: torch.Tensor
    seed: int
    window: int
    overlap: int
    sound: Recording | None = None

    @property
    def speech(self) -> Speech:
        return speech_of(self.positive)

    def windows(self) -> list[Window]:
        return plan(self.speech.frames, self.window, self.overlap)

    def check(self) -> None:
        """Refuse what can't be rendered, before anything is loaded.

        Raises:
            FantasyTalkingError
        """
        self.windows()
        _, height, width, _ = self.portrait.shape
        if width % MULTIPLE or height % MULTIPLE:
            near = " × ".join(map(str, nearest_sides(width, height)))
            raise FantasyTalkingError(
                f"start_image is {width} × {height} pixels, expected multiples of {MULTIPLE}: scale it, for example to {near}."
            )

    def made_of(self) -> dict[str, str]:
        """Digests of everything that decides the frames, for a job to be known again after a restart."""
        adapter = applied(self.model)
        sound = () if self.sound is None else (self.sound.samples, self.sound.rate)
        settings = (self.guidance, self.sampler_name, self.seed, self.window, self.overlap)
        return {
            "model": digest(*fingerprint(self.model.model.diffusion_model, self.model)),
            "adapter": ""
            if adapter is None
            else digest(*fingerprint(adapter.adapter), adapter.audio_strength, adapter.identity_strength),
            "vae": digest(*fingerprint(self.vae.first_stage_model)),
            "conditioning": digest(*_flat(self.positive), *_flat(self.negative)),
            "portrait": digest(self.portrait, *_flat(self.clip_vision_output)),
            "settings": digest(self.sigmas, *settings),
            "sound": digest(*sound),
        }


def speech_of(positive: Conditioning) -> Speech:
    """The speech whose length and frame rate a video has.

    Raises:
        FantasyTalkingError: there is none.
    """
    for _, options in positive:
        if speakers := speakers_of(options):
            return speakers[0].speech
    raise FantasyTalkingError(
        "The positive conditioning carries no speech, and the video would have no length: wire FantasyTalking Conditioning "
        "between the prompts and Render."
    )


def fingerprint(module: torch.nn.Module, patcher: ModelPatcher | None = None) -> list[Any]:
    """Some numbers of a model's weights as its file has them, and what patches (LoRAs) are on it."""
    prefix = "diffusion_model."
    backup = {} if patcher is None else patcher.backup
    parts: list[Any] = []
    for name, weight in module.state_dict().items():
        own = backup.get(prefix + name)
        weight = weight if own is None else getattr(own, "weight", own)
        flat = weight.flatten()[:SAMPLED_VALUES]
        parts += [name, tuple(weight.shape), flat.float().cpu() if flat.is_floating_point() else flat.cpu()]
    for key, patches in sorted({} if patcher is None else patcher.patches.items()):
        for strength, patch, strength_model, *_ in patches:
            weights = getattr(patch, "weights", patch)
            tensors = [each for each in weights if isinstance(each, torch.Tensor)] if isinstance(weights, list | tuple) else []
            parts += [key, strength, strength_model, *(each.flatten()[:SAMPLED_VALUES].float().cpu() for each in tensors)]
    return parts


def _flat(value: Any) -> list[Any]:
    """The tensors, numbers and texts in a conditioning, in a stable order."""
    if isinstance(value, Mapping):
        return [part for key in sorted(value, key=str) for part in (str(key), *_flat(value[key]))]
    if isinstance(value, list | tuple):
        return [part for each in value for part in _flat(each)]
    if isinstance(value, torch.Tensor | int | float | str | bool | type(None)):
        return [value]
    if hasattr(value, "cond"):
        return _flat(value.cond)
    is_known = dataclasses.is_dataclass(value) or isinstance(value, comfy.clip_vision.Output)
    return _flat(vars(value)) if is_known else [type(value).__name__]


class Rendering:
    """A take while it is rendered."""

    def __init__(self, take: Take, job: Job) -> None:
        self.take, self.job, self.windows = take, job, take.windows()
        self.decoding = StreamedDecoding(take.vae)
        self.fps, self.frames = take.speech.fps, 0
        self.resumed_from = job.decoded(len(self.windows))
        """Windows that an earlier session finished."""

    def run(self, tell: Tell, parts_done: Callable[[Path], None] = lambda part: None) -> list[Path]:
        """Render what is missing; returns all parts in order.

        Raises:
            FantasyTalkingError: a part can't be written, or what the sampler has against the graph.
        """
        first, total = self.resumed_from, len(self.windows)
        if first:
            self._go_on_after(first)
        if first < total:
            image = self._image()
            bar = comfy.utils.ProgressBar(total * (len(self.take.sigmas) - 1))
            started = time.monotonic()
            for index in range(first, total):
                tell(index, self.frames, time.monotonic() - started)
                window, is_last = self.windows[index], index == total - 1
                latents = self.job.latents(index)
                if latents is None:
                    latents = self.sampled(index, image, bar)
                    self.job.keep_latents(index, latents)
                self.frames += write_part(
                    self.job.part(index), self.decoding.push(latents, is_last), self.fps, self._sound(window, is_last)
                )
                parts_done(self.job.part(index))
        return [self.job.part(index) for index in range(total)]

    def _go_on_after(self, windows: int) -> None:
        done = sum(window.new for window in self.windows[:windows])
        if windows < len(self.windows):
            latents = self.job.before(windows, REBUILT_FROM)
            self.decoding.rebuild(latents, done - latents.shape[2])
        self.frames = video_frames(done - self._waiting(done))

    def _waiting(self, done: int) -> int:
        return (done - 1) % 2 if self.decoding.cache is not None else 0

    def _sound(self, window: Window, is_last: bool) -> Recording | None:
        """Of the frames that a window's part shows."""
        sound = self.take.sound
        if sound is None:
            return None
        end = window.start + window.new
        frames = video_frames(end - (0 if is_last else self._waiting(end)))
        first, last = (int(each / self.fps * sound.rate) for each in (self.frames, frames))
        return Recording(sound.samples[:, first:last], sound.rate)

    def _image(self) -> tuple[Conditioning, Conditioning]:
        """The prompts with the portrait as WanImageToVideo gives it for the longest window, by the host's own node."""
        from comfy_extras.nodes_wan import WanImageToVideo

        take = self.take
        _, height, width, _ = take.portrait.shape
        longest = max(window.latents for window in self.windows)
        positive, negative, _ = WanImageToVideo.execute(
            take.positive, take.negative, take.vae, width, height, video_frames(longest), 1, take.portrait,
            take.clip_vision_output,
        ).args  # fmt: skip
        return positive, negative

    def sampled(self, index: int, image: tuple[Conditioning, Conditioning], bar: Any) -> torch.Tensor:
        """The new latents of a window, float32 on the CPU."""
        take, window = self.take, self.windows[index]
        positive, negative = (conditioning_of(window, each) for each in image)
        concat = positive[0][1]["concat_latent_image"]
        samples = torch.zeros(1, concat.shape[1], window.latents, *concat.shape[-2:])
        mask = None
        if window.anchored:
            held = [concat[:, :, :1].cpu()]
            if window.held:
                held.append(self.job.before(index, window.held))
            samples[:, :, : window.anchored] = torch.cat(held, dim=2)
            mask = torch.ones(1, 1, *samples.shape[2:])
            mask[:, :, : window.anchored] = 0
        guider = FantasyTalkingGuider(take.model, positive, negative, take.guidance)
        seed = (take.seed + window.start) % 2**64
        noise = comfy.sample.prepare_noise(samples, seed)
        out = guider.sample(
            noise, samples, comfy.samplers.sampler_object(take.sampler_name), take.sigmas, denoise_mask=mask,
            callback=self._callback(index, bar), disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=seed,
        )  # fmt: skip
        return out[:, :, window.anchored :].float().cpu().contiguous()

    def _callback(self, index: int, bar: Any) -> Callable[..., None]:
        """One bar over all windows.

        Without the host's preview of the latents: the page shows a node's preview in the place of its videos for good, and
        neither the parts nor the finished video would ever play on the node.
        """
        steps = len(self.take.sigmas) - 1

        def callback(step: int, x0: torch.Tensor, x: torch.Tensor, total: int) -> None:
            bar.update_absolute(index * steps + step + 1, len(self.windows) * steps)

        return callback


def conditioning_of(window: Window, conditioning: Conditioning) -> Conditioning:
    """What a window has of the conditioning of a take: everything that travels along latent frames is cut to its own."""
    items = []
    for text, options in conditioning:
        cut = {key: options[key][:, :, : window.latents] for key in ("concat_latent_image", "concat_mask") if key in options}
        items += [[text, {**options, **cut}]]
        if speakers := speakers_of(options):
            part = entries_of(*(speaker.part(window.places()) for speaker in speakers))
            items[-1:] = with_entries(items[-1:], part)
    return items


def finish(rendering: Rendering, target: Path, metadata: Mapping[str, Any] | None, keep_parts: bool) -> Path:
    """Join the parts to the file `target`; the job's folder goes, unless it is kept."""
    job, take = rendering.job, rendering.take
    join(job.joined, [job.part(index) for index in range(len(rendering.windows))], rendering.fps, take.sound, metadata)
    job.joined.replace(target)
    if not keep_parts:
        job.remove()
    return target
