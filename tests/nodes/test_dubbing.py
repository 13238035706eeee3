"""Dubbing: a video through the whole graph, of which only the mouth is made anew, to the bit; and what can't be dubbed."""

from types import SimpleNamespace

import pytest
import torch

from support import faces
from support.graphs import rejection
from support.reference import Case
from support.runs import apply, hear, sample
from support.sound import audio, noise

MOUTH, DUB = "FantasyTalkingMouthMask", "FantasyTalkingDubLatent"
SIDE, FRAMES, LENGTH = 64, 7, 9
"""Of the video, and what its latent is of."""


@pytest.fixture(scope="module")
def vae(host):
    import comfy.sd

    from support.random_family import wan_vae

    return comfy.sd.VAE(sd=wan_vae())


@pytest.fixture
def dub(host):
    """`Dub.of`, without a VAE."""
    return host.core("host.dub_latent").Dub.of


def video(frames: int = FRAMES, height: int = SIDE, width: int = SIDE) -> torch.Tensor:
    return torch.rand(frames, height, width, 3, generator=torch.Generator().manual_seed(7))


def marks(frames: int = FRAMES, missing=(), people: int = 1) -> dict:
    """Landmarks of a face in the middle."""
    one = [faces.points(16, 12, 48, 52), faces.points(0, 0, 10, 12)][:people]
    return faces.landmarks(*([] if frame in missing else one for frame in range(frames)), size=(SIDE, SIDE))


def pixels(frames: int, *places: tuple[int, int, int]) -> torch.Tensor:
    """A mask that is 1 at these frames, rows and columns."""
    mask = torch.zeros(frames, SIDE, SIDE)
    for place in places:
        mask[place] = 1
    return mask


def cells(latents: int, *places: tuple[int, int, int]) -> torch.Tensor:
    mask = torch.zeros(1, 1, latents, SIDE // 8, SIDE // 8)
    for place in places:
        mask[(0, 0, *place)] = 1
    return mask


def said(out) -> list[str]:
    return out.ui.as_dict()["text"][0].splitlines()


# ------------------------------------------------------------------------------------------- the mask at latent frames


def test_a_latent_pixel_is_the_union_of_its_pixels_in_its_four_frames(dub):
    mask = pixels(9, (1, 9, 17), (4, 63, 63), (5, 8, 7), (8, 55, 56))
    expected = cells(3, (1, 1, 2), (1, 7, 7), (2, 1, 0), (2, 6, 7))
    assert torch.equal(dub(video(9), mask).noise_mask(), expected)


def test_the_first_frame_stands_alone(dub):
    assert torch.equal(dub(video(9), pixels(9, (0, 0, 0))).noise_mask(), cells(3, (0, 0, 0)))


def test_soft_edges_keep_their_largest_value(dub):
    mask = torch.zeros(5, SIDE, SIDE)
    mask[2, 3, 3], mask[3, 4, 4] = 0.25, 0.5
    assert torch.equal(dub(video(5), mask).noise_mask(), 0.5 * cells(2, (1, 0, 0)))


@pytest.mark.parametrize("batched", [True, False])
def test_a_still_mask_is_that_of_every_frame(dub, batched):
    mask = pixels(1, (0, 20, 20))
    expected = cells(3, *((frame, 2, 2) for frame in range(3)))
    assert torch.equal(dub(video(9), mask if batched else mask[0]).noise_mask(), expected)


@pytest.mark.parametrize(("frames", "length"), [(1, 5), (4, 5), (5, 5), (6, 9), (9, 9), (80, 81), (81, 81), (82, 85)])
def test_the_last_frame_stands_still_up_to_a_length_that_the_model_knows(dub, frames, length):
    mask = torch.zeros(frames, 16, 16)
    mask[-1] = 1
    made = dub(video(frames, 16, 16), mask)
    assert made.length == length and len(made.padded()) == length
    assert torch.equal(made.padded()[:frames], made.frames)
    assert all(torch.equal(frame, made.frames[-1]) for frame in made.padded()[frames:])
    latents = made.noise_mask()[0, 0, :, 0, 0].tolist()
    before = (frames - 2) // 4 + 1 if frames > 1 else 0  # latent frames that hold none from the last one on
    assert latents == [0] * before + [1] * ((length - 1) // 4 + 1 - before)


def test_the_host_takes_the_mask_as_it_is(dub):
    import comfy.sampler_helpers

    soft = torch.rand(9, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    mask = dub(video(9), soft).noise_mask()
    used = comfy.sampler_helpers.prepare_mask(mask, (1, 16, 3, SIDE // 8, SIDE // 8), "cpu")
    assert used.shape == (1, 16, 3, SIDE // 8, SIDE // 8) and torch.equal(used, mask.expand_as(used))


# ---------------------------------------------------------------------------------------------------- the whole graph


@pytest.fixture
def dubbed(run, model, adapter, vae):
    """The graph of the template, from the frames to the frames, with small models in two steps."""
    (source,) = run("CreateVideo", images=video(), fps=25.0)
    images, _, fps, _ = run("GetVideoComponents", video=source)
    (mask,) = run(MOUTH, images=images, face_landmarks=marks(missing=(3,)), region="lower face", grow=0.15)
    latent, length = run(DUB, vae=vae, images=images, mask=mask)
    (wav2vec,) = run("FantasyTalkingWav2VecLoader", model_name="reference")
    speech, sound, *_ = run(
        "FantasyTalkingEncodeSpeech", wav2vec=wav2vec, audio=audio(noise(1.0, 16000)), fps=fps, length=length, start_time=0.0
    )
    (first,) = run("ImageFromBatch", image=images, batch_index=0, length=1)
    positive, negative = ([[Case("case_a").text(which)[:, :48], {}]] for which in ("pos", "neg"))
    seen = Case("case_a").conditioning()[0][0][1]["clip_vision_output"]
    positive, negative, _ = run(
        "WanImageToVideo", positive=positive, negative=negative, vae=vae, width=SIDE, height=SIDE, length=length, batch_size=1,
        start_image=first, clip_vision_output=seen,
    )  # fmt: skip
    model, used = apply(run, model, adapter).clone(), []
    model.set_model_denoise_mask_function(lambda sigma, mask, extra_options: used.append(mask.clone()) or mask)
    sampled = sample(run, model, *hear(run, positive, negative, speech), latent)
    (decoded,) = run("VAEDecode", vae=vae, samples={"samples": sampled})
    (composite,) = run("ImageCompositeMasked", destination=images, source=decoded, x=0, y=0, resize_source=False, mask=mask)
    (result,) = run("CreateVideo", images=composite, fps=fps, audio=sound)
    return SimpleNamespace(
        images=images, mask=mask, latent=latent, length=length, sampled=sampled, decoded=decoded, composite=composite,
        used=used, result=result,
    )  # fmt: skip


def test_outside_of_the_mask_the_video_is_the_source_to_the_bit(dubbed):
    outside, inside = dubbed.mask == 0, dubbed.mask == 1
    assert torch.equal(dubbed.composite[outside], dubbed.images[outside])
    assert torch.equal(dubbed.composite[inside], dubbed.decoded[:FRAMES][inside])
    assert 0.1 < inside.float().mean() < 0.5 and torch.equal(outside, ~inside)
    assert (dubbed.composite[inside] - dubbed.images[inside]).abs().max() > 0.1


def test_frames_and_their_rate_stay(dubbed):
    assert len(dubbed.decoded) == dubbed.length == LENGTH and len(dubbed.composite) == FRAMES
    made = dubbed.result.get_components()
    assert len(made.images) == FRAMES and float(made.frame_rate) == 25.0
    rate = made.audio["sample_rate"]
    assert made.audio["waveform"].shape[-1] == int(LENGTH / 25 * rate)  # which the host cuts to the frames when it saves


def test_the_latent_is_the_videos_own_by_the_hosts_vae(dubbed, vae):
    with torch.inference_mode():
        padded = torch.cat([dubbed.images, dubbed.images[-1:], dubbed.images[-1:]])
        assert torch.equal(dubbed.latent["samples"], vae.encode(padded))
    assert dubbed.latent["samples"].shape == (1, 16, 3, SIDE // 8, SIDE // 8)


def test_the_sampler_uses_this_noise_mask_and_returns_what_is_outside_of_it(dubbed):
    mask, samples = dubbed.latent["noise_mask"], dubbed.latent["samples"]
    assert mask.shape == (1, 1, 3, SIDE // 8, SIDE // 8) and 0 < mask.mean() < 1
    assert dubbed.used and all(torch.equal(used.cpu(), mask.expand_as(used)) for used in dubbed.used)
    change = (dubbed.sampled.cpu() - samples.cpu()).abs()
    kept = mask.expand_as(change) == 0
    assert change[kept].max() < 1e-5 < 1e-2 < change[~kept].mean()


def test_it_is_saved_as_long_as_the_source(dubbed, tmp_path):
    import av

    dubbed.result.save_to(str(tmp_path / "dub.mp4"))
    with av.open(str(tmp_path / "dub.mp4")) as file:
        stream, sound = file.streams.video[0], file.streams.audio[0]
        assert (stream.frames, stream.average_rate) == (FRAMES, 25)
        assert float(sound.duration * sound.time_base) <= FRAMES / 25 + 1024 / sound.rate  # a packet of AAC


# ------------------------------------------------------------------------------------------------ what the nodes say


@pytest.mark.parametrize(
    ("landmarks", "lines"),
    [
        (marks(), ["mouth in 7 of 7 frames"]),
        (marks(people=2), ["mouth in 7 of 7 frames", "of several people the one who is large in many frames"]),
        (
            marks(missing=(2, 3, 5)),
            [
                "⚠ 3 of 7 frames do not show the face, at most 2 in a row: the mask goes straight from where it was to where "
                "it is next.",
                "mouth in 4 of 7 frames",
            ],
        ),
    ],
)
def test_mouth_mask_says_in_how_many_frames_it_was_seen(host, landmarks, lines):
    out = host.nodes[MOUTH].execute(images=video(), face_landmarks=landmarks, region="mouth", grow=0.15)
    assert out.args[0].shape == (FRAMES, SIDE, SIDE)
    assert [line for line in said(out) if "32 pixels wide" not in line] == lines
    assert said(out)[-len(lines) :] == lines or said(out)[0] == lines[0]
    assert sum("32 pixels wide" in line for line in said(out)) == 1


def test_mouth_mask_refuses_landmarks_of_other_frames(run):
    with pytest.raises(ValueError, match=r"face_landmarks are of 5 pictures of 64×64, images has 7 of 64×64"):
        run(MOUTH, images=video(), face_landmarks=marks(5), region="mouth", grow=0.15)


def test_the_limits_of_growth_are_known_before_a_run():
    assert "grow" in rejection(MOUTH, images=["1", 0], face_landmarks=["1", 0], region="mouth", grow=2.0)


def test_dub_latent_says_what_it_makes(host, vae):
    out = host.nodes[DUB].execute(vae=vae, images=video(7, 32, 32), mask=pixels(1, (0, 0, 0))[:, :32, :32])
    assert said(out) == ["9 frames, 2 of them the last one again · 0.1% of the picture is made anew"]
    out = host.nodes[DUB].execute(vae=vae, images=video(5, 32, 32), mask=torch.ones(5, 32, 32))
    assert said(out) == ["5 frames · 100.0% of the picture is made anew"]


@pytest.mark.parametrize(("frames", "is_told"), [(81, False), (82, True)])
def test_more_frames_than_the_model_knows_are_told(dub, frames, is_told):
    told = dub(video(frames, 16, 16), torch.ones(1, 16, 16)).notices()
    assert (
        told
        == [
            "85 frames at once, the model was trained on 81: put Wan Context Windows on the model, or cut the video. FantasyTalking "
            "Render does not dub."
        ]
        * is_told
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": video(5, 40, 72)}, r"images are 72×40 pixels, expected multiples of 16: crop or scale.* to 64×32"),
        ({"images": video(5, 8, 8)}, r"example to 16×16"),
        ({"images": "clip.mp4"}, "images is str, expected an IMAGE"),
        ({"mask": torch.ones(3, SIDE, SIDE)}, "mask has 3 pictures, images 7: expected one for all frames or one for each"),
        ({"mask": torch.ones(9, SIDE, SIDE)}, "mask has 9 pictures, images 7"),
        ({"mask": torch.ones(7, 32, 32)}, "mask is 32×32 pixels, images are 64×64: make the mask of these images"),
        ({"mask": torch.zeros(7, SIDE, SIDE)}, "mask is empty, and nothing would be dubbed"),
        ({"mask": torch.full((7, SIDE, SIDE), float("nan"))}, "mask holds numbers outside of 0 to 1"),
        ({"mask": 255 * torch.ones(7, SIDE, SIDE)}, "mask holds numbers outside of 0 to 1"),
        ({"mask": torch.ones(7, SIDE, SIDE, 3)}, r"mask is \[7, 64, 64, 3\], expected a MASK"),
        ({"mask": 1}, "mask is int, expected a MASK"),
        ({"vae": "wan"}, "vae is wan, expected the output of Load VAE: wire it"),
    ],
)
def test_what_can_not_be_dubbed_is_refused_before_anything_is_encoded(run, vae, monkeypatch, changes, message):
    monkeypatch.setattr(vae, "encode", lambda pixels: pytest.fail("it began"))
    with pytest.raises(ValueError, match=message):
        run(DUB, **{"vae": vae, "images": video(), "mask": torch.ones(7, SIDE, SIDE), **changes})


def test_the_vae_of_another_model_is_refused(run, vae, monkeypatch):
    monkeypatch.setattr(vae, "latent_channels", 48)
    with pytest.raises(ValueError, match="The VAE makes latents of 48 channels, expected Wan2.1's, which makes 16"):
        run(DUB, vae=vae, images=video(), mask=torch.ones(7, SIDE, SIDE))
