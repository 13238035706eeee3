"""The identity branch: its sizes, its formula, its file."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from fantasytalking_core.adapter.adapter import Adapter
from fantasytalking_core.adapter.attention import face_attention
from fantasytalking_core.adapter.audio import AudioWidths
from fantasytalking_core.adapter.file import read_adapter, save_adapter
from fantasytalking_core.adapter.identity import IdentityBranch, IdentityWidths
from fantasytalking_core.commands.convert import main as convert
from fantasytalking_core.errors import FantasyTalkingError
from support import identity
from support.reference import FOLDER

AUDIO = AudioWidths(audio=768, projected=512, model=256, blocks=2)
PUBLISHED = FOLDER / "fantasytalking" / "fantasytalking_tiny.safetensors"


@pytest.fixture
def file(tmp_path):
    identity.write(tmp_path / "adapter.safetensors")
    return tmp_path / "adapter.safetensors"


def test_by_default_it_has_the_sizes_of_the_closest_public_designs():
    """16 queries, width 1280, depth 4, 20 heads of 64, 512-d in, 2048-d out; the 14B model's 40 blocks of 5120."""
    widths = IdentityWidths(model=5120, blocks=40)
    with torch.device("meta"):
        branch = IdentityBranch(widths)
    shapes = {key: tuple(value.shape) for key, value in branch.state_dict(prefix="identity.").items()}
    assert shapes["identity.resampler.queries.weight"] == (16, 1280)
    assert shapes["identity.resampler.proj_in.weight"] == (1280, 512)
    assert shapes["identity.resampler.proj_out.weight"] == (2048, 1280)
    assert shapes["identity.resampler.layers.3.attention.q_proj.weight"] == (20 * 64, 1280)
    assert shapes["identity.blocks.39.v_proj.weight"] == (5120, 2048)
    assert shapes == identity.shapes(widths)
    assert {layer.attention.heads for layer in branch.resampler.layers} == {20}


def test_the_resampler_is_its_formula(file):
    adapter = Adapter(AUDIO, identity.WIDTHS)
    adapter.load_state_dict(read_adapter(file).weights)
    faces = torch.stack([identity.embedding(seed) for seed in (4, 5)])
    with torch.no_grad():
        tokens = adapter.identity.resampler(faces)
    for face, ours in zip(faces, tokens):
        expected = identity.identity_tokens(identity.weights(), face)
        torch.testing.assert_close(ours.double(), expected, atol=1e-5, rtol=0)
    assert (tokens[0] - tokens[1]).abs().max() > 0.1


@pytest.mark.parametrize("batch", [1, 2])
def test_face_attention_is_its_formula(batch):
    generator = torch.Generator().manual_seed(1)
    q, k, v = (
        torch.randn(n, rows, 32, generator=generator)
        for n, rows in (
            (
                batch,
                24,
            ),
            (1, 5),
            (1, 5),
        )
    )
    expected = torch.stack([identity.attend(item, k[0], v[0], 4) for item in q])
    torch.testing.assert_close(face_attention(q, k, v, 4).double(), expected, atol=1e-6, rtol=0)


def test_fresh_keys_and_values_are_zero_and_the_queries_are_not():
    torch.manual_seed(0)
    branch = IdentityBranch(identity.WIDTHS)
    assert all(not weight.any() for weight in branch.blocks.state_dict().values())
    assert branch.resampler.queries.weight.detach().std().item() == pytest.approx(identity.WIDTHS.resampler**-0.5, rel=0.3)


# ---------------------------------------------------------------------------------------------------------- the file


def test_all_widths_are_read_from_the_file(file):
    found = read_adapter(file)
    assert found.identity == identity.WIDTHS and found.parts == ("audio", "identity")


def test_without_a_word_on_heads_they_are_64_wide(tmp_path):
    widths = IdentityWidths(
        model=256, blocks=2, embedding=12, queries=3, resampler=16, depth=1, heads=2, inner=128, projected=6
    )
    adapter = Adapter(AUDIO, widths)
    save_file(adapter.state_dict(), tmp_path / "adapter.safetensors")
    assert read_adapter(tmp_path / "adapter.safetensors").identity == widths


def test_a_saved_adapter_comes_back(tmp_path):
    torch.manual_seed(0)
    adapter = Adapter(AUDIO, identity.WIDTHS)
    save_adapter(tmp_path / "adapter.safetensors", adapter.state_dict(), adapter.metadata())
    found = read_adapter(tmp_path / "adapter.safetensors")
    assert (found.audio, found.identity) == (AUDIO, identity.WIDTHS)
    for key, weight in adapter.state_dict().items():
        assert torch.equal(found.weights[key], weight), key


def test_the_published_file_has_no_identity():
    found = read_adapter(PUBLISHED)
    assert found.identity is None and found.parts == ("audio",)


def test_trained_identity_weights_are_joined_with_the_published_audio_weights(tmp_path, capsys):
    save_file(identity.weights(), tmp_path / "identity.safetensors", {"identity_heads": str(identity.WIDTHS.heads)})
    assert convert([str(PUBLISHED), str(tmp_path / "identity.safetensors"), str(tmp_path / "both.safetensors")]) == 0
    assert read_adapter(tmp_path / "both.safetensors").identity == identity.WIDTHS
    assert "audio, identity" in capsys.readouterr().out


def change(weights, metadata, kind):
    if kind == "a weight is missing":
        del weights["identity.resampler.norm_out.bias"]
    elif kind == "a block is missing":
        weights = {key: value for key, value in weights.items() if not key.startswith("identity.blocks.1")}
    elif kind == "no queries":
        del weights["identity.resampler.queries.weight"]
    elif kind == "a weight of another shape":
        weights["identity.resampler.proj_out.bias"] = torch.zeros(7)
    elif kind == "a strange weight":
        weights["identity.resampler.bonus.weight"] = torch.zeros(7)
    elif kind == "heads that do not divide":
        metadata["identity_heads"] = "3"
    elif kind == "heads that are no number":
        metadata["identity_heads"] = "four"
    elif kind == "a vector for a matrix":
        weights["identity.resampler.proj_in.weight"] = torch.zeros(7)
    return weights, metadata


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("a weight is missing", "lacks identity.resampler.norm_out.bias"),
        ("a block is missing", "2 blocks hear speech and 1 see the face"),
        ("no queries", "lacks identity.resampler.queries.weight"),
        ("a weight of another shape", r"identity.resampler.proj_out.bias has shape \[7\], expected \[6\]"),
        ("a strange weight", "holds identity.resampler.bonus.weight"),
        ("heads that do not divide", "width 8 and 3 heads"),
        ("heads that are no number", "width 8 and four heads"),
        ("a vector for a matrix", "expected a matrix"),
    ],
)
def test_a_damaged_file_is_refused_in_words(file, kind, said):
    weights, metadata = change(load_file(file), {"identity_heads": str(identity.WIDTHS.heads)}, kind)
    save_file(weights, file, metadata)
    with pytest.raises(FantasyTalkingError, match=said):
        read_adapter(file)
