"""The nodes that cut out a face, load a face recognition model and encode a face with it."""

import math
import os
import sys

import numpy as np
import pytest
import torch

from fantasytalking_core.face.alignment import TEMPLATE
from support import faces
from support.face_models import MISSING, WIDTH, mean_model, padded
from support.graphs import choices, put, rejection

LOADER = "FantasyTalkingFaceEncoderLoader"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("facerecognition", "w600k_r50.onnx"),
        ("insightface/models/buffalo_l", os.path.join("buffalo_l", "w600k_r50.onnx")),
    ],
)
def test_a_face_encoder_is_found_where_people_have_it(host, run, models, place, name):
    mean_model(models / place / "w600k_r50.onnx")
    assert name in choices(host, LOADER, "model_name")
    assert rejection(LOADER, model_name=name) == ""
    assert run(LOADER, model_name=name)[0].width == WIDTH


def test_recognition_models_are_offered_first_and_the_others_of_their_folder_last(host, models):
    for file in ("1k3d68", "2d106det", "det_10g", "genderage", "mine", "w600k_r50"):
        mean_model(models / "insightface" / "models" / "pack" / f"{file}.onnx")
    files = [os.path.basename(name) for name in choices(host, LOADER, "model_name")]
    assert files == ["w600k_r50.onnx", "mine.onnx", "1k3d68.onnx", "2d106det.onnx", "det_10g.onnx", "genderage.onnx"]


def test_face_encoders_are_found_through_extra_model_paths(host, models, monkeypatch, tmp_path):
    import utils.extra_config

    paths = host.folder_paths.folder_names_and_paths
    for key, (folders, extensions) in list(paths.items()):
        monkeypatch.setitem(paths, key, (list(folders), set(extensions)))
    monkeypatch.delitem(paths, "facerecognition")
    put(mean_model(tmp_path / "model.onnx"), tmp_path / "disk" / "faces" / "extra.onnx")
    (tmp_path / "extra.yaml").write_text(f"other_disk:\n    base_path: {tmp_path / 'disk'}\n    facerecognition: faces\n")
    utils.extra_config.load_extra_path_config(str(tmp_path / "extra.yaml"))
    host.core("host.folders").register()
    assert host.folder_paths.get_folder_paths("facerecognition") == [
        str(models / "facerecognition"),
        str(tmp_path / "disk" / "faces"),
        str(models / "insightface" / "models"),
    ]
    assert choices(host, LOADER, "model_name") == ["extra.onnx"]


def test_a_missing_face_encoder_is_told_with_folder_and_source(host, run):
    expected = (
        "There is no face encoder file 'gone.onnx': put w600k_r50.onnx or glintr100.onnx into "
        "ComfyUI/models/facerecognition, or their folder into ComfyUI/models/insightface/models; they are published at "
        "https://github.com/deepinsight/insightface/tree/master/model_zoo."
    )
    assert rejection(LOADER, model_name="gone.onnx") == f"model_name - {expected}"
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(LOADER, model_name="gone.onnx")
    assert str(error.value) == expected


@pytest.mark.parametrize("name", ["../model.onnx", "pack/../../model.onnx", "/model.onnx", "..\\model.onnx", "C:\\model.onnx"])
def test_a_face_encoder_name_that_leads_out_of_the_folders_is_none(host, models, name):
    mean_model(models / "model.onnx")
    assert "There is no face encoder file" in rejection(LOADER, model_name=name)


def test_without_onnxruntime_the_graph_is_refused_before_anything_runs(models, monkeypatch):
    mean_model(models / "facerecognition" / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert rejection(LOADER, model_name="model.onnx") == f"model_name - {MISSING}"


@pytest.fixture
def encoder(run, models):
    mean_model(models / "facerecognition" / "model.onnx")
    return run(LOADER, model_name="model.onnx")[0]


def face_at(left: float, top: float, scale: float) -> dict:
    """A face of the host's: all points in its middle, but those of the eyes, the nose and the mouth."""
    points = np.full((478, 2), (left + 56 * scale, top + 70 * scale), np.float32)
    for indices, (x, y) in zip(((33, 133), (263, 362), (1,), (61,), (291,)), TEMPLATE):
        points[list(indices)] = (left + scale * x, top + scale * y)
    return {"landmarks_xy": points}


def two_faces() -> torch.Tensor:
    """A grey picture, 400 by 300, with a green face of 112 pixels at (10, 20) and a red one of 224 at (150, 50)."""
    picture = torch.full((1, 300, 400, 3), 0.5)
    picture[0, 20:132, 10:122] = torch.tensor([0.5, 1.0, 0.5])
    picture[0, 50:274, 150:374] = torch.tensor([1.0, 0.5, 0.5])
    return picture


def landmarks(*frames: list) -> dict:
    return {"frames": list(frames), "image_size": (300, 400), "connection_sets": {}}


def test_the_largest_face_of_the_landmarks_is_encoded(run, encoder):
    faces = [face_at(10, 20, 1), face_at(150, 50, 2)]
    (identity,) = run("FantasyTalkingEncodeFace", face_encoder=encoder, face=two_faces(), face_landmarks=landmarks(faces))
    assert torch.allclose(identity.vector, padded(1.0), atol=1e-3)


def test_without_landmarks_the_middle_is_encoded(run, encoder):
    """The middle 300 pixels are a bit of the green face and most of the red one."""
    (identity,) = run("FantasyTalkingEncodeFace", face_encoder=encoder, face=two_faces())
    red, green = 224 * 200, 112 * (122 - 50)
    length = math.hypot(red, green)
    assert torch.allclose(identity.vector, padded(red / length, green / length), atol=2e-2)


def test_a_picture_without_a_face_in_the_landmarks_is_encoded_by_its_middle(run, encoder):
    """The first has a face, green; in the second, which is blue, none was found."""
    blue = torch.tensor([0.5, 0.5, 1.0]).expand(1, 300, 400, 3)
    (identity,) = run(
        "FantasyTalkingEncodeFace",
        face_encoder=encoder,
        face=torch.cat([two_faces(), blue]),
        face_landmarks=landmarks([face_at(10, 20, 1)], []),
    )
    assert torch.allclose(identity.vector, padded(0, math.sqrt(0.5), math.sqrt(0.5)), atol=1e-3)


def test_landmarks_of_other_pictures_are_refused(host, run, encoder):
    with pytest.raises(host.core("errors").FantasyTalkingError, match="face_landmarks are of 2 pictures of 400×300, face has"):
        run("FantasyTalkingEncodeFace", face_encoder=encoder, face=two_faces(), face_landmarks=landmarks([], []))


def test_an_identity_is_what_the_conditioning_takes(host, run, encoder):
    (identity,) = run("FantasyTalkingEncodeFace", face_encoder=encoder, face=two_faces())
    assert isinstance(identity, host.core("adapter.identity").FaceEmbedding)


# ------------------------------------------------------------------------------------------------------ Crop Face


def noise(count: int) -> torch.Tensor:
    return torch.rand(count, 128, 300, 3, generator=torch.Generator().manual_seed(3))


def test_crop_face_gives_face_mask_and_preview_of_the_chosen_face(run):
    pictures = noise(2)
    frame = [faces.points(0, 0, 80, 80), faces.points(100, 0, 200, 100)]
    found = faces.landmarks(frame, frame, size=(128, 300))
    given = run("FantasyTalkingCropFace", image=pictures, padding=0.2, face_index=1, face_landmarks=found)
    expected = faces.crop(pictures, padding=0.2, face_index=1, face_landmarks=found)
    assert len(given) == 3 and all(torch.equal(one, other) for one, other in zip(given, expected))


def test_crop_face_takes_a_mask_and_landmarks_go_before_it(run):
    mask, found = torch.zeros(1, 128, 300), faces.landmarks([faces.points(10, 10, 50, 50)], size=(128, 300))
    mask[:, 30:90, 200:260] = 1
    given = [
        run("FantasyTalkingCropFace", image=noise(1), padding=0.0, face_index=0, mask=mask, **more)[1][0]
        for more in ({}, {"face_landmarks": found})
    ]
    assert [faces.square(each) for each in given] == [(200, 30, 260, 90), (10, 10, 50, 50)]


def test_crop_face_by_itself_looks_for_a_face_and_says_that_there_is_none(host, run):
    with pytest.raises(host.core("errors").FantasyTalkingError, match="No face was found in the picture: wire face_landmarks"):
        run("FantasyTalkingCropFace", image=torch.full((1, 64, 64, 3), 0.5), padding=0.3, face_index=0)
