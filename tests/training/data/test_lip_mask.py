"""The lip mask: which pixels are lips, and what they make of the latent grid."""

import pytest
import torch
import torch.nn.functional as F

from fantasytalking_core.training.data.lip_mask import OUTER_LIPS, filled, lip_mask, to_latent_grid
from support import world

NO_FACE = [[float("nan")] * 2] * 4


def rectangle(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def test_a_pixel_is_inside_when_its_centre_is():
    mask = filled(torch.tensor(rectangle(1.4, 1.0, 3.6, 2.6)), 4, 5)  # centres at 1.5, 2.5, 3.5 and at 1.5, 2.5
    assert mask.int().tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]]


def test_a_triangle_is_filled_along_its_slope():
    mask = filled(torch.tensor([[0.0, 0.0], [4.0, 4.0], [0.0, 4.0]]), 4, 4)  # below x = y; centres on it are outside
    assert mask.int().tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]


def test_a_dent_is_left_out():
    dent = torch.tensor([[0.0, 0.0], [3.0, 2.0], [6.0, 0.0], [6.0, 4.0], [0.0, 4.0]])  # a mouth seen from below
    mask = filled(dent, 4, 6)
    assert mask[0].int().tolist() == [1, 0, 0, 0, 0, 1]  # the dent is 4.5 wide at a height of 0.5
    assert mask[2].all()


def test_the_direction_does_not_matter():
    polygon = torch.tensor(rectangle(1, 1, 3, 3))
    assert torch.equal(filled(polygon, 4, 4), filled(polygon.flip(0), 4, 4))


@pytest.mark.parametrize("where", [(-6, -6, -2, -2), (9, 1, 12, 3), (1, 20, 3, 30)])
def test_lips_outside_of_the_picture_are_nowhere(where):
    assert not filled(torch.tensor(rectangle(*map(float, where))), 8, 8).any()


def test_lips_that_leave_the_picture_count_inside_of_it():
    mask = filled(torch.tensor(rectangle(-3, 5, 2, 20)), 8, 8)
    assert mask.nonzero().tolist() == [[row, column] for row in (5, 6, 7) for column in (0, 1)]


def test_the_latent_grid_holds_the_part_of_each_cell_that_is_lips():
    mask = lip_mask(
        torch.tensor(
            [
                rectangle(0, 0, 8, 4),  # alone: half of the first cell
                rectangle(4, 8, 12, 16),
                NO_FACE,
                rectangle(4, 8, 12, 16),
                rectangle(8, 8, 16, 12),  # together
            ]
        ),
        16,
        24,
    )
    assert mask.shape == (2, 2, 3)
    assert mask[0].tolist() == [[0.5, 0, 0], [0, 0, 0]]
    # columns 4 to 12 are half of two cells in two of four frames; columns 8 to 16 in the upper half in one of four
    assert mask[1].tolist() == [[0, 0, 0], [2 * 0.5 / 4, 2 * 0.5 / 4 + 0.5 / 4, 0]]


def test_it_is_trilinear_interpolation_in_steps_of_two():
    mask = torch.rand(9, 16, 24, generator=torch.Generator().manual_seed(1))

    def halved(x, *factors):
        return F.interpolate(x, scale_factor=factors, mode="trilinear", align_corners=False)

    first, rest = mask[None, None, :1], mask[None, None, 1:]
    for frames in (0.5, 0.5, 1):
        first, rest = halved(first, 1, 0.5, 0.5), halved(rest, frames, 0.5, 0.5)
    assert torch.allclose(to_latent_grid(mask), torch.cat([first, rest], 2)[0, 0], atol=1e-6)


def test_a_mouth_of_one_pixel_is_not_lost():
    mask = torch.zeros(5, 16, 16)
    mask[2, 5, 7] = 1
    assert to_latent_grid(mask)[1, 0, 0] == pytest.approx(1 / 256)
    assert F.interpolate(mask[None, None, 1:], (1, 2, 2), mode="trilinear").sum() == 0  # as one step would


def test_a_clip_without_a_face_has_no_lips():
    assert not lip_mask(torch.tensor([NO_FACE] * 5), 16, 16).any()


def test_the_outer_lips_are_a_ring_between_the_corners_of_the_mouth():
    assert len(set(OUTER_LIPS)) == 20
    assert (OUTER_LIPS[0], OUTER_LIPS[5], OUTER_LIPS[10], OUTER_LIPS[15]) == (61, 17, 291, 0)  # MediaPipe's lip points
    assert OUTER_LIPS == world.LIP_RING


def test_the_mask_of_the_synthetic_world_covers_its_mouth(tmp_path):
    (video,) = world.make_videos(tmp_path, 1, seed=3, size=128, seconds=21 / 23, side_files=False)
    points = torch.tensor(world.landmarks(video, 0 * video.loudness) * 128)
    mask = lip_mask(points[:, OUTER_LIPS, :2], 128, 128)
    areas = torch.pi * world.MOUTH_WIDTH * torch.tensor(world.openness(video)) * 16**2  # ellipses, in latent pixels
    assert mask[0].sum() == pytest.approx(areas[0].item(), rel=0.1)
    assert mask[1:].sum((1, 2)).tolist() == pytest.approx(areas[1:].reshape(-1, 4).mean(1).tolist(), rel=0.1)
    x, y = (torch.arange(16) + 0.5) / 16, (torch.arange(16)[:, None] + 0.5) / 16  # cells 1/16 apart
    middle = torch.tensor(video.head[0] + world.MOUTH)
    assert (mask[0] * x).sum() / mask[0].sum() == pytest.approx(middle[0].item(), abs=1 / 32)
    assert (mask[0] * y).sum() / mask[0].sum() == pytest.approx(middle[1].item(), abs=1 / 32)
