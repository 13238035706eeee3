"""The face in the model: Eq. 4 at every block, in every pass; strength 0; once per run."""

import pytest
import torch

from fantasytalking_core.adapter.adapter import Adapter
from fantasytalking_core.adapter.file import read_adapter, save_adapter
from fantasytalking_core.speech.windows import PADDING
from support import identity
from support.runs import Watch, adapter_with, clip, hear, ksample, sample, speech

STRENGTHS = {"audio_strength": 1.0, "identity_strength": 0.5}


@pytest.fixture
def adapter(models, run):
    return adapter_with(identity, run, models)


@pytest.fixture
def face(host):
    return host.core("adapter.identity").FaceEmbedding(identity.embedding())


@pytest.fixture
def tokens(host):
    """A face as CLIP tokens."""
    return host.core("adapter.identity").FaceTokens(torch.randn(257, 1280, generator=torch.Generator().manual_seed(9)))


def apply(run, model, adapter, **strengths):
    return run("FantasyTalkingApplyAdapter", model=model, adapter=adapter, **{**STRENGTHS, **strengths})[0]


def see(run, positive, negative, voice, face):
    return run("FantasyTalkingConditioning", positive=positive, negative=negative, speech=voice, identity=face)


def face_only(host, conditioning, face):
    entries = host.core("host.conditioning").entries_of_face(face)
    return host.core("host.conditioning").with_entries(conditioning, entries)


# --------------------------------------------------------------------------------------------------------------- Eq. 4


class Record:
    """What the cross-attention of block `index` computed in every model call, by the host's own layers."""

    LAYERS = ("norm_q", "norm_k", "v", "norm_k_img", "v_img")

    def __init__(self, model, index: int):
        self.calls: list[dict[str, torch.Tensor]] = []
        attention = model.model.diffusion_model.blocks[index].cross_attn
        self.heads, self.handles = attention.num_heads, []
        for name in self.LAYERS:
            self.handles.append(getattr(attention, name).register_forward_hook(self.noting(name)))
        self.handles.append(attention.o.register_forward_hook(lambda module, args, out: self.note("sum", args[0])))

    def noting(self, name):
        return lambda module, args, out: self.note(name, out)

    def note(self, name: str, value: torch.Tensor) -> None:
        if name == "norm_q":
            self.calls.append({})
        self.calls[-1].setdefault(name, value.clone())  # the first one: the face may go through the image's layers later

    def remove(self):
        for handle in self.handles:
            handle.remove()


def key_value(weights, part: str, index: int, rows: torch.Tensor):
    return [rows @ weights[f"{part}.blocks.{index}.{kind}_proj.weight"].double().T for kind in "kv"]


def heard(weights, index: int, voice, q: torch.Tensor, heads: int) -> torch.Tensor:
    """Speech, frame by frame, written out."""
    projected = voice.tokens.double() @ weights["audio.projector.proj.weight"].double().T
    rows = identity.normed(projected, {key: value.double() for key, value in weights.items()}, "audio.projector.norm")
    out, windows = [], voice.windows()
    for queries, window in zip(q.chunk(len(windows)), windows):
        out.append(identity.attend(queries, *key_value(weights, "audio", index, rows[window[window != PADDING]]), heads))
    return torch.cat(out)


@pytest.mark.parametrize("kind", ["embedding", "tokens"])
@pytest.mark.parametrize("batch", [1, 2])
def test_every_block_adds_speech_and_face_as_in_equation_4(host, run, model, adapter, face, tokens, batch, kind):
    positive, negative, latent = clip(13, batch=batch)
    voice, face = speech(host, 13), face if kind == "embedding" else tokens
    weights = read_adapter(path_of(host)).weights
    patched = apply(run, model, adapter, audio_strength=0.8, identity_strength=0.6)
    records = [Record(patched, index) for index in (0, 1)]
    try:
        ksample(run, patched, *see(run, positive, negative, voice, face), latent, steps=1)
    finally:
        for record in records:
            record.remove()
    dit = model.model.diffusion_model
    with torch.no_grad():
        rows = dit.img_emb(tokens.tokens[None])
    for index, record in enumerate(records):
        assert len(record.calls) == 2  # positive, which hears, and negative, which does not
        if kind == "embedding":
            k, v = key_value(weights, "identity", index, identity.identity_tokens(identity.weights(), face.vector))
        else:
            own = dit.blocks[index].cross_attn
            with torch.no_grad():
                k, v = own.norm_k_img(own.k_img(rows))[0], own.v_img(rows)[0]
        sums = []
        for call in record.calls:
            assert call["sum"].shape[0] == batch
            for item in range(batch):
                q = call["norm_q"][item]
                text = identity.attend(q, call["norm_k"][item], call["v"][item], record.heads)
                image = identity.attend(q, call["norm_k_img"][item], call["v_img"][item], record.heads)
                seen = identity.attend(q, k, v, record.heads)
                without_speech = text + image + 0.6 * seen
                with_speech = without_speech + 0.8 * heard(weights, index, voice, q.double(), record.heads)
                differences = [(call["sum"][item] - expected).abs().max().item() for expected in (with_speech, without_speech)]
                sums.append(differences)
                assert (0.6 * seen).abs().max() > 1e-2  # else the comparison could not fail
        hears = [difference[0] < 1e-5 for difference in sums]
        silent = [difference[1] < 1e-5 for difference in sums]
        assert sorted([hears[:batch], hears[batch:]]) == [[False] * batch, [True] * batch], sums
        assert silent == [not h for h in hears], sums


def path_of(host):
    return host.core("host.folders").adapter_path(identity.NAME)


# ------------------------------------------------------------------------------------------------------- bit-identical


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("sampler", [sample, ksample])
def test_at_strength_zero_it_is_bit_identical_to_no_identity(host, run, model, adapter, face, sampler, batch):
    positive, negative, latent = clip(13, batch=batch)
    voice = speech(host, 13)
    patched = apply(run, model, adapter, identity_strength=0.0)
    without = sampler(run, patched, *hear(run, positive, negative, voice), latent)
    assert torch.equal(sampler(run, patched, *see(run, positive, negative, voice, face), latent), without)
    seen = sampler(run, apply(run, model, adapter), *see(run, positive, negative, voice, face), latent)
    assert (seen - without).abs().max() > 1e-3


def test_the_face_counts_without_speech(host, run, model, adapter, face):
    positive, negative, latent = clip(13)
    patched = apply(run, model, adapter)
    positive_face, negative_face = (face_only(host, conditioning, face) for conditioning in (positive, negative))
    seen = ksample(run, patched, positive_face, negative_face, latent)
    assert (seen - ksample(run, model, positive, negative, latent)).abs().max() > 1e-3


def test_with_audio_strength_zero_the_face_still_counts(host, run, model, adapter, face):
    positive, negative, latent = clip(13)
    silent = apply(run, model, adapter, audio_strength=0.0)
    both = ksample(run, silent, *see(run, positive, negative, speech(host, 13), face), latent)
    alone = ksample(run, apply(run, model, adapter), *(face_only(host, c, face) for c in (positive, negative)), latent)
    assert torch.equal(both, alone)


def test_a_freshly_initialised_module_leaves_the_model_bit_identical(host, run, model, models, face):
    torch.manual_seed(0)
    audio = read_adapter(path_of_reference(host))
    fresh = Adapter(audio.audio, identity.WIDTHS)
    weights = {**fresh.state_dict(), **audio.weights}
    save_adapter(models / "fantasytalking" / "fresh.safetensors", weights, fresh.metadata())
    adapter = run("FantasyTalkingAdapterLoader", adapter_name="fresh.safetensors")[0]
    positive, negative, latent = clip(13)
    voice = speech(host, 13)
    patched = apply(run, model, adapter)
    without = sample(run, patched, *hear(run, positive, negative, voice), latent)
    assert torch.equal(sample(run, patched, *see(run, positive, negative, voice, face), latent), without)


def path_of_reference(host):
    return host.core("host.folders").adapter_path("reference.safetensors")


# -------------------------------------------------------------------------------------------------------- once per run


def test_the_faces_keys_and_values_are_computed_once_per_run_and_block(host, run, model, adapter, face, monkeypatch):
    computed = []
    real = host.core("adapter.identity").IdentityResampler.forward
    monkeypatch.setattr(
        host.core("adapter.identity").IdentityResampler,
        "forward",
        lambda self, x: computed.append("resampler") or real(self, x),
    )
    key_value = host.core("adapter.attention").KeyValue
    project = key_value.forward

    def counted(self, rows):
        if rows.shape[1] == identity.WIDTHS.queries:
            computed.append("block")
        return project(self, rows)

    monkeypatch.setattr(key_value, "forward", counted)
    positive, negative, latent = clip(13)
    sample(run, apply(run, model, adapter), *see(run, positive, negative, speech(host, 13), face), latent, steps=3)
    assert sorted(computed) == ["block", "block", "resampler"]


def counting_image_calls(model) -> list[int]:
    """Rows that the first block's image keys were computed of, in order."""
    rows = []
    model.model.diffusion_model.blocks[0].cross_attn.k_img.register_forward_hook(
        lambda module, args, out: rows.append(args[0].shape[1])
    )
    return rows


def test_a_face_of_clip_tokens_goes_through_the_image_layers_once_per_run(host, run, model, adapter, tokens):
    positive, negative, latent = clip(13)
    two = host.core("adapter.identity").FaceTokens(tokens.tokens.repeat(2, 1))  # 514, to tell it from the portrait's 257
    rows = counting_image_calls(model)
    sample(run, apply(run, model, adapter), *see(run, positive, negative, speech(host, 13), two), latent, steps=3)
    assert rows.count(514) == 1 and rows.count(257) >= 3


def test_while_a_hook_changes_the_weights_clip_tokens_are_not_kept(host, run, model, adapter, tokens, tmp_path):
    """A LoRA that is scheduled over the steps also changes the image keys and values that the face goes through."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    base = "diffusion_model.blocks.0.cross_attn.k_img"
    lora = {
        f"{base}.lora_down.weight": torch.randn(4, 256, generator=generator),
        f"{base}.lora_up.weight": torch.randn(256, 4, generator=generator),
    }
    save_file(lora, tmp_path / "lora.safetensors")
    import comfy.utils

    host_nodes = __import__("comfy.hooks", fromlist=["hooks"])
    hooks = host_nodes.create_hook_lora(comfy.utils.load_torch_file(str(tmp_path / "lora.safetensors")), 1.0, 1.0)
    positive, negative, latent = clip(13)
    two = host.core("adapter.identity").FaceTokens(tokens.tokens.repeat(2, 1))
    conditioning = see(run, positive, negative, speech(host, 13), two)
    hooked = [host_nodes.set_hooks_for_conditioning(c, hooks) for c in conditioning]
    rows = counting_image_calls(model)
    sample(run, apply(run, model, adapter), *hooked, latent, steps=3)
    assert rows.count(514) >= 3


# ------------------------------------------------------------------------------------------------------ composition


def test_context_windows_each_see_the_face(host, run, model, adapter, face):
    frames = 29
    positive, negative, latent = clip(frames)
    windows = run(
        "WanContextWindowsManual",
        model=apply(run, model, adapter),
        context_length=17,
        context_overlap=4,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        freenoise=False,
    )[0]
    voice = speech(host, frames)
    without = sample(run, windows, *hear(run, positive, negative, voice), latent, steps=1)
    seen = sample(run, windows, *see(run, positive, negative, voice, face), latent, steps=1)
    assert ((seen - without).abs().amax(dim=(0, 1, 3, 4)) > 1e-4).all()  # in every latent frame


def test_two_people_in_two_areas_keep_their_own_faces(host, run, model, adapter, face):
    """Half of the picture each; a half with its face is what it is when the whole picture has that face."""
    other = host.core("adapter.identity").FaceEmbedding(identity.embedding(seed=11))
    positive, negative, latent = clip(5)
    patched = apply(run, model, adapter)

    def half(conditioning, x):
        area = {"width": 0.5, "height": 1.0, "temporal": 1.0, "x": x, "y": 0.0, "z": 0.0, "strength": 1.0}
        return run("ConditioningSetAreaPercentageVideo", conditioning=conditioning, **area)[0]

    def picture(left, right):
        conditioning = half(face_only(host, positive, left), 0.0) + half(face_only(host, positive, right), 0.5)
        return ksample(run, patched, conditioning, negative, latent, cfg=1.0, steps=1)

    mixed = picture(face, other)
    torch.testing.assert_close(mixed[..., :2], picture(face, face)[..., :2], atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed[..., 2:], picture(other, other)[..., 2:], atol=1e-5, rtol=0)
    assert (mixed[..., 2:] - picture(face, face)[..., 2:]).abs().max() > 1e-3


def test_all_three_passes_see_the_face(host, run, model, adapter, face, monkeypatch):
    seen = []
    call = host.core("host.model_call")
    real = call.face_attention
    monkeypatch.setattr(call, "face_attention", lambda q, *args: seen.append(q.shape[0]) or real(q, *args))
    watch = Watch()
    positive, negative, latent = clip(13)
    patched = watch.on(apply(run, model, adapter))
    sample(run, patched, *see(run, positive, negative, speech(host, 13), face), latent, steps=1)
    assert sum(call["rows"] for call in watch.calls) == 3  # text 4.0 and speech 5.0: three passes
    assert sum(seen) == 3 * 2  # in both blocks


# -------------------------------------------------------------------------------------------------------------- refusals


def test_a_face_embedding_without_identity_weights_is_an_error_that_names_both_ways_out(host, run, model, face):
    published = run("FantasyTalkingAdapterLoader", adapter_name="reference.safetensors")[0]
    positive, negative, latent = clip(13)
    conditioning = see(run, positive, negative, speech(host, 13), face)
    watch = Watch()
    patched = watch.on(run("FantasyTalkingApplyAdapter", model=model, adapter=published, **STRENGTHS)[0])
    for sampler in (sample, ksample):
        with pytest.raises(ValueError, match=r"Encode Face \(CLIP\).*or load an adapter that was trained with identity"):
            sampler(run, patched, *conditioning, latent)
    assert not watch.calls


def test_clip_tokens_need_no_identity_weights(host, run, model, tokens):
    published = run("FantasyTalkingAdapterLoader", adapter_name="reference.safetensors")[0]
    positive, negative, latent = clip(13)
    patched = run("FantasyTalkingApplyAdapter", model=model, adapter=published, **STRENGTHS)[0]
    voice = speech(host, 13)
    seen = sample(run, patched, *see(run, positive, negative, voice, tokens), latent)
    assert (seen - sample(run, patched, *hear(run, positive, negative, voice), latent)).abs().max() > 1e-3


def test_an_embedding_of_another_encoder_is_refused(host, run, model, adapter):
    positive, negative, latent = clip(13)
    strange = host.core("adapter.identity").FaceEmbedding(torch.ones(512) / 512**0.5)
    with pytest.raises(ValueError, match="has width 512, the adapter's identity weights expect 12"):
        sample(run, apply(run, model, adapter), *see(run, positive, negative, speech(host, 13), strange), latent)


def test_a_face_on_a_model_without_adapter_is_refused_by_the_guider(host, run, model, face):
    positive, negative, latent = clip(13)
    with pytest.raises(ValueError, match="carries a face, but the model has no FantasyTalking adapter"):
        sample(run, model, *(face_only(host, c, face) for c in (positive, negative)), latent)


# ---------------------------------------------------------------------------------------------------- face to CLIP tokens


class Vision:
    """A CLIP vision model of the host, with the given width, that gives every picture its own tokens."""

    def __init__(self, width: int = 1280):
        self.width, self.saw = width, None

    def encode_image(self, image, crop=True):
        import comfy.clip_vision

        self.saw = image
        output = comfy.clip_vision.Output()
        marks = image.mean(dim=(1, 2, 3))
        output["penultimate_hidden_states"] = marks[:, None, None].expand(-1, 257, self.width)
        return output


def test_several_faces_are_seen_side_by_side(run):
    faces = torch.stack([torch.full((32, 32, 3), 0.25), torch.full((32, 32, 3), 0.75)])
    (identity_,) = run("FantasyTalkingEncodeFaceCLIP", clip_vision=Vision(), face=faces)
    assert identity_.tokens.shape == (2 * 257, 1280) and identity_.tokens.dtype == torch.float32
    assert (identity_.tokens[:257] == 0.25).all() and (identity_.tokens[257:] == 0.75).all()


def test_a_grey_face_and_one_with_alpha_are_seen_as_rgb(run):
    for channels in (1, 4):
        vision = Vision()
        run("FantasyTalkingEncodeFaceCLIP", clip_vision=vision, face=torch.full((1, 32, 32, channels), 0.5))
        assert vision.saw.shape == (1, 32, 32, 3)


def test_another_vision_model_is_refused(run):
    with pytest.raises(ValueError, match=r"shape \[1, 257, 1024\].*clip_vision_h"):
        run("FantasyTalkingEncodeFaceCLIP", clip_vision=Vision(1024), face=torch.zeros(1, 32, 32, 3))
