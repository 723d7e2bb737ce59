"""Statements for many rows, which are compiled for a database once."""

from __future__ import annotations

from sqlalchemy.dialects import postgresql, sqlite

from pki.authority.ledger import tables
from pki.authority.ledger.batching.inserts import Prepared
from pki.authority.ledger.batching.names import _claim_of


def test_both_databases_take_the_parameters_of_a_claim_by_name_or_in_their_order() -> None:
    text, order = _claim_of("postgresql")._for(postgresql.psycopg.dialect())  # type: ignore[no-untyped-call]
    assert order is None
    assert "%(now)s" in text
    assert "RETURNING" not in text
    text, order = _claim_of("sqlite")._for(sqlite.dialect())
    assert order == [0, 1, 2, 3, 4]
    assert text.count("?") == 5


def test_rows_have_the_order_of_their_columns_whatever_that_of_the_statement_is() -> None:
    columns = ("spiffe_id", "secret", "fingerprint")
    prepared = Prepared(tables.keys.insert(), columns)
    text, order = prepared._for(sqlite.dialect())
    assert order is not None
    named = text.partition("(")[2].partition(")")[0].split(", ")
    assert [columns[place] for place in order] == named
