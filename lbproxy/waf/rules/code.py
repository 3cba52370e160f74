"""PURE. Injection of PHP, Java, JavaScript, Python and template code."""

from __future__ import annotations

from lbproxy.waf.rule import Rule, Severity, View

__all__ = ["CODE"]

CODE: tuple[Rule, ...] = (
    Rule(
        933100,
        "code",
        "PHP code",
        r"<\?php ?(?:$|[^ef ]|e[^c]|echo ?[^'\" ]|f[^o])|<\?= ?(?:\$_|[\w`'\"(])"
        r"|<\? ?(?:echo|system|eval|exec|passthru|@|\$_|print)|\[/?php\]"
        r"|<%(?:@|=) ?(?:page|request|runtime|eval|execute|system)",
        ("<?", "[php]", "[/php]", "<%"),
        ("<?php system('id'); ?>", "<?=`id`?>", "<%@ page import='x' %>"),
        ('<?xml version="1.0"?>', "PHP is a language", '<?php echo "hello"; ?>'),
    ),
    Rule(
        933110,
        "code",
        "PHP function or variable",
        r"\b(?:passthru|shell_exec|proc_open|pcntl_exec|phpinfo|file_(?:get|put)_contents|gzinflate"
        r"|str_rot13|create_function|call_user_func(?:_array)?|show_source|highlight_file"
        r"|base64_decode"
        r"|move_uploaded_file|array_map|assert_options|posix_\w+|php_uname|getallheaders) ?\("
        r"|\b(?:system|exec|eval|assert|popen|include|require)(?:_once)? ?\(? ?['\"$(](?:id|ls"
        r"|cat |whoami"
        r"|uname|_|base64|phpinfo|chr|wget|curl|dir|ping|/etc|http)"
        r"|(?:^|[(){}@`;.'\",\[$!]) ?\$_(?:get|post|request|server"
        r"|cookie"
        r"|files|session|env)\b|\$_(?:get|post|request|cookie) ?\[[^\n\]]{0,40}\] ?\("
        r"|\$\{ ?_(?:get|post)|\$globals\[|\$\{@?print|\bdie ?\( ?(?:@?md5"
        r"|phpinfo)"
        r"|@?print\(md5\(|\b(?:md5|print|var_dump)\( ?\d{3,} ?\)|\);? ?@?eval\("
        r"|^call_user_func_array$|\bthink[\\/]+app[\\/]+invokefunction",
        *(
            (
                *("passthru", "shell_exec", "proc_open", "pcntl_", "phpinfo", "file_", "gzinflate"),
                *("rot13", "create_function", "call_user", "show_source", "highlight_", "base64_"),
                "invokefunction",
                *("move_uploaded", "array_map", "assert", "posix_", "php_uname", "getall"),
                *("system", "exec", "eval", "popen", "include", "require", "$_", "${", "$globals"),
                *("die", "md5", "var_dump", "print"),
            ),
        ),
        (
            *("phpinfo()", "system('id')", "$_GET['x']", "eval(base64_decode('x'))"),
            "x=$_POST[a](1)",
        ),
        ("the system (new)", "eval (later)", "include 'a'", "$id = $_GET['id'] ?? 1;"),
    ),
    Rule(
        933120,
        "code",
        "serialised object",
        r"\bo:\+?\d+:\"[\w\\]+\":\d+:\{|\ba:\d+:\{(?:i|s):\d+[^\n]*o:\d+:"
        r"|\bc:\d+:\"[\w\\]+\":\d+:\{"
        r"|\bcos (?:system|popen)|c__builtin__|cposix|\$type\" ?: ?\"[\w.]+, ?[\w.]+"
        r"|!!(?:python/|javax?\.|ruby/)",
        (':"', ":{", "cos ", "builtin", "posix", "$type", "!!"),
        ('O:8:"stdClass":1:{s:1:"a";i:1;}', "!!python/object/apply:os.system", "cos\nsystem"),
        ("a:1", "because system"),
    ),
    Rule(
        933130,
        "code",
        "serialised object of Java or .NET",
        r"^rO0AB[A-Z]|\xac\xed\x00\x05|^AAEAAAD/{5}|%AC%ED%00%05|^gASV|^KGxw",
        (),
        ("rO0ABXNyABFqYXZhLnV0aWw=",),
        ("RO0AB", "hello"),
        View.RAW,
    ),
    Rule(
        933140,
        "code",
        "setting of PHP",
        r"(?:allow_url_(?:include|fopen)|auto_(?:prepend|append)_file|disable_functions"
        r"|open_basedir"
        r"|safe_mode|suhosin\.simulation|cgi\.force_redirect|redirect_status_env) ?(?:[=+ ]|$)",
        *(
            (
                *("allow_url", "_file", "disable_functions", "open_basedir", "safe_mode"),
                *("suhosin", "force_redirect", "redirect_status"),
            ),
        ),
        ("-d allow_url_include=on", "auto_prepend_file=php"),
        ("a_file", "safe mode"),
    ),
    Rule(
        934100,
        "code",
        "code of Node.js",
        r"child_process|process\.(?:mainmodule|binding ?\()|global\.process|_\$\$nd_func\$\$_"
        r"|constructor\.constructor ?\(|\b(?:exec|spawn)(?:sync|filesync) ?\(|\bnew function ?\("
        r"|this\.constructor|require ?\( ?['\"](?:vm|net|dgram|cluster)['\"]|\.execsync"
        r"|reflect\.construct"
        r"|res\.end ?\( ?require|fs\.(?:readfile|writefile|readdir)(?:sync)? ?\( ?['\"](?:/|\.\."
        r"|\.['\"])",
        *(
            (
                *(
                    "child_process",
                    "process.",
                    "global.process",
                    "_$$nd",
                    "constructor",
                    "exec",
                    "spawn",
                ),
                *("new function", "require", "reflect.", "fs."),
            ),
        ),
        ("require('child_process').exec('id')", "process.mainModule.require('fs')"),
        ("process.env.PORT", "require('fs')"),
    ),
    Rule(
        934110,
        "code",
        "prototype of JavaScript objects",
        r"__proto__|constructor(?:\]?\[|\.)['\"]?prototype"
        r"|['\"]constructor['\"] ?: ?\{ ?['\"]prototype|\[prototype\]|__definegetter__",
        ("__proto__", "prototype", "__define"),
        ("__proto__[admin]", "constructor.prototype.x"),
        ("a prototype of it",),
    ),
    Rule(
        934120,
        "code",
        "template that runs code",
        r"\{\{[^}\n]*(?:\d+ ?\* ?['\"]?\d+|__|\bconfig\b ?(?:\}|\.items|\.__|\|)|self\."
        r"|\brequest\.(?:app"
        r"|args|environ|__)|lipsum|cycler|joiner|\|attr|getruntime|_self\.|\bdump ?\(|app\.request"
        r"|\[\]\.|\bsystem\b|\|filter|range\.constructor|#with|passthru)"
        r"|\$\{[^}\n]*(?:\d+ ?\* ?\d+|t ?\("
        r"|java\.|@java|class\.|getclass|runtime|new java|product\.get|freemarker)"
        r"|#\{[^}\n]*(?:\d+ ?\* ?"
        r"\d+|system|`|file\.|exec|%x|t\()|<%= ?[^%\n]*(?:\d+ ?\* ?\d+|system|`|file\.|io\.|dir\."
        r"|foo)"
        r"|[*@]\{ ?\d+ ?\* ?\d+|\[\[ ?\d+ ?\* ?\d+|@\(\d+ ?[*+] ?\d+\)|@\{[^}\n]*\*"
        r"|\{%[^%\n]*(?:__|import|debug"
        r"|include|system|for [^%\n]*__)|#set ?\( ?\$|<#assign|freemarker\.template|\{php\}|\{\{7"
        r"|\{\$smarty|\{(?:system|exec) ?\(",
        ("{{", "${", "#{", "<%", "*{", "@{", "[[", "@(", "{%", "#set", "<#", "freemarker", "{"),
        ("{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{{config.items()}}", "{{''.__class__}}"),
        ("{{ name }}", "${name}", "#{count}", "{{ config.title }}", "{% if a %}"),
    ),
    Rule(
        934130,
        "code",
        "code of Python or Ruby",
        r"__(?:mro|subclasses|globals|builtins|bases|reduce)__|__import__ ?\(|\bos\.(?:system"
        r"|popen)"
        r" ?\(|\bpickle\.loads|\bopen3\b|kernel\.(?:system|exec)|%x\{|subprocess\.(?:popen"
        r"|check_output)"
        r" ?\( ?['\"\[]+(?:id|ls|cat|sh|bash|/bin)|\bexec ?\( ?['\"]import|eval ?\( ?compile"
        r"|\bio\.popen",
        *(
            (
                *("__", "os.system", "os.popen", "pickle", "open3", "kernel.", "%x{", "subprocess"),
                *("exec", "compile", "io.popen"),
            ),
        ),
        ("__import__('os').system('id')", "os.popen('id')", "x.__globals__"),
        ("def __init__(self):", "import os", "__name__"),
    ),
    Rule(
        944100,
        "code",
        "class of Java",
        r"java\.lang\.(?:runtime|processbuilder)\b|\bgetruntime ?\("
        r"|(?:^|[^ /]|(?:^|[^t]) )java\.lang\.(?:class|system|reflect|thread)\b"
        r"|\bprocessbuilder\b ?\(|javax\.(?:naming|script)\.|\bognl\b|#_?memberaccess|@java\.lang"
        r"|xwork"
        r"|#context\[|class\.module\.classloader|class\.classloader|com\.sun\.rowset|jndirmi"
        r"|ysoserial"
        r"|invokertransformer|org\.apache\.commons\.collections|\bt ?\( ?java\.|%\{ ?[(#\d]|#rt ?="
        r"|redirect(?:action)?:[$%]\{|\bexec\.command|\bscriptengine|spel:|java\.net\.url"
        r"|#application"
        r"|springframework\.context|java\.util\.scanner|\$\{ ?(?:pagecontext|applicationscope)\b"
        r"|@type['\"]? ?: ?['\"](?:\[+l?|l)?(?:java|javax|sun|com\.sun|org\.apache)\.",
        *(
            (
                *("java", "getruntime", "processbuilder", "ognl", "memberaccess", "xwork"),
                *("#context", "classloader", "rowset", "jndirmi", "ysoserial", "invoker"),
                *("commons.", "%{", "#rt", "redirect", "scriptengine", "spel:", "#application"),
                *("springframework", "exec.command", "@type", "${"),
            ),
        ),
        ("java.lang.Runtime", "%{(#a=@java.lang.Runtime)}", "class.module.classLoader.resources"),
        (
            *("java.lang.RuntimeException", "java.util.List"),
            *("at java.lang.Thread.run(Thread.java:9)", "at java.base/java.lang.Class.forName0(N)"),
        ),
    ),
    Rule(
        944150,
        "code",
        "lookup of a logging library (Log4Shell)",
        r"\$\{[^\n]{0,80}jndi|jndi ?:(?:ldap|rmi|dns|iiop|corba|nis|nds|http|\$)|\$\{ ?(?:lower"
        r"|upper|java|sys"
        r"|ctx|main|bundle|k8s|date|base64|jndi|jvmrunargs|marker|log4j|sd|event|url|dns"
        r"|script|const):"
        r"|\$\{(?:[\w-]*:)*:?-"
        r"[a-z:./]?\}|\$\{::-|\$\{env:[\w.]*:-|\$\{\$\{|\$\{j\$|j\$\{"
        r"|\$\{[^}\n]{0,20}\$\{[^}\n]{0,20}:-",
        ("${", "jndi"),
        ("${jndi:ldap://x.example/a}", "${${lower:j}ndi:rmi://x}", "${${::-j}${::-n}di:dns://x}"),
        ("${name}", "${HOME:-/root}", "$ {a}"),
    ),
    Rule(
        944200,
        "code",
        "external entity of XML",
        r"<!entity[ %]|<!doctype [^>\n]{0,200}\[|<!doctype [^>\n]{0,80}(?:system"
        r"|public) [\"'](?:file"
        r"|php|expect|gopher|ftp|http://\d|jar|netdoc)|<xi:include|xinclude\"|<xsl:(?:value-of"
        r"|include"
        r"|import|variable)[^>\n]*(?:document\(|system-property|http|runtime)|<!doctype \w+ system"
        r"|<!element [^\n]*any",
        ("<!entity", "<!doctype", "xi:include", "xinclude", "<xsl:", "<!element"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hosts">]>', '<xi:include href="x"/>'),
        ("<!doctype html>", '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0//EN">'),
    ),
    Rule(
        934140,
        "code",
        "modules and variables of a runtime",
        r"\bprocess\.env\b|\brequire ?\( ?['\"](?:fs|os|http)['\"]|\beval ?\(|\bexec ?\(",
        ("process.env", "require", "eval", "exec"),
        ("require('fs')", "eval(x)"),
        ("process environment", "evaluate(x)"),
        severity=Severity.WARNING,
        paranoia=2,
    ),
)
