"""Five-point alignment to the ArcFace template, and the centred crop where no points are known."""

import cmath
import math

import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.face.alignment import TEMPLATE, aligned, centred, faces, outside, points_in, similarity
from fantasytalking_core.face.detector import Box

COLOURS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0), (0.0, 1.0, 1.0))


def placed(scale: float, degrees: float, shift: complex) -> torch.Tensor:
    """The template's points, turned (clockwise on the page, where y points down), scaled and shifted, `[5, 2]`."""
    turn = scale * cmath.exp(1j * math.radians(degrees))
    points = [turn * complex(x, y) + shift for x, y in TEMPLATE]
    return torch.tensor([(point.real, point.imag) for point in points])


def marked(points: torch.Tensor, radius: float, height: int, width: int) -> torch.Tensor:
    """A black picture with a disc of its own colour, smooth at the edge, around each point."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    picture = torch.zeros(height, width, 3)
    for (left, top), colour in zip(points.tolist(), COLOURS):
        inside = (radius + 0.5 - ((x - left) ** 2 + (y - top) ** 2).sqrt()).clamp(0, 1)
        picture += inside[..., None] * torch.tensor(colour)
    return picture


def centre_of(face: torch.Tensor, colour: tuple[float, ...]) -> tuple[float, float]:
    """Where the mark of that colour lies: x and y, weighted by its brightness."""
    others = [channel for channel in range(3) if not colour[channel]]
    weight = torch.stack([face[..., channel] for channel in range(3) if colour[channel]]).amin(0)
    weight = (weight - face[..., others].amax(-1)).clamp(min=0).double()
    y, x = torch.meshgrid(torch.arange(112), torch.arange(112), indexing="ij")
    return ((weight * x).sum() / weight.sum()).item(), ((weight * y).sum() / weight.sum()).item()


def gradient(height: int, width: int) -> torch.Tensor:
    """A picture whose red is x and whose green is y of the pixel."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)], dim=-1).float()


@pytest.mark.parametrize(("scale", "degrees"), [(0.5, -45), (1, 30), (1, 90), (1.9, 180), (3, -120), (4.3, 15)])
def test_a_turned_face_is_put_upright_onto_the_template(scale, degrees):
    """Also one that is first shrunk."""
    points = placed(scale, degrees, 0)
    points += 35 - points.amin(0)  # inside of the picture, with the whole marks
    width, height = (points.amax(0) + 35).ceil().int().tolist()
    face = aligned(marked(points, 5 * scale, height, width), points)
    for colour, (x, y) in zip(COLOURS, TEMPLATE):
        assert centre_of(face, colour) == pytest.approx((x, y), abs=0.1)


def test_the_transform_is_found_exactly_where_the_face_is_the_template():
    """w = a·z + b with z = 2i·w + (30 − 10i), so a = 1/(2i) = −0.5i and b = −a·(30 − 10i) = 5 + 15i."""
    a, b = similarity(placed(2, 90, 30 - 10j))
    assert a == pytest.approx(-0.5j, abs=1e-6) and b == pytest.approx(5 + 15j, abs=1e-4)


def test_the_transform_is_the_one_with_the_smallest_squares():
    """For a face that is no scaled template, in which every small change of it is worse."""
    points = placed(1.3, 20, 5) + torch.tensor([[3.0, -2], [0, 4], [-5, 1], [2, 2], [-1, -3]])

    def squares(a: complex, b: complex) -> float:
        return sum(abs(a * complex(*z) + b - complex(*w)) ** 2 for z, w in zip(points.tolist(), TEMPLATE))

    a, b = similarity(points)
    for small in (1e-3, -1e-3, 1e-3j, -1e-3j):
        assert squares(a, b) < squares(a + small, b) and squares(a, b) < squares(a, b + small)


NO_FACE = {
    "mirrored": placed(2, 0, 0) * torch.tensor([-1.0, 1.0]),
    "on_a_line": placed(2, 0, 0) * torch.tensor([1.0, 0.0]),
    "eyes_for_mouth": placed(2, 0, 0)[[3, 4, 2, 1, 0]],
}


@pytest.mark.parametrize("points", NO_FACE.values(), ids=NO_FACE)
def test_points_that_lie_as_in_no_face_are_refused(points):
    with pytest.raises(
        FantasyTalkingError, match="The landmarks are of no face: to .* expected 50% or more. Wire the landmarks"
    ):
        similarity(points)


def test_how_much_the_points_lie_as_in_a_face_is_told():
    """The template without its height: x explains Σ x² of Σ x² + y², of which there are Σ x² in the points: the square of the
    cosine is Σ x² / (Σ x² + Σ y²)."""
    x, y = ((torch.tensor(TEMPLATE) - torch.tensor(TEMPLATE).mean(0)) ** 2).sum(0).tolist()
    with pytest.raises(FantasyTalkingError, match=f"to {x / (x + y):.0%} eyes"):
        similarity(NO_FACE["on_a_line"])


def test_a_face_from_the_side_is_taken():
    """Turned by 75 degrees, a nose of a quarter of the face's width: x shrinks to a quarter, the nose goes out."""
    points = (placed(2, 0, 0) - 112) * torch.tensor([0.26, 1.0])
    points[2, 0] += 0.97 * 0.25 * 200
    a, _ = similarity(points)
    assert abs(cmath.phase(a)) < math.radians(30)


def test_a_face_that_lies_on_the_template_is_cut_out_as_it_is():
    """The first pixel's centre is (0, 0): no half pixel is gained or lost."""
    picture = gradient(150, 170)
    assert torch.allclose(aligned(picture, placed(1, 0, 7 + 11j)), picture[11:123, 7:119], atol=1e-2)


def test_a_face_in_twice_the_size_is_sampled_at_every_second_pixel():
    """Pixel (x, y) of the aligned face lies at 2x + 3, 2y + 5."""
    face = aligned(gradient(240, 240), placed(2, 0, 3 + 5j))
    assert torch.allclose(face, 2 * gradient(112, 112) + torch.tensor([3.0, 5.0, 0]), atol=1e-2)


def test_a_larger_face_is_shrunk_without_a_shift():
    """Pixel (x, y) of the aligned face lies at 4x + 40, 4y + 60; shrinking keeps a gradient, away from the edges."""
    face = aligned(gradient(600, 560), placed(4, 0, 40 + 60j))
    assert torch.allclose(face, 4 * gradient(112, 112) + torch.tensor([40.0, 60.0, 0]), atol=0.05)


def test_fine_texture_of_a_large_face_turns_grey_and_not_into_stripes():
    """Stripes of one pixel, at 3.1 pixels per pixel: plain bilinear sampling gives stripes of another width."""
    picture = torch.zeros(400, 400, 3)
    picture[:, ::2] = 1
    face = aligned(picture, placed(3.1, 0, 20 + 20j))
    assert (face - 0.5).abs().max() < 0.05


def test_outside_of_the_picture_its_edge_goes_on():
    """As in the square that Crop Face cuts out, so that both are the same face."""
    picture = gradient(60, 60)
    face = aligned(picture, placed(1, 0, 0))
    assert torch.allclose(face[:60, :60], picture, atol=1e-3)
    assert torch.allclose(face[60:, :60], picture[59:], atol=1e-3)
    assert torch.allclose(face[:, 60:], face[:, 59:60], atol=1e-3)


def test_how_much_lies_outside_is_told():
    """Of 112 columns 28 and of 112 rows none lie outside: a quarter."""
    assert outside(torch.zeros(112, 84, 3), placed(1, 0, 0)) == pytest.approx(0.25, abs=1e-3)
    assert outside(torch.zeros(200, 200, 3), placed(1, 0, 20 + 20j)) == 0


def test_by_the_box_of_the_cascade_the_template_covers_a_square_a_tenth_larger_and_a_little_higher():
    """A box of 100 pixels around (150, 100): the square has 110 around (150, 93), so from (95, 38). The middle of the template's
    pixel x is at (x + 0.5)/112 of it, and a picture's coordinates are those of its pixels' middles."""
    expected = [(95 + (x + 0.5) / 112 * 110 - 0.5, 38 + (y + 0.5) / 112 * 110 - 0.5) for x, y in TEMPLATE]
    torch.testing.assert_close(points_in(Box(100, 60, 200, 140)), torch.tensor(expected), atol=1e-3, rtol=0)


def test_points_on_one_spot_are_refused():
    with pytest.raises(FantasyTalkingError) as error:
        aligned(torch.ones(100, 100, 3), torch.full((5, 2), 50.0))
    assert str(error.value) == (
        "The landmarks are of no face or too small a one: eyes, nose and mouth lie 0.0 pixels around their middle, "
        "expected 5 or more. Use a larger picture of the face, or leave face_landmarks unwired."
    )


@pytest.mark.parametrize(("scale", "fits"), [(0.19, False), (0.23, True)])
def test_a_face_of_twenty_pixels_is_the_smallest(scale, fits):
    """The template's points lie 23.2 pixels around their middle, so at 0.215 they lie 5 pixels around it."""
    points = placed(scale, 0, 30 + 30j)
    if fits:
        assert aligned(torch.ones(100, 100, 3), points).shape == (112, 112, 3)
    else:
        with pytest.raises(FantasyTalkingError, match="too small a one"):
            aligned(torch.ones(100, 100, 3), points)


@pytest.mark.parametrize(("height", "width", "top", "left"), [(112, 160, 0, 24), (131, 112, 9, 0), (112, 112, 0, 0)])
def test_the_centred_crop_is_the_largest_square_in_the_middle(height, width, top, left):
    picture = gradient(height, width)
    assert torch.allclose(centred(picture), picture[top : top + 112, left : left + 112], atol=1e-4)


def test_the_centred_crop_is_shrunk_with_antialiasing():
    picture = torch.zeros(400, 500, 3)
    picture[:, ::2] = 1
    face = centred(picture)
    assert face.shape == (112, 112, 3) and (face[:, 2:-2] - 0.5).abs().max() < 0.05


def test_the_centred_crop_of_a_small_picture_is_enlarged():
    """From 56 to 112: pixel x of the large one has its centre at (x + 0.5)/2 − 0.5 of the small one."""
    face = centred(gradient(56, 56))
    assert face[1:-1, 1:-1, 0].mean(0) == pytest.approx([(x + 0.5) / 2 - 0.5 for x in range(1, 111)], abs=1e-4)


def test_of_several_pictures_each_is_aligned_by_its_own_points_or_centred():
    pictures = torch.stack([gradient(130, 150), gradient(130, 150) + 1000])
    found = faces(pictures, [placed(1, 0, 5 + 6j), None])
    assert torch.allclose(found[0], pictures[0, 6:118, 5:117], atol=1e-2)
    assert torch.equal(found[1], centred(pictures[1]))


def test_a_picture_in_which_nobody_is_to_be_seen_is_refused():
    with pytest.raises(FantasyTalkingError, match="face is 31×40 pixels, expected at least 32 on each side: use a larger"):
        faces(torch.ones(1, 40, 31, 3), [None])
