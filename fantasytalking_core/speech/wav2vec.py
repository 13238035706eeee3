"""Audio tokens: Wav2Vec2's last hidden states, in one piece or in overlapping ones (§3.2).

Speech of up to 30 s is encoded in one piece, as the release does. Longer speech is encoded in overlapping
pieces whose outer parts are thrown away, normalised by the statistics of the whole, so that memory is bounded by
the piece. This encoder attends over all that it is given, so the tokens of pieces differ a little from those of
the whole: by how much is written in docs/performance.md.
"""

import math
import pickle  # for the name of its error  # nosec B403
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import FantasyTalkingError, short
from .wav2vec_folder import (
    PUBLISHED,
    check_files,
    is_wav2vec2_folder,
    read_config,
    read_normalisation,
    unreadable,
)
from .waveform import SAMPLE_RATE

if TYPE_CHECKING:
    from transformers import Wav2Vec2FeatureExtractor, Wav2Vec2Model

PIECE_SECONDS = 30.0
MARGIN_SECONDS = 4.0
"""What is thrown away on each inner side of a piece."""


def load_wav2vec2(folder: Path) -> tuple["Wav2Vec2Model", "Wav2Vec2FeatureExtractor"]:
    """The encoder and the preprocessor settings of a local folder; nothing is ever downloaded.

    float32, as in the release, whatever the file holds: in 16 bit, quiet speech comes out wrong.

    Raises:
        FantasyTalkingError: no Wav2Vec2 folder, incomplete, broken, or a file in it that tries to run code.
    """
    if not is_wav2vec2_folder(folder):
        raise FantasyTalkingError(
            f"'{short(folder.name)}' holds no Wav2Vec2 model (a config.json with model_type wav2vec2): expected all files of "
            f"{PUBLISHED} in it."
        )
    described = read_config(folder)
    normalised = read_normalisation(folder)
    check_files(folder, described)

    import transformers  # seconds, and only now needed
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    dtype = "dtype" if tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 56) else "torch_dtype"
    options: dict[str, Any] = {dtype: torch.float32, "output_loading_info": True}
    try:
        config = Wav2Vec2Config(**described)
        # a folder on this machine, from which nothing is downloaded
        loaded: Any = Wav2Vec2Model.from_pretrained(folder, config=config, local_files_only=True, **options)  # nosec B615
        model, report = loaded  # two with output_loading_info, of which the library's types know nothing
    except Exception as error:  # transformers raises a different type for each way a file can be broken
        if any(isinstance(cause, pickle.UnpicklingError) for cause in causes(error)):
            raise FantasyTalkingError(
                f"The Wav2Vec2 folder '{short(folder.name)}' was refused: its pytorch_model.bin holds more than weights and "
                f"may run code when it is opened. Download model.safetensors from {PUBLISHED} instead."
            ) from error
        raise unreadable(folder, error) from error
    missing = sorted(key for key in report["missing_keys"] if key != "masked_spec_embed")  # used in training only
    if missing:
        raise FantasyTalkingError(
            f"The Wav2Vec2 folder '{short(folder.name)}' lacks weights ({len(missing)}, {missing[0]} first): download its "
            f"files again from {PUBLISHED}."
        )
    return model.eval(), Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE, do_normalize=normalised)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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


@contextmanager
def norm_of_the_whole(
    model: "Wav2Vec2Model", hear: Callable[[int, int], torch.Tensor], samples: int, step: Callable[[], None]
) -> Iterator[None]:
    """Inside, the encoder's first layer normalises by the statistics of the whole speech, as if it were one piece.

    Its group norm runs over time: by those of a piece, a quiet piece would come out as loud as the others.

    Args:
        hear: the encoder's input from one sample to another, `[1, samples]`.
        step: called after every 30 s.
    """
    layer = model.feature_extractor.conv_layers[0]
    norm = getattr(layer, "layer_norm", None)
    if not isinstance(norm, torch.nn.GroupNorm):  # other sizes of Wav2Vec2 normalise every frame by itself
        yield
        return
    (kernel,), (stride,) = layer.conv.kernel_size, layer.conv.stride
    size = int(PIECE_SECONDS * SAMPLE_RATE) // stride * stride
    count = 0
    total = total_of_squares = torch.zeros((), dtype=torch.float64)
    for start in range(0, samples - kernel + 1, size):
        out = layer.conv(hear(start, start + size + kernel - stride)[:, None])
        variance, mean = (value.cpu().double() for value in torch.var_mean(out, dim=(0, 2), correction=0))
        count += out.shape[2]
        total = total + out.shape[2] * mean
        total_of_squares = total_of_squares + out.shape[2] * (variance + mean**2)
        step()
    mean = total / count
    scale = torch.rsqrt(total_of_squares / count - mean**2 + norm.eps).to(norm.weight) * norm.weight
    shift = norm.bias - mean.to(norm.bias) * scale
    hook = norm.register_forward_hook(lambda _, args, out: torch.addcmul(shift[:, None], args[0], scale[:, None]))
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def encode(
    speech: torch.Tensor,
    model: "Wav2Vec2Model",
    extractor: "Wav2Vec2FeatureExtractor",
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> torch.Tensor:
    """Audio tokens of mono speech at 16 kHz.

    Args:
        speech: `[samples]` float32.
        progress: called after every 30 s with the tokens done and the tokens in all; may raise to interrupt.

    Returns:
        `[L, width]` float32 on the CPU.

    Raises:
        FantasyTalkingError: not a single token, or tokens that are no numbers.
    """
    config = model.config
    hop, field = math.prod(config.conv_stride), 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        field = (field - 1) * stride + kernel
    samples = speech.shape[0]
    if samples < field:
        raise FantasyTalkingError(
            f"The clip lasts {samples} samples at 16 kHz, expected at least {field}: use a lower fps or more frames."
        )
    tokens = (samples - field) // hop + 1
    mean: torch.Tensor | float = 0.0
    scale: torch.Tensor | float = 1.0
    if extractor.do_normalize:  # its own arithmetic over the whole, without its copies of an hour of speech
        variance, mean = torch.var_mean(speech, correction=0)
        scale = torch.rsqrt(variance + 1e-7)

    def hear(start: int, stop: int) -> torch.Tensor:
        return ((speech[start:stop] - mean) * scale)[None].to(device)

    cut = list(pieces(samples, tokens, hop, field))
    norm = nullcontext() if len(cut) == 1 else norm_of_the_whole(model, hear, samples, lambda: progress(0, tokens))
    out = torch.empty(tokens, config.hidden_size)
    done = 0
    with norm:
        for piece in cut:
            kept = model(hear(piece.start, piece.stop)).last_hidden_state[0, piece.first : piece.last]
            if not torch.isfinite(kept).all():
                raise FantasyTalkingError(
                    "The Wav2Vec2 model makes NaN or infinite tokens of this speech, expected numbers: its weights are "
                    f"damaged, download them again from {PUBLISHED}."
                )
            out[done : done + len(kept)] = kept
            done += len(kept)
            progress(done, tokens)
    return out
