"""What the Comfy registry is told of the pack."""

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from host import ComfyUI
from PIL import Image

from support import ROOT

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


def test_the_oldest_host_is_the_readmes():
    versions = re.findall(r"^\| (\d+\.\d+\.\d+) \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
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
        "__init__.py", "CHANGELOG.md", "LICENSE", "README.md", "demo", "docs", "fantasytalking_core", "locales", "nodes",
        "pyproject.toml", "requirements.txt", "web", "workflows", ".comfyignore",
    }  # fmt: skip
    assert sorted(path.name for path in (archive / "demo").iterdir()) == [
        "conversation_speech.wav", "pair_portrait.jpg", "portrait.jpg", "speech.wav",
    ]  # fmt: skip
    assert sum(path.stat().st_size for path in archive.rglob("*") if path.is_file()) < 5_000_000


def test_no_link_in_it_is_dead(archive):
    for text in texts(archive):
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (text.parent / target).exists(), f"{text.relative_to(archive)} links to {target}"


def test_no_command_in_it_is_for_a_file_that_it_lacks(archive):
    for text in texts(archive):
        words = text.read_text(encoding="utf-8")
        assert "dev.py" not in words and "for developers" not in words, text
        for module in re.findall(r"python -m (fantasytalking_core[\w.]*)", words):
            assert (archive / module.replace(".", "/") / "__main__.py").exists(), f"{text}: {module}"


def test_links_to_what_is_left_out_lead_to_the_repository(archive):
    readme = (archive / "README.md").read_text(encoding="utf-8")
    assert "](https://github.com/someone/talking/blob/abc123/docs/evidence.md)" in readme


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


def test_a_fresh_comfyui_loads_it_lists_its_templates_and_serves_its_help(archive):
    with ComfyUI(archive.parents[1] / "log.txt", base=archive.parents[1]) as host:

        def get(path: str) -> bytes:
            with urllib.request.urlopen(f"{host.address}{path}", timeout=30) as answer:
                return answer.read()

        nodes = [name for name in json.loads(get("/object_info")) if name.startswith("FantasyTalking")]
        assert len(nodes) >= 17
        templates = json.loads(get("/workflow_templates"))["fantasytalking"]
        assert sorted(templates) == sorted(file.stem for file in (archive / "workflows").glob("*.json"))
        assert b"#" in get("/extensions/fantasytalking/docs/FantasyTalkingSampler.md")
