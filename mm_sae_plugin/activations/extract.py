"""From pairs and a model to a store of activations."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mm_sae_plugin.activations.apart import ShardEngine, SpanTask, encode_apart
from mm_sae_plugin.activations.capture import (
    HookReader,
    check_hooks,
    prepare_model,
    refuse_changed_model,
)
from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.activations.decoding import decoded_batches, default_num_workers
from mm_sae_plugin.activations.encoding import BatchEncoder, Refused
from mm_sae_plugin.activations.facts import refuse_changed_pictures
from mm_sae_plugin.activations.identity import Identity
from mm_sae_plugin.activations.manifest import MANIFEST, PROGRESS, Progress, StoreManifest
from mm_sae_plugin.activations.plan import ExtractionPlan
from mm_sae_plugin.activations.resuming import Found, Wanted, find_earlier, first_mended
from mm_sae_plugin.activations.spans import spans_of
from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.activations.writer import ShardWriter, close_store, new_progress
from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.files import plain_write_errors, refuse_unwritable
from mm_sae_plugin.pairs import ImageOpener, PairSource, PictureOpener
from mm_sae_plugin.termination import termination_interrupts

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP

_N_REASONS = 3


def extract(
    model: "HookedCLIP",
    source: PairSource,
    out: str | Path,
    cfg: ExtractConfig | None = None,
    progress: bool = True,
    engine: ShardEngine | None = None,
) -> ActivationStore:
    """Encode every distinct image and every caption once, and keep what passes the hooks.

    A folder that was interrupted goes on where it stopped, with the same result as if it had not
    been; a complete one is returned as it is. In both, images that could not be opened are tried
    again first; where one now can, everything from its shard on is computed anew.

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
    engine
        Who makes the shards: this process by default, or the workers of a ``ProcessEngine`` or a
        ``RayEngine``, which receive the model once and find ``out`` and the pictures under the
        same paths. The store is the same, bit for bit; of what an interruption finds under way,
        the shards that are written are kept.

    Raises
    ------
    UserError
        If the model has hooks or SAEs of somebody's, a hook is unknown or did not fire, the folder
        holds something else or cannot be written, more pairs than ``max_skipped``
        could not be used (what was encoded is kept; nothing is where the source itself shows it),
        the disk is full, or (with ``strict``) an image or a caption could not be used.
    KeyboardInterrupt
        On Ctrl-C, with a line that says how to go on; what was finished is kept.
        ``errors.Terminated`` on SIGTERM, which is only noticed in the main thread.

    Warns
    -----
    UserWarning
        If captions were longer than the model's context, or a store of an earlier version does
        not say all of what it was extracted with.
    """
    with termination_interrupts():
        return _extract(model, source, Path(out), cfg or ExtractConfig(), progress, engine)


def _check_kinds(model: object, source: object) -> None:
    if not hasattr(model, "hook_dict"):
        raise UserError(
            f"extract takes a HookedCLIP, not {kind_of(model)}: load one with load_model(name)."
        )
    if isinstance(source, str | Path):
        raise UserError(
            f"extract takes pairs, not {kind_of(source)}: open them with load_pairs({source!r})."
        )


def _extract(
    model: "HookedCLIP",
    source: PairSource,
    out: Path,
    cfg: ExtractConfig,
    progress: bool,
    engine: ShardEngine | None,
) -> ActivationStore:
    _check_kinds(model, source)
    refuse_changed_model(model)
    n_tokens = check_hooks(model, cfg)
    _check_inputs(model, cfg)
    identity = _identity(model, source, cfg)
    with plain_write_errors(out):
        found = find_earlier(out, Wanted(identity, lambda: model.legacy_weights_id))
    # The opener travels to the workers; a source of one's own may be its own.
    opener = getattr(source, "opener", source)
    if found.store and not found.store.manifest.skipped and not isinstance(opener, PictureOpener):
        return _told(found.store)

    plan = ExtractionPlan.of(source, progress)
    _check_plan(plan, source, cfg)
    with plain_write_errors(out):
        found = _still_right(model, found, out, plan, opener)
    if found.store:
        manifest = found.store.manifest
        # A manifest lists what the source does, too.
        listed = {*plan.skipped}
        tried = [skip for skip in manifest.skipped if skip not in listed]
        _check_skipped(plan, source, out, cfg, manifest.n_pairs, tried)
        return _told(found.store)
    # The first shard may take long.
    refuse_unwritable(out / MANIFEST)
    # Workers elsewhere take the model where the config says; this machine need not be able to.
    prepared = prepare_model(model, cfg) if engine is None else model
    encoder = BatchEncoder(prepared, plan, cfg, n_tokens)
    state = found.progress or new_progress(out, identity)
    _encode_or_keep(encoder, state, out, opener, progress, engine)

    skipped = [(skip.image_id, skip.reason) for skip in state.skipped]
    if not state.shards:
        image_id, reason = skipped[0]
        # Nothing is kept, so the folder is free for whatever comes next.
        (out / PROGRESS).unlink()
        raise UserError(
            f"None of the {plan.n_images:,} images of {source.spec} could be used; the first, "
            f"{image_id}: {reason}."
        )
    n_kept = sum(shard.n_pairs for shard in state.shards)
    _check_skipped(plan, source, out, cfg, n_kept, skipped)
    context_length = encoder.are_cut.context_length if cfg.text_hook else None
    close_store(out, state, plan, n_tokens, source, context_length)
    return _told(ActivationStore.open(out, verify=False))


def _check_inputs(model: "HookedCLIP", cfg: ExtractConfig) -> None:
    if model.preprocess is None:
        raise UserError(f"{model.cfg.model_name} has no preprocess: wrap it with one.")
    if cfg.text_hook and model.tokenizer is None:
        raise UserError(
            f"{model.cfg.model_name} has no tokenizer: wrap it with one, or leave the text tower "
            "out with text_hook=None."
        )


def _check_plan(plan: ExtractionPlan, source: PairSource, cfg: ExtractConfig) -> None:
    if cfg.strict and plan.skipped:
        name, reason = plan.skipped[0]
        raise UserError(f"{name}: {reason}; mend or remove it, or leave strict out to skip it.")
    if cfg.text_hook and not any(caption.strip() for caption in plan.captions):
        raise UserError(
            f"{source.spec} has no captions: give some, or leave the text tower out with "
            "text_hook=None."
        )
    # Before hours of encoding, and before there is a store of a source that will be mended.
    _refuse_losses(plan, source, cfg, plan.lost, len(plan.lost))


def _still_right(
    model: "HookedCLIP", found: Found, out: Path, plan: ExtractionPlan, opener: ImageOpener
) -> Found:
    """Compare what is there with the pictures as they are now, and make room for mended ones."""
    state = found.progress
    shards = found.store.manifest.shards if found.store else state.shards if state else []
    if isinstance(opener, PictureOpener):
        refuse_changed_pictures(out, shards, plan, opener)
    if state is None:
        return found
    assert model.preprocess is not None
    mended = first_mended(state, plan, opener, model.preprocess)
    if mended is None:
        return found
    # In this order: a manifest without its shards would be a damaged store.
    (out / MANIFEST).unlink(missing_ok=True)
    state.rewind_to(mended)
    state.save(out)
    return Found(None, state)


def _encode_or_keep(
    encoder: BatchEncoder,
    state: Progress,
    out: Path,
    opener: ImageOpener,
    progress: bool,
    engine: ShardEngine | None,
) -> None:
    """Encode what is left; whatever ends it early, what was encoded is written."""
    plan = encoder.plan
    writer = ShardWriter(out, state)
    try:
        if engine is None:
            _encode_here(encoder, writer, state, opener, progress)
        else:
            folder = out.absolute()
            task = SpanTask(encoder.model, opener, encoder.cfg, encoder.n_tokens, folder)
            encode_apart(task, engine, plan, state, progress)
    except KeyboardInterrupt as interruption:
        writer.flush()
        raise type(interruption)(
            f"Extraction stopped: {state.n_done:,} of {plan.n_images:,} images are kept in {out}; "
            "run the same command again to go on."
        ) from None
    except Refused as refused:
        writer.flush()
        raise UserError(str(refused)) from refused


def _encode_here(
    encoder: BatchEncoder,
    writer: ShardWriter,
    state: Progress,
    opener: ImageOpener,
    progress: bool,
) -> None:
    """Encode what is left in this process; pictures are opened ahead of the model."""
    from tqdm import tqdm

    plan, cfg, model, first = encoder.plan, encoder.cfg, encoder.model, state.n_done
    spans = spans_of(plan, cfg, encoder.n_tokens, state)
    limits = [limit for span in spans for limit in span.batches(cfg.batch_size)]
    ends = {span.stop for span in spans}
    n_left = plan.n_images - first
    assert model.preprocess is not None
    batches = decoded_batches(
        opener,
        model.preprocess,
        [plan.image_keys[start:stop] for start, stop in limits],
        default_num_workers(n_left) if cfg.num_workers is None else cfg.num_workers,
        pin_memory=model.device.type == "cuda",
    )
    bar = tqdm(
        total=plan.n_images, initial=first, desc="extract", unit="image", disable=not progress
    )
    with bar, HookReader(model, cfg).attached() as reader:
        for (start, stop), decoded in zip(limits, batches, strict=True):
            writer.add(encoder.encode(reader, start, stop, decoded))
            if stop in ends:
                writer.flush()
            bar.update(stop - start)
            if writer.n_skipped:
                bar.set_postfix(skipped=writer.n_skipped, refresh=False)


def _check_skipped(
    plan: ExtractionPlan,
    source: PairSource,
    out: Path,
    cfg: ExtractConfig,
    n_kept: int,
    skipped: Sequence[tuple[str, str]],
) -> None:
    """Refuse to call an extraction finished that lost too much."""
    n_lost = plan.n_pairs - n_kept
    if cfg.strict and n_lost:
        name, reason = skipped[0]
        raise UserError(f"{name}: {reason}; mend or remove it, or leave strict out to skip it.")
    kept = f" What could be encoded is kept in {out}."
    _refuse_losses(plan, source, cfg, [*plan.lost, *skipped], n_lost + len(plan.lost), kept)


def _refuse_losses(
    plan: ExtractionPlan,
    source: PairSource,
    cfg: ExtractConfig,
    skipped: Sequence[tuple[str, str]],
    n_lost: int,
    kept: str = "",
) -> None:
    if n_lost / plan.n_meant <= cfg.max_skipped:
        return
    listed = "; ".join(f"{name}: {reason}" for name, reason in skipped[:_N_REASONS])
    more = "; …" if len(skipped) > _N_REASONS else ""
    without = ", rows and samples without an image or an id among them," if plan.lost else ","
    raise UserError(
        f"{n_lost:,} of {plan.n_meant:,} pairs of {source.spec} could not be used{without} more "
        f"than the share of {cfg.max_skipped:g} that --max-skipped allows ({listed}{more}): mend "
        f"them and run the same command again, which tries them anew, or allow more.{kept}"
    )


def _told(store: ActivationStore) -> ActivationStore:
    """Say what a reader of the store should know."""
    cut = _cut_captions(store.manifest)
    if cut:
        warnings.warn(cut, stacklevel=4)
    return store


def _cut_captions(manifest: StoreManifest) -> str | None:
    if not manifest.n_captions_cut:
        return None
    return (
        f"{manifest.n_captions_cut:,} of {manifest.n_pairs:,} captions are longer than the "
        f"{manifest.context_length} tokens that {manifest.model_name} reads, and were cut there: "
        "their activations know nothing of the rest."
    )


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
        transform_id=model.transform_id,
        tokenizer_id=model.tokenizer_id if cfg.text_hook else None,
    )
