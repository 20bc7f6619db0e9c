"""The environment is read once; what cannot be used is said in a line that names the variable."""

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import BadSettingError, Settings, is_loopback, kept_key, load, read, sqlite_file

ROOT = Path(__file__).resolve().parents[2]
KEY = "a key of more than thirty-two characters"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("SIGNOFF_", "OPENAI_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_any_variable_it_serves_a_file_here_and_keeps_its_key_beside_it(tmp_path: Path) -> None:
    settings = load()

    assert sqlite_file(settings.database_url) == Path("signoff.db")
    assert settings.trusted_hosts == ("*",)
    assert settings.secret_key is not None
    kept = tmp_path / "signoff.db.key"
    assert kept.read_text().strip() == settings.secret_key.get_secret_value()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert load().secret_key == settings.secret_key


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as starts:
        keys = set(starts.map(kept_key, [tmp_path / "signoff.db.key"] * 64))

    assert len(keys) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["signoff.db.key"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SIGNOFF_LEASE_SECONDS", "soon", "valid number"),
        ("SIGNOFF_LEASE_SECONDS", "0", "greater than 0"),
        ("SIGNOFF_DRAIN_SECONDS", "nan", "finite"),
        ("SIGNOFF_JUDGE_MAX_CALLS", "0", "greater than or equal to 1"),
        ("SIGNOFF_JUDGE_MAX_COST_USD", "free", "valid number"),
        ("SIGNOFF_OPENAI_PRICE", "0.4, 1.6", "three amounts"),
        ("OPENAI_BASE_URL", "api.openai.com/v1", "http"),
        ("OPENAI_BASE_URL", "ftp://127.0.0.1/v1", "http"),
        ("SIGNOFF_RUNNER", "threads", "'in_process' or 'temporal'"),
        ("SIGNOFF_TEMPORAL_ADDRESS", "temporal.example.org", "host and port"),
        ("SIGNOFF_TEMPORAL_ADDRESS", "http://127.0.0.1:7233", "host and port"),
        ("SIGNOFF_TEMPORAL_ADDRESS", "127.0.0.1:72330", "host and port"),
        ("SIGNOFF_DATABASE_URL", "postgresql://somebody:hunter2@db/signoff", "postgresql+asyncpg://"),
        ("SIGNOFF_DATABASE_URL", "sqlite+aiosqlite:///:memory:", "needs a file"),
        ("SIGNOFF_SECRET_KEY", "hunter2", "at least 32 characters"),
        ("SIGNOFF_OLD_SECRET_KEYS", f"{KEY.replace(' ', '-')},hunter2", "at least 32 characters"),
        ("SIGNOFF_ALLOWED_AGENT_NETWORKS", "10.0.0.0/8, 10.1.2.3/8", "host bits set"),
        ("SIGNOFF_ALLOWED_VALIDATOR_NETWORKS", "localhost", "write networks such as"),
        ("SIGNOFF_VALIDATOR_URL", "http://ada:password@example.org/", "must not hold a user name or password"),
        ("SIGNOFF_VALIDATOR_URL", "example.org", "must begin with http"),
        ("SIGNOFF_REDACTED_KEYS", "(", "it is no regular expression: missing )"),
        ("SIGNOFF_AGENT_SECRET_OVERLAP_SECONDS", "-1", "greater than or equal to 0"),
        ("SIGNOFF_ALLOWED_ORIGINS", "*", "is not an origin"),
        ("SIGNOFF_ALLOWED_ORIGINS", "https://example.org/app", "is not an origin"),
        ("SIGNOFF_TRUSTED_HOSTS", "example.org:8000", "is not a host"),
        ("SIGNOFF_EXECUTIONS_IN_FLIGHT", "0", "greater than or equal to 1"),
        ("SIGNOFF_REQUEST_BYTES", "1e3", "valid integer"),
        ("OPENAI_API_KEY", "sk-hunter2\n", "visible ASCII"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(BadSettingError) as told:
        load()

    (line,) = str(told.value).splitlines()
    assert line.startswith(f"{name}: ")
    assert says in line
    assert "hunter2" not in line


def test_every_bad_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNOFF_RUNNER", "threads")
    monkeypatch.setenv("SIGNOFF_QUERY_DEPTH", "deep")

    with pytest.raises(BadSettingError) as told:
        load()

    assert [line.split(":")[0] for line in str(told.value).splitlines()] == ["SIGNOFF_RUNNER", "SIGNOFF_QUERY_DEPTH"]


def test_another_host_needs_a_key_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadSettingError, match=r"^SIGNOFF_SECRET_KEY: needed"):
        load("0.0.0.0")  # noqa: S104
    monkeypatch.setenv("SIGNOFF_SECRET_KEY", KEY)
    with pytest.raises(BadSettingError, match=r"^SIGNOFF_TRUSTED_HOSTS: needed"):
        load("0.0.0.0")  # noqa: S104
    monkeypatch.setenv("SIGNOFF_TRUSTED_HOSTS", "signoff.example.org, *.internal")

    assert load("0.0.0.0").trusted_hosts == ("signoff.example.org", "*.internal")  # noqa: S104


def test_postgresql_needs_a_key_on_loopback_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNOFF_DATABASE_URL", "postgresql+asyncpg://db/signoff")

    with pytest.raises(BadSettingError, match=r"^SIGNOFF_SECRET_KEY: needed"):
        load()
    assert load(serves=False).secret_key is None


def test_lists_are_written_with_commas_or_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNOFF_ALLOWED_AGENT_NETWORKS", "10.0.0.0/8, ::1 ,192.168.0.0/16,")

    assert [str(network) for network in read().allowed_agent_networks] == ["10.0.0.0/8", "::1/128", "192.168.0.0/16"]


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.setenv("SIGNOFF_LEASE_SECONDS", "")

    assert (read().openai_api_key, read().lease_seconds) == (None, 30)


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hunter2-openai")
    monkeypatch.setenv("SIGNOFF_SECRET_KEY", "hunter2" * 8)
    monkeypatch.setenv("SIGNOFF_METRICS_TOKEN", "hunter2-metrics")
    monkeypatch.setenv("SIGNOFF_DATABASE_URL", "postgresql+asyncpg://somebody:hunter2@db/signoff")

    assert "hunter2" not in repr(load()) + str(load())


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read().lease_seconds = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_a_key_that_cannot_be_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "signoff.db.key").mkdir()
    monkeypatch.setenv("SIGNOFF_DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/signoff.db")

    with pytest.raises(BadSettingError, match=r"^SIGNOFF_SECRET_KEY: not set, and /.+/signoff\.db\.key cannot"):
        load()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "variables",
    [
        {"JWKS_URL": "https://id.example/keys"},
        {"JWKS_URL": "https://id.example/keys", "JWT_ISSUER": "https://id.example"},
        {"JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "signoff"},
        {"JWKS_URL": "http://id.example/keys", "JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "signoff"},
        {"JWKS_URL": "https://me:pw@id.example/", "JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "signoff"},
        {"JWKS_URL": "file:///etc/keys", "JWT_ISSUER": "https://id.example", "JWT_AUDIENCE": "signoff"},
    ],
)
def test_an_identity_provider_is_named_completely_or_not_at_all(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"SIGNOFF_{name}", value)

    with pytest.raises(BadSettingError, match=r"^SIGNOFF_JWKS_URL: it (is set together|must be an https)") as error:
        load()
    assert "pw" not in str(error.value)


def test_every_setting_is_used() -> None:
    code = "".join(file.read_text() for file in (Path(__file__).parents[2] / "app").rglob("*.py"))
    unused = {name for name in Settings.model_fields if f"settings.{name}" not in code}

    assert unused == set()


def test_every_setting_is_documented_with_its_default() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE))

    for name, setting in Settings.model_fields.items():
        alias = setting.validation_alias
        documented = table.pop(alias if isinstance(alias, str) else f"SIGNOFF_{name.upper()}")
        if isinstance(setting.default, int | float | str):
            default = str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
            assert documented.strip("`") == default, name
    assert table == {}
