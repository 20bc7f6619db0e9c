"""What the check makes of an audit: a vulnerability fails it, an index that does not answer is said aloud."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"name": "starlette", "version": "1.10.0", "vulns": []}
BAD = {"name": "jinja", "version": "2", "vulns": [{"id": "GHSA-1"}, {"id": "CVE-2"}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found"}


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("packages", "fails", "said"),
    [
        ([GOOD], False, "ok"),
        ([GOOD, UNKNOWN], False, "ok; 1 of 2 packages are not known to this index"),
        ([GOOD, BAD], True, "FAILED: jinja 2 (GHSA-1, CVE-2)"),
        ([UNKNOWN, UNKNOWN], False, "SKIPPED: this index knows nothing of vulnerabilities"),
    ],
)
def test_what_was_found_decides(dev: ModuleType, packages: list[Any], fails: bool, said: str) -> None:
    assert dev.audited(json.dumps({"dependencies": packages})) == (fails, said)


@pytest.mark.parametrize("found", ["", "Traceback", "[]", '{"error": 1}'])
def test_no_answer_is_no_verdict(dev: ModuleType, found: str) -> None:
    fails, said = dev.audited(found)

    assert (fails, said.startswith("SKIPPED: the index of vulnerabilities does not answer")) == (False, True)


def test_every_accepted_vulnerability_has_a_reason_and_is_not_looked_for(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(why.strip() for why in dev.ACCEPTED_VULNERABILITIES.values())
    monkeypatch.setattr(dev, "ACCEPTED_VULNERABILITIES", {"CVE-2": "only on Windows"})
    assert "--ignore-vuln=CVE-2" in dev.audit_command()
