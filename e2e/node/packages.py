"""Debian packages the node needs, and the mirror they come from."""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from e2e.node.console import NodeError, run, step, system_path

_APT = Path("/etc/apt")


def install_packages(packages_by_probe: dict[str, str]) -> None:
    """Install the packages whose probe is missing, by apt.

    packages_by_probe: a command looked up on PATH, or an absolute path, to a package's name.
    Where all is there already, apt is never called, so other distributions work as well.
    """
    missing = sorted(p for probe, p in packages_by_probe.items() if not _is_there(probe))
    if not missing:
        return
    names = " ".join(missing)
    if shutil.which("apt-get") is None:
        raise NodeError(
            f"Missing: {names} (Debian's names), and there is no apt-get. "
            "Install them with this system's package manager and try again."
        )
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"Installing Debian packages: {names}"):
        run(["apt-get", "update", "-q"], env=env, hint="Is the Debian mirror reachable?")
        run(
            ["apt-get", "install", "-qy", "--no-install-recommends", *missing],
            env=env,
            hint=f"Try `apt-get install {names}` by hand.",
        )


def _is_there(probe: str) -> bool:
    if probe.startswith("/"):
        return Path(probe).exists()
    return shutil.which(probe, path=system_path()) is not None


def debian_mirror() -> str:
    """Return the Debian mirror this machine uses, read from its own apt sources."""
    folder = _APT / "sources.list.d"
    deb822 = [path.read_text() for path in sorted(folder.glob("*.sources"))]
    one_line = [path.read_text() for path in sorted(folder.glob("*.list"))]
    if (main := _APT / "sources.list").exists():
        one_line.insert(0, main.read_text())
    mirror = choose_mirror(deb822, one_line)
    if mirror is None:
        raise NodeError(
            "No Debian mirror found in /etc/apt: base images are made of Debian "
            "packages. Add a `deb` source of Debian's main archive."
        )
    return mirror


def choose_mirror(deb822: Iterable[str], one_line: Iterable[str]) -> str | None:
    """Return the first source that looks like Debian's main archive; None: there is none.

    deb822: contents of `*.sources` files; one_line: of `*.list` files.
    """
    sources = [source for text in deb822 for source in parse_deb822(text)]
    sources += [source for text in one_line for source in parse_one_line(text)]
    for uri, suites in sources:
        # Security archives and third parties hold other suites or other packages.
        is_archive = uri.rstrip("/").endswith("/debian")
        if is_archive and any("-security" not in suite and suite != "./" for suite in suites):
            return uri.rstrip("/")
    return None


def parse_deb822(text: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield (URI, suites) of each enabled binary source in a `*.sources` file."""
    for stanza in _stanzas(text):
        enabled = stanza.get("enabled", "yes").lower() not in {"no", "false"}
        if enabled and "deb" in stanza.get("types", "").split():
            for uri in stanza.get("uris", "").split():
                yield uri, stanza.get("suites", "").split()


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    stanza: dict[str, str] = {}
    key = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, key = {}, ""
        elif line[0].isspace() and key:
            stanza[key] += " " + line.strip()
        else:
            key, _, value = line.partition(":")
            key = key.strip().lower()
            stanza[key] = value.strip()


def parse_one_line(text: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield (URI, suites) of each `deb` line in a `*.list` file."""
    for raw in text.splitlines():
        line = raw.partition("#")[0].strip()
        if not line.startswith("deb "):
            continue
        rest = line.removeprefix("deb ").strip()
        if rest.startswith("["):
            rest = rest.partition("]")[2].strip()
        uri, _, suites = rest.partition(" ")
        yield uri, suites.split()[:1]
