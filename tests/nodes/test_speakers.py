"""The nodes for several people in one picture: their outputs, what they say, and that the others take what they give."""

import pytest
import torch

from support import faces
from support.graphs import rejection
from support.landmarker import install
from support.runs import clip, speech
from support.sound import audio, noise

MASKS, TURNS = "FantasyTalkingSpeakerMasks", "FantasyTalkingSpeakerTurns"
PICTURE = torch.rand(1, 120, 400, 3, generator=torch.Generator().manual_seed(5))


def row(*lefts: float, size: float = 40) -> list:
    return [faces.points(left, 30, left + size, 30 + size) for left in lefts]


def marks(*lefts: float) -> dict:
    return faces.landmarks(row(*lefts), size=(120, 400))


def said(out) -> list[str]:
    return out.ui.as_dict()["text"][0].splitlines()


def test_speaker_masks_gives_all_masks_the_preview_and_one_mask_for_each_person(host):
    out = host.nodes[MASKS].execute(image=PICTURE, face_landmarks=marks(300, 50))
    masks, preview, *speakers = out.args
    assert masks.shape == (2, 120, 400) and preview.shape == PICTURE.shape and len(speakers) == 4
    assert masks[0, 50, 60] == 1 and masks[1, 50, 330] == 1 and torch.allclose(masks.sum(0), torch.ones(120, 400))
    assert torch.equal(speakers[0], masks[:1]) and torch.equal(speakers[1], masks[1:])
    assert all(torch.equal(speaker, torch.zeros(1, 120, 400)) for speaker in speakers[2:])
    assert said(out) == ["2 speakers, left to right, found by face_landmarks"]
    assert len(out.ui.as_dict()["images"]) == 1


def test_the_hosts_detector_finds_them_and_the_node_says_so(host, models, monkeypatch):
    install(models, monkeypatch).near = [row(250, 30)]
    out = host.nodes[MASKS].execute(image=PICTURE)
    assert said(out) == ["2 speakers, left to right, found by MediaPipe"]
    assert out.args[2][0, 50, 50] == 1 and out.args[3][0, 50, 270] == 1


def test_one_person_is_everywhere(host):
    out = host.nodes[MASKS].execute(image=PICTURE, face_landmarks=marks(50))
    assert torch.equal(out.args[0], torch.ones(1, 120, 400)) and said(out) == ["1 speaker, found by face_landmarks"]


def test_of_five_people_all_have_a_mask_and_the_first_four_a_number(host):
    out = host.nodes[MASKS].execute(image=PICTURE, face_landmarks=marks(330, 10, 90, 170, 250))
    masks, _, *speakers = out.args
    assert len(masks) == 5 and torch.equal(torch.cat(speakers), masks[:4])
    assert said(out) == [
        "⚠ There are 5 people: speaker 1 to 4 are the first from the left, masks has all of them.",
        "5 speakers, left to right, found by face_landmarks",
    ]


def test_body_is_an_input_of_its_own(run):
    plain, less = (run(MASKS, image=PICTURE, face_landmarks=marks(50, 300), **more)[0] for more in ({}, {"body": 0.25}))
    assert less[0, 50, 70] == 1 and plain[0, 119, 0] == 1 and less[0, 119, 0] == 0.25


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"image": torch.full((1, 64, 64, 3), 0.5)},
            "No face was found in the picture: .*, or paint a mask of each person by hand",
        ),
        ({"image": PICTURE.repeat(2, 1, 1, 1)}, "image is a batch of 2 pictures, expected the one that the video starts from"),
        ({"image": "portrait.png"}, "image is str, expected an IMAGE"),
        ({"image": PICTURE, "face_landmarks": marks(50), "body": float("nan")}, "body is nan, expected 0 to 1"),
        ({"image": PICTURE, "face_landmarks": 5}, "face_landmarks is a int, expected the host's FACE_LANDMARKS"),
    ],
)
def test_what_gives_no_masks_is_refused(host, run, inputs, message):
    with pytest.raises(host.core("errors").FantasyTalkingError, match=message):
        run(MASKS, **inputs)


def test_conditioning_takes_who_is_there_and_refuses_who_is_not(host, run):
    """A clip of 32 × 32 pixels; the masks are of the picture's size."""
    positive, negative, _ = clip(9)
    speakers = run(MASKS, image=PICTURE, face_landmarks=marks(50, 300))[2:]
    inputs = {"positive": positive, "negative": negative, "speech": speech(host, 9)}
    run("FantasyTalkingConditioning", **inputs, mask=speakers[1])
    with pytest.raises(host.core("errors").FantasyTalkingError, match="mask is empty, and this speaker would not be heard"):
        run("FantasyTalkingConditioning", **inputs, mask=speakers[2])


# ---------------------------------------------------------------------------------------------------------- turns


def test_speaker_turns_gives_each_speaker_the_recording_in_their_turns(host):
    samples = noise(4.0, 22050, 2)
    out = host.nodes[TURNS].execute(audio=audio(samples, 22050), turns="0-2 1\n2-4 2\n1-1.5 2")
    assert [sound["sample_rate"] for sound in out.args] == [22050] * 4
    one, two, three, four = (sound["waveform"] for sound in out.args)
    assert one.shape == two.shape == three.shape == four.shape == (1, 2, 88200) and not three.any() and not four.any()
    assert torch.equal(one[0, :, :44100], samples[:, :44100]) and not one[..., 44100:].any()
    assert torch.equal(two[0, :, 44100:], samples[:, 44100:])
    assert torch.equal(two[0, :, 22050:33075], samples[:, 22050:33075]) and not two[..., :22050].any()
    assert not two[..., 33075:44100].any()
    assert said(out) == ["speaker 1: 2.0 s in 1 turn · speaker 2: 2.5 s in 2 turns"]


def test_a_turn_beyond_the_end_and_sound_without_a_turn_are_said_on_the_node(host):
    out = host.nodes[TURNS].execute(audio=audio(noise(4.0, 16000)), turns="2-9 3")
    assert said(out) == [
        "⚠ 2.0 s of the recording are not silent, but nobody has a turn there, first at 0.0 s: nobody will say them. Add lines to "
        "turns.",
        "speaker 3: 2.0 s in 1 turn",
        "1 turn ends with the recording, at 4.00 s",
    ]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"audio": None, "turns": "0-1 1"}, "There is no audio"),
        ({"audio": audio(noise(1.0, 16000)).items(), "turns": "0-1 1"}, "expected the host's AUDIO"),
        ({"audio": audio(noise(1.0, 16000), 44.1), "turns": "0-1 1"}, "audio has a sample rate of 44.1, expected"),
        ({"audio": audio(noise(1.0, 16000)), "turns": "0-1 1\n1-2 2"}, r"turns, line 2 \(1-2 2\) starts at 1 s, expected less"),
        ({"audio": audio(noise(1.0, 16000)), "turns": 5}, "turns is 5, expected text"),
    ],
)
def test_what_gives_no_turns_is_refused(host, run, inputs, message):
    with pytest.raises(host.core("errors").FantasyTalkingError, match=message):
        run(TURNS, **inputs)


def test_a_wrong_line_is_refused_before_anything_runs(host):
    """Without the recording, of which nothing is known then."""
    wrong = rejection(TURNS, audio="any", turns="0-1 1\n2-1 2")
    assert "turns, line 2 (2-1 2) ends at 1 s and starts at 2 s, expected an end after the start." in wrong
