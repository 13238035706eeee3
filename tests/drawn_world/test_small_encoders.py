"""The small family's Wav2Vec2 and face encoder: what is trained, and that the pack reads what is written."""

import numpy as np
import onnxruntime
import pytest
import torch

from drawn_world import face_encoder, wav2vec2
from drawn_world.face_encoder import aligned_faces, network, varied, verify, write_onnx
from drawn_world.loop import Plan
from drawn_world.wav2vec2 import crops, loudness_r2, targets
from drawn_world.world.figure import Pose, landmarks
from drawn_world.world.look import Look
from drawn_world.world.portrait import draw
from fantasytalking_core.face.alignment import TEMPLATE
from fantasytalking_core.face.encoder import read_face_encoder
from fantasytalking_core.face.landmarks import EYE_CORNERS, MOUTH_CORNERS, NOSE_TIP
from fantasytalking_core.speech.wav2vec import encode, load_wav2vec2

RATE = 16_000
SHORT = Plan(steps=2, rate=1e-3, warmup=0, average=0.5)


def tones(count: int) -> np.ndarray:
    """`[count, 2 s]` of tones that come and go."""
    time = np.arange(2 * RATE) / RATE
    number = 1 + np.arange(count)[:, None]
    return (0.3 * np.sin(np.pi * number * time) ** 2 * np.sin(600 * np.pi * number * time)).astype(np.float32)


# --------------------------------------------------------------------------------------------------------- Wav2Vec2


def test_loudness_is_told_in_decibels_below_the_loudest_and_as_perceived():
    """A tone of full scale, then one of a hundredth of its amplitude: 40 of 60 dB lower, and 10^(−4 · 0.3) as loud."""
    time = np.arange(RATE) / RATE
    sound = np.sin(2 * np.pi * 1000 * time) * np.where(time < 0.5, 1, 0.01)
    found = targets(torch.tensor(sound, dtype=torch.float32)[None])[0]
    assert found.shape == ((RATE - 400) // 320 + 1, 2 + 24)
    torch.testing.assert_close(found[5, :2], torch.ones(2), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[-5, :2], torch.tensor([1 - 40 / 60, 10**-1.2]), atol=1e-3, rtol=0)


def test_the_band_of_a_tone_is_the_loudest():
    time = torch.arange(RATE) / RATE
    low, high = (targets(torch.sin(2 * torch.pi * hertz * time)[None])[0, 10, 2:].argmax() for hertz in (300, 3000))
    assert 0 < low < high < 23


def test_silence_is_told_as_silence():
    assert targets(torch.zeros(1, RATE))[..., [0, *range(2, 26)]].eq(0).all()


def test_crops_are_normalised_and_drawn_from_the_steps_number():
    (speech, heard), (_, again), (_, other) = (crops(tones(3), step) for step in (4, 4, 5))
    assert speech.shape == heard.shape and torch.equal(heard, again)
    assert heard.shape != other.shape or not torch.equal(heard, other)
    torch.testing.assert_close(heard.mean(1), torch.zeros(len(heard)), atol=1e-5, rtol=0)
    spoken = heard[speech.ne(0).any(1)]
    torch.testing.assert_close(spoken.var(1, correction=0), torch.ones(len(spoken)), atol=2e-2, rtol=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A Wav2Vec2 folder after two steps."""
    folder = tmp_path_factory.mktemp("wav2vec2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wav2vec2, "PLAN", SHORT)
        patch.setattr(wav2vec2, "BATCH", 2)
        wav2vec2.train(tones(3), folder / "encoder", folder / "checkpoint.pt")
    return folder / "encoder"


def test_the_pack_reads_the_folder_and_gets_a_token_per_20_ms(trained):
    tokens = encode(torch.from_numpy(tones(1)[0]), *load_wav2vec2(trained))
    assert tokens.shape == (99, 96) and tokens.isfinite().all() and tokens.std() > 0.1
    assert sum(file.stat().st_size for file in trained.iterdir()) < 3_000_000
    assert [path.name for path in trained.parent.iterdir() if path.name.endswith(".part")] == []


def test_how_well_loudness_is_told_is_measured_on_other_sound(trained):
    assert loudness_r2(trained, tones(4)[:3], tones(4)[3:]) <= 1


# ------------------------------------------------------------------------------------------------------------- faces


@pytest.fixture(scope="module")
def people():
    """Frames and landmarks of four people in three moments."""
    poses = [Pose(), Pose(mouth_open=0.8), Pose(head=(0.03, 0.0), tilt=0.1)]
    looks = [Look.random(number) for number in range(4)]
    frames = np.stack([[draw(look, pose) for pose in poses] for look in looks])
    return frames, np.stack([[landmarks(look, pose) for pose in poses] for look in looks]).astype(np.float32)


def test_the_file_computes_what_the_network_does(tmp_path):
    torch.manual_seed(0)
    layers, faces = network(), torch.rand(2, 3, 112, 112) * 2 - 1
    for layer in layers:  # biases and slopes that differ from their first values
        for value in layer.parameters():
            torch.nn.init.normal_(value, std=0.1)
    write_onnx(layers, tmp_path / "face.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "face.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = layers(faces).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(session.run(None, {"faces": faces.numpy()})[0], expected, atol=1e-4)


def test_an_unknown_layer_is_refused(tmp_path):
    with pytest.raises(TypeError, match="Sigmoid can't be written"):
        write_onnx(torch.nn.Sequential(torch.nn.Sigmoid()), tmp_path / "face.onnx")


def test_faces_are_aligned_to_the_template():
    """Five points at half the template's size: a red nose of 5 pixels comes to lie where the template has the nose."""
    points = np.zeros((478, 2), np.float32)
    eye, other_eye, nose, *mouth = (np.array(point) / 2 for point in TEMPLATE)
    for places, at in zip((*EYE_CORNERS, NOSE_TIP, *MOUTH_CORNERS), (eye, other_eye, nose, *mouth)):
        points[np.atleast_1d(places)] = at
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[34:39, 26:31, 0] = 255  # about (28, 36): the template's nose at (56.0, 71.7), halved
    face = aligned_faces(picture[None, None], points[None, None], pictures=1)
    assert face.shape == (1, 1, 3, 112, 112) and face.dtype == torch.uint8
    assert face[0, 0, :, 72, 56].tolist() == [255, 0, 0]
    y, x = face[0, 0, 0].float().nonzero().float().mean(0)
    assert abs(x - 56) < 1 and abs(y - 72) < 1


def test_variation_is_small_and_drawn_from_the_generator(people):
    faces = aligned_faces(*people, pictures=1)[:, 0] / 127.5 - 1
    first, again, other = (varied(faces, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == faces.shape and first.abs().max() <= 1
    assert (first - faces)[..., 40:72, 40:72].abs().mean() < 0.3


def test_training_writes_a_file_that_the_pack_takes(people, tmp_path, monkeypatch):
    monkeypatch.setattr(face_encoder, "PLAN", SHORT)
    monkeypatch.setattr(face_encoder, "BATCH", 4)
    path = tmp_path / "models" / "face.onnx"
    face_encoder.train(*people, path, tmp_path / "checkpoint.pt")
    assert read_face_encoder(path).width == 128
    assert path.stat().st_size < 2_000_000
    found = verify(path, *people)
    assert -1 <= found.different <= 1 and -1 <= found.same <= 1 and 0 <= found.auc <= 1
