"""What lies between `prepare` and `train`: a folder with an index and one safetensors file per sample.

Everything that the frozen encoders make is computed once, here, so that training only runs the DiT.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..errors import FantasyTalkingError
from ..files import complete
from ..motion import MotionRanges

INDEX, NULL = "index.json", "null.safetensors"
FORMAT, VERSION = "fantasytalking-cache", 1


@dataclass(frozen=True, eq=False)
class Sample:
    """One training clip, on the CPU.

    Attributes:
        latents: `[16, T, h, w]`, the video in the space that the DiT sees.
        image: `[16, T, h, w]`, the first frame followed by grey, as WanImageToVideo's `concat_latent_image`, in the same
            space.
        text: `[L, text]`, the prompt's embedding without the zero rows that it is padded with.
        clip: `[257, 1280]`, image tokens of the first frame.
        speech: `[L, audio]`, Wav2Vec2 tokens of the clip's sound.
        lips: `[T, h, w]` in [0, 1], the lip mask at latent resolution (Eq. 2).
        motion: `[2]`, variances of face and body (`motion_from_video`), NaN where unknown.
        face: `[D]`, the face embedding, or None.
    """

    latents: torch.Tensor
    image: torch.Tensor
    text: torch.Tensor
    clip: torch.Tensor
    speech: torch.Tensor
    lips: torch.Tensor
    motion: torch.Tensor
    face: torch.Tensor | None = None

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all. Raises OSError, also where the disk is full."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        write_tensors(path, {key: value for key, value in tensors.items() if value is not None})

    @classmethod
    def load(cls, path: Path) -> "Sample":
        """Raises FantasyTalkingError where the file is missing or damaged."""
        return cls(**read_tensors(path, {f.name for f in fields(cls)} - {"face"}))


@dataclass(frozen=True)
class Entry:
    """A sample of the index.

    Attributes:
        file: name in the cache folder.
        source: name of the video in its folder.
        start: of the clip in it, in seconds.
        caption: the prompt.
    """

    file: str
    source: str
    start: float
    caption: str


@dataclass(frozen=True)
class Index:
    """What a cache holds and what it was made with.

    Attributes:
        frames, fps, width, height: of every clip; pixels.
        models: which encoders made it, by their part (vae, text, clip, wav2vec, face), as file names and sizes.
        ranges: of motion over the data set, which map variances to [0, 1].
        samples: in a stable order.
        left_out: video (and place in it) to the reason.
    """

    frames: int
    fps: float
    width: int
    height: int
    models: Mapping[str, str]
    ranges: MotionRanges = MotionRanges()
    samples: tuple[Entry, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        about = {"format": FORMAT, "version": VERSION, **asdict(self)}
        write_text(folder / INDEX, json.dumps(about, indent=1, ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path) -> "Index":
        """Raises FantasyTalkingError where there is no index, a damaged one, or one of another version."""
        try:
            about = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            if (about.pop("format"), about.pop("version")) != (FORMAT, VERSION):
                raise FantasyTalkingError(f"'{folder}' holds a cache of another version: run prepare into a new folder.")
            ranges = about.pop("ranges")
            samples = tuple(Entry(**entry) for entry in about.pop("samples"))
            return cls(**about, samples=samples, ranges=MotionRanges(**{key: tuple(value) for key, value in ranges.items()}))
        except FileNotFoundError as error:
            raise FantasyTalkingError(f"'{folder}' holds no training cache: run prepare first.") from error
        except FantasyTalkingError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FantasyTalkingError(f"'{folder / INDEX}' is damaged: delete the folder and run prepare again.") from error


def save_null_text(folder: Path, text: torch.Tensor) -> None:
    """The embedding `[L, text]` of an empty prompt, for prompts that are dropped."""
    write_tensors(folder / NULL, {"text": text})


def load_null_text(folder: Path) -> torch.Tensor:
    return read_tensors(folder / NULL, {"text"})["text"]


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """A safetensors file that appears complete or not at all. Raises OSError."""
    with complete(path) as partial:
        try:
            save_file({key: value.contiguous() for key, value in tensors.items()}, partial)
        except SafetensorError as error:  # also where the disk is full
            raise OSError(str(error)) from error


def read_tensors(path: Path, needed: set[str]) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors: dict[str, Any] = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, SafetensorError) as error:
        raise FantasyTalkingError(f"'{path}' of the training cache can't be read: run prepare again.") from error
    if missing := needed - tensors.keys():
        raise FantasyTalkingError(f"'{path}' of the training cache lacks {', '.join(sorted(missing))}: run prepare again.")
    return tensors


def write_text(path: Path, text: str) -> None:
    """A text file that appears complete or not at all."""
    with complete(path) as partial:
        partial.write_text(text, encoding="utf-8")
