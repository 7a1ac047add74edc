// One minified file: handler, SDK clients and the loop.
import { build } from "esbuild";

await build({
  entryPoints: ["runtime.mjs"],
  outfile: "dist/index.mjs",
  bundle: true,
  minify: true,
  platform: "node",
  target: "node20",
  format: "esm",
  // The packages' modules rather than their CommonJS: only then what is not used is left out.
  mainFields: ["module", "main"],
  // Some of the SDK's dependencies still call `require`, which a module does not have.
  banner: { js: 'import{createRequire}from"node:module";const require=createRequire(import.meta.url);' },
  legalComments: "none",
  logLevel: "warning",
});
