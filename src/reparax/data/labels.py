"""Single labels and names of rows as Python objects: whether there is one, and how it is written."""


def is_absent(value: object) -> bool:
    """Whether a value is None, NaN, or the NaT or NA of pandas, whatever library the value comes from."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # NA is neither equal to itself nor different
        return True
    except ValueError:  # an array of several values
        return False


def label_text(value: object) -> str | None:
    """A label as text without surrounding spaces, and None where there is none: absent, or empty.

    7.0 is written as 7, as whole numbers come as real ones from a column with gaps.
    """
    if is_absent(value):
        return None
    return (str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()) or None
