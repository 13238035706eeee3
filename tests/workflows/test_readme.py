"""What the README and the pages of docs/ say of the pack, and where they lead."""

import re
from pathlib import Path

import pytest

from support import ROOT
from support.templates import BLUEPRINTS, FOLDERS, OWN, TEMPLATES, as_prompt, info, read

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text("README.md"), re.MULTILINE | re.DOTALL)[1]


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links to them, as GitHub does it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def own_links(page: Path) -> list[tuple[Path, str]]:
    """The files that a page links to, and the places in them."""
    found = [link.partition("#") for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    return [((page.parent / target).resolve() if target else page, anchor) for target, _, anchor in found]


# -------------------------------------------------------------------------------------------------------- the README


def test_the_readme_is_read_in_a_few_minutes():
    assert len(text("README.md").splitlines()) <= 150


def test_a_moving_picture_stands_at_its_top():
    first = LINK.search(text("README.md"))
    assert text("README.md")[: first.start()].count("\n") < 6
    assert (ROOT / first[1]).suffix in (".gif", ".webp")


def test_its_table_names_every_template_and_its_text_every_blueprint():
    rows = re.findall(r"^\| ([^|]+) \| ", section("Templates and blueprints"), re.MULTILINE)
    assert sorted(rows[1:]) == sorted(path.stem for path in TEMPLATES)
    said = " ".join(section("Templates and blueprints").split())
    names = [path.stem.partition(" (")[0] for path in BLUEPRINTS]  # what they are found by follows in brackets
    assert names and [name for name in names if f"*{name}*" not in said] == []


def test_its_chapters_on_ways_of_use_have_a_picture_and_a_template():
    names = {path.stem for path in TEMPLATES}
    for chapter in ("Keep the face", "Several speakers", "Long takes", "Dub a video", "Livelier or calmer"):
        said = section(chapter)
        assert re.findall(r"!\[[^\]]{10,}\]\(docs/pictures/", said), chapter
        assert re.search(r"Template \*(.+?)\*", said)[1] in names, chapter


def test_developers_find_their_two_commands():
    assert "`python dev.py demo` and `python dev.py test`" in text("README.md")


def test_the_disk_that_it_asks_for_is_the_sum_of_the_files():
    """In GB, of the templates' first choice; the megabytes of the smaller ones round to one digit."""
    total, parts = re.search(r"\*\*Disk\*\*: ([\d.]+) GB \((.+?)\)", text("README.md")).groups()
    sizes = [float(size) for size in re.findall(r"[\d.]+", parts.replace("fp8", ""))]
    listed = [
        float(size) / (1000 if unit == "MB" else 1)
        for size, unit in re.findall(
            r"^\| `\w+`[^|]*\| [^|(]*\(([\d.]+) (GB|MB)\)", text("docs/files.md").split("Only for")[0], re.M
        )
    ]
    assert len(listed) == len(sizes) == 6
    assert sorted(round(size, 1) for size in listed) == sorted(sizes)
    assert float(total) == pytest.approx(sum(sizes), abs=0.051)


@pytest.mark.parametrize("page", ["README.md", "docs/memory.md"])
def test_its_minutes_are_the_releases_seconds_times_our_passes(page):
    """The release makes three passes in every step; 30 steps with equal scales are 60 passes, 4 with the LoRA are 8."""
    rows = re.findall(r"^\| (?:[^|]*\| )?([\d.]+) s \| (.+) \|$", text(page), re.MULTILINE)
    assert [seconds for seconds, _ in rows] == ["15.5", "32.8", "42.6"]
    for seconds, cells in rows:
        times = [float(re.search(r"[\d.]+", cell)[0]) for cell in cells.split("|")]
        passes = (60, 8) if len(times) == 2 else (90, 60, 31, 8)
        for minutes, count in zip(times, passes, strict=True):
            assert minutes == pytest.approx(float(seconds) / 3 * count / 60, rel=0.06), (seconds, count)


# --------------------------------------------------------------------------------------------------- files and nodes


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_the_page_of_files_has_those_of_a_template_in_their_folders(host, path):
    prompt = as_prompt(host, read(path))
    files = {
        (folder, node["inputs"][name])
        for node in prompt.values()
        for (kind, name), folder in FOLDERS.items()
        if node["class_type"] == kind and name in node["inputs"]
    }
    rows = re.findall(r"^\| `(\w+)`[^|]*\| ([^|]+)\|", text("docs/files.md"), re.MULTILINE)
    assert {(folder, name) for folder, name in files if not any(folder == row and name in said for row, said in rows)} == set()


def test_the_file_of_your_own_is_not_said_to_be_published():
    (row,) = (line for line in text("docs/files.md").splitlines() if OWN in line)
    assert "nobody" in row and "http" not in row


def test_the_page_of_nodes_has_every_node_of_the_pack_and_no_other(host):
    ours = {
        id: info(node)["display_name"]
        for id, node in host.nodes.items()
        if getattr(node, "RELATIVE_PYTHON_MODULE", None) == "custom_nodes.FantasyTalking"
    }
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \|", text("docs/nodes.md"), re.MULTILINE)
    assert {id: name for name, id in rows} == ours


def test_the_page_of_nodes_names_inputs_that_they_have(host):
    for id, inputs in re.findall(r"^\| [^|]+ \| `(\w+)` \| [^|]* \| ([^|]*)\|", text("docs/nodes.md"), re.MULTILINE):
        known = {name for group in info(host.nodes[id])["input"].values() for name in group}
        assert set(re.findall(r"`(\w+)`", inputs)) <= known


# ----------------------------------------------------------------------------------------------------- what they name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_places_that_a_page_links_to_exist(page):
    for target, anchor in own_links(page):
        assert target.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {target.name}#{anchor}"


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            waiting += [target for target, _ in own_links(page) if target.is_file()]
    assert set(PAGES) <= reached


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_start_files_of_the_project(page):
    said = page.read_text(encoding="utf-8")
    modules = [name.replace(".", "/") for name in re.findall(r"python -m (fantasytalking_core[\w.]*)", said)]
    modules = [f"{name}/__main__.py" if (ROOT / name).is_dir() else f"{name}.py" for name in modules]
    for name in {*modules, *re.findall(r"python (\w+\.py)", said)}:
        assert (ROOT / name).exists(), f"{page.name} names {name}, which is not there"


def test_pictures_are_small_and_each_is_shown():
    shown = {target for page in PAGES for target, _ in own_links(page)}
    for picture in (ROOT / "docs/pictures").iterdir():
        assert picture.stat().st_size < 60_000, picture.name
        assert picture in shown, picture.name
