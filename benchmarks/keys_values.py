"""A sampling run that computes the speech's keys and values once, against one that computes them in every call.

python dev.py run benchmarks/keys_values.py
"""

from host_model import random_clip, random_model  # before what looks for a GPU

# isort: split
import comfy.sample
import comfy.samplers
import torch
from common import command_line, compare

from fantasytalking_core.adapter import adapter
from fantasytalking_core.host.guider import FantasyTalkingGuider
from fantasytalking_core.sampling import schedule
from fantasytalking_core.sampling.guidance import Guidance

STEPS = 2


def main() -> None:
    command_line(__doc__).parse_args()
    model = random_model(dim=1024, blocks=8, ffn=4096)
    positive, negative, latent = random_clip(81, 128, 128)
    real_size = adapter.Adapter.bytes

    def run(keep: bool) -> torch.Tensor:
        adapter.Adapter.bytes = real_size if keep else lambda self: 0  # what does not fit is not kept
        try:
            guider = FantasyTalkingGuider(model, positive, negative, Guidance(5.0, 5.0))
            noise = comfy.sample.prepare_noise(latent["samples"], 0)
            sampler = comfy.samplers.sampler_object("euler")
            with torch.inference_mode():
                return guider.sample(noise, latent["samples"], sampler, schedule.sigmas(STEPS), disable_pbar=True, seed=0)
        finally:
            adapter.Adapter.bytes = real_size

    torch.testing.assert_close(run(True), run(False), atol=1e-3, rtol=0)
    compare(f"once / every call ({STEPS} steps, 2 passes)", lambda: run(True), lambda: run(False), pairs=5, warm_up=1)


if __name__ == "__main__":
    main()
