"""The wheel, installed in an environment of its own and used far from the checkout."""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from lbproxy import compiled
from tests.live.clients import run
from tests.support.lb_process import ROOT
from tests.support.ports import free_port
from tests.support.process import Child, accepts

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live-tls")]

SOURCES = (
    *("lbproxy", "twisted", "tools", "setup.py", "pyproject.toml", "setup.cfg", "MANIFEST.in"),
    *("README.rst", "LICENSE"),
)
COMPILED = compiled.running() == "compiled"
"""Then the wheel gets the binaries that are here; compiling them again would take minutes."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: a build leaves files behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LBPROXY_COMPILED", "1" if COMPILED else "0")
        return _build(tmp_path_factory)


def _build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    binaries = [p.name for p in ROOT.glob("lbproxy__mypyc.*")]
    for name in [*SOURCES, *binaries]:
        path = ROOT / name
        if path.is_dir():
            skip = shutil.ignore_patterns("__pycache__", "dropin.cache")
            shutil.copytree(path, source / name, ignore=skip)
        elif path.exists():
            shutil.copy(path, source)
    (source / "docs" / "man").mkdir(parents=True)
    for name in ("lbproxy.1", "lb.ini.5"):  # those that a release builds
        (source / "docs" / "man" / name).write_text(".TH LBPROXY\n")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    run([*build, "--no-index", "-w", str(folder), str(source)], timeout=120)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An environment with lbproxy from the wheel, and everything else from where the tests run."""
    folder = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    site = next(folder.glob("lib/python*/site-packages"))
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    run([*install, "--target", str(folder / "staging"), str(wheel)])
    for path in (folder / "staging").iterdir():
        shutil.move(path, site / path.name)
    for script in (site / "bin").iterdir():
        lines = script.read_text().split("\n", 1)
        target = folder / "bin" / script.name
        target.write_text(f"#!{folder}/bin/python\n{lines[1]}")
        target.chmod(0o755)
    # Ours stay in front of these.  Only folders are added: an editable install works by .pth files,
    # which are not read there.
    packages = {str(Path(p)) for p in sys.path if p.endswith("site-packages")}
    (site / "dependencies.pth").write_text("\n".join(sorted(packages)) + "\n")
    return folder


@pytest.fixture
def python(environment):
    """``python(words...)``: run it in an empty folder, without the checkout in sight."""

    def call(*words, **options):
        return run([str(environment / "bin" / "python"), *words], **options)

    return call


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.delenv("LBPROXY_COMPILED", raising=False)
    return tmp_path


TWISTD = ("-c", "from twisted.scripts.twistd import run; run()")


def test_contents(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {"lbproxy/py.typed", "twisted/plugins/lbproxy_plugin.py"} <= set(names)
    assert {"lbproxy.1", "lb.ini.5"} <= {n.rpartition("/")[2] for n in names if "share/man" in n}
    assert not {"twisted/__init__.py", "twisted/plugins/__init__.py"} & set(names)
    assert not [n for n in names if n.startswith(("tests", "docs", "build"))]
    inside = {n for n in names if n.startswith("lbproxy/") and n.endswith(".py")}
    assert inside == {str(p.relative_to(ROOT)) for p in (ROOT / "lbproxy").rglob("*.py")}
    binaries = [n for n in names if n.endswith(".so")]
    assert len(binaries) == (len(compiled.MODULES) + 1 if COMPILED else 0)
    assert ("lbproxy/compiled.json" in names) is COMPILED
    assert wheel.name.endswith("-any.whl") is not COMPILED


def test_commands(python, environment, elsewhere):
    where = python("-c", "import lbproxy; print(lbproxy.__file__)").stdout
    assert where.startswith(str(environment))
    version = python("-m", "lbproxy", "--version").stdout
    how = "compiled" if COMPILED else "pure Python: .*"
    assert re.fullmatch(rf"lbproxy \d+\.\d+\S* \({how}\)\n", version)
    assert run([str(environment / "bin" / "lbproxy"), "--version"]).stdout == version
    assert "--config" in python(*TWISTD, "lbproxy", "--help").stdout
    example = shutil.copy(ROOT / "docs" / "examples" / "web.ini", elsewhere)
    assert "good" in python("-m", "lbproxy", "check", example).stdout
    bad = elsewhere / "bad.ini"
    bad.write_text("[frontend web]\nlisten = tcp:80\nbakend = app\n")
    done = python("-m", "lbproxy", "check", str(bad), check=False)
    assert (done.returncode, "bad.ini:3" in done.stderr, "Traceback" in done.stderr) == (
        1,
        True,
        False,
    )


def test_twistd_serves_the_first_example(environment, elsewhere, nginx_pair, curl):
    text = (ROOT / "docs" / "examples" / "web.ini").read_text()
    port = free_port()
    wanted = {
        "8080": port,
        "8001": nginx_pair[0].port,
        "8002": nginx_pair[1].port,
        "8003": free_port(),
    }
    for old, new in wanted.items():  # every port of the example by one that is free here
        assert old in text
        text = re.sub(rf"\b{old}\b", str(new), text)
    config = elsewhere / "web.ini"
    config.write_text(text.replace("GET / ", "GET /healthz "))
    command = [str(environment / "bin" / "python"), *TWISTD, "-n", "--pidfile=", "lbproxy"]
    child = Child([*command, "--config", str(config)], elsewhere / "log", cwd=elsewhere)
    try:
        child.wait_ready(lambda: accepts(port))
        done = run([curl, "-sS", "-i", f"http://127.0.0.1:{port}/hello"])
        assert "hello from" in done.stdout
        assert re.search(r"(?i)x-served-by: [ab]\b", done.stdout)
    finally:
        child.stop()
    assert "Traceback" not in child.output()


WITHOUT_COMPILERS = """\
import sys
for name in ("mypy", "mypyc", "httptools", "h11"):
    sys.modules[name] = None
from twisted.scripts.twistd import run
run()
"""


def test_serves_without_mypy_and_without_other_parsers(environment, elsewhere, curl):
    port = free_port()
    config = elsewhere / "lb.ini"
    config.write_text(
        f"[frontend web]\nlisten = tcp:{port}:interface=127.0.0.1\nroutes =\n"
        "    header X-Test = 1 -> reply 200 found\n    default -> reply 404\n"
    )
    command = [str(environment / "bin" / "python"), "-c", WITHOUT_COMPILERS]
    command += ["-n", "--pidfile=", "lbproxy", "--config", str(config)]
    child = Child(command, elsewhere / "log", cwd=elsewhere)
    try:
        child.wait_ready(lambda: accepts(port))
        done = run([curl, "-sS", "-H", "x-test: 1", f"http://127.0.0.1:{port}/"])
        assert done.stdout == "found"
    finally:
        child.stop()
    assert "Traceback" not in child.output()
