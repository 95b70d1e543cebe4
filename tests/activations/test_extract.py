"""What is extracted is what the model computes, in an order that nothing can change."""

import os
from dataclasses import dataclass, replace

import pytest
import torch

from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP
from mm_sae_plugin.pairs import load_pairs
from tests.activations.pictures import noise_pairs, preprocess, tokenize
from tests.activations.tiny import tiny_clip

SMALL = ExtractConfig(batch_size=8, shard_size=20, num_workers=0)


def _cfg(**changes) -> ExtractConfig:
    return ExtractConfig(**{"batch_size": 8, "shard_size": 20, "num_workers": 0, **changes})


def _same(a: ActivationStore, b: ActivationStore) -> bool:
    return (
        torch.equal(a.image_rows(), b.image_rows())
        and torch.equal(a.text_rows(), b.text_rows())
        and (a.captions, a.image_ids, a.labels) == (b.captions, b.image_ids, b.labels)
        and [s.sha256 for s in a.manifest.shards] == [s.sha256 for s in b.manifest.shards]
    )


def test_rows_are_what_the_model_computes(model, tmp_path):
    source = noise_pairs(30, captions_each=2)
    store = extract(model, source, tmp_path / "s", SMALL)
    pixels = torch.stack([preprocess(source.open_image(i)) for i in range(30)])
    with torch.no_grad():
        images, texts = model(images=pixels, texts=store.captions)
    torch.testing.assert_close(store.image_rows(), images)
    torch.testing.assert_close(store.text_rows(), texts)
    assert store.image_ids == [f"id-{i}" for i in range(30)]
    assert store.image_keys == list(range(30))
    # Captions of one image stand together, whatever the order of the source.
    assert store.image_index.tolist() == [i for i in range(30) for _ in range(2)]
    assert store.captions[2:4] == ["image 1 said 0", "image 1 said 1"]
    assert store.labels == {"which": ["0", "1"] * 30}
    manifest = store.manifest
    assert (manifest.n_images, manifest.n_pairs, manifest.d_image, manifest.d_text) == (
        30,
        60,
        12,
        12,
    )
    assert len(manifest.shards) > 1


def test_a_batch_larger_than_what_a_cpu_encodes_at_a_time_keeps_its_order(model, tmp_path):
    source = noise_pairs(150, missing=frozenset({3, 70}))
    cfg = _cfg(batch_size=150, shard_size=1000, max_skipped=1.0)
    store = extract(model, source, tmp_path / "s", cfg, progress=False)
    kept = [i for i in range(150) if i not in (3, 70)]
    with torch.no_grad():
        images = model.encode_image(
            torch.stack([preprocess(source.open_image(i)) for i in kept]), normalize=True
        )
    torch.testing.assert_close(store.image_rows(), images)
    everything = _cfg(
        batch_size=150, image_hook="vision.hook_embed", text_hook=None, token_mode="all"
    )
    tokens = extract(model, noise_pairs(150), tmp_path / "t", everything, progress=False)
    with torch.no_grad():
        pixels = torch.stack([preprocess(source.open_image(i)) for i in (*kept[:3], *kept[-3:])])
        _, cache = model.run_with_cache(images=pixels)
    rows = tokens.image_rows().unflatten(0, (150, -1))
    torch.testing.assert_close(rows[[*kept[:3], *kept[-3:]]], cache["vision.hook_embed"])


@pytest.mark.parametrize(
    ("image_hook", "text_hook"),
    [
        ("vision.hook_proj", "text.hook_proj"),
        ("vision.hook_pooled", "text.hook_pooled"),
        ("vision.hook_normalized", "text.hook_proj"),
    ],
)
def test_pooled_hooks(model, tmp_path, image_hook, text_hook):
    source = noise_pairs(10)
    store = extract(model, source, tmp_path / "s", _cfg(image_hook=image_hook, text_hook=text_hook))
    pixels = torch.stack([preprocess(source.open_image(i)) for i in range(10)])
    with torch.no_grad():
        _, cache = model.run_with_cache(images=pixels, texts=store.captions)
    torch.testing.assert_close(store.image_rows(), cache[image_hook])
    torch.testing.assert_close(store.text_rows(), cache[text_hook])


@pytest.mark.parametrize("hook", ["vision.hook_embed", "vision.blocks.0.hook_resid_post"])
@pytest.mark.parametrize("mode", ["cls", "all"])
def test_tokens_of_one_tower(model, tmp_path, hook, mode):
    source = noise_pairs(11)
    cfg = _cfg(image_hook=hook, text_hook=None, token_mode=mode)
    store = extract(model, source, tmp_path / "s", cfg)
    pixels = torch.stack([preprocess(source.open_image(i)) for i in range(11)])
    with torch.no_grad():
        _, cache = model.run_with_cache(images=pixels)
    expected = cache[hook][:, 0] if mode == "cls" else cache[hook].flatten(0, 1)
    torch.testing.assert_close(store.image_rows(), expected)
    assert store.manifest.n_tokens == (1 if mode == "cls" else 5)
    assert torch.equal(torch.cat(list(store.iter_image_rows(7))), store.image_rows())
    # The captions are known still, so that a report can show them.
    assert len(store.captions) == 11
    with pytest.raises(UserError, match="images alone"):
        store.text_rows()


def test_each_distinct_image_is_opened_once(model, tmp_path):
    log = tmp_path / "log"
    source = noise_pairs(20, captions_each=5, log=str(log))
    store = extract(model, source, tmp_path / "s", SMALL)
    assert log.read_text().split() == [str(i) for i in range(20)]
    assert (store.manifest.n_images, store.manifest.n_pairs) == (20, 100)


def test_a_model_meets_each_image_once(model, tmp_path):
    seen = []
    handle = model.clip.visual.register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
    extract(model, noise_pairs(20, captions_each=5), tmp_path / "s", SMALL)
    handle.remove()
    assert sum(seen) == 20


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(model, tmp_path, workers):
    source = noise_pairs(40, captions_each=2, missing=frozenset({3, 17}))
    alone = extract(model, source, tmp_path / "alone", SMALL)
    store = extract(model, source, tmp_path / "workers", _cfg(num_workers=workers))
    assert _same(alone, store)
    assert store.manifest.skipped == alone.manifest.skipped


def test_world_is_extracted_with_its_labels(model, tmp_path):
    store = extract(model, load_pairs("factorworld:12"), tmp_path / "s", SMALL)
    source = load_pairs("factorworld:12")
    assert store.captions == [record.caption for record in source.records]
    assert store.labels["drawn.object"] == [
        (r.labels or {})["drawn.object"] for r in source.records
    ]
    image = store.open_image(7)
    assert image is not None and image.tobytes() == source.open_image(7).tobytes()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_narrow_storage(model, tmp_path, dtype, tolerance):
    wide = extract(model, noise_pairs(10), tmp_path / "wide", SMALL)
    store = extract(model, noise_pairs(10), tmp_path / "narrow", _cfg(dtype=dtype))
    assert store.image_rows().dtype == torch.float32
    torch.testing.assert_close(store.image_rows(), wide.image_rows(), atol=tolerance, rtol=0)
    assert store.manifest.shards[0].n_bytes < wide.manifest.shards[0].n_bytes
    assert store.manifest.key != wide.manifest.key


def test_narrow_model_leaves_the_callers_own_alone(model, tmp_path):
    wide = extract(model, noise_pairs(10), tmp_path / "wide", SMALL)
    store = extract(model, noise_pairs(10), tmp_path / "narrow", _cfg(model_dtype="bfloat16"))
    assert model.dtype == torch.float32
    assert store.manifest.model_dtype == "bfloat16"
    torch.testing.assert_close(store.image_rows(), wide.image_rows(), atol=0.05, rtol=0)


def test_training_mode_is_restored(tmp_path):
    model = tiny_clip().train()
    extract(model, noise_pairs(4), tmp_path / "s", SMALL)
    assert model.training and model.clip.training
    assert not any(point.fwd_hooks for point in model.hook_dict.values())


def test_statistics_are_those_of_the_rows(model, tmp_path):
    cfg = _cfg(image_hook="vision.hook_proj", text_hook="text.hook_proj")
    store = extract(model, noise_pairs(30), tmp_path / "s", cfg)
    for rows, side, name in (
        (store.image_rows().double(), store.manifest.image_statistics, "image"),
        (store.text_rows().double(), store.manifest.text_statistics, "text"),
    ):
        assert side is not None and side.n_rows == 30
        torch.testing.assert_close(store.means[name], rows.mean(dim=0))
        assert side.mean_norm == pytest.approx(rows.norm(dim=1).mean().item(), rel=1e-12)
        assert side.rms_norm == pytest.approx(rows.square().sum(1).mean().sqrt().item(), rel=1e-12)
        assert side.norm_of_mean == pytest.approx(rows.mean(dim=0).norm().item(), rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(image_hook="vision.hook_normalised"), "vision.hook_normalized"),
        (dict(text_hook="text.hook_prj"), "text.hook_proj"),
        (dict(image_hook="text.hook_proj"), "not in the vision tower"),
        (dict(text_hook="vision.hook_proj"), "not in the text tower"),
        (dict(text_hook="text.blocks.0.hook_resid_post"), "one row per token"),
        (dict(image_hook="vision.blocks.0.hook_resid_post"), "token_mode='cls'"),
        (dict(image_hook="vision.hook_embed", token_mode="all"), "text_hook to None"),
        (dict(token_mode="cls"), "leave token_mode out"),
        (dict(device="cuda"), "no CUDA device"),
        (dict(batch_size=0), "batch_size"),
    ],
)
def test_wrong_configs_are_refused_before_any_work(model, tmp_path, changes, message):
    if changes.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(UserError, match=message):
        extract(model, noise_pairs(4), tmp_path / "s", _cfg(**changes))
    assert not (tmp_path / "s").exists()


def test_a_tower_without_class_token_says_so(tmp_path):
    from tests.models.tiny import BUILDERS

    clip = BUILDERS["transformers-siglip"]().clip
    model = HookedCLIP.wrap(clip, tokenizer=tokenize, preprocess=preprocess, name="patches")
    cfg = _cfg(image_hook="vision.blocks.0.hook_resid_post", token_mode="cls")
    with pytest.raises(UserError, match="no class token"):
        extract(model, noise_pairs(4), tmp_path / "s", cfg)


def test_a_class_token_is_known_from_the_tower_and_not_from_a_square(tmp_path):
    from open_clip.model import CLIP

    def wide(image):
        return preprocess(image).repeat(1, 1, 2)

    # Eight patches and a class token are nine, which a square of patches would be as well.
    vision = dict(layers=1, width=16, head_width=8, patch_size=8, image_size=(16, 32))
    text = dict(context_length=6, vocab_size=50, width=16, heads=2, layers=1)
    clip = CLIP(12, vision, text).eval()  # type: ignore[arg-type]
    model = HookedCLIP.wrap(clip, tokenizer=tokenize, preprocess=wide, name="wide")
    hook = "vision.blocks.0.hook_resid_post"
    cfg = _cfg(image_hook=hook, text_hook=None, token_mode="cls")
    source = noise_pairs(5)
    store = extract(model, source, tmp_path / "s", cfg)
    pixels = torch.stack([wide(source.open_image(i)) for i in range(5)])
    with torch.no_grad():
        _, cache = model.run_with_cache(images=pixels)
    assert cache[hook].shape == (5, 9, 16)
    torch.testing.assert_close(store.image_rows(), cache[hook][:, 0])


def test_a_source_without_captions_is_refused(model, tmp_path):
    silent = {f"image {i} said 0": " " for i in range(4)}
    with pytest.raises(UserError, match="has no captions"):
        extract(model, noise_pairs(4, captions=silent), tmp_path / "s", SMALL)


@dataclass(frozen=True)
class DeadlyOpener:
    """Ends its process as the kernel does when memory runs out."""

    def open_image(self, image_key):
        os._exit(9)


def test_a_worker_that_dies_is_one_clear_line(model, tmp_path):
    source = replace(noise_pairs(20), opener=DeadlyOpener())
    with pytest.raises(UserError, match=r"process that decodes images died.*num_workers"):
        extract(model, source, tmp_path / "s", _cfg(num_workers=1))


def test_spawned_workers_give_the_same(model):
    from mm_sae_plugin.activations.decoding import decoded_batches

    source = noise_pairs(6, missing=frozenset({4}))
    keys = [[0, 1, 2], [3, 4, 5]]
    expected = list(decoded_batches(source.opener, preprocess, keys, 0))
    spawned = list(decoded_batches(source.opener, preprocess, keys, 1, start_method="spawn"))
    for a, b in zip(expected, spawned, strict=True):
        assert (a.good, a.bad) == (b.good, b.bad)
        assert a.pixels is not None and b.pixels is not None and torch.equal(a.pixels, b.pixels)
