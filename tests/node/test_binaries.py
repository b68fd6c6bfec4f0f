"""Built programs are found again by what they were built from, and by nothing else."""

from dataclasses import replace

import pytest

from e2e.node.binaries import (
    Module,
    cache_key,
    go_line,
    is_new_enough,
    kubernetes_ldflags,
    node_modules,
)

BASE = Module("kubernetes", "6 min")


def test_the_same_content_has_the_same_key() -> None:
    assert cache_key(BASE, b"mod", b"sum") == cache_key(BASE, b"mod", b"sum")


@pytest.mark.parametrize(
    ("module", "go_mod", "go_sum"),
    [
        pytest.param(BASE, b"mod2", b"sum", id="go.mod"),
        pytest.param(BASE, b"mod", b"sum2", id="go.sum"),
        pytest.param(BASE, b"mods", b"um", id="a byte moved from one file to the other"),
        pytest.param(replace(BASE, ldflags="-X a=b"), b"mod", b"sum", id="linker flags"),
        pytest.param(replace(BASE, tags="seccomp"), b"mod", b"sum", id="build tags"),
        pytest.param(replace(BASE, cgo=True), b"mod", b"sum", id="cgo"),
        pytest.param(replace(BASE, package="x/kubectl"), b"mod", b"sum", id="one tool only"),
    ],
)
def test_another_content_has_another_key(module: Module, go_mod: bytes, go_sum: bytes) -> None:
    assert cache_key(module, go_mod, go_sum) != cache_key(BASE, b"mod", b"sum")


def test_the_time_it_takes_is_not_part_of_the_key() -> None:
    assert cache_key(replace(BASE, minutes="?"), b"", b"") == cache_key(BASE, b"", b"")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param("go version go1.26.6 linux/amd64", True, id="equal"),
        pytest.param("go version go1.27 linux/amd64", True, id="newer, two numbers"),
        pytest.param("go version go1.26.10 linux/amd64", True, id="by number, not by letter"),
        pytest.param("go version go1.26 linux/amd64", False, id="older by the third number"),
        pytest.param("go version go1.9.7 linux/amd64", False, id="older"),
        pytest.param("", False, id="no answer"),
    ],
)
def test_is_new_enough(answer: str, expected: bool) -> None:
    assert is_new_enough(answer, "1.26.6") is expected


def test_go_line_is_the_directive_and_not_a_module() -> None:
    assert go_line("module x/go 1.1\n\ngo 1.26.6\n\nrequire example/go v1.2.3\n") == "1.26.6"


def test_version_stamp_names_every_part() -> None:
    flags = kubernetes_ldflags("v1.36.3")
    for part in ("gitVersion=v1.36.3", "gitMajor=1", "gitMinor=36", "gitTreeState=clean"):
        assert f"-X k8s.io/component-base/version.{part}" in flags


def test_every_module_is_locked() -> None:
    for module in node_modules():
        assert (module.folder / "go.sum").exists(), module.name
