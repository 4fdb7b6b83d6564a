"""The errors of reparax: each says what was expected, what came, and the cure."""


class ReparaxError(Exception):
    """Base of every error a user can mend.

    Args:
        expected: What would have been right.
        got: What came instead.
        cure: What to do about it.
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
    """The user's data cannot be read, or do not fit what is asked of them."""


class RecipeError(ReparaxError, ValueError):
    """Parts or settings that cannot be combined, or a setting out of its range."""


class ArtifactError(ReparaxError, ValueError):
    """A model folder that is not one, is damaged, or comes from another format version."""


class OutputError(ReparaxError, OSError):
    """An output that cannot be written."""


class TrainingError(ReparaxError, ArithmeticError):
    """Training that cannot go on: the objective is no longer finite."""


class NotReparameterizable(ReparaxError, TypeError):
    """A sample that is not a differentiable function of the named parameter."""


class InvalidEstimator(ReparaxError, TypeError):
    """A gradient estimator that would be wrong for this distribution, function or bound."""


class NoClosedForm(ReparaxError, NotImplementedError):
    """A density, mean or variance that this distribution does not have in closed form."""


class MissingExtra(ReparaxError, ModuleNotFoundError):
    """A library of an optional extra that is not installed."""


class NoAnalyticKL(ReparaxError, NotImplementedError):
    """No closed form is known for the Kullback-Leibler divergence of this pair."""
