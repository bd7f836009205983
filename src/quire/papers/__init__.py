"""One folder a paper. `quire.lab.papers` finds them by looking; nothing is registered here.

The environment variable QUIRE_PAPERS names further folders that hold papers of your own.
"""

import os

__path__ += [folder for folder in os.environ.get("QUIRE_PAPERS", "").split(os.pathsep) if folder]
