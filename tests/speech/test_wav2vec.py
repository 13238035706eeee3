"""Audio tokens are the release's (§3.2), and those of long speech close to them, in bounded memory."""

from dataclasses import dataclass

import pytest
import torch

from fantasytalking_core.adapter.adapter import Adapter
from fantasytalking_core.adapter.file import read_adapter
from fantasytalking_core.errors import FantasyTalkingError
from fantasytalking_core.speech import wav2vec
from fantasytalking_core.speech.wav2vec import MARGIN_SECONDS, PIECE_SECONDS, encode, load_wav2vec2, pieces
from fantasytalking_core.speech.waveform import Recording, mono_16k
from fantasytalking_core.speech.windows import PADDING, window_map
from support.encoder import CASES, clip_of, copy, edit_json, long_speech
from support.reference import FOLDER, pcm, tensors

HOP, FIELD = 320, 400
"""Stride and receptive field of Wav2Vec2 in samples, from its kernels 10 3 3 3 3 2 2 and strides 5 2 2 2 2 2 2."""


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@pytest.fixture(scope="module")
def encoder():
    return load_wav2vec2(FOLDER / "wav2vec2")


# ------------------------------------------------------------------------------------------------------- features


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_features_are_the_releases(encoder, case):
    tokens = encode(clip_of(case), *encoder)
    recorded = tensors("audio/features")[f"{case['name']}.last_hidden_state"][0]
    assert tokens.shape == (case["tokens"], 768)
    assert difference(tokens[:: case["hidden_stride"]], recorded) < 2e-4


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_projected_features_are_the_releases(encoder, case):
    file = read_adapter(FOLDER / "fantasytalking" / "fantasytalking_tiny.safetensors")
    adapter = Adapter(file.audio)
    adapter.load_state_dict({key: weight.float() for key, weight in file.weights.items()})
    with torch.no_grad():
        projected = adapter.audio.projector(encode(clip_of(case), *encoder))
    recorded = tensors("audio/features")[f"{case['name']}.proj"][0]
    assert difference(projected[:: case["proj_stride"]], recorded) < 2e-4


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_windows_of_the_features_are_the_releases(case):
    windows = window_map(case["tokens"], case["num_frames"])
    assert windows.shape == (case["latent_frames"], case["window"])
    assert (windows != PADDING).sum(1).tolist() == case["k_lens"]


def test_quiet_speech_is_encoded_as_the_release_does(encoder):
    samples = pcm("pcm16_16k_quiet")
    tokens = encode(mono_16k(Recording(samples, 16000), 17, 23.0), *encoder)
    assert difference(tokens, tensors("audio/features")["quiet.last_hidden_state"][0]) < 2e-4


def heard_by(model) -> tuple[list[torch.Tensor], object]:
    """What the model is given from now on, call by call, and the hook to remove."""
    heard = []
    return heard, model.register_forward_pre_hook(lambda module, args: heard.append(args[0].clone()))


def test_the_encoder_hears_what_the_releases_processor_gives(encoder):
    model, extractor = encoder
    heard, hook = heard_by(model)
    try:
        encode(clip_of(CASES[0]), model, extractor)
    finally:
        hook.remove()
    assert difference(heard[0], tensors("audio/features")["first.input_values"]) < 2e-4


def test_a_folder_whose_settings_ask_for_no_normalisation_gets_none(tmp_path):
    folder = copy(tmp_path)
    edit_json(folder / "preprocessor_config.json", do_normalize=False)
    model, extractor = load_wav2vec2(folder)
    heard, _ = heard_by(model)
    encode(clip_of(CASES[0]), model, extractor)
    assert torch.equal(heard[0][0], clip_of(CASES[0]))


def test_a_clip_without_a_single_token_is_refused(encoder):
    with pytest.raises(FantasyTalkingError, match="lasts 399 samples at 16 kHz, expected at least 400"):
        encode(torch.zeros(399), *encoder)


@pytest.mark.parametrize("damage", [float("nan"), float("inf")])
def test_damaged_weights_are_told_before_they_reach_a_video(tmp_path, damage):
    model, extractor = load_wav2vec2(copy(tmp_path))
    with torch.no_grad():
        model.encoder.layer_norm.bias[3] = damage
    with pytest.raises(FantasyTalkingError, match="makes NaN or infinite tokens of this speech.*download them again from http"):
        encode(clip_of(CASES[0]), model, extractor)


# --------------------------------------------------------------------------------------------------------- pieces


def tokens_of(samples: int) -> int:
    return (samples - FIELD) // HOP + 1


@dataclass(frozen=True)
class Kept:
    """What a piece contributes: tokens of the whole, [first, last)."""

    first: int
    last: int


def kept_by(piece) -> Kept:
    assert piece.start % HOP == 0  # so its tokens are tokens of the whole
    return Kept(piece.start // HOP + piece.first, piece.start // HOP + piece.last)


def cut_of(samples: int) -> list:
    return list(pieces(samples, tokens_of(samples), HOP, FIELD))


@pytest.mark.parametrize("seconds", [1, 30])
def test_speech_of_up_to_30_s_is_one_piece(seconds):
    (piece,) = cut_of(seconds * 16000)
    assert (piece.start, piece.stop) == (0, seconds * 16000)
    assert kept_by(piece) == Kept(0, tokens_of(seconds * 16000))


def test_the_pieces_of_a_minute():
    """A piece is 1499 tokens, a margin 200: 0–1298 are kept of the first; the second begins 200 before token 1299
    and keeps as many less another margin; the last reaches back from the end, token 2998."""
    assert [(piece.start // HOP, kept_by(piece)) for piece in cut_of(60 * 16000)] == [
        (0, Kept(0, 1299)),
        (1099, Kept(1299, 2398)),
        (1500, Kept(2398, 2999)),
    ]


LENGTHS = [480001, 480320, 480400, 500000, 60 * 16000, 90 * 16000 + 7, 1234567, 3600 * 16000]
LENGTHS += torch.randint(480001, 10_000_000, (200,), generator=torch.Generator().manual_seed(0)).tolist()


def test_every_token_is_kept_from_exactly_one_piece():
    for samples in LENGTHS:
        kept = [kept_by(piece) for piece in cut_of(samples)]
        assert kept[0].first == 0 and kept[-1].last == tokens_of(samples)
        assert all(one.last == two.first for one, two in zip(kept, kept[1:])), samples
        assert all(piece.first < piece.last for piece in kept), samples


def test_no_piece_is_longer_than_30_s_or_reaches_outside_of_the_speech():
    for samples in LENGTHS:
        for piece in cut_of(samples):
            assert 0 <= piece.start < piece.stop <= samples
            assert piece.stop - piece.start <= PIECE_SECONDS * 16000 == 480000


def test_a_piece_gives_the_tokens_that_are_kept_of_it():
    for samples in LENGTHS:
        assert all(piece.last <= tokens_of(piece.stop - piece.start) for piece in cut_of(samples))


def test_no_kept_token_lies_within_4_s_of_a_cut():
    margin = int(MARGIN_SECONDS * 16000) // HOP
    assert margin == 200
    for samples in LENGTHS:
        for piece in cut_of(samples):
            is_first, is_last = piece.start == 0, kept_by(piece).last == tokens_of(samples)
            assert is_first or piece.first >= margin
            assert is_last or piece.last <= tokens_of(piece.stop - piece.start) - margin


# ---------------------------------------------------------------------------------------------------- long speech


def in_one_piece(monkeypatch, speech: torch.Tensor, encoder) -> torch.Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(wav2vec, "PIECE_SECONDS", 1e6)
        return encode(speech, *encoder)


def relative_rms(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return ((ours - theirs).pow(2).mean() / theirs.pow(2).mean()).sqrt().item()


def test_long_speech_is_close_to_the_whole(encoder, monkeypatch):
    speech = long_speech(70)
    assert relative_rms(encode(speech, *encoder), in_one_piece(monkeypatch, speech, encoder)) < 0.05


def test_pieces_differ_from_the_whole_by_what_the_attention_does_not_see(monkeypatch):
    """Without attention nothing differs, also where a voice grows louder: all norms are those of the whole."""
    model, extractor = load_wav2vec2(FOLDER / "wav2vec2")
    for layer in model.encoder.layers:
        layer.attention.out_proj.weight.data.zero_()
    speech = long_speech(70) * torch.linspace(0.1, 1.0, 70 * 16000)
    whole = in_one_piece(monkeypatch, speech, (model, extractor))
    assert difference(encode(speech, model, extractor), whole) < 1e-3


def test_the_whole_is_normalised_not_each_piece(encoder):
    """A speaker who is quiet in the first minute and loud in the second stays so."""
    model, extractor = encoder
    speech = torch.cat([long_speech(60) * 0.1, long_speech(60)])
    heard, hook = heard_by(model)
    try:
        encode(speech, model, extractor)
    finally:
        hook.remove()
    expected = (speech - speech.mean()) / (speech.var(correction=0) + 1e-7).sqrt()
    assert difference(heard[0][0], expected[: heard[0].shape[1]]) < 1e-4
    assert heard[-1].std() / heard[0].std() == pytest.approx(10, rel=0.05)


def test_progress_counts_tokens_to_the_last_one(encoder):
    steps = []
    encode(long_speech(70), *encoder, progress=lambda done, total: steps.append((done, total)))
    total = tokens_of(70 * 16000)
    assert [done for done, _ in steps if done] == [kept_by(piece).last for piece in cut_of(70 * 16000)]
    assert steps[-1] == (total, total)
