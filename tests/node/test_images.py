"""Images are found again by their content, and what is staged for a build is only the source."""

import json
import os
import tarfile
from pathlib import Path

import pytest

from e2e.node.archives import content_key, find_image, image_id, store_image, write_archive
from e2e.node.cleanup import mount_points_below
from e2e.node.paths import cache_folder
from e2e.node.project_images import ProjectImage, folder_digest, staged_context

REFERENCE = "localhost/toy:dev"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASKQUEUE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_toy(target: Path) -> None:
    layer = target.with_name("layer.tar")
    with tarfile.open(layer, "w") as tar:
        tar.add(__file__, "file")
    write_archive(target, REFERENCE, layer, {"Cmd": ["sh"]}, "x86_64")


def test_an_image_is_found_only_by_its_key() -> None:
    stored = store_image(REFERENCE, "key", write_toy)
    assert find_image(REFERENCE, "key") == stored
    assert find_image(REFERENCE, "other") is None
    assert stored.sizes.uncompressed > stored.sizes.compressed > 0


def test_an_interrupted_build_leaves_nothing_that_looks_finished() -> None:
    def fail(target: Path) -> None:
        target.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_image(REFERENCE, "key", fail)
    assert find_image(REFERENCE, "key") is None


def test_builds_used_last_are_kept(cache: Path) -> None:
    for number, key in enumerate(("a", "b", "c")):
        store_image(REFERENCE, key, write_toy)
        os.utime(cache / "images/toy-dev" / key, (number, number))
    find_image(REFERENCE, "b")
    store_image(REFERENCE, "d", write_toy)
    assert find_image(REFERENCE, "b")
    assert find_image(REFERENCE, "d")
    assert find_image(REFERENCE, "c") is None


def test_archive_is_what_container_tools_read(tmp_path: Path) -> None:
    write_toy(tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as tar:
        manifest = json.loads(tar.extractfile("manifest.json").read())[0]  # type: ignore[union-attr]
        config = json.loads(tar.extractfile(manifest["Config"]).read())  # type: ignore[union-attr]
    assert manifest["RepoTags"] == [REFERENCE]
    assert manifest["Config"] == f"{image_id(tmp_path / 'image.tar')}.json"
    assert config["architecture"] == "amd64"
    # buildah refuses an image whose history and layers differ in number.
    assert len(config["history"]) == len(config["rootfs"]["diff_ids"]) == 1


def test_key_tells_parts_apart() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")


def test_digest_sees_content_name_and_mode_but_no_time(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    first = folder_digest(tmp_path)
    os.utime(file, (1, 1))
    assert folder_digest(tmp_path) == first
    file.chmod(0o755)
    executable = folder_digest(tmp_path)
    file.rename(tmp_path / "b")
    renamed = folder_digest(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, executable, renamed, folder_digest(tmp_path)}) == 4


def test_staging_takes_sources_and_no_caches(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in (
        "operator/Containerfile",
        "operator/x.py",
        "operator/__pycache__/x.pyc",
        "operator/.mypy_cache/x",
        ".git/config",
        "secret.txt",
        "crds/taskqueue_api/a.py",
    ):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("x")
    (checkout / "requirements").mkdir()
    (checkout / "requirements/operator.txt").write_text("")
    image = ProjectImage(REFERENCE, "operator/Containerfile", "requirements/operator.txt")
    with staged_context(image, checkout) as context:
        files = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}
        assert (context / "wheels").is_dir()
    assert files == {
        "operator/Containerfile",
        "operator/x.py",
        "crds/taskqueue_api/a.py",
        "requirements/operator.txt",
    }


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({"TASKQUEUE_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c", id="our own"),
        pytest.param({"XDG_CACHE_HOME": "/x"}, "/x/taskqueue", id="XDG"),
        pytest.param({}, str(Path.home() / ".cache/taskqueue"), id="home"),
        pytest.param({"XDG_CACHE_HOME": ""}, str(Path.home() / ".cache/taskqueue"), id="empty"),
    ],
)
def test_cache_folder(environ: dict[str, str], expected: str) -> None:
    assert str(cache_folder(environ)) == expected


def test_mounts_below_come_deepest_first_and_neighbours_are_left() -> None:
    lines = [
        "1 0 0:1 / /run/n rw - tmpfs t rw",
        "2 1 0:2 / /run/n/a\\040b rw - tmpfs t rw",
        "3 0 0:3 / /run/nn rw - tmpfs t rw",
    ]
    assert mount_points_below((Path("/run/n"),), "\n".join(lines)) == ["/run/n/a b", "/run/n"]
