"""PURE. Abuse of HTTP itself."""

from __future__ import annotations

from lbproxy.waf.rule import Rule, Severity, View, Zone

__all__ = ["PROTOCOL"]

_TARGET = (Zone.TARGET,)
_RAW = View.RAW

PROTOCOL: tuple[Rule, ...] = (
    Rule(
        920100,
        "protocol",
        "method that reveals or debugs",
        r"^(?:TRACE|TRACK|DEBUG)$",
        (),
        ("TRACE",),
        ("PATCH", "PROPFIND"),
        _RAW,
        (Zone.METHOD,),
    ),
    Rule(
        920110,
        "protocol",
        "percent sign without two digits",
        r"%(?:[^0-9a-fA-Fu]|[0-9a-fA-F][^0-9a-fA-F]|[0-9a-fA-F]?$)",
        ("%",),
        ("/a?b=%zz",),
        ("/a?b=%20",),
        _RAW,
        _TARGET,
        Severity.NOTICE,
    ),
    Rule(
        920120,
        "protocol",
        "overlong or invalid UTF-8",
        r"(?i)%c[01]%[89ab]|%e0%[89]|%f[89a-f]%|%u(?:00|ff)[0-9a-f]{2}",
        ("%",),
        ("/%c0%ae%c0%ae/", "/%uff1cscript"),
        ("/%c3%a9", "/%e2%82%ac"),
        _RAW,
        _TARGET,
    ),
    Rule(
        920130,
        "protocol",
        "line feed and a header in the target",
        r"(?i)(?:%(?:25)*0[da]|%e5%98%8[ad]|%u000[ad])[ +]*(?:%20)*(?:set-cookie|location"
        r"|content-[\w-]+"
        r"|x-[\w-]+|host|refresh|http/1|get%20|transfer-encoding|access-control|link)"
        r"(?::|%3a|%20|[-\w.])|(?:%(?:25)*0d%(?:25)*0a){2}(?:<|%3c)",
        ("%",),
        ("/a?b=%0d%0aSet-Cookie:x=1", "/%0aLocation:%20http://x"),
        ("/a?text=one%0d%0atwo", "/a?b=%0a"),
        _RAW,
        _TARGET,
    ),
    Rule(
        920140,
        "protocol",
        "NUL byte in an argument",
        r"\x00",
        ("\x00",),
        ("a\x00b",),
        ("ab",),
        _RAW,
        (Zone.ARGS, Zone.PATH, Zone.COOKIES, Zone.HEADERS),
        Severity.ERROR,
        paranoia=2,
    ),
    Rule(
        920150,
        "protocol",
        "many byte ranges",
        r"^bytes ?= ?(?:\d*-\d* ?, ?){8,}",
        ("bytes",),
        ("bytes=0-1,2-3,4-5,6-7,8-9,10-11,12-13,14-15,16-17",),
        ("bytes=0-499,600-700",),
        View.TEXT,
        (Zone.HEADERS,),
    ),
    Rule(
        921100,
        "protocol",
        "second request inside a value",
        r"(?:^| )(?:get|post|put|head|delete|options|connect|patch) (?:/"
        r"|https?://)[^ \n]* http/[12]\.?\d?"
        r" [\w-]+ ?:|transfer-encoding ?: ?chunked [^\n]*\bhttp/1",
        ("http/",),
        ("x\r\n\r\nGET /admin HTTP/1.1\r\nHost: a", "POST / HTTP/1.1\r\nTransfer-Encoding: c"),
        ("the line GET / HTTP/1.1 begins", "http/2"),
        View.TEXT,
        (Zone.ARGS, Zone.COOKIES, Zone.HEADERS, Zone.PATH),
        Severity.ERROR,
        paranoia=2,
    ),
    Rule(
        921110,
        "protocol",
        "header inside a value",
        r"[\r\n ](?:set-cookie|location|content-length|x-forwarded-for"
        r"|access-control-allow-origin) ?: ?[^ \n]+"
        r"[=/;]|^[^ \n]*[ ](?:bcc|cc|to): ?[^ \n@]+@|(?:^|[ ])content-type: ?multipart/mixed",
        ("set-cookie", "location", "content-", "x-forwarded", "access-control", "bcc", "cc", "to:"),
        ("x\r\nSet-Cookie: a=b", "a@b.example\nBcc: c@d.example"),
        ("my location: Berlin", "cc: the board"),
        View.TEXT,
        (Zone.ARGS, Zone.COOKIES),
    ),
)
