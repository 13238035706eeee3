"""Motion in the model: added to the timestep embedding, for every conditioning its own, in every pass."""

import json
import math

import numpy as np
import pytest
import torch

from fantasytalking_core.adapter.adapter import Adapter
from fantasytalking_core.adapter.file import read_adapter, save_adapter
from fantasytalking_core.adapter.motion import MotionWidths
from support import motion, moving
from support.runs import Watch, adapter_with, apply, clip, ksample, sample, speech


@pytest.fixture
def adapter(models, run):
    return adapter_with(motion, run, models)


def intensity(run, expression=0.5, body=0.5):
    return run("FantasyTalkingMotionIntensity", expression=expression, body=body)[0]


def move(run, positive, negative, voice, how):
    return run("FantasyTalkingConditioning", positive=positive, negative=negative, speech=voice, motion=how)


def only(host, conditioning, how):
    entries = host.core("host.conditioning").entries_of_motion(how)
    return host.core("host.conditioning").with_entries(conditioning, entries)


class Embeddings:
    """The timesteps that went into a DiT's time embedding, and what went into its time projection and head."""

    def __init__(self, dit):
        self.dit, self.sinusoids, self.projected, self.head = dit, [], [], []
        self.handles = [
            dit.time_embedding.register_forward_pre_hook(lambda m, args: self.sinusoids.append(args[0].clone())),
            dit.time_projection.register_forward_pre_hook(lambda m, args: self.projected.append(args[0].clone())),
            dit.head.register_forward_pre_hook(lambda m, args: self.head.append(args[1].clone())),
        ]

    def remove(self):
        for handle in self.handles:
            handle.remove()

    def plain(self, call: int) -> torch.Tensor:
        """The host's own embedding `[rows, C]`, evaluated directly."""
        with torch.no_grad():
            return self.dit.time_embedding(self.sinusoids[call])


def recorded(model, function):
    """What `function` returns, and the embeddings of its model calls."""
    embeddings = Embeddings(model.model.diffusion_model)
    try:
        return function(), embeddings
    finally:
        embeddings.remove()


def assert_moved(embeddings, call: int, *pairs):
    """Row by row, the network's output was added to the host's embedding, for the blocks and for the head."""
    plain = embeddings.plain(call)
    expected = plain.double() + torch.stack([motion.network(motion.weights(), *pair) for pair in pairs])
    for seen in (embeddings.projected[call], embeddings.head[call]):
        torch.testing.assert_close(seen[:, 0].double(), expected, atol=1e-6 * float(expected.abs().max()), rtol=0)
    assert (expected - plain).abs().max() > 0.1  # else the comparison could not fail


def test_a_batch_that_mixes_coefficients_adds_to_every_row_its_own(host, run, model, adapter):
    """Positive and negative, and two latents of each, in one model call."""
    positive, negative, latent = clip(5, batch=2)
    lively, still = intensity(run, 0.9, 0.2), intensity(run, 0.1, 0.7)
    patched = apply(run, model, adapter)
    _, embeddings = recorded(
        model, lambda: ksample(run, patched, only(host, positive, lively), only(host, negative, still), latent, steps=1)
    )
    assert len(embeddings.projected) == 1
    rows = {"positive": (0.9, 0.2), "negative": (0.1, 0.7)}
    orders = [["positive"] * 2 + ["negative"] * 2, ["negative"] * 2 + ["positive"] * 2]
    matches = []
    for order in orders:
        try:
            assert_moved(embeddings, 0, *(rows[which] for which in order))
            matches.append(order)
        except AssertionError:
            pass
    assert len(matches) == 1


def test_all_three_passes_move(host, run, model, adapter):
    positive, negative, latent = clip(5)
    patched = apply(run, model, adapter)
    conditioning = move(run, positive, negative, speech(host, 5), intensity(run, 0.8, 0.3))
    _, embeddings = recorded(model, lambda: sample(run, patched, *conditioning, latent, steps=1))
    rows = [embeddings.projected[call].shape[0] for call in range(len(embeddings.projected))]
    assert sum(rows) == 3
    for call, count in enumerate(rows):
        assert_moved(embeddings, call, *[(0.8, 0.3)] * count)


def test_without_motion_nothing_is_added(host, run, model, adapter):
    positive, negative, latent = clip(5)
    plain = ksample(run, model, positive, negative, latent)
    assert torch.equal(ksample(run, apply(run, model, adapter), positive, negative, latent), plain)


def test_a_fresh_network_leaves_the_model_bit_identical(host, run, model, models):
    torch.manual_seed(0)
    audio = read_adapter(host.core("host.folders").adapter_path("reference.safetensors"))
    fresh = Adapter(audio.audio, motion=MotionWidths(model=256, hidden=8))
    path = models / "fantasytalking" / "fresh_motion.safetensors"
    save_adapter(path, {**fresh.state_dict(), **audio.weights}, fresh.metadata())
    patched = apply(run, model, run("FantasyTalkingAdapterLoader", adapter_name=path.name)[0])
    positive, negative, latent = clip(5)
    voice = speech(host, 5)
    moved = sample(run, patched, *move(run, positive, negative, voice, intensity(run, 0.9, 0.1)), latent)
    still = sample(run, patched, *move(run, positive, negative, voice, None), latent)
    assert torch.equal(moved, still)


def test_nothing_stays_on_the_model(host, run, model, adapter):
    dit = model.model.diffusion_model
    before = len(dit.time_embedding._forward_hooks)
    positive, negative, latent = clip(5)
    moved = only(host, positive, intensity(run, 0.9, 0.2))
    ksample(run, apply(run, model, adapter), moved, negative, latent, steps=1)
    assert len(dit.time_embedding._forward_hooks) == before
    plain = ksample(run, model, positive, negative, latent, steps=1)
    broken = apply(run, model, adapter)

    def fail(module, args):
        raise RuntimeError("in the middle of a call")

    handle = dit.head.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        ksample(run, broken, moved, negative, latent, steps=1)
    handle.remove()
    assert len(dit.time_embedding._forward_hooks) == before
    assert torch.equal(ksample(run, model, positive, negative, latent, steps=1), plain)


def test_every_context_window_moves(host, run, model, adapter):
    positive, negative, latent = clip(29)
    windows = run(
        "WanContextWindowsManual",
        model=apply(run, model, adapter),
        context_length=17,
        context_overlap=4,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        freenoise=False,
    )[0]
    conditioning = move(run, positive, negative, speech(host, 29), intensity(run, 0.8, 0.3))
    _, embeddings = recorded(model, lambda: sample(run, windows, *conditioning, latent, steps=1))
    assert len(embeddings.projected) > 2
    for call, projected in enumerate(embeddings.projected):
        assert_moved(embeddings, call, *[(0.8, 0.3)] * projected.shape[0])


def test_on_two_devices_each_model_moves(host, run, model, adapter):
    """Two devices, simulated on the CPU: `cpu` and `cpu:0` are different to the host's scheduler."""
    positive, negative, latent = clip(13)
    conditioning = move(run, positive, negative, speech(host, 13), intensity(run, 0.8, 0.3))
    expected = sample(run, apply(run, model, adapter), *conditioning, latent)
    two = apply(run, model, adapter).clone()
    other = two.deepclone_multigpu(new_load_device=torch.device("cpu", 0))
    other.is_multigpu_base_clone = True
    two.set_additional_models("multigpu", [other])
    two.match_multigpu_clones()
    watched = [Embeddings(m.model.diffusion_model) for m in (two, other)]
    torch.testing.assert_close(sample(run, two, *conditioning, latent), expected, atol=1e-3, rtol=0)
    for embeddings in watched:
        embeddings.remove()
        assert embeddings.projected
        for call, projected in enumerate(embeddings.projected):
            assert_moved(embeddings, call, *[(0.8, 0.3)] * projected.shape[0])


# -------------------------------------------------------------------------------------------------------------- refusals


def test_motion_without_motion_weights_is_an_error_that_says_what_to_do(host, run, model):
    published = run("FantasyTalkingAdapterLoader", adapter_name="reference.safetensors")[0]
    positive, negative, latent = clip(5)
    watch = Watch()
    patched = watch.on(apply(run, model, published))
    conditioning = move(run, positive, negative, speech(host, 5), intensity(run))
    for sampler in (sample, ksample):
        with pytest.raises(ValueError, match="no motion weights .* leave motion unwired, or load an adapter that was trained"):
            sampler(run, patched, *conditioning, latent)
    assert not watch.calls


# ------------------------------------------------------------------------------------------------------------- the nodes


def measure(run, points, **about):
    frames = torch.zeros(len(points), 600, 640, 3)
    return run("FantasyTalkingMotionFromVideo", images=frames, face_landmarks=moving.landmarks(points), **about)


def test_a_clip_becomes_the_coefficients_of_its_variances(run):
    """Over the logarithm: expression between 0.0001 and 0.004 squared eye distances, body between 0.0002 and 0.003 squared
    shoulder widths."""
    how, expression, body, plot = measure(run, moving.talking(), pose_keypoints=moving.pose(moving.waving()))
    assert expression == pytest.approx(math.log(moving.expression_of(6.0) / 0.0001) / math.log(40), rel=1e-3)
    assert body == pytest.approx(math.log(moving.body_of(30.0) / 0.0002) / math.log(15), rel=1e-6)
    assert 0.1 < expression < 0.9 and 0.1 < body < 0.9
    assert (how.expression, how.body) == (expression, body)
    assert plot.ndim == 4 and plot.shape[-1] == 3 and plot.std() > 0


def test_a_still_clip_gives_0_for_both(run):
    still = moving.pose(moving.waving(amplitude=0.0))
    how, expression, body, _ = measure(run, moving.talking(amplitude=0.0), pose_keypoints=still)
    assert (expression, body) == (0.0, 0.0)


def test_without_joints_the_body_is_neutral(run):
    _, _, body, _ = measure(run, moving.talking())
    assert body == 0.5


def test_with_an_adapter_its_own_ranges_count(run, adapter):
    """Its file says expression from 0.001 to 0.003, and no word of the map: linear, of all points."""
    points = moving.talking(amplitude=16.0)
    _, expression, _, _ = measure(run, points, adapter=adapter)
    assert expression == pytest.approx((moving.expression_of(16.0, with_outline=True) - 0.001) / 0.002, rel=1e-3)
    assert 0.1 < expression < 0.9


def said(host, points, **about) -> list[str]:
    """The lines that Motion From Video shows on itself."""
    inputs = {"images": torch.zeros(len(points), 600, 640, 3), "face_landmarks": moving.landmarks(points), **about}
    with torch.inference_mode():
        output = host.nodes["FantasyTalkingMotionFromVideo"].execute(**inputs)
    return output.ui.as_dict()["text"][0].split("\n")


def warned(host, points, **about) -> list[str]:
    return [line for line in said(host, points, **about) if line.startswith("⚠")]


def test_the_node_says_what_it_measured(host):
    still = moving.pose(moving.waving(amplitude=0.0))
    assert said(host, moving.talking(amplitude=0.0), pose_keypoints=still) == ["expression 0.00", "body 0.00"]


def test_a_close_up_without_shoulders_has_a_neutral_body_and_the_node_says_so(host, run):
    hidden = moving.pose(moving.waving(), scores=np.zeros((80, 18)))
    assert measure(run, moving.talking(), pose_keypoints=hidden)[2] == 0.5
    assert warned(host, moving.talking(), pose_keypoints=hidden) == [
        "⚠ The motion of the body is unknown, fewer than two frames show both shoulders: body is 0.5."
    ]


def test_landmarks_without_depth_are_told(host):
    points = moving.talking()
    assert warned(host, points, face_landmarks=moving.landmarks(points, depth=False)) == [
        "⚠ The landmarks have no depth, so turns of the head count as expression, which reads too high: Detect Face Landmarks "
        "(MediaPipe) gives depth."
    ]


# ---------------------------------------------------------------------------------------- what an adapter was not trained on

HELD = "The adapter's training data did not tell how much the body moves: body stays at 0.5."


@pytest.fixture
def without_body(models, run):
    """The adapter's weights, trained on data that did not tell how the body moves."""
    path = models / "fantasytalking" / "without_body.safetensors"
    motion.write(path)
    whole = read_adapter(path)
    ranges = {"expression": [0.001, 0.003], "body": None, "map": "log"}
    save_adapter(path, whole.weights, {"motion_ranges": json.dumps(ranges)})
    return run("FantasyTalkingAdapterLoader", adapter_name=path.name)[0]


def test_a_body_that_was_not_trained_is_held_at_neutral_in_sampling(host, run, model, without_body):
    positive, negative, latent = clip(5)
    patched = apply(run, model, without_body)
    conditioning = move(run, positive, negative, speech(host, 5), intensity(run, 0.8, 1.0))
    _, embeddings = recorded(model, lambda: sample(run, patched, *conditioning, latent, steps=1))
    for call, projected in enumerate(embeddings.projected):
        assert_moved(embeddings, call, *[(0.8, 0.5)] * projected.shape[0])


def test_the_sampler_says_which_slider_does_nothing(host, run, model, adapter, without_body):
    positive, negative, _ = clip(5)
    notices = host.core("host.notices").notices
    untrained, trained = apply(run, model, without_body), apply(run, model, adapter)
    for body, patched, is_said in ((1.0, untrained, True), (0.5, untrained, False), (1.0, trained, False)):
        conditioning, _ = move(run, positive, negative, speech(host, 5), intensity(run, 0.8, body))
        assert (HELD in notices(patched, conditioning)) is is_said


def test_measured_motion_that_the_adapter_does_not_know_is_told(host, without_body):
    about = {"pose_keypoints": moving.pose(moving.waving()), "adapter": without_body}
    assert warned(host, moving.talking(), **about) == [f"⚠ {HELD}"]
    assert "body 0.50" in said(host, moving.talking(), **about)


def test_landmarks_of_another_clip_are_refused(run):
    with pytest.raises(ValueError, match="are of 80 pictures of 640×600, images has 3 of 640×600"):
        run(
            "FantasyTalkingMotionFromVideo",
            images=torch.zeros(3, 600, 640, 3),
            face_landmarks=moving.landmarks(moving.talking()),
        )


def test_bad_clips_are_refused(run):
    points = moving.talking(2)
    points[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        measure(run, points)
    with pytest.raises(ValueError, match="1 of 1 frames show a face"):
        measure(run, moving.talking(1))
