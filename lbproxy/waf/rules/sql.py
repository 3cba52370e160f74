"""PURE. SQL injection, and injection into other query languages."""

from __future__ import annotations

from lbproxy.waf.rule import Rule, Severity, View, Zone

__all__ = ["SQL"]

_SQL = View.SQL
_SAFE = Zone.ARGS, Zone.COOKIES

_STATEMENT = (
    r"(?:select (?:[\d'\"@*(]|\w+ ?\(|[\w.,* ]+ from )|drop (?:table|database|user|view|index"
    r"|column)|truncate table|delete from"
    r"|insert into|replace into|update [\w.`\[\]]+ set|create (?:table|user|database|function)"
    r"|alter (?:table|user|login)|exec(?:ute)? ?[@('\w]|declare @|shutdown|waitfor delay"
    r"|grant all|use master|copy (?:\w+|\([^\n]{0,80}\)) (?:from|to)|attach database"
    r"|load_extension)"
)
_VALUE = (
    r"(?:[^b ;\n][^ ;\n]*|b(?:e(?:gi?)?)?"
    r"|b(?:[^e ;\n]|e[^g ;\n]|eg[^i ;\n]|egi[^n ;\n]|egin[^ ;\n])[^ ;\n]*)?"
)
"""A word other than BEGIN, which starts a whole script: no query has it after a value."""

_BEGIN = r"(?:begin(?: work| tran\w*)? ?;? ?)?"

SQL: tuple[Rule, ...] = (
    Rule(
        942100,
        "sqli",
        "SQL comparison after a quote",
        r"""['"`] ?\)* ?(?:or|and|\|\||&&|xor|having|where) ?\(*(?:not |!)?\(*(?:"""
        r"""['"]?\d+['"]? ?(?:=|<|>|!=|like|rlike|in ?\(|between)"""
        r"""|['"][^'"\n]*['"] ?\)* ?(?:=|<|>|!=|like|in ?\(|is ) ?\(*['"\d]|['"]\w*['"] ?<>"""
        r"""|\d+(?: ?[-+*/%] ?\d+)+ ?[=<>] ?\d|['"]\d+$"""
        r"""|(?:true|false|1|null)(?:$| ?(?:--|#|;|\)|/\*))|\w+ (?:is (?:not )?null"""
        r"""|like ['"%])"""
        r"""|[\w.]+ ?(?:=|<>|!=) ?(?:[\w.]+ ?(?:--|#)|['"]\w*$))"""
        r"""|^[^'"`\n]*['"`] ?\)* ?(?:or|and|\|\||&&|xor|having|where) ?\(*(?:not |!)?\(*"""
        r"""['"]?\w+['"]? ?= ?['"]\w*['"]?$""",
        ("or", "and", "||", "&&", "xor", "having", "where"),
        ("' or 1=1--", "x' AND '1'='1", "') or ('a'='a", '" or ""="', "' || 'x'='x"),
        ("O'Brien and sons", "rock 'n' roll or 1 blues", '"cats" or "dogs"'),
        _SQL,
    ),
    Rule(
        942110,
        "sqli",
        "SQL comparison of numbers",
        r"(?:^|[\s'\")\d])(?:or|and|\|\||&&|xor|having) ?\(*(?:not |!)?\(*"
        r"(?:\d+(?: ?[-+*] ?\d+)*|0x[\da-f]+)\)* ?(?:=|<>|!=|like|rlike|in ?\() ?\(*[\d'\"]"
        r"|^[^ \n]* ?\)* ?(?:or|and|\|\||&&|xor"
        r"|having) ?\(*\d+\)* ?(?:>|<"
        r"|between) ?\(*[\d'\"]|^[\d'\"]+\)* or (?:true|not false)(?: ?$| ?--| ?#)"
        r"|^\(*case when \(*(?:\d+|'[^'\n]*') ?=",
        ("or", "and", "||", "&&", "xor", "having", "case"),
        (
            "(case when 1=1 then a end)",
            "1 or 1=1",
            "5 AND 2>1",
            "1)/**/or/**/(3=3",
            "1 || 1 like 1",
        ),
        ("2 and 3 are primes", "and 5 more", "1 or 2"),
        _SQL,
    ),
    Rule(
        942120,
        "sqli",
        "SQL UNION",
        r"\bunion ?(?:all |distinct |distinctrow )?\(* ?select ?(?:[\d'\"@*(!~+`-]|null"
        r"|[\w.]+ ?\(|[\w.@]+(?: ?, ?[\w.@'()]+)+(?: |$))"
        r"|^[^ \n]* ?\)* ?union ?(?:all )?\(* ?select [^\n]{1,100} from [\w.]+(?: |--|$|#|;)",
        ("union",),
        ("1 union select 1,2,3", "x' UNION ALL SELECT user(),2--", "1/**/union/*!50000select*/1"),
        ("the student union select a new board", "western union"),
        _SQL,
    ),
    Rule(
        942130,
        "sqli",
        "second SQL statement",
        rf"^{_VALUE} ?['\")]* ?; ?{_BEGIN}{_STATEMENT}"
        rf"|['\"]\)* ?; ?{_BEGIN}{_STATEMENT}[^\n]*(?:--|#)",
        (";",),
        (
            *("1; drop table users", "x'; DELETE FROM a--", "1;exec xp_cmdshell('dir')"),
            *("1; BEGIN; DROP TABLE a", "1;begin transaction;delete from a"),
        ),
        (
            *("Buy milk; update the list", "a;b;c", "red; select your size"),
            "BEGIN; UPDATE a SET b = 1; COMMIT;",
        ),
        _SQL,
    ),
    Rule(
        942140,
        "sqli",
        "quote, then a comment that ends the statement",
        r"""^[\w.@ +-]*['"]+ ?\)* ?\)*;? ?(?:--(?:[ +-]|$)|#(?: |$)|/\*)""",
        ("--", "#", "/*"),
        ("admin'--", "admin' #", "x')-- -", "admin'/*"),
        ("it's -- well -- good", "'a' -- 'b'", "issue '#12'"),
        View.TEXT,
    ),
    Rule(
        942150,
        "sqli",
        "SQL function that waits",
        r"(?:\b(?:select|and|or|union|if|case|where|having|then|else|when|values|set|by|not|r?like"
        r"|regexp) ?\(*"
        r"|^[^ \n]*['\")\d;] ?\)*[|&+*,;=-]* ?\(*|^\(?)(?:sleep ?\( ?[\d.]+ ?\)(?: ?[^ \w]| ?$"
        r"| (?:and|or)\b)"
        r"|benchmark ?\( ?\d+ ?,|pg_sleep ?\()|\bwaitfor (?:delay|time) ?['\"]"
        r"|dbms_(?:pipe|lock|session|ldap)\.|\bdbms_xmlgen\b|randomblob ?\( ?\d{6,}"
        r"|\bif ?\([^\n]{1,80}, ?sleep ?\(",
        ("sleep", "benchmark", "waitfor", "dbms_", "randomblob"),
        ("1 and sleep(5)", "1' waitfor delay '0:0:5'--", "1;select pg_sleep(3)", "1-SLEEP(5)"),
        ("time.sleep(5)", "sleep(8) hours", "Benchmark (2 runs)"),
        _SQL,
    ),
    Rule(
        942151,
        "sqli",
        "SQL function of attacks",
        r"\b(?:extractvalue|updatexml) ?\( ?(?:\d|rand|null|concat|['\"]|xmltype)|load_file ?\( ?"
        r"['\"(0c]|\bxp_(?:cmdshell|dirtree|regread|fileexist)|into (?:out|dump)file ?['\"0]"
        r"|\bsp_(?:executesql|oacreate|password)\b|\butl_(?:http|inaddr|file)\b"
        r"|\bctxsys\.drithsx|\bexp ?\( ?~|\bgtid_subset ?\(|procedure analyse ?\("
        r"|\blo_(?:import|export) ?\(|\bpg_read_file ?\(|\bname_const ?\(|\bopenrowset ?\("
        r"|^[^ \n]{0,20}@@(?:version|datadir|basedir|hostname|servername|global)\b"
        r"|\b(?:convert|cast) ?\([^\n]{0,40}@@\w"
        r"|floor ?\( ?rand ?\( ?[0-9]|make_set ?\( ?\d|elt ?\( ?\d+ ?=",
        *(
            (
                *("extractvalue", "updatexml", "load_file", "xp_", "outfile", "dumpfile", "sp_"),
                *("utl_", "drithsx", "exp", "gtid_subset", "analyse", "lo_", "pg_read_file"),
                *("name_const", "openrowset", "rand", "make_set", "elt", "@@"),
            ),
        ),
        ("extractvalue(1,concat(0x7e,version()))", "' into outfile '/var/www/a'", "exp(~1)"),
        ("export(5)", "exp(2)", "random()"),
        _SQL,
    ),
    Rule(
        942160,
        "sqli",
        "SQL expression after AND or OR",
        r"(?:^|['\"\d)\s%])(?:and|or|\|\||&&|xor|not|where|having|by|rlike|regexp|div|,|=|-|\+"
        r"|\*|/) ?\(*(?:not )?\(*"
        r"(?:\( ?select\b|exists ?\( ?select|(?:ascii|ord|length|len|char_length|hex|lower|upper"
        r"|unicode|bin) ?\( ?\(?(?:select|mid|substr\w*|database|user|version|current_user"
        r"|@@|password|username|load_file|cast)|(?:mid|substr|substring|left|right|lpad) ?\( ?\(?"
        r"(?:select|database|user|version|@@|password|username|current_user|load_file)"
        r"|case when\b|(?:database|version|current_user|system_user|session_user) ?\( ?\) ?"
        r"(?:=|<|>|like|!|between|in|rlike)|@@\w+ ?(?:=|<|>|like)|iif ?\( ?\d|row ?\( ?\d"
        r"|if ?\( ?\(?(?:\d+ ?[=<>]|select|ascii|ord|length|substr|mid|now\(|user|database))",
        (
            "and",
            "or",
            "||",
            "&&",
            "xor",
            "not",
            "where",
            "having",
            "by",
            ",",
            "=",
            "-",
            "+",
            "*",
            "/",
            "rlike",
            "regexp",
            "div",
        ),
        ("1 and ascii(substr((select 1),1,1))>64", "1 or (select 1)=1", "1-if(1=1,2,3)"),
        ("width and length (cm)", "and select one of them", "or user (admin)"),
        _SQL,
        (*_SAFE, Zone.PATH),
    ),
    Rule(
        942170,
        "sqli",
        "SQL subquery",
        r"\( ?select (?:distinct |top \d+ )?(?:(?:@@\w+|[\w.]+ ?\([^\n]{0,100}\)"
        r"|['\"\d][^\n]{0,40}) ?"
        r"\)|(?:\*|@@\w+|[\w.]+ ?\([^\n]{0,100}\)|['\"\d][^\n]{0,40}"
        r"|[\w.`\[\]]+(?: ?, ?[\w.`\[\]()]+)*)"
        r" ?from ?[\w.`\"\[(]+ ?(?:\)|where |limit |$|--|;|#|order |group |union ))"
        r"|^[^ \n]{0,40}['\"\d)] ?[\^|&*+-] ?\(? ?select ?\(",
        ("select",),
        ("(select password from users limit 1)", "1,(SELECT @@version)", "(select 1)"),
        ("(select one from the list)", "choose (select all)"),
        _SQL,
        (*_SAFE, Zone.PATH),
        severity=Severity.ERROR,
    ),
    Rule(
        942180,
        "sqli",
        "SQL ORDER BY, GROUP BY or HAVING after a value",
        r"^[^ \n]{0,60}['\"\d)] ?\)* ?(?:(?:order|group) by (?:\d+|[\w.]+ ?(?:--|#|,|having))"
        r"|having [\w'\"(]+ ?[=<>]|limit \d+ ?(?:,|offset|--|#|into)|procedure \w+ ?\()",
        ("order by", "group by", "having", "limit", "procedure"),
        ("1 order by 10", "1' group by a having 1=1--", "5) limit 1,1"),
        ("order by 10 May", "limit 5", "sort order by name"),
        _SQL,
    ),
    Rule(
        942190,
        "sqli",
        "SQL keyword after a quote",
        r"""^[^\n ]{0,60}['"] ?\)* ?(?:union(?: all)? ?\(?select|select |having |order by """
        r"""|group by """
        r"""|limit \d|rlike |regexp |waitfor |exec |procedure |into |where [\w.]+ ?[=<]"""
        r"""|(?:and|or|\|\||&&) ?\(?(?:select|exists|ascii|substr|mid|sleep|length|updatexml"""
        r"""|extractvalue|benchmark|pg_sleep|if|case|row|@@|0x|\w+ ?\([^\n]*\) ?[=<>])"""
        r"""|(?:[-^*/|&=]|<=?>|!=) ?['"]?\d+ ?(?:--|#|;$)|[-^*/|&=+]\d+[-^*/|&=+]['"]$"""
        r"""|(?:<=?>|!=) ?['"]\w*$|[-^*|&+] ?\(+select ?\("""
        r"""|\|\| ?\(|; ?(?:insert|update|delete|drop|declare|shutdown) )""",
        ("'", '"'),
        ("x' order by 3", "1' or updatexml(1,2,3)", "a'||(select 1)||'", "'; shutdown "),
        (
            *("O'Brien", '"select" is a word', "d'or and more", '"drop table" is SQL'),
            *("3'-4'", "f'=2x", "6'-2\""),
        ),
        _SQL,
    ),
    Rule(
        942200,
        "sqli",
        "SQL text built from character codes",
        r"(?:char|chr|nchar) ?\( ?\d{2,3} ?\) ?(?:\+|\|\||,|%2b) ?(?:char|chr|nchar)"
        r"|concat(?:_ws)? ?\( ?(?:0x[0-9a-f]{2}|char ?\(|\(?select|@@|user|database|version)"
        r"|group_concat ?\( ?\w|\bchar ?\( ?\d{2,3}(?: ?, ?\d{2,3}){2,}"
        r"|\b(?:unhex|hex|conv|cast|convert) ?\( ?\(?select\b",
        ("char", "chr", "concat", "hex", "conv", "cast"),
        ("char(65)+char(66)", "concat(0x7e,user())", "group_concat(name)", "char(97,98,99)"),
        ("name char(10)", "concat(a, b)", "convert(5)"),
        _SQL,
    ),
    Rule(
        942210,
        "sqli",
        "MySQL conditional comment",
        r"/\*!\d{5}|/\*! ?(?:union|select|or|and|from|where|concat|order)\b",
        ("/*!",),
        ("1 /*!50000union*/ /*!select*/ 1",),
        ("/*! normalize.css v8 */",),
    ),
    Rule(
        942220,
        "sqli",
        "schema of a database",
        r"\b(?:information_schema\.\w+|sqlite_master|pg_catalog\.\w+|pg_shadow|sysobjects"
        r"|syscolumns|sys\.(?:tables|databases|user_tables)|msysaccessobjects|all_tab_columns"
        r"|mysql\.(?:user|db|innodb_table_stats)|master\.\.\w+|v\$version|user_tab_columns)\b",
        *(
            (
                *("information_schema", "sqlite_master", "pg_", "sysobjects", "syscolumns", "sys."),
                *("msysaccess", "tab_columns", "mysql.", "master..", "v$version"),
            ),
        ),
        ("1 union select 1 from information_schema.tables", "select * from master..sysdatabases"),
        ("information schema", "master. Then"),
        _SQL,
        _SAFE,
        severity=Severity.WARNING,
    ),
    Rule(
        942230,
        "sqli",
        "SQL statement as a value",
        r"^[('\" ]*(?:select (?:\*|[\w.`@]+ ?\(|[\w.`@]+(?: ?, ?[\w.`@]+)*) ?"
        r"from [\w.`\"\[]+(?: where [\w.]+ ?(?:=|<|>|like|in)|;?$| limit \d| order by| union)"
        r"|select (?:@@\w+|version ?\(|user ?\(|database ?\(|sleep|pg_sleep|load_file)"
        r"|drop (?:table|database) [\w.`]+;?|delete from \w+(?:;?$| where \w+ ?=)"
        r"|insert into [\w.`]+ ?(?:\([^\n]*\) ?)?values ?\()",
        ("select", "drop", "delete", "insert"),
        ("select * from users", "SELECT @@version", "drop table users", "delete from users"),
        ("select from the menu", "delete from cart what is old", "drop tables at the event"),
        _SQL,
        severity=Severity.WARNING,
        paranoia=2,
    ),
    Rule(
        942290,
        "sqli",
        "operator of MongoDB",
        r"\[\$(?:ne|eq|gte?|lte?|n?in|regex|where|exists|n?or|and|not|func|expr)\]"
        r"|^\$(?:ne|gte?|lte?|nin|regex|where|exists|nor|func|expr|eq)$"
        r"|\{ ?['\"]?\$(?:ne|gte?|lte?|nin|regex|where|exists|func|expr)['\"]? ?:"
        r"|['\"] ?(?:\|\||&&) ?(?:['\"]?1['\"]? ?={2,3} ?['\"]?1|this\.|true)"
        r"|\bthis\.\w+ ?(?:\.match|={2,3})[^\n]*(?:\|\||&&|;|//)|['\"] ?[;)}]* ?return (?:true"
        r"|1|this\.\w+ ?[!=<>]+ ?['\"\w]+)(?:\b|['\"]) ?;? ?(?:var|\}|//)",
        ("$", "||", "&&", "this.", "return"),
        ("[$ne]", "{'$gt': ''}", "' || '1'=='1", "';return true;var a='"),
        ("$news", "costs $ne", "return true to form"),
        View.TEXT,
        _SAFE,
    ),
    Rule(
        942300,
        "sqli",
        "LDAP or XPath filter",
        r"\)\( ?[|&!]?\(?[\w*]+ ?[~<>]?=|^\*\)+\(?|\)\([&|]\)|\(\|\(\w+=|\)\(\|"
        r"|^[^ \n]*\*\)\(\w+=\*"
        r"|['\"] ?\]? ?\| ?//?[*\w]|['\"]? ?or count\(/|//user\[|\]/?/?\* ?\| ?|/text\(\) ?\|"
        r"|(?:substring|string-length|name)\( ?//",
        (")(", "*)", "(|(", "|", "//", "count(/"),
        ("*)(uid=*", "admin)(|(password=*))", "' or count(/*)=1 or '"),
        ("f(x)(y)", "(a|b)", "http://a//b"),
        View.TEXT,
        _SAFE,
    ),
)
