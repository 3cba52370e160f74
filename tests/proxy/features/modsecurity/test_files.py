"""The files of a rule set, and the directives that lbproxy adds."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbproxy.proxy.features.waf.modsecurity.directives import setting_directives
from lbproxy.proxy.features.waf.modsecurity.files import rule_files
from lbproxy.waf.exclusion import Exclusion
from tests.support.modsecurity import small_rules


def test_rules_stand_in_the_folder_or_in_its_folder_rules(tmp_path: Path) -> None:
    folder = small_rules(tmp_path)
    found = rule_files(str(folder))
    assert [path.name for path in found.all] == ["crs-setup.conf", "rules.conf"]
    (folder / "rules").mkdir()
    (folder / "rules" / "a.conf").write_text("")
    found = rule_files(str(folder))
    assert [path.name for path in found.rules] == ["a.conf"]


def test_the_set_up_file_is_named_or_in_the_folder_or_that_of_the_system(tmp_path: Path) -> None:
    folder = small_rules(tmp_path)
    system = tmp_path / "system" / "crs-setup.conf"
    system.parent.mkdir()
    named = tmp_path / "my.conf"
    for path in (system, named):
        path.write_text("")
    own = folder / "crs-setup.conf"
    assert rule_files(str(folder), str(named), str(system)).setup == named
    assert rule_files(str(folder), "", str(system)).setup == own
    own.unlink()
    assert rule_files(str(folder), "", str(system)).setup == system
    system.unlink()
    with pytest.raises(ValueError, match=r"no set-up file, neither .* name it with 'setup = FILE'"):
        rule_files(str(folder), "", str(system))


def test_an_example_of_a_set_up_file_must_be_copied_first(tmp_path: Path) -> None:
    folder = small_rules(tmp_path)
    system = tmp_path / "system.conf"
    system.write_text("")
    (folder / "crs-setup.conf").rename(folder / "crs-setup.conf.example")
    with pytest.raises(ValueError, match=r"copy its example: cp .*\.example .*crs-setup\.conf$"):
        rule_files(str(folder), "", str(system))


def test_exclusions_beside_the_set_up_file_come_first_and_last(tmp_path: Path) -> None:
    folder = small_rules(tmp_path)
    setup = tmp_path / "etc" / "crs-setup.conf"
    setup.parent.mkdir()
    names = ("REQUEST-900-A.conf", "RESPONSE-999-B.conf", "OTHER.conf", "REQUEST-900-C.conf.old")
    for path in (setup, *(setup.parent / name for name in names)):
        path.write_text("")
    found = rule_files(str(folder), str(setup))
    assert [path.name for path in found.all] == [
        "crs-setup.conf",
        "REQUEST-900-A.conf",
        "rules.conf",
        "RESPONSE-999-B.conf",
    ]


@pytest.mark.parametrize(("name", "words"), [("none", "no folder"), ("", r"no files \*.conf")])
def test_a_folder_without_rules_is_an_error(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "crs-setup.conf").write_text("")
    with pytest.raises(ValueError, match=words):
        rule_files(str(tmp_path / name))


def test_the_stamp_changes_with_any_file(tmp_path: Path) -> None:
    folder = small_rules(tmp_path)
    (folder / "words.data").write_text("a")
    engine = tmp_path / "engine.conf"
    engine.write_text("")
    stamps = [rule_files(str(folder)).stamp(str(engine))]
    for path in (folder / "words.data", folder / "rules.conf", folder / "new.conf", engine):
        path.write_text("# changed")
        stamps.append(rule_files(str(folder)).stamp(str(engine)))
    assert len(set(stamps)) == 5


def test_ids_are_found_in_any_form(tmp_path: Path) -> None:
    folder = small_rules(tmp_path, 'SecAction "id:7,pass"\nSecAction "phase:1,id:\'8\'"\n')
    assert rule_files(str(folder)).ids() == {7, 8}


def test_settings_override_those_of_the_set_up_file() -> None:
    text = setting_directives(2, 7, (), ())
    assert "tx.paranoia_level=2" in text and "tx.blocking_paranoia_level=2" in text
    assert "tx.inbound_anomaly_score_threshold=7" in text
    assert "setvar" not in setting_directives(None, None, (), ())


def test_exclusions_become_controls() -> None:
    when = (("path", ("/x",), False),)
    text = setting_directives(
        None,
        None,
        (Exclusion(1, 1, "ARGS:q"), Exclusion(2, 9, "", when), Exclusion(1, 1, "HEADERS:X-A")),
        (1, 2, 3, 10),
    )
    first, second, third = text.splitlines()
    assert "ctl:ruleRemoveTargetById=1;ARGS:q,ctl:ruleRemoveTargetById=1;ARGS:json.q" in first
    assert '"@contains ,1,"' in second
    assert "ctl:ruleRemoveById=2,ctl:ruleRemoveById=3" in second and "=10" not in second
    assert "ctl:ruleRemoveTargetById=1;REQUEST_HEADERS:x-a" in third


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (Exclusion(5, 5), "no rule 5"),
        (Exclusion(5, 6), "no rule 5-6"),
        (Exclusion(1, 1, "ARGS:a*"), "no wildcards"),
        (Exclusion(1, 1, 'ARGS:a"'), "no wildcards"),
    ],
)
def test_exclusions_that_cannot_hold_are_errors(one: Exclusion, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        setting_directives(None, None, (one,), (1,))
