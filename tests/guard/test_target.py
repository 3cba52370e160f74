"""URLs that lead inside, in every spelling; and the string that is sent."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("ada_url")

from lbproxy.guard import AddressJudge, AllowedTarget, Guard, TargetRefused
from lbproxy.guard.special import special_reason

GUARD = Guard(AddressJudge(), ports=(80, 443, 8080))
INSIDE = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1", "100.64.0.1", "0.0.0.0")


def spellings(address: str) -> list[str]:
    """Ways to write an IPv4 address that some URL parser understands."""
    number = int(ip_address(address))
    a, b, c, d = address.split(".")
    wide = address.translate({ord(str(n)): chr(0xFF10 + n) for n in range(10)})
    parts = [int(part) for part in (a, b, c, d)]
    return [
        address,
        f"{address}.",
        str(number),
        hex(number),
        f"0{number:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        ".".join(f"0x{part:x}" for part in parts),
        ".".join(f"0{part:o}" for part in parts),
        ".".join(f"000{part:o}" for part in parts),
        f"0x{parts[0]:02x}.{b}.0{parts[2]:o}.{d}",
        wide,
        address.replace(".", "\u3002"),
        address.replace(".", "%2e"),
        "".join(f"%{ord(char):02x}" for char in address),
        f"[::ffff:{address}]",
        f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[::{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[64:ff9b:1::{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]",
        f"[2001:0:{number >> 16:x}:{number & 0xFFFF:x}::]",
        f"[0:0:0:0:0:FFFF:{address}]",
        f"[::ffff:0:{address}]",
    ]


FORMS = [f"http://{host}/latest" for address in INSIDE for host in spellings(address)]
FORMS += [f"https://{host}:8080/" for address in INSIDE[:2] for host in spellings(address)]
FORMS += [
    f"http://{host}/"
    for host in (
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "loc\u00adalhost",
        "ｌｏｃａｌｈｏｓｔ",
        "localhost\u3002",
        "l%6fcalhost",
        "printer.local",
        "metadata.google.internal",
        "metadata",
        "metadata.google.internal.",
        "metadata\uff0egoogle\uff0einternal",
        "kubernetes.default.svc",
        "router.lan",
        "db.corp",
        "intranet",
        "a..b.com",
        "example.com.",
        "-",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[fec0::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[3fff::1]",
        "[5f00::1]",
        "[2001:db8::1]",
        "[::1",
        "::1",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3",
        "0",
        "0x",
        "1..2",
        "a.0x7f",
        "xn--a",
        "192.88.99.1",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "203.0.113.5",
        "user@example.com",
        "user:secret@example.com",
        "example.com@127.0.0.1",
        "127.0.0.1@example.com",
        "@example.com",
        "example.com%2f@127.0.0.1",
        "example.com%00.internal",
        "example.com%0a",
        "exam ple.com",
        "example.com\u3000",
        "example.com:22",
        "example.com:0",
        "example.com:65536",
        "example.com:-1",
        "example.com:80:80",
        "example.com:\u0661",
        "example.com:6379",
        "a/b\\c",
        "\u2100.example",
        "example.com\uff0f@127.0.0.1",
        "\uff20example.com",
    )
]
FORMS += [
    "",
    "http",
    "http:",
    "http:/",
    "http://",
    "http:///",
    "http:///example.com",
    "http:example.com",
    "http:/example.com",
    "https:///example.com",
    "//example.com/",
    "/etc/passwd",
    "example.com",
    "?",
    "#",
    "ftp://example.com/",
    "file:///etc/passwd",
    "file://example.com/",
    "gopher://example.com/_x",
    "javascript:alert(1)",
    "data:text/plain,x",
    "blob:http://example.com/",
    "dict://example.com:80/",
    "ldap://example.com/",
    "jar:http://example.com!/",
    "unix:/run/x.sock",
    "http+unix://%2frun/x",
    "view-source:http://example.com",
    "about:blank",
    "http\t://example.com/",
    "h\nttp://example.com/",
    " http://example.com/",
    "http://example.com/ ",
    "http://exa\tmple.com/",
    "http://example\n.com/",
    "http://example.com/a\r\nHost: x",
    "http://example.com/\x00",
    "http://example.com/%00",
    "http://example.com/a%00b?c",
    "http:\\\\example.com\\",
    "http:/\\example.com/",
    "http://example.com\\@127.0.0.1/",
    "http://127.0.0.1\\@example.com/",
    "http://example.com/\\x",
    "http://example.com/\u2028",
    "http://example.com/\x85",
    "http://#example.com",
    "http://?x",
    "http://[::ffff:127.0.0.1]:8080",
    "http://[::1]:80",
    "http://[127.0.0.1]/",
    "http://[::1%00]/",
    "http://[::1].example.com/",
    "http://[v1.fe80]/",
    "http://[1::2::3]/",
    "http://example.com/" + "a" * 9000,
]


def test_there_are_at_least_two_hundred_forms() -> None:
    assert len(set(FORMS)) >= 200


@pytest.mark.parametrize("url", FORMS)
def test_refused(url: str) -> None:
    with pytest.raises(TargetRefused) as caught:
        GUARD.target(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTPS://Example.COM:443/a/../b?q=1&r=%41#frag", "https://example.com/b?q=1&r=%41"),
        ("http://example.com:8080/%7Ea", "http://example.com:8080/%7Ea"),
        ("https://bücher.example/é?ü", "https://xn--bcher-kva.example/%C3%A9?%C3%BC"),
        ("wss://a_b.example/x", "wss://a_b.example/x"),
        ("http://8.8.8.8/", "http://8.8.8.8/"),
        ("http://[2606:4700:0:0::1111]/", "http://[2606:4700::1111]/"),
        ("http://example.com/%2e%2e/a@b:c", "http://example.com/a@b:c"),
        ("http://example.com?x=http://127.0.0.1/", "http://example.com/?x=http://127.0.0.1/"),
        ("http://[::ffff:8.8.8.8]/", "http://[::ffff:808:808]/"),
    ],
)
def test_allowed_and_the_string_that_is_sent(url: str, sent: str) -> None:
    target = GUARD.target(url)
    assert target.url == sent
    assert GUARD.target(sent) == target


def test_a_target() -> None:
    target = GUARD.target("wss://example.com:8080/a?b")
    assert target == AllowedTarget("wss", "example.com", 8080, "/a?b")
    assert (target.secure, target.authority, target.literal) == (True, "example.com:8080", False)
    assert GUARD.target("http://[2606:4700::1]/").literal


def test_answers_of_a_resolver() -> None:
    target = GUARD.target("https://example.com/")
    assert GUARD.judge(target, ["1.1.1.1", "8.8.8.8"]) == ("1.1.1.1", "8.8.8.8")
    for addresses in ([], ["127.0.0.1"], ["1.1.1.1", "::1"], ["1.1.1.1", "fe80::1%eth0"]):
        with pytest.raises(TargetRefused, match=r"example\.com: "):
            GUARD.judge(target, addresses)


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        ("/x?y", "https://example.com/x?y"),
        ("x", "https://example.com/a/x"),
        ("?z", "https://example.com/a/b?z"),
        ("//other.example/x", "https://other.example/x"),
        ("http://other.example", "http://other.example/"),
        ("../../../x", "https://example.com/x"),
    ],
)
def test_redirects(location: str, sent: str) -> None:
    base = GUARD.target("https://example.com/a/b")
    assert GUARD.redirected(base, location).url == sent


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/", "//127.0.0.1/", "//localhost/x", "https:///example.com", "http:x",
        "javascript:alert(1)", "file:///etc/passwd", "\\\\127.0.0.1\\x", "/\\127.0.0.1/",
        "/a\r\nb", "//user@example.com/", "http://2130706433/", "https://example.com:22/", "/%00",
    ],
)  # fmt: skip
def test_redirects_are_judged_anew(location: str) -> None:
    base = GUARD.target("https://example.com/a/b")
    with pytest.raises(TargetRefused):
        GUARD.redirected(base, location)


URLS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["http://", "https://", "http:/", "//", "ws://", "HTTP:\\\\", "http:"]),
    st.text("0123456789abcdefx.:[]%@\\/\t \u3002\uff11\u00ad-", max_size=24),
    st.sampled_from(["", ":80", ":8080", ":22", "@127.0.0.1", ".localhost", "\\"]),
    st.text("/?#%0.a\\@:", max_size=8),
)


@given(URLS | st.text())
@example("http://127.0.0.1:80\\@example.com/")
@example("http://1.1.1.1 &@2.2.2.2# @3.3.3.3/")
def test_what_is_allowed_is_read_the_same_by_others(url: str) -> None:
    try:
        target = GUARD.target(url)
    except TargetRefused:
        return
    seen = urlsplit(target.url)
    assert seen.hostname == target.host and (seen.port or target.port) == target.port
    assert seen.username is None and seen.scheme == target.scheme
    assert target.url.isascii() and target.url.isprintable() and " " not in target.url
    assert GUARD.target(target.url) == target
    if target.literal:
        assert special_reason(ip_address(target.host)) == ""


def test_a_redirect_that_is_no_url() -> None:
    base = GUARD.target("https://example.com/a/b")
    with pytest.raises(TargetRefused, match="the redirect does not lead to a URL"):
        GUARD.redirected(base, "/\udc80")  # not UTF-8
