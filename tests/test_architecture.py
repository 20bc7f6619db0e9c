"""What holds for the project as a whole, and no linter says."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"app", "schema", "resolvers", "services", "db", "compiled"}
LOCK_NAME = re.compile(r".*\.lock|package-lock\.json|\.npmrc")
LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-setup.lock"]


def locks_and_npm_settings() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in {".git", ".venv", "node_modules"}]
        yield from (Path(folder, name) for name in names if LOCK_NAME.fullmatch(name))


def test_no_dependency_claims_a_package_name_of_ours() -> None:
    # `schema` is also the name of a published package; installed beside ours, it would shadow it.
    claimed = packages_distributions()

    assert {name: claimed[name] for name in PACKAGES & claimed.keys() if claimed[name] != ["signoff"]} == {}


@pytest.mark.parametrize("module", ["services/ports.py", "db/records.py"])
def test_what_plug_ins_and_records_need_is_the_standard_library(module: str) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add("." * node.level + (node.module or ""))

    assert {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names} == set()


def test_locks_name_no_registry() -> None:
    # So that they serve behind any mirror, and nothing about the machine that made them is published.
    # An author's addresses for donations, one or a list of them, are the ones that npm writes there anyway.
    address = re.compile(
        r"(?<!\"url\": \")(?<! {8}\")https?://|--(extra-)?index|--find-links|--trusted-host|\"resolved\"|registry\s*="
    )
    told = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in locks_and_npm_settings()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if address.search(line)
    ]

    assert told == []


def test_locks_are_what_pyproject_asks_for() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = pyproject["dependency-groups"]
    runtime = pyproject["project"]["dependencies"]
    asked = {
        "requirements.lock": runtime,
        "requirements-dev.lock": runtime + groups["dev"] + groups["setup"],
        "requirements-setup.lock": groups["setup"],
    }

    for lock, requirements in asked.items():
        pinned = locked_versions(lock)
        for requirement in map(Requirement, requirements):
            version = pinned.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement} is not in {lock}: run `python3 dev.py lock`"
            assert requirement.specifier.contains(version), f"{lock} has {version}: run `python3 dev.py lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_is_pinned_by_hash(lock: str) -> None:
    packages = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.MULTILINE)[1:]

    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []


def test_the_parts_of_the_lock_agree_with_the_whole() -> None:
    whole = locked_versions("requirements-dev.lock").items()

    assert locked_versions("requirements.lock").items() <= whole
    assert locked_versions("requirements-setup.lock").items() <= whole


def locked_versions(lock: str) -> dict[str, str]:
    pins = re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", (ROOT / lock).read_text(), flags=re.MULTILINE)
    return dict(pins)


def test_committed_files_tell_of_no_place_outside_the_project() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    # Written in two parts, for this file is committed too.
    outside = ["/wor" + "k/", "../sha" + "red"]
    grep = [git, "grep", "--cached", "-I", "-l", "-F", *(word for place in outside for word in ("-e", place))]
    told = subprocess.run(grep, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (told.returncode, told.stdout, told.stderr) == (1, "", "")
