"""Which adapter a model has: that of tables, of counts, of several views, or of arrays and images."""

from reparax import registry
from reparax.errors import DataError, RecipeError
from reparax.likelihoods import AbstractLikelihood, Likelihood
from reparax.likelihoods.counts import require_counts
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
        DataError: The columns likelihood was chosen for data that are not a table, another one for a table with
            missing cells or categories, or one of counts for other numbers.
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
    if summary is not None:
        _refuse_gaps_and_codes(registry.part_name(type(likelihood)), summary)
    if not likelihood_of_counts(likelihood):
        return Adapter()
    if summary is not None:  # before the encoder, which takes logarithms
        require_counts(summary, registry.part_name(type(likelihood)))
    return CountsAdapter()


def _refuse_gaps_and_codes(likelihood: str, summary: Summary) -> None:
    """Refuses tables whose matrix does not hold numbers alone: NaN for missing cells, codes for categories.

    A density of codes would take the order of the categories for a quantity.

    Raises:
        DataError: There are missing cells or categories.
    """
    coded = [column.name for column in summary.columns if column.is_category and not column.is_of_bits]
    gaps = [column.name for column in summary.columns if column.missing]
    if not coded and not gaps:
        return
    names = coded or gaps
    listed = ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    raise DataError(
        expected=f"a table of numbers without gaps for the {likelihood} likelihood",
        got=f"{'categories' if coded else 'missing cells'} in {listed}",
        cure="leave --likelihood out (columns takes such tables), or exclude these columns",
    )


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
