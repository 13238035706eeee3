"""What training takes of a GPU's memory, by choice of settings: counted, not measured.

    python dev.py run benchmarks/training_memory.py
    python dev.py run benchmarks/training_memory.py --measured "all three"

A whole training step of the trainer, forward and backward, on the host's DiT of Wan2.1 I2V 14B, with tensors that have shapes
and no numbers (PyTorch's FakeTensorMode): every one that comes and goes is counted, and the peak is theirs. What a GPU takes
beyond them is not in it: CUDA's own context, the kernels' workspaces, and the gaps that its allocator leaves. `--measured`
takes the same step on the GPU that is there.
"""

from host_model import random_model  # noqa: F401  before what looks for a GPU: it says whether there is one

# isort: split
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comfy.ops
import comfy.sd
import torch
from comfy.ldm.wan.model import WanModel
from common import command_line
from live_tensors import Live
from torch._subclasses.fake_tensor import FakeTensorMode

from fantasytalking_core.adapter.adapter import Adapter
from fantasytalking_core.adapter.audio import AudioWidths
from fantasytalking_core.adapter.identity import CLIP_TOKENS, CLIP_WIDTH, IdentitySizes, IdentityWidths
from fantasytalking_core.adapter.motion import MotionWidths
from fantasytalking_core.host.training_dit import TrainingDit
from fantasytalking_core.latent_grid import latent_frames
from fantasytalking_core.speech.windows import window_map
from fantasytalking_core.training.run.config import Config
from fantasytalking_core.training.run.dataset import Batch
from fantasytalking_core.training.run.memory import Held
from fantasytalking_core.training.run.new_adapter import freeze_audio
from fantasytalking_core.training.run.step import TrainingStep

TEXT, TEXT_ROWS, AUDIO, FACE = 4096, 512, 768, 512
FPS, TOKENS_PER_SECOND = 23.0, 50
CARDS = {"80 GB": 85.5, "48 GB": 48.3, "24 GB": 25.7}
"""What the driver says of an H100, an L40S and an RTX 4090, in GB; others of these sizes have as much or a little more."""
SPARE = 0.05
"""Of a card, for what is not counted: an assumption."""


@dataclass(frozen=True)
class Choice:
    """A row of the table: settings of the run, sizes of the clips and of the model."""

    name: str
    settings: dict[str, Any]
    frames: int = 81
    size: int = 512
    batch_size: int = 1
    dim: int = 5120
    blocks: int = 40
    ffn: int = 13824

    @property
    def config(self) -> Config:
        settings = {"init": Path("init"), **self.settings}
        return Config("wan2.1_i2v_14B", Path("cache"), Path("run"), batch_size=self.batch_size, **settings)


FP8: dict[str, Any] = {"weight_dtype": "fp8_e4m3fn"}
MOMENTS: dict[str, Any] = {"optimizer": "adamw8bit"}
FROZEN: dict[str, Any] = {"parts": ("identity", "motion")}
ALL = FP8 | MOMENTS | FROZEN
CHOICES = (
    Choice("the defaults", {}),
    Choice("`optimizer: adamw8bit`", MOMENTS),
    Choice("`weight_dtype: fp8_e4m3fn`", FP8),
    Choice("`parts: [identity, motion]`, audio from `init`", FROZEN),
    Choice("fp8 and 8-bit moments", FP8 | MOMENTS),
    Choice("fp8 and 8-bit moments", FP8 | MOMENTS, size=384),
    Choice("all three", ALL),
    Choice("all three, `identity: {projected: 512}`", ALL | {"identity": IdentitySizes(projected=512)}, frames=33, size=256),
    Choice("all three, `parts: [motion]`", ALL | {"parts": ("motion",)}, frames=33, size=384),
    Choice("`gradient_checkpointing: false`", {"gradient_checkpointing": False}),
)


def dit_of(choice: Choice) -> TrainingDit:
    """The host's own, with the weights' type as it would be on a GPU that computes in bf16."""
    config = choice.config
    sizes = {"dim": choice.dim, "ffn_dim": choice.ffn, "num_heads": choice.dim // 128, "num_layers": choice.blocks}
    held = torch.bfloat16 if config.weight_dtype == "default" else torch.float8_e4m3fn
    operations = comfy.ops.disable_weight_init
    dit = WanModel(model_type="i2v", in_dim=36, out_dim=16, text_dim=TEXT, **sizes, operations=operations, dtype=held)
    patcher = comfy.sd.load_diffusion_model_state_dict(
        dict(dit.state_dict()), model_options={"dtype": held}, disable_dynamic=True
    )
    patcher.model.manual_cast_dtype = torch.bfloat16
    patcher.model.to(torch.get_default_device())
    return TrainingDit(patcher, config.gradient_checkpointing)


def step_of(choice: Choice, dit: TrainingDit) -> TrainingStep:
    config = choice.config
    identity = IdentityWidths(**vars(config.identity), model=choice.dim, blocks=choice.blocks, embedding=FACE)
    adapter = Adapter(
        AudioWidths(AUDIO, config.audio.projected, choice.dim, choice.blocks),
        identity if "identity" in config.parts else None,
        MotionWidths(choice.dim, config.motion.hidden) if "motion" in config.parts else None,
    )
    if not config.trains_audio:
        freeze_audio(adapter, dit.dtype)
    return TrainingStep(adapter, dit)


def batch_of(choice: Choice) -> Batch:
    count, frames, size = choice.batch_size, latent_frames(choice.frames), choice.size // 8
    tokens = round(choice.frames / FPS * TOKENS_PER_SECOND)
    windows = window_map(tokens, choice.frames)
    latents = torch.zeros(count, 16, frames, size, size)
    return Batch(
        latents=latents,
        noise=torch.zeros_like(latents),
        sigma=torch.ones(count),
        whole=torch.zeros(count, dtype=torch.bool),
        image=torch.zeros_like(latents),
        clip=torch.zeros(count, CLIP_TOKENS, CLIP_WIDTH),
        has_image=torch.ones(count),
        text=torch.zeros(count, TEXT_ROWS, TEXT),
        speech=torch.zeros(count, tokens, AUDIO),
        lengths=torch.full((count,), tokens),
        windows=windows[None].repeat(count, 1, 1),
        has_speech=torch.ones(count),
        face=torch.zeros(count, FACE),
        has_face=torch.ones(count),
        motion=torch.zeros(count, 2),
        lips=torch.zeros(count, frames, size, size),
    )


def counted(choice: Choice) -> tuple[Held, int]:
    """What stays, and the most that a step at frame level has beside it; both in bytes.

    From two counts with few blocks: each further one takes as much.
    """
    few, rest = 2, choice.blocks - 2
    (held, step), (more, longer) = (whole(replace(choice, blocks=blocks)) for blocks in (few, few + 1))
    sizes = {name: size + rest * (getattr(more, name) - size) for name, size in vars(held).items()}
    return Held(**sizes), step + rest * (longer - step)


def whole(choice: Choice) -> tuple[Held, int]:
    """The same, with all blocks."""
    with FakeTensorMode():
        return peak_of(choice)


def peak_of(choice: Choice) -> tuple[Held, int]:
    """The same, with tensors of whichever kind is the current one."""
    dit = dit_of(choice)
    step, batch = step_of(choice, dit), batch_of(choice)
    held = Held.of(choice.config, dit.bytes, step.adapter)
    for weight in step.parameters():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    gradients = [weight.grad for weight in step.parameters() if weight.grad is not None]
    live = Live([*dit.base.parameters(), *dit.base.buffers(), *step.parameters(), *gradients])
    with live, dit.gradients():
        step(batch, "frame").loss.backward()
    return held, live.peak


def measured(choice: Choice) -> str:
    """What PyTorch's allocator holds in the step at its highest, against what is counted of it."""
    torch.cuda.reset_peak_memory_stats()
    with torch.device("cuda"):
        held, step = peak_of(choice)
    counted = held.together - held.moments + step  # the optimizer isn't there
    taken, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
    clip = f"{choice.frames} frames of {choice.size} x {choice.size}"
    sizes = f"counted {counted / 1e9:.1f} GB, allocated {taken / 1e9:.1f} GB, reserved {reserved / 1e9:.1f} GB"
    return f"{choice.name}, {clip}, without moments: {sizes}"


def row(choice: Choice, held: Held, step: int) -> str:
    """Of the table in docs/training.md."""
    together = (held.together + step) / 1e9
    fits = ", ".join(name for name, size in CARDS.items() if together <= size * (1 - SPARE)) or "–"
    sizes = (held.dit, held.frozen + held.trained, held.gradients, held.moments, step, held.together + step)
    clip = f"{choice.frames} × {choice.size}²"
    return f"| {choice.name} | {clip} | {' | '.join(f'{size / 1e9:.1f}' for size in sizes)} | {fits} |"


def main() -> None:
    parser = command_line(__doc__)
    names = [choice.name for choice in CHOICES]
    parser.add_argument("--measured", choices=names, metavar="NAME", help="rows of the table, by their name")
    name = parser.parse_args().measured
    for choice in CHOICES:
        if name is None:
            print(row(choice, *counted(choice)), flush=True)
        elif choice.name == name:
            print(measured(choice), flush=True)


if __name__ == "__main__":
    main()
