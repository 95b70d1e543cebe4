"""Pull a prompt towards a picture by one modality at a time. Run `mm-sae quickstart` before it."""

import sys

import mm_sae_plugin as mm
from mm_sae_plugin.applications.steering import Painter, mix, read_against
from mm_sae_plugin.factorworld.classifier import load_classifier

PROMPT, SEED = "two big red cars left at night", 0
study = mm.Study.open("runs/quickstart/sae")
# The embedded generator, or a folder or name of another pipeline of diffusers.
painter, classifier = Painter.open(study, *sys.argv[1:]), load_classifier()
reference = study.store.open_image(3)
print(f"Drawing {PROMPT!r}, and pulling it towards {study.store.captions[3]!r}:")

before = painter.paint(PROMPT, SEED)
before.picture.save("before.png")
for name in ("ImgD", "TextD", "CrossD"):
    if not study.labels.latents(name):
        continue
    edit = mix(study, {name: 1.0}, image=reference)
    after = painter.paint(PROMPT, SEED, edit)
    after.picture.save(f"after-{name}.png")
    print(f"{name} moves the vector by {after.moved:.2f} of its length; the classifier reads")
    for answer in read_against(classifier, PROMPT, before.picture, after.picture):
        if answer.is_changed or answer.asked:
            asked = f"asked {answer.asked}, " if answer.asked else ""
            print(f"  {answer.factor}: {asked}{answer.before} -> {answer.after}")
