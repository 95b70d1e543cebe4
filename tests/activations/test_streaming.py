"""Batches read from disk: all pairs, in an order that follows from seed and position."""

import gc
import threading
from pathlib import Path

import pytest
import torch

from mm_sae_plugin.activations.chunks import Chunks, Runs, chunks_within, n_bytes_held
from mm_sae_plugin.activations.layout import StoreLayout
from mm_sae_plugin.activations.provider import paired_batches, row_batches
from mm_sae_plugin.activations.store import ActivationStore
from mm_sae_plugin.activations.streaming import streamed_batches
from mm_sae_plugin.errors import UserError
from mm_sae_plugin.saes.normalization import ModalityNormalization
from tests.activations.written import write_store

WIDTH = 4
# Images in each shard, with one to three captions each.
SHARDS = (40, 1, 25, 60)


def numbered_store(folder: Path, dtype: torch.dtype = torch.float32, texts: bool = True):
    """Rows that say their own number, images positive and captions negative."""
    n_images = n_pairs = 0
    shards = []
    for size in SHARDS:
        images = torch.arange(n_images + 1, n_images + size + 1)
        of_image = torch.arange(size).repeat_interleave(torch.arange(size) % 3 + 1)
        captions = -torch.arange(n_pairs + 1, n_pairs + len(of_image) + 1)
        n_images, n_pairs = n_images + size, n_pairs + len(of_image)
        rows = [numbers[:, None].expand(-1, WIDTH).to(dtype) for numbers in (images, captions)]
        shards.append((rows[0], rows[1] if texts else None, of_image if texts else None))
    return write_store(folder, shards)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> ActivationStore:
    return numbered_store(tmp_path_factory.mktemp("streaming") / "store")


@pytest.fixture(scope="module")
def layout(store) -> StoreLayout:
    return StoreLayout.of(store.path, store.manifest)


def cut(layout: StoreLayout, n_chunks: int, length: int = 5) -> Chunks:
    return Chunks.of(Runs.of(layout, length), length, n_chunks)


@pytest.mark.parametrize("n_chunks", [1, 2, 3, 7])
def test_first_half_images_second_half_their_captions(layout, store, n_chunks):
    batches = streamed_batches(layout, cut(layout, n_chunks), batch_size=14)
    for _ in range(60):
        batch = next(batches)
        assert batch.shape == (14, WIDTH) and batch.dtype == torch.float32
        captions = (-batch[7:, 0]).long() - 1
        assert torch.equal(batch[:7, 0].long() - 1, store.image_index[captions])
        assert bool((batch == batch[:, :1]).all())


@pytest.mark.parametrize("batch_size", [8, 6, 254, 1000])
@pytest.mark.parametrize("n_chunks", [1, 4])
def test_every_pair_is_seen_once_in_an_epoch(layout, n_chunks, batch_size):
    n_pairs = layout.n_items
    # Neither divides the pairs nor a chunk; 1,000 is longer than an epoch.
    batches = streamed_batches(layout, cut(layout, n_chunks), batch_size=batch_size, seed=3)
    n_batches = -(-3 * n_pairs // (batch_size // 2))
    seen = torch.cat([-next(batches)[batch_size // 2 :, 0] for _ in range(n_batches)])
    epochs = seen[: 3 * n_pairs].view(3, n_pairs)
    expected = torch.arange(1.0, n_pairs + 1)
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, expected)
    assert not torch.equal(epochs[0], epochs[1])


@pytest.mark.parametrize("n_chunks", [1, 2, 5])
@pytest.mark.parametrize("n_before", [0, 1, 9, 40])
def test_resumes_exactly(layout, n_chunks, n_before):
    chunks = cut(layout, n_chunks)
    whole = streamed_batches(layout, chunks, batch_size=22, seed=5)
    for _ in range(n_before):
        next(whole)
    state = whole.state_dict()
    resumed = streamed_batches(layout, chunks, batch_size=22, seed=5)
    resumed.load_state_dict(state)
    after = [next(whole) for _ in range(30)]
    for batch in after:
        assert torch.equal(next(resumed), batch)
    # Back again, while something else was read ahead.
    whole.load_state_dict(state)
    assert torch.equal(next(whole), after[0])


def test_one_chunk_gives_the_batches_of_memory(layout, store):
    streamed = streamed_batches(layout, cut(layout, 1), batch_size=30, seed=2)
    rows = store.image_rows(), store.text_rows(), store.image_index
    in_memory = paired_batches(*rows, batch_size=30, seed=2)
    for _ in range(40):
        assert torch.equal(next(streamed), next(in_memory))
    in_memory.load_state_dict(streamed.state_dict())


def test_another_order_is_refused(layout, store):
    state = streamed_batches(layout, cut(layout, 4), batch_size=30).state_dict()
    rows = store.image_rows(), store.text_rows(), store.image_index
    with pytest.raises(UserError, match=r"n_chunks = 4, this run has n_chunks = 1.*max_memory_gb"):
        paired_batches(*rows, batch_size=30).load_state_dict(state)
    other = streamed_batches(layout, cut(layout, 4, length=3), batch_size=30)
    with pytest.raises(UserError, match="run_length = 5, this run has run_length = 3"):
        other.load_state_dict(state)


def test_the_order_depends_on_the_seed_alone(layout):
    first, again, other = (
        next(streamed_batches(layout, cut(layout, 3), batch_size=40, seed=seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_each_chunk_holds_every_part_of_the_store(layout):
    chunks = cut(layout, 5, length=3)
    for epoch in range(3):
        dealt = chunks.dealt(seed=0, epoch=epoch)
        for neighbours in dealt.split(5)[:-1]:
            assert sorted(neighbours.tolist()) == list(range(5))
        assert len(set(dealt.split(5)[-1].tolist())) == len(dealt.split(5)[-1])
    assert not torch.equal(chunks.dealt(0, 0), chunks.dealt(0, 1))


def test_images_alone_and_half_precision(tmp_path):
    store = numbered_store(tmp_path / "images", torch.bfloat16, texts=False)
    layout = StoreLayout.of(store.path, store.manifest)
    streamed = streamed_batches(layout, cut(layout, 1), batch_size=9, seed=1)
    in_memory = row_batches(store.image_rows(), batch_size=9, seed=1)
    assert all(torch.equal(next(streamed), next(in_memory)) for _ in range(30))
    cut_up = streamed_batches(layout, cut(layout, 6), batch_size=9, seed=1)
    seen = torch.cat([next(cut_up)[:, 0] for _ in range(14)])
    assert torch.equal(seen.sort().values, torch.arange(1.0, 127.0))


def test_rows_are_normalised_on_their_way(layout, store):
    sides = store.image_rows(), store.text_rows()
    measured = ModalityNormalization.measure("per_modality_center_scale", *sides)
    images, texts = (
        measured.apply(rows, side) for rows, side in zip(sides, ("image", "text"), strict=True)
    )
    in_memory = paired_batches(images, texts, store.image_index, batch_size=12, seed=4)
    streamed = streamed_batches(
        layout, cut(layout, 1), batch_size=12, seed=4, normalization=measured
    )
    assert all(torch.equal(next(streamed), next(in_memory)) for _ in range(20))


def test_batches_are_not_overwritten_by_later_ones(layout):
    batches = streamed_batches(layout, cut(layout, 5), batch_size=20)
    first = next(batches)
    kept = first.clone()
    for _ in range(80):
        next(batches)
    assert torch.equal(first, kept)


def test_chunks_fill_the_memory_that_they_may(tmp_path):
    rows = torch.randn(20_000, 16)
    store = write_store(tmp_path / "store", [(rows, -rows, torch.arange(20_000))] * 3)
    layout = StoreLayout.of(store.path, store.manifest)
    whole = chunks_within(layout, 2**30)
    assert whole is not None and whole.n_chunks == 1
    needed = n_bytes_held(layout, whole)
    numbers = []
    for share in (0.9, 0.5, 0.2, 0.1):
        chunks = chunks_within(layout, int(share * needed))
        assert chunks is not None
        held = n_bytes_held(layout, chunks)
        assert 0.7 * share * needed < held <= share * needed
        numbers.append(chunks.n_chunks)
        # Many runs in a chunk, although what is held of each costs as much as a short one.
        assert chunks.run_length >= 10 and len(chunks.runs) >= 40 * chunks.n_chunks
    assert numbers == sorted(numbers) and numbers[0] >= 3
    assert chunks_within(layout, layout.n_bytes_held) is None


def readers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("activation-reader")]


def test_the_reading_thread_ends(layout):
    before = len(readers())
    batches = streamed_batches(layout, cut(layout, 5), batch_size=20)
    first = next(batches)
    assert len(readers()) == before + 1
    batches.close()
    assert len(readers()) == before
    # A closed provider goes on when it is asked to.
    batches.load_state_dict({**batches.state_dict(), "n_batches": 0})
    assert torch.equal(next(batches), first)
    thread = batches._reader._thread
    assert thread is not None
    (worker,) = thread._threads
    del batches, thread
    gc.collect()
    worker.join(timeout=20)
    assert not worker.is_alive()


@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_a_file_that_is_gone_is_named(tmp_path, damage):
    store = numbered_store(tmp_path / "store")
    layout = StoreLayout.of(store.path, store.manifest)
    path = store.path / store.manifest.shards[2].file
    batches = streamed_batches(layout, cut(layout, 1), batch_size=20)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=f"{path.name} cannot be read .*copy the store again"):
        next(batches)
    assert batches.n_batches == 0
