"""A host's AUDIO is read as what it means, however other packs write it, and refused in words where it means nothing."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech.recording import FORMATS, Recording
from support.sound import audio, noise

SPEECH = noise(1.0, 16000)


class Lazy(Mapping):
    """An AUDIO that is read when it is asked for, as VideoHelperSuite gives it."""

    def __init__(self, read: Callable[[], dict]) -> None:
        self.read = read

    def __getitem__(self, key):
        return self.read()[key]

    def __iter__(self):
        return iter(self.read())

    def __len__(self) -> int:
        return len(self.read())


def samples_of(sound: object) -> torch.Tensor:
    recording = Recording.of(sound)
    return recording.between(0, recording.samples.shape[-1])


# --------------------------------------------------------------------------------------------------- what is taken


def test_a_hosts_audio_is_taken_as_it_is():
    recording = Recording.of(audio(noise(0.5, 44100, 2), 44100))
    assert torch.equal(recording.between(0, 22050), noise(0.5, 44100, 2))
    assert (recording.rate, recording.seconds) == (44100, 0.5)


@pytest.mark.parametrize("dtype", FORMATS)
def test_samples_of_any_format_come_out_as_float32(dtype):
    assert samples_of(audio((SPEECH * 100).to(dtype))).dtype == torch.float32


def test_float64_is_taken_as_float32():
    assert torch.equal(samples_of(audio(SPEECH.double())), SPEECH)


@pytest.mark.parametrize("dtype, full_scale", [(torch.int16, 2**15), (torch.int32, 2**31)])
def test_integer_samples_are_scaled_to_full_scale(dtype, full_scale):
    samples = samples_of(audio(torch.tensor([[-full_scale, 0, full_scale // 2]], dtype=dtype)))
    assert torch.equal(samples, torch.tensor([[-1.0, 0.0, 0.5]]))


def test_bytes_have_their_zero_in_the_middle():
    samples = samples_of(audio(torch.tensor([[0, 128, 192]], dtype=torch.uint8)))
    assert torch.equal(samples, torch.tensor([[-1.0, 0.0, 0.5]]))


def test_a_tensor_without_the_batch_axis_is_one_recording():
    samples = noise(1.0, 16000, 2)
    assert torch.equal(samples_of({"waveform": samples, "sample_rate": 16000}), samples)


def test_a_bare_row_of_samples_is_mono():
    assert torch.equal(samples_of({"waveform": SPEECH[0], "sample_rate": 16000}), SPEECH)


def test_samples_that_lie_apart_in_memory_are_read_in_their_order():
    samples = noise(1.0, 16000, 2)
    interleaved = {"waveform": samples.T.contiguous().T[None], "sample_rate": 16000}
    assert not interleaved["waveform"].is_contiguous()
    assert torch.equal(samples_of(interleaved), samples)


def test_a_recording_that_requires_grad_is_only_read():
    assert not samples_of(audio(SPEECH.clone().requires_grad_())).requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_recording_on_the_gpu_comes_to_the_cpu():
    assert samples_of(audio(SPEECH.cuda())).device.type == "cpu"


@pytest.mark.parametrize("rate", [44100.0, torch.tensor(44100), np.int64(44100), "44100"])
def test_a_sample_rate_need_not_be_an_int(rate):
    recording = Recording.of(audio(SPEECH, rate))
    assert recording.rate == 44100 and type(recording.rate) is int


def test_audio_that_is_read_only_when_it_is_asked_for_is_asked():
    assert torch.equal(samples_of(Lazy(lambda: audio(SPEECH))), SPEECH)


def test_ten_hours_are_not_converted_before_they_are_cut():
    """In half precision, of one sample in memory: as float32 they would be 4.6 GB."""
    sample = torch.tensor(0.125, dtype=torch.float16)
    recording = Recording.of(audio(sample.expand(2, 36000 * 16000)))
    assert recording.samples.data_ptr() == sample.data_ptr()
    assert torch.equal(recording.between(16000, 16003), torch.full((2, 3), 0.125))


# ------------------------------------------------------------------------------------------------- what is refused


def fails(error: Exception) -> Callable[[], dict]:
    def read() -> dict:
        raise error

    return read


def on_the_socket(waveform: object, rate: object = 16000) -> dict:
    return {"waveform": waveform, "sample_rate": rate}


NO_FLOATS = "expected a plain tensor of float samples: wire a host AUDIO output"
NO_RATE = "expected 1000 to 768000 Hz: load the recording again"
NO_SHAPE = r"expected \[1, channels, samples\]: wire a host AUDIO output"
REFUSED = {
    "none": (None, "There is no audio: .* has no sound. Wire a recording of speech"),
    "no_dict": ([SPEECH, 16000], "audio is of type list, expected the host's AUDIO"),
    "a_constant": ("speech.wav", "audio is of type str, expected the host's AUDIO"),
    "missing_key": ({"samples": SPEECH}, "audio is a dict of samples, expected .* waveform and sample_rate"),
    "missing_rate": ({"waveform": SPEECH}, "audio is a dict of waveform, expected .* waveform and sample_rate"),
    "empty_dict": ({}, "audio is a dict of nothing, expected"),
    "keys_that_are_no_text": ({1: 2, None: 3}, "audio is a dict of 1, None, expected"),
    "mute_video": (
        Lazy(fails(RuntimeError("ffmpeg: no stream\nand more"))),
        r"^The audio can't be read \(ffmpeg: no stream\): the video .* has no sound, or .* damaged. Wire a recording",
    ),
    "file_that_is_gone": (Lazy(fails(FileNotFoundError(2, "gone"))), r"The audio can't be read \(\[Errno 2\] gone\)"),
    "error_without_words": (Lazy(fails(KeyError())), r"The audio can't be read \(KeyError\)"),
    "no_tensor": (on_the_socket("speech.wav"), f"The waveform of audio is of type str, {NO_FLOATS}"),
    "array": (on_the_socket(SPEECH.numpy()), f"The waveform of audio is of type ndarray, {NO_FLOATS}"),
    "integers_of_unknown_scale": (audio(SPEECH.long()), f"is a strided tensor of int64 on cpu, {NO_FLOATS}"),
    "complex": (audio(SPEECH.to(torch.complex64)), f"is a strided tensor of complex64 on cpu, {NO_FLOATS}"),
    "float8": (audio(SPEECH.to(torch.float8_e4m3fn)), f"is a strided tensor of float8_e4m3fn on cpu, {NO_FLOATS}"),
    "meta": (audio(SPEECH.to("meta")), f"is a strided tensor of float32 on meta, {NO_FLOATS}"),
    "sparse": (audio(SPEECH.to_sparse()), f"is a sparse_coo tensor of float32 on cpu, {NO_FLOATS}"),
    "nested": (
        on_the_socket(torch.nested.nested_tensor([SPEECH[0], SPEECH[0, :9]], layout=torch.jagged)),
        f"is a nested tensor of float32 on cpu, {NO_FLOATS}",
    ),
    "quantized": (
        audio(torch.quantize_per_tensor(SPEECH, 0.01, 0, torch.qint8)),
        f"is a strided tensor of qint8 on cpu, {NO_FLOATS}",
    ),
    "no_axes": (on_the_socket(torch.tensor(0.5)), rf"audio has shape \[\], {NO_SHAPE}"),
    "four_axes": (audio(SPEECH[None]), rf"audio has shape \[1, 1, 1, 16000\], {NO_SHAPE}"),
    "channels_last": (audio(SPEECH.T), rf"audio has shape \[1, 16000, 1\], {NO_SHAPE}"),
    "channels_last_without_batch": (on_the_socket(SPEECH.T), rf"audio has shape \[16000, 1\], {NO_SHAPE}"),
    "no_channels": (audio(SPEECH[:0]), rf"audio has shape \[1, 0, 16000\], {NO_SHAPE}"),
    "batch_of_two": (on_the_socket(SPEECH.expand(2, 1, -1)), "batch of 2 clips, expected one: encode each clip"),
    "batch_of_none": (on_the_socket(SPEECH.expand(2, 1, -1)[:0]), rf"audio has shape \[0, 1, 16000\], {NO_SHAPE}"),
    "empty": (audio(SPEECH[:, :0]), "The audio is empty: expected a recording of speech"),
    "rate_0": (audio(SPEECH, 0), f"sample rate of 0, {NO_RATE}"),
    "rate_negative": (audio(SPEECH, -16000), f"sample rate of -16000, {NO_RATE}"),
    "rate_in_khz": (audio(SPEECH, 44.1), f"sample rate of 44.1, {NO_RATE}"),
    "rate_absurd": (audio(SPEECH, 10**12), f"sample rate of 1000000000000, {NO_RATE}"),
    "rate_endless": (audio(SPEECH, 10**5000), f"has a sample rate of .{{0,80}}, {NO_RATE}"),
    "rate_nan": (audio(SPEECH, math.nan), f"sample rate of nan, {NO_RATE}"),
    "rate_infinite": (audio(SPEECH, math.inf), f"sample rate of inf, {NO_RATE}"),
    "rate_none": (audio(SPEECH, None), f"sample rate of None, {NO_RATE}"),
    "rate_of_two": (audio(SPEECH, [44100]), rf"sample rate of \[44100\], {NO_RATE}"),
    "rate_in_words": (audio(SPEECH, "CD"), f"sample rate of CD, {NO_RATE}"),
    "rate_without_a_value": (audio(SPEECH, torch.empty((), device="meta")), rf"sample rate of tensor\(.*\), {NO_RATE}"),
}


@pytest.mark.parametrize("sound, message", REFUSED.values(), ids=REFUSED)
def test_what_is_no_recording_is_refused(sound, message):
    with pytest.raises(FantasyTalkingError, match=message):
        Recording.of(sound)


def test_a_person_who_interrupts_is_not_told_of_a_damaged_file():
    with pytest.raises(KeyboardInterrupt):
        Recording.of(Lazy(fails(KeyboardInterrupt())))
