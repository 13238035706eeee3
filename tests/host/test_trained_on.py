"""What an adapter's file says of its training counts in sampling: a face of another encoder is refused."""

import json

import pytest
import torch

from fantasytalking_core.adapter.file import read_adapter, save_adapter
from support import identity
from support.face_models import mean_model
from support.runs import Watch, apply, clip, ksample, sample, speech

ENCODER = "w600k_r50.onnx (174383860 bytes)"


@pytest.fixture
def adapter(models, run):
    """Random identity weights, trained with ENCODER as a cache's index has it."""
    path = models / "fantasytalking" / "trained_encoder.safetensors"
    identity.write(path)
    known = read_adapter(path)
    data = json.dumps({"samples": 3, "encoders": {"vae": "tiny", "face": ENCODER}})
    save_adapter(path, known.weights, {**known.metadata, "data": data})
    return run("FantasyTalkingAdapterLoader", adapter_name=path.name)[0]


def seen(host, run, encoder: str):
    positive, negative, latent = clip(5)
    face = host.core("adapter.identity").FaceEmbedding(identity.embedding(), encoder)
    conditioning = run(
        "FantasyTalkingConditioning", positive=positive, negative=negative, speech=speech(host, 5), identity=face
    )
    return (*conditioning, latent)


def test_a_face_of_another_encoder_is_refused_before_anything_is_computed(host, run, model, adapter):
    watch = Watch()
    patched = watch.on(apply(run, model, adapter))
    for other in ("glintr100.onnx (260665334 bytes)", "w600k_r50.onnx (87191930 bytes)"):
        for sampler in (sample, ksample):
            with pytest.raises(ValueError) as error:
                sampler(run, patched, *seen(host, run, other))
            assert str(error.value) == (
                f"The face was encoded with {other}, the adapter's identity weights were trained with {ENCODER}: load that file "
                "in the Face Encoder Loader."
            )
    assert not watch.calls


@pytest.mark.parametrize("encoder", [ENCODER, ""], ids=["the same", "unknown"])
def test_a_face_of_the_same_or_an_unknown_encoder_is_taken(host, run, model, adapter, encoder):
    assert torch.isfinite(sample(run, apply(run, model, adapter), *seen(host, run, encoder), steps=1)).all()


def test_an_identity_names_the_file_that_made_it(host, tmp_path):
    pytest.importorskip("onnxruntime")
    encoder = host.core("face.encoder")
    path = mean_model(tmp_path / "some_face.onnx")
    embedding = encoder.embed(torch.rand(1, 112, 112, 3), encoder.read_face_encoder(path))
    assert embedding.encoder == f"some_face.onnx ({path.stat().st_size} bytes)"
