"""What a beginner gets wrong is said in the page: at the right node, in a sentence, within one click and without scrolling."""

from dataclasses import dataclass

import pytest
from settings import SETTINGS

from support import mistakes
from support.page import Page
from support.page_fixtures import DEMO, PINNED
from support.templates import BASIC, IDENTITY, MOTION

QUICK = {**SETTINGS, "FantasyTalkingSampler": {"steps": 1}, "FantasyTalkingEncodeSpeech": {"length": 17}}
AUDIO_ONLY = "fantasytalking_fp16.safetensors"


@dataclass(frozen=True)
class Mistake:
    """On a template, by these calls of page.js; what a person then reads, and the title of the node that it is about."""

    template: str
    made: list
    said: str
    node: str


MISTAKES = {
    "a text encoder as VAE": Mistake(
        BASIC, [("set", "VAELoader", "vae_name", mistakes.TEXT_ENCODER)], "ERROR: VAE is invalid", "Load VAE"
    ),
    "a missing file": Mistake(
        BASIC,
        [("set", "VAELoader", "vae_name", "wan_vae.safetensors")],
        "The value wan_vae.safetensors for Load VAE's vae_name is not available.",
        "Load VAE",
    ),
    "a T2V model": Mistake(
        BASIC,
        [("set", "FantasyTalkingDiTLoader", "dit_name", mistakes.T2V)],
        "The model is a Wan T2V or Wan2.2 one, which does not read the portrait's image tokens: load Wan2.1 I2V 14B (480p or 720p).",
        "FantasyTalking DiT Loader",
    ),
    "the speech unwired": Mistake(
        BASIC,
        [("unwire", "FantasyTalkingConditioning", "speech")],
        "FantasyTalking Conditioning is missing a required input: speech",
        "FantasyTalking Conditioning",
    ),
    "the conditioning bypassed": Mistake(
        BASIC,
        [("bypass", "FantasyTalkingConditioning")],
        "The positive conditioning carries no speech, and the face would not speak: wire it through FantasyTalking "
        "Conditioning, or set audio_strength to 0.",
        "Sampler",
    ),
    "no face": Mistake(
        IDENTITY,
        [("set", "LoadImage", "image", mistakes.WALL)],
        "No face was found in the picture: wire face_landmarks",
        "Crop Face",
    ),
    "two portraits": Mistake(
        BASIC,
        [("batch", "LoadImage")],
        "The positive conditioning has seen 2 pictures, and only the first would be followed: wire one portrait",
        "Sampler",
    ),
    "identity without weights": Mistake(
        IDENTITY,
        [("embed",)],
        "The adapter has no identity weights (the published one has none), and the identity is a face embedding:",
        "Sampler",
    ),
    "motion without weights": Mistake(
        MOTION,
        [("set", "FantasyTalkingAdapterLoader", "adapter_name", AUDIO_ONLY)],
        "The adapter has no motion weights (the published one has none), and motion is wired: leave motion unwired",
        "Sampler",
    ),
    "the portrait unwired": Mistake(
        BASIC, [("unwire", "WanImageToVideo", "start_image")], "The positive conditioning carries no portrait", "Sampler"
    ),
    "an adapter of another model": Mistake(
        BASIC,
        [("set", "FantasyTalkingDiTLoader", "adapter_name", mistakes.OTHER_WIDTH)],
        "The adapter was made for a DiT of 2 blocks of width 256, the model has 6 of width 256:",
        "FantasyTalking DiT Loader",
    ),
}
WARNINGS = {
    "all of a long recording": Mistake(
        BASIC,
        [("set", "FantasyTalkingEncodeSpeech", "length", 0), ("set", "LoadAudio", "audio", mistakes.LONG)],
        "⚠ 117 frames at once are",  # 5 s of 23, and up to the next of 4n + 1
        "",
    ),
    "another fps": Mistake(
        BASIC,
        [("set", "FantasyTalkingEncodeSpeech", "fps", 30)],
        "⚠ The model was trained at 23 fps: at 30 people",
        "",
    ),
}


@pytest.fixture(scope="module")
def view(browser, server):
    running = server(DEMO, PINNED)
    mistakes.add(running.base)
    page = Page(browser, running.address, (1600, 900), Comfy__Locale="en", Comfy__VueNodes__Enabled=False)
    yield page
    page.close()


@pytest.fixture
def page(view, picture):
    view.interrupt()
    view.do("closeAll")
    picture(view)
    return view


def make(page: Page, mistake: Mistake) -> str:
    """Returns the number of the run."""
    page.open_template(mistake.template)
    page.do("setAll", QUICK)
    for call in mistake.made:
        page.do(*call)
    return page.run()


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_said_within_one_click(page, mistake):
    make(page, mistake)
    message = page.error()
    if not page.reads(mistake.said, seconds=0.4):
        page.show_errors()
    assert page.reads(mistake.said, seconds=3), f"the page says: {message} {page.panel()}"
    assert mistake.node in page.panel() + message


@pytest.mark.parametrize("mistake", WARNINGS.values(), ids=WARNINGS)
def test_what_only_harms_the_result_stands_on_the_node_while_it_runs(page, mistake):
    """Its first words: a node of its first size shows two lines."""
    make(page, mistake)
    assert page.reads(mistake.said, seconds=60)
