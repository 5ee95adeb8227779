"""How the threads of numeric libraries behave; decided before these are imported."""

import os


def let_idle_threads_sleep() -> None:
    """Have OpenMP threads sleep while they wait, unless the user has decided otherwise.

    By default they spin. Beside another busy program (or the window of napari) two spinning threads
    were measured to take three to ten times as long as one. It acts only before torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
