"""The graph of the templates without a page: a portrait of the world and speech to a video, by the pack's own nodes."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fantasytalking_core.errors import FantasyTalkingError

from . import FPS, FRAMES, ROOT, SIZE
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
        frames: float32 `[33, 64, 64, 3]` in [0, 1]; the first one is the reference.
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
class _Shown:
    """What comes out of WanImageToVideo, and the face."""

    positive: list
    negative: list
    latent: dict
    identity: object


class Studio:
    """The graphs of the templates fantasytalking_identity and fantasytalking_motion in one, run in this process.

    Args:
        folder: holds `models` and `runs`.
    """

    def __init__(self, folder: Path, sampling: Sampling) -> None:
        self.sampling = sampling
        self._nodes = _load_nodes(folder)
        self._model = self._run("UNETLoader", unet_name="dit.safetensors", weight_dtype="default")[0]
        self._vae = self._run("VAELoader", vae_name="vae.safetensors")[0]
        self._wav2vec = self._run("FantasyTalkingWav2VecLoader", model_name="wav2vec2")[0]
        self._face_encoder = self._run("FantasyTalkingFaceEncoderLoader", model_name="face_encoder.onnx")[0]
        from demo.stand_ins import StandInImageEncoder, StandInTextEncoder

        self._text, self._image = StandInTextEncoder(), StandInImageEncoder()
        self._adapted: dict[str, object] = {}
        self._shown: tuple[Clip, _Shown] | None = None

    def _run(self, node_id: str, **inputs) -> tuple:
        """A node's outputs; run as the host runs it."""
        node = self._nodes[node_id]
        with torch.inference_mode():
            if hasattr(node, "GET_NODE_INFO_V1"):
                return node.execute(**inputs).args
            return getattr(node(), node.FUNCTION)(**inputs)

    def _with_adapter(self, name: str):
        if name not in self._adapted:
            adapter = self._run("FantasyTalkingAdapterLoader", adapter_name=f"{name}/adapter.safetensors")[0]
            self._adapted[name] = self._run(
                "FantasyTalkingApplyAdapter",
                model=self._model,
                adapter=adapter,
                audio_strength=1.0,
                identity_strength=self.sampling.identity_strength,
            )[0]
        return self._adapted[name]

    def through_vae(self, frames: np.ndarray) -> np.ndarray:
        """`[F, H, W, 3]` encoded and decoded."""
        latent = self._run("VAEEncode", vae=self._vae, pixels=torch.from_numpy(frames))[0]
        return self._pictures(latent)

    def film(self, clip: Clip, speech: np.ndarray, setting: Setting, seed: int) -> np.ndarray:
        """The portrait, speaking: `[33, 64, 64, 3]` in [0, 1]."""
        if self._shown is None or self._shown[0] is not clip:
            self._shown = clip, self._show(clip)
        shown, chosen = self._shown[1], self.sampling
        audio = {"waveform": torch.from_numpy(speech)[None, None], "sample_rate": RATE}
        spoken = self._run(
            "FantasyTalkingEncodeSpeech", wav2vec=self._wav2vec, audio=audio, fps=FPS, length=FRAMES, start_time=0.0
        )[0]
        motion = self._run("FantasyTalkingMotionIntensity", expression=setting.expression, body=setting.body)[0]
        face = {"identity": shown.identity} if setting.identity else {}
        positive, negative = self._run(
            "FantasyTalkingConditioning", positive=shown.positive, negative=shown.negative, speech=spoken, motion=motion, **face
        )
        sampled = self._run(
            "FantasyTalkingSampler",
            model=self._with_adapter(setting.adapter),
            positive=positive,
            negative=negative,
            latent_image=shown.latent,
            seed=seed,
            steps=chosen.steps,
            text_cfg=chosen.text_cfg,
            audio_cfg=chosen.audio_cfg,
            audio_start_percent=0.0,
            audio_end_percent=1.0,
            sampler_name="euler",
            scheduler="fantasytalking",
            shift=chosen.shift,
            denoise=1.0,
        )[0]
        return self._pictures(sampled)

    def _show(self, clip: Clip) -> "_Shown":
        """What the model is given of a portrait, whatever it then says."""
        image = torch.from_numpy(clip.reference)[None]
        positive, negative = (self._run("CLIPTextEncode", clip=self._text, text=text)[0] for text in (clip.look.caption, ""))
        vision = self._run("CLIPVisionEncode", clip_vision=self._image, image=image, crop="center")[0]
        conditioned = self._run(
            "WanImageToVideo",
            positive=positive,
            negative=negative,
            vae=self._vae,
            width=SIZE,
            height=SIZE,
            length=FRAMES,
            batch_size=1,
            start_image=image,
            clip_vision_output=vision,
        )
        marks = {"frames": [[{"landmarks_xy": clip.landmarks}]], "image_size": (SIZE, SIZE)}
        identity = self._run("FantasyTalkingEncodeFace", face_encoder=self._face_encoder, face=image, face_landmarks=marks)[0]
        return _Shown(*conditioned, identity)

    def _pictures(self, latent) -> np.ndarray:
        return self._run("VAEDecode", vae=self._vae, samples=latent)[0].float().clamp(0, 1).numpy()


def _load_nodes(folder: Path) -> dict[str, type]:
    """The host's nodes and this pack's, by their ids, with `folder` among the places of the models."""
    import comfy.utils
    import folder_paths
    from comfy_extras.nodes_wan import WanImageToVideo

    import nodes

    comfy.utils.PROGRESS_BAR_ENABLED = False
    if not asyncio.run(nodes.load_custom_node(str(ROOT))):
        raise FantasyTalkingError(f"The host could not load the pack in {ROOT}: see the log.")
    for key in ("diffusion_models", "vae", "wav2vec2", "facerecognition"):
        folder_paths.add_model_folder_path(key, str(folder / "models"), is_default=True)
    folder_paths.add_model_folder_path("fantasytalking", str(folder / "runs"), is_default=True)
    return {**nodes.NODE_CLASS_MAPPINGS, "WanImageToVideo": WanImageToVideo}
