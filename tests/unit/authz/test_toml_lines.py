"""The line of each value, in every form of TOML."""

from __future__ import annotations

import tomllib

import pytest

from pki.authz.toml_lines import Location, map_lines


def line(text: str, *location: str | int) -> int:
    tomllib.loads(text)  # these tests are about TOML
    return map_lines(text).of(location)


def test_keys_and_tables_have_their_own_lines() -> None:
    text = "# first\na = 1\n\n[t]\nb = 2\n\n[t.u]\nc = 3 # = 4\n"
    assert line(text, "a") == 2
    assert line(text, "t") == 4
    assert line(text, "t", "b") == 5
    assert line(text, "t", "u") == 7
    assert line(text, "t", "u", "c") == 8


def test_each_table_of_an_array_of_tables_has_its_own_lines() -> None:
    text = "[[g]]\nr = 1\n\n[[g]] # again\nr = 2\n[g.sub]\nx = 1\n[[g.many]]\n[[g.many]]\ny = 1\n"
    assert line(text, "g") == 1
    assert line(text, "g", 0, "r") == 2
    assert line(text, "g", 1) == 4
    assert line(text, "g", 1, "r") == 5
    assert line(text, "g", 1, "sub", "x") == 7
    assert line(text, "g", 1, "many", 0) == 8
    assert line(text, "g", 1, "many", 1, "y") == 10


def test_each_element_of_an_array_over_several_lines_has_its_own_line() -> None:
    text = '''a = [ # [ "
  "x", "y", # ]

  [1,
  2], { k = "z" },
  """
  ],"," """, 3.5
]
b = 1
'''
    for index, wanted in enumerate([2, 2, 4, 5, 6, 7]):
        assert line(text, "a", index) == wanted
    assert line(text, "a", 2, 1) == 5
    assert line(text, "a", 3, "k") == 5
    assert line(text, "b") == 9


def test_inline_tables_are_followed() -> None:
    text = """r = { a = ["x",
"y"], "b.c" = { d = 1 }, e.f = [
2] }
z = {}
g = [
{ r = 1 },
{ r = 2 }]
"""
    assert line(text, "r", "a", 0) == 1
    assert line(text, "r", "a", 1) == 2
    assert line(text, "r", "b.c", "d") == 2
    assert line(text, "r", "e", "f", 0) == 3
    assert line(text, "z") == 4
    assert line(text, "g", 1, "r") == 7


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ('\n"a b" = 1', ("a b",)),
        ("\n'a.b' = 1", ("a.b",)),
        ('\n"\\u0061" = 1', ("a",)),
        ('\n"" = [1]', ("",)),
        ('\na . "b" . c = 1', ("a", "b", "c")),
        ("\n1.2 = 3", ("1", "2")),
        ('\n["a]b" . c]', ("a]b", "c")),
        ('\n[[ "#" ]]', ("#", 0)),
        ("\n  [  t  ]  # x", ("t",)),
        ("\n\tk\t=\t1979-05-27 07:32:00.5", ("k",)),
    ],
)
def test_keys_are_known_however_they_are_written(text: str, location: Location) -> None:
    assert map_lines(text).lines[location] == 2
    assert line(text, *location) == 2


@pytest.mark.parametrize(
    "string",
    [
        '"""\n\n"""',
        "'''\n\n'''",
        '"""\n\\""" " ""\n"""',
        '"""\n\n"""""',
        "'''\n\n'''''",
        "'''\n\"\"\" ' ''\n'''",
        '"""\n\\\\\n"""',
        '"""a\\\n  b\n"""',
        '"""\n[t]\nk = 1"""',
    ],
)
def test_strings_over_several_lines_are_passed_over(string: str) -> None:
    text = f"a = {string}\n[t]\nk = 1\n"
    assert line(text, "a") == 1
    assert line(text, "t", "k") == text.count("\n")


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("more", [0, 1, 2])
def test_quotes_right_before_the_end_of_a_long_string_belong_to_it(quote: str, more: int) -> None:
    string = quote * 3 + "x" + quote * (3 + more)
    assert line(f"a = [{string}, 'y', [],\n1]\nb = 2\n", "a", 3) == 2


@pytest.mark.parametrize("string", ['"#"', "'#'", '"\\""', '"[["', "'='", '"a = \\\\"', "''", '""'])
def test_strings_in_one_line_are_passed_over(string: str) -> None:
    assert line(f"a = [{string}] # '\nb = {string}\nc = 1\n", "c") == 3


def test_of_a_place_that_has_no_line_the_nearest_around_it_is_told() -> None:
    text = "a = 1\n[t]\nk = [1, 2]\n"
    assert line(text, "t", "k", 7, "x") == 3
    assert line(text, "t", "missing") == 2
    assert line(text, "missing") == 0
    assert line(text) == 0


def test_windows_line_ends_make_no_difference() -> None:
    assert line('a = """\r\n"""\r\n[t]\r\nk = [\r\n1]\r\n', "t", "k", 0) == 5


def test_a_key_that_stands_twice_is_told_with_both_lines() -> None:
    duplicate = map_lines("a.b = 1\n[t]\nx = [\n1]\nx = [\n2]\n").duplicate
    assert duplicate is not None
    assert (duplicate.location, duplicate.line, duplicate.first) == (("t", "x"), 5, 3)
    assert map_lines("a.b = 1\na.c = 2\n[[t]]\nx = 1\n[[t]]\nx = 1\n").duplicate is None


@pytest.mark.parametrize(
    "text",
    [
        "a = 1, 2\nb = 1\n",
        "a = ]\nb = 1\n",
        "] = }\nb = 1\n",
        "[a = 1\nb = 1\n",
        "= 1\nb = 1\n",
        'a = "x\nb = 1\n',
        '"\\q" = 1\nb = 1\n',
        ". .\nb = 1\n",
    ],
)
def test_what_is_no_toml_is_scanned_as_far_as_it_makes_sense(text: str) -> None:
    assert map_lines(text).of(("b",)) == 2


@pytest.mark.parametrize("text", ['a = """', "a = '''x", 'a = "', "[", '"', "'", "\\", "{" * 9])
def test_what_breaks_off_is_scanned_to_its_end(text: str) -> None:
    map_lines(text)
