"""How a scene becomes a picture: pen, palette, things, people, marks, backdrops, render."""
