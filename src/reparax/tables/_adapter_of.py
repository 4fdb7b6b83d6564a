"""Which adapter a model has: that of tables, of counts, of several views, or of arrays and images."""

from reparax import registry
from reparax.errors import RecipeError
from reparax.likelihoods import AbstractLikelihood, Likelihood
from reparax.pytrees import Derived
from reparax.summary import Summary
from reparax.tables._adapter import Adapter, CountsAdapter, TableAdapter
from reparax.tables._views import OfView, ViewsAdapter
from reparax.tables.columns import Columns, ColumnsDecoder, layout_of
from reparax.tables.views import ByView, ByViewDecoder, LayoutOf


def is_for_rows(likelihood: type[AbstractLikelihood]) -> bool:
    """Whether a likelihood is one of the rows of a table, column by column."""
    return issubclass(likelihood, Columns)


def adapter_of(likelihood: AbstractLikelihood | Likelihood, summary: Summary | None = None) -> Adapter:
    """The adapter of a model, or of a likelihood part from which one is made.

    Args:
        likelihood: The likelihood of the model, or the part that is chosen for it.
        summary: A summary of the data, for a part.

    Raises:
        DataError: The columns likelihood was chosen for data that are not a table.
    """
    if isinstance(likelihood, ByViewDecoder):
        return ViewsAdapter(likelihood.names, tuple(map(adapter_of, likelihood.views)), likelihood.layout)
    if isinstance(likelihood, ByView):
        assert summary is not None
        return _of_views(likelihood, summary)
    if summary is not None and summary.views:
        raise RecipeError(
            expected="the by-view likelihood, one for each of the views",
            got=registry.part_name(type(likelihood)),
            cure="leave --likelihood out, or choose those of views: --likelihood.views NAME=LIKELIHOOD",
        )
    if isinstance(likelihood, ColumnsDecoder):
        return TableAdapter(likelihood.layout)
    if isinstance(likelihood, Columns):
        assert summary is not None
        return TableAdapter(layout_of(summary))
    return CountsAdapter() if likelihood_of_counts(likelihood) else Adapter()


def likelihood_of_counts(likelihood: AbstractLikelihood | Likelihood) -> bool:
    """Whether a part is one of counts; its encoder is made with it."""
    return isinstance(likelihood, AbstractLikelihood) and likelihood.of_counts


def _of_views(likelihood: ByView, summary: Summary) -> ViewsAdapter:
    """The adapter of data with several views, with that of each view.

    Raises:
        DataError: A likelihood was chosen for a view that does not suit it, or the data do not have views.
        RecipeError: No likelihood was chosen for one of the views, or one for a view that there is not.
    """
    names = tuple(name for name, _ in summary.views)
    parts = likelihood.of_each(names)
    layout = Derived.of(LayoutOf(tuple(is_for_rows(type(part)) for part in parts)), summary)
    adapters = [
        _within(adapter_of(part, view), place)
        for place, (part, (_, view)) in enumerate(zip(parts, summary.views, strict=True))
    ]
    return ViewsAdapter(names, tuple(adapters), layout)


def _within(adapter: Adapter, place: int) -> Adapter:
    """The adapter of one of several views, whose layout follows from the summary of all."""
    if not isinstance(adapter, TableAdapter):
        return adapter
    layout = adapter.layout
    return TableAdapter(Derived(layout.value, OfView(place, layout.make)))
