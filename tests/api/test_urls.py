"""Which addresses of handlers are taken; CEL matches by the same patterns."""

import re

import pytest

from taskqueue_api.urls import HTTP_URL, URL_WITH_CREDENTIALS


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/task",
        "http://localhost",
        "https://localhost/",
        "http://127.0.0.1:1",
        "http://[::1]:65535/",
        "http://mailer.shop.svc.cluster.local./a/b%20c?x=1&y=[2]",
        "http://a-b.example?x=http://y@z/",
        f"http://{'a' * 63}/",
    ],
)
def test_an_address_of_a_server_is_taken(url: str) -> None:
    assert re.search(HTTP_URL, url)
    assert not re.search(URL_WITH_CREDENTIALS, url)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("", id="empty"),
        pytest.param("localhost:8080", id="no scheme"),
        pytest.param("/task", id="no host"),
        pytest.param("http:///task", id="empty host"),
        pytest.param("http://:8080/task", id="port without a host"),
        pytest.param("ftp://localhost/", id="another scheme"),
        pytest.param("unix:///run/task.sock", id="a socket"),
        pytest.param("http://localhost/#top", id="fragment"),
        pytest.param("http://localhost#top", id="fragment without a path"),
        pytest.param("http://localhost:0/", id="port 0"),
        pytest.param("http://localhost:65536/", id="no such port"),
        pytest.param("http://localhost:http/", id="port by name"),
        pytest.param("http://localhost:/", id="no port"),
        pytest.param("http://local host/", id="space in the host"),
        pytest.param("http://localhost/a b", id="space in the path"),
        pytest.param("http://localhost/\r\nHost: x", id="line break"),
        pytest.param("http://localhost/größe", id="letters to be encoded"),
        pytest.param("http://größe/", id="a host in another script"),
        # Python's resolver raises what is no OSError for these.
        pytest.param(f"http://{'a' * 64}/", id="a label too long"),
        pytest.param("http://a..b/", id="an empty label"),
        pytest.param("http://user@localhost/", id="user"),
        pytest.param("http://user:secret@localhost/", id="user and password"),
    ],
)
def test_what_is_no_address_of_a_server_is_not(url: str) -> None:
    assert not re.search(HTTP_URL, url)


@pytest.mark.parametrize(
    "url", ["http://user@h/", "https://user:secret@h", "http://@h", "ftp://u:p@h", "http://a:b@c@d"]
)
def test_credentials_are_found(url: str) -> None:
    assert re.search(URL_WITH_CREDENTIALS, url)
