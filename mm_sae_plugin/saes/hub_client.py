"""The Hugging Face hub's client, and its errors as one sentence each."""

from collections.abc import Iterator
from contextlib import contextmanager

from mm_sae_plugin.errors import UserError, one_line
from mm_sae_plugin.files import FULL_DISK


def check_repo_id(repo_id: str) -> None:
    """Refuse what cannot name a repository.

    Raises
    ------
    UserError
        If it is not ``owner/name`` as the hub allows them.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    why = "it is not owner/name" if repo_id.count("/") != 1 else ""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        why = why or one_line(error)
    if why:
        raise UserError(
            f"{repo_id!r} names no repository ({why}): give your name on the hub and the "
            "repository's, such as 'ada/clip-sae'."
        )


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Turn what the hub's client raises in a block into one sentence.

    Raises
    ------
    UserError
        If the hub cannot be reached, does not know the repository, or does not let this token in.
    """
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        yield
    except OfflineModeIsEnabled as error:
        raise UserError(
            f"{repo_id} cannot be reached, because HF_HUB_OFFLINE is set: unset it and try again."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"The hub knows no repository {repo_id}, or does not show it to you: check the name, "
            "or log in with `hf auth login`."
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UserError(
                f"The hub does not let you write to or read {repo_id} ({status}): log in with "
                "`hf auth login` and a token that may."
            ) from error
        raise UserError(f"The hub refused ({one_line(error)}): try again later.") from error
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{repo_id} cannot be downloaded, and is not there from before: check the network."
        ) from error
    except (OSError, *HfHubHTTPError.__bases__) as error:
        # The base is the error of the client's network library, which changes with its version.
        if isinstance(error, OSError) and error.errno in FULL_DISK:
            raise
        raise UserError(
            f"{repo_id} cannot be reached ({one_line(error)}): check the network and try again."
        ) from error
