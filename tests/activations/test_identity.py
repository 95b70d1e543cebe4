"""Two stores are the same when all that changes an activation is, whatever things are called."""

import json
from dataclasses import asdict, replace

import pytest

from mm_sae_plugin.activations import ActivationStore, ExtractConfig, extract
from mm_sae_plugin.activations.identity import Identity
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.models import HookedCLIP
from tests.activations.pictures import noise_pairs, preprocess, tokenize
from tests.activations.tiny import tiny_clip

CFG = ExtractConfig(batch_size=8, shard_size=16, num_workers=0)
ONE = Identity(
    model_name="ViT-B-32",
    weights_id="sha256:aa",
    image_hook="vision.hook_proj",
    text_hook="text.hook_proj",
    token_mode=None,
    dtype="float32",
    model_dtype="float32",
    source="/data/pairs.csv",
    fingerprint="f",
    reading="r",
    transform_id="i",
    tokenizer_id="t",
)
NAMES = {"model_name", "source"}


@pytest.mark.parametrize("name", sorted(asdict(ONE).keys() - NAMES))
def test_all_that_decides_is_in_the_key_and_is_compared(name):
    other = replace(ONE, **{name: "other"})
    assert other.key != ONE.key
    assert ONE.conflicts(other).keys() == {name}
    assert "'other' now" in ONE.conflicts(other)[name]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_names_and_places_decide_nothing(name):
    other = replace(ONE, **{name: "other"})
    assert other.key == ONE.key and not ONE.conflicts(other) and not ONE.unchecked(other)


def test_an_earlier_store_keeps_its_address():
    old = replace(ONE, reading=None, transform_id=None, tokenizer_id=None)
    # Taken from a store that version 1 wrote of the world of 300 pairs.
    old = replace(
        old,
        weights_id="sha256:4dec533186d23b3a",
        image_hook="vision.hook_normalized",
        text_hook="text.hook_normalized",
        fingerprint="factorworld:v1:seed0:n300",
    )
    assert old.key == "5c1ac6edd5322ca26f17e657618f2b5e4476cee5e0b87a7ceacb7f9faad75114"


def test_what_is_not_known_is_not_compared_and_is_named():
    old = replace(ONE, transform_id=None, tokenizer_id=None)
    assert not old.conflicts(ONE)
    assert old.unchecked(ONE) == ["the image transform", "the tokenizer"]
    older = replace(old, weights_id="sha256:before")
    assert older.conflicts(ONE).keys() == {"weights_id"}
    assert not older.conflicts(ONE, legacy_weights_id="sha256:before")
    assert older.unchecked(ONE)[0] == "the model's configuration"


def _rewrite(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("complete", [True, False])
def test_a_folder_of_a_later_version_is_left_alone(model, tmp_path, complete):
    extract(model, noise_pairs(10), tmp_path / "s", CFG)
    if not complete:
        (tmp_path / "s" / "manifest.json").unlink()
    for path in (tmp_path / "s").glob("*.json"):
        _rewrite(path, lambda content: content.update(format_version=7, more="than we know"))
    before = {path: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    message = r"format version 7, and this version of mm_sae_plugin reads up to 2: upgrade"
    with pytest.raises(UserError, match=message):
        extract(model, noise_pairs(10), tmp_path / "s", CFG)
    if complete:
        with pytest.raises(UserError, match=message):
            ActivationStore.open(tmp_path / "s")
    assert before == {path: path.read_bytes() for path in (tmp_path / "s").iterdir()}


def _make_old(folder):
    """Take out what version 1 did not write."""
    later = ("reading", "reader", "pictures", "transform_id", "tokenizer_id", "n_captions_cut")

    def change(content):
        for part in (content, content.get("identity", {}), *content["shards"]):
            for name in (*later, "context_length"):
                part.pop(name, None)
        if "identity" in content:
            del content["format_version"]
        else:
            content["format_version"] = 1

    for path in folder.glob("*.json"):
        _rewrite(path, change)


def test_a_store_of_the_first_version_opens_and_is_gone_on_with(model, tmp_path):
    store = extract(model, noise_pairs(40), tmp_path / "s", CFG)
    _make_old(tmp_path / "s")
    old = ActivationStore.open(tmp_path / "s")
    assert old.manifest.format_version == 1 and old.manifest.n_captions_cut is None
    assert old.image_rows().tolist() == store.image_rows().tolist()
    assert extract(model, noise_pairs(40), tmp_path / "s", CFG).manifest == old.manifest
    # An interrupted one: what is there was not counted, so the whole is not known.
    (tmp_path / "s" / "manifest.json").unlink()
    (tmp_path / "s" / old.manifest.shards[-1].file).unlink()
    resumed = extract(model, noise_pairs(40), tmp_path / "s", CFG)
    assert resumed.image_rows().tolist() == store.image_rows().tolist()
    assert resumed.manifest.n_captions_cut is None and resumed.manifest.format_version == 2


def _wrapped(clip, **parts):
    parts = {"tokenizer": tokenize, "preprocess": preprocess, "name": "tiny", **parts}
    return HookedCLIP.wrap(clip, **parts)


def _darker(image):
    return preprocess(image) * 0.5


def _mirrored(image):
    return preprocess(image).flip(-1)


def _shouting(captions):
    return tokenize([caption.upper() for caption in captions])


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("preprocess", _darker),
        ("preprocess", _mirrored),
        ("tokenizer", _shouting),
    ],
)
def test_another_transform_or_tokenizer_is_another_store(model, tmp_path, finished, part, other):
    extract(model, noise_pairs(40), tmp_path / "s", CFG, progress=False)
    if not finished:
        (tmp_path / "s" / "manifest.json").unlink()
        (tmp_path / "s" / "shard-00001.safetensors").unlink()
    changed = _wrapped(model.clip, weights_id=model.weights_id, **{part: other})
    before = {path: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    field = "transform_id" if part == "preprocess" else "tokenizer_id"
    with pytest.raises(UserError, match=f"holds other activations .{field} 'sha256:.*another"):
        extract(changed, noise_pairs(40), tmp_path / "s", CFG, progress=False)
    assert before == {path: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    # What the model calls itself is neither.
    renamed = _wrapped(model.clip, weights_id=model.weights_id, name="other-name")
    store = extract(renamed, noise_pairs(40), tmp_path / "s", CFG, progress=False)
    assert store.manifest.model_name == "tiny"


def test_images_alone_do_not_ask_for_the_tokenizer(model, tmp_path):
    cfg = replace(CFG, text_hook=None)
    extract(model, noise_pairs(10), tmp_path / "s", cfg, progress=False)
    for tokenizer in (_shouting, None):
        changed = _wrapped(model.clip, weights_id=model.weights_id, tokenizer=tokenizer)
        extract(changed, noise_pairs(10), tmp_path / "s", cfg, progress=False)
    with pytest.raises(UserError, match="tiny has no tokenizer: wrap it with one"):
        extract(changed, noise_pairs(10), tmp_path / "t", CFG, progress=False)


def test_what_an_earlier_store_does_not_say_is_named(model, tmp_path):
    extract(model, noise_pairs(10), tmp_path / "s", CFG, progress=False)
    _make_old(tmp_path / "s")
    for path in (tmp_path / "s").glob("*.json"):
        _rewrite(
            path,
            lambda content: content.get("identity", content).update(
                weights_id=model.legacy_weights_id
            ),
        )
    with pytest.warns(UserWarning, match=r"not checked: .*the image transform, the tokenizer\."):
        extract(model, noise_pairs(10), tmp_path / "s", CFG, progress=False)
    with pytest.raises(UserError, match=r"holds other activations .weights_id"):
        extract(tiny_clip(seed=1), noise_pairs(10), tmp_path / "s", CFG, progress=False)
