from collections.abc import Callable

import numpy as np

from napari_bio_superposition.segmentation.watershed import split_touching, watershed_nuclei

Draw = Callable[..., tuple[np.ndarray, np.ndarray]]


def test_two_squares_joined_by_a_bridge_part_in_its_middle() -> None:
    # 9-px squares have inscribed radius 5, the 3-px bridge 2: the neck is 3 px deep.
    mask = np.zeros((11, 25), bool)
    mask[1:10, 1:10] = mask[1:10, 15:24] = True
    mask[4:7, 10:15] = True
    labels = split_touching(mask, split_depth_px=2.0)
    assert set(np.unique(labels[1:10, 1:10])) == {labels[5, 5]}
    assert set(np.unique(labels[1:10, 15:24])) == {labels[5, 19]}
    assert labels[5, 5] != labels[5, 19]
    assert ((labels > 0) == mask).all()


def test_a_deeper_demand_keeps_them_one() -> None:
    mask = np.zeros((11, 25), bool)
    mask[1:10, 1:10] = mask[1:10, 15:24] = True
    mask[4:7, 10:15] = True
    assert split_touching(mask, split_depth_px=4.0).max() == 1


def test_touching_discs_are_divided_where_they_meet(draw_discs: Draw) -> None:
    image, truth = draw_discs((60, 90), [(30, 25, 14), (30, 51, 14)])
    labels = watershed_nuclei(image, smoothing_px=1.0, split_depth_px=1.0)
    assert labels.max() == 2
    for number in (1, 2):
        mine = labels == labels[30, 25 if number == 1 else 51]
        overlap = (mine & (truth == number)).sum() / (mine | (truth == number)).sum()
        assert overlap > 0.9


def test_a_hole_belongs_to_its_nucleus(draw_discs: Draw) -> None:
    image, _ = draw_discs((40, 40), [(20, 20, 12)])
    image[18:22, 18:22] = 0
    labels = watershed_nuclei(image, smoothing_px=0.0, split_depth_px=1.0)
    assert labels[20, 20] == labels[12, 20] > 0


def test_a_constant_plane_has_no_nuclei() -> None:
    plane = np.full((8, 8), 3, np.float32)
    assert not watershed_nuclei(plane, smoothing_px=1.0, split_depth_px=1.0).any()


def test_a_mask_without_background_is_one_object() -> None:
    assert split_touching(np.ones((5, 6), bool), split_depth_px=1.0).max() == 1
