"""Docstrings of components: paragraphs and meanings of attributes."""

from bench.select.docstrings import meanings, read_docstring


class Base:
    """Base of both.

    Attributes:
        size: of the base.
        rate: of the base.
    """


class Component(Base):
    """First paragraph
    of two lines.

    Second paragraph: with a colon.

    Attributes:
        size (int): side of an image;
            in pixels.
        low, high: borders.
        scale: of values.

            Values below 0 are cut.

    Raises:
        ValueError: for a size of 0.
    """


def test_paragraphs_end_where_the_attributes_begin():
    paragraphs, _ = read_docstring(Component.__doc__)
    assert paragraphs == ["First paragraph of two lines.", "Second paragraph: with a colon."]


def test_types_lines_and_names_that_share_a_meaning():
    _, found = read_docstring(Component.__doc__)
    assert found == {
        "size": "side of an image; in pixels.",
        "low": "borders.",
        "high": "borders.",
        "scale": "of values. Values below 0 are cut.",
    }


def test_own_meanings_replace_inherited_ones():
    assert meanings(Component) == {**read_docstring(Component.__doc__)[1], "rate": "of the base."}


def test_no_docstring():
    assert read_docstring("") == ([], {})
