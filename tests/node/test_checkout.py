"""What a cluster wrote into a checkout is taken away again, and nothing else."""

import json
from pathlib import Path

import pytest

from e2e.node import paths
from e2e.node.checkout import remove_checkout_files, write_checkout_files


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "CLUSTER", tmp_path / ".cluster")
    monkeypatch.setattr(paths, "KUBECONFIG", tmp_path / ".cluster/kubeconfig")
    for _ in range(2):  # writing again replaces
        write_checkout_files("{}", Path("/c/kubectl"), Path("/c/helm"), Path("/logs"))
    return tmp_path


def test_kubeconfig_is_readable_by_its_owner_only(checkout: Path) -> None:
    assert (checkout / ".cluster/kubeconfig").stat().st_mode & 0o777 == 0o600
    assert (checkout / ".cluster/bin/kubectl").readlink() == Path("/c/kubectl")


def build_kubeconfig(key: str = "k", **context: str) -> str:
    """Return a kubeconfig; context: more of its context."""
    document = {
        "clusters": [{"name": "c", "cluster": {"server": "https://here"}}],
        "users": [{"name": "admin", "user": {"client-key-data": key}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "admin", **context}}],
        "current-context": "c",
    }
    return json.dumps(document)


@pytest.mark.parametrize(
    ("found", "is_kept"),
    [
        pytest.param(build_kubeconfig(namespace="demo"), True, id="a namespace of one's own"),
        pytest.param(build_kubeconfig("other"), False, id="credentials of an earlier cluster"),
        pytest.param("{}", False, id="empty"),
        pytest.param("{", False, id="no YAML"),
        pytest.param("", False, id="nothing"),
    ],
)
def test_a_kubeconfig_that_still_leads_there_is_kept(
    checkout: Path, found: str, is_kept: bool
) -> None:
    file = checkout / ".cluster/kubeconfig"
    file.write_text(found)
    write_checkout_files(build_kubeconfig(), Path("/c/kubectl"), Path("/c/helm"), None)
    assert file.read_text() == (found if is_kept else build_kubeconfig())


def test_all_is_removed_and_again_is_no_error(checkout: Path) -> None:
    for _ in range(2):
        remove_checkout_files(checkout)
    assert not (checkout / ".cluster").exists()


def test_files_of_others_stay(checkout: Path) -> None:
    (checkout / ".cluster/notes").write_text("mine")
    remove_checkout_files(checkout)
    assert [path.name for path in (checkout / ".cluster").iterdir()] == ["notes"]


def test_a_checkout_that_is_gone_is_no_error(tmp_path: Path) -> None:
    remove_checkout_files(tmp_path / "gone")
