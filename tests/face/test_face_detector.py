"""Faces that are found without any help, in pictures whose eyes and mouth were read off by hand."""

import sys
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from fantasytalking_core.face.alignment import points_in
from fantasytalking_core.face.detector import FaceDetector
from support.faces import crop, refusal_of_crop, square

EYES_AND_MOUTH = ((204, 101), (246, 103), (224, 147))
"""x, y in the 512×512 astronaut, read off an enlarged picture."""


@cache
def astronaut() -> Image.Image:
    from skimage import data

    return Image.fromarray(data.astronaut())  # in scikit-image's wheel


def image(*pictures: Image.Image) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.array(picture)).float() / 255 for picture in pictures])


def sized(side: int) -> Image.Image:
    return astronaut().resize((side, side), Image.Resampling.LANCZOS)


def moved(right: int, down: int, scale: float = 1.0, mirrored: bool = False) -> list[tuple[float, float]]:
    """Where the eyes and the mouth are in a picture that the astronaut was put into."""
    return [((511 - x if mirrored else x) * scale + right, y * scale + down) for x, y in EYES_AND_MOUTH]


def beside() -> Image.Image:
    """The astronaut, and beside it the same picture mirrored and twice as large, on a canvas of 1536×1024."""
    canvas = Image.new("RGB", (1536, 1024), (90, 90, 90))
    canvas.paste(astronaut(), (0, 300))
    canvas.paste(ImageOps.mirror(sized(1024)), (512, 0))
    return canvas


FOUND: dict[str, tuple[Callable[[], Image.Image], int, list[tuple[float, float]]]] = {
    "as_it_is": (astronaut, 0, moved(0, 0)),
    "mirrored": (lambda: ImageOps.mirror(astronaut()), 0, moved(0, 0, mirrored=True)),
    "64_pixels": (lambda: sized(64), 0, moved(0, 0, 64 / 512)),
    "300_pixels": (lambda: sized(300), 0, moved(0, 0, 300 / 512)),
    "3000_pixels": (lambda: sized(3000), 0, moved(0, 0, 3000 / 512)),
    "dark": (lambda: astronaut().point(lambda value: value * 0.2), 0, moved(0, 0)),
    "wide": (lambda: astronaut().crop((0, 40, 512, 240)), 0, moved(0, -40)),
    "touching_three_edges": (lambda: astronaut().crop((176, 70, 274, 250)), 0, moved(-176, -70)),
    "larger_of_two": (beside, 0, moved(512, 0, 2.0, mirrored=True)),
    "smaller_of_two": (beside, 1, moved(0, 300)),
}


@pytest.mark.parametrize("portrait, face_index, inside", FOUND.values(), ids=FOUND)
def test_the_crop_holds_the_eyes_and_the_mouth_and_little_else(portrait, face_index, inside):
    picture = image(portrait())
    face, mask, preview = crop(picture, face_index=face_index)
    left, top, right, bottom = square(mask[0])
    assert all(left <= x < right and top <= y < bottom for x, y in inside)
    (eye, _), (other_eye, _), _ = inside
    assert 2 < face.shape[1] / abs(other_eye - eye) < 6
    assert face.shape[1] == face.shape[2] and preview.shape == picture.shape


def test_the_same_picture_gives_the_same_crop_again():
    first, second = crop(image(astronaut())), crop(image(astronaut()))
    assert all(torch.equal(one, other) for one, other in zip(first, second))


def test_a_face_in_a_grey_picture_is_found():
    face, mask, preview = crop(image(astronaut().convert("L"))[..., None])
    left, top, right, bottom = square(mask[0])
    assert all(left <= x < right and top <= y < bottom for x, y in EYES_AND_MOUTH)
    assert face.shape[-1] == preview.shape[-1] == 3


@pytest.mark.parametrize("padding", [0.0, 0.6])
def test_in_a_crop_the_face_is_found_again_and_its_eyes_are_about_where_they_are(padding):
    """However much was left around it: their middle within a seventh of their distance, and that to a quarter."""
    picture = image(astronaut())
    face, mask, _ = crop(picture, padding=padding)
    left, top, _, _ = square(mask[0])
    eye, other_eye, *_ = points_in(FaceDetector().expected(face[0])) + torch.tensor([left, top])
    (x, y), (other_x, other_y), _ = EYES_AND_MOUTH
    distance = other_x - x
    assert ((eye + other_eye) / 2).tolist() == pytest.approx([(x + other_x) / 2, (y + other_y) / 2], abs=distance / 7)
    assert (other_eye - eye)[0].item() == pytest.approx(distance, rel=0.25)


def test_where_none_is_expected_none_is_found():
    from skimage import data

    assert FaceDetector().expected(image(Image.fromarray(data.brick()).convert("RGB"))[0]) is None


def test_without_a_face_the_error_says_what_to_wire():
    from skimage import data

    assert refusal_of_crop(image(Image.fromarray(data.brick()).convert("RGB"))) == (
        "No face was found in the picture: wire face_landmarks from Detect Face Landmarks (MediaPipe), or a mask painted "
        "over the face."
    )


def test_a_picture_of_one_colour_has_no_face():
    assert "No face was found in picture 1 of 2: wire face_landmarks" in refusal_of_crop(torch.full((2, 64, 64, 3), 0.5))


def test_without_scikit_image_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    message = refusal_of_crop(image(astronaut()))
    assert "install scikit-image into ComfyUI's Python, or wire face_landmarks" in message
    crop(image(astronaut()), mask=torch.ones(1, 512, 512))


def test_an_index_beyond_the_faces_says_how_many_there_are():
    assert refusal_of_crop(image(astronaut()), face_index=1) == (
        "face_index is 1, but 1 face was found in the picture: expected 0, counted from the largest face."
    )
