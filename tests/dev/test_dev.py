"""The parts of dev.py: its steps pick up where they stopped and say what failed, and it trusts no archive."""

import hashlib
import importlib.util
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
from settings import DEMOS

from support import ROOT


def load_dev() -> ModuleType:
    """dev.py as a module; the pack's root is not on sys.path."""
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["dev"] = module
    spec.loader.exec_module(module)
    return module


dev = load_dev()


# ---------------------------------------------------------------------------------------------------------- steps


class Work:
    """A step's action: counts its calls and makes the product, or fails."""

    def __init__(self, product: Path) -> None:
        self.product, self.calls, self.error = product, 0, None

    def __call__(self) -> None:
        self.calls += 1
        if self.error:
            raise self.error
        self.product.write_text("made")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path / "product")


def make_step(work: Work, inputs: str = "same"):
    return dev.Step("Making a thing", "1 s", work.product.with_name("stamp"), dev.digest(inputs), work.product, work)


def test_a_step_is_done_once_while_its_inputs_are_the_same(work):
    make_step(work).ensure()
    make_step(work).ensure()
    assert work.calls == 1


PREPARING = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import dev
dev.HOSTS = Path(sys.argv[2])
dev.LOCK = dev.HOSTS / "preparing"
product = dev.HOSTS / "product"

def make():
    with product.open("a") as file:
        file.write("begun ")
        file.flush()
        time.sleep(2)
        file.write("done ")

with dev.one_at_a_time():
    dev.Step("Making a thing", "1 s", dev.HOSTS / "stamp", "same", product, make).ensure()
"""


def test_two_commands_at_once_do_a_step_once(tmp_path):
    two = [
        subprocess.Popen([sys.executable, "-c", PREPARING, ROOT, tmp_path], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = "".join(each.communicate(timeout=60)[1] for each in two)
    assert [each.returncode for each in two] == [0, 0] and (tmp_path / "product").read_text() == "begun done "
    assert told.count("Making a thing") == 1 and told.count("Waiting for another command") == 1


def test_a_lock_is_gone_with_its_process(tmp_path):
    killed = PREPARING.replace("time.sleep(2)", "__import__('os')._exit(9)")
    assert subprocess.run([sys.executable, "-c", killed, ROOT, tmp_path], timeout=60, capture_output=True).returncode == 9
    quick = PREPARING.replace("time.sleep(2)", "pass")
    done = subprocess.run([sys.executable, "-c", quick, ROOT, tmp_path], timeout=60, capture_output=True, text=True)
    assert done.returncode == 0 and "Waiting" not in done.stderr
    assert (tmp_path / "product").read_text() == "begun begun done "


def test_a_folder_that_cannot_be_locked_is_prepared_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dev, "HOSTS", tmp_path)
    monkeypatch.setattr(dev, "LOCK", tmp_path / "missing/preparing")
    with dev.one_at_a_time():
        assert "can't be locked (unable to open database file)" in capsys.readouterr().err


def test_a_step_is_done_again_when_its_inputs_change(work):
    make_step(work, "before").ensure()
    make_step(work, "after").ensure()
    assert work.calls == 2


def test_a_step_is_done_again_when_its_product_is_gone(work):
    make_step(work).ensure()
    work.product.unlink()
    make_step(work).ensure()
    assert work.calls == 2


def test_a_step_that_failed_is_done_again(work):
    work.error = OSError("disk full")
    with pytest.raises(dev.Failure):
        make_step(work).ensure()
    work.error = None
    make_step(work).ensure()
    assert work.calls == 2


def test_a_step_that_was_interrupted_while_done_anew_is_not_taken_for_done(work):
    make_step(work, "before").ensure()
    work.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        make_step(work, "after").ensure()
    assert not make_step(work, "before").is_done()
    assert not make_step(work, "after").is_done()


def test_the_message_of_a_failed_step_says_which_step_and_why(work):
    work.error = OSError("disk full")
    with pytest.raises(dev.Failure, match="Making a thing failed: disk full"):
        make_step(work).ensure()


def test_the_message_of_a_failed_command_holds_its_status_and_its_last_lines():
    with pytest.raises(dev.Failure, match="(?s)ended with status 3.*no such package"):
        dev.execute([sys.executable, "-c", "print('no such package'); raise SystemExit(3)"])


def test_a_progress_line_says_what_is_done_and_how_long_it_usually_takes(work, capsys):
    make_step(work).ensure()
    assert "Making a thing (usually 1 s)" in capsys.readouterr().err


def test_a_digest_depends_on_where_one_part_ends_and_the_next_begins():
    assert dev.digest("ab", "c") != dev.digest("a", "bc")


# -------------------------------------------------------------------------------------------------------- archives


def make_archive(path: Path, files: dict[str, str], link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        if link:
            member = tarfile.TarInfo(link)
            member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            tar.addfile(member)
    return path


def test_only_the_hosts_folder_is_unpacked(tmp_path):
    archive = make_archive(
        tmp_path / "a.tar.gz",
        {"pack-1/vendor/ComfyUI/comfy/ops.py": "ops", "pack-1/vendor/Other/main.py": "x", "pack-1/setup.py": "x"},
    )
    dev.unpack(archive, "vendor/ComfyUI", tmp_path / "host")
    files = [file.relative_to(tmp_path / "host").as_posix() for file in (tmp_path / "host").rglob("*.py")]
    assert files == ["comfy/ops.py"]


@pytest.mark.parametrize(
    "name",
    ["pack-1/vendor/ComfyUI/../../../../evil.py", "pack-1/vendor/ComfyUI/C:/evil.py", "pack-1/vendor/ComfyUI/..\\..\\evil.py"],
)
def test_an_archive_that_reaches_outside_of_its_folder_is_refused(tmp_path, name):
    archive = make_archive(tmp_path / "a.tar.gz", {name: "evil"})
    with pytest.raises(dev.Failure, match="outside of its folder"):
        dev.unpack(archive, "vendor/ComfyUI", tmp_path / "deep/er/host")
    assert not list(tmp_path.rglob("*evil.py"))


def test_an_archive_with_a_link_is_refused(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {}, link="pack-1/vendor/ComfyUI/models")
    with pytest.raises(dev.Failure, match="neither a file nor a folder"):
        dev.unpack(archive, "vendor/ComfyUI", tmp_path / "host")


def test_an_archive_that_is_refused_leaves_no_host(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {"p/vendor/ComfyUI/main.py": "fine"}, link="p/vendor/ComfyUI/x")
    with pytest.raises(dev.Failure):
        dev.unpack(archive, "vendor/ComfyUI", tmp_path / "host")
    assert not (tmp_path / "host").exists()


def test_an_archive_without_the_host_is_refused(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {"pack-1/setup.py": "x"})
    with pytest.raises(dev.Failure, match="holds no vendor/ComfyUI"):
        dev.unpack(archive, "vendor/ComfyUI", tmp_path / "host")


def test_an_archive_with_another_checksum_is_refused_and_removed(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {"pack-1/setup.py": "x"})
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(dev.Failure, match=f"should have SHA-256 {'0' * 64}, but has {found}"):
        dev.check_sha256(archive, "0" * 64)
    assert not archive.exists()


def test_an_archive_with_the_known_checksum_is_kept(tmp_path):
    archive = make_archive(tmp_path / "a.tar.gz", {"pack-1/setup.py": "x"})
    dev.check_sha256(archive, hashlib.sha256(archive.read_bytes()).hexdigest())
    assert archive.exists()


# ----------------------------------------------------------------------------------------------------------- links


def test_a_link_follows_the_pack_to_another_place(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        dev.link(tmp_path / "link", tmp_path / name)
    assert (tmp_path / "link").resolve() == tmp_path / "new"


def test_a_link_takes_the_place_of_one_to_a_folder_that_is_gone(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    dev.link(tmp_path / "link", tmp_path / "old")
    (tmp_path / "old").rmdir()
    dev.link(tmp_path / "link", tmp_path / "new")
    assert (tmp_path / "link").resolve() == tmp_path / "new"


def test_a_folder_in_the_place_of_a_link_is_left_alone(tmp_path):
    (tmp_path / "link").mkdir()
    (tmp_path / "link/mine.txt").write_text("mine")
    with pytest.raises(dev.Failure, match="is a folder of its own"):
        dev.link(tmp_path / "link", tmp_path)
    assert (tmp_path / "link/mine.txt").read_text() == "mine"


# -------------------------------------------------------------------------------------------------------- commands


@pytest.mark.parametrize("arguments", [[], ["-k", "speech"]])
def test_without_a_file_every_test_is_looked_at(arguments):
    command = dev.command_line(dev.Host(Path("host"), None), "test", arguments)
    assert command[-1 - len(arguments) :] == [*arguments, str(ROOT / "tests")]


def test_all_tests_run_two_files_at_a_time_and_chosen_ones_one_by_one():
    every, fast, chosen = (
        dev.command_line(dev.Host(Path("host"), None), "test", extra) for extra in ([], ["-m", "fast"], ["-k", "speech"])
    )
    for many in (every, fast):
        assert many[many.index("-n") :][:5] == ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]
    assert "-n" not in chosen


def test_with_a_file_only_its_tests_are_looked_at():
    selection = f"{__file__}::test_a_step"
    command = dev.command_line(dev.Host(Path("host"), None), "test", [selection])
    assert command[-1] == selection
    assert str(ROOT / "tests") not in command[command.index("--rootdir") + 2 :]


@pytest.mark.parametrize(("name", "takes"), [("demo", "nothing or one of long, two, dub"), ("serve", "no arguments")])
def test_arguments_that_a_command_does_not_take_are_refused(name, takes):
    with pytest.raises(dev.Failure, match=f"{name} takes {takes}, but got --fast"):
        dev.command_line(dev.Host(Path("host"), None), name, ["--fast"])


def test_a_demo_is_named():
    commands = [dev.command_line(dev.Host(Path("host"), None), "demo", arguments) for arguments in ([], ["two"])]
    run = str(ROOT / "demo/run.py")
    assert commands[0][-1] == run and commands[1][-2:] == [run, "two"]
    assert set(DEMOS) == {"", *dev.DEMOS}


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_the_small_family_has_commands_of_its_own(name):
    command = dev.command_line(dev.Host(Path("host"), None), name, ["small", "--only", "vae"])
    assert command[-4:] == [str(ROOT / "sources/drawn_world/__main__.py"), name, "--only", "vae"]


@pytest.mark.parametrize("name", ["long-takes", "studies"])
def test_what_else_is_measured_has_names(name):
    command = dev.command_line(dev.Host(Path("host"), None), "evaluate", [name, "--people", "1"])
    assert command[-4:] == [str(ROOT / "sources/drawn_world/__main__.py"), name, "--people", "1"]


def test_only_the_small_family_is_evaluated():
    with pytest.raises(dev.Failure, match="evaluate takes small, long-takes or studies, but got large"):
        dev.command_line(dev.Host(Path("host"), None), "evaluate", ["large"])


def test_the_trainer_gets_its_arguments():
    line = dev.command_line(dev.Host(Path("host"), None), "train", ["prepare", "videos"])
    assert line[-4:] == ["-m", "fantasytalking_core", "prepare", "videos"]
