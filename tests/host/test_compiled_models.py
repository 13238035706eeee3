"""Models that were compiled: speech, face and motion in them, also where the plain model was compiled and ran before."""

from collections.abc import Iterator

import pytest
import torch
import torch._inductor.config

from support import identity, motion
from support.runs import adapter_with, apply, clip, compiled, ksample, sample, speech

WHOLE, BLOCKS = ["diffusion_model"], ["diffusion_model.blocks.0", "diffusion_model.blocks.1"]
ONE = {"steps": 1}
"""One step: what is compiled anew costs more than all that is computed."""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    with torch._inductor.config.patch(compile_threads=1):  # or it starts processes, for kernels this small
        yield
    torch._dynamo.reset()


def conditionings(host, run, positive, negative) -> dict[str, tuple]:
    def of(seed: int, **more) -> tuple:
        return run("FantasyTalkingConditioning", positive=positive, negative=negative, speech=speech(host, 5, seed), **more)

    def moved(expression: float, body: float) -> dict:
        return {"motion": run("FantasyTalkingMotionIntensity", expression=expression, body=body)[0]}

    core = host.core("adapter.identity")
    tokens = torch.randn(257, 1280, generator=torch.Generator().manual_seed(9))
    return {
        "speech": of(3),
        "other speech": of(4),
        "face": of(3, identity=core.FaceEmbedding(identity.embedding())),
        "face by CLIP": of(3, identity=core.FaceTokens(tokens)),
        "lively": of(3, **moved(0.9, 0.2)),
        "calm": of(3, **moved(0.1, 0.4)),
    }


def same(run, traced, plain, conditioning, latent, by=sample, **settings) -> None:
    ours, expected = (by(run, of, *conditioning, latent, **ONE, **settings) for of in (traced, plain))
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("backend", "keys", "part", "names"),
    [
        ("aot_eager", WHOLE, identity, ("speech", "face", "face by CLIP", "other speech")),
        ("eager", BLOCKS, identity, ("speech", "face")),
        ("aot_eager", WHOLE, motion, ("lively", "speech", "calm", "lively")),
    ],
    ids=["speech and face", "speech and face block by block", "motion"],
)
def test_after_the_plain_model_it_is_as_without(host, run, model, models, backend, keys, part, names):
    """A trace without them is there already, for one row and for two."""
    positive, negative, latent = clip(5)
    before = compiled(model, backend, keys)
    for cfg in (1.0, 3.0):
        ksample(run, before, positive, negative, latent, cfg=cfg, **ONE)
    patched = apply(run, model, adapter_with(part, run, models))
    traced, found = compiled(patched, backend, keys), conditionings(host, run, positive, negative)
    for name in names:
        same(run, traced, patched, found[name], latent)
    for conditioning in ((positive, negative), found["speech"]):
        same(run, traced, patched, conditioning, latent, by=ksample)


def test_so_it_is_with_a_block_by_the_real_compiler(host, run, model, adapter):
    positive, negative, latent = clip(5)
    ksample(run, compiled(model, "inductor", BLOCKS[:1]), positive, negative, latent, cfg=1.0, **ONE)
    patched = apply(run, model, adapter)
    traced, found = compiled(patched, "inductor", BLOCKS[:1]), conditionings(host, run, positive, negative)
    for name in ("speech", "other speech"):
        same(run, traced, patched, found[name], latent, text_cfg=1.0, audio_cfg=1.0)


def test_with_and_without_speech_in_turns_nothing_is_compiled_again(host, run, model, adapter):
    from torch._dynamo.utils import counters

    positive, negative, latent = clip(5)
    patched = apply(run, model, adapter)
    traced, plain = compiled(patched, "eager", WHOLE), compiled(model, "eager", WHOLE)
    found, graphs = conditionings(host, run, positive, negative)["speech"], []
    counters.clear()
    for _ in range(3):
        same(run, traced, patched, found, latent, text_cfg=1.0)
        same(run, plain, model, (positive, negative), latent, by=ksample, cfg=1.0)
        graphs.append(counters["stats"]["unique_graphs"])
    assert 0 < graphs[0] == graphs[1] == graphs[2]


def test_what_another_pack_has_put_in_the_place_of_a_modules_forward_stays_there(host):
    hooked = host.core("host.hooks").hooked
    module = torch.nn.Linear(2, 2)
    theirs = module.forward = lambda x: x + 1
    x = torch.ones(1, 2)
    with hooked(module, before=lambda module, args: (2 * args[0],), after=lambda module, args, out: 10 * out):
        assert torch.equal(module(x), torch.full((1, 2), 30.0))
    assert module.forward is theirs and torch.equal(module(x), x + 1)
    del module.forward
    with pytest.raises(RuntimeError, match="in the middle"), hooked(module, after=lambda module, args, out: out):
        raise RuntimeError("in the middle")
    assert "forward" not in vars(module) and not module._forward_hooks
    with hooked(module):
        later = module.forward = lambda x: x - 1
    assert module.forward is later
