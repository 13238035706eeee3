"""A model call with 1, 2 and 4 speakers against one without speech.

    python dev.py run benchmarks/model_call.py
    python dev.py run benchmarks/model_call.py --dim 5120 --blocks 40 --ffn 13824 --size 512 --dtype bfloat16

The default is a DiT of 8 blocks, dim 1024, 81 frames of 128 × 128; the release itself takes 1.06 there.
"""

from host_model import random_clip, random_model  # before what looks for a GPU

# isort: split
import comfy.model_management
import comfy.samplers
import torch
from comfy.model_patcher import create_model_options_clone
from common import command_line, compare

from fantasytalking_core.host.conditioning import entries_of, speakers_of, with_entries, without_speech
from fantasytalking_core.host.patch import RUN, applied
from fantasytalking_core.host.prepared import Preparation
from fantasytalking_core.host.run import Run
from fantasytalking_core.speech.speaker import Speaker

SPEAKERS = (1, 2, 4)


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--dim", type=int, default=1024)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--ffn", type=int, default=4096)
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--pairs", type=int, default=20)
    options = parser.parse_args()

    model = random_model(options.dim, options.blocks, options.ffn, dtype=getattr(torch, options.dtype))
    positive, _, latent = random_clip(options.frames, options.size, options.size)
    device = model.load_device
    comfy.model_management.load_models_gpu([model])
    x = torch.randn_like(latent["samples"]).to(device)
    sigma = torch.tensor([0.7], device=device)

    # what happens around a sampling run, so that single calls can be timed
    ours = applied(model)
    assert ours is not None
    prepare = Preparation(ours.adapter, device, model.model.get_dtype_inference(), *x.shape[-2:])
    conditionings = {"silent": without_speech(positive)}
    (first,) = speakers_of(positive[0][1])
    for count in SPEAKERS:
        speakers = [Speaker(first.speech, None if count == 1 else strip(number, count)) for number in range(count)]
        conditionings[f"{count} speakers"] = with_entries(positive, entries_of(*speakers))
    guider = comfy.samplers.CFGGuider(model)
    guider.inner_set_conds(conditionings)
    with torch.inference_mode():
        conds = {
            name: [{**item, "model_conds": ours.prepared(item["model_conds"], prepare)} for item in items]
            for name, items in comfy.samplers.process_conds(model.model, x, dict(guider.original_conds), device).items()
        }
    run_options = create_model_options_clone(model.model_options)
    wrappers = run_options["transformer_options"].setdefault("wrappers", {})
    wrappers.update({kind: {key: list(those) for key, those in keys.items()} for kind, keys in model.wrappers.items()})
    run_options["transformer_options"][RUN] = Run()
    model.pre_run()

    def call(which: str):
        with torch.inference_mode():
            return comfy.samplers.calc_cond_batch(model.model, [conds[which]], x, sigma, run_options)

    assert not torch.equal(call("1 speakers")[0], call("silent")[0])
    size = f"{options.blocks} blocks of width {options.dim}, {options.frames} frames of {options.size} x {options.size}"
    print(f"{size}, {options.dtype}")
    for count in SPEAKERS:
        which = f"{count} speakers"
        compare(f"{which} / no speech", lambda which=which: call(which), lambda: call("silent"), options.pairs)
    compare(
        "no speech / no speech (the noise of this measurement)", lambda: call("silent"), lambda: call("silent"), options.pairs
    )
    if torch.cuda.is_available():
        for which in conds:
            torch.cuda.reset_peak_memory_stats()
            call(which)
            print(f"peak memory, {which}: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")


def strip(number: int, count: int) -> torch.Tensor:
    """The mask of a part of the picture, from left to right."""
    mask = torch.zeros(1, 1, count)
    mask[..., number] = 1
    return mask


if __name__ == "__main__":
    main()
