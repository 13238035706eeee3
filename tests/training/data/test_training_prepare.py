"""Videos and what lies beside them to a cache of training samples."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fantasytalking_core import files
from fantasytalking_core.commands.prepare import report
from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.training.data.cache import Index, load_null_text
from fantasytalking_core.training.data.sample import Sample
from support import world
from support.preparing import CLIP_SECONDS, SETTINGS, Counted, run, samples


def rewrite(video, **changes) -> None:
    """The side file with other tensors; None takes one out."""
    path = video.path.with_suffix(".safetensors")
    tensors = {**load_file(path), **changes}
    save_file({key: value for key, value in tensors.items() if value is not None}, path)


@pytest.fixture
def videos(tmp_path):
    """Four videos of two clips each."""
    return world.make_videos(tmp_path / "videos", 4, seed=1, size=48, seconds=18 / 23)


@pytest.fixture
def video(tmp_path):
    return world.make_videos(tmp_path / "videos", 1, seed=1, size=48, seconds=18 / 23)[0]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def reason(video, cache, **encoders) -> str:
    """Why the one video is left out."""
    index = run(video.path.parent, cache, **encoders)
    assert not index.samples and list(index.left_out) == [video.path.name]
    return index.left_out[video.path.name]


def test_a_video_becomes_samples_clip_by_clip(video, cache):
    video.path.with_suffix(".txt").write_text("\ufeffA head speaks.\n", encoding="utf-8")
    index = run(video.path.parent, cache)
    assert [(entry.source, entry.start, entry.caption) for entry in index.samples] == [
        ("talk_000.mp4", 0.0, "A head speaks."),
        ("talk_000.mp4", CLIP_SECONDS, "A head speaks."),
    ]
    assert (index.frames, index.fps, index.width, index.height) == (9, 23.0, 32, 48) and not index.left_out
    assert Index.load(cache) == index
    for sample in samples(cache):
        assert sample.latents.shape == sample.image.shape == (16, 3, 6, 4) and sample.lips.shape == (3, 6, 4)
        assert sample.latents.dtype == torch.float16 and sample.motion.dtype == torch.float32
        assert torch.equal(sample.text, world.text_tokens(32).half())
        assert torch.equal(sample.clip, world.clip_tokens(0).half())
        assert torch.equal(sample.face, world.face_vectors()[0])


def test_the_reference_image_is_the_first_frame_and_grey(video, cache):
    run(video.path.parent, cache)
    for sample in samples(cache):
        assert torch.equal(sample.image[:, 0], sample.latents[:, 0]) and (sample.image[:, 1:] == 0.5).all()


def test_the_sound_is_that_of_the_clip(video, cache):
    """The loudness of the encoded pieces follows that of the voice."""
    run(video.path.parent, cache)
    heard = torch.cat([sample.speech[:, 0] for sample in samples(cache)]).float().numpy()
    times = np.concatenate([start + 0.02 * np.arange(19) + 0.01 for start in (0, CLIP_SECONDS)])
    loudness = np.interp(times, np.arange(18) / 23, video.loudness)
    assert len(heard) == 38 and np.corrcoef(heard, loudness)[0, 1] > 0.95


@pytest.mark.parametrize("points", ["landmarks", "lips"])
def test_the_lips_lie_where_the_mouth_is_in_the_cut_picture(tmp_path, cache, points):
    (video,) = world.make_videos(tmp_path / "videos", 1, seed=1, size=96, seconds=9 / 23, points=points)
    run(tmp_path / "videos", cache)
    (sample,) = samples(cache)
    # 96 × 96 is halved to 48 × 48, of which columns 8 to 40 are kept: 4 × 6 latent pixels
    middle = (video.head + world.MOUTH) * 6 - (1, 0)
    for frames, mask in zip((slice(0, 1), slice(1, 5), slice(5, 9)), sample.lips.float()):
        x, y = middle[frames].mean(0)
        area = np.pi * world.MOUTH_WIDTH * world.openness(video)[frames].mean() * 6 * 6
        assert mask.sum() == pytest.approx(area, rel=0.2)
        assert (mask.sum(0) * (torch.arange(4) + 0.5)).sum() / mask.sum() == pytest.approx(x, abs=0.3)
        assert (mask.sum(1) * (torch.arange(6) + 0.5)).sum() / mask.sum() == pytest.approx(y, abs=0.3)


def test_the_motion_is_measured_on_the_clip(video, cache):
    """The body's against its variance, worked out of the joints in squared shoulder widths."""
    run(video.path.parent, cache)
    joints = world.joints(video)
    seen = joints[0, :, 2] > 0
    for clip, sample in enumerate(samples(cache)):
        part = joints[9 * clip : 9 * clip + 9, seen, :2]
        width = np.linalg.norm(joints[0, 2, :2] - joints[0, 5, :2])
        assert float(sample.motion[1]) == pytest.approx(part.var(0).sum(-1).mean() / width**2, rel=1e-3)
        assert 0 < float(sample.motion[0]) < 0.01


def test_lively_clips_have_more_of_both_motions(videos, cache):
    index = run(videos[0].path.parent, cache)
    by_source = {entry.source: Sample.load(cache / entry.file).motion for entry in index.samples}
    calm, lively = (torch.stack([by_source[v.path.name] for v in videos if v.lively == which]) for which in (False, True))
    assert (lively.amin(0) > calm.amax(0)).all()


def test_variances_that_are_known_are_taken_and_what_is_not_is_not_a_number(video, cache):
    rewrite(video, variances=torch.tensor([0.25, float("nan")]))
    run(video.path.parent, cache)
    assert all(float(s.motion[0]) == 0.25 and s.motion[1].isnan() for s in samples(cache))


def test_without_joints_or_landmarks_the_motion_is_unknown(tmp_path, cache):
    (video,) = world.make_videos(tmp_path / "videos", 1, size=48, seconds=9 / 23, points="lips")
    rewrite(video, joints=None)
    run(tmp_path / "videos", cache)
    assert samples(cache)[0].motion.isnan().all()


def host_landmarks(video, score: float = 0.95, missing=()):
    """A landmark model that knows the video's first clip, of which it is given the whole pictures."""
    points = torch.tensor(world.landmarks(video, 0 * video.loudness)[:9, :, :2] * 48).float()

    def detect(frames):
        assert frames.shape == (9, 48, 48, 3) and frames.dtype == torch.float32 and 0.5 < frames.max() <= 1
        faces = [[] if n in missing else [{"landmarks_xy": p, "score": score}] for n, p in enumerate(points)]
        return {"frames": faces, "image_size": (48, 48)}

    return detect


def test_what_no_side_file_tells_is_computed(video, cache):
    video.path.with_suffix(".safetensors").unlink()
    video.path.with_suffix(".txt").write_text("A face.")
    given = {}

    def face(picture, points):
        given["face"] = (picture, points)
        return torch.arange(4.0)

    run(
        video.path.parent,
        cache,
        text=lambda prompt: torch.full((3, 8), float(len(prompt))),
        image=lambda picture: picture.mean() * torch.ones(257, 1280),
        face=face,
        landmarks=host_landmarks(video, missing=[0]),
        settings=replace(SETTINGS, min_confidence=0.8),
    )
    sample = samples(cache)[-1]
    assert (sample.text == 7).all() and (load_null_text(cache) == 0).all() and load_null_text(cache).shape == (3, 8)
    assert sample.clip[0, 0] == pytest.approx(float(sample.image[0, 0].float().mean()), abs=1e-3)
    assert sample.face.tolist() == [0, 1, 2, 3]
    mouth = (video.head[1] + world.MOUTH) * 48 - (8, 0)  # the first frame that shows a face is the second
    _, points = given["face"]
    assert points[3:].mean(0).tolist() == pytest.approx(mouth.tolist(), abs=0.01)
    assert not sample.lips[0].any() and sample.lips[1].any()


def test_a_cache_without_a_text_encoder_has_a_row_of_padding_for_dropped_prompts(video, cache):
    run(video.path.parent, cache)
    assert torch.equal(load_null_text(cache), torch.zeros(1, 32, dtype=torch.float16))


def test_clips_in_which_the_face_is_unsure_are_left_out(video, cache):
    rewrite(video, landmarks=None)
    for number, (detect, expected) in enumerate(
        (
            (host_landmarks(video, score=0.6), "its face has a confidence of 0.60, expected at least 0.9."),
            (host_landmarks(video, missing=[3]), "its face has a confidence of 0.84, expected at least 0.9."),
            (host_landmarks(video, missing=range(9)), "it shows no face."),
        )
    ):
        assert reason(video, cache.with_name(f"cache{number}"), landmarks=detect) == expected


def test_the_confidence_in_a_side_file_counts(video, cache):
    rewrite(video, confidence=torch.tensor([0.95] * 9 + [0.5] * 9))
    index = run(video.path.parent, cache)
    assert [entry.start for entry in index.samples] == [0.0]
    assert index.left_out == {"talk_000.mp4 at 0.39 s": "its face has a confidence of 0.50, expected at least 0.9."}


def test_a_mouth_that_is_cut_off_is_no_mouth(tmp_path, cache):
    (video,) = world.make_videos(tmp_path / "videos", 1, size=48, seconds=9 / 23)
    rewrite(video, landmarks=load_file(video.path.with_suffix(".safetensors"))["landmarks"] + 500)
    assert reason(video, cache) == "its mouth lies outside of the picture."


@pytest.mark.parametrize(
    "key, model", [("text", "a text encoder"), ("clip", "a CLIP vision model"), ("landmarks", "a landmark model")]
)
def test_what_is_missing_is_named_with_both_ways_to_supply_it(video, cache, key, model):
    rewrite(video, **{key: None})
    said = reason(video, cache)
    assert model in said and key in said and "talk_000.safetensors" in said


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"landmarks": torch.zeros(18, 468, 2)}, "landmarks of shape [18, 468, 2], expected [N, 478, 2] or [N, 478, 3]"),
        ({"face": torch.full((16,), float("nan"))}, "NaN or infinite numbers in face"),
        ({"text": torch.zeros(4, 32, dtype=torch.complex64)}, "holds complex numbers in text, expected real ones"),
        ({"lips": torch.zeros(18, 500, 2)}, "holds lips of 500 points, expected an outline of 478 at most"),
        ({"mouth": torch.zeros(3)}, "holds 'mouth', expected landmarks, lips"),
        ({"joints": torch.zeros(17, 18, 3)}, "18 rows of landmarks, 17 rows of joints"),
        (
            {"landmarks": torch.zeros(17, 478, 2), "joints": torch.zeros(17, 18, 3)},
            "the video has 18 frames, its side file 17 rows",
        ),
        (
            {"landmarks": torch.ones(19, 478, 2), "joints": torch.zeros(19, 18, 3)},
            "the video has 18 frames, its side file 19 rows",
        ),
    ],
)
def test_a_wrong_side_file_leaves_the_video_out(video, cache, changes, expected):
    rewrite(video, **changes)
    assert expected in reason(video, cache)
    assert not list(cache.glob("talk*"))


def test_numbers_of_eight_bits_are_numbers(video, cache):
    rewrite(video, text=torch.ones(4, 32).to(torch.float8_e4m3fn))
    run(video.path.parent, cache)
    assert all((sample.text == 1).all() for sample in samples(cache))


def test_places_beyond_any_picture_leave_the_clip_out(video, cache):
    """Whose middle is no number in 32 bits."""
    rewrite(video, landmarks=torch.full((18, 478, 3), 3e38))
    assert reason(video, cache) == "its mouth lies outside of the picture."


def test_a_broken_side_file_or_caption_is_told(videos, cache):
    videos[0].path.with_suffix(".safetensors").write_bytes(b"nothing")
    videos[1].path.with_suffix(".txt").write_bytes(b"\xff\xfe\xff")
    index = run(videos[0].path.parent, cache)
    assert "can't be read as safetensors" in index.left_out["talk_000.mp4"] and "UTF-8" in index.left_out["talk_001.mp4"]
    assert len(index.samples) == 4


def test_what_is_wrong_with_one_video_stops_no_other(videos, cache):
    folder = videos[0].path.parent
    side = load_file(videos[0].path.with_suffix(".safetensors"))
    pictures, sound = np.zeros((18, 48, 48, 3), np.uint8), np.zeros(round(16000 * 18 / 23))
    world.write(folder / "mute.mp4", pictures, 23.0)
    world.write(folder / "silent.mp4", pictures, 23.0, sound)
    world.write(folder / "short.mp4", pictures[:5], 23.0, sound[:2000])
    (folder / "damaged.mp4").write_bytes(videos[0].path.read_bytes()[:5000])
    for name, frames in (("mute", 18), ("silent", 18), ("short", 5), ("damaged", 18)):
        shorter = {key: value[:frames] if key in ("landmarks", "joints") else value for key, value in side.items()}
        save_file(shorter, folder / f"{name}.safetensors")
    index = run(folder, cache)
    assert len(index.samples) == 8 and index.left_out.keys() == {"mute.mp4", "silent.mp4", "short.mp4", "damaged.mp4"}
    assert index.left_out["mute.mp4"] == "has no sound: expected a video with speech."
    assert index.left_out["silent.mp4"] == "its sound is silent."
    assert index.left_out["short.mp4"] == "it lasts 0.22 s: too short for a clip of 0.39 s."
    assert index.left_out["damaged.mp4"].startswith("can't be read (Invalid data")
    told = report(index, cache)
    assert "8 samples of 4 videos" in told and "4 left out:" in told and "  mute.mp4: has no sound" in told


def test_the_clips_before_the_damage_are_kept(tmp_path, cache):
    (video,) = world.make_videos(tmp_path / "videos", 1, size=48, seconds=8)
    data = bytearray(video.path.read_bytes())
    middle = len(data) * 6 // 10
    data[middle : middle + 20000] = bytes(20000)
    video.path.write_bytes(data)
    index = run(tmp_path / "videos", cache)
    assert 3 <= len(index.samples) < 20 and "after" in index.left_out["talk_000.mp4"]
    counted = Counted()
    assert run(tmp_path / "videos", cache, counted).samples == index.samples and counted.calls["video"] == 0


def test_features_of_another_width_are_left_out(videos, cache):
    rewrite(videos[2], face=torch.ones(24))
    index = run(videos[0].path.parent, cache)
    assert index.left_out == {"talk_002.mp4": "its face features are 24 wide, those of the other samples 16."}


def test_a_rest_is_told_once(tmp_path, cache):
    world.make_videos(tmp_path / "videos", 1, size=48, seconds=1)
    index = run(tmp_path / "videos", cache)
    assert index.left_out == {"talk_000.mp4 at 0.78 s": "the rest is shorter than a clip."}
    assert "0 left out.\n1 videos end with a rest that is shorter than a clip.\n" in report(index, cache)


def test_a_second_run_does_nothing_again(videos, cache):
    first = run(videos[0].path.parent, cache)
    before = {path: path.stat().st_mtime_ns for path in cache.glob("talk*")}
    counted = Counted()
    assert run(videos[0].path.parent, cache, counted) == first and not counted.calls
    assert {path: path.stat().st_mtime_ns for path in cache.glob("talk*")} == before


def test_an_interrupted_run_goes_on_with_the_next_clip(videos, cache):
    folder = videos[0].path.parent
    with pytest.raises(KeyboardInterrupt):
        run(folder, cache, Counted(fail={("speech", 4): KeyboardInterrupt()}))
    part = Index.load(cache)
    assert len(part.samples) == 3 and part.left_out == {"talk_001.mp4": "not finished: run prepare again to go on."}
    counted = Counted()
    index = run(folder, cache, counted)
    assert counted.calls["speech"] == 5 and len(index.samples) == 8 and not index.left_out
    whole = run(folder, cache.with_name("whole"))
    assert whole == index
    for one, other in zip(samples(cache), samples(cache.with_name("whole"))):
        assert torch.equal(one.latents, other.latents) and torch.equal(one.speech, other.speech)


def test_a_video_that_was_repaired_is_taken(videos, cache):
    data = videos[1].path.read_bytes()
    videos[1].path.write_bytes(data[:5000])
    assert "talk_001.mp4" in run(videos[0].path.parent, cache).left_out
    videos[1].path.write_bytes(data)
    counted = Counted()
    index = run(videos[0].path.parent, cache, counted)
    assert counted.calls["speech"] == 2 and len(index.samples) == 8 and not index.left_out


def test_deleted_samples_are_made_anew(videos, cache):
    index = run(videos[0].path.parent, cache)
    (cache / index.samples[2].file).unlink()
    counted = Counted()
    assert run(videos[0].path.parent, cache, counted) == index and counted.calls["speech"] == 2


def test_a_cache_of_other_settings_or_models_is_refused(video, cache):
    run(video.path.parent, cache)
    before = (cache / "index.json").read_bytes()
    with pytest.raises(FantasyTalkingError, match=r"\(height was 48, is 32; vae was test, is other\): choose a new folder"):
        run(video.path.parent, cache, settings=replace(SETTINGS, height=32), models={"vae": "other"})
    assert (cache / "index.json").read_bytes() == before


def test_a_full_disk_stops_with_all_samples_so_far(videos, cache, monkeypatch):
    written = []

    def save(tensors, path, *args):
        if len(written) == 4:
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        written.append(path)
        return save_file(tensors, path, *args)

    monkeypatch.setattr(files, "save_file", save)
    with pytest.raises(FantasyTalkingError, match="can't be written .*No space left.* All samples so far are kept"):
        run(videos[0].path.parent, cache)
    monkeypatch.undo()
    assert len(samples(cache)) == 3  # and the embedding of no prompt
    assert not list(cache.glob("*.part"))
    assert len(run(videos[0].path.parent, cache).samples) == 8


def test_a_disk_that_is_full_for_the_index_too_leaves_the_old_one(videos, cache, monkeypatch):
    run(videos[0].path.parent, cache)
    (cache / "index.json").write_bytes(before := (cache / "index.json").read_bytes())

    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FantasyTalkingError, match="No space left"):
        run(videos[0].path.parent, cache)
    assert (cache / "index.json").read_bytes() == before


def test_the_folder_of_the_videos_is_no_cache(video):
    with pytest.raises(FantasyTalkingError, match="choose another one"):
        run(video.path.parent, video.path.parent)


def test_a_sound_track_without_a_name_is_refused():
    with pytest.raises(FantasyTalkingError, match="The sound track has no name: expected a number from 1"):
        replace(SETTINGS, sound="")


def test_an_empty_folder_is_told_and_makes_no_cache(tmp_path, cache):
    with pytest.raises(FantasyTalkingError, match="holds no videos"):
        run(tmp_path, cache)
    assert not cache.exists()
