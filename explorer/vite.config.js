// Builds the page into the Python package, with a list of what it was built from (tests/explorer/test_build.py reads it).
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { defineConfig } from "vite";

const source = import.meta.dirname;
const built = join(source, "../src/reparax/explorer/static");

function files(folder) {
  return readdirSync(folder)
    .filter((name) => name !== "node_modules" && name !== "source.sha256")
    .map((name) => join(folder, name))
    .flatMap((path) => (statSync(path).isDirectory() ? files(path) : [path]));
}

// One line a file, as sha256sum writes them: paths from the root of the repository, sources first, then what they became.
function digests() {
  const line = (path) => {
    const digest = createHash("sha256").update(readFileSync(path)).digest("hex");
    return `${digest}  ${relative(join(source, ".."), path).replaceAll("\\", "/")}\n`;
  };
  return [...files(source).sort(), ...files(built).sort()].map(line).join("");
}

export default defineConfig({
  root: source,
  base: "./",
  build: { outDir: built, emptyOutDir: true, target: "es2022", modulePreload: false, assetsInlineLimit: 0 },
  plugins: [{ name: "digests", closeBundle: () => writeFileSync(join(built, "source.sha256"), digests()) }],
});
