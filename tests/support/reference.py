"""Numbers of the public release on small random weights (tests/data/reference/README.md says what each one is)."""

import json
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).resolve().parent.parent / "data" / "reference"
SEED = 1001


@cache
def tensors(name: str) -> dict[str, torch.Tensor]:
    """Tensors of a file, floating ones in float32 (they are stored rounded, and were used as stored)."""
    stored = load_file(FOLDER / f"{name}.safetensors")
    return {key: value.float() if value.is_floating_point() else value for key, value in stored.items()}


@cache
def numbers(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def write_dit(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors("dit/wan_i2v_tiny"), path)


def pcm(name: str = "pcm16_16k") -> torch.Tensor:
    """`[channels, samples]` float32 in [−1, 1)."""
    return load_file(FOLDER / "audio" / "waves.safetensors")[name].float() / 32768


def write_wave(path: Path, name: str = "pcm16_16k", rate: int = 16000) -> None:
    samples = load_file(FOLDER / "audio" / "waves.safetensors")[name]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.T.contiguous().numpy().tobytes())


@dataclass(frozen=True)
class Case:
    """One clip of the reference as the host's inputs; `name` is case_a (17 frames) or case_b (81 frames)."""

    name: str

    @property
    def frames(self) -> int:
        return numbers(f"dit/{self.name}")["num_frames"]

    def text(self, which: str) -> torch.Tensor:
        """`[1, 512, 4096]`, padded with zero rows as by the release and the host's text encoder."""
        common = tensors("dit/inputs_common")
        rows = common[f"ctx_{which}_base"][common[f"ctx_{which}_index"]]
        return torch.nn.functional.pad(rows, (0, 0, 0, 512 - rows.shape[0]))[None]

    def conditioning(self) -> tuple[list, list]:
        """Positive and negative as WanImageToVideo would give them."""
        import comfy.clip_vision
        import comfy.latent_formats

        y = tensors(f"dit/{self.name}")["y"][None]
        clip = comfy.clip_vision.Output()
        clip["penultimate_hidden_states"] = tensors("dit/inputs_common")["clip_fea"]
        about = {
            "concat_latent_image": comfy.latent_formats.Wan21().process_out(y[:, 4:]),
            "concat_mask": 1 - y[:, :1],
            "clip_vision_output": clip,
        }
        return [[self.text("pos"), dict(about)]], [[self.text("neg"), dict(about)]]

    def latent(self) -> dict[str, torch.Tensor]:
        return {"samples": torch.zeros(1, 16, *numbers(f"dit/{self.name}")["latent"])}

    def final(self, which: str) -> torch.Tensor:
        """The reference's last latent in the normalised space."""
        return tensors("sampling/loops")[f"{self.name}.{which}"]


def normalised(latent: dict[str, torch.Tensor]) -> torch.Tensor:
    """A host LATENT in the space that the DiT and the reference see."""
    import comfy.latent_formats

    return comfy.latent_formats.Wan21().process_in(latent["samples"].float())
