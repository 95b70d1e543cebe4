"""From pairs and a model to a store of activations."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.activations.capture import HookReader, check_hooks, prepare_model
from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.activations.decoding import decoded_batches, default_num_workers
from mm_sae_plugin.activations.encoding import BatchEncoder, Refused
from mm_sae_plugin.activations.facts import refuse_changed_pictures
from mm_sae_plugin.activations.manifest import (
    MANIFEST,
    PROGRESS,
    Identity,
    Progress,
    StoreManifest,
)
from mm_sae_plugin.activations.plan import ExtractionPlan
from mm_sae_plugin.activations.shards import check_shard
from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.activations.writer import ShardWriter, close_store, new_progress
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.pairs import ImageOpener, PairSource, PictureOpener

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP


def extract(
    model: "HookedCLIP",
    source: PairSource,
    out: str | Path,
    cfg: ExtractConfig | None = None,
    progress: bool = True,
) -> ActivationStore:
    """Encode every distinct image and every caption once, and keep what passes the hooks.

    A folder that was interrupted goes on where it stopped, with the same result as if it had not
    been; a complete one is returned as it is.

    Parameters
    ----------
    model
        The model. Where the config asks for another device or dtype, a copy is used.
    source
        The pairs; see :func:`mm_sae_plugin.load_pairs`.
    out
        The store's folder.
    cfg
        What to take; the joint embeddings of both towers by default.
    progress
        Show a progress bar.

    Raises
    ------
    UserError
        If a hook is unknown, the folder holds something else, nothing could be used, the disk is
        full, or (with ``strict``) an image or a caption could not be used.
    KeyboardInterrupt
        On Ctrl-C, with a line that says how to go on; what was finished is kept.
    """
    cfg = cfg or ExtractConfig()
    out = Path(out)
    n_tokens = check_hooks(model, cfg)
    if model.preprocess is None:
        raise UserError(f"{model.cfg.model_name} has no preprocess: wrap it with one.")
    identity = _identity(model, source, cfg)
    state = _find_progress(out, identity)
    # The opener travels to the workers; a source of one's own may be its own.
    opener = getattr(source, "opener", source)
    if isinstance(state, ActivationStore):
        if isinstance(opener, PictureOpener):
            plan = ExtractionPlan.of(source, progress)
            refuse_changed_pictures(out, state.manifest.shards, plan, opener)
        return state
    plan = ExtractionPlan.of(source, progress)
    if cfg.strict and plan.skipped:
        name, reason = plan.skipped[0]
        raise UserError(f"{name}: {reason}; mend or remove it, or leave strict out to skip it.")
    if cfg.text_hook and not any(caption.strip() for caption in plan.captions):
        raise UserError(
            f"{source.spec} has no captions: give some, or leave the text tower out with "
            "text_hook=None."
        )
    if state is not None and isinstance(opener, PictureOpener):
        refuse_changed_pictures(out, state.shards, plan, opener)
    state = state or new_progress(out, identity)

    writer = ShardWriter(out, state, cfg.shard_size)
    encoder = BatchEncoder(prepare_model(model, cfg), plan, cfg, n_tokens)
    try:
        _encode_all(encoder, writer, state.n_done, opener, progress)
        writer.flush()
    except KeyboardInterrupt:
        writer.flush()
        raise KeyboardInterrupt(
            f"Extraction stopped: {state.n_done:,} of {plan.n_images:,} images are kept in {out}; "
            "run the same command again to go on."
        ) from None
    except Refused as refused:
        writer.flush()
        raise UserError(str(refused)) from refused

    if not state.shards:
        _, image_id, reason = state.skipped[0]
        # Left behind, it would answer a second attempt without trying any image again.
        (out / PROGRESS).unlink()
        raise UserError(
            f"None of the {plan.n_images:,} images of {source.spec} could be used; the first, "
            f"{image_id}: {reason}."
        )
    close_store(out, state, plan, n_tokens, source)
    return ActivationStore.open(out, verify=False)


def _encode_all(
    encoder: BatchEncoder, writer: ShardWriter, first: int, opener: ImageOpener, progress: bool
) -> None:
    """Encode the images from position ``first`` on."""
    from tqdm import tqdm

    plan, cfg, model = encoder.plan, encoder.cfg, encoder.model
    starts = range(first, plan.n_images, cfg.batch_size)
    spans = [(start, min(start + cfg.batch_size, plan.n_images)) for start in starts]
    n_left = plan.n_images - first
    assert model.preprocess is not None
    batches = decoded_batches(
        opener,
        model.preprocess,
        [plan.image_keys[start:stop] for start, stop in spans],
        default_num_workers(n_left) if cfg.num_workers is None else cfg.num_workers,
        pin_memory=model.device.type == "cuda",
    )
    bar = tqdm(
        total=plan.n_images, initial=first, desc="extract", unit="image", disable=not progress
    )
    with bar, HookReader(model, cfg).attached() as reader:
        for (start, stop), decoded in zip(spans, batches, strict=True):
            writer.add(encoder.encode(reader, start, stop, decoded))
            bar.update(stop - start)
            if writer.n_skipped:
                bar.set_postfix(skipped=writer.n_skipped, refresh=False)


def _identity(model: "HookedCLIP", source: PairSource, cfg: ExtractConfig) -> Identity:
    dtype = cfg.model_dtype or str(model.dtype).removeprefix("torch.")
    return Identity(
        model_name=model.cfg.model_name,
        weights_id=model.weights_id,
        image_hook=cfg.image_hook,
        text_hook=cfg.text_hook,
        token_mode=cfg.token_mode,
        dtype=cfg.dtype,
        model_dtype=dtype,
        source=source.spec,
        fingerprint=source.fingerprint,
        reading=getattr(source, "reading", None),
    )


def _find_progress(out: Path, identity: Identity) -> ActivationStore | Progress | None:
    """Return the complete store, an unfinished one's progress, or None for a new folder."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file: give a folder for the store.")
    if (out / MANIFEST).is_file():
        manifest = StoreManifest.load(out)
        _refuse_other(out, manifest.identity, identity)
        try:
            return ActivationStore.open(out)
        except UserError:
            # Damaged: what is whole is kept and the rest is computed again.
            (out / MANIFEST).unlink()
    if (out / PROGRESS).is_file():
        progress = Progress.load(out)
        _refuse_other(out, progress.identity, identity)
        progress.rewind(_n_whole(out, progress))
        return progress
    if out.is_dir() and any(out.iterdir()):
        raise UserError(
            f"{out} is not empty and holds no activation store: give a new folder for the store."
        )
    return None


def _refuse_other(out: Path, there: Identity, now: Identity) -> None:
    without_rules = replace(now, reading=None, fingerprint=there.fingerprint)
    if now.reading is not None and there.key == without_rules.key:
        raise UserError(
            f"{out} was begun by an earlier version of mm_sae_plugin, which laid transparent "
            "pictures on black, did not turn photographs upright and read some captions "
            "otherwise: a store in it can be used as it is, but this extraction needs another "
            "folder."
        )
    if there.key != now.key:
        raise UserError(
            f"{out} holds other activations ({there.differences(now)}): give another folder, or "
            "remove this one."
        )


def _n_whole(out: Path, progress: Progress) -> int:
    for number, shard in enumerate(progress.shards):
        try:
            check_shard(out, shard)
        except UserError:
            return number
    return len(progress.shards)
