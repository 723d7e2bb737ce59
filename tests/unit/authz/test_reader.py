"""The policy file: what is accepted, and what is refused with file, line and reason."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pytest

from pki.authz import MAX_POLICY_BYTES, Policy, read_policy
from pki.errors import PolicyError
from pki.identity import TrustDomain

GOOD = """\
trust_domain = "shop.internal"
policy_grace = "30s"
revocation_grace = "2h"

[roles]
storefront = ["spiffe://shop.internal/gateway"]
auditor = [
  "dns:audit.shop.internal",
  "subject:CN=audit,O=shop.internal",   # both names of one workload
]

[[grant]]
role = "storefront"
methods = ["/shop.v1.Orders/*"]
scopes = ["read", "write"]

[[served_by]]
service = "shop.v1.Orders"
role = "storefront"
"""
HEAD = 'trust_domain = "shop.internal"\n[roles]\nadmin = ["spiffe://shop.internal/admin"]\n'
GRANT = '[[grant]]\nrole = "admin"\nmethods = ["/shop.v1.Orders/*"]\n'


def refused(text: str | bytes) -> PolicyError:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(PolicyError) as caught:
        read_policy(data, source="shop.toml")
    error = caught.value
    assert error.source == "shop.toml"
    assert error.remedy
    assert str(error).startswith(f"shop.toml:{error.line}: " if error.line else "shop.toml: ")
    return error


def test_a_good_policy_is_read_whole() -> None:
    policy = read_policy(GOOD.encode(), source="shop.toml")
    assert policy.trust_domain == TrustDomain("shop.internal")
    assert policy.source == "shop.toml"
    assert policy.digest == hashlib.sha256(GOOD.encode()).hexdigest()
    assert policy.policy_grace == timedelta(seconds=30)
    assert policy.revocation_grace == timedelta(hours=2)
    assert [(rule.role, rule.text, rule.line) for rule in policy.rules.roles] == [
        ("storefront", "spiffe://shop.internal/gateway", 6),
        ("auditor", "dns:audit.shop.internal", 8),
        ("auditor", "subject:CN=audit,O=shop.internal", 9),
    ]
    assert [(grant.role, grant.scopes, grant.line) for grant in policy.rules.grants] == [
        ("storefront", frozenset({"read", "write"}), 12)
    ]
    assert [(item.service, item.line) for item in policy.rules.served_by] == [
        ("shop.v1.Orders", 17)
    ]


def test_without_a_word_about_grace_there_is_none() -> None:
    policy = read_policy(HEAD.encode())
    assert policy.policy_grace == policy.revocation_grace == timedelta(0)


def test_a_policy_with_windows_line_ends_is_the_same() -> None:
    policy = read_policy(GOOD.replace("\n", "\r\n").encode())
    assert policy.rules == read_policy(GOOD.encode()).rules


def test_a_policy_in_inline_tables_is_the_same() -> None:
    text = (
        'trust_domain = "shop.internal"\nroles = { admin = ["dns:a.shop.internal"] }\n'
        'grant = [{ role = "admin", methods = ["/a.B/C"] }]\nserved_by = []\n'
    )
    policy = read_policy(text.encode())
    assert [rule.line for rule in policy.rules.roles] == [2]
    assert [grant.line for grant in policy.rules.grants] == [3]


def test_a_policy_that_is_in_use_can_not_be_changed() -> None:
    policy = read_policy(GOOD.encode())
    for name in ("digest", "source", "rules", "trust_domain", "more"):
        with pytest.raises(AttributeError):
            setattr(policy, name, None)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("0s", 0), ("30s", 30), ("5m", 300), ("1h", 3600), ("7d", 604800)],
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, wanted: int) -> None:
    policy = read_policy(f'policy_grace = "{text}"\n{HEAD}'.encode())
    assert policy.policy_grace == timedelta(seconds=wanted)


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "-1s", "1.5h", "5 m", "5M", "1w", "\uff15s", "1h30m", "30s\\n", "1" * 11 + "s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    error = refused(f'trust_domain = "a"\nrevocation_grace = "{text}"\n[roles]\n')
    assert error.line == 2
    assert "is no duration" in str(error)


@pytest.mark.parametrize("text", ["36526d", "9999999999d"])
def test_a_duration_beyond_all_reason_is_refused(text: str) -> None:
    error = refused(f'policy_grace = "36525d"\nrevocation_grace = "{text}"\n{HEAD}')
    assert error.line == 2
    assert "is too long" in str(error)


@pytest.mark.parametrize("key", ["colour", '"grants"', "Roles", '"\\u001b[31m"', "grant_"])
def test_an_unknown_key_is_refused(key: str) -> None:
    error = refused(f"{key} = 1\n{HEAD}")
    assert error.line == 1
    assert "is no key that a policy has" in str(error)
    assert "trust_domain, roles, grant" in error.remedy
    assert "\x1b" not in str(error)


@pytest.mark.parametrize(
    ("table", "known"),
    [
        (GRANT + "scope = []\n", "role, methods, scopes"),
        ('[[served_by]]\nservice = "a.B"\nrole = "admin"\nroles = []\n', "service, role"),
        (GRANT + "[grant.when]\nday = 1\n", "role, methods, scopes"),
    ],
)
def test_an_unknown_key_in_a_table_is_refused_with_the_known_ones(table: str, known: str) -> None:
    error = refused(HEAD + table)
    assert error.line == 7
    assert "is no key that a policy has" in str(error)
    assert error.remedy == f"The keys here are {known}"


@pytest.mark.parametrize(
    ("table", "line"),
    [
        ('[[grant]]\nmethods = ["/a.B/*"]\nrole = "admn"\n', 6),
        ('[[served_by]]\nservice = "a.B"\nrole = "admn"\n', 6),
        ('[[grant]]\nrole = "admin"\nmethods = ["/a.B/*"]\n[[grant]]\nrole = "admn"\nmethods = '
         '["/a.B/*"]\n', 8),
    ],
)  # fmt: skip
def test_an_undefined_role_is_refused(table: str, line: int) -> None:
    error = refused(HEAD + table)
    assert error.line == line
    assert "names the role 'admn', which is not defined" in str(error)


@pytest.mark.parametrize(
    ("text", "line", "first"),
    [
        (HEAD + 'admin = ["dns:a.b"]\n', 4, 3),
        (HEAD + 'other = ["dns:a.b"]\n\n"admin" = [\n"dns:a.b",\n"dns:c.d",\n]\n', 6, 3),
        ('roles.a = ["dns:a.b"]\n# again\nroles.a = ["dns:a.b"]\n', 3, 1),
        ('trust_domain = "a"\ntrust_domain = "b"\n', 2, 1),
    ],
)
def test_a_role_or_key_that_stands_twice_is_refused(text: str, line: int, first: int) -> None:
    error = refused(text)
    assert error.line == line
    assert f"occurs again, after line {first}" in str(error)


def test_a_table_that_stands_twice_is_refused() -> None:
    assert refused(HEAD + '\n[roles]\nother = ["dns:a.b"]\n').line == 5


def test_a_table_that_overwrites_a_value_is_refused() -> None:
    error = refused('trust_domain = "a"\n\n[trust_domain.b]\n')
    assert error.line == 3
    assert "Cannot overwrite" in str(error)


@pytest.mark.parametrize("role", ["admin", "other"])
def test_a_service_that_is_served_by_two_entries_is_refused(role: str) -> None:
    entry = '[[served_by]]\nrole = "{}"\nservice = "shop.v1.Orders"\n'
    text = HEAD + 'other = ["dns:a.b"]\n' + entry.format("admin") + entry.format(role)
    error = refused(text + entry.format(role))
    assert error.line == 10
    assert "names the service 'shop.v1.Orders' again, after line 7" in str(error)


@pytest.mark.parametrize(
    "role",
    ["Admin", "1st", "", "ad min", "-a", "ädmin", "a" * 65, "admin\\n", "a.b", "admin\\u202e"],
)
def test_a_role_with_a_bad_name_is_refused(role: str) -> None:
    for text in (
        f'trust_domain = "a"\n[roles]\n"{role}" = ["dns:a.b"]\n',
        f'{HEAD}[[grant]]\nmethods = ["/a.B/*"]\nrole = "{role}"\n',
        f'{HEAD}[[served_by]]\nservice = "a.B"\nrole = "{role}"\n',
    ):
        error = refused(text)
        assert error.line == text.count("\n")
        assert "does not match the pattern" in str(error)
        assert str(error).isascii()


@pytest.mark.parametrize("role", ["a", "a" * 64, "a-b_c9"])
def test_a_role_with_a_good_name_is_read(role: str) -> None:
    policy = read_policy(f'trust_domain = "a"\n[roles]\n{role} = ["dns:a.b"]\n'.encode())
    assert policy.rules.roles[0].role == role


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (HEAD + "other = []\n", 4, "roles.other is empty"),
        (HEAD + '[[grant]]\nrole = "admin"\nmethods = []\n', 6, "grant.methods is empty"),
        ("[roles]\n", 0, "trust_domain is missing"),
        ('trust_domain = "a"\n', 0, "roles is missing"),
        (HEAD + '[[grant]]\nrole = "admin"\n', 4, "grant.methods is missing"),
        (HEAD + '\n[[served_by]]\nrole = "admin"\n', 5, "served_by.service is missing"),
        ("", 0, "trust_domain is missing"),
    ],
)
def test_what_is_empty_or_missing_is_refused(text: str, line: int, words: str) -> None:
    error = refused(text)
    assert error.line == line
    assert words in str(error)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('trust_domain = 7\nroles.a = ["dns:a.b"]\n', 1, "trust_domain should be a string"),
        ('trust_domain = "a"\nroles = []\n', 2, "roles should be a table, and is a list"),
        ('trust_domain = "a"\n[roles]\na = "dns:a.b"\n', 3, "should be a list, and is a string"),
        ('trust_domain = "a"\n[roles]\na = [\n"dns:a.b",\n7]\n', 5, "a string, and is an integer"),
        ('trust_domain = "a"\n[roles]\n[roles.a]\nb = 1\n', 3, "a list, and is a table"),
        (f"policy_grace = 30\n{HEAD}", 1, "should be a string, and is an integer"),
        (f"policy_grace = 07:32:00\n{HEAD}", 1, "should be a string, and is a date or time"),
        (f"policy_grace = 1.5\n{HEAD}", 1, "should be a string, and is a float"),
        (f"policy_grace = 0x{'f' * 1000}\n{HEAD}", 1, "should be a string, and is an integer"),
        (HEAD + '[[grant]]\nrole = true\nmethods = ["/a.B/*"]\n', 5, "a string, and is a boolean"),
        (HEAD + '[grant]\nrole = "admin"\n', 4, "should be a list of tables, and is a table"),
        (f"grant = [1]\n{HEAD}", 1, "grant should be a table, and is an integer"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(text: str, line: int, words: str) -> None:
    error = refused(text)
    assert error.line == line
    assert words in str(error)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "admin",
        "*",
        "SPIFFE://shop.internal/admin",
        "email:admin@shop.internal",
        "uri:spiffe://shop.internal/admin",
        "cn:admin",
        "spiffe:shop.internal/admin",
        "spiffe://shop.internal",
        "spiffe://shop.internal/",
        "spiffe://shop.internal/a/",
        "spiffe://shop.internal//a",
        "spiffe://shop.internal/../a",
        "spiffe://shop.internal/a?b",
        "spiffe://shop.internal/%61",
        "spiffe://Shop.internal/a",
        "spiffe://shop.internal:443/a",
        "spiffe://*/a",
        "spiffe://*.internal/a",
        "spiffe://shop.internal/a*",
        "spiffe://shop.internal/*a",
        "spiffe://shop.internal/**",
        "spiffe://shop.internal/a/**/b",
        "spiffe://shop.internal*",
        " spiffe://shop.internal/a",
        "spiffe://shop.internal/a ",
        "spiffe://shop.internal/a\\u0000",
        "dns:",
        "dns:*",
        "dns:*.",
        "dns:*a.shop.internal",
        "dns:a.*.internal",
        "dns:*.*.internal",
        "dns:shop.*",
        "dns:a.shop.internal.",
        "dns:10.0.0.1",
        "dns:*.0.0.1",
        "dns:spiffe://shop.internal/admin",
        "dns:a\\u0000.b",
        "DNS:a.b",
        "subject:",
        "subject:admin",
        "subject:CN=*",
        "subject:CN=*,O=shop.internal",
        "subject:CN=admin,*",
        "subject:CN=a\\nb",
        "subject:NOSUCH=a",
    ],
)
def test_a_bad_name_is_refused(name: str) -> None:
    text = f'trust_domain = "shop.internal"\n[roles]\nadmin = [\n  "dns:a.b",\n\n  "{name}",\n]\n'
    error = refused(text)
    assert error.line == 6
    assert "roles.admin: " in str(error)


@pytest.mark.parametrize(
    "method",
    [
        "",
        "/",
        "*",
        "/*",
        "/*/*",
        "/*/Get",
        "shop.v1.Orders/Get",
        "//shop.v1.Orders/Get",
        "/shop.v1.Orders/Get/",
        "/shop.v1.Orders//Get",
        "/shop.v1.Orders/",
        "/shop.v1.Orders",
        "/shop.v1.Orders/Get*",
        "/shop.v1.Orders/*Get",
        "/shop.v1.Orders/**",
        "/shop.v1.*/Get",
        "/shop.*.Orders/Get",
        "/shop.v1.Orders/../Get",
        "/../Get",
        "/shop..Orders/Get",
        "/.Orders/Get",
        "/shop.v1./Get",
        "/shop.v1.Orders/%47et",
        "/shop.v1.Orders/Get/More",
        "/shop.v1.Orders/Get?x",
        "/shop.v1.Orders/Gét",
        "/shop.v1.Orders/Get ",
        "/shop.v1.Orders/Get\\n",
        "/shop.v1.Orders/1Get",
        "/shop v1.Orders/Get",
        "\\\\shop.v1.Orders\\\\Get",
    ],
)
def test_a_bad_method_is_refused(method: str) -> None:
    text = f'{HEAD}[[grant]]\nrole = "admin"\nmethods = ["/a.B/C",\n"{method}"]\n'
    error = refused(text)
    assert error.line == 7
    assert "is not written /package.Service/Method" in str(error)


@pytest.mark.parametrize("service", ["", "/a.B", "a.B/", "a.*", "*", "a..B", "a.B ", "1a.B", "á.B"])
def test_a_bad_service_is_refused(service: str) -> None:
    error = refused(f'{HEAD}[[served_by]]\nrole = "admin"\nservice = "{service}"\n')
    assert error.line == 6
    assert "is not written package.Service" in str(error)


@pytest.mark.parametrize("scope", ["", "a b", "é", '\\"', "\\\\", "a" * 129, "a\\n", "a\\u0000"])
def test_a_bad_scope_is_refused(scope: str) -> None:
    error = refused(f'{HEAD}{GRANT}scopes = ["read", "{scope}"]\n')
    assert error.line == 7
    assert "RFC 6749" in str(error)


@pytest.mark.parametrize("domain", ["", "Shop", "spiffe://shop", "shop/a", "*", "shop internal"])
def test_a_bad_trust_domain_is_refused(domain: str) -> None:
    error = refused(f'\ntrust_domain = "{domain}"\n[roles]\na = ["dns:a.b"]\n')
    assert error.line == 2
    assert "trust_domain: trust domain" in str(error)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('trust_domain = "a\n', 1),
        ("trust_domain = a\n", 1),
        ('trust_domain = "a"\nroles\n', 2),
        ('trust_domain = "a"\n[roles\na = 1\n', 2),
        ('trust_domain = "a"\n\nroles.a = [\n"dns:a.b",\n\n\n', 4),
        ('trust_domain = "a"\n\nx = """\n', 3),
        ('a = "\\ud800"', 1),
        ("a = 1979-99-99", 1),
        ("\0", 1),
        ('\n\n{"trust_domain": "a"}', 3),
    ],
)
def test_what_is_no_toml_is_refused(text: str, line: int) -> None:
    error = refused(text)
    assert error.line == line
    assert "is not valid TOML" in str(error)


@pytest.mark.parametrize("data", [b"\xff", b"\xc3\x28", "é".encode("latin-1"), b"\xed\xa0\x80"])
def test_what_is_not_utf_8_is_refused(data: bytes) -> None:
    error = refused(b'trust_domain = "a"\n# ' + data + b"\n\n")
    assert error.line == 2
    assert "is not UTF-8" in str(error)


def test_utf_16_is_refused() -> None:
    assert "is not UTF-8" in str(refused(GOOD.encode("utf-16")))


def test_a_byte_order_mark_is_refused_by_name() -> None:
    error = refused(b"\xef\xbb\xbf" + GOOD.encode())
    assert error.line == 1
    assert "byte order mark" in str(error)


def test_fifty_megabytes_are_refused_unread() -> None:
    error = refused(GOOD.encode() + b"#" * 50 * 1024 * 1024)
    assert error.line == GOOD.count("\n") + 1
    assert f"{MAX_POLICY_BYTES} is the most" in str(error)


def test_as_many_bytes_as_allowed_are_read() -> None:
    data = GOOD.encode()
    assert isinstance(read_policy(data + b"#" * (MAX_POLICY_BYTES - len(data))), Policy)
    refused(data + b"#" * (MAX_POLICY_BYTES - len(data) + 1))


@pytest.mark.parametrize(
    "value", ["9" * 5000, "-" + "1_0" * 5000, "0x" + "f" * 5000, "1." + "1" * 5000]
)
def test_a_number_of_endless_digits_is_refused(value: str) -> None:
    error = refused(f"# a comment\nx = {value}\n{HEAD}")
    assert error.line == 2
    assert "holds a word of more than 1024 characters" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 100_000,
        "x = " + "[" * 40 + "]" * 40,
        "x = " + "{a=" * 5000 + "1" + "}" * 5000,
        ".".join(["a"] * 200_000) + " = 1",
        "[" + ".".join(["a"] * 200_000) + "]",
    ],
)
def test_what_is_nested_without_end_is_refused_at_once(text: str) -> None:
    assert "is nested more than 32 deep" in str(refused(f"{HEAD}{text}\n"))


def test_a_key_without_end_is_refused() -> None:
    assert refused(f"{HEAD}{'a' * 100_000} = 1\n").line == 4
    assert len(str(refused(f'{HEAD}"{"a" * 100_000}" = ["dns:a.b"]\n'))) < 1000


def test_a_line_of_blanks_costs_no_more_than_its_length() -> None:
    blanks = " " * 1_000_000
    assert read_policy(f"{HEAD}{blanks}\n{blanks}# x\n{GRANT}".encode()).rules.grants[0].line == 6


def test_of_several_faults_the_first_in_the_file_is_told() -> None:
    text = f'{HEAD}{GRANT}colour = 1\n[[grant]]\nrole = "Admin"\n\n[other]\n'
    assert refused(text).line == 7
    text = f'{HEAD}[[served_by]]\nservice = "a.B"\nrole = "x"\n[[grant]]\nrole = "y"\nmethods = '
    assert refused(text + '["/a.B/C"]\n').line == 6


def test_a_hostile_word_is_shown_escaped() -> None:
    error = refused(f'{HEAD}[[grant]]\nrole = "admin"\nmethods = ["/\\u001b[2J\\u202e"]\n')
    assert str(error).isascii()
    assert "\x1b" not in str(error)
