"""The face of a portrait, by landmarks or a mask: chosen, and cut out as a square that is never stretched."""

import math

import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from support.faces import crop, landmarks, points, refusal_of_crop, square


def noise(count: int, height: int, width: int) -> torch.Tensor:
    """Pictures in which every pixel is different."""
    return torch.rand(count, height, width, 3, generator=torch.Generator().manual_seed(height + width))


# -------------------------------------------------------------------------------------------------- by landmarks


def test_the_square_is_as_large_as_the_faces_longer_side_with_the_padding_on_every_side():
    """A box of 60×100 around (130, 150), 20 % of 100 on every side: 140×140 from (60, 80)."""
    picture = noise(1, 300, 400)
    face, mask, _ = crop(picture, padding=0.2, face_landmarks=landmarks([points(100, 100, 160, 200)], size=(300, 400)))
    assert square(mask[0]) == (60, 80, 200, 220)
    assert torch.equal(face, picture[:, 80:220, 60:200])
    assert mask.shape == (1, 300, 400)


def test_without_padding_it_is_the_face_alone():
    picture = noise(1, 300, 400)
    face, _, _ = crop(picture, padding=0.0, face_landmarks=landmarks([points(50, 20, 150, 120)], size=(300, 400)))
    assert torch.equal(face, picture[:, 20:120, 50:150])


def test_outside_of_the_picture_its_edge_goes_on():
    """A box of 100×100 in the corner with a padding of 50: 50 rows and columns are outside."""
    picture = noise(1, 300, 400)
    face, mask, _ = crop(picture, padding=0.5, face_landmarks=landmarks([points(0, 200, 100, 300)], size=(300, 400)))
    assert face.shape == (1, 200, 200, 3)
    assert torch.equal(face[:, :150, 50:], picture[:, 150:, :150])
    assert torch.equal(face[:, :150, :50], picture[:, 150:, :1].expand(-1, -1, 50, -1))
    assert torch.equal(face[:, 150:, 50:], picture[:, 299:, :150].expand(-1, 50, -1, -1))
    assert torch.equal(face[:, 150:, :50], picture[:, 299:, :1].expand(-1, 50, 50, -1))
    assert square(mask[0]) == (0, 150, 150, 300)


def test_a_square_larger_than_the_picture_is_padded_on_all_sides():
    picture = noise(1, 64, 64)
    face, mask, _ = crop(picture, padding=2.0, face_landmarks=landmarks([points(0, 0, 64, 64)], size=(64, 64)))
    assert face.shape == (1, 320, 320, 3)
    assert torch.equal(face[:, 128:192, 128:192], picture)
    assert mask.min() == 1


@pytest.mark.parametrize("face_index, expected", [(0, (100, 0, 200, 100)), (1, (0, 0, 80, 80)), (2, (220, 0, 260, 40))])
def test_face_index_counts_from_the_largest(face_index, expected):
    faces = [points(0, 0, 80, 80), points(220, 0, 260, 40), points(100, 0, 200, 100)]
    _, mask, _ = crop(noise(1, 128, 300), padding=0.0, face_index=face_index, face_landmarks=landmarks(faces, size=(128, 300)))
    assert square(mask[0]) == expected


def test_landmarks_go_before_the_mask():
    mask = torch.zeros(1, 128, 128)
    mask[:, 90:120, 90:120] = 1
    found = landmarks([points(10, 10, 50, 50)], size=(128, 128))
    assert square(crop(noise(1, 128, 128), padding=0.0, mask=mask, face_landmarks=found)[1][0]) == (10, 10, 50, 50)


def test_in_a_batch_every_picture_gives_one_face_of_the_largest_ones_size():
    """Crops of 40 and 80 pixels: the smaller one is enlarged, and keeps its proportions."""
    pictures = noise(2, 128, 128)
    pictures[0, 20:60, 20:60] = torch.linspace(0, 1, 40)[None, :, None]
    found = landmarks([points(20, 20, 60, 60)], [points(30, 40, 110, 120)], size=(128, 128))
    faces, masks, previews = crop(pictures, padding=0.0, face_landmarks=found)
    assert faces.shape == (2, 80, 80, 3) and masks.shape == (2, 128, 128) and previews.shape == (2, 128, 128, 3)
    assert torch.equal(faces[1], pictures[1, 40:120, 30:110])
    ramp = (torch.linspace(0, 79, 80) - 0.5) / 2 / 39
    torch.testing.assert_close(faces[0, :, 4:-4], ramp[None, 4:-4, None].expand(80, -1, 3), atol=1e-5, rtol=0)
    assert [square(mask) for mask in masks] == [(20, 20, 60, 60), (30, 40, 110, 120)]


def test_landmarks_without_a_face_in_a_picture_are_an_error_that_says_in_which():
    message = refusal_of_crop(noise(2, 128, 128), face_landmarks=landmarks([points(0, 0, 50, 50)], [], size=(128, 128)))
    assert message == (
        "No face was found in picture 2 of 2: lower min_confidence of Detect Face Landmarks (MediaPipe), or wire a mask "
        "instead of face_landmarks."
    )


def test_an_index_beyond_the_faces_of_one_picture_says_of_which():
    one, two = [points(0, 0, 50, 50)], [points(0, 0, 50, 50), points(60, 0, 90, 30)]
    found = landmarks(two, one, two, size=(128, 128))
    assert "face_index is 1, but 1 face was found in picture 2 of 3: expected 0," in refusal_of_crop(
        noise(3, 128, 128), face_index=1, face_landmarks=found
    )
    found = landmarks(two, size=(128, 128))
    assert "but 2 faces were found in the picture: expected 0 to 1," in refusal_of_crop(
        noise(1, 128, 128), face_index=2, face_landmarks=found
    )


def test_landmarks_of_another_picture_are_refused():
    found = landmarks([points(0, 0, 50, 50)], size=(256, 256))
    assert "face_landmarks are of 1 pictures of 256×256, image has 1 of 128×128" in refusal_of_crop(
        noise(1, 128, 128), face_landmarks=found
    )


@pytest.mark.parametrize("face_index", [-1, 1, 2**63, 0.5, math.nan, None, "0"])
def test_an_index_that_is_none_is_refused(face_index):
    found = landmarks([points(0, 0, 50, 50)], size=(128, 128))
    message = refusal_of_crop(noise(1, 128, 128), face_index=face_index, face_landmarks=found)
    assert f"face_index is {face_index}, but 1 face was found in the picture: expected 0, counted" in message


@pytest.mark.parametrize("padding", [-0.1, 2.1, math.nan, math.inf, 1e30, None, "0.3"])
def test_a_padding_that_is_none_is_refused(padding):
    """The host's own limits let nan pass."""
    found = landmarks([points(0, 0, 50, 50)], size=(128, 128))
    message = refusal_of_crop(noise(1, 128, 128), padding=padding, face_landmarks=found)
    assert message == f"padding is {padding if padding != 1e30 else '1e+30'}, expected 0 to 2."


def test_landmarks_that_are_not_in_pixels_are_refused():
    """In parts of the picture the whole face is a pixel."""
    found = landmarks([points(0, 0, 50, 50) / 128], size=(128, 128))
    assert refusal_of_crop(noise(1, 128, 128), face_landmarks=found) == (
        "The face in the picture is 0.4 pixels large, expected 8 or more: give landmarks in pixels, paint over the whole face, or "
        "use a larger picture."
    )


def test_crops_that_would_fill_the_memory_are_refused_before_they_are_made():
    """A face as large as its picture of 4096×4096, five times as large with the padding: 420 million pixels."""
    picture = torch.zeros(()).expand(1, 4096, 4096, 3)
    found = landmarks([points(0, 0, 4096, 4096)], size=(4096, 4096))
    assert refusal_of_crop(picture, padding=2.0, face_landmarks=found) == (
        "The crops would be 1 of 20480×20480 pixels, of pictures of 4096×4096: lower padding, or give fewer pictures at once."
    )


def test_one_large_crop_makes_no_batch_too_large_that_is_not():
    """A hundred pictures, and the largest face takes a quarter of one: as many pixels as a quarter of the pictures have."""
    found = landmarks(*[[points(0, 0, 32, 32)]] * 99, [points(0, 0, 64, 64)], size=(128, 128))
    assert crop(noise(100, 128, 128), padding=0.0, face_landmarks=found)[0].shape == (100, 64, 64, 3)


# ------------------------------------------------------------------------------------------------------ by a mask


def painted(height: int, width: int, left: int, top: int, right: int, bottom: int, value: float = 1.0) -> torch.Tensor:
    mask = torch.zeros(1, height, width)
    mask[:, top:bottom, left:right] = value
    return mask


def test_the_masks_box_is_the_face():
    """Two strokes, one box around both: 20 to 120 and 40 to 100; soft edges up to 0.5 don't count."""
    mask = painted(200, 300, 20, 40, 30, 50) + painted(200, 300, 100, 90, 120, 100) + painted(200, 300, 150, 0, 300, 200, 0.5)
    assert square(crop(noise(1, 200, 300), padding=0.0, mask=mask)[1][0]) == (20, 20, 120, 120)


def test_a_mask_of_another_size_and_the_same_proportions_is_scaled():
    """Half the size: 30 to 50 and 10 to 30 become 60 to 100 and 20 to 60."""
    mask = painted(100, 150, 30, 10, 50, 30)
    assert square(crop(noise(1, 200, 300), padding=0.0, mask=mask)[1][0]) == (60, 20, 100, 60)


def test_one_mask_serves_a_batch_and_each_picture_may_have_its_own():
    one, other = painted(128, 128, 10, 10, 40, 40), painted(128, 128, 50, 60, 80, 90)
    pictures = noise(2, 128, 128)
    assert [square(mask) for mask in crop(pictures, padding=0.0, mask=one)[1]] == [(10, 10, 40, 40)] * 2
    both = crop(pictures, padding=0.0, mask=torch.cat([one, other]))[1]
    assert [square(mask) for mask in both] == [(10, 10, 40, 40), (50, 60, 80, 90)]
    assert square(crop(pictures[:1], padding=0.0, mask=other[0])[1][0]) == (50, 60, 80, 90)


FULL = torch.ones(1, 128, 192)
BAD_MASKS = {
    "zeros": (FULL * 0, "The mask of the picture is empty, .* paint over the face in the mask editor, or unwire mask"),
    "of_a_picture_without_alpha": (torch.zeros(1, 64, 64), "The mask of the picture is empty"),
    "faint": (FULL * 0.4, "is empty, expected values above 0.5 on the face"),
    "other_proportions": (torch.ones(1, 128, 128), "mask is 128×128, image 192×128: expected the same proportions"),
    "of_another_batch": (torch.ones(3, 128, 192), "mask is a batch of 3, image of 1: expected one mask for all or one"),
    "an_image": (torch.ones(1, 128, 192, 3), r"mask is \[1, 128, 192, 3\], expected a MASK"),
    "no_mask_in_the_batch": (FULL[:0], r"mask is \[0, 128, 192\], expected a MASK"),
    "no_tensor": ("mask.png", "mask is str, expected a MASK"),
    "complex": (FULL.to(torch.complex64), r"mask is \[1, 128, 192\] of complex64, expected a MASK"),
    "without_values": (torch.empty(1, 128, 192, device="meta"), "mask is a tensor of another layout, expected a MASK"),
    "one_nan": (torch.where(torch.arange(192) == 5, math.nan, FULL), "mask has values that are not finite, expected 0 to 1"),
    "a_dot": (
        (torch.arange(128)[:, None] == 5) * (torch.arange(192) == 7),
        "The face in the picture is 1.0 pixels large, expected 8 or more: .* paint over the whole face",
    ),
}


@pytest.mark.parametrize("mask, message", BAD_MASKS.values(), ids=BAD_MASKS)
def test_a_mask_that_shows_no_face_is_refused(mask, message):
    with pytest.raises(FantasyTalkingError, match=message):
        crop(noise(1, 128, 192), mask=mask)


def test_a_mask_is_one_face():
    assert "face_index is 1, but 1 face was found in the picture" in refusal_of_crop(
        noise(1, 128, 192), face_index=1, mask=FULL
    )


# ------------------------------------------------------------------------------------------- pictures and preview


@pytest.mark.parametrize("shape", [(1, 63, 200, 3), (1, 200, 63, 3)], ids=["low", "narrow"])
def test_pictures_under_64_pixels_are_refused(shape):
    message = refusal_of_crop(torch.zeros(shape), mask=torch.ones(shape[:3]))
    assert f"image is {shape[2]}×{shape[1]} pixels, expected 64 or more on both sides" in message


def test_the_smallest_picture_is_taken():
    assert crop(noise(1, 64, 64), padding=0.0, mask=torch.ones(1, 64, 64))[0].shape == (1, 64, 64, 3)


def test_an_alpha_channel_is_left_out():
    picture = torch.cat([noise(1, 128, 128), torch.zeros(1, 128, 128, 1)], dim=-1)
    assert torch.equal(crop(picture, padding=0.0, mask=torch.ones(1, 128, 128))[0], picture[..., :3])


def test_an_image_of_two_channels_is_refused():
    assert "image has 2 channels, expected 3 (RGB)" in refusal_of_crop(torch.zeros(1, 128, 128, 2))


def test_the_preview_shows_every_face_and_the_square_and_leaves_the_rest():
    """Lines 2 and 4 pixels wide in a picture of 400: boxes at their edges, the square around the chosen one."""
    picture = torch.full((1, 400, 600, 3), 0.2)
    found = landmarks([points(100, 100, 200, 200), points(400, 100, 460, 160)], size=(400, 600))
    preview = crop(picture, padding=0.5, face_landmarks=found)[2][0]
    changed = (preview - picture[0]).abs().amax(-1) > 0.01
    chosen, other, outer = preview[150, 100], preview[130, 400], preview[150, 50]
    assert changed[150, 100] and changed[199, 150] and changed[150, 199]
    assert changed[130, 400] and changed[159, 430]
    assert changed[150, 50] and changed[249, 150] and changed[150, 249]
    assert torch.equal(chosen, outer) and not torch.equal(chosen, other)
    assert not changed[150, 150] and not changed[130, 430] and not changed[300:].any() and not changed[:, 500:].any()


def test_the_previews_numbers_stay_inside_of_the_picture():
    """A face in the upper left and one that ends outside on the right: their numbers are drawn near, not cut off."""
    picture = torch.full((1, 400, 600, 3), 0.2)
    found = landmarks([points(-20, -20, 90, 90), points(580, 100, 680, 200)], size=(400, 600))
    preview = crop(picture, padding=0.0, face_landmarks=found)[2][0]
    black = (preview.amax(-1) == 0).nonzero()
    assert (black[:, 1] < 90).any() and (black[:, 1] > 500).any()
