"""One colour and one plain sentence for every class, used wherever the class appears."""

COLOURS = {
    "ImgD": "#e07b39",
    "CrossD": "#8560b8",
    "TextD": "#3478bd",
    "Undetermined": "#98a1ad",
    "Dead": "#d5d9df",
}

MEANINGS = {
    "ImgD": "image-dominant: fires mostly on images",
    "CrossD": "cross-modal: fires on images and on captions alike",
    "TextD": "text-dominant: fires mostly on captions",
    "Undetermined": "the data do not decide between two classes",
    "Dead": "hardly ever fires, so it has no class",
}

DISPLAY_ORDER = ("TextD", "CrossD", "ImgD", "Undetermined", "Dead")
"""As on the score's axis, text at the left, then the two that are no answer."""

STYLE = """
:root{--ink:#1d2530;--soft:#5c6775;--faint:#8a94a1;--line:#e4e8ed;--page:#f6f7f9;--card:#fff;
--band:#eef1f5;--accent:#8560b8}
@media (prefers-color-scheme:dark){:root{--ink:#e8ebf0;--soft:#a9b2be;--faint:#7d8793;
--line:#2c333d;--page:#14181d;--card:#1c2128;--band:#252b34}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1120px;margin:0 auto;padding:40px 24px 80px}
h1{font-size:32px;line-height:1.2;margin:0 0 8px;letter-spacing:-.015em}
h2{font-size:22px;margin:52px 0 6px;letter-spacing:-.01em}
h3{font-size:16px;margin:0 0 4px}
p{margin:6px 0 14px;max-width:76ch}
.lead{font-size:18px;color:var(--soft);max-width:70ch}
.soft{color:var(--soft)}.small{font-size:13.5px}
.facts{display:flex;flex-wrap:wrap;gap:8px;margin:18px 0 0;padding:0;list-style:none}
.facts li{background:var(--card);border:1px solid var(--line);border-radius:8px;
padding:4px 11px;font-size:13.5px;overflow-wrap:anywhere}
.facts b{font-weight:500;color:var(--soft);margin-right:6px}
.nowrap{white-space:nowrap}
.card{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:20px 22px;
margin:14px 0}
.grid{display:grid;gap:14px;grid-template-columns:repeat(auto-fit,minmax(320px,1fr))}
.grid>.card{margin:0}
.split{display:flex;height:34px;border-radius:8px;overflow:hidden;margin:4px 0 16px;gap:2px}
.split span{min-width:3px}
.legend{display:grid;gap:8px 26px;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));
margin:0;padding:0;list-style:none}
.legend li{display:flex;gap:10px;align-items:baseline}
.dot{flex:none;width:11px;height:11px;border-radius:50%;display:inline-block}
.legend b{min-width:2.2em;text-align:right;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;font-size:14.5px;font-variant-numeric:tabular-nums}
th{font-weight:500;color:var(--soft);text-align:right;padding:6px 10px;
border-bottom:1px solid var(--line)}
td{text-align:right;padding:6px 10px;border-bottom:1px solid var(--line)}
tr:last-child td{border-bottom:0}
th:first-child,td:first-child{text-align:left;padding-left:0}
.figure{display:block;width:100%;height:auto;margin:0 auto}
.figure text{font-size:12px;fill:var(--soft);font-family:inherit}
.figure .strong{fill:var(--ink);font-weight:600}
.figure .axis{stroke:var(--faint);stroke-width:1}
.figure .rule{stroke:var(--line);stroke-width:1}
.figure .border{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:4 4}
.figure .band{fill:var(--band)}
.figure .mark{stroke:var(--card);stroke-width:1}
.figure .hollow{fill:var(--card);stroke-width:2}
.scroll{overflow-x:auto}
.scroll .figure{min-width:620px}
.latent{background:var(--card);border:1px solid var(--line);border-left:4px solid;
border-radius:12px;padding:14px 18px;margin:10px 0;display:grid;gap:6px 24px;
grid-template-columns:230px 324px minmax(0,1fr)}
.latent h4{margin:0;font-size:15px}
.latent .follows{font-size:13.5px;margin:2px 0 0}
.latent .numbers{font-size:13px;color:var(--soft);margin:6px 0 0;line-height:1.45}
.side{font-size:12px;color:var(--faint);margin:0 0 5px}
.thumbs{display:grid;grid-template-columns:repeat(3,104px);gap:6px}
.thumbs figure{margin:0;width:104px}
.thumbs img{width:104px;height:104px;object-fit:cover;border-radius:7px;display:block;
background:var(--band)}
.thumbs .gone{display:flex;align-items:center;justify-content:center;text-align:center;
width:104px;height:104px;border-radius:7px;background:var(--band);color:var(--faint);
font-size:10.5px;overflow:hidden;overflow-wrap:anywhere;padding:4px}
.strength{height:4px;border-radius:2px;margin-top:4px;background:var(--band)}
.strength i{display:block;height:4px;border-radius:2px}
.captions{margin:0;padding:0;list-style:none;font-size:13.5px;line-height:1.4}
.captions li{margin:0 0 8px}
mark{background:#ffe9a8;color:#1d2530;border-radius:3px;padding:0 2px}
.captions span{overflow-wrap:anywhere}
.silent{color:var(--faint);font-size:13.5px;font-style:italic;margin:0}
.warning{border-left:4px solid #d9a400;background:var(--card);padding:8px 14px;
border-radius:6px}
details{margin:10px 0}summary{cursor:pointer;font-weight:500}
code{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--band);
padding:1px 5px;border-radius:4px}
@media (max-width:820px){.latent{grid-template-columns:1fr}}
@media print{body{background:#fff}.latent,.card{break-inside:avoid}}
"""
