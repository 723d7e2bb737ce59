"""Reports of ``handfast doctor`` for scripts."""

from __future__ import annotations

from pki.diagnosis import Finding, Report
from pki.failures import FAILURES


def report_json(report: Report) -> dict[str, object]:
    """Return a report with its handshake result."""
    return {
        "target": report.target,
        "status": report.status.value,
        "result": report.handshake_result,
        **causes_json(report),
    }


def causes_json(report: Report) -> dict[str, object]:
    """Return the causes and the findings of a report."""
    return {
        "causes": [item.failure for item in report.causes],
        "likely": [item.failure for item in report.likely_causes],
        "findings": [_finding_json(item) for item in report.findings],
    }


def _finding_json(item: Finding) -> dict[str, object]:
    remedy = item.remedy or (FAILURES[item.failure].remedy if item.failure else "")
    return {
        "check": item.check,
        "status": item.status.value,
        "message": item.message,
        "failure": item.failure,
        "sure": item.is_sure,
        "likelihood": item.likelihood,
        "result": item.handshake_result,
        "remedy": remedy,
    }
