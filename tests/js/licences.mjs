// Checks the licences of all crates against the `allow` list of deny.toml, where cargo-deny is not at hand; and those
// of the packages of an npm lock file.
//
//     cargo metadata --format-version 1 --all-features --locked | node licences.mjs ../../deny.toml
//     node licences.mjs ../../deny.toml < package-lock.json
import { readFileSync } from 'node:fs';
import { fail } from './support.mjs';

const section = readFileSync(process.argv[2], 'utf8').match(/^\[licenses\]$[\s\S]*?^allow = \[([\s\S]*?)^\]/m)
  ?? fail('deny.toml has no list [licenses] allow');
const allowed = new Set([...section[1].matchAll(/"([^"]+)"/g)].map(([, name]) => name));

/** Whether an SPDX expression can be met with allowed licences; the older `MIT/Apache-2.0` means OR. */
function acceptable(expression) {
  const tokens = expression.replaceAll('/', ' OR ').match(/\(|\)|[^\s()]+/g);
  const primary = () => {
    if (tokens[0] === '(') {
      tokens.shift();
      const value = either();
      if (tokens.shift() !== ')') throw new Error('unbalanced');
      return value;
    }
    let name = tokens.shift();
    if (tokens[0] === 'WITH') name = `${name} ${tokens.shift()} ${tokens.shift()}`;
    return allowed.has(name);
  };
  const both = () => {
    let value = primary();
    while (tokens[0] === 'AND') {
      tokens.shift();
      value = primary() && value;
    }
    return value;
  };
  const either = () => {
    let value = both();
    while (tokens[0] === 'OR') {
      tokens.shift();
      value = both() || value;
    }
    return value;
  };
  const value = either();
  if (tokens.length > 0) throw new Error('not an SPDX expression');
  return value;
}

const found = JSON.parse(readFileSync(0, 'utf8')).packages;
// A lock file names its packages by their folders.
const packages = Array.isArray(found)
  ? found
  : Object.entries(found).map(([folder, { version, license }]) => ({ name: folder, version, license }));
const refused = packages.filter(({ license }) => {
  try {
    return !license || !acceptable(license);
  } catch {
    return true;
  }
});
if (refused.length > 0) {
  fail(`not allowed by deny.toml:\n${refused.map((p) => `  ${p.name} ${p.version}: ${p.license}`).join('\n')}`);
}
process.stdout.write(`the licences of ${packages.length} packages are allowed\n`);
