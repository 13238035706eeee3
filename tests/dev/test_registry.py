"""What the Comfy registry is told of the pack."""

import importlib.util
import re
import subprocess

import pytest
from PIL import Image

from support import ROOT

tomllib = pytest.importorskip("tomllib", reason="part of Python from 3.11 on")

TEXT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PROJECT = tomllib.loads(TEXT)


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
    spec = importlib.util.spec_from_file_location("registry", ROOT / ".github" / "registry.py")
    registry = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(registry)
    published = tomllib.loads(registry.addressed(TEXT, "someone/talking", "abc123"))
    assert published["project"]["urls"]["Repository"] == "https://github.com/someone/talking"
    assert published["tool"]["comfy"]["Icon"] == "https://raw.githubusercontent.com/someone/talking/abc123/docs/icon.png"
    assert published["tool"]["comfy"]["Banner"] == "https://raw.githubusercontent.com/someone/talking/abc123/docs/banner.jpg"
    del published["project"]["urls"]
    published["tool"]["comfy"] |= {key: PROJECT["tool"]["comfy"][key] for key in ("Icon", "Banner")}
    assert published == PROJECT


def test_what_an_artist_needs_is_published_and_what_a_developer_needs_is_not():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode != 0:
        pytest.skip("no git checkout")
    ignored = [line.strip() for line in (ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines() if line.strip()]
    left_out = {
        file
        for file in tracked.stdout.split()
        for rule in ignored
        if file == rule or (rule.endswith("/") and file.startswith(rule))
    }
    kept = set(tracked.stdout.split()) - left_out
    assert {"__init__.py", "requirements.txt", "LICENSE", "README.md", "demo/portrait.jpg", "demo/speech.wav"} <= kept
    assert {"fantasytalking_core", "nodes", "workflows", "web", "locales"} <= {file.split("/")[0] for file in kept}
    assert {file.split("/")[0] for file in left_out} >= {"tests", "benchmarks", ".ci", ".github"}
