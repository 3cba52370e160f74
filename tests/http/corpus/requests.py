"""Requests, malformed, ambiguous and odd, each with what the parser has to make of it.

A row is a name, the bytes, and the events in the shorthand of ``tests.http.h1_support.shorthand``:
``METHOD target version host length flags``, ``+body``, ``end``, ``STATUS kind``.  Rows run with
``LIMITS`` below.
"""

from __future__ import annotations

from lbproxy.http.message import Limits

LIMITS = Limits(
    header_bytes=1024, header_count=12, url_bytes=200, trailer_bytes=128, body_bytes=100
)

BAD = "400 bad_request"
LARGE = "431 headers_too_large"
LONG = "414 url_too_long"
BODY = "413 body_too_large"
CODING = "501 unsupported"
VERSION = "505 unsupported"
OK = "GET / 11 a 0"

Row = tuple[str, bytes, list[str]]


def line(start: bytes) -> bytes:
    """A request with this request line."""
    return start + b"\r\nHost: a\r\n\r\n"


def field(*lines: bytes, method: bytes = b"GET") -> bytes:
    """A request with a Host line and these field lines."""
    return method + b" / HTTP/1.1\r\nHost: a\r\n" + b"".join(x + b"\r\n" for x in lines) + b"\r\n"


def host(value: bytes) -> bytes:
    """A request whose Host line has this value."""
    return b"GET / HTTP/1.1\r\nHost:" + value + b"\r\n\r\n"


def chunks(body: bytes) -> bytes:
    """A chunked request with this body as it stands."""
    return field(b"Transfer-Encoding: chunked", method=b"POST") + body


POST = "POST / 11 a None"

REQUEST_LINES: list[Row] = [
    ("plain", line(b"GET / HTTP/1.1"), [OK, "end"]),
    ("no fields at all in 1.0", b"GET / HTTP/1.0\r\n\r\n", ["GET / 10 - 0 close", "end"]),
    ("no fields at all in 1.1", b"GET / HTTP/1.1\r\n\r\n", [BAD]),
    ("query", line(b"GET /a?b=c&d HTTP/1.1"), ["GET /a?b=c&d 11 a 0", "end"]),
    ("two leading slashes", line(b"GET //x/y HTTP/1.1"), ["GET //x/y 11 a 0", "end"]),
    ("dots are left alone", line(b"GET /../x HTTP/1.1"), ["GET /../x 11 a 0", "end"]),
    ("percent is left alone", line(b"GET /%zz%00 HTTP/1.1"), ["GET /%zz%00 11 a 0", "end"]),
    ("quotes and braces", line(b'GET /"{|}^` HTTP/1.1'), ['GET /"{|}^` 11 a 0', "end"]),
    ("backslash", line(b"GET /a\\b HTTP/1.1"), ["GET /a\\b 11 a 0", "end"]),
    ("lower-case method is another method", line(b"get / HTTP/1.1"), ["get / 11 a 0", "end"]),
    ("unknown method", line(b"BREW /pot HTTP/1.1"), ["BREW /pot 11 a 0", "end"]),
    (
        "method of token characters",
        line(b"M-S!#$%&'*+.^_`|~ / HTTP/1.1"),
        ["M-S!#$%&'*+.^_`|~ / 11 a 0", "end"],
    ),
    ("method of 32", line(b"M" * 32 + b" / HTTP/1.1"), ["M" * 32 + " / 11 a 0", "end"]),
    ("known methods", line(b"M-SEARCH / HTTP/1.1"), ["M-SEARCH / 11 a 0", "end"]),
    ("another known method", line(b"QUERY / HTTP/1.1"), ["QUERY / 11 a 0", "end"]),
    ("method of RTSP", line(b"DESCRIBE / HTTP/1.1"), ["DESCRIBE / 11 a 0", "end"]),
    ("known method and more", line(b"GETX / HTTP/1.1"), ["GETX / 11 a 0", "end"]),
    ("part of a known method", line(b"G / HTTP/1.1"), ["G / 11 a 0", "end"]),
    ("unknown method, malformed host", b"BREW / HTTP/1.1\r\nHost: @\r\n\r\n", [BAD]),
    ("unknown method, HTTP/2.0", line(b"BREW / HTTP/2.0"), ["505 unsupported"]),
    ("ICE", line(b"SOURCE / ICE/1.0"), [BAD]),
    ("preface's method in 1.0", b"PRI / HTTP/1.0\r\n\r\n", [CODING]),
    ("preface's method", line(b"PRI / HTTP/1.1"), [CODING]),
    ("method of 33", line(b"M" * 33 + b" / HTTP/1.1"), [CODING]),
    ("endless method", b"M" * 400, [CODING]),
    ("endless method, complete", line(b"M" * 400 + b" / HTTP/1.1"), [CODING]),
    ("method with colon", line(b"GET: / HTTP/1.1"), [BAD]),
    ("method with at", line(b"G@T / HTTP/1.1"), [BAD]),
    ("method with quote", line(b'"GET" / HTTP/1.1'), [BAD]),
    ("method with NUL", line(b"GE\0T / HTTP/1.1"), [BAD]),
    ("method with high byte", line(b"G\xc9T / HTTP/1.1"), [BAD]),
    ("method starts with high byte", line(b"\xc9GT / HTTP/1.1"), [BAD]),
    ("no method", line(b" / HTTP/1.1"), [BAD]),
    ("leading space", line(b" GET / HTTP/1.1"), [BAD]),
    ("leading tab", line(b"\tGET / HTTP/1.1"), [BAD]),
    ("two spaces before target", line(b"GET  / HTTP/1.1"), [BAD]),
    ("two spaces after target", line(b"GET /  HTTP/1.1"), [BAD]),
    ("tab before target", line(b"GET\t/ HTTP/1.1"), [BAD]),
    ("tab after target", line(b"GET /\tHTTP/1.1"), [BAD]),
    ("tab in target", line(b"GET /a\tb HTTP/1.1"), [BAD]),
    ("space in target", line(b"GET /a b HTTP/1.1"), [BAD]),
    ("trailing space", line(b"GET / HTTP/1.1 "), [BAD]),
    ("trailing tab", line(b"GET / HTTP/1.1\t"), [BAD]),
    ("trailing word", line(b"GET / HTTP/1.1 x"), [BAD]),
    ("no target", line(b"GET HTTP/1.1"), [BAD]),
    ("empty target", line(b"GET  HTTP/1.1"), [BAD]),
    ("vertical tab", line(b"GET\x0b/ HTTP/1.1"), [BAD]),
    ("form feed", line(b"GET / HTTP/1.1\x0c"), [BAD]),
    ("bare CR", line(b"GET /\rHTTP/1.1"), [BAD]),
    ("NUL in target", line(b"GET /\0 HTTP/1.1"), [BAD]),
    ("DEL in target", line(b"GET /\x7f HTTP/1.1"), [BAD]),
    ("UTF-8 in target", line("GET /é HTTP/1.1".encode()), [BAD]),
    ("fragment", line(b"GET /a#b HTTP/1.1"), [BAD]),
    ("target without slash", line(b"GET a HTTP/1.1"), [BAD]),
    ("target is a query", line(b"GET ?a HTTP/1.1"), [BAD]),
    (
        "target of 200",
        line(b"GET /" + b"u" * 199 + b" HTTP/1.1"),
        ["GET /" + "u" * 199 + " 11 a 0", "end"],
    ),
    ("target of 201", line(b"GET /" + b"u" * 200 + b" HTTP/1.1"), [LONG]),
    ("target of 400", line(b"GET /" + b"u" * 399 + b" HTTP/1.1"), [LONG]),
    (
        "longest line",
        line(b"M" * 32 + b" /" + b"u" * 199 + b" HTTP/1.1"),
        ["M" * 32 + " /" + "u" * 199 + " 11 a 0", "end"],
    ),
    ("longer line", line(b"M" * 32 + b" /" + b"u" * 199 + b"  HTTP/1.1"), [LONG]),
    ("endless target", b"GET /" + b"u" * 400, [LONG]),
    (
        "long target and then a large head",
        line(b"GET /" + b"u" * 400 + b" HTTP/1.1\r\nX: " + b"v" * 2000),
        [LONG],
    ),
]

VERSIONS: list[Row] = [
    ("1.0", line(b"GET / HTTP/1.0"), ["GET / 10 a 0 close", "end"]),
    ("1.2", line(b"GET / HTTP/1.2"), [OK, "end"]),
    ("1.9", line(b"GET / HTTP/1.9"), [OK, "end"]),
    ("0.9 by name", line(b"GET / HTTP/0.9"), [BAD]),
    ("0.9 by absence", line(b"GET /"), [BAD]),
    ("0.9 alone", b"GET /\r\n\r\n", [BAD]),
    ("2.0", line(b"GET / HTTP/2.0"), [VERSION]),
    ("2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [VERSION]),
    ("3.0", line(b"GET / HTTP/3.0"), [VERSION]),
    ("9.9", line(b"GET / HTTP/9.9"), [VERSION]),
    ("1.10", line(b"GET / HTTP/1.10"), [BAD]),
    ("01.1", line(b"GET / HTTP/01.1"), [BAD]),
    ("1", line(b"GET / HTTP/1"), [BAD]),
    ("1.", line(b"GET / HTTP/1."), [BAD]),
    ("1,1", line(b"GET / HTTP/1,1"), [BAD]),
    ("2", line(b"GET / HTTP/2"), [BAD]),
    ("lower case", line(b"GET / http/1.1"), [BAD]),
    ("other name", line(b"GET / HTTQ/1.1"), [BAD]),
    ("RTSP", line(b"OPTIONS / RTSP/1.0"), [BAD]),
    ("superscript digit", line(b"GET / HTTP/\xb2.0"), [BAD]),
    ("sign", line(b"GET / HTTP/+1.1"), [BAD]),
]

LINE_ENDS: list[Row] = [
    ("empty line first", b"\r\n" + field(), [OK, "end"]),
    ("four empty lines first", b"\r\n" * 4 + field(), [OK, "end"]),
    ("five empty lines first", b"\r\n" * 5 + field(), [BAD]),
    ("only empty lines", b"\r\n" * 4, []),
    ("LF first", b"\n" + field(), [BAD]),
    ("CR first", b"\r" + field(), [BAD]),
    ("CR CR LF first", b"\r\r\n" + field(), [BAD]),
    ("four empty lines before each of two", (b"\r\n" * 4 + field()) * 2, [OK, "end", OK, "end"]),
    ("LF ends the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", [BAD]),
    ("LF ends a field", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", [BAD]),
    ("LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n", [BAD]),
    ("LF ends the head", b"GET / HTTP/1.1\r\nHost: a\r\n\n", [BAD]),
    ("CR LF LF", b"GET / HTTP/1.1\r\nHost: a\r\n\nX: y\r\n\r\n", [BAD]),
    ("CR CR LF ends a field", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", [BAD]),
    ("CR ends a field", b"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", [BAD]),
    ("bare CR in a value", field(b"X: a\rb"), [BAD]),
    ("CR at the end of a value", field(b"X: a\r"), [BAD]),
    ("bare LF after too many fields", field(*[b"X: y"] * 14) + b"\n", [LARGE]),
    ("bare LF before too many fields", field(b"X: y\nZ: z", *[b"X: y"] * 20), [BAD]),
    (
        "bare LF before a head too large",
        field(b"X: y\nZ: z", b"V: " + b"v" * 1100),
        [BAD],
    ),
    (
        "bare LF after a head too large",
        field(b"V: " + b"v" * 1100, b"X: y\nZ: z"),
        [LARGE],
    ),
    ("no request, only LF", b"\n", [BAD]),
    ("TLS ClientHello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [BAD]),
    ("NULs", b"\0" * 20, [BAD]),
]

FIELDS: list[Row] = [
    ("no space after colon", field(b"X:y"), [OK, "end"]),
    ("empty value", field(b"X:"), [OK, "end"]),
    ("blank value", field(b"X:  \t "), [OK, "end"]),
    ("value with tab and spaces", field(b"X: a \t b"), [OK, "end"]),
    ("value with obs-text", field(b"X: \xe9\xff\x80"), [OK, "end"]),
    ("value with colons", field(b"X: a:b:c"), [OK, "end"]),
    ("name of token characters", field(b"!#$%&'*+-.^_`|~09: y"), [OK, "end"]),
    ("underscore in name", field(b"X_Y: y"), [OK, "end"]),
    ("space before colon", field(b"X : y"), [BAD]),
    ("tab before colon", field(b"X\t: y"), [BAD]),
    ("space in name", field(b"X Y: y"), [BAD]),
    ("space before name", field(b" X: y"), [BAD]),
    ("folded value", field(b"X: y", b" z"), [BAD]),
    ("folded with tab", field(b"X: y", b"\tz"), [BAD]),
    ("fold in first field", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", [BAD]),
    ("blank line of spaces", field(b"  "), [BAD]),
    ("no colon", field(b"X"), [BAD]),
    ("no colon, known name", field(b"Accept"), [BAD]),
    ("empty name", field(b": y"), [BAD]),
    ("only a colon", field(b":"), [BAD]),
    ("NUL in name", field(b"X\0: y"), [BAD]),
    ("NUL in value", field(b"X: a\0b"), [BAD]),
    ("control character in value", field(b"X: a\x01b"), [BAD]),
    ("backspace in value", field(b"X: a\x08b"), [BAD]),
    ("escape in value", field(b"X: \x1b[2J"), [BAD]),
    ("vertical tab around value", field(b"Content-Length:\x0b5"), [BAD]),
    ("DEL in value", field(b"X: \x7f"), [BAD]),
    ("high byte in name", field(b"X\xe9: y"), [BAD]),
    ("quotes in name", field(b'"X": y'), [BAD]),
    ("brackets in name", field(b"X[0]: y"), [BAD]),
    ("slash in name", field(b"X/Y: y"), [BAD]),
    ("at in name", field(b"X@Y: y"), [BAD]),
    ("comma in name", field(b"X,Y: y"), [BAD]),
    ("many fields", field(*[b"X: y"] * 11), [OK, "end"]),
    ("one field too many", field(*[b"X: y"] * 12), [LARGE]),
    ("far too many fields", field(*[b"X:"] * 200), [LARGE]),
    ("too many fields, incomplete", field(*[b"X: y"] * 20)[:-2], [LARGE]),
    ("value too large", field(b"X: " + b"v" * 1000), [LARGE]),
    ("name too large", field(b"X" * 1000 + b": v"), [LARGE]),
    ("head too large, incomplete", field(b"X: " + b"v" * 1000)[:-4], [LARGE]),
    ("head of 1024", field(b"X: " + b"v" * (1024 - 32)), [OK, "end"]),
    ("head of 1025", field(b"X: " + b"v" * (1025 - 32)), [LARGE]),
]

HOSTS: list[Row] = [
    ("port", host(b" a.example:8080"), ["GET / 11 a.example:8080 0", "end"]),
    ("upper case", host(b" WWW.Example.COM"), ["GET / 11 www.example.com 0", "end"]),
    ("empty port", host(b" a:"), ["GET / 11 a 0", "end"]),
    ("trailing dot", host(b" a.example."), ["GET / 11 a.example. 0", "end"]),
    ("underscore", host(b" my_app.local"), ["GET / 11 my_app.local 0", "end"]),
    ("IPv4", host(b" 10.0.0.1:80"), ["GET / 11 10.0.0.1:80 0", "end"]),
    ("IPv6", host(b" [2001:DB8::1]:80"), ["GET / 11 [2001:db8::1]:80 0", "end"]),
    ("IPv6 without port", host(b" [::1]"), ["GET / 11 [::1] 0", "end"]),
    ("tab around", host(b"\ta\t"), [OK, "end"]),
    ("missing", b"GET / HTTP/1.1\r\nX: y\r\n\r\n", [BAD]),
    ("missing in 1.0", b"GET / HTTP/1.0\r\nX: y\r\n\r\n", ["GET / 10 - 0 close", "end"]),
    ("empty", host(b""), [BAD]),
    ("blank", host(b"  "), [BAD]),
    ("empty in 1.0", b"GET / HTTP/1.0\r\nHost:\r\n\r\n", [BAD]),
    ("twice", field(b"Host: b"), [BAD]),
    ("twice the same", field(b"Host: a"), [BAD]),
    ("twice in other case", field(b"hOsT: b"), [BAD]),
    ("twice in 1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", [BAD]),
    ("space before colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", [BAD]),
    ("list", host(b" a, b"), [BAD]),
    ("space inside", host(b" a b"), [BAD]),
    ("user information", host(b" u@a"), [BAD]),
    ("slash", host(b" a/b"), [BAD]),
    ("scheme", host(b" http://a"), [BAD]),
    ("question mark", host(b" a?b"), [BAD]),
    ("hash", host(b" a#b"), [BAD]),
    ("percent", host(b" a%2eb"), [BAD]),
    ("quote", host(b' "a"'), [BAD]),
    ("backslash", host(b" a\\b"), [BAD]),
    ("angle brackets", host(b" <a>"), [BAD]),
    ("high byte", host(b" \xe9"), [BAD]),
    ("two dots", host(b" a..b"), [BAD]),
    ("leading dot", host(b" .a"), [BAD]),
    ("only a dot", host(b" ."), [BAD]),
    ("only a port", host(b" :80"), [BAD]),
    ("word for port", host(b" a:http"), [BAD]),
    ("port 0", host(b" a:0"), [BAD]),
    ("port 65536", host(b" a:65536"), [BAD]),
    ("port of six digits", host(b" a:000080"), [BAD]),
    ("negative port", host(b" a:-1"), [BAD]),
    ("two ports", host(b" a:1:2"), [BAD]),
    ("bare IPv6", host(b" ::1"), [BAD]),
    ("malformed IPv6", host(b" [::1::2]"), [BAD]),
    ("IPv6 not closed", host(b" [::1"), [BAD]),
    ("IPv6 with zone", host(b" [fe80::1%25eth0]"), [BAD]),
    ("IPv6 with tail", host(b" [::1]x"), [BAD]),
    ("future IP literal", host(b" [v1.a]"), [BAD]),
    ("too long", host(b" " + b"a." * 150 + b"b"), [BAD]),
]

TARGETS: list[Row] = [
    ("absolute", line(b"GET http://b/x?y HTTP/1.1"), ["GET /x?y 11 b 0", "end"]),
    ("absolute wins over Host", line(b"GET http://B:81/ HTTP/1.1"), ["GET / 11 b:81 0", "end"]),
    ("absolute, https", line(b"GET https://b/ HTTP/1.1"), ["GET / 11 b 0 scheme=https", "end"]),
    ("absolute, upper-case scheme", line(b"GET HTTP://b/ HTTP/1.1"), ["GET / 11 b 0", "end"]),
    ("absolute, empty path", line(b"GET http://b HTTP/1.1"), ["GET / 11 b 0", "end"]),
    ("absolute, query only", line(b"GET http://b?q=/ HTTP/1.1"), ["GET /?q=/ 11 b 0", "end"]),
    ("absolute, IPv6", line(b"GET http://[::1]:8/ HTTP/1.1"), ["GET / 11 [::1]:8 0", "end"]),
    (
        "absolute OPTIONS is asterisk",
        line(b"OPTIONS http://b HTTP/1.1"),
        ["OPTIONS * 11 b 0", "end"],
    ),
    (
        "absolute OPTIONS with path",
        line(b"OPTIONS http://b/ HTTP/1.1"),
        ["OPTIONS / 11 b 0", "end"],
    ),
    (
        "absolute in 1.0 without Host",
        b"GET http://b/ HTTP/1.0\r\n\r\n",
        ["GET / 10 b 0 close", "end"],
    ),
    ("absolute in 1.1 without Host", b"GET http://b/ HTTP/1.1\r\n\r\n", [BAD]),
    ("absolute with malformed Host", b"GET http://b/ HTTP/1.1\r\nHost: a@b\r\n\r\n", [BAD]),
    ("absolute with two Hosts", b"GET http://b/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", [BAD]),
    ("absolute with user information", line(b"GET http://u:p@b/ HTTP/1.1"), [BAD]),
    ("absolute with empty host", line(b"GET http:///x HTTP/1.1"), [BAD]),
    ("absolute with empty host and port", line(b"GET http://:80/x HTTP/1.1"), [BAD]),
    ("absolute with backslash", line(b"GET http://b\\c/ HTTP/1.1"), [BAD]),
    ("absolute with fragment", line(b"GET http://b/#f HTTP/1.1"), [BAD]),
    ("absolute, other scheme", line(b"GET ftp://b/ HTTP/1.1"), [BAD]),
    ("absolute, no slashes", line(b"GET http:b HTTP/1.1"), [BAD]),
    ("absolute, one slash", line(b"GET http:/b HTTP/1.1"), [BAD]),
    ("absolute, bad port", line(b"GET http://b:x/ HTTP/1.1"), [BAD]),
    ("javascript", line(b"GET javascript:x HTTP/1.1"), [BAD]),
    ("asterisk", line(b"OPTIONS * HTTP/1.1"), ["OPTIONS * 11 a 0", "end"]),
    ("asterisk with GET", line(b"GET * HTTP/1.1"), [BAD]),
    ("asterisk and more", line(b"OPTIONS *x HTTP/1.1"), [BAD]),
    ("authority with GET", line(b"GET b:80 HTTP/1.1"), [BAD]),
    (
        "CONNECT",
        line(b"CONNECT B.example:443 HTTP/1.1"),
        ["CONNECT b.example:443 11 b.example:443 0", "end", "stopped"],
    ),
    (
        "CONNECT, IPv6",
        line(b"CONNECT [::1]:443 HTTP/1.1"),
        ["CONNECT [::1]:443 11 [::1]:443 0", "end", "stopped"],
    ),
    (
        "CONNECT, bytes after",
        line(b"CONNECT b:443 HTTP/1.1") + b"\x16\x03\0\r\n\r\n",
        ["CONNECT b:443 11 b:443 0", "end", "stopped"],
    ),
    ("CONNECT without port", line(b"CONNECT b HTTP/1.1"), [BAD]),
    ("CONNECT with empty port", line(b"CONNECT b: HTTP/1.1"), [BAD]),
    ("CONNECT with path", line(b"CONNECT /x HTTP/1.1"), [BAD]),
    ("CONNECT with path after authority", line(b"CONNECT b:443/x HTTP/1.1"), [BAD]),
    ("CONNECT with a URL", line(b"CONNECT http://b:80 HTTP/1.1"), [BAD]),
    ("CONNECT with user", line(b"CONNECT u@b:80 HTTP/1.1"), [BAD]),
    ("CONNECT without host", line(b"CONNECT :80 HTTP/1.1"), [BAD]),
    ("CONNECT with bare IPv6", line(b"CONNECT ::1 HTTP/1.1"), [BAD]),
    (
        "CONNECT with length 0",
        b"CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\nContent-Length: 0\r\n\r\n",
        ["CONNECT b:1 11 b:1 0", "end", "stopped"],
    ),
    (
        "CONNECT with a body",
        b"CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\nContent-Length: 1\r\n\r\nx",
        [BAD],
    ),
    (
        "CONNECT, chunked",
        b"CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [BAD],
    ),
    ("connect in lower case is no CONNECT", line(b"connect b:1 HTTP/1.1"), [BAD]),
]


def length(*values: bytes) -> bytes:
    """A request with these Content-Length lines, and ``hello`` behind it."""
    return field(*(b"Content-Length:" + value for value in values), method=b"POST") + b"hello"


FIVE = ["POST / 11 a 5", "+hello", "end"]

LENGTHS: list[Row] = [
    ("5", length(b" 5"), FIVE),
    ("5 in blanks", length(b"\t 5 \t"), FIVE),
    ("5 with zeros", length(b" 0005"), FIVE),
    ("0", length(b" 0")[:-5], ["POST / 11 a 0", "end"]),
    ("body of a GET", field(b"Content-Length: 1") + b"x", ["GET / 11 a 1", "+x", "end"]),
    ("body, then a request", length(b" 5") + field(), [*FIVE, OK, "end"]),
    (
        "body that looks like a request",
        field(b"Content-Length: 18") + b"GET /x HTTP/1.1\r\n\r",
        ["GET / 11 a 18", "+GET /x HTTP/1.1\r\n\r", "end"],
    ),
    ("plus", length(b" +5"), [BAD]),
    ("minus", length(b" -5"), [BAD]),
    ("minus zero", length(b" -0"), [BAD]),
    ("empty", length(b""), [BAD]),
    ("blank", length(b"  "), [BAD]),
    ("list of equals", length(b" 5, 5"), [BAD]),
    ("list", length(b" 5, 6"), [BAD]),
    ("trailing comma", length(b" 5,"), [BAD]),
    ("leading comma", length(b" ,5"), [BAD]),
    ("twice the same", length(b" 5", b" 5"), [BAD]),
    ("twice different", length(b" 5", b" 6"), [BAD]),
    ("twice, one empty", length(b" 5", b""), [BAD]),
    ("hexadecimal", length(b" 0x5"), [BAD]),
    ("letters", length(b" five"), [BAD]),
    ("decimal point", length(b" 5.0"), [BAD]),
    ("exponent", length(b" 5e0"), [BAD]),
    ("underscore", length(b" 0_5"), [BAD]),
    ("space inside", length(b" 5 5"), [BAD]),
    ("quoted", length(b' "5"'), [BAD]),
    ("semicolon", length(b" 5;a=b"), [BAD]),
    ("superscript", length(b" \xb2"), [BAD]),
    ("Arabic digit", length(b" \xd9\xa5"), [BAD]),
    ("NUL behind", length(b" 5\0"), [BAD]),
    ("over 2**64", length(b" 18446744073709551621"), [BAD]),
    ("over what int() reads", length(b" " + b"9" * 900), [BAD]),
    (
        "the limit",
        field(b"Content-Length: 100") + b"x" * 100,
        ["GET / 11 a 100", "+" + "x" * 100, "end"],
    ),
    ("over the limit", field(b"Content-Length: 101") + b"x" * 101, ["GET / 11 a 101", BODY]),
    (
        "far over the limit",
        length(b" 999999999999999999"),
        ["POST / 11 a 999999999999999999", BODY],
    ),
    ("space before colon", field(b"Content-Length : 5") + b"hello", [BAD]),
    ("name with a NUL", field(b"Content-Length\0: 5") + b"hello", [BAD]),
    ("name with underscore is another", field(b"Content_Length: 5"), [OK, "end"]),
]


def coding(*values: bytes, rest: bytes = b"0\r\n\r\n") -> bytes:
    """A request with these Transfer-Encoding lines."""
    return field(*(b"Transfer-Encoding:" + value for value in values), method=b"POST") + rest


CODINGS: list[Row] = [
    ("chunked", coding(b" chunked"), [POST, "end"]),
    ("upper case", coding(b" CHUNKED"), [POST, "end"]),
    ("mixed name", field(b"tRaNsFer-eNCoDing:chunked") + b"0\r\n\r\n", ["GET / 11 a None", "end"]),
    ("in blanks", coding(b"\t chunked  "), [POST, "end"]),
    ("tab behind", coding(b" chunked\t"), [BAD]),
    ("twice in one line", coding(b" chunked, chunked"), [BAD]),
    ("twice in two lines", coding(b" chunked", b" chunked"), [BAD]),
    ("chunked, gzip", coding(b" chunked, gzip"), [BAD]),
    ("chunked, identity", coding(b" chunked, identity"), [BAD]),
    ("gzip, chunked", coding(b" gzip, chunked"), [CODING]),
    ("gzip and chunked in two lines", coding(b" gzip", b" chunked"), [CODING]),
    ("identity, chunked", coding(b" identity, chunked"), [CODING]),
    ("identity", coding(b" identity"), [CODING]),
    ("gzip", coding(b" gzip"), [CODING]),
    ("xchunked", coding(b" xchunked"), [CODING]),
    ("chunkedx", coding(b" chunkedx"), [CODING]),
    ("chunke", coding(b" chunke"), [CODING]),
    ("empty", coding(b""), [BAD]),
    ("leading comma", coding(b" ,chunked"), [BAD]),
    ("trailing comma", coding(b" chunked,"), [BAD]),
    ("empty line and chunked", coding(b"", b" chunked"), [BAD]),
    ("quoted", coding(b' "chunked"'), [BAD]),
    ("single quotes", coding(b" 'chunked'"), [CODING]),
    ("parameter", coding(b" chunked;a=b"), [BAD]),
    ("junk behind", coding(b" chunked x"), [BAD]),
    ("colon behind", coding(b" chunked:"), [BAD]),
    ("vertical tab before", coding(b" \x0bchunked"), [BAD]),
    ("vertical tab behind", coding(b" chunked\x0b"), [BAD]),
    ("NUL behind", coding(b" chunked\0"), [BAD]),
    ("no-break space", coding(b" chunked\xa0"), [BAD]),
    ("DEL behind", coding(b" chunked\x7f"), [BAD]),
    ("CR before", coding(b"\rchunked"), [BAD]),
    ("folded", field(b"Transfer-Encoding:", b" chunked") + b"0\r\n\r\n", [BAD]),
    ("space before colon", field(b"Transfer-Encoding : chunked") + b"0\r\n\r\n", [BAD]),
    ("space before name", field(b" Transfer-Encoding: chunked") + b"0\r\n\r\n", [BAD]),
    ("underscore is another name", field(b"Transfer_Encoding: chunked"), [OK, "end"]),
    ("in HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [BAD]),
    (
        "with a length",
        field(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        [BAD],
    ),
    (
        "before a length",
        field(b"Transfer-Encoding: chunked", b"Content-Length: 5") + b"0\r\n\r\n",
        [BAD],
    ),
    (
        "with length 0",
        field(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        [BAD],
    ),
    (
        "unknown, with a length",
        field(b"Content-Length: 5", b"Transfer-Encoding: x") + b"hello",
        [BAD],
    ),
]

CHUNKS: list[Row] = [
    ("one", chunks(b"5\r\nhello\r\n0\r\n\r\n"), [POST, "+hello", "end"]),
    ("two", chunks(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"), [POST, "+hello", "end"]),
    (
        "upper and lower hex",
        chunks(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"),
        [POST, "+01234567890123456789", "end"],
    ),
    ("leading zeros", chunks(b"0005\r\nhello\r\n000\r\n\r\n"), [POST, "+hello", "end"]),
    (
        "a size of many digits",
        chunks(b"0" * 40 + b"5\r\nhello\r\n" + b"0" * 16 + b"\r\n\r\n"),
        [POST, "+hello", "end"],
    ),
    ("data that is CRLF", chunks(b"4\r\n\r\n\r\n\r\n0\r\n\r\n"), [POST, "+\r\n\r\n", "end"]),
    ("then a request", chunks(b"1\r\nx\r\n0\r\n\r\n") + field(), [POST, "+x", "end", OK, "end"]),
    ("extension", chunks(b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), [POST, "+hello", "end"]),
    ("extension, quoted", chunks(b'5;a="b;\\"c"\r\nhello\r\n0\r\n\r\n'), [POST, "+hello", "end"]),
    (
        "extensions in blanks",
        chunks(b"5 ; a = b ; c\r\nhello\r\n0\r\n\r\n"),
        [POST, "+hello", "end"],
    ),
    ("extension without name", chunks(b"5;\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("extension without value", chunks(b"5;a=\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("extension with bare CR", chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("extension with LF", chunks(b"5;a\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("extension with NUL", chunks(b"5;a=\0\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("extension, quote not closed", chunks(b'5;a="b\r\nhello\r\n0\r\n\r\n'), [POST, BAD]),
    ("extension with CRLF in quotes", chunks(b'5;a="\r\n"\r\nhello\r\n0\r\n\r\n'), [POST, BAD]),
    ("extension with high byte", chunks(b"5;\xe9\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("extension too long", chunks(b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("endless extension", chunks(b"5;" + b"a" * 300), [POST, BAD]),
    ("line of 256", chunks(b"1;" + b"a" * 254 + b"\r\nx\r\n0\r\n\r\n"), [POST, "+x", "end"]),
    ("line of 257", chunks(b"1;" + b"a" * 255 + b"\r\nx\r\n0\r\n\r\n"), [POST, BAD]),
    ("0x", chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("plus", chunks(b"+5\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("minus", chunks(b"-5\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("underscore", chunks(b"0_5\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("leading space", chunks(b" 5\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("trailing space", chunks(b"5 \r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("trailing tab", chunks(b"5\t\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("not hex", chunks(b"g\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("empty", chunks(b"\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("comma", chunks(b"5,a\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("high digit", chunks(b"\xb5\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("over 64 bits", chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("exactly 64 bits", chunks(b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("LF ends the size", chunks(b"5\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("CR ends the size", chunks(b"5\rhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("CR CR LF ends the size", chunks(b"5\r\r\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("LF ends the data", chunks(b"5\r\nhello\n0\r\n\r\n"), [POST, "+hello", BAD]),
    ("CR CR LF ends the data", chunks(b"5\r\nhello\r\r\n0\r\n\r\n"), [POST, "+hello", BAD]),
    ("LF behind two digits", chunks(b"55\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("LF behind a digit and junk", chunks(b"5\x00\nhello\r\n0\r\n\r\n"), [POST, BAD]),
    ("CR alone ends the data", chunks(b"5\r\nhello\rX0\r\n\r\n"), [POST, "+hello", BAD]),
    ("data too long", chunks(b"5\r\nhelloo\r\n0\r\n\r\n"), [POST, "+hello", BAD]),
    ("data too short", chunks(b"5\r\nhell\r\n0\r\n\r\n"), [POST, "+hell\r", BAD]),
    ("LF ends the body", chunks(b"0\r\n\n"), [POST, BAD]),
    ("LF ends the last chunk", chunks(b"0\n\r\n"), [POST, BAD]),
    (
        "body at the limit",
        chunks(b"64\r\n" + b"x" * 100 + b"\r\n0\r\n\r\n"),
        [POST, "+" + "x" * 100, "end"],
    ),
    ("body over the limit", chunks(b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n"), [POST, BODY]),
    (
        "body over the limit in two",
        chunks(b"60\r\n" + b"x" * 96 + b"\r\n5\r\nhello\r\n0\r\n\r\n"),
        [POST, "+" + "x" * 96, BODY],
    ),
    ("trailer", chunks(b"1\r\nx\r\n0\r\nX-Sum: 1 \r\n\r\n"), [POST, "+x", "end X-Sum=1"]),
    ("trailers", chunks(b"0\r\nA: 1\r\nB:2\r\n\r\n"), [POST, "end A=1 B=2"]),
    (
        "trailer, then a request",
        chunks(b"0\r\nA: 1\r\n\r\n") + field(),
        [POST, "end A=1", OK, "end"],
    ),
    (
        "trailers that frame are dropped",
        chunks(b"0\r\nContent-Length: 9\r\ntransfer-encoding: chunked\r\nHost: b\r\nA: 1\r\n\r\n"),
        [POST, "end A=1"],
    ),
    (
        "trailers that authenticate are dropped",
        chunks(b"0\r\nAuthorization: x\r\nCookie: y\r\nX-Forwarded-For: z\r\n\r\n"),
        [POST, "end"],
    ),
    ("trailer without colon", chunks(b"0\r\nA\r\n\r\n"), [POST, BAD]),
    ("trailer with space before colon", chunks(b"0\r\nA : 1\r\n\r\n"), [POST, BAD]),
    ("trailer without name", chunks(b"0\r\n: 1\r\n\r\n"), [POST, BAD]),
    ("trailer with NUL", chunks(b"0\r\nA: \0\r\n\r\n"), [POST, BAD]),
    ("trailer with bare CR", chunks(b"0\r\nA: 1\rB: 2\r\n\r\n"), [POST, BAD]),
    ("trailer with bare LF", chunks(b"0\r\nA: 1\nB: 2\r\n\r\n"), [POST, BAD]),
    ("trailer with bare LF, no end", chunks(b"0\r\nA: 1\n"), [POST, BAD]),
    ("trailer folded", chunks(b"0\r\nA: 1\r\n 2\r\n\r\n"), [POST, BAD]),
    ("request as trailer", chunks(b"0\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n"), [POST, BAD]),
    ("trailers too large", chunks(b"0\r\nA: " + b"v" * 200 + b"\r\n\r\n"), [POST, LARGE]),
    (
        "trailers as large as allowed",
        chunks(b"0\r\nA: " + b"v" * 123 + b"\r\n\r\n"),
        [POST, "end A=" + "v" * 123],
    ),
    ("trailers one byte too large", chunks(b"0\r\nA: " + b"v" * 124 + b"\r\n\r\n"), [POST, LARGE]),
    ("LF in the last byte", chunks(b"0\r\nA: " + b"v" * 126 + b"\nB\r\n\r\n"), [POST, BAD]),
    ("LF after the last byte", chunks(b"0\r\nA: " + b"v" * 127 + b"\nB\r\n\r\n"), [POST, LARGE]),
    ("endless trailer", chunks(b"0\r\nA: " + b"v" * 200), [POST, LARGE]),
    ("too many trailers", chunks(b"0\r\n" + b"A:\r\n" * 13 + b"\r\n"), [POST, LARGE]),
    (
        "LF after too large trailers",
        chunks(b"0\r\nA: " + b"v" * 140 + b"\nB\r\n\r\n"),
        [POST, LARGE],
    ),
]

CONNECTIONS: list[Row] = [
    ("close", field(b"Connection: close"), ["GET / 11 a 0 close", "end"]),
    ("CLOSE", field(b"Connection: CLOSE"), ["GET / 11 a 0 close", "end"]),
    (
        "close among others",
        field(b"Connection: x-a, ,close"),
        ["GET / 11 a 0 close nominated=x-a", "end"],
    ),
    ("keep-alive in 1.1", field(b"Connection: keep-alive"), [OK, "end"]),
    (
        "keep-alive in 1.0",
        b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
        ["GET / 10 - 0", "end"],
    ),
    (
        "keep-alive in 1.0, then another",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /x HTTP/1.0\r\n\r\n",
        ["GET / 10 - 0", "end", "GET /x 10 - 0 close", "end"],
    ),
    ("both", field(b"Connection: keep-alive, close"), ["GET / 11 a 0 close", "end"]),
    (
        "in two lines",
        field(b"Connection: X-A", b"Connection: close, X-B"),
        ["GET / 11 a 0 close nominated=x-a,x-b", "end"],
    ),
    (
        "framing cannot be named away",
        field(b"Connection: Host, Content-Length, Transfer-Encoding, Cookie"),
        ["GET / 11 a 0 nominated=cookie", "end"],
    ),
    ("not tokens", field(b'Connection: a b, "c", d:'), [OK, "end"]),
    (
        "what follows a close is ignored",
        field(b"Connection: close") + field(),
        ["GET / 11 a 0 close", "end"],
    ),
    (
        "what follows a close is not even read",
        field(b"Connection: close") + b"\0\r\n\r\n",
        ["GET / 11 a 0 close", "end"],
    ),
    (
        "what follows a 1.0 request is ignored",
        line(b"GET / HTTP/1.0") + field(),
        ["GET / 10 a 0 close", "end"],
    ),
    (
        "close with a body",
        field(b"Connection: close", b"Content-Length: 1") + b"xy",
        ["GET / 11 a 1 close", "+x", "end"],
    ),
    ("three in a row", field() * 3, [OK, "end"] * 3),
    ("good, then bad, then good", field() + line(b"GET x HTTP/1.1") + field(), [OK, "end", BAD]),
    (
        "websocket",
        field(b"Connection: Upgrade", b"Upgrade: WebSocket"),
        ["GET / 11 a 0 upgrade=websocket", "end", "stopped"],
    ),
    (
        "websocket, bytes after",
        field(b"Connection: keep-alive, Upgrade", b"Upgrade: websocket") + b"\x81\x00\r\n\r\n",
        ["GET / 11 a 0 upgrade=websocket", "end", "stopped"],
    ),
    (
        "upgrade with a body",
        field(b"Connection: Upgrade", b"Upgrade: x/1", b"Content-Length: 2") + b"xyz",
        ["GET / 11 a 2 upgrade=x/1", "+xy", "end", "stopped"],
    ),
    (
        "upgrade with a chunked body",
        field(b"Connection: Upgrade", b"Upgrade: x", b"Transfer-Encoding: chunked")
        + b"1\r\nx\r\n0\r\n\r\nxyz",
        ["GET / 11 a None upgrade=x", "+x", "end", "stopped"],
    ),
    ("upgrade not nominated", field(b"Upgrade: websocket") * 2, [OK, "end"] * 2),
    ("upgrade nominated but absent", field(b"Connection: upgrade") * 2, [OK, "end"] * 2),
    (
        "upgrade in 1.0",
        b"GET / HTTP/1.0\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n",
        ["GET / 10 - 0", "end"],
    ),
    (
        "h2c is not passed on",
        field(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: x"),
        ["GET / 11 a 0 nominated=http2-settings", "end"],
    ),
    (
        "h2c among others",
        field(b"Connection: Upgrade", b"Upgrade: websocket, H2C"),
        [OK + " upgrade=websocket", "end", "stopped"],
    ),
    ("TLS is not passed on", field(b"Connection: Upgrade", b"Upgrade: TLS/1.2"), [OK, "end"]),
    ("HTTP/2.0 is not passed on", field(b"Connection: Upgrade", b"Upgrade: HTTP/2.0"), [OK, "end"]),
    (
        "upgrade in two lines",
        field(b"Connection: Upgrade", b"Upgrade: a", b"Upgrade: b/2"),
        ["GET / 11 a 0 upgrade=a, b/2", "end", "stopped"],
    ),
    ("upgrade malformed", field(b"Connection: Upgrade", b"Upgrade: a b"), [OK, "end"]),
    (
        "expect",
        field(b"Expect: 100-Continue", b"Content-Length: 1") + b"x",
        ["GET / 11 a 1 expect", "+x", "end"],
    ),
    (
        "Proxy-Connection is not Connection",
        (field(b"Proxy-Connection: close") + field()) * 2,
        [OK, "end"] * 4,
    ),
    (
        "Proxy-Connection does not upgrade",
        field(b"Proxy-Connection: upgrade", b"Upgrade: x") + field(),
        [OK, "end"] * 2,
    ),
    ("keep-alive, then more", field(b"Connection: keep-alive") * 3, [OK, "end"] * 3),
    (
        "other option, then more",
        field(b"Connection: TE", b"TE: trailers") * 2,
        ["GET / 11 a 0", "end"] * 2,
    ),
    ("expect without a body", field(b"Expect: 100-continue"), [OK, "end"]),
    (
        "expect in 1.0",
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        ["POST / 10 - 1 close", "+x", "end"],
    ),
    ("expect something else", field(b"Expect: more"), [OK, "end"]),
]

SMUGGLING: list[Row] = [
    ("CL.TE", field(b"Content-Length: 6", b"Transfer-Encoding: chunked") + b"0\r\n\r\nG", [BAD]),
    ("TE.CL", field(b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"5c\r\nGPOST", [BAD]),
    (
        "TE.TE, hidden by a space",
        field(b"Transfer-Encoding: chunked", b"Transfer-Encoding : x"),
        [BAD],
    ),
    (
        "TE.TE, hidden by a coding",
        field(b"Transfer-Encoding: chunked", b"Transfer-Encoding: cow"),
        [BAD],
    ),
    ("TE.TE, hidden by a fold", field(b"Transfer-Encoding", b" : chunked"), [BAD]),
    ("TE after a bare LF", field(b"X: y\nTransfer-Encoding: chunked"), [BAD]),
    ("TE after a bare CR", field(b"X: y\rTransfer-Encoding: chunked"), [BAD]),
    ("TE behind NUL", field(b"X: y\0Transfer-Encoding: chunked"), [BAD]),
    ("CL hidden by a plus", length(b" +5") + field(), [BAD]),
    ("CL.CL", length(b" 5", b" 0"), [BAD]),
    ("CL hidden in the request line", line(b"GET / HTTP/1.1 Content-Length: 5"), [BAD]),
    ("Host hidden by a fold", b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", [BAD]),
    ("Host hidden by a space", b"GET / HTTP/1.1\r\nHost: a\r\nHost : b\r\n\r\n", [BAD]),
    ("two spaces in the version", line(b"GET / HTTP/1.1  HTTP/1.0"), [BAD]),
    (
        "TE in 1.0 with a length",
        b"POST / HTTP/1.0\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        [BAD],
    ),
    ("TERM.EXT", chunks(b"1;a\n\r\nx\r\n0\r\n\r\n"), [POST, BAD]),
    ("EXT.TERM", chunks(b"1;\r\r\nx\r\n0\r\n\r\n"), [POST, BAD]),
    ("TERM.SPILL", chunks(b"5\r\nhelloX\n0\r\n\r\n"), [POST, "+hello", BAD]),
    ("ONE.TWO", chunks(b"5\r\nhelloXX0\r\n\r\n"), [POST, "+hello", BAD]),
    (
        "0.CL behind a GET",
        field(b"Content-Length: 5") + b"GET / HTTP/1.1\r\n\r\n",
        ["GET / 11 a 5", "+GET /", "end", BAD],
    ),
]

REQUESTS: list[Row] = [
    (f"{group}: {name}", raw, expected)
    for group, rows in (
        ("line", REQUEST_LINES),
        ("version", VERSIONS),
        ("line end", LINE_ENDS),
        ("field", FIELDS),
        ("host", HOSTS),
        ("target", TARGETS),
        ("length", LENGTHS),
        ("coding", CODINGS),
        ("chunk", CHUNKS),
        ("connection", CONNECTIONS),
        ("smuggling", SMUGGLING),
    )
    for name, raw, expected in rows
]
