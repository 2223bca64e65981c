"""No defense: the victim trains on what it was given."""

from dataclasses import dataclass

from bench.api import Context, ImageSet, no_network
from bench.registry import defenses


@defenses.register("none", deterministic=True)
@dataclass(frozen=True)
class NoDefense:
    """Undefended training; the row that shows whether a poison is alive. Costs nothing."""

    work = no_network

    def purify(self, train: ImageSet, ctx: Context) -> ImageSet:
        """Returns `train` itself."""
        return train
