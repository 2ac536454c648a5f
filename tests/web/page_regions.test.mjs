import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { regions } from "./region_modules.mjs"

const SHARED = new URL("../../acestep_core/server/page/shared/region_times.js", import.meta.url)
const LAYER = new URL("../../acestep_core/server/page/static/regions.js", import.meta.url)

test("the page and the widgets have the same arithmetic, which imports nothing", async () => {
  const shared = await import(SHARED)
  for (const [name, one] of Object.entries(shared)) assert.equal(regions[name], one, name)
  assert.doesNotMatch(readFileSync(SHARED, "utf8"), /\bimport\b/)
})

test("the page finds all that it takes from there", async () => {
  const shared = await import(SHARED)
  const [, names] = /import \{ ([^}]*) \} from "\.\/region_times\.js"/.exec(readFileSync(LAYER, "utf8"))
  for (const name of names.split(", ")) assert.equal(typeof shared[name], "function", name)
})
