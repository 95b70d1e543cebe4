"""Alternative texts for pictures that Gradio shows without one."""

NAME_PICTURES = """() => {
  const name = () => document.querySelectorAll(".image-frame img").forEach((picture) => {
    const label = picture.closest(".block")?.querySelector("[data-testid=block-label]");
    if (!picture.alt && label) picture.alt = label.innerText.trim();
  });
  new MutationObserver(name).observe(document.body, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["alt", "src"],
  });
  name();
}"""
"""JavaScript for an app's load: an uploaded picture is called as its field is."""
