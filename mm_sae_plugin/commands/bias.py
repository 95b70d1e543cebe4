"""``mm-sae bias``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mm_sae_plugin.commands.model_choice import ModelChoice
from mm_sae_plugin.commands.opened import open_model
from mm_sae_plugin.errors import UserError, check_numbers
from mm_sae_plugin.files import atomic_path, refuse_unwritable, write_json_atomically

if TYPE_CHECKING:
    import pandas as pd

    from mm_sae_plugin.applications.bias.own_table import OwnTable
    from mm_sae_plugin.applications.bias.prompts import PromptSet
    from mm_sae_plugin.study import Study

_RECORD, _CARD = "audit.json", "audit_card.html"
_COUNTS, _GAPS = "counts.csv", "gaps.csv"
_USUAL_FIRST = "woman"
"""The group that counts with a plus where nothing else is said, as in FactorWorld's twins."""


@dataclass(frozen=True)
class BiasCommand:
    """Audit a model: gaps between groups, what they come from, and whether they mean anything."""

    out: Path
    """Folder for audit.json, the audit card, counts.csv and gaps.csv."""
    pairs: Path | None = None
    """Your own pictures: a .csv, .tsv, .jsonl or .parquet file with their paths and groups; by
    default twins of FactorWorld."""
    group_col: str | None = None
    """Column of the groups; by default the gender of FairFace, CelebA, UTKFace, FACET or
    VisoGender, where the table is laid out as theirs."""
    target_col: str | None = None
    """Column of what a prompt may ask for, such as an occupation; images are compared within it."""
    identity_col: str | None = None
    """Column of who a picture shows: people are what is sampled."""
    twin_col: str | None = None
    """Column that pairs each picture with its counterfactual twin of the other group."""
    image_col: str | None = None
    """Column of the paths; by default image or file_name, or the layout's own."""
    images_dir: Path | None = None
    """Where relative paths start; by default where the table lies."""
    identities: Path | None = None
    """For CelebA: its identity_CelebA.txt."""
    groups: tuple[str, ...] = ()
    """Groups to compare, where rows are of others too or of none; an attribution is of two."""
    encoding: str | None = None
    """Encoding of the table without a byte-order mark, such as cp1252; UTF-8 by default."""
    prompts: Path | None = None
    """YAML or JSON with templates, targets and, where one is stated, a direction; by default each
    target's name in a few templates."""
    first: str | None = None
    """The group whose images count with a plus; by default the first of --groups, else woman, else
    the first by name."""
    sae: Path | None = None
    """Folder of a labelled SAE of the joint space, which gaps are attributed to."""
    acts: Path | None = None
    """Its activation store; by default the one that it was trained on."""
    sensitivity: bool = True
    """Measure how far gaps hang on the prompts' wording and on the background; all pictures are
    embedded twice more."""
    seed: int = 0
    """Of permutations, resamples and random sets."""
    choice: ModelChoice = field(default_factory=lambda: ModelChoice(model=""))
    """By default the model of the SAE, else factorworld."""

    def run(self) -> None:
        """Audit, print counts, gaps and the direction test, and write them."""
        import torch

        check_numbers(self)
        refuse_unwritable(*(self.out / name for name in (_RECORD, _CARD, _COUNTS, _GAPS)))
        # The process is ours: on a few pictures at a time two threads are slower than one.
        torch.set_num_threads(1)
        if self.pairs is None:
            self._audit_twins()
        else:
            self._audit_own(self.pairs)

    # ------------------------------------------------------------------ two kinds of pictures

    def _audit_twins(self) -> None:
        from mm_sae_plugin.applications.bias.groups import Groups
        from mm_sae_plugin.applications.bias.prompts import factorworld_prompts
        from mm_sae_plugin.applications.bias.record import record_of_twins
        from mm_sae_plugin.applications.bias.sensitivity import sensitivity_of_twins
        from mm_sae_plugin.applications.bias.twins import GENDER, draw_twins

        self._refuse_without_pairs()
        twins_prompts = self._prompts()
        if twins_prompts is not None:
            _check_twins_prompts(twins_prompts)
        prompts = twins_prompts or factorworld_prompts()
        model, study = open_model(self.choice, self.sae, self.acts)
        twins = draw_twins(GENDER)
        _, first, second = GENDER
        n = len(twins.targets)
        counts = Groups((first,) * n + (second,) * n, twins.targets * 2).counts()
        _print_counts(counts, "twins of FactorWorld", {})
        found = asdict(sensitivity_of_twins(model, prompts)) if self.sensitivity else None
        record = record_of_twins(model, study, prompts, seed=self.seed, sensitivity=found)
        self._write(record, counts, study)

    def _audit_own(self, pairs: Path) -> None:
        from mm_sae_plugin.applications.bias.evidence import Evidence
        from mm_sae_plugin.applications.bias.own_data import embed_own
        from mm_sae_plugin.applications.bias.own_table import prompts_for
        from mm_sae_plugin.applications.bias.record import record_of_groups
        from mm_sae_plugin.applications.bias.sensitivity import sensitivity_of_images

        # The table and the prompts first: a wrong column should not wait for a model.
        given = self._prompts()
        table = self._table(pairs)
        prompts, first = prompts_for(table.groups, given), self._first(table)
        unused = [name for name in (given.targets if given else ()) if name not in prompts.targets]
        if unused:
            print(f"No picture is of {', '.join(unused)}: its prompts are left out.")
        model, study = open_model(self.choice, self.sae, self.acts)
        data = embed_own(model, table, progress=True)
        if data.groups != table.groups:
            # Of a target too few may be left.
            prompts = prompts_for(data.groups, given)
        counts = data.groups.counts()
        _print_counts(counts, data.source.name, data.left_out, data.unreadable)
        found = None
        if self.sensitivity and len(data.groups.names) == 2:
            evidence = Evidence.of_groups(model, data.images, data.groups, prompts, first)
            found = asdict(
                sensitivity_of_images(model, evidence, prompts, data.open_image, progress=True)
            )
        record = record_of_groups(
            model,
            data.images,
            data.groups,
            prompts,
            first,
            data.told,
            study,
            seed=self.seed,
            sensitivity=found,
        )
        self._write(record, counts, study)

    # ------------------------------------------------------------------ what is given

    def _prompts(self) -> PromptSet | None:
        from mm_sae_plugin.applications.bias.prompts import PromptSet

        return None if self.prompts is None else PromptSet.load(self.prompts)

    def _table(self, pairs: Path) -> OwnTable:
        from mm_sae_plugin.applications.bias.own_table import AuditColumns, read_own_table

        columns = AuditColumns(
            self.image_col, self.group_col, self.target_col, self.identity_col, self.twin_col
        )
        return read_own_table(
            pairs, columns, self.groups, self.images_dir, self.identities, self.encoding
        )

    def _first(self, table: OwnTable) -> str:
        names = table.groups.names
        if self.first is None:
            usual = _USUAL_FIRST if _USUAL_FIRST in names else names[0]
            return self.groups[0] if self.groups else usual
        if self.first not in names:
            raise UserError(
                f"There is no group {self.first!r:.60} for --first: choose from {', '.join(names)}."
            )
        return self.first

    def _refuse_without_pairs(self) -> None:
        names = ("group_col", "target_col", "identity_col", "twin_col", "image_col")
        names += ("images_dir", "identities", "groups", "encoding", "first")
        given = [name for name in names if getattr(self, name)]
        if given:
            option = f"--{given[0].replace('_', '-')}"
            raise UserError(f"{option} is of pictures of your own: give their table as --pairs.")

    # ------------------------------------------------------------------ what comes out

    def _write(self, record: dict[str, Any], counts: pd.DataFrame, study: Study | None) -> None:
        from rich import print as rich_print

        from mm_sae_plugin.report.bias_card import write_bias_card
        from mm_sae_plugin.report.bias_tables import gaps_frame, gaps_table

        gaps = gaps_frame(record)
        rich_print(gaps_table(record))
        print(record["verdict"] or _untested(record))
        if self.sae is not None and record["attribution_left_out"] is not None:
            print(f"Without an attribution: {record['attribution_left_out']}")
        for name, frame in ((_COUNTS, counts), (_GAPS, gaps)):
            with atomic_path(self.out / name) as temporary:
                frame.to_csv(temporary)
        write_json_atomically(self.out / _RECORD, record)
        card = write_bias_card(record, self.out / _CARD, study)
        print(f"Open {card}; all of it is in {self.out / _RECORD}.")


def _untested(record: dict[str, Any]) -> str:
    """Why there is no test of a direction."""
    if not record["prompts"].get("direction"):
        why = "No direction was stated"
    else:
        why = "The direction that was stated could not be tested: it needs targets of both groups"
    return f"{why}, so that nothing is said of a learned association."


def _check_twins_prompts(prompts: PromptSet) -> None:
    """Refuse prompts that twins of FactorWorld cannot be asked with."""
    from mm_sae_plugin.applications.bias.twins import GENDER
    from mm_sae_plugin.factorworld.factors import FACTORS

    chosen = prompts.of_targets(FACTORS["occupation"].values)
    if set(chosen.direction.values()) != set(GENDER[1:]):
        raise UserError(
            f"The prompts state no direction towards {GENDER[1]} and {GENDER[2]} for FactorWorld's "
            "occupations: state one for each, or leave --prompts out."
        )


def _print_counts(
    counts: pd.DataFrame,
    source: str,
    left_out: dict[str, int],
    unreadable: dict[str, str] | None = None,
) -> None:
    from rich import print as rich_print

    from mm_sae_plugin.report.bias_tables import counts_table

    rich_print(counts_table(counts))
    for why, n in left_out.items():
        print(f"{n} {'row' if n == 1 else 'rows'} of {source} left out: {why}.")
    for name, why in list((unreadable or {}).items())[:_MOST_NAMED]:
        print(f"  {name}: {why}")


_MOST_NAMED = 5
"""Pictures that cannot be read; all of them stand in audit.json."""
