"""A long take: any length, window by window, kept as it grows."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import av
import pytest
import torch
from safetensors.torch import load_file

from support.reference import Case
from support.runs import apply, hear, sample, speech

SIZE = 32
WINDOW, OVERLAP = 17, 8


@pytest.fixture(scope="module")
def vae(host):
    import comfy.sd

    from support.random_family import wan_vae

    return comfy.sd.VAE(sd=wan_vae())


@pytest.fixture
def output(host, tmp_path, monkeypatch):
    monkeypatch.setattr(host.folder_paths, "get_output_directory", lambda: str(tmp_path))
    return tmp_path


@pytest.fixture
def prompts():
    """Positive, negative, portrait and CLIP vision."""
    clip_vision = Case("case_a").conditioning()[0][0][1]["clip_vision_output"]
    positive, negative = ([[Case("case_a").text(which)[:, :48], {}]] for which in ("pos", "neg"))
    portrait = torch.rand(1, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(2))
    return positive, negative, portrait, clip_vision


@pytest.fixture
def render(host, run, model, adapter, vae, output, prompts):
    positive, negative, portrait, clip_vision = prompts

    def start(frames=41, voice=None, **changes):
        heard = hear(run, positive, negative, voice or speech(host, frames))
        inputs = {
            "model": apply(run, model, adapter), "positive": heard[0], "negative": heard[1], "vae": vae,
            "start_image": portrait, "seed": 3, "steps": 2, "text_cfg": 4.0, "audio_cfg": 5.0, "audio_start_percent": 0.0,
            "audio_end_percent": 1.0, "sampler_name": "euler", "scheduler": "fantasytalking", "shift": 5.0, "window": WINDOW,
            "overlap": OVERLAP, "filename_prefix": "video/take", "clip_vision_output": clip_vision, **changes,
        }  # fmt: skip
        return Path(run("FantasyTalkingRender", **inputs)[0].get_stream_source())

    return start


def frames_of(path: Path) -> torch.Tensor:
    with av.open(str(path)) as file:
        return torch.stack([torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)])


def job_of(folder: Path) -> Path:
    (job,) = (folder / "video").glob("take.*.job")
    return job


# --------------------------------------------------------------------------------------------------------- the windows


@pytest.mark.parametrize("frames", [17, 41])
def test_the_first_windows_latents_are_the_classic_graphs_to_the_bit(
    host, run, model, adapter, vae, output, prompts, render, frames
):
    voice = speech(host, frames)
    render(frames, voice, keep_parts=True)
    ours = load_file(job_of(output) / "window_00000.safetensors")["latents"]
    positive, negative, portrait, clip_vision = prompts
    *shown, latent = run(
        "WanImageToVideo", positive=positive, negative=negative, vae=vae, width=SIZE, height=SIZE, length=WINDOW, batch_size=1,
        start_image=portrait, clip_vision_output=clip_vision,
    )  # fmt: skip
    heard = hear(run, *shown, voice.part(range(5)))
    classic = sample(run, apply(run, model, adapter), *heard, latent, seed=3)
    assert torch.equal(ours, classic.cpu())


def test_a_later_window_is_held_to_the_portrait_and_to_what_was_before(host, run, render, monkeypatch):
    """What the sampler is given: [portrait · 2 finished · 2 new], the first three held, the portrait as image."""
    module = host.core("host.render")
    real, given = module.FantasyTalkingGuider.sample, []

    def spy(self, noise, samples, sampler, sigmas, denoise_mask=None, **kwargs):
        positive = self.original_conds["positive"][0]
        given.append((samples.clone(), denoise_mask, positive, kwargs["seed"], noise))
        return real(self, noise, samples, sampler, sigmas, denoise_mask=denoise_mask, **kwargs)

    monkeypatch.setattr(module.FantasyTalkingGuider, "sample", spy)
    voice = speech(host, 41)
    render(41, voice, keep_parts=True)
    assert [samples.shape[2] for samples, *_ in given] == [5, 5, 5, 5]  # 11 latent frames are 5 + 2 + 2 + 2
    first, mask, *_ = given[0]
    assert not first.any() and mask is None
    held, mask, positive, seed, noise = given[1]
    assert mask[0, 0, :, 0, 0].tolist() == [0, 0, 0, 1, 1] and held[:, :, :3].any() and not held[:, :, 3:].any()
    assert seed == 3 + 5 and not torch.equal(noise, given[0][-1])
    assert positive["concat_latent_image"].shape[2] == 5 and positive["concat_mask"][0, 0, :, 0, 0].tolist() == [0, 1, 1, 1, 1]
    assert torch.equal(held[:, :, :1], positive["concat_latent_image"][:, :, :1])
    windows = voice.windows()
    part = positive["model_conds"][host.core("host.conditioning").SPEECH].cond[0].speech
    for row, place in zip(part.windows(), [0, 3, 4, 5, 6], strict=True):
        assert torch.equal(part.tokens[row[row >= 0]], voice.tokens[windows[place][windows[place] >= 0]])


def test_the_videos_frames_are_those_of_decoding_all_latents(host, run, vae, output, render):
    path = render(41, keep_parts=True)
    job = job_of(output)
    latents = torch.cat([load_file(file)["latents"] for file in sorted(job.glob("window_*.safetensors"))], dim=2)
    assert latents.shape == (1, 16, 11, 4, 4)
    with torch.inference_mode():
        expected = (vae.decode(latents)[0] * 255).clamp(0, 255).byte()
    shown = frames_of(path)
    assert shown.shape == expected.shape == (41, SIZE, SIZE, 3)
    grey, wanted = (frames.float().mean(-1).flatten(1) for frames in (shown, expected))  # H.264 halves the colours' size
    assert torch.cdist(grey, wanted).argmin(1).tolist() == list(range(41))


def test_the_sound_is_the_recordings_and_as_long_as_the_video(output, render):
    waves = torch.sin(torch.arange(int(41 / 23 * 16000)) / 10)[None, None]
    path = render(41, audio={"waveform": waves, "sample_rate": 16000})
    with av.open(str(path)) as file:
        video, sound = file.streams.video[0], file.streams.audio[0]
        assert video.frames == 41 and float(video.duration * video.time_base) == pytest.approx(41 / 23, abs=1e-3)
        assert float(sound.duration * sound.time_base) == pytest.approx(41 / 23, abs=0.07)
        times = [frame.time for frame in file.decode(video)]
    assert times == pytest.approx([number / 23 for number in range(41)], abs=1e-3)


def test_parts_are_videos_of_their_own_and_are_gone_when_the_video_is_there(output, render):
    path = render(41, keep_parts=True)
    parts = [len(frames_of(part)) for part in sorted(job_of(output).glob("part_*.mp4"))]
    assert sum(parts) == 41 and len(parts) == 4
    again = render(41, seed=4)
    assert path != again and len(list((output / "video").glob("*.job"))) == 1  # the one that was kept


# ------------------------------------------------------------------------------------------------------- nothing lost


class Stop(Exception):
    pass


@pytest.fixture
def stop_at(host, monkeypatch):
    """Windows are sampled until this one is to be; returns which were."""
    module = host.core("host.render")
    real, sampled = module.Rendering.sampled, []

    def stop(last: int | None, error: BaseException = Stop()) -> list[int]:
        def spy(self, index, *args):
            if index == last:
                raise error
            sampled.append(index)
            return real(self, index, *args)

        monkeypatch.setattr(module.Rendering, "sampled", spy)
        return sampled

    return stop


@pytest.mark.parametrize("at", [1, 2, 3])
def test_the_same_graph_goes_on_after_the_last_finished_window(output, render, stop_at, at):
    unbroken = frames_of(render(41))
    sampled = stop_at(at)
    with pytest.raises(Stop):
        render(41)
    assert sampled == list(range(at))
    sampled.clear()
    stop_at(None)
    path = render(41)
    assert sampled == list(range(at, 4))
    assert torch.equal(frames_of(path), unbroken)
    assert [file.suffix for file in (output / "video").iterdir()] == [".mp4"] * 2


def test_another_job_never_takes_its_parts(output, render, stop_at):
    sampled = stop_at(2)
    with pytest.raises(Stop):
        render(41)
    stop_at(None)
    sampled.clear()
    for changes in ({"seed": 4}, {"steps": 3}, {"audio_cfg": 3.0}, {"overlap": 4}, {"start_image": torch.zeros(1, 32, 32, 3)}):
        render(41, **changes)
        assert sampled[0] == 0, changes
        sampled.clear()
    render(41)
    assert sampled == [2, 3]


def test_so_it_is_with_other_speech_strength_or_adapter(host, run, model, adapter, output, render, stop_at):
    sampled = stop_at(2)
    with pytest.raises(Stop):
        render(41)
    stop_at(None)
    sampled.clear()
    render(41, speech(host, 41, seed=9))
    assert sampled[0] == 0
    sampled.clear()
    render(41, model=apply(run, model, adapter, audio_strength=0.9))
    assert sampled[0] == 0
    with torch.inference_mode():
        adapter.model.audio.blocks[0].k_proj.weight.mul_(1.01)
    sampled.clear()
    render(41)
    assert sampled[0] == 0


def test_a_full_disk_is_told_keeps_what_is_finished_and_goes_on(host, output, render, monkeypatch):
    files = host.core("files")
    real, calls = files.save_file, []

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(ValueError, match=r"can't be written \(No space left on device\): make room.*run the same graph again"):
        render(41)
    assert len(list(job_of(output).glob("part_*.mp4"))) == 2 and not list(job_of(output).glob("*.part"))
    monkeypatch.setattr(files, "save_file", real)
    assert len(frames_of(render(41))) == 41


def test_the_same_job_twice_at_the_same_time_is_refused(host, output, render):
    """By another process: the lock is the folder's."""
    render(41, keep_parts=True)
    lock = job_of(output).with_suffix(".lock")
    code = (
        "import sys; from filelock import FileLock; l = FileLock(sys.argv[1]); l.acquire(); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="is being rendered by another ComfyUI"):
            render(41)
        other.communicate("\n")
    render(41)


# --------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"filename_prefix": "../../outside"}, r"filename_prefix is ../../outside, expected a name in ComfyUI's output folder"),
        ({"filename_prefix": "/tmp/outside"}, "expected a name in ComfyUI's output folder"),
        ({"overlap": 16}, "overlap is 16 frames of a window of 17, which leaves nothing new"),
        ({"start_image": torch.zeros(1, 40, 36, 3)}, r"start_image is 36 × 40 pixels, expected multiples of 16.*32 × 32"),
        ({"start_image": "portrait.png"}, "start_image is str, expected an IMAGE"),
        ({"vae": "wan_2.1_vae"}, "vae is wan_2.1_vae, expected the output of Load VAE: wire it"),
        ({"clip_vision_output": 5}, "clip_vision_output is 5, expected the output of CLIP Vision Encode: wire it"),
        ({"denoise": 1}, "unexpected keyword"),
    ],
)
def test_what_can_not_be_rendered_is_refused_before_anything_is_loaded(host, render, output, monkeypatch, changes, said):
    monkeypatch.setattr(host.core("host.render").Rendering, "run", lambda *args: pytest.fail("it began"))
    with pytest.raises((ValueError, TypeError), match=said):
        render(41, **changes)
    assert not list(output.rglob("*.job"))


def test_without_speech_there_is_no_length(run, model, adapter, vae, output, prompts, render):
    positive, negative, *_ = prompts
    with pytest.raises(ValueError, match="carries no speech, and the video would have no length"):
        render(41, positive=positive, negative=negative)


def test_what_is_known_only_when_the_last_window_is_decoded_stands_on_the_finished_node(host, render, output, monkeypatch):
    shown = sys.modules[host.nodes["FantasyTalkingRender"].__module__.rpartition(".")[0] + ".shown"]
    decoding = host.core("host.streamed_decoding").StreamedDecoding
    real_text, real_push, warnings = shown.text, decoding.push, []

    def text(*lines, **options):
        warnings.append(options["warnings"])
        return real_text(*lines, **options)

    def push(self, latents, is_last):
        yield from real_push(self, latents, is_last)
        self.notice = "In tiles." if is_last else ""

    monkeypatch.setattr(shown, "text", text)
    monkeypatch.setattr(decoding, "push", push)
    render(41)
    assert warnings[-2:] == [[], ["In tiles."]]


def test_the_workflow_travels_in_the_file(host, output, render, monkeypatch):
    node = host.nodes["FantasyTalkingRender"]
    from types import SimpleNamespace

    monkeypatch.setattr(node, "hidden", SimpleNamespace(extra_pnginfo={"workflow": {"id": 7}}, prompt={"1": {}}), raising=False)
    with av.open(str(render(17))) as file:
        assert json.loads(file.metadata["workflow"]) == {"id": 7} and json.loads(file.metadata["prompt"]) == {"1": {}}
