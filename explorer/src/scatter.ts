// Drawing many points. Our own few lines of WebGL2: the scatter libraries on regl compile with `new Function`,
// which the page's Content-Security-Policy forbids. Without WebGL2 the same points are drawn on a plain canvas.
import { fit } from "./dom";

/** Where the map looks: the data's point at the middle, and CSS pixels to a unit of the data. */
export interface Camera {
  x: number;
  y: number;
  scale: number;
}

export interface Painter {
  readonly words: string;
  /** Pairs of coordinates. */
  setPositions(positions: Float32Array): void;
  /** Four bytes a point: red, green, blue, opacity. */
  setColors(colors: Uint8Array): void;
  paint(camera: Camera, radius: number): void;
}

const VERTEX = `#version 300 es
in vec2 position; in vec4 color;
uniform vec2 middle; uniform vec2 scale; uniform mediump float size;
out vec4 tint;
void main() {
  gl_Position = vec4((position - middle) * scale, 0.0, 1.0);
  gl_PointSize = size;
  tint = color;
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 tint; uniform float size; out vec4 shown;
void main() {
  float away = length(gl_PointCoord - 0.5) * size;
  float inside = clamp(0.5 * size - away, 0.0, 1.0);
  if (inside * tint.a <= 0.0) discard;
  shown = vec4(tint.rgb, 1.0) * tint.a * inside;
}`;

class WebGLPainter implements Painter {
  readonly words = "WebGL";
  #program: WebGLProgram;
  #positions: WebGLBuffer;
  #colors: WebGLBuffer;
  #count = 0;
  #kept: { positions?: Float32Array; colors?: Uint8Array } = {};

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly gl: WebGL2RenderingContext,
  ) {
    [this.#program, this.#positions, this.#colors] = this.#prepare();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      [this.#program, this.#positions, this.#colors] = this.#prepare();
      if (this.#kept.positions) this.setPositions(this.#kept.positions);
      if (this.#kept.colors) this.setColors(this.#kept.colors);
    });
  }

  #prepare(): [WebGLProgram, WebGLBuffer, WebGLBuffer] {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
      const shader = gl.createShader(kind);
      if (!shader) throw new Error("WebGL makes no shader");
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, "position");
    gl.bindAttribLocation(program, 1, "color");
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      throw new Error(gl.getProgramInfoLog(program) ?? "WebGL links no program");
    }
    const positions = gl.createBuffer();
    const colors = gl.createBuffer();
    for (const [place, buffer, size, kind, normalized] of [
      [0, positions, 2, gl.FLOAT, false],
      [1, colors, 4, gl.UNSIGNED_BYTE, true],
    ] as const) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, size, kind, normalized, 0, 0);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    return [program, positions, colors];
  }

  setPositions(positions: Float32Array): void {
    this.#kept.positions = positions;
    this.#count = positions.length / 2;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.#positions);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, positions, this.gl.STATIC_DRAW);
    this.setColors(new Uint8Array(4 * this.#count));
  }

  setColors(colors: Uint8Array): void {
    this.#kept.colors = colors;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.#colors);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, colors, this.gl.DYNAMIC_DRAW);
  }

  paint(camera: Camera, radius: number): void {
    const { gl } = this;
    const { width, height, ratio } = fit(this.canvas);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.useProgram(this.#program);
    gl.uniform2f(gl.getUniformLocation(this.#program, "middle"), camera.x, camera.y);
    gl.uniform2f(gl.getUniformLocation(this.#program, "scale"), (2 * camera.scale) / width, (2 * camera.scale) / height);
    gl.uniform1f(gl.getUniformLocation(this.#program, "size"), 2 * radius * ratio + 1);
    gl.drawArrays(gl.POINTS, 0, this.#count);
  }
}

class CanvasPainter implements Painter {
  readonly words = "Drawn without a graphics card.";
  #positions: Float32Array = new Float32Array();
  #colors: Uint8Array = new Uint8Array();

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly paper: CanvasRenderingContext2D,
  ) {}

  setPositions(positions: Float32Array): void {
    this.#positions = positions;
    this.#colors = new Uint8Array(2 * positions.length);
  }

  setColors(colors: Uint8Array): void {
    this.#colors = colors;
  }

  // Pixel by pixel: as fast as the colors change, where a rectangle for each point takes ten times as long.
  paint(camera: Camera, radius: number): void {
    const { ratio } = fit(this.canvas);
    const { width, height } = this.canvas;
    const image = this.paper.createImageData(width, height);
    const size = Math.max(0.5, radius * ratio);
    for (let i = 0; i < this.#positions.length / 2; i++) {
      if (!this.#colors[4 * i + 3]) continue;
      const x = width / 2 + (this.#positions[2 * i] - camera.x) * camera.scale * ratio;
      const y = height / 2 - (this.#positions[2 * i + 1] - camera.y) * camera.scale * ratio;
      if (x < -size || y < -size || x > width + size || y > height + size) continue;
      this.#disk(image, x, y, size, 4 * i);
    }
    this.paper.putImageData(image, 0, 0);
  }

  #disk({ data, width, height }: ImageData, x: number, y: number, size: number, color: number): void {
    const alpha = this.#colors[color + 3] / 255;
    const [top, bottom] = [Math.max(0, Math.ceil(y - size - 0.5)), Math.min(height - 1, Math.floor(y + size - 0.5))];
    for (let row = top; row <= bottom; row++) {
      const half = Math.sqrt(Math.max(0.25, size * size - (row + 0.5 - y) ** 2));
      const [left, right] = [Math.max(0, Math.ceil(x - half - 0.5)), Math.min(width - 1, Math.floor(x + half - 0.5))];
      for (let at = 4 * (row * width + left); at <= 4 * (row * width + right); at += 4) {
        const below = (data[at + 3] / 255) * (1 - alpha);
        const all = alpha + below;
        for (let c = 0; c < 3; c++) data[at + c] = (this.#colors[color + c] * alpha + data[at + c] * below) / all;
        data[at + 3] = 255 * all;
      }
    }
  }
}

/** Whether WebGL2 is there and a graphics card behind it: emulated by the processor, it is slower than writing pixels. */
function hasGraphicsCard(): boolean {
  const gl = document.createElement("canvas").getContext("webgl2", { failIfMajorPerformanceCaveat: true });
  const names = gl?.getExtension("WEBGL_debug_renderer_info");
  const renderer = gl ? String(gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER)) : "";
  gl?.getExtension("WEBGL_lose_context")?.loseContext();
  return gl !== null && !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer);
}

/** The best painter that this browser has: of 100,000 points, 95 % of the frames took 117 ms emulated and 17 ms as pixels. */
export function painterOf(canvas: HTMLCanvasElement): Painter {
  const gl = hasGraphicsCard() ? canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true, alpha: true }) : null;
  if (gl) return new WebGLPainter(canvas, gl);
  const paper = canvas.getContext("2d");
  if (!paper) throw new Error("this browser draws on no canvas");
  return new CanvasPainter(canvas, paper);
}
