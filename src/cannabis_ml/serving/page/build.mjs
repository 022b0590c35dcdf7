// Builds the page into built/: scripts and styles under names with a hash of their content, the
// runtime from npm, and .br and .gz beside every file that shrinks. `make page` runs it.
//
//     built/index.html                the shell; names what belongs to it
//     built/review.html               the same of the review page
//     built/sw.js                     the service worker; the server writes the bundle's id into it
//     built/manifest.webmanifest
//     built/page.json                 { version, assets: { path: bytes } }
//     built/assets/app-HASH.js, …     never change
//
// Everything is written aside, then renamed: a build that fails leaves the last one in place.

import { createHash } from "node:crypto";
import { cp, mkdir, readFile, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, dirname, extname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import * as esbuild from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const SOURCE = join(HERE, "source");
const BUILT = join(HERE, "built");
const ASIDE = join(HERE, "built.new");
const TEXTS = join(HERE, "../../inference/texts");
const RUNTIME = join(HERE, "node_modules/@litertjs/core");
const VARIANTS = ["litert_wasm_internal", "litert_wasm_compat_internal"];
const SHRINK = new Set([".html", ".js", ".css", ".json", ".svg", ".wasm", ".webmanifest"]);

const hashOf = (data) => createHash("sha256").update(data).digest("hex").slice(0, 10);

const COMMON = {
  bundle: true,
  minify: true,
  target: "es2022",
  absWorkingDir: HERE,
  legalComments: "none",
  charset: "utf8",
  logLevel: "warning",
};

/** Bundle one entry to a single file's bytes. */
async function bundled(entry, options = {}) {
  const { outputFiles } = await esbuild.build({
    ...COMMON,
    entryPoints: [join(SOURCE, entry)],
    write: false,
    format: "iife",
    ...options,
  });
  return outputFiles[0].contents;
}

/** Write an asset under a name that holds the hash of its content; returns its path. */
async function asset(name, data) {
  const suffix = extname(name);
  const path = `assets/${basename(name, suffix)}-${hashOf(data)}${suffix}`;
  await mkdir(join(ASIDE, "assets"), { recursive: true });
  await writeFile(join(ASIDE, path), data);
  return path;
}

/** Copy the runtime; returns its folder. It looks for its own .wasm under its own name. */
async function runtime() {
  const { version } = JSON.parse(await readFile(join(RUNTIME, "package.json"), "utf8"));
  const folder = `assets/litert-${version}`;
  await mkdir(join(ASIDE, folder), { recursive: true });
  for (const name of VARIANTS.flatMap((each) => [`${each}.js`, `${each}.wasm`])) {
    await cp(join(RUNTIME, "wasm", name), join(ASIDE, folder, name));
    for (const suffix of [".br", ".gz"]) { // of the last build: brotli takes long over these
      await cp(join(BUILT, folder, name + suffix), join(ASIDE, folder, name + suffix)).catch(() => {});
    }
  }
  return folder;
}

async function filesBelow(folder) {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .sort();
}

/** Names all that the page is made from. */
async function versionOf() {
  const made = createHash("sha256");
  const from = [
    ...(await filesBelow(SOURCE)).map((name) => join(SOURCE, name)),
    ...(await filesBelow(TEXTS)).map((name) => join(TEXTS, name)),
    join(HERE, "build.mjs"),
    join(HERE, "package-lock.json"),
  ];
  for (const path of from) made.update(`${relative(HERE, path).replaceAll("\\", "/")}\0`).update(await readFile(path));
  return made.digest("hex").slice(0, 16);
}

async function compress(path) {
  const there = (suffix) => stat(path + suffix).then(() => true, () => false);
  const data = await readFile(path);
  const made = {
    ".br": () =>
      promisify(brotliCompress)(data, {
        params: {
          [constants.BROTLI_PARAM_QUALITY]: 11,
          [constants.BROTLI_PARAM_LGWIN]: 24,
          [constants.BROTLI_PARAM_SIZE_HINT]: data.length,
        },
      }),
    ".gz": () => promisify(gzip)(data, { level: 9 }),
  };
  for (const [suffix, make] of Object.entries(made)) {
    if (!(await there(suffix))) await writeFile(path + suffix, await make());
  }
}

async function main() {
  await rm(ASIDE, { recursive: true, force: true });
  await mkdir(ASIDE, { recursive: true });

  const version = await versionOf();
  const litert = await runtime();
  const common = {
    PAGE_VERSION: JSON.stringify(version),
    LITERT_FOLDER: JSON.stringify(`/${litert}/`),
  };
  const workerCode = await bundled("worker/worker.ts", { define: common });
  const worker = await asset("worker.js", workerCode);
  const style = await asset("app.css", await bundled("app/app.css", { format: undefined }));
  const define = { ...common, WORKER_URL: JSON.stringify(`/${worker}`) };
  const app = await asset("app.js", await bundled("app/main.ts", { define, format: "esm" }));
  const review = await asset("review.js", await bundled("review/main.ts", { define, format: "esm" }));
  const reviewStyle = await asset(
    "review.css",
    await bundled("review/review.css", { format: undefined }),
  );
  const icons = {};
  for (const name of await filesBelow(join(SOURCE, "icons"))) {
    icons[name] = await asset(name, await readFile(join(SOURCE, "icons", name)));
  }

  const filled = (text) =>
    text
      .replaceAll("{{app}}", `/${app}`)
      .replaceAll("{{style}}", `/${style}`)
      .replaceAll("{{review}}", `/${review}`)
      .replaceAll("{{review_style}}", `/${reviewStyle}`)
      .replaceAll(/\{\{icon:([\w.-]+)\}\}/g, (_, name) => {
        if (!(name in icons)) throw new Error(`source/icons has no ${name}`);
        return `/${icons[name]}`;
      });
  for (const name of ["index.html", "review.html", "manifest.webmanifest"]) {
    await writeFile(join(ASIDE, name), filled(await readFile(join(SOURCE, name), "utf8")));
  }

  const assets = {};
  for (const path of await filesBelow(ASIDE)) {
    if (path.endsWith(".br") || path.endsWith(".gz")) continue;
    assets[`/${path}`] = (await stat(join(ASIDE, path))).size;
  }
  await writeFile(join(ASIDE, "page.json"), `${JSON.stringify({ version, assets }, null, 1)}\n`);

  // Not fetched ahead: the variant of the runtime that a browser does not take, and the review page.
  const elsewhere = [`/${litert}/`, "/review.html", `/${review}`, `/${reviewStyle}`];
  const ahead = Object.keys(assets).filter((path) => !elsewhere.some((each) => path.startsWith(each)));
  const files = { ...common, PAGE_FILES: JSON.stringify(ahead) };
  await writeFile(
    join(ASIDE, "sw.js"),
    await bundled("worker/service_worker.ts", { define: files }),
  );

  const shrinking = (await filesBelow(ASIDE)).filter((path) => SHRINK.has(extname(path)));
  // sw.js is written anew by the server, so that it has no compressed form here.
  await Promise.all(
    shrinking.filter((path) => path !== "sw.js").map((path) => compress(join(ASIDE, path))),
  );

  for (const path of shrinking.filter((each) => each.endsWith(".wasm"))) {
    await rm(join(ASIDE, path)); // nine megabytes; the server unpacks the .gz where it has to
  }

  await rm(BUILT, { recursive: true, force: true });
  await rename(ASIDE, BUILT);
  console.log(`built/ holds page ${version}`);
}

await main();
