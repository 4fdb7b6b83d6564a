"""The commands, by name."""

from cyclopts import App, Parameter

import reparax
from reparax.cli.apply import classify, encode, reconstruct, score
from reparax.cli.draw import impute, sample
from reparax.cli.evaluate import compare, evaluate, info, report
from reparax.cli.explore import explore
from reparax.cli.export import export
from reparax.cli.fit import fit
from reparax.cli.options import converted
from reparax.cli.refit import refit_prior
from reparax.cli.serve import serve
from reparax.cli.sweep import sweep

COMMANDS = (
    fit, encode, classify, reconstruct, sample, impute, score, evaluate, compare, report, refit_prior, sweep, export,
    serve, explore, info,
)  # fmt: skip


def make_app() -> App:
    """The application; building it does not import jax."""
    app = App(
        name="reparax",
        help="Fit generative models to tables, images and arrays. Start with: reparax fit DATA --out MODEL",
        version=reparax.__version__,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=(), show_default=False, converter=converted),
    )
    for order, command in enumerate(COMMANDS):
        app.command(command, sort_key=order)
    return app
