"""Help pages and translations: of every node, agreeing with the nodes, and found by the page."""

import ast
import itertools
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from host import ComfyUI
from workflow import every_node

from support import ROOT
from support.templates import TEMPLATES, read

DOCS = ROOT / "web" / "docs"
LOCALES = {"": "en", "zh": "zh"}
"""The languages: of the help, where "" is what the page falls back to, and what the page calls them."""

GROUPS = ("required", "optional")
"""The host's inputs that a person sees."""
HOSTS = {
    "CLIP视觉编码",
    "WAN上下文窗口（手动）",
    "K采样器",
    "K采样器选择",
    "MediaPipe 人脸标记器",
    "UNet加载器",
    "VAE解码",
    "保存图像",
    "保存视频",
    "创建视频",
    "从批次获取图像",
    "分离Sigma",
    "加载CLIP视觉",
    "加载VAE",
    "加载图像",
    "加载视频",
    "加载音频",
    "合成图像（遮罩）",
    "图像到视频（Wan）",
    "基本调度器",
    "自定义采样器（高级）",
    "获取视频元素",
    "采样算法（SD3）",
    "随机噪波",
    "预览图像",
}
"""What the host's page calls the nodes that are named in Chinese."""

CHINESE = re.compile("[\u4e00-\u9fff]")
SYNTAX = re.compile(r"[{}|@]")
"""What the page's translations take for placeholders, plurals and links to other messages."""


@pytest.fixture(scope="module")
def server(base_directory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANTASYTALKING_BASE", str(base_directory))
        with ComfyUI(base_directory / "help.log") as running:
            yield running


def fetch(server, path: str) -> str:
    with urllib.request.urlopen(server.address + path, timeout=30) as response:
        return response.read().decode("utf-8")


@pytest.fixture(scope="module")
def nodes(server) -> dict[str, dict]:
    """What the server says of the pack's nodes, by their ids."""
    known = json.loads(fetch(server, "/object_info"))
    return {id: node for id, node in known.items() if node["python_module"] == "custom_nodes.FantasyTalking"}


def entries(node: dict) -> dict:
    """The names and tooltips of a node as a translation has them.

    The page names an output that is called as its type by its own translation of that type.
    """
    inputs = {name: options for group in GROUPS for name, (_, options) in node["input"].get(group, {}).items()}
    outputs = zip(node["output"], node["output_name"], node["output_tooltips"], strict=True)
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {
            name: {"name": options.get("display_name") or name, "tooltip": options["tooltip"]}
            for name, options in inputs.items()
        },
        "outputs": {
            str(index): {**({} if name == kind else {"name": name}), "tooltip": tooltip}
            for index, (kind, name, tooltip) in enumerate(outputs)
        },
    }


def translation(locale: str) -> dict:
    return json.loads((ROOT / "locales" / locale / "nodeDefs.json").read_text(encoding="utf-8"))


def texts(tree: dict, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every text in a translation, with the path that leads to it."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from texts(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


def page(id: str, language: str) -> Path:
    return DOCS / id / f"{language}.md" if language else DOCS / f"{id}.md"


def parts(text: str) -> dict[str, str]:
    """The sections of a help page by their order: what it does, typical graph, inputs, outputs, common mistakes."""
    return dict(itertools.zip_longest(("intro", "graph", "inputs", "outputs", "mistakes"), text.split("\n## ")))


def rows(section: str) -> list[str]:
    """The names in the first column of a table."""
    return re.findall(r"^\| `([\w ]+)`", section, re.MULTILINE)


# ------------------------------------------------------------------------------------------------------- help pages


@pytest.mark.parametrize("language", LOCALES, ids=LOCALES.get)
def test_every_node_has_a_help_page_and_no_page_is_of_an_unknown_node(nodes, language):
    found = {file.parent.name if language else file.stem for file in DOCS.glob(f"*/{language}.md" if language else "*.md")}
    assert found == set(nodes)


@pytest.mark.parametrize("language", LOCALES, ids=LOCALES.get)
def test_a_help_page_has_a_row_for_every_input_and_output(nodes, language):
    for id, node in nodes.items():
        sections = parts(page(id, language).read_text(encoding="utf-8"))
        assert rows(sections["inputs"]) == [name for group in GROUPS for name in node["input_order"].get(group, [])], id
        assert rows(sections["outputs"]) == node["output_name"], id


@pytest.mark.parametrize("language", LOCALES, ids=LOCALES.get)
def test_a_help_page_shows_a_graph_with_the_node_in_it_and_common_mistakes(nodes, language):
    names = translation(LOCALES[language])
    for id in nodes:
        sections = parts(page(id, language).read_text(encoding="utf-8"))
        name = names[id]["display_name"]
        assert sections["intro"].startswith(f"# {name}\n"), id
        shown = re.findall(r"\*\*(.+?)\*\*", sections["graph"])
        assert "→" in sections["graph"] and shown and all(name.endswith(part) for part in shown), id
        assert len(re.findall("^- ", sections["mistakes"], re.MULTILINE)) >= 2, id


@pytest.mark.parametrize("language", LOCALES, ids=LOCALES.get)
def test_the_tables_of_a_help_page_fit_into_the_pages_panel(nodes, language):
    """The panel is 342 pixels wide, and what stands in `` is not broken over lines: longer names go below the table."""
    for id in nodes:
        for line in page(id, language).read_text(encoding="utf-8").splitlines():
            if line.startswith("|"):
                assert all(len(name) <= 20 for name in re.findall("`(.+?)`", line)), f"{id}: {line}"


def messages() -> Iterator[str]:
    """Every text in the code, with … in the place of what is filled in."""
    for file in [*(ROOT / "fantasytalking_core").rglob("*.py"), *(ROOT / "nodes").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize("language", LOCALES, ids=LOCALES.get)
def test_the_messages_that_a_help_page_quotes_are_those_of_the_code(nodes, language):
    """Between “ and ” stands what the pack says, … for what differs from case to case."""
    said = set(messages())
    for id in nodes:
        text = " ".join(page(id, language).read_text(encoding="utf-8").split())
        for quoted in re.findall("“(.+?)”", text):
            pieces = [re.escape(piece) for piece in quoted.split("…")]
            assert any(re.search(".*".join(pieces), message) for message in said), f"{id}: {quoted}"


def pictures(file: Path) -> list[str]:
    """What a page shows, with words for those who don't see it."""
    return re.findall(r"!\[[^\]]{5,}\]\(([^)]+)\)", file.read_text(encoding="utf-8"))


def test_the_pictures_of_help_pages_are_small_files_of_the_pack_and_each_is_shown():
    """The page resolves them from the folder of the English pages, in every language."""
    shown = {picture for file in DOCS.glob("*.md") for picture in pictures(file)}
    assert shown == {file.relative_to(DOCS).as_posix() for file in (DOCS / "pictures").iterdir()}
    assert all((DOCS / picture).stat().st_size < 100_000 for picture in shown)


def test_a_help_page_shows_the_same_in_every_language(nodes):
    for id in nodes:
        assert pictures(page(id, "zh")) == pictures(page(id, "")), id


@pytest.mark.parametrize(
    ("language", "start", "every", "without"), [("", "Templates: ", "all.", "all but "), ("zh", "模板：", "全部。", "除 ")]
)
def test_the_last_line_of_a_help_page_names_the_templates_that_have_the_node(nodes, language, start, every, without):
    kinds = {path.stem: {node["type"] for node in every_node(read(path))} for path in TEMPLATES}
    for id in nodes:
        used = {name for name, found in kinds.items() if id in found}
        last = page(id, language).read_text(encoding="utf-8").rstrip().splitlines()[-1]
        assert last.startswith(start) is bool(used), id
        if used:
            said = last.removeprefix(start)
            named = set(re.findall(r"\*(.+?)\*", said))
            assert {every: kinds.keys()}.get(said, kinds.keys() - named if said.startswith(without) else named) == used, id


# ----------------------------------------------------------------------------------------------------- translations


def test_the_english_names_and_tooltips_are_those_of_the_nodes(nodes):
    assert translation("en") == {id: entries(node) for id, node in nodes.items()}


def test_the_chinese_translation_has_the_same_entries(nodes):
    wanted = {path for path, _ in texts({id: entries(node) for id, node in nodes.items()})}
    assert {path for path, _ in texts(translation("zh"))} == wanted


def test_nothing_is_left_in_english():
    for path, text in texts(translation("zh")):
        assert CHINESE.search(text), path


@pytest.mark.parametrize("locale", LOCALES.values())
def test_the_page_takes_no_part_of_a_translation_for_syntax(locale):
    for path, text in texts(translation(locale)):
        assert not SYNTAX.search(text), path


def test_nodes_are_named_in_chinese_as_the_page_names_them():
    """In “ ” in the tooltips and in 「 」 in the help; the pack's prefix may be left out."""
    ours = {node["display_name"] for node in translation("zh").values()}
    known = HOSTS | ours | {name.removeprefix("FantasyTalking ") for name in ours}
    assert {name for _, text in texts(translation("zh")) for name in re.findall("“(.+?)”", text)} <= known
    for file in DOCS.glob("*/zh.md"):
        assert set(re.findall("「(.+?)」", file.read_text(encoding="utf-8"))) <= known, file.parent.name


# --------------------------------------------------------------------------------------------- where the page looks


@pytest.mark.parametrize("language", LOCALES, ids=LOCALES.get)
def test_the_server_gives_the_help_where_the_page_looks_for_it(server, nodes, language):
    for id in nodes:
        file = page(id, language)
        address = f"/extensions/FantasyTalking/{file.relative_to(DOCS.parent).as_posix()}"
        assert fetch(server, address) == file.read_text(encoding="utf-8")


def test_the_server_gives_the_pictures_of_the_help(server):
    for picture in {picture for file in DOCS.glob("*.md") for picture in pictures(file)}:
        with urllib.request.urlopen(f"{server.address}/extensions/FantasyTalking/docs/{picture}", timeout=30) as response:
            assert response.read() == (DOCS / picture).read_bytes()


@pytest.mark.parametrize("locale", LOCALES.values())
def test_the_server_gives_the_translations(server, locale):
    served = json.loads(fetch(server, "/i18n"))[locale]
    assert {id: served["nodeDefs"][id] for id in translation(locale)} == translation(locale)


def test_every_category_of_the_nodes_is_translated_here_or_by_the_host(server, nodes):
    hosts = {"loaders", "model", "sampling"}
    ours = set(json.loads(fetch(server, "/i18n"))["zh"]["nodeCategories"])
    used = {part for node in nodes.values() for part in node["category"].split("/")} - {"FantasyTalking"}
    assert ours == used - hosts
