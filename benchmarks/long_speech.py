"""Long speech: how far pieces are from the whole, and what an hour takes more than a minute.

    python dev.py run benchmarks/long_speech.py [--seconds 75] [--minutes 60]

A Wav2Vec2 of the real size (transformers' defaults: 12 layers of width 768) with random weights, whose attention is
spread over all that it is given, where a trained one mostly looks nearby. Memory is the highest resident set of a
process of its own (Linux).
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import librosa
import torch
from common import ROOT, command_line
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from fantasytalking_core.speech import wav2vec

RATE = 16000


def encoder() -> tuple[Wav2Vec2Model, Wav2Vec2FeatureExtractor]:
    torch.manual_seed(0)
    return Wav2Vec2Model(Wav2Vec2Config()).eval(), Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=RATE)


def noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(1))


def voice(samples: int) -> torch.Tensor:
    """The demo's speech again and again."""
    clip = torch.from_numpy(librosa.load(ROOT / "demo" / "speech.wav", sr=RATE)[0])
    return clip.repeat(samples // len(clip) + 1)[:samples]


def in_one_piece(speech: torch.Tensor, model, extractor) -> torch.Tensor:
    seconds, wav2vec.PIECE_SECONDS = wav2vec.PIECE_SECONDS, float(len(speech))
    try:
        return wav2vec.encode(speech, model, extractor)
    finally:
        wav2vec.PIECE_SECONDS = seconds


def compare(seconds: int) -> None:
    model, extractor = encoder()
    samples = seconds * RATE
    inputs = {
        "noise": noise(samples),
        "speech": voice(samples),
        "speech, ever louder": voice(samples) * torch.linspace(0.02, 1.0, samples),
        "speech, then silence": voice(samples) * (torch.arange(samples) < samples // 2),
    }
    print(f"{seconds} s in pieces against in one piece: relative RMS, largest difference over standard deviation")
    for name, speech in inputs.items():
        whole = in_one_piece(speech, model, extractor)
        off = wav2vec.encode(speech, model, extractor) - whole
        rms, largest = (off.square().mean() / whole.square().mean()).sqrt(), off.abs().max() / whole.std()
        print(f"    {name:22}{rms:8.2%}{largest:8.3f}", flush=True)


def resident(line: str) -> float:
    """MB; `line` of /proc/self/status: VmRSS now, VmHWM the highest so far."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) / 1000


def measure(seconds: int) -> None:
    model, extractor = encoder()
    speech = noise(seconds * RATE)
    before, started = resident("VmRSS"), time.monotonic()
    tokens = wav2vec.encode(speech, model, extractor)
    taken, peak = time.monotonic() - started, resident("VmHWM")
    given, got = (value.numel() * 4 / 1e6 for value in (speech, tokens))
    print(
        f"    {seconds:6d} s: {peak:6.0f} MB at the highest, {peak - before - got:6.0f} MB more than model, speech "
        f"({given:.0f} MB) and tokens ({got:.0f} MB); took {taken:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=int, default=75)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
    else:
        compare(options.seconds)
        print("Memory of encoding in pieces")
        for seconds in (60, options.minutes * 60):
            subprocess.run([sys.executable, __file__, "--measure", str(seconds)], check=True)
