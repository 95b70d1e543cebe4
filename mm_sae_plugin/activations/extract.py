"""From pairs and a model to a store of activations."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.activations.apart import ShardEngine
from mm_sae_plugin.activations.capture import (
    check_hooks,
    prepare_model,
    refuse_changed_model,
)
from mm_sae_plugin.activations.config import ExtractConfig
from mm_sae_plugin.activations.cutting import CutCaptions
from mm_sae_plugin.activations.facts import refuse_changed_pictures
from mm_sae_plugin.activations.identity import Identity
from mm_sae_plugin.activations.losses import check_plan, check_skipped, tell_cut_captions
from mm_sae_plugin.activations.manifest import MANIFEST, PROGRESS
from mm_sae_plugin.activations.plan import ExtractionPlan
from mm_sae_plugin.activations.resuming import Found, Wanted, find_earlier, first_mended
from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.activations.under_way import StoreUnderWay, WantedStore, encode_or_keep
from mm_sae_plugin.activations.writer import close_store, new_progress
from mm_sae_plugin.errors import UserError, kind_of
from mm_sae_plugin.files import plain_write_errors, refuse_unwritable
from mm_sae_plugin.pairs import ImageOpener, PairSource, PictureOpener
from mm_sae_plugin.termination import termination_interrupts

if TYPE_CHECKING:
    from mm_sae_plugin.models import HookedCLIP


# What configs of stores that are extracted together have in common.
_ALIKE = tuple(
    field.name
    for field in fields(ExtractConfig)
    if field.name not in ("image_hook", "text_hook", "token_mode")
)


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
    wanted = {out: ExtractConfig() if cfg is None else cfg}
    _check_kinds(model, source, wanted)
    with termination_interrupts():
        (store,) = _extract(model, source, _by_path(wanted), progress, engine)
    tell_cut_captions(store)
    return store


def extract_several(
    model: "HookedCLIP",
    source: PairSource,
    stores: Mapping[str, ExtractConfig] | Mapping[Path, ExtractConfig],
    progress: bool = True,
) -> dict[Path, ActivationStore]:
    """Encode every distinct image and every caption once, and keep what passes the hooks of many.

    Each store is, bit for bit, what :func:`extract` makes of its config, and may have been begun
    by it; pictures are opened, and the towers run, once for all that are equally far.

    Parameters
    ----------
    model
        As for :func:`extract`.
    source
        As for :func:`extract`.
    stores
        Folder of each store -> what to take. The configs differ in their hooks and what is kept of
        them (``token_mode``), and in nothing else.
    progress
        Show a progress bar.

    Returns
    -------
    dict
        Folder -> store, in the order given.

    Raises
    ------
    UserError
        As for :func:`extract`; if there is no store, one's folder lies within another's, or configs
        differ in more than their hooks.
    KeyboardInterrupt
        As for :func:`extract`; what was finished of every store is kept.
    """
    _check_mapping(stores)
    _check_kinds(model, source, stores)
    _check_together([(Path(out), cfg) for out, cfg in stores.items()])
    wanted = _by_path(stores)
    with termination_interrupts():
        found = _extract(model, source, wanted, progress, None)
    for store in found:
        tell_cut_captions(store)
    return dict(zip(wanted, found, strict=True))


def _check_mapping(stores: object) -> None:
    if not isinstance(stores, Mapping):
        raise UserError(
            f"extract_several takes what to keep where, not {kind_of(stores)}: give a dict, "
            "{folder: ExtractConfig(…)}."
        )


def _check_together(wanted: Sequence[tuple[Path, ExtractConfig]]) -> None:
    if not wanted:
        raise UserError("There is no store to extract: give a folder and what to take for each.")
    (first, cfg), *others = wanted
    folders: dict[Path, Path] = {}
    for out, _ in wanted:
        if out.resolve() in folders:
            raise UserError(f"Two stores cannot share {out}: give each a folder of its own.")
        folders[out.resolve()] = out
    for folder, out in folders.items():
        within = [p for p in folder.parents if p in folders or (p / MANIFEST).is_file()]
        if within:
            raise UserError(
                f"{out} would lie within the store {within[0]}: give each store a folder beside "
                "the others."
            )
    for out, other in others:
        for name in _ALIKE:
            here, there = getattr(other, name), getattr(cfg, name)
            if here != there:
                raise UserError(
                    f"Stores that are extracted together differ in their hooks alone, and {name} "
                    f"is {there} for {first} and {here} for {out}: give both the same, or extract "
                    "them one by one."
                )


def _check_kinds(model: object, source: object, outs: Mapping[Any, object]) -> None:
    if not hasattr(model, "hook_dict"):
        raise UserError(
            f"extract takes a HookedCLIP, not {kind_of(model)}: load one with load_model(name)."
        )
    if not hasattr(source, "spec"):
        given = repr(source) if isinstance(source, str | Path) else "…"
        raise UserError(
            f"extract takes pairs, not {kind_of(source)}: open them with load_pairs({given})."
        )
    for out, cfg in outs.items():
        if not isinstance(out, str | Path):
            raise UserError(f"A store's folder must be a path, not {kind_of(out)}.")
        if not isinstance(cfg, ExtractConfig):
            raise UserError(
                f"What {out} is to hold must be an ExtractConfig, not {kind_of(cfg)}: give "
                "ExtractConfig(image_hook=…)."
            )


def _extract(
    model: "HookedCLIP",
    source: PairSource,
    outs: Mapping[Path, ExtractConfig],
    progress: bool,
    engine: ShardEngine | None,
) -> list[ActivationStore]:
    refuse_changed_model(model)
    wanted = [_wanted(model, source, out, cfg) for out, cfg in outs.items()]
    found = []
    for one in wanted:
        with plain_write_errors(one.out):
            earlier = Wanted(one.identity, lambda: model.legacy_weights_id)
            found.append(find_earlier(one.out, earlier))
    # The opener travels to the workers; a source of one's own may be its own.
    opener = getattr(source, "opener", source)
    whole = [one.store for one in found if one.store and not one.store.manifest.skipped]
    if len(whole) == len(wanted) and not isinstance(opener, PictureOpener):
        return whole

    plan = ExtractionPlan.of(source, progress)
    for one in wanted:
        check_plan(plan, source, one.cfg)
    left = []
    for one, earlier in zip(wanted, found, strict=True):
        with plain_write_errors(one.out):
            earlier = _still_right(model, earlier, one.out, plan, opener)
        if earlier.store is None:
            # The first shard may take long.
            refuse_unwritable(one.out / MANIFEST)
            left.append((one, earlier.progress))
            continue
        manifest = earlier.store.manifest
        # A manifest lists what the source does, too.
        listed = {*plan.skipped}
        tried = [skip for skip in manifest.skipped if skip not in listed]
        check_skipped(plan, source, one.out, one.cfg, manifest.n_pairs, tried)
    if left:
        # Workers elsewhere take the model where the config says; this machine need not be able to.
        prepared = prepare_model(model, wanted[0].cfg) if engine is None else model
        under_way = [
            StoreUnderWay(one, state or new_progress(one.out, one.identity)) for one, state in left
        ]
        for equally_far in _by_progress(under_way):
            encode_or_keep(prepared, plan, equally_far, opener, progress, engine)
        for one in under_way:
            _close(model, plan, source, one)
    return [ActivationStore.open(one.out, verify=False) for one in wanted]


def _wanted(model: "HookedCLIP", source: PairSource, out: Path, cfg: ExtractConfig) -> WantedStore:
    n_tokens = check_hooks(model, cfg)
    _check_inputs(model, cfg)
    return WantedStore(out, cfg, n_tokens, _identity(model, source, cfg))


def _by_path(stores: Mapping[Any, ExtractConfig]) -> dict[Path, ExtractConfig]:
    return {Path(out): cfg for out, cfg in stores.items()}


def _by_progress(under_way: Sequence[StoreUnderWay]) -> list[list[StoreUnderWay]]:
    """Put together what goes on from the same image, the furthest behind first."""
    groups: dict[int, list[StoreUnderWay]] = {}
    for one in under_way:
        groups.setdefault(one.state.n_done, []).append(one)
    return [groups[n_done] for n_done in sorted(groups)]


def _close(
    model: "HookedCLIP", plan: ExtractionPlan, source: PairSource, under_way: StoreUnderWay
) -> None:
    out, cfg, state = under_way.wanted.out, under_way.wanted.cfg, under_way.state
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
    check_skipped(plan, source, out, cfg, n_kept, skipped)
    context_length = None
    if cfg.text_hook:
        assert model.tokenizer is not None
        context_length = CutCaptions(model.tokenizer).context_length
    close_store(out, state, plan, under_way.wanted.n_tokens, source, context_length)


def _check_inputs(model: "HookedCLIP", cfg: ExtractConfig) -> None:
    if model.preprocess is None:
        raise UserError(f"{model.cfg.model_name} has no preprocess: wrap it with one.")
    if cfg.text_hook and model.tokenizer is None:
        raise UserError(
            f"{model.cfg.model_name} has no tokenizer: wrap it with one, or leave the text tower "
            "out with text_hook=None."
        )


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
