"""How strong features are where they are active, over one table or many. No files, no pictures."""

from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_bio_superposition.core.keys import Keys

_DEVIATIONS: Final = 3.0


def pool_rms(
    squares: npt.NDArray[np.float64], firing_rate: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the root mean square where a latent is active, from the mean square over all tokens.

    Exact for any number of tables; 0 where it is never active.
    """
    share = np.divide(squares, firing_rate, out=np.zeros_like(squares), where=firing_rate > 0)
    return np.asarray(np.sqrt(share), np.float64)


def robust_tops(var: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the top of each feature's colour scale, ``(n_features,)``, 0 for silent ones.

    Mean plus three standard deviations of the activation where the feature is active, at most its
    largest: near a 99th percentile of active tokens, which could not be pooled exactly over tables.
    The largest activation for older tables, which lack `Keys.ACTIVE_RMS`.
    """
    largest = np.asarray(var[Keys.MAX_ACTIVATION], np.float64)
    if Keys.ACTIVE_RMS not in var:
        return largest
    total, rate, rms = (
        var[key].to_numpy(float)
        for key in (Keys.MEAN_ACTIVATION, Keys.FIRING_RATE, Keys.ACTIVE_RMS)
    )
    mean = np.divide(total, rate, out=np.zeros_like(total), where=rate > 0)
    spread = np.sqrt(np.maximum(rms**2 - mean**2, 0))
    return np.asarray(np.minimum(largest, mean + _DEVIATIONS * spread), np.float64)
