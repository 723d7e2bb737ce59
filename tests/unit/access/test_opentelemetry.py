"""Span attributes: nothing is asked of an OpenTelemetry that is not loaded, or only half loaded."""

from __future__ import annotations

import logging
import sys
import types

import pytest

from pki.access import opentelemetry
from pki.access.call_verdict import CallVerdict
from pki.access.refusal import NO_CERTIFICATE
from pki.background import flush

VERDICT = CallVerdict("/shop.v1.Orders/Get", None, NO_CERTIFICATE, None, "", "", "")


@pytest.mark.parametrize("module", [None, types.ModuleType("opentelemetry.trace")])
def test_without_a_loaded_opentelemetry_there_is_no_span_and_no_error(
    module: types.ModuleType | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if module is None:
        monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    else:
        monkeypatch.setitem(sys.modules, "opentelemetry.trace", module)
    with caplog.at_level(logging.DEBUG, "handfast"):
        opentelemetry.annotate_call(VERDICT, {})
        assert opentelemetry.recording_span() is None
        flush()
    assert not caplog.records
