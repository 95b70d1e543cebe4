"""``mm-sae``: parse, call, print."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence

import tyro

from mm_sae_plugin.activations.manifest import refuse_no_store
from mm_sae_plugin.commands import VERBS
from mm_sae_plugin.errors import Terminated, UserError
from mm_sae_plugin.files import FULL_DISK
from mm_sae_plugin.saes.folder_files import refuse_no_sae
from mm_sae_plugin.termination import termination_interrupts


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line.

    It exits with 2 on wrong input, 130 on Ctrl-C, 141 where nobody reads on and 143 on SIGTERM.
    """
    # Other packages' logs would bury the one line that matters; ours are few.
    logging.basicConfig(level=logging.CRITICAL, format="%(message)s", stream=sys.stderr)
    logging.getLogger("mm_sae_plugin").setLevel(logging.INFO)
    warnings.showwarning = _print_warning
    try:
        _run(argv)
    except UserError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt as interruption:
        # The cursor stands behind a progress bar.
        print(file=sys.stderr)
        status = 143 if isinstance(interruption, Terminated) else 130
        _fail(str(interruption) or "Interrupted; run the same command again.", status)
    except BrokenPipeError:
        # Who read along, such as `head`, has gone. Python would complain again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        _fail("The disk is full; free some space and run the same command again.", 2)


def _run(argv: Sequence[str] | None) -> None:
    command = tyro.extras.subcommand_cli_from_dict(
        VERBS,
        prog="mm-sae",
        description="Sparse autoencoders for models that see images and read text.",
        args=argv,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    # A mistyped folder need not wait for the imports of a verb.
    sae, acts = getattr(command, "sae", None), getattr(command, "acts", None)
    if sae is not None:
        refuse_no_sae(sae)
        if acts is not None:
            refuse_no_store(acts)
    with termination_interrupts():
        command.run()


def _print_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    # Of the many warnings of other packages only those that speak to the user are of use here.
    if category is UserWarning:
        print(f"mm-sae: warning: {message}", file=sys.stderr)


def _fail(message: str, status: int) -> None:
    print(f"mm-sae: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
