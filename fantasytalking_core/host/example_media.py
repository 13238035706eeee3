"""Portraits and recordings that come with the pack, as the host's Load Image and Load Audio give them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .pack_files import PACK, loaded

FOLDER = PACK / "demo"
PORTRAITS = {
    "Ada (drawn)": "drawn_portrait.png",
    "Nora (drawn)": "drawn_nora.png",
    "Zola (drawn)": "drawn_zola.png",
    "Milo (drawn)": "drawn_milo.png",
    "Omar (drawn)": "drawn_omar.png",
    "Bea and Leo, side by side (drawn)": "pair_portrait.jpg",
    "Eileen Collins (photograph)": "portrait.jpg",
}
"""What people call them, and their files: workflow files keep the names."""
RECORDINGS = {
    "Hello, I am a small model (woman)": "drawn_speech.wav",
    "Nobody drew my mouth (woman)": "drawn_mouth.wav",
    "I was drawn with a few lines (man)": "drawn_lines.wav",
    "It is lovely to meet you (man)": "speech.wav",
    "Hello, can you talk? (woman, then man)": "conversation_speech.wav",
}


def load_portrait(file: str) -> torch.Tensor:
    """IMAGE `[1, H, W, 3]` of a file of PORTRAITS. Raises FantasyTalkingError where it is missing or damaged."""
    return loaded(FOLDER / file, _picture)


def load_recording(file: str) -> dict[str, Any]:
    """AUDIO of a file of RECORDINGS. Raises FantasyTalkingError where it is missing or damaged."""
    from comfy_extras import nodes_audio

    waveform, rate = loaded(FOLDER / file, lambda path: nodes_audio.load(str(path)))
    return {"waveform": waveform[None], "sample_rate": rate}


def _picture(path: Path) -> torch.Tensor:
    """The host's own loading takes no path."""
    with Image.open(path) as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255)[None]
