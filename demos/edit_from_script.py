"""What does a picture lose without one of its latents? Run `mm-sae quickstart` before it."""

from torch.nn.functional import cosine_similarity

import mm_sae_plugin as mm

study = mm.Study.open("runs/quickstart/sae")
picture, caption = study.store.open_image(0), study.store.captions[0]
assert picture is not None, "FactorWorld draws all its pictures"
captions = [caption, *study.store.captions[1:3]]

print(f"Latents that fire on the picture of {caption!r}:")
for fired in study.latents_of(image=picture, top=5):
    print(f"  #{fired.latent}  {fired.activation:.2f}  {fired.modality_class} {fired.score:.2f}")

comparison = study.compare(picture, caption)
latent, added = comparison.image.most(1)[0]
print(f"#{latent} adds {added:.3f} to their similarity of {comparison.similarity:.3f}.")

before = cosine_similarity(*study.model(images=[picture], texts=captions))
with mm.edited(study, mm.FeatureEdit.ablate(study, concepts=[latent])) as model:
    after = cosine_similarity(*model(images=[picture], texts=captions))
for said, old, new in zip(captions, before, after, strict=True):
    print(f"  {old:.3f} -> {new:.3f}  {said}")
