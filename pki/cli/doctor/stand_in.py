"""``handfast doctor --stand-in``: takes a server's place, and prints findings on each caller."""

from __future__ import annotations

import signal
import sys

from cryptography import x509

from pki.authz import Policy
from pki.cli.doctor.report_json import causes_json
from pki.cli.doctor.report_text import print_causes, print_findings
from pki.cli.output import console_for, json_line
from pki.clock import system_clock
from pki.diagnosis import (
    Caller,
    CallerOutcome,
    Finding,
    OwnCredential,
    Report,
    StandIn,
    examine_our_role,
    quote_name,
)
from pki.errors import InputError, StateError, quote_untrusted

_OUTCOMES = {
    CallerOutcome.ACCEPTED: "would be accepted",
    CallerOutcome.REFUSED: "would be refused",
    CallerOutcome.LEFT: "left by itself",
}


def run_stand_in(
    listen: str,
    credential: OwnCredential,
    policy: Policy | None,
    method: str | None,
    callers: int | None,
    *,
    as_json: bool,
) -> None:
    """Listen in a server's place until SIGINT or SIGTERM, or until enough callers have connected.

    Args:
        listen: ``[HOST:]PORT``.
        credential: the server's credential.
        policy: the policy by which to check callers; None checks none.
        method: the method that callers shall be allowed to call; None checks none.
        callers: after how many callers to end; None has no end.
        as_json: whether to print a JSON object a line.

    Raises:
        InputError: if no port is named, or the credential can't be presented.
        StateError: if the port can't be listened on.
    """
    host, port = _parse_listen(listen)

    def check_caller(leaf: x509.Certificate) -> list[Finding]:
        if policy is None or method is None:
            return []
        return examine_our_role(policy, leaf, method)

    try:
        server = StandIn(
            host,
            port,
            credential,
            system_clock,
            lambda caller: _print_caller(caller, as_json=as_json),
            check_caller=check_caller,
        )
    except OSError as error:
        raise StateError(
            f"{quote_untrusted(listen)} can't be listened on: {error.strerror}",
            remedy="Stop the real server first, or take another port and send the caller there",
        ) from None
    message = (
        f"listening at {host}:{server.port} in the server's place; no call is served; "
        "Ctrl-C ends it"
    )
    # A background job of a shell ignores SIGINT, so SIGTERM ends it in good order too.
    ended_before = signal.signal(signal.SIGTERM, lambda *_: server.stop())
    if as_json:
        _print_json({"event": "listening", "host": host, "port": server.port})
    else:
        console_for(sys.stdout).print(message, highlight=False)
        sys.stdout.flush()
    try:
        server.serve(callers)
    except KeyboardInterrupt:
        server.stop()
    finally:
        signal.signal(signal.SIGTERM, ended_before)


def _parse_listen(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise InputError(
            f"--stand-in {quote_untrusted(listen)} names no port", remedy="Write [HOST:]PORT"
        )
    return (host.strip("[]") if colon else "127.0.0.1"), int(port)


def _print_caller(caller: Caller, *, as_json: bool) -> None:
    report = Report(caller.address, caller.findings)
    who = quote_name(caller.chain[0].subject) if caller.chain else "no certificate"
    if as_json:
        _print_json(
            {
                "event": "caller",
                "address": caller.address,
                "server_name": caller.server_name,
                "chain": [item.subject.rfc4514_string() for item in caller.chain],
                "outcome": caller.outcome.value,
                **causes_json(report),
            }
        )
        return
    console = console_for(sys.stdout)
    outcome = _OUTCOMES[caller.outcome]
    requested = f", for {quote_untrusted(caller.server_name)}" if caller.server_name else ""
    line = f"\n{caller.address}{requested}: {who} {outcome}"
    console.print(line, soft_wrap=True, highlight=False, markup=False)
    if caller.chain:
        console.print(
            "          " + " <- ".join(quote_name(item.subject) for item in caller.chain),
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    print_findings(caller.findings)
    print_causes(report)
    sys.stdout.flush()


def _print_json(data: dict[str, object]) -> None:
    sys.stdout.write(json_line("doctor", data))
    sys.stdout.flush()
