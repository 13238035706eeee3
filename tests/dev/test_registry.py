"""What the Comfy registry is told of the pack."""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import av
import numpy as np
import pytest
from host import ComfyUI
from PIL import Image

from support import ROOT
from support.client import queue

tomllib = pytest.importorskip("tomllib", reason="part of Python from 3.11 on")

TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TEXT)
spec = importlib.util.spec_from_file_location("registry", ROOT / ".github" / "registry.py")
registry = importlib.util.module_from_spec(spec)
spec.loader.exec_module(registry)


def requirements(name: str) -> set[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def test_it_asks_for_what_the_requirements_ask_for():
    assert set(PROJECT["project"]["dependencies"]) == requirements("requirements.txt")


def test_its_version_is_the_changelogs_first():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changelog, re.MULTILINE)[1] == PROJECT["project"]["version"]


def test_the_oldest_host_is_that_of_the_page_of_versions():
    said = (ROOT / "docs/versions.md").read_text(encoding="utf-8")
    versions = re.findall(r"^\| (\d+\.\d+\.\d+) \|", said, re.MULTILINE)
    oldest = min(versions, key=lambda version: [int(part) for part in version.split(".")])
    assert PROJECT["tool"]["comfy"]["requires-comfyui"] == f">={oldest}"


@pytest.mark.parametrize(("picture", "limits"), [("Icon", (800, 400)), ("Banner", None)])
def test_its_pictures_are_there_and_of_the_asked_size(picture, limits):
    """An icon of at most 800×400 pixels, a banner of 21:9."""
    size = Image.open(ROOT / PROJECT["tool"]["comfy"][picture]).size
    if limits:
        assert size[0] <= limits[0] and size[1] <= limits[1]
    else:
        assert size[0] / size[1] == pytest.approx(21 / 9, abs=0.01)


def test_published_from_a_repository_it_has_that_repositorys_addresses():
    published = tomllib.loads(registry.addressed(TEXT, "someone/talking", "abc123"))
    assert published["project"]["urls"]["Repository"] == "https://github.com/someone/talking"
    assert published["tool"]["comfy"]["Icon"] == "https://raw.githubusercontent.com/someone/talking/abc123/docs/icon.png"
    assert published["tool"]["comfy"]["Banner"] == "https://raw.githubusercontent.com/someone/talking/abc123/docs/banner.jpg"
    del published["project"]["urls"]
    published["tool"]["comfy"] |= {key: PROJECT["tool"]["comfy"][key] for key in ("Icon", "Banner")}
    assert published == PROJECT


# -------------------------------------------------------------------------------------------------------- the archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """What the registry makes of the repository, unpacked as a pack of a fresh ComfyUI."""
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True).returncode != 0:
        pytest.skip("no git checkout")
    base = tmp_path_factory.mktemp("registry")
    pack, files = base / "custom_nodes" / "fantasytalking", [file for file in registry.archived() if (ROOT / file).is_file()]
    for file in files:
        (pack / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, pack / file)
    registry.prepare(pack, files, "someone/talking", "abc123")
    return pack


def texts(archive: Path) -> list[Path]:
    return sorted(archive.rglob("*.md"))


def test_it_holds_what_an_artist_needs_and_nothing_else(archive):
    assert {path.name for path in archive.iterdir()} == {
        "__init__.py", "CHANGELOG.md", "LICENSE", "README.md", "demo", "docs", "fantasytalking_core", "locales",
        "nodes", "pyproject.toml", "requirements.txt", "sources", "subgraphs", "web", "workflows", ".comfyignore",
    }  # fmt: skip
    assert sorted(path.name for path in (archive / "demo").iterdir()) == [
        "conversation_speech.wav", "drawn_lines.wav", "drawn_milo.png", "drawn_mouth.wav", "drawn_nora.png", "drawn_omar.png",
        "drawn_portrait.png", "drawn_speech.wav", "drawn_zola.png", "pair_portrait.jpg", "portrait.jpg", "speech.wav",
    ]  # fmt: skip
    sources = archive / "sources"
    assert sorted(path.relative_to(sources).as_posix() for path in sources.rglob("*") if path.is_file()) == [
        "drawn_world/models/adapter.safetensors", "drawn_world/models/dit.safetensors", "drawn_world/models/vae.safetensors",
        "drawn_world/models/wav2vec2/config.json", "drawn_world/models/wav2vec2/model.safetensors",
        "drawn_world/models/wav2vec2/preprocessor_config.json",
    ]  # fmt: skip


def test_its_pages_are_those_for_artists_and_for_who_trains_an_adapter(archive):
    """What was measured, and what moves for ten seconds at the top of the README, is read where the repository lives."""
    assert {path.name for path in (archive / "docs").iterdir()} == {
        "files.md", "from_wanvideowrapper.md", "graph.png", "guides.md", "how_it_differs.md", "memory.md", "nodes.md", "pictures",
        "tips.md", "training.md", "training_data.md", "versions.md",
    }  # fmt: skip


def test_it_is_small_enough_to_be_had_in_a_minute(archive, tmp_path):
    """As the registry packs it; most of it are the small models."""
    packed = Path(shutil.make_archive(str(tmp_path / "pack"), "zip", archive))
    assert packed.stat().st_size < 40_000_000


@pytest.mark.parametrize(
    ("rule", "file", "out"),
    [
        ("dev.py", "dev.py", True),
        ("dev.py", "examples/dev.py", False),
        ("tests/", "tests/nodes/test_help.py", True),
        ("tests/", "tests", False),
        ("examples/*.md", "examples/README.md", True),
        ("examples/*.md", "examples/drawn_world/README.md", False),
        ("examples/*.md", "examples/README.txt", False),
    ],
)
def test_a_rule_is_read_as_the_registry_reads_it(rule, file, out):
    """As git reads .gitignore, for the kinds of rules that there are."""
    assert registry.left_out(file, [rule]) is out


def test_no_link_in_it_is_dead(archive):
    for text in texts(archive):
        help_pages = archive / "web/docs"
        folder = help_pages if help_pages in text.parents else text.parent  # as the page shows them, in any language
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (folder / target).exists(), f"{text.relative_to(archive)} links to {target}"


def test_no_command_in_it_is_for_a_file_that_it_lacks(archive):
    for text in texts(archive):
        words = text.read_text(encoding="utf-8")
        assert "dev.py" not in words and "for developers" not in words, text
        for module in re.findall(r"python -m (fantasytalking_core[\w.]*)", words):
            assert (archive / module.replace(".", "/") / "__main__.py").exists(), f"{text}: {module}"


def test_links_to_what_is_left_out_lead_to_the_repository(archive):
    readme = (archive / "README.md").read_text(encoding="utf-8")
    assert "](https://github.com/someone/talking/blob/abc123/docs/evidence.md)" in readme


def test_its_commands_fetch_that_repository(archive):
    readme = (archive / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"git clone (\S+)", readme) == ["https://github.com/someone/talking"] * 3


def test_the_templates_portrait_and_recording_lie_in_it(archive):
    wanted = {
        widget
        for file in (archive / "workflows").glob("*.json")
        for node in json.loads(file.read_text(encoding="utf-8"))["nodes"]
        if node["type"] in ("LoadImage", "LoadAudio")
        for widget in node["widgets_values"][:1]
    }
    assert wanted and all((archive / "demo" / name).exists() for name in wanted), wanted


def test_it_imports_nothing_by_name_and_starts_no_program(archive):
    for file in archive.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imported = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        called = {
            node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        }
        assert not called & {"import_module", "exec_module", "system", "popen"}, file
        assert not imported & {"subprocess", "runpy", "socket", "urllib", "requests", "ctypes"}, file


@pytest.fixture(scope="module")
def host_alone(archive):
    """A ComfyUI that has this archive and nothing else: no model, no picture."""
    with ComfyUI(archive.parents[1] / "log.txt", base=archive.parents[1]) as running:
        yield running


def get(host: ComfyUI, path: str) -> bytes:
    with urllib.request.urlopen(f"{host.address}{path}", timeout=30) as answer:
        return answer.read()


def test_a_fresh_comfyui_loads_it_lists_its_templates_and_serves_its_help(archive, host_alone):
    nodes = [name for name in json.loads(get(host_alone, "/object_info")) if name.startswith("FantasyTalking")]
    assert len(nodes) >= 20
    templates = json.loads(get(host_alone, "/workflow_templates"))["fantasytalking"]
    assert sorted(templates) == sorted(file.stem for file in (archive / "workflows").glob("*.json"))
    assert b"#" in get(host_alone, "/extensions/fantasytalking/docs/FantasyTalkingSampler.md")


def example(length: int, steps: int) -> dict:
    """Small Models and Example to a video, in the form that the server runs."""
    of = {
        "models": ("FantasyTalkingSmallModels", {}),
        "example": (
            "FantasyTalkingExample",
            {"portrait": "Nora (drawn)", "recording": "I was drawn with a few lines (man)"},
        ),
        "speech": (
            "FantasyTalkingEncodeSpeech",
            {"wav2vec": ["models", 4], "audio": ["example", 1], "fps": 23.0, "length": length, "start_time": 0.0},
        ),
        "positive": ("CLIPTextEncode", {"clip": ["models", 1], "text": "A person speaks."}),
        "negative": ("CLIPTextEncode", {"clip": ["models", 1], "text": ""}),
        "seen": ("CLIPVisionEncode", {"clip_vision": ["models", 3], "image": ["example", 0], "crop": "none"}),
        "start": (
            "WanImageToVideo",
            {"positive": ["positive", 0], "negative": ["negative", 0], "vae": ["models", 2], "start_image": ["example", 0]}
            | {"clip_vision_output": ["seen", 0], "width": 96, "height": 96, "length": ["speech", 2], "batch_size": 1},
        ),
        "heard": (
            "FantasyTalkingConditioning",
            {"positive": ["start", 0], "negative": ["start", 1], "speech": ["speech", 0]},
        ),
        "preset": ("FantasyTalkingPreset", {"preset": "preview"}),
        "sampled": (
            "FantasyTalkingSampler",
            {"model": ["models", 0], "positive": ["heard", 0], "negative": ["heard", 1], "latent_image": ["start", 2]}
            | {"seed": 0, "steps": steps, "text_cfg": 1.0, "audio_cfg": 2.0, "guidance_every": ["preset", 3]}
            | {"audio_start_percent": 0.0, "audio_end_percent": 1.0, "sampler_name": "euler", "scheduler": "fantasytalking"}
            | {"shift": 5.0, "denoise": 1.0},
        ),
        "frames": ("VAEDecode", {"samples": ["sampled", 0], "vae": ["models", 2]}),
        "video": ("CreateVideo", {"images": ["frames", 0], "audio": ["speech", 1], "fps": ["speech", 3]}),
        "saved": (
            "SaveVideo",
            {"video": ["video", 0], "filename_prefix": "tried", "format": "mp4", "codec": "h264"},
        ),
    }
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in of.items()}


def test_in_it_alone_a_drawn_person_speaks_without_any_download(archive, host_alone):
    run = queue(host_alone.address, example(length=33, steps=4))
    assert run.status == 200, run.answer
    assert not run.of("execution_error"), run.error
    (saved,) = run.outputs["saved"]["images"]
    with av.open(str(archive.parents[1] / "output" / saved["filename"])) as file:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in file.decode(video=0)]
    with av.open(str(archive.parents[1] / "output" / saved["filename"])) as file:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert len(frames) == 33 and frames[0].shape == (96, 96, 3)
    assert np.abs(samples).max() > 0.05
    with Image.open(archive / "demo/drawn_nora.png") as portrait:
        drawn = np.asarray(portrait).astype(int)
    assert max(np.abs(frame - drawn).mean() for frame in frames) < 20  # it is she, in every frame
    assert max(np.abs(frame - frames[0]).mean() for frame in frames) > 1  # and she moves
    (shown,) = run.outputs["models"]["text"]
    assert shown == "small demo models: know only drawn people of 96×96 pixels"


def test_what_comes_with_it_is_in_no_loaders_list(host_alone):
    nodes = json.loads(get(host_alone, "/object_info"))
    for node, name in {"UNETLoader": "unet_name", "CLIPLoader": "clip_name", "CLIPVisionLoader": "clip_name"}.items():
        choices, *_ = nodes[node]["input"]["required"][name]
        assert not choices, node
    assert "dit.safetensors" not in str(nodes["VAELoader"]) and "vae.safetensors" not in str(nodes["VAELoader"])
