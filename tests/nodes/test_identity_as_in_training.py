"""Who is in a portrait, by the nodes as they are wired by default and by the trainer: the same, on drawn people."""

import shutil
from functools import cache

import numpy as np
import pytest
import torch

from drawn_world.world.figure import Pose, landmarks
from drawn_world.world.look import Look
from drawn_world.world.portrait import draw
from drawn_world.world.videos import look_of
from support import ROOT
from support import faces as support
from support.landmarker import install

DRAWN, MARGIN = 256, 64
"""Pixels of a drawing, and around it, so that no crop leaves the picture and its mask says where it is."""
SIZE = DRAWN + 2 * MARGIN
PEOPLE = 24
FOUND_BY_THE_CASCADE = (11, 69)
"""Of 220 drawn people it finds 14, of the first 24 one: its faces are photographed ones."""


@cache
def portrait(number: int) -> tuple[torch.Tensor, np.ndarray]:
    """A picture `[1, SIZE, SIZE, 3]` of a person whom the face encoder never met, and the landmarks in it."""
    look: Look = look_of("test", number)
    drawing = torch.tensor(draw(look, Pose(), DRAWN)).permute(2, 0, 1)[None] / 255
    picture = torch.nn.functional.pad(drawing, (MARGIN,) * 4, mode="replicate").permute(0, 2, 3, 1).contiguous()
    return picture, landmarks(look, Pose(), DRAWN).astype(np.float32) + MARGIN


def given(*points: np.ndarray) -> dict:
    return support.landmarks(*[[each] for each in points], size=(SIZE, SIZE))


@pytest.fixture
def encoder(run, models):
    path = models / "facerecognition" / "face_encoder.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "sources/drawn_world/models/face_encoder.onnx", path)
    return run("FantasyTalkingFaceEncoderLoader", model_name="face_encoder.onnx")[0]


@pytest.fixture
def trained(host, encoder):
    """The embedding that `prepare` stores of a person: of the face by its landmarks in the picture itself."""
    encode = host.core("host.load_encoders").face_encoder_of(encoder.path)

    def of(number: int) -> torch.Tensor:
        picture, points = portrait(number)
        face = host.core("face.landmarks").face_landmarks(given(points)).frames[0][0]
        return encode(picture[0], face.five_points())

    return of


@pytest.fixture
def nodes(run, encoder):
    """Crop Face, then Encode Face of what it gives: the embedding, and the crop."""

    def encode(picture: torch.Tensor, padding=0.3, wired=False, between=lambda crop: None, **inputs):
        crop = run("FantasyTalkingCropFace", image=picture, padding=padding, face_index=0, **inputs)
        between(crop)
        marks = {"face_landmarks": crop[3]} if wired else {}
        return run("FantasyTalkingEncodeFace", face_encoder=encoder, face=crop[0], **marks)[0].vector

    return encode


def test_with_landmarks_it_is_the_trainers_for_everyone(nodes, trained):
    for number in range(PEOPLE):
        picture, points = portrait(number)
        assert nodes(picture, wired=True, face_landmarks=given(points)) @ trained(number) > 0.999, number


def test_by_the_hosts_detector_it_is_the_trainers_for_everyone(nodes, trained, models, monkeypatch):
    """By a stand-in, which finds the drawing's landmarks in the portrait and again in the crop; the crop's place is the mask's."""
    stand_in = install(models, monkeypatch)
    for number in range(PEOPLE):
        picture, points = portrait(number)

        def find_again(crop, points=points):
            left, top, *_ = support.square(crop[1][0])
            stand_in.near = [[points - (left, top)]]

        stand_in.near = [[points]]
        assert nodes(picture, between=find_again) @ trained(number) > 0.999, number


@pytest.mark.parametrize("padding", [0.1, 0.2, 0.6, 2.0])
def test_with_landmarks_the_padding_does_not_matter(nodes, trained, padding):
    for number in range(4):
        picture, points = portrait(number)
        assert nodes(picture, padding, wired=True, face_landmarks=given(points)) @ trained(number) > 0.999, number


def test_a_crop_that_was_enlarged_for_its_batch_is_the_same_person(run, encoder, trained):
    """Beside a face that is half as large again its crop grows by half."""
    (picture, points), (other, _) = portrait(0), portrait(1)
    middle = points.mean(0)
    found = given(points, (points - middle) * 1.5 + middle)
    both = torch.cat([picture, other])
    face, _, _, marks = run("FantasyTalkingCropFace", image=both, padding=0.3, face_index=0, face_landmarks=found)
    one = {**marks, "frames": marks["frames"][:1]}
    (identity,) = run("FantasyTalkingEncodeFace", face_encoder=encoder, face=face[:1], face_landmarks=one)
    assert face.shape[1] > 1.4 * np.ptp(points, axis=0).max() * 1.6
    assert identity.vector @ trained(0) > 0.99


def test_by_the_cascade_alone_it_is_close_whatever_the_padding(nodes, trained):
    """Where it finds a face. Its box, once found, is handed on as a mask, which saves minutes."""
    cosines: dict[float, list[float]] = {0.0: [], 0.3: [], 0.6: []}
    for number in FOUND_BY_THE_CASCADE:
        picture, _ = portrait(number)
        box: dict = {}
        for padding, found in cosines.items():
            vector = nodes(picture, padding, between=lambda crop, box=box: box.setdefault("mask", crop[1]), **box)
            found.append(float(vector @ trained(number)))
    assert all(sum(found) / len(found) > 0.9 for found in cosines.values()), cosines


def test_strangers_stay_strangers(nodes, trained):
    """The distance between two people is the trainer's, to a hundredth."""
    vectors = [nodes(portrait(number)[0], wired=True, face_landmarks=given(portrait(number)[1])) for number in range(8)]
    ours, trainers = torch.stack(vectors), torch.stack([trained(number) for number in range(8)])
    torch.testing.assert_close(ours @ ours.T, trainers @ trainers.T, atol=0.01, rtol=0)
