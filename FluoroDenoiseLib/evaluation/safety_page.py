"""The report as one HTML page that needs nothing else: no script, no network, light and dark, prints well."""

from __future__ import annotations

import math
from html import escape

from FluoroDenoiseLib import __version__
from FluoroDenoiseLib.evaluation.safety_rows import REQUIRED, SafetyReport, SafetyRow, Section

STYLE = """
:root { color-scheme: light dark; --ink:#1c2126; --soft:#5c6670; --paper:#fff; --card:#f5f6f8; --line:#d5dade; --good:#1d7a3e; --bad:#b3261e;
  --note:#6b5a00; --c0:#0b62c4; --c1:#c2410c; --c2:#157347; --c3:#7a3ea8; --c4:#9a6b00; --c5:#4a5560 }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e9ec; --soft:#9aa5af; --paper:#14171a; --card:#1d2226; --line:#39424a; --good:#5fce86;
  --bad:#ff8a80; --note:#e2c95c; --c0:#6fb0ff; --c1:#ff9d66; --c2:#66d29b; --c3:#cf9cf5; --c4:#e8bf55; --c5:#aab5bf } }
body { margin:0 auto; max-width:1080px; padding:1.5rem 1rem 4rem; background:var(--paper); color:var(--ink); font:15px/1.5 system-ui, sans-serif }
h1 { font-size:1.6rem; margin:.2rem 0 } h2 { font-size:1.15rem; margin:0 } p { margin:.4rem 0; max-width:46rem } .soft { color:var(--soft) }
.banner { border-left:6px solid; padding:.6rem 1rem; background:var(--card); margin:1rem 0 } .pass { color:var(--good) } .fail { color:var(--bad) }
.told { color:var(--soft) } .banner b { font-size:1.1rem } .banner span, .banner li { color:var(--ink) }
section { border-top:1px solid var(--line); padding:1.2rem 0 } .wide { overflow-x:auto }
table { border-collapse:collapse; width:100%; font-size:14px; margin:.6rem 0 } th, td { text-align:left; padding:.25rem .7rem .25rem 0; vertical-align:top;
  border-bottom:1px solid var(--line) } td.number, th.number { text-align:right; white-space:nowrap; font-variant-numeric:tabular-nums } a { color:var(--c0) }
.figures { display:flex; flex-wrap:wrap; gap:1.2rem } .figures > figure { margin:.4rem 0; flex:1 1 440px; min-width:0 }
figcaption { color:var(--soft); font-size:13px } svg { width:100%; max-width:640px; height:auto; display:block } svg text { fill:var(--soft); font-size:11px }
.grid { stroke:var(--line) } .limit { stroke:var(--bad); stroke-dasharray:2 3 } polyline { fill:none; stroke-width:1.8 }
.panels { display:flex; flex-wrap:wrap; gap:6px } .panels figure { margin:0 } .panels img { display:block; max-width:100%; image-rendering:pixelated }
.legend { font-size:12.5px; display:flex; flex-wrap:wrap; gap:.1rem .9rem }
""" + "".join(f".s{i} {{ stroke:var(--c{i}) }} .f{i} {{ fill:var(--c{i}) }} .c{i} {{ color:var(--c{i}) }}\n" for i in range(6))


def page(report: SafetyReport, remark: str) -> str:
    """The whole page."""
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Safety report of {escape(report.model)}</title><style>{STYLE}</style></head><body>"
        f"<h1>Safety report of {escape(report.model)}</h1>"
        f'<p class="soft">{report.extent.capitalize()} form. FluoroDenoise {__version__}. Weights {report.weights_sha256[:16]}. {escape(remark)}</p>'
        f"{_banner(report)}{_summary(report.sections)}{''.join(map(_section, report.sections))}"
        f'<p class="soft">Made with: fluorodenoise evaluate --safety MODEL{" --quick" if report.extent == "quick" else ""} --out DIR. Every object is '
        "simulated and every noise has its seed, so the same weights give the same numbers on the same kind of machine. "
        "For research use only; not a medical device.</p></body></html>\n"
    )


def _banner(report: SafetyReport) -> str:
    failed, limits = report.failures(required=True), report.failures(required=False)
    if report.passed:
        head = f'<div class="banner pass"><b>Passes</b><br><span>Every check that a model must pass ({", ".join(REQUIRED)}) is passed.</span>'
    else:
        items = "".join(f"<li>{escape(text)}</li>" for text in failed)
        head = f'<div class="banner fail"><b>Fails</b><br><span>Compare its results with the original. What it must pass and does not:</span><ul>{items}</ul>'
    if limits:
        head += f"<span>{len(limits)} further rows tell its limits; they are marked below.</span>"
    return head + "</div>"


def _summary(sections: tuple[Section, ...]) -> str:
    rows = "".join(
        f'<tr><td><a href="#{section.check}">{section.check}</a></td><td>{escape(section.title)}</td>'
        f"<td>{'must pass' if section.check in REQUIRED else 'tells limits'}</td><td>{_mark(section.passed)}</td>"
        f"<td>{sum(row.passed is False for row in section.rows)} of {sum(row.passed is not None for row in section.rows)}</td></tr>"
        for section in sections)
    return f'<div class="wide"><table><tr><th></th><th>check</th><th></th><th>verdict</th><th>rows that fail</th></tr>{rows}</table></div>'


def _section(section: Section) -> str:
    rows = "".join(map(_row, section.rows))
    figures = "".join(f"<figure>{figure.markup}<figcaption>{escape(figure.caption)}</figcaption></figure>" for figure in section.figures)
    return (f'<section id="{section.check}"><h2>{section.check} {escape(section.title)} {_mark(section.passed)}</h2><p>{escape(section.about)}</p>'
            f'<div class="wide"><table><tr><th>quantity</th><th class="number">found</th><th>rule</th><th></th><th></th></tr>{rows}</table></div>'
            f'<div class="figures">{figures}</div></section>')


def _row(row: SafetyRow) -> str:
    value = "-" if not math.isfinite(row.value) else f"{row.value:.4g}"
    return (f'<tr><td>{escape(row.name)}</td><td class="number">{value} {escape(row.unit)}</td><td>{escape(row.rule)}</td>'
            f'<td>{_mark(row.passed)}</td><td class="soft">{escape(row.note)}</td></tr>')


def _mark(passed: bool | None) -> str:
    if passed is None:
        return '<span class="told">reported</span>'
    return '<span class="pass">pass</span>' if passed else '<span class="fail">fail</span>'
