"""What the nodes show of what they have decided."""

import numpy as np
import pytest
import torch
from PIL import Image

from fantasytalking_core.speech.speech import BINS
from support import identity, motion
from support.faces import landmarks, points
from support.reference import FOLDER


def noise(samples: int, seed: int = 1) -> torch.Tensor:
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def execute(host):
    """Run a node as the host does; returns its NodeOutput."""

    def run_node(node_id: str, **inputs):
        with torch.inference_mode():
            return host.nodes[node_id].execute(**inputs)

    return run_node


@pytest.fixture(scope="module")
def wav2vec(host):
    return host.core("host.loading").load_wav2vec(FOLDER / "wav2vec2")


@pytest.fixture
def encode(execute, wav2vec):
    def encode_speech(samples: torch.Tensor, rate=16000, fps=23.0, length=0, start_time=0.0):
        sound = {"waveform": samples[None, None], "sample_rate": rate}
        return execute(
            "FantasyTalkingEncodeSpeech", wav2vec=wav2vec, audio=sound, fps=fps, length=length, start_time=start_time
        )

    return encode_speech


def pictures(shown) -> list[torch.Tensor]:
    import folder_paths

    files = shown.as_dict()["images"]
    assert {file["type"] for file in files} == {"temp"}
    paths = [f"{folder_paths.get_temp_directory()}/{file['subfolder']}/{file['filename']}" for file in files]
    return [torch.from_numpy(np.asarray(Image.open(path), dtype=np.float32) / 255) for path in paths]


def test_encode_speech_hands_on_the_outline_of_what_the_encoder_hears(encode):
    samples = noise(8000)
    speech = encode(samples, length=17, start_time=0.25).args[0]
    assert speech.sound.recorded == pytest.approx(0.25)
    assert speech.sound.envelope.shape == (17 * BINS, 2) and speech.sound.loudness.shape == (17,)
    heard = samples[4000:8000]
    assert speech.sound.envelope.min() == heard.min() and speech.sound.envelope.max() == heard.max()
    # 0.25 s are 5.75 frames; 11826 samples / 17 are a frame
    assert speech.sound.loudness[0] == pytest.approx(heard[:695].square().mean().sqrt().item(), rel=1e-4)
    assert (speech.sound.loudness[:6] > 0).all() and not speech.sound.loudness[6:].any()


@pytest.mark.parametrize(
    ("seconds", "length", "text"),
    [
        (17 / 23, 17, "17 frames · 0.74 s at 23 fps"),
        (0.5, 17, "17 frames · 0.74 s at 23 fps\n0.24 s of silence added at the end"),
        (2.0, 17, "17 frames · 0.74 s at 23 fps"),
    ],
)
def test_encode_speech_shows_length_and_added_silence(encode, seconds, length, text):
    assert encode(noise(round(seconds * 16000)), length=length).ui.as_dict() == {"text": (text,)}


@pytest.mark.parametrize(
    ("name", "write", "text"),
    [
        ("reference.safetensors", None, "audio · 2 blocks × 256"),
        (identity.NAME, identity.write, "audio · identity (3 tokens) · 2 blocks × 256"),
        (motion.NAME, motion.write, "audio · motion · 2 blocks × 256"),
    ],
)
def test_the_loaders_show_what_the_adapter_holds(execute, models, name, write, text):
    if write is not None:
        write(models / "fantasytalking" / name)
    alone = execute("FantasyTalkingAdapterLoader", adapter_name=name)
    with_dit = execute(
        "FantasyTalkingDiTLoader", dit_name="reference_wan_i2v.safetensors", weight_dtype="default", adapter_name=name
    )
    assert alone.ui.as_dict() == with_dit.ui.as_dict() == {"text": (text,)}


def test_the_page_that_queued_the_run_is_told_what_to_show_on_which_node(host, execute, monkeypatch):
    """Only what is sent so is drawn on any node; a run that no page has queued sends nothing."""
    import server
    from comfy_execution.utils import CurrentNodeContext

    sent = []
    page = server.PromptServer.instance
    monkeypatch.setattr(page, "send_progress_text", lambda *message: sent.append(message))
    for client in (None, "page"):
        monkeypatch.setattr(page, "client_id", client)
        with CurrentNodeContext("prompt", "7"):
            execute("FantasyTalkingAdapterLoader", adapter_name="reference.safetensors")
    assert sent == [("audio · 2 blocks × 256", "7", "page")]


@pytest.fixture
def drawn(host, monkeypatch):
    """What the page is told to draw: the texts and on which node."""
    import server

    sent = []
    page = server.PromptServer.instance
    monkeypatch.setattr(page, "send_progress_text", lambda text, node, client: sent.append((text, node)))
    monkeypatch.setattr(page, "send_sync", lambda event, data, client: sent.append((event, data, client)))
    monkeypatch.setattr(page, "client_id", "page")
    return sent


def say(host, *warnings, node="7", log=True):
    import sys

    from comfy_execution.utils import CurrentNodeContext

    package = host.nodes["FantasyTalkingSampler"].__module__.rpartition(".")[0]
    with CurrentNodeContext("prompt", node):
        sys.modules[f"{package}.shown"].text(warnings=warnings, log=log)


def test_a_warning_whose_cause_is_gone_leaves_the_node(host, drawn):
    """The page takes no empty text; where nothing is drawn, nothing is sent, and the node stays as small as it is."""
    say(host, node="71")
    assert drawn == []
    say(host, "It is dark.", node="71")
    say(host, node="71")
    say(host, node="71")
    assert [message for message in drawn if len(message) == 2] == [("⚠ It is dark.", "71"), (" ", "71")]


def test_warnings_reach_a_page_that_does_not_show_the_node(host, drawn):
    """As an event, which web/fantasytalking.js shows; once, where a run says them again with its progress."""
    say(host, "It is dark.", "It is cold.", node="12:5")
    say(host, "It is dark.", node="12:5", log=False)
    say(host, node="12:5")
    event = ("fantasytalking.warnings", {"node": "12:5", "warnings": ["It is dark.", "It is cold."]}, "page")
    assert [message for message in drawn if len(message) == 3] == [event]


@pytest.mark.parametrize(("batch", "pictures_shown"), [(1, 1), (3, 3), (20, 16)])
def test_crop_face_shows_its_preview_on_itself_of_a_long_batch_the_first_ones(execute, batch, pictures_shown):
    images = torch.rand(batch, 64, 64, 3, generator=torch.Generator().manual_seed(2))
    found = landmarks(*[[points(10, 10, 40, 40)]] * batch, size=(64, 64))
    out = execute("FantasyTalkingCropFace", image=images, padding=0.1, face_index=0, face_landmarks=found)
    shown = pictures(out.ui)
    assert len(shown) == pictures_shown
    for picture, preview in zip(shown, out.args[2]):
        torch.testing.assert_close(picture, preview, atol=1.01 / 255, rtol=0)


def test_preview_speech_shows_the_picture_that_it_gives_out(host, encode, execute):
    out = execute("FantasyTalkingPreviewSpeech", speech=encode(noise(8000), length=17).args[0])
    (shown,) = pictures(out.ui)
    assert out.args[0].shape[0] == 1 and shown.std() > 0.05
    torch.testing.assert_close(shown, out.args[0][0], atol=1.01 / 255, rtol=0)


def test_preview_speech_runs_with_nothing_wired_to_it(host):
    assert host.nodes["FantasyTalkingPreviewSpeech"].OUTPUT_NODE


def test_crop_face_is_shown_again_by_a_page_that_was_reloaded(host):
    """The host then sends what it has cached, of nodes that say so."""
    assert host.nodes["FantasyTalkingCropFace"].HAS_INTERMEDIATE_OUTPUT and not host.nodes["FantasyTalkingCropFace"].OUTPUT_NODE
