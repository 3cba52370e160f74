"""PURE. Scanners: the paths that they request, and their names."""

from __future__ import annotations

from lbproxy.waf.rule import Rule, View, Zone

__all__ = ["SCANNERS"]

_PATH = (Zone.PATH,)

SCANNERS: tuple[Rule, ...] = (
    Rule(
        913100,
        "scanner",
        "name of a scanner",
        r"\b(?:sqlmap|nikto|nuclei|nessus|openvas|wpscan|acunetix|netsparker|invicti|masscan|zgrab"
        r"|gobuster|dirbuster|dirsearch|feroxbuster|wfuzz|w3af|havij|arachni|whatweb|jorgee|zmeu"
        r"|morfeus|commix|xsser|xsstrike|skipfish|nmap scripting|appscan|webinspect|fimap"
        r"|joomscan|cmsmap"
        r"|l9explore|leakix|brutus|paros|pangolin|sqlninja|absinthe|bsqlbf|dotdotpwn|owasp.?zap"
        r"|zaproxy|burp ?(?:suite|collab)|jaeles|qualys|detectify|vega/|webshag|grabber"
        r"|projectdiscovery)\b"
        r"|\bffuf\b|fuzz faster u fool|\(hydra\)|^dirb\b",
        (),
        ("sqlmap/1.7.2#stable", "Mozilla/5.00 (Nikto/2.1.6)", "Nuclei - Open-source project"),
        ("Mozilla/5.0 (X11; Linux x86_64)", "curl/8.0"),
        View.TEXT,
        (Zone.HEADERS,),
    ),
    Rule(
        913120,
        "scanner",
        "hidden or backup file",
        r"/\.(?:env|git|svn|hg|bzr|cvs|aws|ssh|htaccess|htpasswd|ds_store|npmrc|dockerenv|docker"
        r"|vscode"
        r"|idea|bash\w*|zsh\w*|config|kube|gitlab-ci|travis|netrc|pgpass|my\.cnf|profile|circleci"
        r"|terraform"
        r"|history|mysql_history|ftpconfig|s3cfg|boto|npm|yarnrc|remote-sync|sftp)\w*(?:[/.~_-]|$)"
        r"|\.(?:bak|old|orig|save|swp|swo|backup|copy|tmp)$|\.php(?:~|\.\w+)$|~$|(?:backup|dump"
        r"|database"
        r"|db|mysql|site|www|wwwroot|web|data|users|latest)\.(?:sql|zip|tar|tgz|gz|rar|7z|bak|mdb"
        r"|tar\.gz"
        r"|sqlite3?)(?:\.gz)?$|\.sql(?:\.gz|\.zip|\.bz2)?$|/(?:id_(?:rsa|dsa|ed25519)"
        r"|sftp-config\.json"
        r"|wp-config|web\.config|config\.(?:php|inc|yml|json\.bak)|configuration\.php"
        r"|localsettings\.php"
        r"|settings\.py|credentials(?:\.\w+)?|secrets?\.(?:ya?ml|json|env)|docker-compose\.ya?ml"
        r"|dockerfile"
        r"|composer\.(?:json|lock)|\w*appsettings\.\w*\.?json|parameters\.yml|database\.yml"
        r"|local\.xml"
        r"|private\.key|server\.key|\w+\.pem|passwd|shadow)(?:[.~_?]|$)|\.(?:mdb|kdbx|ppk|pfx"
        r"|jks)$",
        (".", "~", "/id_", "passwd", "shadow", "credentials", "dockerfile", "wp-config"),
        ("/.env", "/.git/config", "/wp-config.php.bak", "/wp-config", "/backup.sql", "/id_rsa"),
        ("/.well-known/acme-challenge/x", "/index.php", "/download/a.zip", "/a.gitbook"),
        View.FILE,
        _PATH,
    ),
    Rule(
        913130,
        "scanner",
        "path that scanners try",
        r"^/(?:[\w-]+/)?(?:phpmyadmin|phpmyadmin\d?|pma|myadmin|mysqladmin|dbadmin|sqlmanager"
        r"|adminer(?:[\w.-]*"
        r"\.php)?|phpinfo(?:\.php)?|info\.php|test\.php|i\.php|server-status|server-info"
        r"|jmx-console"
        r"|web-console|invoker|host-manager|manager/(?:html|text|status)|_ignition|hnap1|boaform"
        r"|goform"
        r"|setup\.cgi|dana-na|\+cscoe\+|tmui|mgmt/tm|wls-wsat|_async/|axis2|struts2?-\w+|jolokia"
        r"|nacos"
        r"|druid/index|solr/(?:admin|\w+/(?:select|config|dataimport))|telescope/requests|_profiler"
        r"|elmah\.axd|trace\.axd|__debug__|_cat/|debug/(?:pprof|default|vars$)|console/(?:css"
        r"|login|j_sec)"
        r"|geoserver|owa/auth/\w+\.js|ecp/|remote/(?:fgt_lang|login|logincheck)|vpn/\.\.|api/jsonws"
        r"|eval-stdin\.php|wp-content/[^ \n]*\.php|wp-includes/[^ \n]*\.php|xampp|fckeditor"
        r"|ckfinder"
        r"|wp-json/wp/v2/users|sdk$|evox|hudson|script$|v2/_catalog"
        r"|metadata/|latest/meta-data|actuator/(?:env|heapdump|gateway|mappings|beans|threaddump"
        r"|trace"
        r"|logfile|shutdown|jolokia|configprops|httptrace)|actuator$|heapdump|wp-admin/(?:install"
        r"|setup-config)"
        r"\.php|install\.php|shell\.\w+|(?:c99|r57|wso\d?|alfa\w*|b374k|cmd|webshell|backdoor|up"
        r"|x|1|0)\.php"
        r"|vendor/phpunit|laravel|storage/logs|web-inf|meta-inf|nice%20ports"
        r"|autodiscover/autodiscover\.json)"
        r"(?:[/?. ]|$)|/(?:phpunit|eval-stdin\.php|phpmyadmin|web-inf|meta-inf)/"
        r"|/(?:heapdump|server-status|phpinfo\.php|eval-stdin\.php|wp-config\.php)$|\.(?:cgi"
        r"|axd)$|/cgi-bin/(?:luci|php|[^ \n]*"
        r"(?:\.\.|%|\.(?:cgi|sh|pl|asp|bat|exe)\b|printenv|bash))",
        (),
        ("/phpmyadmin/index.php", "/actuator/env", "/vendor/phpunit/x", "/cgi-bin/test.cgi"),
        ("/wp-login.php", "/actuator/health", "/admin", "/manager", "/api/v1/users"),
        View.FILE,
        _PATH,
    ),
    Rule(
        913140,
        "scanner",
        "interface that attackers use",
        r"/(?:xmlrpc\.php|wp-login\.php|wp-cron\.php)$",
        (".php",),
        ("/xmlrpc.php", "/blog/wp-login.php"),
        ("/index.php",),
        View.FILE,
        _PATH,
        paranoia=2,
    ),
)
