"""The stand-ins for the two encoders that can not be made small: what the small models read in their place."""

import pytest
import torch


@pytest.fixture
def stand_ins(host):
    return host.core("host.stand_ins")


def embedded(stand_ins, text: str) -> torch.Tensor:
    encoder = stand_ins.StandInTextEncoder()
    ((embedding, _),) = encoder.encode_from_tokens_scheduled(encoder.tokenize(text))
    return embedding


def test_text_is_as_large_as_the_small_dit_reads_it(stand_ins):
    from drawn_world import IMAGE_DIM, IMAGE_TOKENS, TEXT_DIM, TEXT_ROWS

    assert embedded(stand_ins, "word " * 100).shape == (1, TEXT_ROWS, TEXT_DIM)
    tokens = stand_ins.StandInImageEncoder().encode_image(torch.rand(3, 50, 40, 3))["penultimate_hidden_states"]
    assert tokens.shape == (3, IMAGE_TOKENS, IMAGE_DIM)


def test_a_word_is_the_same_vector_everywhere_and_nothing_follows_the_text(stand_ins):
    rows, others = embedded(stand_ins, "A red hat, red")[0], embedded(stand_ins, "Red")[0]
    assert torch.equal(rows[1], others[0]) and torch.equal(rows[1], rows[3]) and not torch.equal(rows[1], rows[2])
    assert not rows[4:].any() and rows[:4].any(-1).all()
    assert embedded(stand_ins, " ".join(map(str, range(32)))).var().item() == pytest.approx(1, abs=0.1)


def test_the_class_token_is_the_mean_of_the_patches(stand_ins):
    tokens = stand_ins.StandInImageEncoder().encode_image(torch.rand(1, 64, 64, 3), crop=False)["penultimate_hidden_states"][0]
    assert torch.allclose(tokens[0], tokens[1:].mean(0), atol=1e-5)


def test_a_crop_takes_the_square_in_the_middle(stand_ins):
    encode = stand_ins.StandInImageEncoder().encode_image
    picture = torch.rand(1, 28, 56, 3)
    name = "penultimate_hidden_states"
    assert torch.equal(encode(picture)[name], encode(picture[:, :, 14:42])[name])
    assert not torch.equal(encode(picture, crop=False)[name], encode(picture)[name])


def test_a_face_is_encoded_by_the_stand_in(stand_ins, run):
    (tokens,) = run("FantasyTalkingEncodeFaceCLIP", clip_vision=stand_ins.StandInImageEncoder(), face=torch.rand(2, 32, 32, 3))
    assert tokens.tokens.shape == (2 * 17, 1280)
