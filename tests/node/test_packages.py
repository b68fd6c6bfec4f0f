"""The Debian mirror is read from the machine's apt sources, in either of their two formats."""

import pytest

from e2e.node.packages import choose_mirror

DEB822 = """\
Types: deb deb-src
# a comment in the middle
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""
VENDOR = "Types: deb\nURIs: https://vendor.example/packages\nSuites: stable\n"


@pytest.mark.parametrize(
    ("deb822", "one_line", "expected"),
    [
        pytest.param([DEB822], [], "http://mirror.example/debian", id="deb822"),
        pytest.param([VENDOR, DEB822], [], "http://mirror.example/debian", id="vendor's first"),
        pytest.param(
            [DEB822.replace("/debian\n", "/debian/\n")],
            [],
            "http://mirror.example/debian",
            id="a slash at the end",
        ),
        pytest.param(
            [],
            ["# deb http://no.example/debian x main\ndeb http://mirror.example/debian x main\n"],
            "http://mirror.example/debian",
            id="one-line, another commented out",
        ),
        pytest.param(
            [],
            ["deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie main contrib"],
            "http://mirror.example/debian",
            id="one-line with options",
        ),
        pytest.param(
            [],
            ["deb-src http://mirror.example/debian trixie main"],
            None,
            id="sources only",
        ),
        pytest.param(
            ["Enabled: no\n" + DEB822.partition("\n\n")[0]], [], None, id="disabled stanza"
        ),
        pytest.param(
            ["Types: deb\nURIs:\n http://a.example/debian\n http://b.example/debian\nSuites: sid"],
            [],
            "http://a.example/debian",
            id="values on lines of their own",
        ),
        pytest.param(
            [],
            ["deb http://mirror.example/debian bookworm-security main"],
            None,
            id="a security suite is no whole archive",
        ),
        pytest.param([VENDOR], ["deb https://vendor.example/apt stable main"], None, id="none"),
    ],
)
def test_choose_mirror(deb822: list[str], one_line: list[str], expected: str | None) -> None:
    assert choose_mirror(deb822, one_line) == expected
