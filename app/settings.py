"""Everything that the environment sets, read once at the start into a frozen value.

`load` is the way in: it reads, checks, and fills in what depends on where the service listens.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from contextlib import suppress
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from services.guard import EndpointNotAllowedError, endpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOPBACK = "127.0.0.1"
SQLITE, POSTGRESQL = "sqlite+aiosqlite:///", "postgresql+asyncpg://"
# HS256 asks for a key of at least 256 bits; 32 characters of hexadecimal or base64 are the least that may hold half.
KEY_CHARACTERS = 32
MAX_PORT = 65535
# A model's: of what it reads, of what it reads again, and of what it writes.
PRICES = 3

Network = IPv4Network | IPv6Network


class BadSettingError(Exception):
    """The environment cannot be used; one line for each thing that is wrong, naming the variable."""


# ------------------------------------------------------------------------------------------------- kinds of value


def _split(value: object) -> object:
    """Read a list as people write it: with commas, with spaces, or with both."""
    return tuple(re.split(r"[\s,]+", value.strip(" ,\t\n"))) if isinstance(value, str) else value


def _network(value: object) -> object:
    try:
        return ip_network(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"{error}: write networks such as 10.0.0.0/8, with commas between them") from None


def _database_url(url: str) -> str:
    if url.startswith(SQLITE):
        if sqlite_file(url) is None:
            raise ValueError("SQLite needs a file: sqlite+aiosqlite:///path/to/signoff.db")
    elif url.startswith(POSTGRESQL):
        try:
            urlsplit(url).port  # noqa: B018 - reading it checks it
        except ValueError:
            raise ValueError("this is not a URL") from None
    else:
        # The URL itself may hold a password, and is not repeated.
        raise ValueError(f"it must begin with {SQLITE} or {POSTGRESQL}")
    return url


def _origin(text: str) -> str:
    parts = urlsplit(text.lower())
    if parts.scheme not in {"http", "https"} or not parts.hostname or text.count("/") != 2:  # noqa: PLR2004
        raise ValueError(f"{text!r} is not an origin such as https://example.org (no path, no wildcard)")
    return text.lower()


def _jwks_url(text: str) -> str:
    parts = urlsplit(text)
    safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    if not safe or not parts.hostname or parts.username is not None:
        raise ValueError("it must be an https:// URL (http:// on loopback only), without a user in it")
    return text


def _address(text: str) -> str:
    # A client of Temporal that cannot make sense of it would only say that nobody answers.
    name, _, port = text.rpartition(":")
    if not re.fullmatch(r"[\w.-]+|\[[\da-f:.]+\]", name, re.IGNORECASE) or not port.isdecimal() or int(port) > MAX_PORT:
        raise ValueError(f"{text!r} is not a host and port such as 127.0.0.1:7233")
    return text


def _trusted_host(text: str) -> str:
    if text != "*" and not re.fullmatch(r"(\*\.)?[\w.-]+|\[[\da-f:.]+\]", text, re.IGNORECASE):
        raise ValueError(f"{text!r} is not a host such as example.org, *.example.org or * (no port)")
    return text.lower().strip("[]")


def _key(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < KEY_CHARACTERS:
        raise ValueError(f"it must have at least {KEY_CHARACTERS} characters; for a new one: openssl rand -base64 48")
    return key


def _api_key(key: SecretStr) -> SecretStr:
    # A key with a line break copied along would only fail when something is judged.
    if not all("!" <= character <= "~" for character in key.get_secret_value()):
        raise ValueError("it holds other characters than visible ASCII ones")
    return key


def _endpoint(url: str) -> str:
    try:
        endpoint(url)
    except EndpointNotAllowedError as error:
        # It does not quote the URL, which may hold a password.
        raise ValueError(str(error)) from None
    return url


def _pattern(text: object) -> object:
    try:
        return re.compile(text) if isinstance(text, str) else text
    except re.error as error:
        raise ValueError(f"it is no regular expression: {error}") from None


def _price(amounts: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if amounts is not None and len(amounts) != PRICES:
        raise ValueError("write three amounts, of prompt, cached prompt and answer, such as 0.40, 0.10, 1.60")
    return amounts


Key = Annotated[SecretStr, AfterValidator(_key)]
Seconds = Annotated[float, Field(gt=0, le=366 * 24 * 3600, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Amount = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]
Split = (NoDecode, BeforeValidator(_split))


# --------------------------------------------------------------------------------------------------- the settings


class Settings(BaseSettings):
    """SIGNOFF_… and OPENAI_…, checked. An empty variable is as good as none."""

    model_config = SettingsConfigDict(
        env_prefix="SIGNOFF_", frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    database_url: Annotated[str, AfterValidator(_database_url)] = Field(default=f"{SQLITE}signoff.db", repr=False)

    secret_key: Key | None = None
    """Signs tokens and encrypts agents' secrets; after `load(serves=True)` there always is one."""
    old_secret_keys: Annotated[tuple[Key, ...], *Split] = ()
    """Keys of before: what they signed and encrypted is still read."""
    jwks_url: Annotated[str, AfterValidator(_jwks_url)] | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_role_claim: str = "role"
    """Which of the provider's claims says `client` or `admin`."""

    runner: Literal["in_process", "temporal"] = "in_process"
    temporal_address: Annotated[str, AfterValidator(_address)] = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    temporal_task_queue: str = "signoff"

    openai_api_key: Annotated[SecretStr, AfterValidator(_api_key)] | None = Field(
        default=None, validation_alias="OPENAI_API_KEY"
    )
    openai_base_url: Annotated[str, AfterValidator(_endpoint)] | None = Field(
        default=None, validation_alias="OPENAI_BASE_URL"
    )
    openai_model: str = "gpt-4.1-mini"
    openai_timeout_seconds: Seconds = 120
    openai_price: Annotated[tuple[Amount, ...] | None, AfterValidator(_price), *Split] = None
    """US dollars per million tokens of prompt, of cached prompt, and of answer."""
    judge_canary: bool = False
    """Ask the validator two cases with known answers at the start, and tell in /readyz what it made of them."""
    judge_max_calls: Annotated[int, Field(ge=1, le=20)] = 5
    judge_max_cost_usd: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] = 2.0
    """What all calls for one execution may cost together, by list prices."""
    validator: str = "openai"
    plugin_validation_seconds: Seconds = 300
    """What one whole validation by a plug-in may take."""
    validator_url: Annotated[str, AfterValidator(_endpoint)] | None = None
    """Where the validator "http" is asked (docs/validator-http.md)."""
    validator_secret: SecretStr | None = None
    validator_old_secret: SecretStr | None = None
    validator_timeout_seconds: Seconds = 120
    allowed_validator_networks: Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], *Split] = ()

    agent_secret_overlap_seconds: Annotated[float, Field(ge=0, le=366 * 24 * 3600, allow_inf_nan=False)] = 24 * 3600
    """How long the secret that a new one replaces still signs requests besides it."""
    redacted_keys: Annotated[re.Pattern[str], BeforeValidator(_pattern)] | None = None
    """Names of members whose values are blanked in logs and views, besides those that always are."""
    allowed_agent_networks: Annotated[tuple[Annotated[Network, BeforeValidator(_network)], ...], *Split] = ()
    allowed_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], *Split] = ()
    trusted_hosts: Annotated[tuple[Annotated[str, AfterValidator(_trusted_host)], ...], *Split] = ()
    metrics_token: SecretStr | None = None

    lease_seconds: Seconds = 30
    drain_seconds: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 20
    drain_notice_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 1
    """How long after SIGTERM /readyz says 503 while connections are still taken, at least."""
    validator_deadline_seconds: Seconds = 3600
    retry_first_seconds: Seconds = 1
    retry_longest_seconds: Seconds = 60
    retry_slow_seconds: Seconds = 60
    feed_poll_seconds: Seconds = 2

    # Limits, each with a clear error where it is met.
    request_bytes: Count = 1024 * 1024
    query_depth: Count = 12
    query_introspection_depth: Count = 20
    """The standard introspection query is 15 levels deep; everything else is held to `query_depth`."""
    query_aliases: Count = 15
    query_repeats: Count = 50
    """How often one field may stand in one selection."""
    query_tokens: Count = 2_000
    query_nodes: Count = 10_000
    compiled_queries: bool = True
    """Whether operations are executed by what was compiled of them, or all by graphql-core."""
    introspection: bool = True
    field_suggestions: bool = True
    """Whether errors say "Did you mean …?"; never where introspection is off, for that would tell the same."""
    connection_init_seconds: Seconds = 5
    subscriptions_per_connection: Count = 10
    job_input_bytes: Count = 256 * 1024
    criteria_per_job: Count = 50
    expression_characters: Count = 1_000
    agent_answer_bytes: Annotated[int, Field(ge=1, le=64 * 1024 * 1024)] = 2 * 1024 * 1024
    agent_longest_timeout_seconds: Annotated[float, Field(gt=0, le=24 * 3600, allow_inf_nan=False)] = 900
    log_payload_bytes: Count = 256 * 1024
    executions_in_flight: Count = 1_000
    executions_queued: Count = 10_000
    mutations_per_minute: Count = 600
    mutations_burst: Count = 200


def sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL, None for any other URL and for a database in memory."""
    name = url.removeprefix(SQLITE).split("?")[0]
    return Path(name) if url.startswith(SQLITE) and name not in {"", ":memory:"} else None


def read(**overrides: object) -> Settings:
    """Read the environment, where `overrides` do not say otherwise. Raises BadSettingError."""
    try:
        settings = Settings.model_validate(overrides)
    except ValidationError as error:
        raise BadSettingError("\n".join(dict.fromkeys(map(_line, error.errors())))) from None
    provider = (settings.jwks_url, settings.jwt_issuer, settings.jwt_audience)
    if None in provider and provider != (None, None, None):
        # With less, the tokens that the provider signs for others would count here too.
        raise BadSettingError(
            "SIGNOFF_JWKS_URL: it is set together with SIGNOFF_JWT_ISSUER and SIGNOFF_JWT_AUDIENCE, or none of them is"
        )
    return settings


def load(host: str = LOOPBACK, *, serves: bool = True) -> Settings:
    """Read the environment. Raises BadSettingError.

    A service that `serves` needs a secret key and, unless `host` is this machine's own, to know by which names it
    is called. With SQLite on loopback the key is made where there is none, and kept beside the database's file.
    """
    settings = read()
    if not serves:
        return settings
    file = sqlite_file(settings.database_url)
    local = is_loopback(host)
    filled: dict[str, object] = {}
    if settings.secret_key is None:
        if not local or file is None:
            raise BadSettingError(
                "SIGNOFF_SECRET_KEY: needed, except with SQLite on loopback; to make one: openssl rand -base64 48"
            )
        filled["secret_key"] = SecretStr(kept_key(file.with_name(f"{file.name}.key")))
    if settings.validator == "http" and settings.validator_url is None:
        raise BadSettingError('SIGNOFF_VALIDATOR_URL: needed, for SIGNOFF_VALIDATOR is "http"')
    if not settings.trusted_hosts:
        if not local:
            raise BadSettingError(
                f"SIGNOFF_TRUSTED_HOSTS: needed to listen on {host}: the names by which clients call, with commas"
            )
        filled["trusted_hosts"] = ("*",)
    return settings.model_copy(update=filled)


def misspelt() -> Sequence[str]:
    """What the environment sets that is no setting, and which one is probably meant. Others' are plug-ins' own."""
    known = [f"SIGNOFF_{name.upper()}" for name in Settings.model_fields if not name.startswith("openai")]
    meant = {
        name: get_close_matches(name, known, 1, 0.9)
        for name in sorted(os.environ)
        if name.startswith("SIGNOFF_") and name not in known
    }
    return [f"{name} is no setting: is {found[0]} meant?" for name, found in meant.items() if found]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    with suppress(ValueError):
        return ip_address(host.strip("[]")).is_loopback
    return host.lower() == "localhost"


def _line(problem: ErrorDetails) -> str:
    name = str(problem["loc"][0])
    variable = name if name.startswith("OPENAI_") else f"SIGNOFF_{name.upper()}"
    message = problem["msg"].removeprefix("Value error, ").replace("\n", " ")
    return f"{variable}: {message[0].lower()}{message[1:]}"


def kept_key(file: Path) -> str:
    """Read the key in a file, or make one that only this user can read. Raises BadSettingError.

    Written beside it and then linked into place, so that of several processes one wins and all read a whole key.
    """
    if not file.parent.is_dir():
        raise BadSettingError(f"SIGNOFF_DATABASE_URL: there is no directory {file.parent}")
    try:
        if not file.exists():
            descriptor, draft = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # mode 600
            try:
                with os.fdopen(descriptor, "w") as writing:
                    writing.write(secrets.token_urlsafe(48) + "\n")
                    writing.flush()
                    os.fsync(writing.fileno())
                with suppress(FileExistsError):
                    os.link(draft, file)
            finally:
                Path(draft).unlink()
        key = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BadSettingError(f"SIGNOFF_SECRET_KEY: not set, and {file} cannot be used instead: {reason}") from None
    if len(key) < KEY_CHARACTERS:
        raise BadSettingError(f"SIGNOFF_SECRET_KEY: not set, and {file} holds no usable key: delete it for a new one")
    return key
