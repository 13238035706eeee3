"""Any recording to the exact stretch of mono 16 kHz samples that a clip needs, and to the sound of its video."""

import math
from fractions import Fraction

import librosa
import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech import waveform
from fantasytalking_core.speech.waveform import Recording
from support.reference import FOLDER, numbers, pcm, tensors

FPS = 23.0


def noise(seconds: float, rate: int, channels: int = 1) -> torch.Tensor:
    """`[channels, N]`, every sample different."""
    return 0.3 * torch.randn(channels, int(seconds * rate), generator=torch.Generator().manual_seed(rate + channels))


def audio(samples: torch.Tensor, rate: int = 16000) -> dict:
    return {"waveform": samples[None], "sample_rate": rate}


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@pytest.fixture(scope="module")
def wav2vec(host):
    """The reference's small encoder under the host's memory manager."""
    return host.core("host.loading").load_wav2vec(FOLDER / "wav2vec2")


@pytest.fixture
def encode(run, wav2vec):
    """Encode Speech: speech, audio, length, fps."""

    def run_node(sound, fps=FPS, length=0, start_time=0.0, encoder=wav2vec):
        return run("FantasyTalkingEncodeSpeech", wav2vec=encoder, audio=sound, fps=fps, length=length, start_time=start_time)

    return run_node


# ------------------------------------------------------------------------------------------------ mono and 16 kHz


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_mono_is_the_mean_of_all_channels(channels):
    samples = noise(1.0, 16000, channels)
    mono = waveform.mono_16k(Recording(samples, 16000), 17, FPS)
    assert difference(mono, sum(samples[n] for n in range(channels))[:11826] / channels) < 1e-6


def test_resampling_is_the_releases():
    """librosa.load of the 44.1 kHz stereo file: 0.9 s, 14400 samples."""
    recorded = tensors("audio/waves")["stereo44_as_16k_mono"]
    ours = waveform.mono_16k(Recording(pcm("pcm16_44k_stereo"), 44100), 17, FPS)
    assert difference(ours, recorded[:11826]) < 1e-5


def test_the_features_of_a_44_khz_stereo_recording_are_the_releases(encode):
    speech = encode(audio(pcm("pcm16_44k_stereo"), 44100), length=17)[0]
    assert speech.tokens.shape[0] == numbers("audio/features")["stereo"]["tokens"]
    assert difference(speech.tokens, tensors("audio/features")["stereo44.last_hidden_state"][0]) < 2e-4


@pytest.mark.parametrize("start", [0.0, 0.29, 1.0, 3.123456, 4.999])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 47999, 48000, 96000])
def test_a_stretch_is_that_of_the_whole_recording_resampled(rate, start):
    samples = noise(8.0, rate)
    whole = torch.from_numpy(librosa.resample(samples[0].numpy(), orig_sr=rate, target_sr=16000))
    ours = waveform.mono_16k(Recording(samples, rate), 33, FPS, start)
    first = round(start * 16000)
    assert difference(ours, whole[first : first + 22956]) < 5e-6


def test_only_the_seconds_around_the_clip_are_resampled(monkeypatch):
    """A clip of 0.7 s in an hour must not cost an hour."""
    resampled = []
    resample = librosa.resample
    monkeypatch.setattr(librosa, "resample", lambda y, **rates: resampled.append(len(y)) or resample(y, **rates))
    waveform.mono_16k(Recording(torch.zeros(1, 3600 * 8000).fill_(0.1), 8000), 17, FPS, 1800.5)
    assert len(resampled) == 1 and resampled[0] <= 4 * 8000


# -------------------------------------------------------------------------------------------------- exact lengths


@pytest.mark.parametrize("fps", [23.0, 25.0, 29.97, 24.0, 30.0, 12.5])
@pytest.mark.parametrize("frames", [5, 17, 81])
def test_the_speech_spans_exactly_the_clip(frames, fps):
    mono = waveform.mono_16k(Recording(noise(8.0, 44100, 2), 44100), frames, fps)
    assert mono.shape == (int(frames / fps * 16000),)


@pytest.mark.parametrize("case", numbers("audio/features")["cases"][:8], ids=lambda case: case["name"])
def test_the_number_of_samples_is_the_releases(case):
    assert waveform.samples_for(case["num_frames"], case["fps"]) == case["samples_used"]


def test_a_short_recording_is_padded_with_silence_never_stretched():
    """0.5 s of speech in a clip of 17 frames, 11826 samples."""
    samples = noise(0.5, 16000)
    mono = waveform.mono_16k(Recording(samples, 16000), 17, FPS)
    assert torch.equal(mono[:8000], samples[0])
    assert mono.shape == (11826,) and not mono[8000:].any()


def test_the_clip_begins_at_start_time():
    samples = noise(4.0, 16000)
    mono = waveform.mono_16k(Recording(samples, 16000), 17, FPS, start_time=1.25)
    assert torch.equal(mono, samples[0, 20000:31826])


def test_start_time_means_the_nearest_sample():
    """2.01 · 16000 is 32159.999… in floating point."""
    samples = noise(3.0, 16000)
    assert waveform.mono_16k(Recording(samples, 16000), 5, FPS, start_time=2.01)[0] == samples[0, 32160]


@pytest.mark.parametrize(
    "seconds, fps, frames",
    [
        (0.03, 23.0, 5),  # 1 frame, but 5 are the shortest clip
        (5 / 23, 23.0, 5),
        (0.25, 23.0, 9),  # 5.75 frames
        (81 / 23, 23.0, 81),  # exactly 81
        (3.53, 23.0, 85),  # 81.19
        (10.0, 25.0, 253),  # 250
        (1.0, 30.0, 33),  # 30
        (60.0, 23.0, 1381),  # 1380
        (3600.0, 23.0, 82801),  # 82800
    ],
)
def test_length_0_is_the_smallest_4n_plus_1_that_covers_the_speech(seconds, fps, frames):
    assert waveform.frames_for(int(seconds * 48000), 48000, fps) == frames


@pytest.mark.parametrize("fps", [23.0, 23.976, 25.0, 29.97])
@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_a_recording_cut_to_a_clip_has_that_clips_length(rate, fps):
    """The AUDIO output, wired into another Encode Speech, gives the same clip again."""
    for frames in range(5, 1000, 4):
        cut = waveform.samples_for(frames, fps, rate)
        assert waveform.frames_for(cut, rate, fps) == frames
        beyond = math.floor(frames / Fraction(str(fps)) * rate) + 1
        assert waveform.frames_for(beyond, rate, fps) == frames + 4


def test_length_0_counts_from_start_time(encode):
    """2 s from 1.5 s on are 0.5 s: 11.5 frames, so 13."""
    assert encode(audio(noise(2.0, 16000)), start_time=1.5)[2] == 13


# ---------------------------------------------------------------------------------------- outputs of Encode Speech


@pytest.mark.parametrize("rate, channels", [(44100, 2), (48000, 1), (22050, 6)])
def test_the_sound_keeps_rate_and_channels_and_lasts_as_long_as_the_video(encode, rate, channels):
    samples = noise(2.0, rate, channels)
    sound = encode(audio(samples, rate), length=17, start_time=0.5)[1]
    assert sound["sample_rate"] == rate
    assert torch.equal(sound["waveform"][0], samples[:, rate // 2 : rate // 2 + int(17 / FPS * rate)])


def test_the_sound_ends_with_silence_where_the_recording_is_shorter(encode):
    samples = noise(0.5, 44100, 2)
    sound = encode(audio(samples, 44100), length=33)[1]["waveform"]
    assert sound.shape == (1, 2, int(33 / FPS * 44100))
    assert torch.equal(sound[0, :, :22050], samples) and not sound[..., 22050:].any()


def test_the_input_recording_is_left_as_it_was(encode):
    sound = audio(noise(1.0, 16000))
    before = sound["waveform"].clone()
    out = encode(sound, length=17)[1]["waveform"]
    with torch.inference_mode():
        out.zero_()
    assert torch.equal(sound["waveform"], before)


def test_length_and_fps_come_out_for_the_nodes_after_it(encode):
    speech, _, length, fps = encode(audio(noise(1.0, 16000)), fps=25.0)
    assert (length, fps) == (speech.frames, speech.fps) == (25, 25.0)
    assert type(length) is int and type(fps) is float


# ------------------------------------------------------------------- recordings as other packs and people make them


def test_float64_is_taken_as_float32(encode):
    samples = noise(1.0, 16000)
    double, single = (encode(audio(of), length=17)[0].tokens for of in (samples.double(), samples))
    assert torch.equal(double, single)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int16])
def test_the_sound_is_float32_as_the_hosts_nodes_expect(encode, dtype):
    sound = encode(audio((noise(1.0, 16000) * 100).to(dtype)), length=17)[1]
    assert sound["waveform"].dtype == torch.float32


@pytest.mark.parametrize("dtype, full_scale", [(torch.int16, 2**15), (torch.int32, 2**31)])
def test_integer_samples_are_scaled_to_full_scale(dtype, full_scale):
    samples = waveform.recording(audio(torch.tensor([[-full_scale, 0, full_scale // 2]], dtype=dtype))).samples
    assert torch.equal(samples, torch.tensor([[-1.0, 0.0, 0.5]]))


def test_bytes_have_their_zero_in_the_middle():
    samples = waveform.recording(audio(torch.tensor([[0, 128, 192]], dtype=torch.uint8))).samples
    assert torch.equal(samples, torch.tensor([[-1.0, 0.0, 0.5]]))


def test_a_tensor_without_the_batch_axis_is_one_recording(encode):
    samples = noise(1.0, 16000, 2)
    sound = encode({"waveform": samples, "sample_rate": 16000}, length=17)[1]
    assert torch.equal(sound["waveform"][0], samples[:, :11826])


def test_a_bare_row_of_samples_is_mono(encode):
    samples = noise(1.0, 16000)
    sound = encode({"waveform": samples[0], "sample_rate": 16000}, length=17)[1]
    assert torch.equal(sound["waveform"][0], samples[:, :11826])


def test_samples_that_lie_apart_in_memory_are_read_in_their_order(encode):
    samples = noise(1.0, 16000, 2)
    interleaved = {"waveform": samples.T.contiguous().T[None], "sample_rate": 16000}
    assert not interleaved["waveform"].is_contiguous()
    assert torch.equal(encode(interleaved, length=17)[0].tokens, encode(audio(samples), length=17)[0].tokens)


def test_a_recording_that_requires_grad_is_only_read():
    recording = waveform.recording(audio(noise(1.0, 44100).requires_grad_()))
    assert not waveform.mono_16k(Recording(recording.samples, 44100), 17, FPS).requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recording_on_the_gpu_comes_to_the_cpu():
    assert waveform.recording(audio(noise(1.0, 16000).cuda())).samples.device.type == "cpu"


def test_a_sample_rate_need_not_be_an_int():
    for rate in (44100.0, torch.tensor(44100)):
        assert waveform.recording(audio(noise(0.1, 44100), rate)).rate == 44100


# ------------------------------------------------------------------------------------------------------ bad input

SPEECH = noise(1.0, 16000)
BAD_AUDIO = {
    "none": (None, "There is no audio: .* has no sound"),
    "no_dict": ([SPEECH, 16000], "audio is of type list, expected the host's AUDIO"),
    "missing_key": ({"samples": SPEECH}, "audio is a dict of samples, expected .* waveform and sample_rate"),
    "no_tensor": ({"waveform": "speech.wav", "sample_rate": 16000}, "audio holds of type str, expected a tensor"),
    "integers_of_unknown_scale": (audio(SPEECH.long()), "audio holds torch.int64, expected .* float samples"),
    "four_axes": (audio(SPEECH[None]), r"audio has shape \[1, 1, 1, 16000\], expected \[1, channels, samples\]"),
    "channels_last": (audio(SPEECH.T), r"audio has shape \[1, 16000, 1\], expected \[1, channels, samples\]"),
    "no_channels": (audio(SPEECH[:0]), r"audio has shape \[1, 0, 16000\], expected \[1, channels, samples\]"),
    "batch_of_two": (
        {"waveform": SPEECH.expand(2, 1, -1), "sample_rate": 16000},
        "batch of 2 clips, expected one: encode each clip",
    ),
    "empty": (audio(SPEECH[:, :0]), "The audio is empty: expected a recording of speech"),
    "rate_0": (audio(SPEECH, 0), "sample rate of 0, expected 1000 Hz or more"),
    "rate_negative": (audio(SPEECH, -16000), "sample rate of -16000, expected"),
    "rate_in_khz": (audio(SPEECH, 44.1), "sample rate of 44, expected 1000 Hz or more"),
    "rate_nan": (audio(SPEECH, math.nan), "sample rate of nan, expected"),
    "rate_none": (audio(SPEECH, None), "sample rate of None, expected"),
    "one_sample": (audio(SPEECH[:, :1]), "Only 6.*e-05 s of audio are left .* at least 0.025 s: use a longer recording"),
    "nan": (audio(SPEECH.clone().index_fill_(1, torch.tensor([500]), math.nan)), "holds NaN or infinite samples"),
    "infinite": (audio(SPEECH.clone().index_fill_(1, torch.tensor([500]), math.inf)), "holds NaN or infinite samples"),
}
BAD_SETTINGS = {
    "start_negative": ({"start_time": -0.5}, "start_time is -0.5 s, expected 0 or more and less than the 1.00 s"),
    "start_at_the_end": ({"start_time": 1.0}, "start_time is 1 s, expected 0 or more and less than the 1.00 s"),
    "start_past_the_end": ({"start_time": 7.5}, "start_time is 7.5 s, expected 0 or more and less than the 1.00 s"),
    "start_nan": ({"start_time": math.nan}, "start_time is nan s, expected"),
    "start_too_late": ({"start_time": 0.99}, "Only 0.01 s of audio are left .* or an earlier start_time"),
    "fps_0": ({"fps": 0.0}, "fps is 0, expected 1 to 120"),
    "fps_negative": ({"fps": -23.0}, "fps is -23, expected 1 to 120"),
    "fps_huge": ({"fps": 1e6}, r"fps is 1e\+06, expected 1 to 120"),
    "fps_nan": ({"fps": math.nan}, "fps is nan, expected 1 to 120"),
    "fps_0_with_length": ({"fps": 0.0, "length": 17}, "fps is 0, expected 1 to 120"),
    "length_6": ({"length": 6}, r"length is 6, expected 4n \+ 1 frames .*: use 5 or 9, or 0"),
    "length_80": ({"length": 80}, "length is 80, .*: use 77 or 81, or 0 for the length of the speech"),
    "length_1": ({"length": 1}, "length is 1, .* at least 5 .*: use 5, or 0"),
    "length_negative": ({"length": -3}, "length is -3, .* at least 5 .*: use 5, or 0"),
}


@pytest.mark.parametrize("sound, message", BAD_AUDIO.values(), ids=BAD_AUDIO)
def test_a_recording_that_cannot_be_encoded_is_refused(host, encode, sound, message):
    with pytest.raises(host.core("errors").FantasyTalkingError, match=message):
        encode(sound, length=17)


@pytest.mark.parametrize("settings, message", BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_settings_that_make_no_clip_are_refused(host, encode, settings, message):
    with pytest.raises(host.core("errors").FantasyTalkingError, match=message):
        encode(audio(SPEECH), **settings)


def test_the_shortest_clip_at_the_highest_frame_rate_still_holds_one_token(encode):
    speech = encode(audio(SPEECH), fps=waveform.MAX_FPS, length=5)[0]
    assert speech.tokens.shape[0] == 1


def test_nan_outside_of_the_clip_does_not_matter(encode):
    samples = noise(10.0, 16000)
    damaged = samples.clone().index_fill_(1, torch.tensor([9 * 16000]), math.nan)
    assert torch.equal(encode(audio(damaged), length=17)[0].tokens, encode(audio(samples), length=17)[0].tokens)


# ------------------------------------------------------------------------------------ what is said, and goes on


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "FantasyTalking" in record.getMessage()]


@pytest.mark.parametrize("samples", [torch.zeros(1, 16000), noise(1.0, 16000) * 1e-6], ids=["zero", "codec_noise"])
def test_silent_audio_is_encoded_with_a_warning(encode, caplog, samples):
    speech = encode(audio(samples), length=17)[0]
    assert [line for line in warnings(caplog) if "the audio is silent, the face will not speak" in line]
    assert speech.tokens.shape[0] == 36 and torch.isfinite(speech.tokens).all()


def test_silence_in_the_clip_is_told_even_if_others_speak_later(encode, caplog):
    samples = noise(10.0, 16000)
    samples[:, : 5 * 16000] = 0
    encode(audio(samples), length=17)
    assert any("silent" in line for line in warnings(caplog))


def test_quiet_speech_is_not_silence(encode, caplog):
    encode(audio(pcm("pcm16_16k_quiet")), length=17)
    assert not warnings(caplog)


@pytest.mark.parametrize("frames, is_told", [(81, False), (85, True)])
def test_a_clip_longer_than_those_of_the_training_is_told_with_what_to_do(encode, caplog, frames, is_told):
    encode(audio(noise(4.0, 16000)), length=frames)
    told = [line for line in warnings(caplog) if f"the clip has {frames} frames" in line and "Context Windows" in line]
    assert bool(told) is is_told


@pytest.fixture(scope="module")
def tiny_wav2vec(host, tmp_path_factory):
    """The smallest encoder with the stride of wav2vec2-base-960h, on one thread: fastest for layers that small."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        conv_dim=(4,) * 7,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=4,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True, sampling_rate=16000).save_pretrained(folder)
    yield host.core("host.loading").load_wav2vec(folder)
    torch.set_num_threads(threads)


def test_an_hour_of_speech_is_encoded_piece_by_piece(encode, tiny_wav2vec, caplog):
    """57,600,000 samples; the model never sees more than 30 s, and the log says how many frames that will be."""
    heard = []
    hook = tiny_wav2vec.model.register_forward_pre_hook(lambda model, args: heard.append(args[0].shape[-1]))
    try:
        speech, sound, length, _ = encode(audio(noise(3600.0, 16000)), encoder=tiny_wav2vec)
    finally:
        hook.remove()
    assert max(heard) <= 30 * 16000 and len(heard) > 120
    assert length == speech.frames == 82801
    assert speech.tokens.shape == ((int(82801 / FPS * 16000) - 400) // 320 + 1, 16)
    assert torch.isfinite(speech.tokens).all()
    assert sound["waveform"].shape[-1] == int(82801 / FPS * 16000)
    assert any("82801 frames (3600.0 s)" in line for line in warnings(caplog))


@pytest.mark.parametrize(("length", "fps"), [(1_000_001, 23.0), (100_001, 1.0)])
def test_a_clip_of_many_hours_is_refused_before_it_fills_the_memory(length, fps):
    with pytest.raises(FantasyTalkingError, match=r"The clip would last \d+\.\d hours .*expected at most 4: make the video"):
        waveform.clip_frames(Recording(noise(1.0, 16000), 16000), fps, length)
