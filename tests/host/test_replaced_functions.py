"""Beside packs that replace functions of the model: the speech is heard, or an error says who is in the way."""

import pytest
import torch
import torch.nn.functional as F

from support.runs import apply, clip, hear, ksample, sample, speech

FRAMES = 17


def blocks_of(model):
    return model.get_model_object("diffusion_model").blocks


def replaced(model, name: str, function):
    """A clone of the MODEL whose blocks have `function(part, *args, **kwargs)` in the place of their part's forward."""
    model = model.clone()
    for index, block in enumerate(blocks_of(model)):
        part = block.get_submodule(name)

        def forward(*args, part=part, **kwargs):
            return function(part, *args, **kwargs)

        model.add_object_patch(f"diffusion_model.blocks.{index}.{f'{name}.' if name else ''}forward", forward)
    return model


def enhanced_self_attention(part, x, freqs, transformer_options={}):
    """As video enhancers do it: the host's forward, but without its patches, and the result scaled."""
    options = {key: value for key, value in transformer_options.items() if key != "patches"}
    return 1.1 * type(part).forward(part, x, freqs, transformer_options=options)


def cross_attention_by_another_function(part, x, context, context_img_len, transformer_options={}):
    """As attention speed-ups do it: the host's layers, and another function than the host's between them."""

    def heads(rows):
        return rows.unflatten(-1, (part.num_heads, -1)).transpose(1, 2)

    image, text = context[:, :context_img_len], context[:, context_img_len:]
    q = part.norm_q(part.q(x))
    both = [
        F.scaled_dot_product_attention(heads(q), heads(keys), heads(values)).transpose(1, 2).flatten(2)
        for keys, values in (
            (part.norm_k_img(part.k_img(image)), part.v_img(image)),
            (part.norm_k(part.k(text)), part.v(text)),
        )
    ]
    return part.o(both[0] + both[1])


def guided_cross_attention(part, x, context, context_img_len, transformer_options={}):
    """As normalized attention guidance does it: several queries, of the whole batch and of a part of it."""
    from comfy.ldm.modules.attention import attention_pytorch

    text = context[:, context_img_len:]
    part.norm_q(part.q(x))
    halves = []
    for rows, words in zip(x.split(1), text.split(1), strict=True):
        q, k, v = part.norm_q(part.q(rows)), part.norm_k(part.k(words)), part.v(words)
        halves.append(attention_pytorch(q, k, v, heads=part.num_heads))
    return part.o(torch.cat(halves))


def effect(host, run, model, adapter) -> float:
    """How far the speech moves the latents."""
    positive, negative, latent = clip(FRAMES)
    patched = apply(run, model, adapter)
    heard = sample(run, patched, *hear(run, positive, negative, speech(host, FRAMES)), latent)
    other = sample(run, patched, *hear(run, positive, negative, speech(host, FRAMES, seed=4)), latent)
    return (heard - other).abs().max().item()


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("self_attn", enhanced_self_attention),
        ("cross_attn", cross_attention_by_another_function),
        ("cross_attn", guided_cross_attention),
    ],
)
@pytest.mark.parametrize("adapter_first", [False, True])
def test_the_speech_is_heard_beside_a_replaced_function(host, run, model, adapter, name, function, adapter_first):
    plain = effect(host, run, model, adapter)
    assert plain > 1
    if adapter_first:
        positive, negative, latent = clip(FRAMES)
        both = replaced(apply(run, model, adapter), name, function)
        heard = sample(run, both, *hear(run, positive, negative, speech(host, FRAMES)), latent)
        other = sample(run, both, *hear(run, positive, negative, speech(host, FRAMES, seed=4)), latent)
        moved = (heard - other).abs().max().item()
    else:
        moved = effect(host, run, replaced(model, name, function), adapter)
    assert 0.5 * plain < moved < 2 * plain


def test_through_another_attention_function_the_latents_are_the_same(host, run, model, adapter):
    positive, negative, latent = clip(FRAMES)
    heard = hear(run, positive, negative, speech(host, FRAMES))
    expected = sample(run, apply(run, model, adapter), *heard, latent)
    ours = sample(run, apply(run, replaced(model, "cross_attn", cross_attention_by_another_function), adapter), *heard, latent)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_a_newer_hosts_attention_keeps_its_own_way_of_calling(host, run, model, adapter, monkeypatch):
    """ComfyUI from 0.34 on hands query, keys and values over in one container, unless somebody overrides the attention."""
    from comfy.ldm.modules.attention import attention_pytorch
    from comfy.ldm.wan import model as wan

    seen = []

    def attention(container, heads, preferred_attention, transformer_options):
        seen.append("optimized_attention_override" in transformer_options)
        q, k, v = container.pop(), container.pop(), container.pop()
        return attention_pytorch(q, k, v, heads=heads)

    def forward(self, x, context, context_img_len, transformer_options={}):
        image, text = context[:, :context_img_len], context[:, context_img_len:]
        q = self.norm_q(self.q(x))
        options = {"preferred_attention": "int8", "transformer_options": transformer_options}
        seen_image = attention([self.v_img(image), self.norm_k_img(self.k_img(image)), q], self.num_heads, **options)
        return self.o(attention([self.v(text), self.norm_k(self.k(text)), q], self.num_heads, **options) + seen_image)

    positive, negative, latent = clip(FRAMES)
    heard = hear(run, positive, negative, speech(host, FRAMES))
    patched = apply(run, model, adapter)
    expected = sample(run, patched, *heard, latent)
    monkeypatch.setattr(wan.WanI2VCrossAttention, "forward", forward)
    torch.testing.assert_close(sample(run, patched, *heard, latent), expected, atol=1e-4, rtol=0)
    assert seen and not any(seen)


def deaf_block(part, x, e, freqs, context, context_img_len=257, transformer_options={}):
    return x + part.ffn(part.norm2(x))


def deaf_cross_attention(part, x, context, context_img_len, transformer_options={}):
    return 0 * x


def fused_cross_attention(part, x, context, context_img_len, transformer_options={}):
    """Its own weights' product for a query, and the host's output layer."""
    return part.o(F.linear(x, part.q.weight))


@pytest.mark.parametrize(
    ("name", "function", "said"),
    [
        ("", deaf_block, "The model has not heard the speech.*has replaced its blocks' forward. Remove that node"),
        ("cross_attn", deaf_cross_attention, "has not heard the speech.*replaced its cross-attention's forward"),
        ("cross_attn", fused_cross_attention, "replaced the model's cross-attention by one that speech and face can't join"),
    ],
)
@pytest.mark.parametrize("sampler", [sample, ksample])
def test_speech_that_is_never_added_is_an_error_that_names_what_was_replaced(
    host, run, model, adapter, name, function, said, sampler
):
    patched = apply(run, replaced(model, name, function), adapter)
    positive, negative, latent = clip(FRAMES)
    ksample(run, patched, positive, negative, latent)  # without speech it is not our business
    with pytest.raises(ValueError, match=said):
        sampler(run, patched, *hear(run, positive, negative, speech(host, FRAMES)), latent)


def test_so_it_is_where_the_whole_forward_is_replaced(host, run, model, adapter):
    patched = apply(run, model, adapter)
    patched.add_object_patch("diffusion_model.forward_orig", lambda x, t, context, **kwargs: x[:, :16])
    positive, negative, latent = clip(FRAMES)
    with pytest.raises(ValueError, match="has replaced the model's forward_orig"):
        sample(run, patched, *hear(run, positive, negative, speech(host, FRAMES)), latent)


def test_a_long_run_ends_at_its_third_step(host, run, model, adapter, watch):
    patched = watch.on(apply(run, replaced(model, "", deaf_block), adapter))
    positive, negative, latent = clip(FRAMES)
    with pytest.raises(ValueError, match="has not heard"):
        sample(run, patched, *hear(run, positive, negative, speech(host, FRAMES)), latent, steps=20)
    assert len({call["sigma"] for call in watch.calls}) == 3


def test_steps_that_a_cache_skips_are_no_error(host, run, model, adapter):
    """From the second step on, the first one's prediction is given again."""
    import comfy.patcher_extension as pe

    kept = []

    def cached(executor, *args, **kwargs):
        if not kept:
            kept.append(executor(*args, **kwargs))
        return kept[0]

    patched = apply(run, model, adapter)
    patched.add_wrapper_with_key(pe.WrappersMP.DIFFUSION_MODEL, "cache", cached)
    positive, negative, latent = clip(FRAMES)
    heard = hear(run, positive, negative, speech(host, FRAMES))
    assert torch.isfinite(ksample(run, patched, *heard, latent, cfg=1.0, steps=6)).all()


def test_nothing_stays_on_the_model_after_a_call_that_fails(host, run, model, adapter):
    patched = apply(run, model, adapter)
    positive, negative, latent = clip(FRAMES)
    heard = hear(run, positive, negative, speech(host, FRAMES))
    with pytest.raises(ValueError, match="has not heard"):
        sample(run, apply(run, replaced(model, "", deaf_block), adapter), *heard, latent)
    for block in blocks_of(patched):
        assert not block.cross_attn.norm_q._forward_hooks and not block.cross_attn.o._forward_pre_hooks
    assert torch.equal(ksample(run, patched, positive, negative, latent), ksample(run, model, positive, negative, latent))
