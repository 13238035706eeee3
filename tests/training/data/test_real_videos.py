"""What real videos are like: cuts, other people, several sound tracks, interlaced pictures, pictures that change."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from drawn_world.world.figure import Pose
from drawn_world.world.look import Look
from drawn_world.world.portrait import draw
from fantasytalking_core.commands.prepare import report
from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.data.clips import Ending, read_clips
from fantasytalking_core.training.data.cuts import first_cut
from fantasytalking_core.training.data.placement import Shape
from support import world
from support.preparing import SETTINGS, run, samples

RATE = 16000
SMALL = Shape(frames=9, fps=23.0, width=32, height=32)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * RATE)).astype(np.float32)


def pictures_of(path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


# ------------------------------------------------------------------------------------------------------------------ cuts


def moving_person(number: int, frames: int) -> np.ndarray:
    """One of the drawn world's people, who sways and talks."""
    time = np.arange(frames) / 23
    poses = [
        Pose(abs(np.sin(9 * t)), head=(0.06 * np.sin(4 * t), 0.02 * np.cos(7 * t)), tilt=0.1 * np.sin(5 * t)) for t in time
    ]
    return np.stack([draw(Look.random(number), pose) for pose in poses])


@pytest.fixture(scope="module")
def people() -> list[np.ndarray]:
    """Each before a wall of another colour: before the same one, two may differ by less than the first frames of one."""
    return [moving_person(number, 81) for number in (0, 1, 3, 5)]


def found(pictures: np.ndarray, sources=None) -> int | None:
    return first_cut(pictures, np.arange(len(pictures)) if sources is None else np.asarray(sources))


@pytest.mark.parametrize("at", [1, 2, 40, 79, 80])
def test_a_film_joined_from_two_people_is_cut_where_they_are_joined(people, at):
    for one in people:
        for other in people:
            if one is not other:
                assert found(np.concatenate([one[:at], other[at:]])) == at


def test_the_first_of_several_cuts_is_found(people):
    assert found(np.concatenate([people[0][:20], people[1][:2], people[2][:40]])) == 20


def test_a_cut_in_a_video_of_a_lower_rate_is_found_where_it_is_seen(people):
    """Every picture twice: what stands still between is no calm shot."""
    film = np.concatenate([people[0][:20], people[1][20:41]]).repeat(2, 0)[:81]
    assert found(film, np.arange(41).repeat(2)[:81]) == 40
    assert found(people[0][:41].repeat(2, 0)[:81], np.arange(41).repeat(2)[:81]) is None


def uncut(people) -> dict[str, np.ndarray]:
    one, frames = people[0], np.arange(81)
    random = np.random.default_rng(0)
    scene = random.integers(0, 256, (12, 40, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    speaking = one.copy()
    speaking[40:43, 30:60] = 0
    return {
        "a person": one,
        "a still": one[:1].repeat(81, 0),
        "quick motion": one[::4],
        "a hand": speaking,
        "a fade": (one * np.linspace(0.1, 1, 81)[:, None, None, None]).astype(np.uint8),
        "noise": np.clip(one + random.normal(0, 20, one.shape), 0, 255).astype(np.uint8),
        "a pan": np.stack([scene[:, 5 * n : 5 * n + 192] for n in frames]),
    }


@pytest.mark.parametrize("what", ["a person", "a still", "quick motion", "a hand", "a fade", "noise", "a pan"])
def test_what_is_no_cut_is_not_taken_for_one(people, what):
    assert found(uncut(people)[what]) is None


def test_a_clip_with_a_cut_is_left_out_with_the_reason(tmp_path):
    """Two people in one file, joined at frame 13 of 27: the second of three clips. Both have landmarks in every frame."""
    one, other = world.make_videos(tmp_path / "parts", 2, seed=1, size=48, seconds=27 / 23)
    sides = [load_file(video.path.with_suffix(".safetensors")) for video in (one, other)]
    (tmp_path / "videos").mkdir()
    film = np.concatenate([pictures_of(one.path)[:13], pictures_of(other.path)[13:]])
    world.write(tmp_path / "videos" / "film.mp4", film, 23.0, noise(27 / 23))
    joined = {key: torch.cat([sides[0][key][:13], sides[1][key][13:]]) for key in ("landmarks", "joints")}
    save_file({**sides[0], **joined}, tmp_path / "videos" / "film.safetensors")
    index = run(tmp_path / "videos", tmp_path / "cache")
    assert [entry.start for entry in index.samples] == [0, 18 / 23]
    assert index.left_out == {"film.mp4 at 0.39 s": "it holds a cut at 0.57 s."}  # 9 / 23 and 13 / 23


# ---------------------------------------------------------------------------------------------------------------- people


@pytest.fixture
def pair(tmp_path):
    """Two people side by side in one picture, and the video of the one on the right alone."""
    videos = world.make_videos(tmp_path / "parts", 2, seed=1, size=48, seconds=9 / 23)
    left, right = (pictures_of(video.path) for video in videos)
    (tmp_path / "videos").mkdir()
    path = tmp_path / "videos" / "pair.mp4"
    world.write(path, np.concatenate([left, right], 2), 23.0, noise(9 / 23))
    side = load_file(videos[1].path.with_suffix(".safetensors"))
    save_file({key: side[key] for key in ("text", "clip")}, path.with_suffix(".safetensors"))
    marks = [load_file(video.path.with_suffix(".safetensors"))["landmarks"] for video in videos]
    marks[1][..., 0] += 48
    return path, marks, videos[1]


def test_of_two_people_the_track_stays_on_one_and_the_clip_is_cut_around_it(pair, tmp_path):
    """The one on the right is the larger one in two frames of three; in the others the one on the left leans forward."""
    path, (left, right), alone = pair

    def detect(frames):
        assert frames.shape == (9, 48, 96, 3)  # whole pictures, at the size of the clips
        faces = []
        for number in range(9):
            middle = left[number].mean(0)
            near = middle + (left[number] - middle) * (1.3 if number % 3 == 2 else 0.5)
            found = [
                {"landmarks_xy": each[:, :2], "landmarks_3d": each, "score": score}
                for each, score in ((near, 0.91), (right[number], 0.97))
            ]
            faces.append(found[:: 1 if number % 2 else -1])
        return {"frames": faces, "image_size": (48, 96)}

    index = run(path.parent, tmp_path / "cache", landmarks=detect)
    assert not index.left_out
    (sample,) = samples(tmp_path / "cache")
    alone_index = run(alone.path.parent, tmp_path / "other")
    single = next(entry for entry in alone_index.samples if entry.source == alone.path.name)
    expected = type(sample).load(tmp_path / "other" / single.file)
    # both are cut around the same face, in which 32 of 48 columns are shown
    assert (sample.latents - expected.latents).abs().max() < 0.02
    assert torch.equal(sample.lips, expected.lips)
    torch.testing.assert_close(sample.motion[0], expected.motion[0], rtol=1e-3, atol=0)


def test_whom_the_detector_sees_in_too_few_frames_is_not_confident(pair, tmp_path):
    """Another's face in the frames without the person's does not count for hers."""
    path, (left, right), _ = pair

    def detect(frames):
        seen = [left if number < 3 else right for number in range(9)]
        faces = [[{"landmarks_xy": each[number, :, :2], "score": 1.0}] for number, each in enumerate(seen)]
        return {"frames": faces, "image_size": (48, 96)}

    index = run(path.parent, tmp_path / "cache", landmarks=detect)
    assert index.left_out == {"pair.mp4": "its face has a confidence of 0.67, expected at least 0.9."}


def test_a_clip_is_cut_around_the_face_where_a_side_file_tells_it(tmp_path):
    """The person stands at the right of a wide picture: what is kept is what a picture of the person alone gives."""
    (alone,) = world.make_videos(tmp_path / "alone", 1, seed=1, size=48, seconds=9 / 23)
    (tmp_path / "videos").mkdir()
    person, wall = pictures_of(alone.path), np.full((9, 48, 80, 3), 128, np.uint8)
    world.write(tmp_path / "videos" / "wide.mp4", np.concatenate([wall, person], 2), 23.0, noise(9 / 23))
    side = load_file(alone.path.with_suffix(".safetensors"))
    for key in ("landmarks", "joints"):
        side[key][..., 0] += 80
    save_file(side, tmp_path / "videos" / "wide.safetensors")
    run(tmp_path / "videos", tmp_path / "cache")
    run(tmp_path / "alone", tmp_path / "other")
    (wide,), (expected,) = samples(tmp_path / "cache"), samples(tmp_path / "other")
    assert (wide.latents - expected.latents).abs().max() < 0.02 and torch.equal(wide.lips, expected.lips)
    torch.testing.assert_close(wide.motion, expected.motion, rtol=1e-4, atol=0)


def test_by_lips_alone_a_high_picture_is_cut_around_the_face_above_them(tmp_path):
    """32 × 144, the person at the top: cut in the middle, it would show the empty wall."""
    (alone,) = world.make_videos(tmp_path / "alone", 1, seed=1, size=48, seconds=9 / 23, points="lips")
    (tmp_path / "videos").mkdir()
    person, wall = pictures_of(alone.path), np.full((9, 96, 48, 3), 128, np.uint8)
    world.write(tmp_path / "videos" / "high.mp4", np.concatenate([person, wall], 1)[:, :, 8:40], 23.0, noise(9 / 23))
    side = load_file(alone.path.with_suffix(".safetensors"))
    for key in ("lips", "joints"):
        side[key][..., 0] -= 8
    save_file(side, tmp_path / "videos" / "high.safetensors")
    run(tmp_path / "videos", tmp_path / "cache")
    run(tmp_path / "alone", tmp_path / "other")
    (high,), (expected,) = samples(tmp_path / "cache"), samples(tmp_path / "other")
    assert (high.latents - expected.latents).abs().max() < 0.02 and torch.equal(high.lips, expected.lips)


# ---------------------------------------------------------------------------------------------------------- sound tracks


def dubbed(path, tracks: list[tuple[str, str, bool]], frames: int = 9) -> None:
    """A video with sound tracks, each a tone of 200 Hz times its number: language, title and whether it is the default."""
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=23, options={"preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = 32, 32, "yuv420p"
        sounds = []
        for language, title, is_default in tracks:
            stream = file.add_stream("pcm_s16le", rate=RATE, layout="mono")
            stream.metadata.update({key: value for key, value in (("language", language), ("title", title)) if value})
            stream.disposition = av.stream.Disposition.default if is_default else av.stream.Disposition(0)
            sounds.append(stream)
        for _ in range(frames):
            file.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        file.mux(video.encode())
        times = np.arange(round(frames / 23 * RATE)) / RATE
        for number, stream in enumerate(sounds, 1):
            tone = (16000 * np.sin(2 * np.pi * 200 * number * times)).astype(np.int16)
            block = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = RATE, 0, Fraction(1, RATE)
            file.mux(stream.encode(block))
            file.mux(stream.encode())


def heard(path, name: str = "default") -> tuple[int, list[str]]:
    """Which track is heard, by its tone, and what is noted."""
    ending = Ending()
    (clip,) = read_clips(path, SMALL, ending, name)
    loudest = np.abs(np.fft.rfft(clip.speech.numpy())).argmax() * RATE / len(clip.speech)
    return round(loudest / 200), ending.notes


TRACKS = [("eng", "", False), ("deu", "Kommentar", True), ("fra", "", False)]


def test_the_track_that_the_video_calls_its_default_is_heard_and_told(tmp_path):
    dubbed(tmp_path / "a.mkv", TRACKS)
    assert heard(tmp_path / "a.mkv") == (2, ["of its 3 sound tracks, 2 (deu, Kommentar, default) is heard."])


def test_without_a_default_the_first_is_heard(tmp_path):
    dubbed(tmp_path / "a.mkv", [("eng", "", False), ("deu", "", False)])
    assert heard(tmp_path / "a.mkv") == (1, ["of its 2 sound tracks, 1 (eng) is heard."])


def test_of_one_track_nothing_is_told(tmp_path):
    dubbed(tmp_path / "a.mkv", [("eng", "", True)])
    assert heard(tmp_path / "a.mkv") == (1, [])


@pytest.mark.parametrize(("name", "number"), [("1", 1), ("3", 3), ("FRA", 3), ("eng", 1), ("kommentar", 2)])
def test_a_track_can_be_named(tmp_path, name, number):
    dubbed(tmp_path / "a.mkv", TRACKS)
    assert heard(tmp_path / "a.mkv", name)[0] == number


def test_a_track_that_is_not_there_is_told_with_those_that_are(tmp_path):
    dubbed(tmp_path / "a.mkv", TRACKS)
    with pytest.raises(FantasyTalkingError) as error:
        heard(tmp_path / "a.mkv", "jpn")
    assert str(error.value) == "has no sound track 'jpn': it has 1 (eng), 2 (deu, Kommentar, default), 3 (fra)."


# ------------------------------------------------------------------------------------------------------------- pictures


def bar(at: float) -> np.ndarray:
    """A bright bar in rows 8 to 56 of a dark picture."""
    picture = np.full((64, 96, 3), 40, np.uint8)
    picture[8:56, round(at) : round(at) + 20] = 220
    return picture


def write_pictures(path, pictures, codec: str, options: dict[str, str]) -> None:
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        sound = file.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode())
        tone = np.full((1, round(len(pictures) / 25 * RATE)), 9000, np.int16)
        block = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        block.sample_rate, block.pts, block.time_base = RATE, 0, Fraction(1, RATE)
        file.mux(sound.encode(block))
        file.mux(sound.encode())


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("mpeg2video", {"flags": "+ildct+ilme", "qscale": "2"}),
        ("libx264", {"x264-params": "bff=1", "crf": "5", "flags": "+ildct+ilme"}),
    ],
)
def test_an_interlaced_video_shows_the_moment_of_its_first_lines(tmp_path, codec, options):
    """Odd lines are of one moment, even ones of half a frame later, when the bar is 4 pixels further on."""
    combed = [bar(8 * n) for n in range(9)]
    for number, picture in enumerate(combed):
        picture[::2] = bar(8 * number + 4)[::2]
    write_pictures(tmp_path / "a.mkv", combed, codec, options)
    ending = Ending()
    (clip,) = read_clips(tmp_path / "a.mkv", Shape(9, 25.0, 96, 64), ending)
    assert ending.notes == ["it is interlaced: deinterlaced by bwdif."] and ending.frames == 9
    assert clip.sources.tolist() == list(range(9))
    for number in range(1, 8):  # the first and the last have no neighbour to be completed from
        picture = clip.frames[number, 16:48].mean(-1) * 255
        assert (picture - torch.from_numpy(bar(8 * number)[16:48]).float().mean(-1)).abs().mean() < 4


def test_a_video_that_is_not_interlaced_is_left_as_it_is(tmp_path):
    write_pictures(tmp_path / "a.mkv", [bar(8 * n) for n in range(9)], "libx264", {"crf": "5"})
    ending = Ending()
    (clip,) = read_clips(tmp_path / "a.mkv", Shape(9, 25.0, 96, 64), ending)
    assert not ending.notes and torch.allclose(clip.frames[4], torch.from_numpy(bar(32)) / 255, atol=0.1)


def test_pictures_that_change_their_size_end_the_clips_in_words(tmp_path):
    """One MPEG stream of two encoders: nine pictures of 64 × 64, then nine of 96 × 64."""
    path = tmp_path / "a.ts"
    with av.open(str(path), "w", format="mpegts") as file:
        stream = file.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        sound = file.add_stream("mp2", rate=RATE, layout="mono")
        second = av.CodecContext.create("mpeg2video", "w")
        second.width, second.height, second.pix_fmt = 96, 64, "yuv420p"
        second.framerate, second.time_base = Fraction(25), Fraction(1, 25)
        for encoder, width, begin in ((stream, 64, 0), (second, 96, 14)):
            pictures = [av.VideoFrame.from_ndarray(np.full((64, width, 3), 90, np.uint8), format="rgb24") for _ in range(14)]
            for packet in [*(p for picture in pictures for p in encoder.encode(picture)), *encoder.encode()]:
                packet.stream, packet.time_base = stream, Fraction(1, 25)
                packet.pts += begin
                packet.dts += begin
                file.mux(packet)
        tone = np.full((1, RATE), 9000, np.int16)
        block = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        block.sample_rate, block.pts, block.time_base = RATE, 0, Fraction(1, RATE)
        for converted in av.AudioResampler(format=sound.format, layout="mono", rate=RATE).resample(block):
            file.mux(sound.encode(converted))
        file.mux(sound.encode())
    clips = read_clips(path, Shape(9, 25.0, 32, 32))
    next(clips)
    with pytest.raises(FantasyTalkingError, match=r"changes its pictures after 0.4 s, from 64×64 to 96×64: convert it first"):
        list(clips)


# ------------------------------------------------------------------------------------------------------ what is worth knowing


def test_a_side_file_without_confidence_or_depth_is_told_from_one_with_both(tmp_path):
    one, other = world.make_videos(tmp_path / "videos", 2, seed=1, size=48, seconds=18 / 23)
    side = load_file(one.path.with_suffix(".safetensors"))
    save_file({**side, "confidence": torch.ones(18)}, one.path.with_suffix(".safetensors"))
    side = load_file(other.path.with_suffix(".safetensors"))
    save_file({**side, "landmarks": side["landmarks"][..., :2].contiguous()}, other.path.with_suffix(".safetensors"))
    index = run(tmp_path / "videos", tmp_path / "cache")
    sure = "its side file holds no confidence: every frame with a face counts as sure."
    flat = "its landmarks have no depth: turns of the head count as expression, which reads too high."
    assert index.notes == {"talk_001.mp4": (sure, flat)}
    told = report(index, tmp_path / "cache")
    assert f"talk_001.mp4: {sure}\n" in told and f"talk_001.mp4: {flat}\n" in told


def test_what_holds_for_many_videos_is_told_once(tmp_path):
    world.make_videos(tmp_path / "videos", 4, seed=1, size=48, seconds=18 / 23)
    told = report(run(tmp_path / "videos", tmp_path / "cache"), tmp_path / "cache")
    assert told.count("no confidence") == 1 and "talk_000.mp4 and 3 more: its side file holds no confidence" in told


def test_motion_that_no_adapter_can_learn_from_is_told(tmp_path):
    """Eight samples, of which none has joints: the body is not known, the face is."""
    videos = world.make_videos(tmp_path / "videos", 4, seed=1, size=48, seconds=18 / 23)
    for video in videos:
        side = load_file(video.path.with_suffix(".safetensors"))
        save_file({key: value for key, value in side.items() if key != "joints"}, video.path.with_suffix(".safetensors"))
    index = run(tmp_path / "videos", tmp_path / "cache")
    assert index.ranges.trained == (True, False)
    assert report(index, tmp_path / "cache").endswith(
        "The motion of the body is known in 0 of 8 samples and not learned: it takes 8 samples that differ in it, with both "
        "shoulders among the joints of the side files.\n"
    )


def test_a_close_up_has_no_motion_of_the_body(tmp_path):
    (video,) = world.make_videos(tmp_path / "videos", 1, seed=1, size=48, seconds=9 / 23)
    side = load_file(video.path.with_suffix(".safetensors"))
    side["joints"][:, [2, 5], 2] = 0.1  # the shoulders
    save_file(side, video.path.with_suffix(".safetensors"))
    index = run(tmp_path / "videos", tmp_path / "cache")
    assert index.samples[0].motion[1] is None and index.samples[0].motion[0] > 0


def test_a_cache_of_another_sound_track_is_another_one(tmp_path):
    (video,) = world.make_videos(tmp_path / "videos", 1, seed=1, size=48, seconds=9 / 23)
    index = run(tmp_path / "videos", tmp_path / "cache")
    assert index.made["sound"] == "default" and index.made["cuts"] == "left out"
    other = type(SETTINGS)(**{**vars(SETTINGS), "sound": "deu"})
    with pytest.raises(FantasyTalkingError, match=r"\(sound was default, is deu\): choose a new folder"):
        run(tmp_path / "videos", tmp_path / "cache", settings=other)
