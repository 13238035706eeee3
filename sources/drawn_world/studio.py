"""The graph of the templates without a page: a portrait of the world and speech to a video, by the pack's own nodes."""

import asyncio
import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from fantasytalking_core.errors import FantasyTalkingError

from . import FPS, FRAMES, ROOT
from .world import videos
from .world.look import Look
from .world.voices import RATE

BEGIN = 33
"""The frame at which a held-out clip begins: not with the silence that all recordings begin with."""


@dataclass(frozen=True)
class Sampling:
    """Of every generation."""

    steps: int = 8
    shift: float = 5.0
    text_cfg: float = 1.0
    audio_cfg: float = 3.0
    identity_strength: float = 0.5
    guidance_every: int = 1
    ease_in_silence: bool = False


@dataclass(frozen=True)
class Setting:
    """One row of a table.

    Attributes:
        adapter: the training run that it comes from.
        expression, body: ω_l and ω_b.
        identity: whether the face is given.
        other_speech: whether another clip's speech drives the portrait.
    """

    adapter: str = "both"
    expression: float = 0.5
    body: float = 0.5
    identity: bool = True
    other_speech: bool = False


@dataclass(frozen=True, eq=False)
class Clip:
    """A held-out clip.

    Attributes:
        frames: float32 `[33, H, W, 3]` in [0, 1]; the first one is the reference.
        speech: float32 samples at 16 kHz, just as long.
        landmarks: `[478, 2]` of the reference, in pixels.
    """

    look: Look
    frames: np.ndarray
    speech: np.ndarray
    landmarks: np.ndarray

    @property
    def reference(self) -> np.ndarray:
        return self.frames[0]


def held_out(folder: Path, count: int) -> list[Clip]:
    """A piece of each of the first `count` test videos, from BEGIN on."""
    found = videos.read(folder / "videos/test")
    if len(found.frames) < count:
        raise FantasyTalkingError(f"{folder / 'videos/test'} holds {len(found.frames)} videos, expected {count}.")
    shown, first, samples = slice(BEGIN, BEGIN + FRAMES), round(BEGIN / FPS * RATE), int(FRAMES / FPS * RATE)
    return [
        Clip(
            videos.look_of("test", number),
            found.frames[number, shown].astype(np.float32) / 255,
            found.sounds[number, first : first + samples],
            found.landmarks[number, BEGIN],
        )
        for number in range(count)
    ]


@dataclass(frozen=True, eq=False)
class Given:
    """What the model is given of a portrait, whatever it then says.

    Attributes:
        positive, negative: the prompts.
        image: the portrait `[1, H, W, 3]`.
        vision: its CLIP vision output.
        identity: its face, where there is one.
    """

    positive: list
    negative: list
    image: torch.Tensor
    vision: object
    identity: object | None = None


class Studio:
    """The graphs of the templates that keep the face and set the motion in one, run in this process.

    Args:
        models: the folder of the small family.
        adapters: the folder of the adapters.
        shipped: of these the one that is shipped.
    """

    def __init__(self, models: Path, adapters: Path, sampling: Sampling, shipped: str = "both/adapter.safetensors") -> None:
        self.sampling, self.shipped = sampling, shipped
        self._paths = [*sorted(path for path in models.rglob("*") if path.is_file()), adapters / shipped]
        self._nodes = _load_nodes(models, adapters)
        self._model = self.run("UNETLoader", unet_name="dit.safetensors", weight_dtype="default")[0]
        self.vae = self.run("VAELoader", vae_name="vae.safetensors")[0]
        self._wav2vec = self.run("FantasyTalkingWav2VecLoader", model_name="wav2vec2")[0]
        self._face_encoder = self.run("FantasyTalkingFaceEncoderLoader", model_name="face_encoder.onnx")[0]
        stand_ins = self.module("host.stand_ins")
        self._text, self._image = stand_ins.StandInTextEncoder(), stand_ins.StandInImageEncoder()
        self._adapted: dict[str, object] = {}
        self._shown: tuple[Clip, Given, tuple] | None = None

    def run(self, node_id: str, **inputs) -> tuple:
        """A node's outputs; run as the host runs it."""
        node = self._nodes[node_id]
        with torch.inference_mode():
            if hasattr(node, "GET_NODE_INFO_V1"):
                return node.execute(**inputs).args
            return getattr(node(), node.FUNCTION)(**inputs)

    def files(self) -> list[str]:
        """Digests of all files of the shipped family."""
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in self._paths]

    def module(self, name: str) -> ModuleType:
        """A module of the pack's core as the host has loaded it."""
        package = self._nodes["FantasyTalkingSampler"].__module__.rsplit(".nodes.", 1)[0]
        return importlib.import_module(f"{package}.fantasytalking_core.{name}")

    def with_adapter(self, file: str):
        """The DiT with an adapter of the folder of adapters."""
        if file not in self._adapted:
            adapter = self.run("FantasyTalkingAdapterLoader", adapter_name=file)[0]
            self._adapted[file] = self.run(
                "FantasyTalkingApplyAdapter",
                model=self._model,
                adapter=adapter,
                audio_strength=1.0,
                identity_strength=self.sampling.identity_strength,
            )[0]
        return self._adapted[file]

    def through_vae(self, frames: np.ndarray) -> np.ndarray:
        """`[F, H, W, 3]` encoded and decoded."""
        latent = self.run("VAEEncode", vae=self.vae, pixels=torch.from_numpy(frames))[0]
        return self.pictures(latent)

    def film(self, clip: Clip, speech: np.ndarray, setting: Setting, seed: int) -> np.ndarray:
        """The portrait, speaking: `[33, H, W, 3]` in [0, 1]."""
        if self._shown is None or self._shown[0] is not clip:
            given = self.given(clip)
            self._shown = clip, given, self.image_to_video(given, given.image, FRAMES)
        _, given, (*prompts, latent) = self._shown
        identity = given.identity if setting.identity else None
        positive, negative = self.conditioned(*prompts, self.heard(speech, FRAMES), identity, setting)
        return self.pictures(
            self.sample(self.with_adapter(f"{setting.adapter}/adapter.safetensors"), positive, negative, latent, seed)
        )

    def given(self, clip: Clip) -> Given:
        shown = self.shown(torch.from_numpy(clip.reference)[None], clip.look.caption)
        marks = marks_of([[clip.landmarks]], shown.image)
        face = self.run("FantasyTalkingEncodeFace", face_encoder=self._face_encoder, face=shown.image, face_landmarks=marks)[0]
        return replace(shown, identity=face)

    def shown(self, image: torch.Tensor, caption: str) -> Given:
        """What is given of a picture `[1, H, W, 3]` of whomever."""
        positive, negative = (self.run("CLIPTextEncode", clip=self._text, text=text)[0] for text in (caption, ""))
        return Given(
            positive, negative, image, self.run("CLIPVisionEncode", clip_vision=self._image, image=image, crop="none")[0]
        )

    def image_to_video(self, given: Given, image: torch.Tensor, frames: int) -> tuple:
        """Positive, negative and latent of a video of `frames` that begins with an image `[1, H, W, 3]`."""
        return self.run(
            "WanImageToVideo",
            positive=given.positive,
            negative=given.negative,
            vae=self.vae,
            width=image.shape[2],
            height=image.shape[1],
            length=frames,
            batch_size=1,
            start_image=image,
            clip_vision_output=given.vision,
        )

    def heard(self, speech: np.ndarray, frames: int, start: float = 0.0):
        """Encoded speech, of samples at 16 kHz, from `start` (s) on."""
        audio = {"waveform": torch.from_numpy(speech)[None, None], "sample_rate": RATE}
        return self.run(
            "FantasyTalkingEncodeSpeech", wav2vec=self._wav2vec, audio=audio, fps=FPS, length=frames, start_time=start
        )[0]

    def conditioned(self, positive, negative, heard, identity=None, setting: Setting = Setting(), mask=None) -> tuple:
        """Positive and negative with speech, motion and face.

        Args:
            mask: where the speech is heard, `[1, H, W]`; None: everywhere.
        """
        motion = self.run("FantasyTalkingMotionIntensity", expression=setting.expression, body=setting.body)[0]
        rest = {name: value for name, value in (("identity", identity), ("mask", mask)) if value is not None}
        return self.run("FantasyTalkingConditioning", positive=positive, negative=negative, speech=heard, motion=motion, **rest)

    def sampler_settings(self, **changed) -> dict[str, object]:
        """What Sampler and Render have in common; `changed`: fields of Sampling."""
        chosen = replace(self.sampling, **changed)
        return {
            "steps": chosen.steps,
            "text_cfg": chosen.text_cfg,
            "audio_cfg": chosen.audio_cfg,
            "audio_start_percent": 0.0,
            "audio_end_percent": 1.0,
            "sampler_name": "euler",
            "scheduler": "fantasytalking",
            "shift": chosen.shift,
            "guidance_every": chosen.guidance_every,
            "ease_in_silence": chosen.ease_in_silence,
        }

    def sample(self, model, positive, negative, latent, seed: int, **changed):
        """The latent, by the Sampler; `changed`: fields of Sampling."""
        given = {"model": model, "positive": positive, "negative": negative, "latent_image": latent}
        return self.run("FantasyTalkingSampler", **given, seed=seed, denoise=1.0, **self.sampler_settings(**changed))[0]

    def pictures(self, latent) -> np.ndarray:
        """`[F, H, W, 3]` in [0, 1]."""
        return self.run("VAEDecode", vae=self.vae, samples=latent)[0].float().clamp(0, 1).numpy()


def marks_of(frames: Sequence[Sequence[np.ndarray]], pictures: torch.Tensor) -> dict[str, object]:
    """The host's FACE_LANDMARKS of pictures `[F, H, W, 3]`: of each frame those of every face, `[478, 2]`."""
    faces = [[{"landmarks_xy": points} for points in each] for each in frames]
    return {"frames": faces, "image_size": tuple(pictures.shape[1:3])}


def _load_nodes(models: Path, adapters: Path) -> dict[str, type]:
    """The host's nodes and this pack's, by their ids, with these folders among the places of the models."""
    import comfy.utils
    import folder_paths
    from comfy_extras.nodes_wan import WanImageToVideo

    import nodes

    comfy.utils.PROGRESS_BAR_ENABLED = False
    if not asyncio.run(nodes.load_custom_node(str(ROOT))):
        raise FantasyTalkingError(f"The host could not load the pack in {ROOT}: see the log.")
    for key in ("diffusion_models", "vae", "wav2vec2", "facerecognition"):
        folder_paths.add_model_folder_path(key, str(models), is_default=True)
    folder_paths.add_model_folder_path("fantasytalking", str(adapters), is_default=True)
    return {**nodes.NODE_CLASS_MAPPINGS, "WanImageToVideo": WanImageToVideo}
