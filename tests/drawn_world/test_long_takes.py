"""What is measured in a minute of speech, and the table of it, by hand."""

import numpy as np
import pytest

from drawn_world.long_takes import PIECE, REFERENCE, Archive, Record, quietly, spread, table, trend
from drawn_world.studio import Sampling
from fantasytalking_core.sampling.long_take import plan


def record(synchrony: list[float], seams: list[float], first: float = 5.0, last: float = 6.0) -> Record:
    return Record([first, last], first, last, synchrony, seams, [1.0] * len(seams), 1.5, 1.0, 2.0, 1.0)


@pytest.fixture
def archive(tmp_path) -> Archive:
    return Archive(tmp_path, Sampling(), 1381)


def test_the_table_compares_each_way_with_the_classic_graph_on_the_same_people(archive):
    frames = np.zeros((5, 2, 2, 3), np.float32)
    for number, (whole, ours) in enumerate([(0.7, 0.6), (0.5, 0.6)]):
        archive.keep(REFERENCE, number, frames, record([whole] * 2, []))
        archive.keep("Render 81/12", number, frames, record([ours] * 2, [1.0, 3.0]))
    archive.keep("Render 81/12", 2, frames, record([0.9] * 2, [1.0, 1.0]))  # whom the reference lacks
    rows = {row.split(" | ")[0].strip("| "): row.split(" | ") for row in table(archive, 3).splitlines()[2:]}
    assert list(rows) == [REFERENCE, "Render 81/12"]
    ours = rows["Render 81/12"]
    assert ours[1] == "3" and ours[4] == "1.200 ± 0.000"
    assert ours[5].startswith("0.700") and ours[6].startswith("+0.000")  # −0.1 and +0.1
    assert ours[8].startswith("1.67") and ours[11].startswith("2 of 6")  # seams 2, 2 and 1 times the mean; 3 lies above 2


def test_what_was_measured_counts_for_the_settings_it_was_measured_with(archive):
    archive.keep("chain", 0, np.zeros((5, 2, 2, 3), np.float32), record([0.5], []))
    assert archive.record("chain", 0) is not None and archive.record("chain", 1) is None
    assert Archive(archive.folder, Sampling(steps=9), 1381).record("chain", 0) is None


def test_the_trend_is_that_of_a_minute():
    minute = 60 * 23 / PIECE
    assert trend([0.1 + 0.3 * piece / minute for piece in range(20)]) == pytest.approx(0.3)


@pytest.mark.parametrize(("values", "text"), [([], ""), ([0.5], "0.50"), ([0.4, 0.6], "0.50 ± 0.10")])
def test_a_mean_comes_with_its_standard_error(values, text):
    assert spread(values, 2) == text


def test_quiet_borders_are_the_quietest_moments_near_and_leave_nothing_out():
    loudness = np.ones(401)
    loudness[70:76] = 0  # before the frame 77 at which the second window of 81 frames would begin
    made = quietly(loudness)(401, 81, 12)
    starts = [window.start for window in made]
    assert starts[0] == 0 and starts[1] == 19 and plan(401, 81, 12)[1].start == 21  # frame 73, latent frame 19
    assert all(window.start + window.new == after for window, after in zip(made, [*starts[1:], 101]))
