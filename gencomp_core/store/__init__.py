"""Where measurements and pictures are kept."""

from gencomp_core.store.screenings import Screenings
from gencomp_core.store.store import Store

__all__ = ["Screenings", "Store"]
