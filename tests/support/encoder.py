"""The reference's speech encoder, and long speech for it."""

import json
import shutil
from pathlib import Path

import torch

from support.reference import FOLDER, pcm


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
