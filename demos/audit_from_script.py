"""Does a CLIP link gender with occupations, and which latents hold it? Made on twins."""

import sys

import mm_sae_plugin as mm
from mm_sae_plugin.applications.bias.attributed import attribute
from mm_sae_plugin.applications.bias.bench import Bench
from mm_sae_plugin.applications.bias.twin_audit import audit_twins

# Made by: mm-sae quickstart --model factorworld-biased --out runs/quickstart-biased
study = mm.Study.open(sys.argv[1] if sys.argv[1:] else "runs/quickstart-biased/sae")
audit = audit_twins(study.model)
for occupation, found in audit.targets.items():
    low, high, n = found.interval.low, found.interval.high, audit.n_pairs[occupation]
    print(f"{occupation}: {found.gap:+.2f} [{low:+.2f}, {high:+.2f}] of {n} pairs of twins")
print(f"They spread by {audit.spread:.2f}, those of flips that mean nothing by", end=" ")
print(f"{min(audit.nuisances.values()):.2f} to {max(audit.nuisances.values()):.2f}.")
print(audit.verdict)

bench = Bench.of_twins(study)
attributed = attribute(bench, n_latents=5)
for row in attributed.latents:
    print(f"#{row.latent} ({row.modality_class}) takes {row.taken:+.2f} of {attributed.whole:+.2f}")
edit = mm.FeatureEdit.ablate(study, latents=[row.latent for row in attributed.latents])
for name, now in (("as it is", attributed.measured), ("without them", bench.measure(edit))):
    gender = f"gender is read in {now.readable:.0%} of pictures"
    print(f"{name}: {now.summary:+.2f}; {gender}, {now.retrieval:.0%} find their caption")
