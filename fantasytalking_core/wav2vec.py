"""Audio tokens: Wav2Vec2's last hidden states, in one piece or in overlapping ones (§3.2).

Speech of up to 30 s is encoded in one piece, as the release does. Longer speech is encoded in overlapping
pieces whose outer parts are thrown away, so that memory is bounded by the piece. This encoder attends (and, in
its first layer, normalises) over all that it is given, so the tokens of pieces differ a little from those of the
whole: by how much is written in docs/performance.md.
"""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .errors import FantasyTalkingError
from .waveform import SAMPLE_RATE

if TYPE_CHECKING:
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

PIECE_SECONDS = 30.0
MARGIN_SECONDS = 4.0
"""What is thrown away on each inner side of a piece."""
PUBLISHED = "https://huggingface.co/facebook/wav2vec2-base-960h"


def is_wav2vec2_folder(folder: Path) -> bool:
    """Whether `folder` holds the configuration of a Wav2Vec2 model of `transformers`."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type") == "wav2vec2"
    except (OSError, ValueError, AttributeError):
        return False


def load_wav2vec2(folder: Path) -> tuple["Wav2Vec2Model", "Wav2Vec2FeatureExtractor"]:
    """The encoder and the preprocessor settings of a local folder; nothing is ever downloaded.

    float32, as in the release, whatever the file holds: in 16 bit, quiet speech comes out wrong.

    Raises:
        FantasyTalkingError: no Wav2Vec2 folder, incomplete, broken, or a file in it that tries to run code.
    """
    import transformers
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

    dtype = "dtype" if tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 56) else "torch_dtype"

    if not is_wav2vec2_folder(folder):
        raise FantasyTalkingError(
            f"'{folder.name}' holds no Wav2Vec2 model (a config.json with model_type wav2vec2): expected all files of "
            f"{PUBLISHED} in it."
        )
    if not (folder / "preprocessor_config.json").is_file():
        raise FantasyTalkingError(
            f"'{folder.name}' has no preprocessor_config.json, without which quiet speech is encoded wrongly: "
            f"add it from {PUBLISHED}."
        )
    try:
        model, report = Wav2Vec2Model.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, **{dtype: torch.float32}
        )
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises a different type for each way a file can be broken
        raise FantasyTalkingError(
            f"The Wav2Vec2 folder '{folder.name}' can't be read ({first_line(error)}): download its files again from "
            f"{PUBLISHED}."
        ) from error
    missing = sorted(key for key in report["missing_keys"] if key != "masked_spec_embed")  # used in training only
    if missing:
        raise FantasyTalkingError(
            f"The Wav2Vec2 folder '{folder.name}' lacks {len(missing)} weights ({missing[0]} …): download its files "
            f"again from {PUBLISHED}."
        )
    if extractor.sampling_rate != SAMPLE_RATE:
        raise FantasyTalkingError(
            f"'{folder.name}' hears {extractor.sampling_rate} Hz, expected {SAMPLE_RATE} Hz: use wav2vec2-base-960h."
        )
    return model.eval(), extractor


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@dataclass(frozen=True)
class Piece:
    """Samples `[start, stop)` of the speech, and which of the tokens they give are kept, `[first, last)`."""

    start: int
    stop: int
    first: int
    last: int


def pieces(samples: int, tokens: int, hop: int, field: int) -> Iterator[Piece]:
    """How a speech of `samples` and `tokens` is cut; `hop`, `field`: stride and receptive field in samples.

    Every piece but a lone one lasts 30 s, the last one too (it reaches further back instead), and every token is
    kept from exactly one piece.
    """
    size = int(PIECE_SECONDS * SAMPLE_RATE)
    if samples <= size:
        yield Piece(0, samples, 0, tokens)
        return
    per_piece, margin = (size - field) // hop + 1, int(MARGIN_SECONDS * SAMPLE_RATE) // hop
    kept = 0
    while kept < tokens:
        start = min(max(kept - margin, 0), tokens - per_piece)
        end = start + per_piece
        last = tokens if end == tokens else end - margin
        yield Piece(start * hop, (end - 1) * hop + field, kept - start, last - start)
        kept = last


def encode(
    speech: torch.Tensor,
    model: "Wav2Vec2Model",
    extractor: "Wav2Vec2FeatureExtractor",
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> torch.Tensor:
    """Audio tokens of mono speech at 16 kHz.

    The preprocessor runs once over the whole (zero mean, unit variance over the clip, where its settings say
    so), then each piece is encoded.

    Args:
        speech: `[samples]` float32.
        progress: called after every piece with the tokens done and the tokens in all; may raise to interrupt.

    Returns:
        `[L, width]` float32 on the CPU.
    """
    config = model.config
    hop, field = math.prod(config.conv_stride), 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride)):
        field = (field - 1) * stride + kernel
    samples = speech.shape[0]
    if samples < field:
        raise FantasyTalkingError(
            f"The clip lasts {samples} samples at 16 kHz, expected at least {field}: use a lower fps or more frames."
        )
    tokens = (samples - field) // hop + 1
    values = extractor(speech.numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt").input_values[0]
    out = torch.empty(tokens, config.hidden_size)
    done = 0
    for piece in pieces(samples, tokens, hop, field):
        with torch.no_grad():
            hidden = model(values[None, piece.start : piece.stop].to(device)).last_hidden_state[0]
        kept = hidden[piece.first : piece.last]
        out[done : done + len(kept)] = kept
        done += len(kept)
        progress(done, tokens)
    return out
