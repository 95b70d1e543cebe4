import pytest

from mm_sae_plugin.saes.local_paths import without_local_paths


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        ("/home/ada/captions.csv", "captions.csv"),
        ("hf:/data/clip", "hf:clip"),
        ("local-dir:/x/y z/model/", "local-dir:model"),
        ("~/a/b.csv", "b.csv"),
        ("../acts", "acts"),
        ("C:\\Users\\ada\\c.csv", "c.csv"),
        ("\\\\server\\share\\c.csv", "c.csv"),
        ("file:///home/a/b.txt", "b.txt"),
        ("webdataset:/mnt/a/{000..010}.tar", "webdataset:{000..010}.tar"),
        ("read from /home/ada/x.csv, and ~/k/l.txt", "read from x.csv, and l.txt"),
    ],
)
def test_a_place_is_taken_out(note, kept):
    assert without_local_paths(note) == kept


@pytest.mark.parametrize(
    "note",
    [
        *("hf:openai/clip-vit", "nlphuji/flickr30k", "open_clip:ViT-B-32/laion2b", "a/b"),
        *("factorworld:16000:0", "vision.blocks.3.hook_resid_post", "sha256:abc", "", "10/20"),
        *("https://huggingface.co/a/b", "s3://bucket/x", "see https://a.b/c", "-IUC"),
    ],
)
def test_names_and_addresses_stay(note):
    assert without_local_paths(note) == note


def test_it_looks_into_lists_and_leaves_the_rest():
    content = {"a": ["/x/y", 1, None, {"b": "/c/d"}], "e": 2.5, "f": True}
    assert without_local_paths(content) == {"a": ["y", 1, None, {"b": "d"}], "e": 2.5, "f": True}
    assert content["a"][0] == "/x/y"
