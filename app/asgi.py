"""The application: routes, what happens around them, and the life of what they need."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import plugins
from app.auth import Authentication, TokenReader, Tokens
from app.container import Cluster, Container, HttpValidation, Wiring, open_container
from app.health import Health
from app.jwks import ProviderKeys, ProviderTokens
from app.login import Login, Person
from app.metrics import Exposition
from app.middleware import GRAPHQL, METRICS, Door, Rules, nobody, problem, too_large
from app.pages import BUILDS, OrGraphiQL, Pages
from app.rest import Rest
from app.secrets import StoredSecrets, secret_keys
from app.serving import Drain
from db import migrate
from resolvers.context import Services
from schema.build import build_schema
from schema.endpoint import GraphQLEndpoint
from schema.limits import Limits
from services.executions.validation import RetryPolicy
from services.inputs import InputLimits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.settings import Settings

log = logging.getLogger(__name__)


class Application(Starlette):
    """Starlette's, behind a door instead of its middlewares.

    What the door lets pass straight never comes to Starlette: a server is given the door.
    """

    def __init__(self, door: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self.door = door(super().__call__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await self.door(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        """Return what is behind the door."""
        return ExceptionMiddleware(self.router, self.exception_handlers)


class _Opened:
    """What there is while the lifespan lasts."""

    services: Services


def create_app(
    settings: Settings, *, migrates: bool = True, people: Sequence[Person] = (), builds: Sequence[Path] = BUILDS
) -> Application:
    """Make the application; nothing is opened before its lifespan starts.

    With `migrates`, that begins by bringing the database to the newest revision. `people` are those whom one click
    signs in: for the demo. The pages are the first complete one of `builds`. `app.state.drain` ends it orderly.
    """
    tokens = Tokens.of(secret_keys(settings))
    reader = token_reader(settings, tokens)
    authentication = Authentication(reader)
    pages = Pages(builds)
    drain = Drain(settings.drain_seconds)
    health = Health(partial(migrate.is_current, settings.database_url), drain)
    exposition = Exposition(settings.metrics_token)
    opened = _Opened()

    schema = build_schema(
        Limits(
            depth=settings.query_depth,
            introspection_depth=settings.query_introspection_depth,
            repeats=settings.query_repeats,
            aliases=settings.query_aliases,
            tokens=settings.query_tokens,
            nodes=settings.query_nodes,
        ),
        introspection=settings.introspection,
        suggestions=settings.field_suggestions,
        compiled=settings.compiled_queries,
    )

    def services() -> Services:
        return opened.services

    endpoint = GraphQLEndpoint(
        schema,
        services,
        authentication.authenticate,
        allowed_origins=settings.allowed_origins,
        connection_init_seconds=settings.connection_init_seconds,
        operations_per_connection=settings.subscriptions_per_connection,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        if migrates:
            await migrate.upgrade(settings.database_url)
        async with _running(wiring_of(settings), drain, health, exposition) as container:
            app.state.container = container
            opened.services = services_of(container)
            yield

    graphql = OrGraphiQL(endpoint, pages)
    app = Application(
        partial(
            Door,
            rules=rules_of(settings, authentication),
            straight={("POST", GRAPHQL): endpoint, ("GET", GRAPHQL): graphql, ("", GRAPHQL): endpoint},
            metrics=exposition.metrics,
        ),
        routes=[
            *_probes(health, exposition),
            Route(GRAPHQL, graphql),
            *Rest.over(schema, services).routes(),
            *Login(reader, tokens, people).routes(),
            *pages.routes(),
        ],
        exception_handlers={HTTPException: partial(_http_problem, settings.request_bytes, pages=pages)},
        lifespan=lifespan,
    )
    app.state.drain = drain
    return app


def create_worker(settings: Settings) -> Application:
    """Make the application of a worker: it runs executions of Temporal's and says how it is."""
    drain = Drain(settings.drain_seconds)
    health = Health(partial(migrate.is_current, settings.database_url), drain, needs_temporal=True)
    exposition = Exposition(settings.metrics_token)
    wiring = replace(
        wiring_of(settings),
        temporal=cluster_of(settings),
        is_worker=True,
        # Unlike our own runner, Temporal's is told at the beginning of the drain how long it has.
        worker_drain_seconds=settings.drain_seconds,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        del app
        async with _running(wiring, drain, health, exposition):
            yield

    app = Application(
        Door,
        routes=_probes(health, exposition),
        exception_handlers={HTTPException: partial(_http_problem, settings.request_bytes)},
        lifespan=lifespan,
    )
    app.state.drain = drain
    return app


@asynccontextmanager
async def _running(wiring: Wiring, drain: Drain, health: Health, exposition: Exposition) -> AsyncGenerator[Container]:
    """Open what a process works with: its drain, its probes and its metrics tell of that until it is drained."""
    async with open_container(wiring) as container:
        drain.runner = container.runner
        drain.stop_waiting = container.executions.stop_waiting
        health.validator = container.validator_health
        health.temporal = container.temporal
        async with exposition.of(container):
            yield container
            await drain.finished()


def _probes(health: Health, exposition: Exposition) -> list[Route]:
    """What machines ask of every process."""
    return [
        Route("/healthz", health.healthz),
        Route("/readyz", health.readyz),
        Route(METRICS, exposition.answer),
    ]


def token_reader(settings: Settings, tokens: Tokens) -> TokenReader:
    """Our own tokens, and beside them those of an identity provider where there is one."""
    if settings.jwks_url is None or settings.jwt_issuer is None or settings.jwt_audience is None:
        return tokens
    keys = ProviderKeys(settings.jwks_url)
    return ProviderTokens(tokens, keys, settings.jwt_issuer, settings.jwt_audience, settings.jwt_role_claim)


def rules_of(settings: Settings, authentication: Authentication) -> Rules:
    """Say to the door what the settings ask of every request."""
    return Rules(
        trusted_hosts=frozenset(settings.trusted_hosts),
        allowed_origins=settings.allowed_origins,
        cors=CORSMiddleware(
            nobody,
            allow_origins=settings.allowed_origins,
            allow_methods=("GET", "POST"),
            allow_headers=("authorization", "content-type", "idempotency-key", "traceparent"),
            allow_credentials=True,
            expose_headers=("x-trace-id",),
        ),
        # As uvicorn has it by itself, which looks through the headers of every request for it.
        forwarded=cast("Any", ProxyHeadersMiddleware)(nobody, os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")),
        largest_bytes=settings.request_bytes,
        authentication=authentication,
    )


def wiring_of(settings: Settings) -> Wiring:
    """Say to the container what the settings mean for it."""
    key = settings.openai_api_key
    return Wiring(
        database_url=settings.database_url,
        secrets=StoredSecrets.of(secret_keys(settings)),
        openai_api_key=None if key is None else key.get_secret_value(),
        openai_base_url=settings.openai_base_url,
        openai_model=settings.openai_model,
        openai_timeout_seconds=settings.openai_timeout_seconds,
        openai_price=settings.openai_price,
        judge_calls=settings.judge_max_calls,
        has_canary=settings.judge_canary,
        judge_cost_usd=settings.judge_max_cost_usd,
        plugin_executors=plugins.installed(plugins.EXECUTORS),
        plugin_validators=plugins.installed(plugins.VALIDATORS),
        plugin_validation_seconds=settings.plugin_validation_seconds,
        http_validator=http_validation_of(settings),
        validator_name=settings.validator,
        allowed_networks=settings.allowed_agent_networks,
        lease_seconds=settings.lease_seconds,
        # The application's drain has waited already: what is still in flight then is let go.
        drain_seconds=0,
        retry=RetryPolicy(
            deadline_seconds=settings.validator_deadline_seconds,
            first_seconds=settings.retry_first_seconds,
            longest_seconds=settings.retry_longest_seconds,
            slow_seconds=settings.retry_slow_seconds,
        ),
        executions_in_flight=settings.executions_in_flight,
        executions_queued=settings.executions_queued,
        log_payload_bytes=settings.log_payload_bytes,
        mutations_per_minute=settings.mutations_per_minute,
        mutations_burst=settings.mutations_burst,
        inputs=InputLimits(
            job_input_bytes=settings.job_input_bytes,
            criteria=settings.criteria_per_job,
            expression_characters=settings.expression_characters,
            agent_timeout_seconds=settings.agent_longest_timeout_seconds,
            result_bytes=settings.agent_answer_bytes,
        ),
        redacted_keys=settings.redacted_keys,
        secret_overlap_seconds=settings.agent_secret_overlap_seconds,
        feed_poll_seconds=settings.feed_poll_seconds,
        temporal=cluster_of(settings) if settings.runner == "temporal" else None,
    )


def http_validation_of(settings: Settings) -> HttpValidation | None:
    """Where the validator over HTTP is; None where no setting names one."""
    if settings.validator_url is None:
        return None
    secrets = (settings.validator_secret, settings.validator_old_secret)
    return HttpValidation(
        settings.validator_url,
        tuple(secret.get_secret_value() for secret in secrets if secret is not None),
        settings.allowed_validator_networks,
        settings.validator_timeout_seconds,
    )


def cluster_of(settings: Settings) -> Cluster:
    """Where Temporal is."""
    return Cluster(settings.temporal_address, settings.temporal_namespace, settings.temporal_task_queue)


def services_of(container: Container) -> Services:
    """What resolvers are handed of a container."""
    return Services(
        agents=container.agents,
        jobs=container.jobs,
        executions=container.executions,
        logs=container.logs,
        feed=container.feed,
        rates=container.rates,
        redact=container.journal.redact,
        executors=sorted(container.executors),
        validators=sorted(container.validators),
        can_judge=container.judge_configured,
    )


def _http_problem(largest_bytes: int, request: Request, error: Exception, pages: Pages | None = None) -> Response:
    """Answer what Starlette refuses by itself (unknown path, wrong method, too long a body) in our form."""
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return too_large(largest_bytes)
    if status is HTTPStatus.NOT_FOUND and pages is not None and (page := pages.missing(request)) is not None:
        return page
    return problem(status, status.name, error.detail, error.headers)
