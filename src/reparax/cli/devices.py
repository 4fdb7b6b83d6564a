"""``--device`` and its companions: where ``reparax fit`` trains."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from reparax.cli.cluster import Cluster
from reparax.cli.terminal import Say


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Where to train."""

    device: Annotated[
        Literal["cpu", "gpu"] | None, Parameter(help="Train on this kind of device (default: the best that there is).")
    ] = None
    devices: Annotated[
        int | None,
        Parameter(
            help="Train on this many devices, each with its part of every batch (default: all).",
            validator=Number(gte=1),
        ),
    ] = None

    coordinator: Annotated[
        str | None,
        Parameter(help="Train in several processes: the address HOST:PORT of the first one, with a port free there."),
    ] = None
    num_processes: Annotated[
        int | None,
        Parameter(
            help="How many processes there are; 1 to train alone where a scheduler has started several.",
            validator=Number(gte=1),
        ),
    ] = None
    process_id: Annotated[
        int | None,
        Parameter(help="The number of this process, from 0; that one writes and prints.", validator=Number(gte=0)),
    ] = None

    def connect(self) -> bool:
        """Joins the other processes, if there are any; whether this one writes and prints.

        Raises:
            RecipeError: They cannot be found.
        """
        import jax

        cluster = Cluster.of(self.coordinator, self.num_processes, self.process_id)
        if cluster is not None:
            cluster.connect()
        return cluster is None or jax.process_index() == 0

    def use(self, say: Say) -> None:
        """Takes the kind of device, and says how many there are if there are several.

        Raises:
            RecipeError: There are none of the kind, or not so many.
        """
        import jax

        from reparax.training import Devices

        if self.device == "cpu":
            jax.config.update("jax_platforms", "cpu")  # so that nothing else is computed on a GPU either
        count = Devices.of(self.devices, self.device).count
        if count > 1:
            say(f"devices     {count} of kind {self.device or jax.default_backend()}")
