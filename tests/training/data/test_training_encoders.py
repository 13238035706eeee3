"""The `prepare` command with the host's own encoders, and the ranges and ages of a cache."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.adapter.motion import MotionRanges
from fantasytalking_core.commands.prepare import main
from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.face.alignment import TEMPLATE
from fantasytalking_core.training.data.cache import Cache, Entry, Index, ranges
from fantasytalking_core.training.data.clips import read_clips
from fantasytalking_core.training.data.face_track import FaceTrack
from fantasytalking_core.training.data.placement import Shape
from fantasytalking_core.training.data.sample import Sample
from support import world
from support.reference import FOLDER

COMMON = ["--frames", "5", "--width", "32", "--height", "32"]


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    from support.random_family import wan_vae

    path = tmp_path_factory.mktemp("vae") / "tiny_vae.safetensors"
    save_file(wan_vae(), path)
    return path


@pytest.fixture
def video(tmp_path):
    return world.make_videos(tmp_path / "videos", 1, size=32, seconds=5 / 23)[0]


def prepare(video, cache, *arguments) -> int:
    return main([str(video.path.parent), str(cache), *COMMON, *map(str, arguments)])


@pytest.fixture
def encoders(host):
    from fantasytalking_core.host import load_encoders as encoders

    return encoders


def test_the_command_makes_a_cache_with_the_hosts_encoders(host, run, video, vae, tmp_path, capsys):
    """Latents against those of WanImageToVideo, in the DiT's space; speech against that of Encode Speech."""
    import comfy.latent_formats
    import comfy.sd

    assert prepare(video, tmp_path / "cache", "--vae", vae, "--wav2vec", "reference") == 0
    assert "1 samples of 1 videos" in capsys.readouterr().out
    index = Index.load(tmp_path / "cache")
    size = sum(file.stat().st_size for file in (FOLDER / "wav2vec2").iterdir())
    assert index.models == {
        "vae": f"tiny_vae.safetensors ({vae.stat().st_size} bytes)",
        "wav2vec": f"reference ({size} bytes)",
        "text": "side file",
        "clip": "side file",
        "landmarks": "side file",
        "face": "side file",
    }
    sample = Sample.load(tmp_path / "cache" / index.samples[0].file)
    clip = next(read_clips(video.path, Shape(5, 23.0, 32, 32)))
    model = comfy.sd.VAE(sd=load_file(vae))
    space = comfy.latent_formats.Wan21()
    mean, std = (getattr(space, name).flatten()[:, None, None, None] for name in ("latents_mean", "latents_std"))
    with torch.inference_mode():
        expected = (model.encode(clip.frames)[0].float().cpu() - mean) / std
    assert sample.latents.shape == (16, 2, 4, 4) and torch.allclose(sample.latents.float(), expected, atol=2e-3)
    positive, *_ = run(
        "WanImageToVideo",
        positive=[[torch.zeros(1, 1, 8), {}]],
        negative=[[torch.zeros(1, 1, 8), {}]],
        vae=model,
        width=32,
        height=32,
        length=5,
        batch_size=1,
        start_image=clip.frames[:1],
    )
    image = (positive[0][1]["concat_latent_image"][0].float().cpu() - mean) / std
    assert torch.allclose(sample.image.float(), image, atol=2e-3)
    encoder = run("FantasyTalkingWav2VecLoader", model_name="reference")[0]
    audio = {"waveform": clip.speech[None, None], "sample_rate": 16000}
    speech = run("FantasyTalkingEncodeSpeech", wav2vec=encoder, audio=audio, fps=23.0, length=5, start_time=0.0)[0]
    assert torch.allclose(sample.speech.float(), speech.tokens, atol=5e-3)


def test_a_model_that_is_not_there_or_of_another_kind_is_told(host, video, vae, tmp_path, capsys):
    cache = tmp_path / "cache"
    save_file({"weight": torch.zeros(4, 4)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    vae_and_speech = ("--vae", vae, "--wav2vec", "reference")
    for arguments, expected in (
        (
            ("--vae", "missing.safetensors", "--wav2vec", "reference"),
            "There is no file 'missing.safetensors' in ComfyUI/models/vae",
        ),
        (("--vae", vae, "--wav2vec", "missing"), "There is no Wav2Vec2 model 'missing'"),
        (("--vae", tmp_path / "other.safetensors", "--wav2vec", "reference"), "expected Wan2.1's VAE"),
        (("--vae", tmp_path / "broken.safetensors", "--wav2vec", "reference"), "can't be loaded"),
        ((*vae_and_speech, "--text-encoder", tmp_path / "other.safetensors"), "expected UMT5-XXL"),
        ((*vae_and_speech, "--clip-vision", tmp_path / "other.safetensors"), "expected CLIP ViT-H"),
        ((*vae_and_speech, "--landmarker", tmp_path / "other.safetensors"), "expected the face landmarker"),
        ((*vae_and_speech, "--face-encoder", "missing.onnx"), "There is no face encoder file 'missing.onnx'"),
        ((*vae_and_speech, "--frames", "6"), "frames is 6, expected 4n + 1"),
    ):
        assert prepare(video, cache, *arguments) == 1
        assert expected in capsys.readouterr().err, arguments
    assert not cache.exists()


def test_zero_rows_at_the_end_of_a_prompt_are_not_kept(encoders):
    rows = torch.tensor([[1.0, 0], [0, 0], [0, 2], [0, 0], [0, 0]])
    assert torch.equal(encoders.without_padding(rows), rows[:3])
    assert encoders.without_padding(torch.zeros(512, 2)).shape == (1, 2)


def test_the_hosts_landmark_detector_is_asked_frame_by_frame(encoders, tmp_path):
    """With random weights: it finds what it finds, in the host's format; faces of the far detector fill the gaps."""
    face_landmarker = pytest.importorskip("comfy_extras.mediapipe.face_landmarker")
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for variant in ("short", "full"):
        model = face_landmarker.FaceLandmarker(device="cpu", dtype=torch.float32, operations=None, detector_variant=variant)
        for name, value in model.state_dict().items():
            made = torch.randn(value.shape, generator=generator) * 0.05 if value.is_floating_point() else value
            weights[name.replace("detector.", f"detector_{variant}.", 1) if name.startswith("detector.") else name] = made
    for name in ("face_oval", "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "lips", "irises", "nose"):
        weights[f"topology.{name}"] = torch.tensor([[0, 1]], dtype=torch.int32)
    for name in ("canonical_vertices", "procrustes_indices", "procrustes_weights"):
        weights[name] = torch.zeros(3)
    save_file({name: value.contiguous() for name, value in weights.items()}, tmp_path / "landmarker.safetensors")
    found = encoders.landmark_detector(tmp_path / "landmarker.safetensors")(torch.rand(3, 64, 48, 3, generator=generator))
    assert len(found["frames"]) == 3 and found["image_size"] == (64, 48)
    assert all(len(faces) <= 4 for faces in found["frames"])
    track = FaceTrack.of_host(found)
    assert track.landmarks.shape == (3, 478, 3) and ((track.confidence == 0) | (track.confidence >= 0.5)).all()


def test_a_picture_becomes_the_tokens_of_the_layer_before_the_last(encoders, monkeypatch, tmp_path):
    """By the host's class with two layers in the place of 32; the picture is squeezed whole, as in the pack's workflows."""
    import comfy.clip_vision

    config = {
        "hidden_size": 1280,
        "num_hidden_layers": 2,
        "num_attention_heads": 16,
        "intermediate_size": 64,
        "hidden_act": "gelu",
        "image_size": 224,
        "patch_size": 14,
        "num_channels": 3,
        "projection_dim": 32,
        "layer_norm_eps": 1e-5,
        "model_type": "clip_vision_model",
    }
    model = comfy.clip_vision.ClipVisionModel(config)
    generator = torch.Generator().manual_seed(0)
    model.load_sd({key: torch.randn(value.shape, generator=generator) * 0.02 for key, value in model.get_sd().items()})
    monkeypatch.setattr(comfy.clip_vision, "load", lambda path: model)
    encode = encoders.image_encoder(tmp_path / "clip.safetensors")
    picture = torch.rand(32, 64, 3, generator=generator)
    tokens = encode(picture)
    assert tokens.shape == (257, 1280) and tokens.dtype == torch.float32
    with torch.inference_mode():
        assert torch.equal(tokens, model.encode_image(picture[None], crop=False)["penultimate_hidden_states"][0].float())
    picture[:, :16] = 0  # outside of a square in the middle
    assert not torch.equal(tokens, encode(picture))


def test_a_prompt_is_taken_to_the_letter(encoders, monkeypatch, tmp_path):
    """Brackets are no weights, and the rows of padding are cut off."""
    import comfy.sd

    class Clip:
        cond_stage_model = type("Model", (), {"umt5xxl": None})

        def tokenize(self, prompt, disable_weights=False):
            assert disable_weights
            return prompt

        def encode_from_tokens(self, prompt):
            return torch.cat([torch.ones(1, len(prompt), 8), torch.zeros(1, 512 - len(prompt), 8)], dim=1)

    monkeypatch.setattr(comfy.sd, "load_clip", lambda paths, clip_type: Clip())
    encode = encoders.text_encoder_of(tmp_path / "umt5.safetensors")
    assert encode("a (man:2)").shape == (9, 8) and encode("").shape == (1, 8)


def test_a_face_is_aligned_and_embedded(encoders, tmp_path):
    """By a model that gives the mean colour: the face is red, the picture around it blue."""
    pytest.importorskip("onnxruntime")
    from support.face_models import mean_model

    picture = torch.tensor([0.0, 0.0, 1.0]).repeat(400, 400, 1)
    picture[100:212, 100:212] = torch.tensor([1.0, 0.0, 0.0])
    points = torch.tensor(TEMPLATE) + 100
    vector = encoders.face_encoder_of(mean_model(tmp_path / "face.onnx"))(picture, points)
    expected = torch.zeros(128)
    expected[:3] = torch.tensor([1.0, -1.0, -1.0]) / 3**0.5  # from [0, 1] to [−1, 1], of length 1
    assert torch.allclose(vector, expected, atol=0.02)


def _write_motion(cache, motions) -> list[Entry]:
    entries = []
    for number, motion in enumerate(motions):
        save_file({"motion": torch.tensor(motion)}, cache / f"{number}.safetensors")
        entries.append(Entry(f"{number}.safetensors", f"{number}.mp4", 0.0, ""))
    return entries


def test_the_ranges_are_quantiles_of_what_is_known(tmp_path):
    """Of 0 … 20 the 5 % and 95 % quantiles are 1 and 19; a wild one moves them little, an unknown one not."""
    motions = [(0.001 * n, float("nan") if n % 2 else 0.01 * n) for n in range(21)]
    found = ranges(tmp_path, _write_motion(tmp_path, motions))
    assert found.expression == pytest.approx((0.001, 0.019))
    assert found.body == pytest.approx((0.01, 0.19))  # 0, 2, … 20: eleven values, half a step from both ends
    assert found.map == "log"


def test_what_the_index_knows_of_the_motion_is_not_read_again(tmp_path):
    entries = [Entry(f"{n}.safetensors", f"{n}.mp4", 0.0, "", (0.001 * n, None)) for n in range(21)]
    found = ranges(tmp_path, entries)
    assert found.expression == pytest.approx((0.001, 0.019)) and found.body is None


def test_a_range_does_not_begin_at_nothing(tmp_path):
    """Clips that stand still have no variance, and no logarithm."""
    found = ranges(tmp_path, [Entry("", "", 0.0, "", (0.0 if n < 4 else 2.0, None)) for n in range(8)])
    assert found.expression == pytest.approx((0.002, 2.0)) and found.motion(0.0, None).expression == 0


def test_too_few_or_equal_variances_are_no_range(tmp_path):
    """So that their coefficient is neutral in every sample, and the adapter's file says that it was not trained."""
    few = ranges(tmp_path, _write_motion(tmp_path, [(0.001 * n, 0.5) for n in range(7)]))
    assert few == MotionRanges(None, None) and few.motion(0.003, 0.5).coefficients().tolist() == [[0.5, 0.5]]
    equal = ranges(tmp_path, _write_motion(tmp_path, [(0.001 * n, 0.5) for n in range(9)]))
    assert equal.trained == (True, False)


def test_a_cache_of_another_version_is_told_so(tmp_path):
    Index(5, 23.0, 32, 32, {}).save(tmp_path)
    about = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**about, "version": 3}))
    with pytest.raises(FantasyTalkingError, match="another version"):
        Index.load(tmp_path)


OLD = {
    "format": "fantasytalking-cache",
    "version": 1,
    "frames": 5,
    "fps": 23.0,
    "width": 32,
    "height": 32,
    "models": {"vae": "tiny"},
    "ranges": {"expression": [0.0, 0.002], "body": [0.0, 0.02]},
    "samples": [{"file": "a-00000.safetensors", "source": "a.mp4", "start": 0.0, "caption": "A face."}],
    "left_out": {"b.mp4": "its sound is silent."},
}
"""The index of a cache as version 1 wrote it."""


def test_a_cache_of_the_version_before_is_read_and_keeps_its_linear_map(tmp_path):
    (tmp_path / "index.json").write_text(json.dumps(OLD))
    index = Index.load(tmp_path)
    assert index.samples == (Entry("a-00000.safetensors", "a.mp4", 0.0, "A face."),) and not index.notes
    motion = index.ranges.motion(0.0005, 0.01)
    assert (motion.expression, motion.body) == (pytest.approx(0.25), pytest.approx(0.5))


def test_a_cache_of_the_version_before_is_not_gone_on_with_another_way(tmp_path):
    (tmp_path / "index.json").write_text(json.dumps(OLD))
    made = {"placement": "face", "cuts": "left out", "interlaced": "bwdif", "sound": "default", "motion": "log"}
    with pytest.raises(FantasyTalkingError) as error:
        Cache(tmp_path, Shape(5, 23.0, 32, 32), {"vae": "tiny"}, made)
    assert "(placement was middle, is face; cuts was kept, is left out; interlaced was kept, is bwdif; " in str(error.value)
    assert str(error.value).endswith("motion was linear, is log): choose a new folder.")


@pytest.mark.parametrize(
    "change",
    [{"ranges": [1]}, {"ranges": {"expression": 1, "body": None}}, {"notes": [1]}, {"made": 7}, {"samples": [{"motion": 1}]}],
)
def test_an_index_that_was_edited_to_something_else_is_damaged(tmp_path, change):
    (tmp_path / "index.json").write_text(json.dumps({**OLD, "version": 2, **change}))
    with pytest.raises(FantasyTalkingError, match="is damaged: delete the folder and run prepare again"):
        Index.load(tmp_path)
