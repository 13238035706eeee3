"""The nodes that cut out a face, load a face recognition model and encode a face with it."""

import math
import os
import sys
from functools import partial

import numpy as np
import pytest
import torch

from fantasytalking_core.face.alignment import TEMPLATE
from support import faces
from support.face_models import MISSING, WIDTH, mean_model, padded
from support.graphs import choices, put, rejection
from support.landmarker import CONNECTIONS, FILE, install

LOADER = "FantasyTalkingFaceEncoderLoader"
NO_FILE = (
    "There is no face landmarker: put mediapipe_face_fp32.safetensors into ComfyUI/models/detection; it is published at "
    "https://huggingface.co/Comfy-Org/mediapipe."
)
OVAL = frozenset((474 + side, 474 + (side + 1) % 4) for side in range(4))
"""Around the last four points, which are at the edges of the support's faces."""


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


def test_a_missing_face_encoder_is_not_in_the_list_and_one_that_vanished_is_told_with_folder_and_source(host, run, models):
    mean_model(models / "facerecognition" / "mine.onnx")
    expected = (
        "There is no face encoder file 'gone.onnx': put w600k_r50.onnx or glintr100.onnx into "
        "ComfyUI/models/facerecognition, or their folder into ComfyUI/models/insightface/models; they are published at "
        "https://github.com/deepinsight/insightface/tree/master/model_zoo."
    )
    assert rejection(LOADER, model_name="gone.onnx") == "model_name: 'gone.onnx' not in ['mine.onnx']"
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(LOADER, model_name="gone.onnx")
    assert str(error.value) == expected


@pytest.mark.parametrize("name", ["../model.onnx", "pack/../../model.onnx", "/model.onnx", "..\\model.onnx", "C:\\model.onnx"])
def test_a_face_encoder_name_that_leads_out_of_the_folders_is_none(host, run, models, name):
    mean_model(models / "model.onnx")
    assert f"model_name: {name!r} not in " in rejection(LOADER, model_name=name)
    with pytest.raises(host.core("errors").FantasyTalkingError, match="There is no face encoder file"):
        run(LOADER, model_name=name)


def test_without_onnxruntime_the_graph_is_refused_before_anything_runs(host, run, models, monkeypatch):
    mean_model(models / "facerecognition" / "model.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert choices(host, LOADER, "model_name") == [MISSING]
    assert rejection(LOADER, model_name="model.onnx") == f"model_name: 'model.onnx' not in {[MISSING]}"
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run(LOADER, model_name=MISSING)
    assert str(error.value) == MISSING


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


def test_without_landmarks_and_a_face_the_middle_is_encoded(run, encoder):
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


def test_without_landmarks_the_hosts_detector_finds_them_and_the_node_says_so(host, encoder, models, monkeypatch):
    """It is asked for all faces, and the red one covers the middle."""
    stand_in = install(models, monkeypatch)
    stand_in.near = [[face_at(left, top, scale)["landmarks_xy"] for left, top, scale in ((10, 20, 1), (150, 50, 2))]]
    out = host.nodes["FantasyTalkingEncodeFace"].execute(face_encoder=encoder, face=two_faces())
    assert torch.allclose(out.args[0].vector, padded(1.0), atol=1e-3)
    assert stand_in.asked[0] == ((300, 400), 1, 0, "short") and all(count == 0 for _, count, *_ in stand_in.asked[1:])
    assert out.ui.as_dict() == {"text": ("placed by MediaPipe",)}


def test_without_the_hosts_detector_the_node_says_that_strangers_will_look_alike(host, encoder):
    out = host.nodes["FantasyTalkingEncodeFace"].execute(face_encoder=encoder, face=two_faces())
    assert set(out.ui.as_dict()["text"][0].splitlines()) == {
        "placed by the picture's middle",
        f"⚠ No face was found in the picture, the middle is taken as it is: strangers will look alike. {NO_FILE}",
    }


@pytest.mark.parametrize("face_encoder", [None, "w600k_r50.onnx", 3, {"path": "x"}])
def test_what_is_no_face_encoder_is_refused(host, run, face_encoder):
    with pytest.raises(
        host.core("errors").FantasyTalkingError, match="face_encoder is .*, expected the output of Face Encoder"
    ):
        run("FantasyTalkingEncodeFace", face_encoder=face_encoder, face=two_faces())


@pytest.mark.parametrize("clip_vision", [None, "clip_vision_h.safetensors", 3])
def test_what_is_no_clip_vision_model_is_refused(host, run, clip_vision):
    with pytest.raises(
        host.core("errors").FantasyTalkingError, match="clip_vision is .*, expected the output of Load CLIP Vision"
    ):
        run("FantasyTalkingEncodeFaceCLIP", clip_vision=clip_vision, face=two_faces())


# --------------------------------------------------------------------------------------- the host's face landmarker


def test_the_landmarker_is_found_by_its_name_among_other_models_for_detection(host, models, monkeypatch):
    install(models, monkeypatch)
    for name in ("rtdetr.safetensors", "mediapipe_face_fp16.safetensors"):
        put(models / "detection" / FILE, models / "detection" / name)
    assert host.core("host.face_landmarker")._file().name == FILE
    (models / "detection" / FILE).unlink()
    assert host.core("host.face_landmarker")._file().name == "mediapipe_face_fp16.safetensors"


def test_a_missing_landmarker_is_told_with_folder_and_source(host, models):
    found = host.core("host.face_landmarker").landmarker()
    assert found.detect is None and found.missing == NO_FILE


def test_a_broken_landmarker_is_told(host, models):
    path = models / "detection" / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"nothing")
    found = host.core("host.face_landmarker").landmarker()
    assert found.detect is None and found.missing.startswith(f"'{FILE}' can't be loaded (")
    assert found.missing.endswith("download it again, it is published at https://huggingface.co/Comfy-Org/mediapipe.")


def test_a_host_without_a_landmarker_is_told(host, models, monkeypatch):
    install(models, monkeypatch)
    monkeypatch.setitem(sys.modules, "comfy_extras.nodes_mediapipe", None)
    assert host.core("host.face_landmarker").landmarker().missing == (
        "This ComfyUI has no face landmarker (MediaPipe): update it to 0.30 or newer."
    )


def test_the_detector_for_far_faces_looks_where_that_for_near_ones_found_none(host, models, monkeypatch):
    stand_in = install(models, monkeypatch)
    stand_in.near, stand_in.far = [[faces.points(0, 0, 40, 40)], [], []], [[faces.points(9, 9, 30, 30)], []]
    found = host.core("host.face_landmarker").landmarker().detect(torch.rand(3, 64, 48, 3))
    assert stand_in.asked == [((64, 48), 3, 0, "short"), ((64, 48), 2, 0, "full")]
    assert [[face["landmarks_xy"].min() for face in frame] for frame in found["frames"]] == [[0], [9], []]
    assert found["image_size"] == (64, 48) and found["connection_sets"] == CONNECTIONS


def test_looking_for_faces_can_be_interrupted(host, models, monkeypatch):
    import comfy.model_management

    install(models, monkeypatch)
    comfy.model_management.interrupt_current_processing()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        host.core("host.face_landmarker").landmarker().detect(torch.rand(1, 64, 64, 3))


# ------------------------------------------------------------------------------------------------------ Crop Face


def noise(count: int) -> torch.Tensor:
    return torch.rand(count, 128, 300, 3, generator=torch.Generator().manual_seed(3))


def test_crop_face_gives_face_mask_and_preview_of_the_chosen_face(run):
    pictures = noise(2)
    frame = [faces.points(0, 0, 80, 80), faces.points(100, 0, 200, 100)]
    found = faces.landmarks(frame, frame, size=(128, 300))
    given = run("FantasyTalkingCropFace", image=pictures, padding=0.2, face_index=1, face_landmarks=found)
    expected = faces.crop(pictures, padding=0.2, face_index=1, face_landmarks=found)
    assert len(given) == 4 and all(torch.equal(one, other) for one, other in zip(given, expected))


def test_crop_face_gives_the_chosen_faces_landmarks_in_the_crops_pixels(run):
    """A face of 60 pixels at (40, 20), a padding of 0.5: a square of 120 from (10, −10); one of 30 at (100, 50): a square of 60
    from (85, 35), doubled. The middle of pixel x is x + 0.5 from the edge."""
    first, second = faces.points(40, 20, 100, 80), faces.points(100, 50, 130, 80)
    found = faces.landmarks([first], [second, faces.points(0, 0, 25, 25)], size=(128, 300))
    face, _, _, given = run("FantasyTalkingCropFace", image=noise(2), padding=0.5, face_index=0, face_landmarks=found)
    assert face.shape == (2, 120, 120, 3) and given["image_size"] == (120, 120)
    assert [len(frame) for frame in given["frames"]] == [1, 1]
    xy = [frame[0]["landmarks_xy"] for frame in given["frames"]]
    np.testing.assert_allclose(xy[0], first - (10, -10), atol=1e-4)
    np.testing.assert_allclose(xy[1], (second - (85, 35) + 0.5) * 2 - 0.5, atol=1e-4)
    np.testing.assert_allclose(given["frames"][1][0]["bbox_xyxy"], [30.5, 30.5, 90.5, 90.5], atol=1e-4)


def test_the_hosts_nodes_take_the_landmarks_of_crop_face(host, run):
    """Its mask of the lips of a face, and of a picture without landmarks."""
    found = {**faces.landmarks([faces.points(40, 20, 100, 80)], size=(128, 300)), "connection_sets": {"face_oval": OVAL}}
    inputs = {"image": noise(1), "padding": 0.5, "face_index": 0}
    known = run("FantasyTalkingCropFace", **inputs, face_landmarks=found)[3]
    unknown = run("FantasyTalkingCropFace", **inputs, mask=torch.ones(1, 128, 300))[3]
    draw = partial(run, "MediaPipeFaceMask", regions={"regions": "custom", "face_oval": True})
    assert draw(face_landmarks=known)[0].any() and not draw(face_landmarks=unknown)[0].any()
    assert unknown["frames"] == [[]] and unknown["image_size"] == (600, 600)


def test_crop_face_finds_faces_with_the_hosts_detector_and_says_so(host, models, monkeypatch):
    stand_in = install(models, monkeypatch)
    stand_in.near = [[faces.points(40, 20, 100, 80), faces.points(120, 0, 220, 100)]]
    out = host.nodes["FantasyTalkingCropFace"].execute(image=noise(1), padding=0.0, face_index=0)
    assert faces.square(out.args[1][0]) == (120, 0, 220, 100)
    assert out.args[3]["connection_sets"] == CONNECTIONS and len(out.args[3]["frames"][0]) == 1
    shown = out.ui.as_dict()
    assert shown["text"] == ("found by MediaPipe",) and len(shown["images"]) == 1


def test_crop_face_asks_the_hosts_detector_for_nothing_that_is_wired(run, models, monkeypatch):
    stand_in = install(models, monkeypatch)
    found = faces.landmarks([faces.points(10, 10, 50, 50)], size=(128, 300))
    run("FantasyTalkingCropFace", image=noise(1), padding=0.0, face_index=0, face_landmarks=found)
    run("FantasyTalkingCropFace", image=noise(1), padding=0.0, face_index=0, mask=torch.ones(1, 128, 300))
    assert stand_in.asked == []


def test_crop_face_takes_a_mask_and_landmarks_go_before_it(run):
    mask, found = torch.zeros(1, 128, 300), faces.landmarks([faces.points(10, 10, 50, 50)], size=(128, 300))
    mask[:, 30:90, 200:260] = 1
    given = [
        run("FantasyTalkingCropFace", image=noise(1), padding=0.0, face_index=0, mask=mask, **more)[1][0]
        for more in ({}, {"face_landmarks": found})
    ]
    assert [faces.square(each) for each in given] == [(200, 30, 260, 90), (10, 10, 50, 50)]


def test_crop_face_by_itself_looks_for_a_face_and_says_that_there_is_none(host, run):
    with pytest.raises(host.core("errors").FantasyTalkingError) as error:
        run("FantasyTalkingCropFace", image=torch.full((1, 64, 64, 3), 0.5), padding=0.3, face_index=0)
    assert str(error.value) == (
        "No face was found in the picture: wire face_landmarks from Detect Face Landmarks (MediaPipe), or a mask painted over the "
        f"face. {NO_FILE}"
    )
