"""PURE. Path traversal, local files, remote files and addresses of internal services."""

from __future__ import annotations

from lbproxy.waf.rule import Rule, View, Zone

__all__ = ["FILES"]

_FILE = View.FILE
_SENSITIVE = (
    r"(?:etc/(?:passwd|shadow|group|hosts|issue|gshadow|sudoers|crontab|fstab|motd|resolv\.conf"
    r"|mysql|apache2?|httpd|nginx|ssh|ssl|php\d?)|proc/(?:self|version|cmdline|mounts|net|\d+)"
    r"|var/(?:log|www|lib|run|mail|spool)/|usr/(?:local|lib|share)/|root/\.|home/\w+/\.|opt/"
    r"|windows/|winnt|winnt/|boot\.ini|win\.ini|system32|inetpub|web-inf|meta-inf"
    r"|wp-config|appsettings|\.env|\.git|\.ssh|\.aws|\.htaccess|\.htpasswd|\.bash|id_rsa"
    r"|config\.php"
    r"|autoexec|program files|apache/|xampp|dev/(?:fd|tcp|random|null))"
)

_SERVED = (
    r"(?:[^ \n]*/)?(?:[^ ./\n]*$|\.[^ /\n]|[^ /\n]*(?:[%;?&\0:~]|\.(?:php\d?|phtml|inc|asp|aspx|jsp"
    r"|do|cgi|p[yl]|rb|sh|bat|exe|dll|ini|conf|config|cfg|cnf|properties|ya?ml|json|xml|toml|log"
    r"|passwd|env|key|pem|crt|sql|db|sqlite\d?|mdb|bak|old|orig|sw[op]|dump|txt|csv|zip|gz|tar|tgz"
    r"|bz2|xz|7z|rar|jar|war|class|pyc|so|bin|lock|p12|pfx|jks|ps1)(?:$|[^\w])))"
)
"""A file two folders up that a link in source code or a document does not name: without an
extension, hidden, or of configuration, data or programs.
"""

_WHOLE = r"[^ \n]*(?:$| [^a-z])"
"""The rest of a path that is not followed by prose: a system would treat the prose as part of the
name.
"""

FILES: tuple[Rule, ...] = (
    Rule(
        930100,
        "traversal",
        "encoded step to the parent folder",
        r"(?i)%(?:25)*2e(?:%(?:25)*2e|\.)|\.%(?:25)*2e"
        r"|\.\.%(?:(?:25)+(?:2f|5c)|c0%|u221|c1%|e0%)|^[^?\n]*\.\.%(?:2f|5c)"
        r"|%(?:25)*c0%(?:25)*a[ef]|%(?:25)*c1%(?:25)*9c|%u2216|%u2215|%uff0e|%e0%80%af|\.\.;/"
        r"|%(?:25)+2f\.\.(?:/|%)|^[^?\n]*%2f\.\.(?:/|%)|%c0\.|^[^?\n]*/\.\.(?:\\|/|$|\?)"
        r"|\.\.\\",
        (),
        ("/a/%2e%2e/b", "/x?f=..%252fetc", "/..%2fetc", "/..%c0%af", "/a/..;/b", "/%252e%252e/"),
        ("/a/..b/c", "/a.b%2fc", "/x?f=a%2f..%2fb"),
        View.RAW,
        (Zone.TARGET,),
    ),
    Rule(
        930110,
        "traversal",
        "steps to parent folders",
        rf"^[^ \n]*(?:\.\.+/){{3}}|^[^ \n]*[^./ \n][^ \n]*\.\.+/(?:[^ \n]*/)?\.\.+/"
        rf"|^[^ \n]*\.\.+/[^ \n]*[^./ \n][^ \n]*/\.\.+/|^\.*/*(?:\.\.+/){{2}}{_SERVED}"
        rf"|(?:^|[/=:;,\"'(| ])(?:\.{{2,}}/)+(?:[^ \n]*/)?{_SENSITIVE}"
        r"|/\.\.$|^\.\./[^ \n]*\.(?:ini|conf|config|cfg|log|passwd|env|key|pem|sql|bak)$"
        r"|^/\.\./|\.{4,}/|^/[^/ \n]*/\.\./|(?:^|/)\.\.;/",
        ("..",),
        (
            *("../../../etc/passwd", "..\\..\\windows\\win.ini", "....//....//etc/hosts"),
            *("/img/../a", "../../Dockerfile ", "../../backup.tgz"),
        ),
        (
            *("import a from '../../b'", "see ../b", "wait... and/or"),
            *("../../lib/util.js", "../../docs/a.md#b", "../logo.svg"),
        ),
        _FILE,
    ),
    Rule(
        930120,
        "traversal",
        "system file",
        r"\betc/(?:passwd|shadow|gshadow|master\.passwd)\b"
        r"|(?:^/?|^[^ \n]*(?:[=:,\"'({@|;]/?|\./))etc/(?:group"
        r"|hosts|issue|sudoers|crontab|fstab|motd|resolv\.conf)(?:$|[^\w. ])"
        r"|^[^ \n]*(?:^|[/=:,\"'({])(?:etc/(?:mysql|apache2?|httpd|nginx|ssh|php)/"
        r"|proc/(?:self|version|cmdline|mounts|net|cpuinfo|\d+/)|windows/(?:win\.ini|system32"
        r"|system\.ini|repair)|winnt/|boot\.ini|web-inf/|\.ssh/|\.aws/credentials|\.kube/config"
        rf"|\.bash_history|id_rsa|var/log/|var/lib/|root/\.){_WHOLE}"
        rf"|\bc:/(?:windows/(?:win\.ini|sys|repair|panther)|winnt|boot\.ini|inetpub){_WHOLE}",
        *(
            (
                *("etc/", "proc/", "windows", "winnt", "boot.ini", "web-inf", ".ssh", ".aws"),
                *(".kube", ".bash", "id_rsa", "var/", "root/.", "inetpub"),
            ),
        ),
        (
            *("/etc/passwd", "file=/proc/self/environ", "C:\\Windows\\win.ini", "c:/inetpub"),
            *(" /etc/hosts", "/var/log/auth.log ", "/proc/self/environ\t", "@/etc/hosts"),
        ),
        (
            *("edit the file /var/log/syslog", "windows/doors", "/proc/cpuinfo shows 8 cores"),
            *("C:\\Windows\\System32\\drivers is a folder", "/docs/etc/hosts"),
        ),
        _FILE,
    ),
    Rule(
        930130,
        "traversal",
        "wrapper of files and streams",
        r"(?:^|[=\"'( ,>])(?:php://(?:filter|input|fd|memory|temp|output|std)|phar://|expect://"
        r"|zip://|glob://|ogg://|rar://|compress\.(?:zlib|bzip2)://|file:/{1,3}|gopher://|dict://"
        r"|jar:(?:http|file)|netdoc:/|ldaps?://|tftp://|sftp://|view-source:|data:[^ \n,]*;base64,"
        r"pd9w|data://)",
        *(
            (
                *("php:", "phar:", "expect:", "zip:", "glob:", "ogg:", "rar:", "compress."),
                *("file:", "gopher:", "dict:", "jar:", "netdoc:", "ldap", "tftp:", "sftp:"),
                *("view-source", "data:"),
            ),
        ),
        ("php://filter/convert.base64-encode/resource=index", "file:///etc/hosts", "gopher://x"),
        ("profile://a", "my php: file", "the file: a.txt"),
        View.TEXT,
    ),
    Rule(
        930140,
        "traversal",
        "NUL byte in a file name",
        r"(?i)%00|\.(?:php|jsp|asp|html?|txt|jpe?g|png|gif|pdf)\x00|\x00\.",
        (),
        ("/a.php%00.jpg",),
        ("/a%20b",),
        View.RAW,
        (Zone.TARGET,),
    ),
    Rule(
        931100,
        "rfi",
        "URL of a script",
        r"^(?:https?|ftps?):/+(?:[^ \n]*/)?[^ \n/]*(?:\.(?:txt|dat|inc|sh|phtml|php\d)|shell|c99"
        r"|r57"
        r"|evil|backdoor|malware|cmd\.\w+|payload)[^ \n/]*\??$|^(?:https?|ftps?)://[^ \n]+\?+$"
        r"|^(?:https?|ftps?)://\d+\.\d+\.\d+\.\d+[^ \n]*/[^ \n]*\.(?:php|jsp|aspx?|sh|pl|py|exe"
        r"|jar|xml|dtd|txt|bin|ps1|js)\b|^(?:https?|ftp)://[^ \n]+\.(?:txt|php|jpg|gif|png|ico)\?$"
        r"|^ftps?://(?:\d+\.){3}\d|^smb://[^ \n]"
        r"|^ftps?://[^ \n]+\.(?:php|phtml|jsp|aspx?|sh|py|pl|exe|ps1)\b"
        r"|^https?://[^ \n]+\.(?:php\d?|phtml|jsp|aspx?)\?(?:cmd|exec|command|c)="
        r"|^//\d+\.\d+\.\d+\.\d+/|^\\\\[\w-]*\.[\w.-]+\\[\w$]",
        (":/", "//", "\\\\"),
        ("http://evil.example/shell.txt?", "ftp://1.2.3.4/a", "http://203.0.113.5/x.php"),
        ("https://www.example.com/a?b=c", "ftp://ftp.example.org/pub/a.tar.gz"),
        View.TEXT,
        (Zone.ARGS, Zone.COOKIES),
    ),
    Rule(
        931110,
        "rfi",
        "address of an internal service",
        r"169\.254\.169\.254|\[?fd00:ec2::254|metadata\.google|100\.100\.100\.200|latest/meta-data"
        r"|169\.254\.170\.2|^[^ \n]*://(?:[^/@\n ]*@)?(?:0x[0-9a-f]{2,8}|\d{8,12}|0[0-7]{1,3}(?:\."
        r"0?\d+){1,3}|\[::(?:1|ffff[^\]]*)?\]|0(?:\.0){0,3}|127\.\d+(?:\.\d+)*|localhost|localtest"
        r"\.me|[\w.-]*\.(?:nip|xip|sslip)\.io|[\w.-]*spoofed\.burpcollaborator\.net)(?::(?:2[0-9]"
        r"|25|11211|6379|2375|2376|9200|3306|5432|27017|5984|8500|10250)\b|/(?:admin|server-status"
        r"|latest|metrics|actuator|manager|solr|phpmyadmin|_cat|v1|\.)|/?$|:80/?$|:443/?$)",
        ("169.254", "fd00:", "metadata", "meta-data", "100.100", "://"),
        (
            "http://169.254.169.254/latest/",
            "x/latest/meta-data",
            "http://127.0.0.1:6379/",
            "http://2130706433/",
        ),
        ("http://localhost:3000/callback", "https://example.com"),
        View.TEXT,
        (Zone.ARGS, Zone.COOKIES),
    ),
)
