"""The commands, by name."""

from cyclopts import App, Parameter

import reparax
from reparax.cli.apply import encode, impute, reconstruct, sample, score
from reparax.cli.evaluate import evaluate, info, report
from reparax.cli.fit import fit
from reparax.cli.options import converted
from reparax.cli.refit import refit_prior
from reparax.cli.sweep import sweep


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
    for order, command in enumerate(
        (fit, encode, reconstruct, sample, impute, score, evaluate, report, refit_prior, sweep, info)
    ):
        app.command(command, sort_key=order)
    return app
