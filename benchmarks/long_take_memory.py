"""A long take's memory: what Render takes more for ten minutes of speech than for ten seconds; and decoding as latents come
against decoding the whole.

    python dev.py run benchmarks/long_take_memory.py [--seconds 10 60 600] [--size 512] [--latents 3 7]

Models of the real architectures with random weights: for Render a DiT of two blocks and a VAE of width 2 at 64 × 64 pixels
with one step, for decoding the VAE's real width, 96. Memory is the highest resident set of a process of its own (Linux).
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from host_model import random_model, random_weights  # before what looks for a GPU

# isort: split
import comfy.ops
import comfy.sd
import comfy.utils
import torch
from comfy.ldm.wan.vae import WanVAE
from common import command_line

from fantasytalking_core.host.conditioning import entries_of, with_entries
from fantasytalking_core.host.job import Job
from fantasytalking_core.host.render import Rendering, Take, finish
from fantasytalking_core.host.streamed_decoding import StreamedDecoding
from fantasytalking_core.latent_grid import clip_length_from, latent_frames
from fantasytalking_core.sampling.guidance import Guidance
from fantasytalking_core.sampling.long_take import OVERLAP, WINDOW
from fantasytalking_core.speech.recording import Recording
from fantasytalking_core.speech.speaker import Speaker
from fantasytalking_core.speech.speech import TOKENS_PER_SECOND, Speech

FPS, RATE, SIZE = 23.0, 16000, 64
ALLOWED = 2.0
"""MB that a minute may take beyond its tokens, its sound and its latents."""


def random_vae(dim: int) -> comfy.sd.VAE:
    with torch.device("meta"):
        model = WanVAE(
            dim=dim,
            z_dim=16,
            dim_mult=[1, 2, 4, 4],
            num_res_blocks=2,
            attn_scales=[],
            temperal_downsample=[False, True, True],
            dropout=0.0,
        )
    return comfy.sd.VAE(sd=random_weights(model, torch.device("cpu"), torch.float32))


def highest() -> float:
    """MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def megabytes(*tensors: torch.Tensor) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6


def given(seconds: float) -> tuple[Speech, Recording]:
    """Random speech of about that length, and its sound."""
    torch.manual_seed(0)
    frames = clip_length_from(round(seconds * FPS))
    tokens = torch.randn(round(frames / FPS * TOKENS_PER_SECOND) - 1, 768)
    return Speech(tokens, frames, FPS), Recording(0.1 * torch.randn(1, int(frames / FPS * RATE)), RATE)


def render(seconds: float) -> None:
    """In this process; prints its figures for `compare`."""
    comfy.utils.PROGRESS_BAR_ENABLED = False
    speech, sound = given(seconds)
    model, vae = random_model(128, 2, 64, projected=64), random_vae(2)
    positive, negative = ([[torch.randn(1, 32, 4096), {}]] for _ in range(2))
    take = Take(
        model, vae, with_entries(positive, entries_of(Speaker(speech))), negative, torch.rand(1, SIZE, SIZE, 3), None,
        Guidance(1.0, 3.0), "euler", torch.tensor([1.0, 0.0]), 0, WINDOW, OVERLAP, sound,
    )  # fmt: skip
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        job = Job.of(Path(folder), "take", take.made_of())
        rendering = Rendering(take, job)
        rendering.run(lambda *_: None)
        finish(rendering, Path(folder) / "take.mp4", {}, keep_parts=False)
    latents = latent_frames(speech.frames) * 16 * (SIZE // 8) ** 2 * 4 / 1e6
    print(highest(), megabytes(speech.tokens), megabytes(sound.samples), latents, time.monotonic() - started)


def decode(count: int, size: int, is_streamed: bool) -> None:
    """In this process; prints its figures for `compare`."""
    torch.manual_seed(0)
    vae, latents = random_vae(96), torch.randn(1, 16, count, size // 8, size // 8)
    before, started = highest(), time.monotonic()
    with torch.inference_mode():
        if is_streamed:
            frames = sum(len(piece) for piece in StreamedDecoding(vae).push(latents, is_last=True))
        else:
            frames = vae.decode(latents).shape[1]
    print(highest(), before, frames, time.monotonic() - started)


def apart(*arguments: object) -> list[float]:
    """The figures that a process of its own prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # where the host is
    command = [sys.executable, __file__, "--apart", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return [float(value) for value in done.stdout.split()]


def compare(lengths: list[float], size: int, counts: list[int]) -> None:
    print(f"Render, {SIZE} x {SIZE} pixels, windows of {WINDOW} frames that overlap by {OVERLAP}")
    found: dict[float, list[float]] = {}
    for seconds in lengths:
        found[seconds] = peak, tokens, sound, latents, taken = apart("render", seconds)
        print(
            f"    {seconds:6g} s: {peak:7.1f} MB at the highest; its tokens {tokens:.1f} MB, its sound {sound:.1f} MB, "
            f"its latents {latents:.1f} MB; took {taken:.0f} s",
            flush=True,
        )
    short, long = min(found), max(found)
    if long > short:
        growth, tokens, sound, latents, _ = (
            (b - a) / (long - short) * 60 for a, b in zip(found[short], found[long], strict=True)
        )
        beyond = growth - tokens - sound - latents
        print(
            f"    a minute more takes {growth:.2f} MB: {tokens:.2f} MB of tokens, {sound:.2f} MB of sound, {latents:.2f} MB of "
            f"latents, which are on disk, and {beyond:.2f} MB beyond them (allowed: {ALLOWED:g})"
        )
    print(f"Decoding at {size} x {size} pixels, a VAE of the real width")
    for count in counts:
        for name in ("as they come", "the whole"):
            peak, before, frames, taken = apart("decode", count, size, int(name == "as they come"))
            print(
                f"    {count:3d} latent frames, {name:12}: {peak:7.0f} MB at the highest, {peak - before:7.0f} MB of decoding "
                f"{frames:.0f} frames; took {taken:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    parser = command_line(__doc__)
    parser.add_argument("--seconds", type=float, nargs="*", default=[10, 60, 600])
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--latents", type=int, nargs="*", default=[3, 7])
    parser.add_argument("--apart", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.apart is None:
        compare(options.seconds, options.size, options.latents)
    elif options.apart[0] == "render":
        render(float(options.apart[1]))
    else:
        count, size, is_streamed = map(int, options.apart[1:])
        decode(count, size, bool(is_streamed))
