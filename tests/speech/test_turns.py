"""A table of who speaks when: how it is read, what is cut out, and what is said of it."""

import math

import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech.recording import Recording
from fantasytalking_core.speech.turns import Dialogue, read_turns
from support.sound import audio, noise

RATE = 1000
TEN_SECONDS = noise(10.0, RATE, 2)


def dialogue(turns: str, samples: torch.Tensor = TEN_SECONDS, rate: int = RATE) -> Dialogue:
    return Dialogue.of(Recording.of(audio(samples, rate)), read_turns(turns))


def refusal(turns: object, samples: torch.Tensor = TEN_SECONDS) -> str:
    with pytest.raises(FantasyTalkingError) as error:
        dialogue(turns, samples)
    return str(error.value)


def unsaid(of: Dialogue) -> list[list[float]]:
    return [[round(seconds, 6) for seconds in each] for each in of.unsaid()]


def spoken(*stretches: tuple[int, int], samples: torch.Tensor = TEN_SECONDS) -> torch.Tensor:
    """The samples from one to another, zeros elsewhere."""
    expected = torch.zeros_like(samples)
    for start, stop in stretches:
        expected[:, start:stop] = samples[:, start:stop]
    return expected


# ----------------------------------------------------------------------------------------------------- how it is read


@pytest.mark.parametrize(
    ("line", "start", "end", "speakers"),
    [
        ("0.0-3.2 1", 0, 3.2, (1,)),
        ("0-3 4", 0, 3, (4,)),
        ("3.2 – 5.9 2", 3.2, 5.9, (2,)),
        ("\t 1. — 2.\t3  ", 1, 2, (3,)),
        ("1:05-1:12.5 2", 65, 72.5, (2,)),
        ("59.5-1:00 2", 59.5, 60, (2,)),
        ("1:02:03-1:02:03.25 1", 3723, 3723.25, (1,)),
        ("90:00-95:30 1", 5400, 5730, (1,)),
        ("1-2 1,2", 1, 2, (1, 2)),
        ("1-2 3 , 1,3", 1, 2, (1, 3)),
        ("1-2 2 # she laughs", 1, 2, (2,)),
    ],
)
def test_a_line_is_start_end_and_speakers(line, start, end, speakers):
    (turn,) = read_turns(line)
    assert (turn.start, turn.end, turn.speakers) == (start, end, speakers)


def test_empty_lines_and_comments_are_passed_over_and_counted():
    turns = read_turns("# a dialogue\n\n0-1 1\r\n   \n1-2 2\n#3-2 9")
    assert [(turn.start, turn.speakers, turn.line) for turn in turns] == [
        (0, (1,), "turns, line 3 (0-1 1)"),
        (1, (2,), "turns, line 5 (1-2 2)"),
    ]


FORM = "can't be read, expected START-END SPEAKER in seconds or m:ss, such as 0.0-3.2 1 or 1:05-1:12.5 2."
WRONG_LINES = {
    "hello": FORM,
    "1-2": FORM,
    "1 2 1": FORM,
    "1-2 A": FORM,
    "1-2 1 2": FORM,
    "1-2 1,": FORM,
    "1-2 -1": FORM,
    "-1-2 1": FORM,
    "1,5-2,5 1": FORM,
    "1-2 1.5": FORM,
    "nan-2 1": FORM,
    "0-inf 1": FORM,
    "0-1e3 1": FORM,
    "0-9999999999 1": FORM,
    "1:2:3:4-5 1": FORM,
    "0-٣ 1": FORM,
    "0-1 1\0": FORM,
    "0-999999999 1": "has a time of 999999999 s, expected at most 86400 s, a day.",
    "0-99:00:00 1": "has a time of 356400 s, expected at most 86400 s, a day.",
    "0:30-0:75 1": "has 60 or more seconds or minutes behind a colon, expected m:ss or h:mm:ss.",
    "0-1:60:00 1": "has 60 or more seconds or minutes behind a colon, expected m:ss or h:mm:ss.",
    "2-2 1": "ends at 2 s and starts at 2 s, expected an end after the start.",
    "3.5-2 1": "ends at 2 s and starts at 3.5 s, expected an end after the start.",
    "1-2 0": "is of speaker 0, expected speakers from 1 to 4.",
    "1-2 1,5": "is of speaker 5, expected speakers from 1 to 4.",
    "10-11 1": "starts at 10 s, expected less than the recording's 10.00 s: correct it, or use the whole recording.",
    "20:00-23:00 1": "starts at 1200 s, expected less than the recording's 10.00 s: correct it, or use the whole recording.",
}


@pytest.mark.parametrize("line", WRONG_LINES)
def test_a_wrong_line_is_told_with_its_number_and_its_text(line):
    assert refusal(f"0-1 1\n\n{line}") == f"turns, line 3 ({line}) {WRONG_LINES[line]}"


def test_of_a_long_line_the_beginning_is_told():
    said = refusal("1-2 1, and then " + "she " * 100_000)
    assert said.startswith("turns, line 1 (1-2 1, and then she she") and "…) can't be read" in said and len(said) < 250


@pytest.mark.parametrize("text", ["", " \n\t\n", "# 0-1 1"])
def test_a_table_without_a_turn_is_refused(text):
    assert refusal(text) == "turns is empty, expected one line for each turn, such as 0.0-3.2 1."


@pytest.mark.parametrize("value", [None, 3, math.nan, ["0-1 1"], b"0-1 1"])
def test_what_is_no_text_is_refused(value):
    assert "expected text, one line for each turn" in refusal(value)


def test_ten_thousand_lines_are_taken_and_one_more_is_not():
    assert len(read_turns("0-1 1\n" * 10_000)) == 10_000
    assert refusal("0-1 1\n" * 10_001) == "turns has 10001 lines, expected at most 10000: give the recording in parts."


# --------------------------------------------------------------------------------------------------- what is cut out


def test_a_speaker_has_the_recordings_very_samples_in_their_turns_and_zeros_elsewhere():
    spoken_by = dialogue("0-3.2 1\n3.2-5.9 2\n6-7.25 1")
    assert torch.equal(spoken_by.sound(1), spoken((0, 3200), (6000, 7250)))
    assert torch.equal(spoken_by.sound(2), spoken((3200, 5900)))
    assert torch.equal(spoken_by.sound(3), torch.zeros(2, 10_000)) and torch.equal(spoken_by.sound(4), torch.zeros(2, 10_000))


def test_where_turns_overlap_both_are_heard():
    spoken_by = dialogue("0-4 1\n3-6 2\n5-5.5 3,4\n2-4.5 1")
    assert torch.equal(spoken_by.sound(1), spoken((0, 4500))) and torch.equal(spoken_by.sound(2), spoken((3000, 6000)))
    assert torch.equal(spoken_by.sound(3), spoken((5000, 5500))) and torch.equal(spoken_by.sound(4), spoken((5000, 5500)))


def test_a_time_is_the_sample_nearest_to_it():
    """0.05 s are 1102.5 samples at 22,050 Hz, of which Python's round takes the even one; 0.29 s are 6394.5."""
    samples = noise(1.0, 22050)
    assert torch.equal(dialogue("0.05-0.28999 1", samples, 22050).sound(1), spoken((1102, 6394), samples=samples))


@pytest.mark.parametrize("dtype", [torch.float64, torch.int16])
def test_other_formats_of_samples_come_out_at_full_scale_1(dtype):
    samples = (TEN_SECONDS * 1000).round() if dtype == torch.int16 else TEN_SECONDS
    expected = samples / 2**15 if dtype == torch.int16 else samples
    assert torch.equal(dialogue("1-2 1", samples.to(dtype)).sound(1), spoken((1000, 2000), samples=expected))


def test_the_recording_is_left_as_it_was():
    samples = TEN_SECONDS.clone()
    dialogue("0-9 1", samples).sound(1).zero_()
    assert torch.equal(samples, TEN_SECONDS)


@pytest.mark.parametrize(
    ("value", "message"), [(math.nan, "NaN or infinite samples"), (math.inf, "NaN or infinite"), (-3e4, "reaches 30000,")]
)
def test_broken_samples_are_refused(value, message):
    samples = TEN_SECONDS.clone()
    samples[1, 9999] = value
    with pytest.raises(FantasyTalkingError, match=message):
        dialogue("0-1 1", samples)


# ------------------------------------------------------------------------------------------------------ what is said


def test_it_is_said_who_speaks_how_long():
    """Overlapping turns of one speaker count once: 0 to 4.5 s."""
    assert dialogue("0-4 1\n3-6 2,4\n2-4.5 1").described() == [
        "speaker 1: 4.5 s in 2 turns · speaker 2: 3.0 s in 1 turn · speaker 4: 3.0 s in 1 turn"
    ]


def test_an_end_behind_the_recordings_end_means_its_end():
    spoken_by = dialogue("9-12 1")
    assert torch.equal(spoken_by.sound(1), spoken((9000, 10_000)))
    assert spoken_by.described() == ["speaker 1: 1.0 s in 1 turn", "1 turn ends with the recording, at 10.00 s"]
    assert dialogue("9-10 1\n8-11 1\n9.5-1:00 2").described()[1] == "2 turns end with the recording, at 10.00 s"
    assert len(dialogue("9-10 1").described()) == 1


def tones(*loud: tuple[float, float], level: float = 0.5) -> torch.Tensor:
    """10 s that alternate between level and −level from one second to another, with 1 % of that elsewhere."""
    samples = torch.full((1, 10_000), 0.01 * level)
    for start, stop in loud:
        samples[:, round(start * RATE) : round(stop * RATE)] = level
    samples[:, ::2] *= -1
    return samples


def test_sound_in_which_nobody_has_a_turn_is_told():
    spoken_by = dialogue("0-3 1\n5-6 2", tones((0, 4), (5, 6), (7, 9)))
    assert unsaid(spoken_by) == [[3, 1], [7, 2]]
    assert spoken_by.notices() == [
        "3.0 s of the recording are not silent, but nobody has a turn there, first at 3.0 s: nobody will say them. Add lines to "
        "turns."
    ]


def test_pauses_between_words_neither_count_nor_hide_them():
    """0.4 s of sound, 0.4 s without, twice: 0.8 s of sound in one stretch."""
    assert unsaid(dialogue("0-5 1", tones((0, 5), (6, 6.4), (6.8, 7.2)))) == [[6, 0.8]]


@pytest.mark.parametrize("loud", [[(0, 5)], [(0, 5.48)], [(0, 5), (7, 7.2), (9, 9.28)]])
def test_silence_and_up_to_half_a_second_of_sound_need_no_turn(loud):
    assert dialogue("0-5 1", tones(*loud)).notices() == []


def test_silence_is_a_twentieth_of_what_is_loud():
    """Half of the recording is at full level, 5 s at 4 % or at 6 % of it."""
    for share, found in ((0.04, []), (0.06, [[5, 5]])):
        samples = tones((0, 10))
        samples[:, 5000:] *= share
        assert unsaid(dialogue("0-5 1", samples)) == found


def test_a_silent_recording_is_silent():
    assert dialogue("0-5 1", torch.zeros(1, 10_000)).notices() == []


def test_loudness_is_measured_over_all_channels_and_in_any_number_of_pieces(monkeypatch):
    """The second channel alone is loud from 6 to 8 s."""
    monkeypatch.setattr("fantasytalking_core.speech.turns.CHUNK", 1010)
    samples = torch.cat([tones((0, 4)), tones((6, 8))])
    assert unsaid(dialogue("0-5 1", samples)) == [[6, 2]]
