"""Sparse SAEs in SAELens' own runner on a language model, where stock ones would stand."""

import signal
from typing import Any

import pytest
import torch
from datasets import Dataset
from sae_lens import (
    SAE,
    LanguageModelSAERunnerConfig,
    LanguageModelSAETrainingRunner,
    LoggingConfig,
)
from transformer_lens import HookedTransformer, HookedTransformerConfig

from mm_sae_plugin.training import use_fused_adam
from tests.saes.sparse.pairs import SPARSE, STOCK

ARCHITECTURES = ("topk", "batchtopk")
D_MODEL, D_SAE, K, CONTEXT, VOCABULARY = 16, 128, 4, 16, 50


class FusedAdamRunner(LanguageModelSAETrainingRunner):
    def run_trainer_with_interruption_handling(self, trainer):
        use_fused_adam(trainer)
        return super().run_trainer_with_interruption_handling(trainer)


@pytest.fixture(autouse=True)
def _signal_handlers():
    # SAELens' runner sets its own and leaves them set.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def language_model():
    # SAELens' store asks for a tokenizer only where it has texts to cut.
    cfg = HookedTransformerConfig(
        n_layers=1,
        d_model=D_MODEL,
        n_ctx=CONTEXT,
        d_head=8,
        n_heads=2,
        d_vocab=VOCABULARY,
        act_fn="relu",
        seed=0,
    )
    return HookedTransformer(cfg)


@pytest.fixture(scope="module")
def tokens():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, VOCABULARY, (400, CONTEXT), generator=generator)
    return Dataset.from_dict({"tokens": rows.tolist()})


def train(architecture, classes, language_model, tokens, folder, **options: Any):
    sae_options = {"sparse_kernels": True} if classes is SPARSE else {}
    cfg: Any = LanguageModelSAERunnerConfig(
        sae=classes[architecture][1](d_in=D_MODEL, d_sae=D_SAE, k=K, **sae_options),
        model_name="random",
        hook_name="blocks.0.hook_resid_post",
        dataset_path="random",
        is_dataset_tokenized=True,
        streaming=False,
        prepend_bos=False,
        context_size=CONTEXT,
        training_tokens=20 * 64,
        train_batch_size_tokens=64,
        store_batch_size_prompts=8,
        n_batches_in_buffer=4,
        lr=1e-3,
        dead_feature_window=5,
        checkpoint_path=str(folder / "checkpoints"),
        output_path=str(folder / "sae"),
        logger=LoggingConfig(log_to_wandb=False),
        verbose=False,
        **options,
    )
    torch.manual_seed(0)
    runner = FusedAdamRunner if classes is SPARSE else LanguageModelSAETrainingRunner
    return runner(cfg, override_model=language_model, override_dataset=tokens).run()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saelens_runner_trains_the_same_sae_as_stock(
    architecture, language_model, tokens, tmp_path
):
    stock = train(architecture, STOCK, language_model, tokens, tmp_path / "stock")
    sparse = train(architecture, SPARSE, language_model, tokens, tmp_path / "sparse")
    assert type(sparse) is SPARSE[architecture][0]
    expected = dict(stock.named_parameters())
    for name, parameter in sparse.named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-3, atol=1e-5)
    saved = [SAE.load_from_disk(tmp_path / name / "sae") for name in ("stock", "sparse")]
    assert saved[1].cfg.architecture() == saved[0].cfg.architecture()
    assert saved[1].cfg.metadata.hook_name == "blocks.0.hook_resid_post"
    x = torch.randn(10, D_MODEL)
    torch.testing.assert_close(saved[1](x), saved[0](x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saelens_runner_resumes_a_sparse_training_as_stock(
    architecture, language_model, tokens, tmp_path
):
    resumed = []
    for classes, folder in ((STOCK, tmp_path / "stock"), (SPARSE, tmp_path / "sparse")):
        arguments = architecture, classes, language_model, tokens
        whole = train(*arguments, folder, n_checkpoints=1)
        (checkpoint,) = (folder / "checkpoints").glob("*/*")
        resumed.append(train(*arguments, folder / "on", resume_from_checkpoint=str(checkpoint)))
        assert type(resumed[-1]) is type(whole)
        # SAELens' store goes on with the next rows of its data set, not with the very same shuffle.
        for name, parameter in resumed[-1].named_parameters():
            assert parameter.isfinite().all()
            difference = (parameter - dict(whole.named_parameters())[name]).norm()
            assert difference <= 0.2 * parameter.norm()
    expected = dict(resumed[0].named_parameters())
    for name, parameter in resumed[1].named_parameters():
        torch.testing.assert_close(parameter, expected[name], rtol=1e-3, atol=1e-5)
