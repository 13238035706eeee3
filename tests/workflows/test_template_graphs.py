"""The graphs of the templates, as the server runs them: what it accepts, and which node hears and sees what."""

import pytest
from settings import in_demo_size, template_in_demo_size

from support.templates import (
    DUB,
    FEW_STEPS,
    IDENTITY,
    LONG,
    MOTION,
    SMALL_CARD,
    SPEAKERS,
    TEMPLATES,
    as_prompt,
    class_of,
    info,
    named,
    node_of,
    read,
    refused,
    source,
    template,
    unmuted,
)

SPEECH = "FantasyTalkingEncodeSpeech"


@pytest.fixture(params=TEMPLATES, ids=lambda path: path.stem)
def workflow(request) -> dict:
    return read(request.param)


@pytest.fixture
def prompt(host, workflow) -> dict:
    return as_prompt(host, workflow)


def test_the_host_accepts_everything_but_files_that_are_not_here(host, workflow, prompt):
    assert refused(prompt) == {}
    assert refused(as_prompt(host, unmuted(workflow))) == {}


def test_the_copy_that_the_page_lists_in_demo_size_runs_what_the_demo_runs(host, workflow, prompt):
    expected = {key: node["inputs"] for key, node in in_demo_size(prompt).items() if not key.startswith("enlarge_")}
    for video in (key for key, node in prompt.items() if node["class_type"] == "CreateVideo"):
        expected[video] = prompt[video]["inputs"]  # not enlarged
    copy = as_prompt(host, template_in_demo_size(workflow))
    assert {key: node["inputs"] for key, node in copy.items()} == expected


def sounds(prompt: dict, sound: list) -> list:
    """What a video's sound comes from, through the host's Audio Merge where that mixes it."""
    if source(prompt, sound)[0] != "AudioMerge":
        return [sound]
    return [prompt[sound[0]]["inputs"][name] for name in ("audio1", "audio2")]


def test_it_saves_a_video_that_follows_the_speech(prompt):
    if class_of(prompt, "FantasyTalkingSampler", "FantasyTalkingRender") == "FantasyTalkingRender":
        heard = [node_of(prompt, "FantasyTalkingConditioning")["speech"], node_of(prompt, "FantasyTalkingRender")["audio"]]
        assert [source(prompt, link) for link in heard] == [(SPEECH, 0), (SPEECH, 1)]
        return  # it saves a video itself, as long and as fast as the speech
    video = node_of(prompt, "CreateVideo")
    fps = video["fps"]
    if source(prompt, fps) == ("ComfyMathExpression", 0):  # more frames, just as many times per second
        product = prompt[fps[0]]["inputs"]
        assert product["expression"] == "a * b"
        assert product["values.b"] == node_of(prompt, "FrameInterpolate")["multiplier"]
        fps = product["values.a"]
    assert {source(prompt, link) for link in sounds(prompt, video["audio"])} == {(SPEECH, 1)}
    assert source(prompt, fps) == (SPEECH, 3)
    assert source(prompt, node_of(prompt, "WanImageToVideo")["length"]) == (SPEECH, 2)
    assert source(prompt, node_of(prompt, "SaveVideo")["video"]) == ("CreateVideo", 0)


def test_the_face_is_cut_from_the_portrait_as_it_was_loaded(host):
    prompt = template(host, IDENTITY)
    crop, encoder = "FantasyTalkingCropFace", "FantasyTalkingEncodeFaceCLIP"
    assert source(prompt, node_of(prompt, "FantasyTalkingConditioning")["identity"]) == (encoder, 0)
    assert source(prompt, node_of(prompt, encoder)["face"]) == (crop, 0)
    assert source(prompt, node_of(prompt, crop)["image"]) == ("LoadImage", 0)
    assert node_of(prompt, encoder)["clip_vision"] == node_of(prompt, "CLIPVisionEncode")["clip_vision"]


def test_what_a_clip_needs_is_muted(host):
    of_a_clip = {"LoadVideo", "GetVideoComponents", "LoadMediaPipeFaceLandmarker", "FantasyTalkingMotionFromVideo"}
    assert of_a_clip.isdisjoint(node["class_type"] for node in template(host, MOTION).values())
    shown = as_prompt(host, unmuted(named(MOTION)))
    assert of_a_clip <= {node["class_type"] for node in shown.values()}
    assert source(shown, node_of(shown, "FantasyTalkingMotionFromVideo")["adapter"]) == ("FantasyTalkingAdapterLoader", 0)


def test_each_speaker_has_the_turns_and_the_part_of_the_picture_of_the_same_number(host):
    prompt = template(host, SPEAKERS)
    found = set()
    for node in prompt.values():
        if node["class_type"] == "FantasyTalkingConditioning":
            speech = prompt[node["inputs"]["speech"][0]]
            links = {
                "FantasyTalkingSpeakerTurns": speech["inputs"]["audio"],
                "FantasyTalkingSpeakerMasks": node["inputs"]["mask"],
            }
            assert [source(prompt, link)[0] for link in links.values()] == [*links]
            found.add(tuple(info(host.nodes[kind])["output_name"][slot] for kind, (_, slot) in links.items()))
    assert found == {("speaker 1", "speaker 1"), ("speaker 2", "speaker 2")}


def test_the_portrait_of_a_render_is_what_the_image_encoder_sees(host):
    prompt = template(host, LONG)
    assert node_of(prompt, "FantasyTalkingRender")["start_image"] == node_of(prompt, "CLIPVisionEncode")["image"]


def test_a_render_goes_on_when_its_graph_is_run_again_from_the_page():
    """The page changes a seed after every run unless it is told not to."""
    (render,) = (node for node in named(LONG)["nodes"] if node["type"] == "FantasyTalkingRender")
    assert render["widgets_values"][:2] == [1111, "fixed"]


@pytest.mark.parametrize(("name", "edge"), [(FEW_STEPS, 512), (SMALL_CARD, 448)])
def test_few_steps_are_guided_by_the_speech_alone_in_two_passes(host, name, edge):
    prompt = template(host, name)
    sampler = node_of(prompt, "FantasyTalkingSampler")
    guidance = host.core("sampling.guidance")
    steps = [guidance.Guidance(sampler["text_cfg"], sampler["audio_cfg"]).passes(step, 4) for step in range(4)]
    assert sampler["steps"] == 4
    assert steps == [guidance.Passes(guidance.Pass.TEXT, None, guidance.Pass.SPEECH)] * 4
    assert source(prompt, sampler["model"]) == ("LoraLoaderModelOnly", 0)
    assert node_of(prompt, "ImageScaleToMaxDimension")["largest_size"] == edge


def test_a_dub_is_of_the_video_alone_and_is_pasted_back_into_it(host):
    prompt = template(host, DUB)
    frames, mask = ("GetVideoComponents", 0), ("FantasyTalkingMouthMask", 0)
    of = {
        kind: {name: source(prompt, link) for name, link in node_of(prompt, kind).items() if isinstance(link, list)}
        for kind in (
            *("FantasyTalkingMouthMask", "MediaPipeFaceLandmarker", "FantasyTalkingDubLatent", "FantasyTalkingSampler", SPEECH),
            *("ImageFromBatch", "WanImageToVideo", "CLIPVisionEncode", "ImageCompositeMasked", "CreateVideo"),
        )
    }
    assert of["FantasyTalkingMouthMask"]["images"] == of["MediaPipeFaceLandmarker"]["image"] == frames
    assert of["FantasyTalkingDubLatent"] == {"vae": ("VAELoader", 0), "images": frames, "mask": mask}
    assert of["FantasyTalkingSampler"]["latent_image"] == ("FantasyTalkingDubLatent", 0)
    assert of[SPEECH]["length"] == ("FantasyTalkingDubLatent", 1) and of[SPEECH]["fps"] == ("GetVideoComponents", 2)
    first = node_of(prompt, "ImageFromBatch")
    assert of["ImageFromBatch"] == {"image": frames} and (first["batch_index"], first["length"]) == (0, 1)
    assert of["WanImageToVideo"]["start_image"] == of["CLIPVisionEncode"]["image"] == ("ImageFromBatch", 0)
    assert of["ImageCompositeMasked"] == {"destination": frames, "source": ("VAEDecode", 0), "mask": mask}
    assert of["CreateVideo"]["images"] == ("ImageCompositeMasked", 0)
    assert node_of(prompt, "FantasyTalkingSampler")["denoise"] == 1
