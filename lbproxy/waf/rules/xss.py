"""PURE. Cross-site scripting."""

from __future__ import annotations

from lbproxy.waf.rule import Rule, Severity

__all__ = ["XSS"]

_EVENTS = (
    r"on(?:abort|activate|after\w+|animation\w+|auxclick|before\w+|begin|blur|bounce|cancel|canplay"
    r"\w*|change|click|close|contextmenu|copy|cut|dblclick|drag\w*|drop|end|ended|error|finish"
    r"|focus\w*|formdata|fullscreenchange|hashchange|input|invalid|key\w+|load\w*|message|mouse\w+"
    r"|offline|online|page\w+|paste|play\w*|pointer\w+|popstate|progress|propertychange|ready\w*"
    r"|repeat|reset|resize|scroll\w*|search|seek\w+|select\w*|show|start|storage|submit|toggle"
    r"|touch\w+|transition\w+|unload|volumechange|webkit\w+|wheel)"
)

_CALLED = (
    r"(?:alert|confirm|prompt|print|eval|fetch|import|function|atob|write(?:ln)?|set(?:timeout"
    r"|interval)|getscript)"
)
"""Functions of scripts; a blank may stand before the arguments, as before brackets in prose."""

XSS: tuple[Rule, ...] = (
    Rule(
        941100,
        "xss",
        "script element",
        r"</script|<[^a-z0-9<>\n]{0,5}script(?:(?:[ /][^>\n]*)?$|[ /][^>\n]*=|[ />]*$"
        r"|(?:[ /][^>\n]*)?>(?: ?[\w$?]*[.$[][\w$?.[\]'\"`]* ?[(`]|[\w$]+ [(`]"
        rf"|[^\n]*(?:[\w\])][(`]|[.\])] ?\(|=|//|/\*|\b{_CALLED} ?[(`])))",
        ("script",),
        (
            *("<script>alert(1)</script>", "%3CScRiPt src=//x.example>", "&lt;script&gt;"),
            *("<script>alert (1)", "<script> fetch (x)", "<script> $.getScript (x)"),
            "<script>x ?.(1)",
        ),
        (
            *("a script for <b>film</b>", "<description>", "the <script> tag"),
            *("<script> (in HTML)", "<script> elements (see below), in pages"),
        ),
    ),
    Rule(
        941110,
        "xss",
        "event handler of an element",
        rf"""<[a-z!/?%][^>\n]*[ /"'`]{_EVENTS} ?= ?[^{{ \n=]""",
        ("on",),
        ("<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "<body onload ='x'>"),
        ("<button onClick={go}>", "<p>on load = 5</p>", "<b>one</b> onion=5"),
    ),
    Rule(
        941120,
        "xss",
        "event handler after a quote",
        rf"""^[^<>\n]{{0,80}}["'`][ /;]*(?:[\w-]+(?: ?= ?["']?[^"'\n ]*["']?)? )*{_EVENTS} ?= ?"""
        rf"""["'`]?[\w$.]+ ?[(`=]""",
        ("on",),
        ('" onmouseover=alert(1) x="', "x' autofocus onfocus='alert(1)"),
        ('"on time" = 5', "'on' one=1"),
    ),
    Rule(
        941130,
        "xss",
        "script URL",
        r"(?:java|vb|live) ?script ?:[^ \n]*[(`=\[]|(?:java|vb) ?script ?:(?://|/\*)"
        r"|data ?: ?text/html|data:[^,\n]{0,60}(?:javascript|xhtml)|^[^ \n]*javascript:\w+"
        r"|\bj a v a s c r i p t ?:",
        ("script", "data", "j a v a"),
        ("javascript:alert(1)", "<a href='java\tscript:x()'>", "data:text/html;base64,AAAA"),
        ("JavaScript: the good parts", "data: text", "data:image/png;base64,AAAA"),
    ),
    Rule(
        941140,
        "xss",
        "element that loads or changes a page",
        r"<(?:applet|isindex|frameset|frame|layer|ilayer|xss|bgsound|base|meta)\b[^>\n]*="
        r"|<iframe\b[^>\n]*(?:srcdoc|src ?= ?[\"']?(?:javascript|data|//|http:|\\))|<iframe[ />]*$"
        r"|<(?:object|embed)\b[^>\n]*(?:data|src|code) ?=|<link\b[^>\n]*rel ?= ?[\"']?(?:import"
        r"|stylesheet)|<svg\b[^>\n]*>[^\n]{0,200}<(?:animate|set|use|script|foreignobject|a )"
        r"|<(?:form|button|input)\b[^>\n]*formaction|<math\b[^>\n]*>[^\n]{0,100}href"
        r"|<animate\b[^>\n]*(?:attributename|href)|<template\b[^>\n]*>[^\n]{0,80}<script"
        r"|<style\b[^>\n]*>[^\n]{0,200}(?:@import|expression|url ?\( ?[\"']?javascript)"
        r"|<portal\b[^>\n]*src|<marquee\b|<iframe\b[^>\n]{0,20}>",
        ("<",),
        ("<iframe src=javascript:alert(1)>", "<base href=//x.example/>", "<object data=x>"),
        ('<iframe src="https://www.youtube.com/embed/x">', "<meter>", "<svg><path d='M0'/></svg>"),
    ),
    Rule(
        941150,
        "xss",
        "script that begins after a quote",
        r"""^[^\n ]{0,40}['"`)}\]] ?\)*[ ;,+\-*/&|?:]*\(*(?:alert|confirm|prompt|eval|print"""
        r"""|import"""
        r"""|settimeout|setinterval|function)\b ?[(`]|^[^\n ]{0,40}['"`][;+\-*/|& ]*(?:window"""
        r"""|self"""
        r"""|top|parent|document|location|globalthis)\b ?[.\[=]""",
        ("'", '"', "`", ")", "}", "]"),
        ("'-alert(1)-'", "]; alert(1)", '";alert(document.domain)//', "x'+document.cookie+'"),
        ("'alert' me", '"confirm" the order'),
    ),
    Rule(
        941160,
        "xss",
        "script that reads or writes the page",
        r"\bdocument ?\[ ?['\"](?:cookie|domain)\b|^document\.(?:cookie|domain)$"
        r"|[+(=,.:;] ?document\.(?:cookie|domain)\b|\bdocument\.(?:cookie|domain) ?[;)=+\]}'\"`]"
        r"|\bdocument\.write(?:ln)? ?\("
        r"|string\.fromcharcode ?\(|eval ?\( ?(?:atob|string|unescape|name\b|location|decodeuri)"
        r"|(?:window|self|top|this|parent|globalthis) ?\[ ?(?:['\"`/]|\d+ ?[,+]|atob)"
        r"|\.constructor ?\( ?['\"`]|\[['\"]constructor|atob ?\( ?['\"`]|\balert(?:\(|`)\s?(?:\d|"
        r"document|origin|/|['\"`]xss|string|location|window|self|top)|\balert (?:\(|`)\s?(?:/"
        r"|['\"`]xss|string\.|(?:document|location|window|self|top) ?[.\[]|origin ?[)`]"
        r"|\d+ ?[)`] ?[;<>\"'`/*+])|setinnerhtml"
        r"|set(?:timeout|interval) ?[`(] ?(?:['\"`]?alert|['\"`]\w*['\"`] ?\+)"
        r"|\[\] ?\[ ?\( ?!\[\]|\+\[\]\)|location ?= ?['\"`]?(?:javascript|//|http)"
        r"|fetch ?\( ?['\"`]//|\bimport ?\( ?['\"`](?://|data:)"
        r"|\(alert\)\(|\bonerror ?= ?(?:alert|eval)|(?:confirm|prompt) ?(?:\(|`) ?\d+ ?[)`]",
        *(
            (
                *("document", "fromcharcode", "eval", "window", "self", "top", "constructor"),
                *(
                    "atob",
                    "alert",
                    "setinnerhtml",
                    "settimeout",
                    "setinterval",
                    "[]",
                    "location",
                    "fetch",
                ),
                *("import", "confirm", "prompt", "onerror", "this", "parent"),
            ),
        ),
        ("document.cookie", "alert(1)", "eval(atob('YQ=='))", "window['al'+'ert'](1)"),
        (
            *("document.getElementById('a')", "alert(message)", "document.cookie is a string"),
            *("The alert (1) was raised", "Alert (top priority)"),
        ),
    ),
    Rule(
        941170,
        "xss",
        "script in a style",
        r"style ?= ?[\"']?[^\"'\n>]*(?:expression ?\(|behaviou?r ?:|-moz-binding|javascript ?:)"
        r"|@import ?(?:url ?\( ?)?[\"']?(?:javascript:|//|http:)|xss ?: ?expr"
        r"|expression ?\( ?alert",
        ("style", "@import", "expr"),
        ("<div style='width:expression(alert(1))'>", "@import '//x.example/a.css'"),
        ("style='color: red'", "@import 'base.css'"),
    ),
    Rule(
        941180,
        "xss",
        "template that runs script",
        r"\{\{[^}\n]*(?:constructor|\$on\b|\$eval|alert ?\(|\bself\b ?\.|window\.|\$emit)"
        r"|ng-(?:app|init|include|bind-html) ?= ?[\"']?[^\"'\n]*[({]|v-html ?= ?[\"'][^\"'\n]*\("
        r"|x-data ?= ?[\"'][^\"'\n]*alert|\+adw-(?:script|/)",
        ("{{", "ng-", "v-html", "x-data", "+adw"),
        ("{{constructor.constructor('alert(1)')()}}", '<p ng-init="a()">'),
        ("{{ user.name }}", "ng-hide"),
    ),
    Rule(
        941190,
        "xss",
        "server-side include",
        r"<!--# ?(?:exec|include|echo|config|printenv|set)\b|<esi:(?:include|inline|eval|vars)\b",
        ("<!--", "<esi:"),
        ('<!--#exec cmd="ls"-->', "<esi:include src=//x />"),
        ("<!-- note -->",),
    ),
    Rule(
        941200,
        "xss",
        "element of HTML",
        r"<(?:a|img|svg|video|audio|body|details|iframe|form|input|div|style|link)\b[^>\n]*[=>]",
        ("<",),
        ("<a href=x>", "<img src=y>"),
        ("a < b", "5 <a 6"),
        severity=Severity.WARNING,
        paranoia=3,
    ),
)
