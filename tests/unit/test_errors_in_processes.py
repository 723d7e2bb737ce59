"""Errors that go from one process to another, as those of a pool's workers do."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import grpc
import pytest

import pki
from pki.access.refusal import CREDENTIAL_ENDED
from pki.errors import CouldNotTellError, PkiError, VerificationError
from pki.fault import Fault
from pki.rpc.client.calls.call_sync import ExplainedCallError, LocalCallError, to_rpc_error

VALUES: dict[str, Any] = {
    "cause": "why",
    "fault": Fault.REVOKED,
    "seconds": 1.5,
    "retry_after": 2.5,
    "message": "what",
    "folder": Path("here"),
    "wait_seconds": 1.5,
}


def kinds(of: type[PkiError]) -> Iterator[type[PkiError]]:
    yield of
    for kind in of.__subclasses__():
        yield from kinds(kind)


def made(kind: type[PkiError]) -> PkiError:
    """Return an error as its code makes it, with the arguments that its kind needs."""
    if kind is CouldNotTellError:
        return CouldNotTellError(made(VerificationError))
    code = kind.__init__.__code__
    needed = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    return kind(**{name: VALUES[name] for name in needed if name in VALUES})


def test_every_error_arrives_as_it_was() -> None:
    for module in walk_packages(pki.__path__, "pki."):
        if not {"migrations", "testing", "__main__"} & set(module.name.split(".")):
            import_module(module.name)
    for kind in set(kinds(PkiError)):
        error = made(kind)
        for arrived in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert type(arrived) is kind
            assert str(arrived) == str(error)
            assert vars(arrived).keys() == vars(error).keys()


@pytest.mark.parametrize(
    "error",
    [
        to_rpc_error(CREDENTIAL_ENDED),
        ExplainedCallError(LocalCallError(grpc.StatusCode.UNAVAILABLE, "handshake"), "the cause"),
    ],
)
def test_the_error_of_a_call_arrives_as_it_was(error: LocalCallError) -> None:
    arrived: Any = pickle.loads(pickle.dumps(error))
    assert type(arrived) is type(error)
    for part in ("code", "details", "debug_error_string", "trailing_metadata"):
        assert getattr(arrived, part)() == getattr(error, part)()


def test_a_pool_of_processes_tells_the_error_of_its_worker_and_goes_on() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for _ in range(2):
            with pytest.raises(VerificationError) as caught:
                pool.submit(refuse).result()
            assert caught.value.fault is Fault.EXPIRED


def refuse() -> None:
    raise VerificationError("it has ended", fault=Fault.EXPIRED)
