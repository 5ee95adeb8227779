"""The command line; thin: parses flags, runs a workflow, reports progress. No science."""

import importlib
import sys
from collections.abc import Sequence

from napari_bio_superposition.core.errors import BioSuperpositionError, ConfigError, list_choices
from napari_bio_superposition.core.threads import let_idle_threads_sleep

PROGRAM = "bio-superposition"
COMMANDS = {
    "demo": "simulate a small study, analyse it, write figures and one HTML report",
    "simulate": "write a simulated study: images, masks, cell states, RNA counts",
    "segment": "find nuclei in images",
    "analyze": "nuclei, cell death, patches and SAE features of images, as one AnnData table",
    "rna": "scRNA-seq counts to a table that can be coupled: quality, latent space, clusters",
    "train-encoder": "train an encoder on your own images, and measure it on held-out wells",
    "train-sae": "train a sparse autoencoder on an encoder's tokens; a model for analyze",
    "compare-layers": "measure each layer of an encoder by one protocol, for train-sae --tap",
    "export-sae": "write a model's SAE in SAELens's layout",
    "import-sae": "join an SAE in SAELens's layout with a model's encoder",
    "evaluate": "what an SAE or an encoder is worth, beside baselines and nulls; a sweep of SAEs",
    "explore": "features of a table: list, compare groups, ask a region, gallery, made images",
    "embed": "lay out patches, order them in pseudotime, test an outcome along it",
    "couple": "couple patches with RNA cells by Gromov-Wasserstein, and say how far to trust it",
    "batch": "folders, plates, clusters: plan, run and collect; whatever happens, it goes on",
    "rerun": "do a batch run again from its folder and say whether the results are the same",
    "genes": "rank genes by how well images predict them, beside the controls that matter",
    "info": "versions, devices and models on this computer; or what an image or result holds",
}
"""Command to summary; each lives in the module of its name and is imported when it is called."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Returns
    -------
    int
        0 when all went well, 1 when some inputs failed, 2 for an error of the user, which is told
        in one line on standard error, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        from napari_bio_superposition import __version__

        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        return 0
    try:
        return _run(arguments[0], arguments[1:])
    except BioSuperpositionError as error:
        sys.stderr.write(f"{PROGRAM}: {' '.join(str(error).split())}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: interrupted; what was done is kept, run it again to go on\n")
        return 130


def _run(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        raise ConfigError(f"No command {name!r}. Choose one of: {list_choices(COMMANDS)}.")
    let_idle_threads_sleep()
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    exit_code: int = module.run_command(arguments)
    return exit_code


def _usage() -> str:
    lines = [f"  {name:<14} {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} COMMAND [options]",
            "",
            "See what a neural network sees in multichannel images of neurons.",
            "",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help lists the options of a command, with their units.",
            "",
        ]
    )
