// What is drawn over the points: pinned rows, a way, the lasso, and the edge of a ball.
import { clip, css, fit } from "./dom";
import type { Point } from "./points";

export interface Overlay {
  edge: { middle: Point; radii: Point } | null;
  axes: string[];
  pins: { at: Point; row: number }[];
  near: Point[];
  way: Point[];
  focus: Point | null;
  whatIf: { from: Point | null; to: Point } | null;
  lasso: Point[] | null;
}

function ring(paper: CanvasRenderingContext2D, [x, y]: Point, radius: number, color: string, width = 2): void {
  for (const [stroke, line] of [[css("--card"), width + 2.5], [color, width]] as const) {
    paper.beginPath();
    paper.arc(x, y, radius, 0, 2 * Math.PI);
    paper.strokeStyle = stroke;
    paper.lineWidth = line;
    paper.stroke();
  }
}

function named(paper: CanvasRenderingContext2D, [x, y]: Point, text: string): void {
  paper.font = "600 12px system-ui, sans-serif";
  paper.lineWidth = 4;
  paper.lineJoin = "round";
  paper.strokeStyle = css("--card");
  paper.strokeText(text, x + 10, y + 4);
  paper.fillStyle = css("--ink");
  paper.fillText(text, x + 10, y + 4);
}

function axisNames(paper: CanvasRenderingContext2D, [across, up]: string[], width: number, height: number): void {
  paper.font = "12px system-ui, sans-serif";
  paper.fillStyle = css("--muted");
  const shown = across ? `${clip(across, 40)} →` : "";
  paper.fillText(shown, width - paper.measureText(shown).width - 8, height - 8);
  if (up) paper.fillText(`↑ ${clip(up, 40)}`, 8, 18);
}

function line(paper: CanvasRenderingContext2D, points: Point[], color: string, dashes: number[], closed = false): void {
  paper.beginPath();
  for (const [x, y] of points) paper.lineTo(x, y);
  if (closed) paper.closePath();
  paper.setLineDash(dashes);
  paper.strokeStyle = color;
  paper.lineWidth = 1.5;
  paper.stroke();
  paper.setLineDash([]);
}

export function paintOverlay(canvas: HTMLCanvasElement, overlay: Overlay): void {
  const { width, height, ratio } = fit(canvas);
  const paper = canvas.getContext("2d");
  if (!paper) return;
  paper.setTransform(ratio, 0, 0, ratio, 0, 0);
  paper.clearRect(0, 0, width, height);
  if (overlay.edge) {
    const { middle, radii } = overlay.edge;
    paper.beginPath();
    paper.ellipse(middle[0], middle[1], radii[0], radii[1], 0, 0, 2 * Math.PI);
    paper.strokeStyle = css("--muted");
    paper.lineWidth = 1;
    paper.stroke();
  }
  axisNames(paper, overlay.axes, width, height);
  if (overlay.way.length) line(paper, overlay.way, css("--ink"), []);
  for (const at of overlay.near) ring(paper, at, 6, css("--link"), 1.5);
  for (const { at, row } of overlay.pins) {
    ring(paper, at, 6, css("--ink"));
    named(paper, at, String(row));
  }
  if (overlay.focus) ring(paper, overlay.focus, 7, css("--link"), 2.5);
  if (overlay.whatIf) {
    if (overlay.whatIf.from) line(paper, [overlay.whatIf.from, overlay.whatIf.to], css("--poor"), [5, 4]);
    ring(paper, overlay.whatIf.to, 7, css("--poor"), 2.5);
  }
  if (overlay.lasso) {
    line(paper, overlay.lasso, css("--link"), [4, 3], true);
    paper.fillStyle = css("--link");
    paper.globalAlpha = 0.12;
    paper.fill();
    paper.globalAlpha = 1;
  }
}
