"""The reference's speech encoder, and long speech for it."""

import json
import shutil
from pathlib import Path

import torch

from fantasytalking_core.speech.waveform import Recording, mono_16k
from support.reference import FOLDER, numbers, pcm

CASES = numbers("audio/features")["cases"]


def clip_of(case) -> torch.Tensor:
    """The samples that the release encoded; shorter than the clip where the case says so."""
    seconds = case["clip_seconds"]
    if seconds is None:
        return mono_16k(Recording(pcm(), 16000), case["num_frames"], case["fps"])
    return pcm()[0, : int(seconds * 16000)]


def copy(tmp_path: Path) -> Path:
    """The encoder's folder, to be changed."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    for file in (FOLDER / "wav2vec2").iterdir():
        shutil.copyfile(file, folder / file.name)
    return folder


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def long_speech(seconds: int) -> torch.Tensor:
    """The reference's 3.7 s again and again."""
    return pcm()[0].repeat(seconds // 3)[: seconds * 16000]
