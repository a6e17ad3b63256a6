"""``pingsix-asgi run``: the gateway with its listeners, in one process or under a supervisor."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from socket import socket

import anyio

from ..app import PingSIX
from ..serving.options import Listener, ServeOptions, listeners_of
from ..serving.own_certificates import judge_files
from ..serving.sockets import StartupError, bind
from ..serving.supervisor import Handover, Supervisor, shared_directory
from ..serving.worker import Worker
from . import logs
from .check import opened_or_all_errors, raise_all


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "run",
        help="run the gateway",
        description="Run the gateway from a file, or from PINGSIX_… environment variables alone.",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="configuration file (YAML or JSON)")
    parser.add_argument("--host", help="address of the first listener, over the configuration")
    parser.add_argument("--port", type=_port, help="port of the first listener; 0: a free one")
    parser.add_argument("--workers", type=_workers, metavar="N", help="processes to run")
    parser.add_argument("--server", choices=("uvicorn", "granian"), help="HTTP server to use")
    parser.add_argument(
        "--http",
        choices=("auto", "httptools", "zttp"),
        default="auto",
        help="uvicorn's HTTP parser; auto takes zttp where it is installed",
    )
    parser.add_argument(
        "--log-level", type=_level, metavar="LEVEL", help="debug, info, warn or error"
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal; returns the exit code. Raises ConfigError, StartupError."""
    logs.set_up(arguments.log_level, arguments.log_format)
    handover = Handover.received()
    gateway = PingSIX(config=opened_or_all_errors(arguments.config))
    log = gateway.settings.log
    if handover is not None:
        if log is not None:
            logs.to_file(log, is_only_writer=False)
        _serve(gateway, handover.options, handover.sockets, handover)
        return 0
    options = _options(gateway, arguments)
    if log is not None:
        logs.to_file(log, is_only_writer=options.workers == 1)
    sockets = {listener: bind(listener.host, listener.port) for listener in options.listeners}
    if options.workers > 1 or any(judge_files(gateway.settings)):
        raise_all(gateway)
    if options.workers == 1:
        _serve(gateway, options, sockets)  # which judges the resources as it starts
        return 0
    command = [sys.executable, "-m", "pingsix_asgi", *arguments.argv]
    with shared_directory():
        return anyio.run(Supervisor(command, options, sockets).run)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text}: expected 0 to 65535")
    return int(text)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text}: expected a number of at least 1")
    return int(text)


def _level(text: str) -> str:
    if text.lower() not in logs.LEVELS:
        raise argparse.ArgumentTypeError(f"{text}: expected one of {', '.join(logs.LEVELS)}")
    return text


def _options(gateway: PingSIX, arguments: argparse.Namespace) -> ServeOptions:
    settings = gateway.settings
    return ServeOptions(
        listeners=listeners_of(settings, host=arguments.host, port=arguments.port),
        server=arguments.server or settings.server,
        parser=arguments.http,
        workers=arguments.workers or settings.worker_count,
        drain_delay_s=settings.drain_delay,
        grace_period_s=settings.grace_period_s,
    )


def _serve(
    gateway: PingSIX,
    options: ServeOptions,
    sockets: Mapping[Listener, socket],
    handover: Handover | None = None,
) -> None:
    try:
        from ..serving.hosts import Hosts
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(__name__.partition(".")[0]):
            raise
        text = f"{error.name} is not installed: pip install 'pingsix-asgi[server]'"
        raise StartupError(text) from error

    async def serve() -> None:
        worker = Worker(gateway, options, sockets, Hosts(gateway, options).make)
        if handover is not None:
            handover.on_orphaned(worker.stop)
        await worker.run(handover.tell_ready if handover is not None else lambda: None)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed."""
    if find_spec("uvloop") is None:
        return None
    import uvloop

    return uvloop.new_event_loop
