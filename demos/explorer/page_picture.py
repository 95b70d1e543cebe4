"""A part of the page as a PNG, drawn by the visitor's own browser: it has the fonts of all scripts.

The part is put into an SVG with its style sheet, so that nothing outside the page is asked for.
"""

from __future__ import annotations

import json

_SCRIPT = """async (number) => {
  const [id, css, name] = %s;
  const shown = document.getElementById(id);
  if (number < 0) return;
  if (!shown || !shown.innerText.trim()) return;
  const width = 1100, page = document.createElement("div"), style = document.createElement("style");
  style.textContent = css;
  page.className = document.body.classList.contains("dark") ? "lt-picture dark" : "lt-picture";
  page.style.width = width + "px";
  page.innerHTML = shown.innerHTML;
  document.body.append(page);
  const height = Math.ceil(page.getBoundingClientRect().height) + 24;
  page.remove();
  page.prepend(style);
  page.setAttribute("xmlns", "http://www.w3.org/1999/xhtml");
  const drawn = new XMLSerializer().serializeToString(page);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">` +
    `<foreignObject width="100%%" height="100%%">${drawn}</foreignObject></svg>`;
  const image = new Image();
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svg);
  await image.decode();
  const canvas = document.createElement("canvas");
  const scale = Math.min(2, 16000 / height);
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.drawImage(image, 0, 0);
  const link = document.createElement("a");
  link.download = name.replace("{}", number);
  link.href = canvas.toDataURL("image/png");
  link.click();
}"""

FRAME = """.lt-picture{box-sizing:border-box;padding:24px;background:var(--page);color:var(--ink);
font-family:system-ui,sans-serif;font-size:16px;line-height:1.5}
"""


def save_as_png(element: str, css: str, name: str) -> str:
    """Return the JavaScript that saves an element, for an event with one number as its input.

    Parameters
    ----------
    element : str
        Its `elem_id`.
    css : str
        What it looks like, whole: no other style reaches it.
    name : str
        Of the file; `{}` is where the number goes.
    """
    return _SCRIPT % json.dumps([element, css + FRAME, name])
