"""The errors of reparax: each says what was expected, what it got, and what to do."""


class ReparaxError(Exception):
    """Base of every error that a user can fix.

    Args:
        expected: What was expected.
        got: What was given instead.
        cure: What to do.
    """

    def __init__(self, *, expected: str, got: str, cure: str) -> None:
        self.expected = expected
        self.got = got
        self.cure = cure
        super().__init__(f"expected {expected}; got {got}; {cure}")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.expected, self.got, self.cure)


def _rebuild(kind: type[ReparaxError], expected: str, got: str, cure: str) -> ReparaxError:
    return kind(expected=expected, got=got, cure=cure)


class DataError(ReparaxError, ValueError):
    """The data cannot be read, or do not match what is needed."""


class RecipeError(ReparaxError, ValueError):
    """Parts or settings that cannot be combined, or a setting that is out of its range."""


class ArtifactError(ReparaxError, ValueError):
    """A folder that is not a model folder, is damaged, or has another format version."""


class OutputError(ReparaxError, OSError):
    """An output that cannot be written."""


class TrainingError(ReparaxError, ArithmeticError):
    """Training cannot continue: the objective is not finite."""


class NotReparameterizable(ReparaxError, TypeError):
    """A sample is not a differentiable function of the named parameter."""


class InvalidEstimator(ReparaxError, TypeError):
    """A gradient estimator that is not valid for the distribution, function or bound."""


class NoClosedForm(ReparaxError, NotImplementedError):
    """A density, mean or variance without a closed form."""


class ProcessLost(ReparaxError, RuntimeError):
    """Another process of a fit in several ones has ended."""


class ColumnsLeftOut(UserWarning):
    """Columns of the user's table are not modeled; to silence it, leave them out explicitly: ``exclude=[...]``."""


class RowsNotFilled(UserWarning):
    """Rows whose missing cells stay missing, as no values agree with the known ones.

    Args:
        text: Which rows these are.
        num_cells: How many of their cells are missing.
    """

    def __init__(self, text: str, num_cells: int) -> None:
        self.num_cells = num_cells
        super().__init__(text)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.num_cells)


class FewDraws(UserWarning):
    """Rows that meet a condition come from few draws of the latent variable, so that they resemble each other."""


class TrainingWarning(UserWarning):
    """Training went wrong in part: steps that were not finite, or a model that is no better than it should be."""


class CheckpointWarning(UserWarning):
    """A checkpoint that could not be written, is damaged, or does not exist."""


class MissingExtra(ReparaxError, ModuleNotFoundError):
    """A library of an optional extra that is not installed."""


class NoAnalyticKL(ReparaxError, NotImplementedError):
    """The Kullback-Leibler divergence of a pair of distributions has no known closed form."""
