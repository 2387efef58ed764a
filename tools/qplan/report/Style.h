//===- Style.h - how reports look --------------------------------*- C++ -*-===//
//
// The style sheet, inside the page. Colours are variables with a light and a dark set; print
// takes the light one. Series colours are Okabe and Ito's, lighter on dark paper.
//
//===----------------------------------------------------------------------===//
#ifndef QPLAN_TOOLS_QPLAN_REPORT_STYLE_H
#define QPLAN_TOOLS_QPLAN_REPORT_STYLE_H

#include <string_view>

namespace qplan {

inline constexpr std::string_view reportStyle = R"css(
:root { color-scheme: light dark;
  --paper: #ffffff; --panel: #f5f6f8; --ink: #16191d; --soft: #565e6a; --line: #d5d9df;
  --s0: #0072b2; --s1: #d55e00; --s2: #009e73; --s3: #b87a00; --s4: #9b4f7e; --edge: #ffffff; }
@media screen and (prefers-color-scheme: dark) { :root {
  --paper: #14171b; --panel: #1d2126; --ink: #e9ecef; --soft: #a3acb8; --line: #363c45;
  --s0: #56b4e9; --s1: #ff8c42; --s2: #2fc79b; --s3: #f0b429; --s4: #dd8fbd; --edge: #14171b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1104px; margin: 0 auto; padding: 28px 32px 56px; }
h1 { font-size: 29px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 44px 0 2px; letter-spacing: -.005em; }
h3 { font-size: 15px; margin: 22px 0 2px; }
p { margin: 4px 0 12px; max-width: 78ch; }
p.soft, .soft { color: var(--soft); }
p.verdict { font-size: 18px; margin: 10px 0 18px; max-width: 70ch; }
code { font: 13px ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
p.ask { border-left: 4px solid var(--s0); background: var(--panel); padding: 9px 14px;
  max-width: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(136px, 1fr)); gap: 12px; }
.tile { background: var(--panel); border-radius: 10px; padding: 13px 14px 11px;
  border-top: 3px solid var(--s0); }
.tile b { display: block; font-size: 24px; line-height: 1.25; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.tile span { display: block; }
.tile .what { font-size: 13px; font-weight: 600; }
.tile .soft { font-size: 12.5px; line-height: 1.35; }
.figure { overflow-x: auto; margin: 8px 0 4px; }
.figure svg { display: block; width: 100%; min-width: 640px; height: auto; }
svg text { font: 11.5px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  fill: currentColor; }
svg.heat g text { font-variant-numeric: tabular-nums; }
svg .axis { fill: var(--soft); font-size: 12px; }
svg .name { font-weight: 600; }
.cell { stroke: var(--paper); stroke-width: 1; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; }
.frame { stroke: var(--soft); stroke-width: 1; fill: none; }
.limit { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 7 5; fill: none; }
.line { fill: none; stroke-width: 2.25; stroke-linejoin: round; }
.mark { stroke: var(--edge); stroke-width: 1.25; }
.line.s0 { stroke: var(--s0); } .mark.s0 { fill: var(--s0); }
.line.s1 { stroke: var(--s1); } .mark.s1 { fill: var(--s1); }
.line.s2 { stroke: var(--s2); } .mark.s2 { fill: var(--s2); }
.line.s3 { stroke: var(--s3); } .mark.s3 { fill: var(--s3); }
.line.s4 { stroke: var(--s4); } .mark.s4 { fill: var(--s4); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; align-items: center; font-size: 13px;
  margin: 8px 0 2px; }
.legend span { display: inline-flex; gap: 7px; align-items: center; }
.key { display: inline-block; min-width: 24px; padding: 0 5px; border-radius: 4px;
  text-align: center; font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  font-size: 13.5px; margin: 8px 0; }
th, td { text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
.n { text-align: right; }
summary { cursor: pointer; color: var(--s0); font-weight: 600; margin: 12px 0; }
footer { margin-top: 48px; padding-top: 12px; border-top: 1px solid var(--line);
  font-size: 13px; color: var(--soft); }
@page { margin: 14mm 12mm; }
@media print { main { max-width: none; padding: 0; } body { font-size: 10.5pt; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  section, .figure, tr, .tile, p.ask { break-inside: avoid; } section.long { break-inside: auto; }
  h2, h3, .legend { break-after: avoid; } .figure { overflow: visible; }
  .figure svg { min-width: 0; } h2 { margin-top: 26px; } summary { display: none; }
  details::details-content { content-visibility: visible; display: block; } }
)css";

} // namespace qplan
#endif // QPLAN_TOOLS_QPLAN_REPORT_STYLE_H
