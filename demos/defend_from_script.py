"""Attack pictures without knowing a defense, and through it: only the second says what it holds."""

import sys
from pathlib import Path

import mm_sae_plugin as mm
from mm_sae_plugin.applications.defense.contenders import contenders
from mm_sae_plugin.applications.defense.one_picture import PictureAttack, as_picture, attack_picture
from mm_sae_plugin.applications.defense.tasks import Task
from mm_sae_plugin.applications.defense.towers import read_tower

model, task = mm.load_model("factorworld"), Task.of_world("object", 3)
# The undefended encoder, the shipped robust one, and towers that `mm-sae align` wrote.
found = contenders(model, [read_tower(Path(given)) for given in sys.argv[1:]])
names, classes = list(task.prompts), task.classes(model)
attack = PictureAttack("PGD", eps=4 / 255, n_steps=20)


def told(shares) -> str:
    return f"{names[int(shares.argmax())]} {float(shares.max()):.2f}"


for picture, truth in zip(task.pictures, task.indices.tolist(), strict=True):
    *_, outcome = attack_picture(found, classes, picture, attack, truth)
    as_picture(outcome.static).save(f"{names[truth]}-attacked.png")
    print(f"A picture of a {names[truth]}:")
    for name, said in outcome.said.items():
        shown = f"as it is {told(said.clean)}, attacked without knowing it {told(said.static)}"
        print(f"  {name}: {shown}, attacked through it {told(said.adaptive)}")
