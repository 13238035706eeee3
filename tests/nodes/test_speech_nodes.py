"""The node that encodes speech: its outputs, what it says, and how much it bears."""

import math

import pytest
import torch

from fantasytalking_core.speech import waveform
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


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if "FantasyTalking" in record.getMessage()]


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


def test_the_features_of_a_44_khz_stereo_recording_are_the_releases(encode):
    speech = encode(audio(pcm("pcm16_44k_stereo"), 44100), length=17)[0]
    assert speech.tokens.shape[0] == numbers("audio/features")["stereo"]["tokens"]
    assert difference(speech.tokens, tensors("audio/features")["stereo44.last_hidden_state"][0]) < 2e-4


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


@pytest.mark.parametrize(
    ("sound", "settings", "message"),
    [
        (None, {}, "There is no audio: .* has no sound"),
        (audio(noise(1.0, 16000)), {"start_time": math.nan}, "start_time is nan s, expected"),
    ],
)
def test_what_makes_no_clip_is_refused(host, encode, sound, settings, message):
    with pytest.raises(host.core("errors").FantasyTalkingError, match=message):
        encode(sound, **settings)


def test_the_shortest_clip_at_the_highest_frame_rate_still_holds_one_token(encode):
    speech = encode(audio(noise(1.0, 16000)), fps=waveform.MAX_FPS, length=5)[0]
    assert speech.tokens.shape[0] == 1


@pytest.mark.parametrize("samples", [torch.zeros(1, 16000), noise(1.0, 16000) * 1e-6], ids=["zero", "codec_noise"])
def test_silent_audio_is_encoded_with_a_warning(encode, caplog, samples):
    speech = encode(audio(samples), length=17)[0]
    assert [line for line in warnings(caplog) if "the audio is silent, the face will not speak" in line]
    assert speech.tokens.shape[0] == 36 and torch.isfinite(speech.tokens).all()


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
