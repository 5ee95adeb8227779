"""Where a training runs: one device, or several by Lightning Fabric, behind one face. No loop."""

import contextlib
import os
from typing import Any, Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from napari_bio_superposition.core.errors import ConfigError, MissingExtraError

Precision: TypeAlias = Literal["32-true", "bf16-mixed"]


class Compute(Protocol):
    """What the training loop asks of its surroundings; the same loop runs on all of them."""

    @property
    def device(self) -> torch.device:
        """Where this process computes."""

    @property
    def rank(self) -> int:
        """Number of this process; 0 writes files."""

    @property
    def world_size(self) -> int:
        """Number of processes."""

    def launch(self) -> None:
        """Start the other processes, if any."""

    def setup(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        """Return network and optimiser as they are called in the loop."""

    def backward(self, loss: Tensor) -> None:
        """Compute gradients, averaged over processes."""

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Give the precision of a forward pass outside the network that was set up."""

    def gather(self, values: Tensor) -> Tensor:
        """Return ``(n, ...)`` values of all processes behind one another, without gradients."""

    def barrier(self) -> None:
        """Wait for all processes."""


class SingleDevice:
    """One device in this process, with torch alone."""

    rank = 0
    world_size = 1

    def __init__(self, device: str = "cpu", precision: Precision = "32-true") -> None:
        self.device = torch.device(device)
        self._half = precision == "bf16-mixed"

    def launch(self) -> None:
        """Nothing to start."""

    def setup(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        """Return a forward pass in this precision, and the optimiser as it is."""

        def forward(*inputs: Any) -> Any:
            with self.autocast():
                return network(*inputs)

        return forward, optimizer

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""
        loss.backward()  # type: ignore[no-untyped-call]

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Give bfloat16 where it is wanted."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._half)

    def gather(self, values: Tensor) -> Tensor:
        """Return the values as they are."""
        return values

    def barrier(self) -> None:
        """Nobody to wait for."""


class FabricCompute:
    """One or several devices by Lightning Fabric: processes, precision, averaged gradients."""

    def __init__(self, fabric: Any) -> None:
        self.fabric = fabric

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        device: torch.device = self.fabric.device
        return device

    @property
    def rank(self) -> int:
        """Number of this process."""
        return int(self.fabric.global_rank)

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return int(self.fabric.world_size)

    def launch(self) -> None:
        """Start the other processes: each runs the same command from its beginning."""
        self.fabric.launch()

    def setup(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        """Wrap both; gradients are averaged over processes from then on."""
        wrapped: tuple[Any, Any] = self.fabric.setup(network, optimizer)
        return wrapped

    def backward(self, loss: Tensor) -> None:
        """Compute gradients, averaged over processes."""
        self.fabric.backward(loss)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Give the precision of the fabric."""
        context: contextlib.AbstractContextManager[Any] = self.fabric.autocast()
        return context

    def gather(self, values: Tensor) -> Tensor:
        """Return the values of all processes, those of rank 0 first."""
        if self.world_size == 1:
            return values
        gathered: Tensor = self.fabric.all_gather(values)  # (world, n, ...)
        return gathered.flatten(0, 1)

    def barrier(self) -> None:
        """Wait for all processes."""
        self.fabric.barrier()


def open_compute(
    device: str = "cpu", *, n_devices: int = 1, precision: Precision = "32-true"
) -> Compute:
    """Return where to train: by Lightning Fabric where it is installed, else on one device.

    Parameters
    ----------
    device
        A name that `choose_device` returned; with several devices its kind counts.
    n_devices
        Processes, each with a device of its own (or, on ``cpu``, without).
    precision
        ``32-true``, or ``bf16-mixed``: bfloat16 where it is safe.

    Raises
    ------
    MissingExtraError
        Where several devices are wanted and Lightning is missing; it names the extra.
    ConfigError
        Where several devices are wanted on a kind that has one.
    """
    kind, _, index = device.partition(":")
    if n_devices > 1 and kind == "mps":
        raise ConfigError("There is one mps device per machine. Set n_devices to 1.")
    try:
        from lightning.fabric import Fabric
    except ImportError:
        if n_devices > 1 or is_launched():
            raise MissingExtraError("lightning", "train", "Training on several devices") from None
        return SingleDevice(device, precision)
    one = [int(index)] if kind == "cuda" and index else 1
    fabric = Fabric(
        accelerator={"cuda": "cuda", "mps": "mps"}.get(kind, "cpu"),
        devices=n_devices if n_devices > 1 else one,
        strategy="ddp" if n_devices > 1 else "auto",
        precision=precision,
    )
    return FabricCompute(fabric)


def is_launched() -> bool:
    """Whether torchrun or the like has started this process among others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
