"""Where measurements, pictures, jobs and studies are kept."""

from gencomp_core.store.jobs import Jobs
from gencomp_core.store.screenings import Screenings
from gencomp_core.store.store import Store
from gencomp_core.store.studies import Failures, Studies

__all__ = ["Failures", "Jobs", "Screenings", "Store", "Studies"]
