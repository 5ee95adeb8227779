"""Fixed matrices multiply as any do; side by side, results and errors come as in a loop."""

import pytest
import torch

from napari_bio_superposition.models.products import FixedMatrix, map_single_threaded

CPU = torch.device("cpu")


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("n_rows", [1, 7, 300])
def test_products_are_those_of_the_matrix(n_rows, is_packed, monkeypatch):
    if not is_packed:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    chance = torch.Generator().manual_seed(0)
    rows, matrix = torch.randn(n_rows, 33, generator=chance), torch.randn(33, 9, generator=chance)
    bias = torch.randn(9, generator=chance)
    fixed = FixedMatrix(matrix, n_rows=64)
    assert fixed.n_out == 9
    torch.testing.assert_close(fixed.multiply(rows), rows @ matrix, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        fixed.multiply(rows, bias), rows @ matrix + bias, rtol=1e-4, atol=1e-5
    )


def test_work_side_by_side_keeps_order_gradients_mode_and_errors():
    items = list(range(20))
    with torch.no_grad():
        modes = map_single_threaded(lambda _: torch.is_grad_enabled(), items, device=CPU)
    assert not any(modes)
    assert map_single_threaded(lambda item: item**2, items, device=CPU) == [i**2 for i in items]
    assert map_single_threaded(lambda item: item, [], device=CPU) == []
    with pytest.raises(ZeroDivisionError):
        map_single_threaded(lambda item: 1 / (item - 3), items, device=CPU)
