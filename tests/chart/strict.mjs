// SPDX-License-Identifier: Apache-2.0
// strict.mjs FILE...: each rendered object as a TypeScript value of its kind's type. tsc then reports unknown fields
// and wrong types. The script also reports null, an object without a namespace, and duplicate objects.
import fs from 'node:fs';
import YAML from 'yaml';

let imports = '', body = '', count = 0, wrong = 0;
const nulls = (value, path) => {
  if (value === null) { console.log(`${path}: null`); wrong = 1; }
  else if (typeof value === 'object') for (const key in value) nulls(value[key], `${path}.${key}`);
};
for (const file of process.argv.slice(3)) {
  const seen = new Set();
  for (const document of YAML.parseAllDocuments(fs.readFileSync(file, 'utf8'))) {
    for (const error of document.errors) { console.log(`${file}: ${error.message}`); wrong = 1; }
    const object = document.toJSON();
    if (!object) continue;
    const [group, version] = object.apiVersion.includes('/') ? object.apiVersion.split('/') : ['', object.apiVersion];
    const place = `${group ? group + '/' : ''}${version}/${object.kind}`;
    const module = group === 'monitoring.coreos.com' ? '@kubernetes-models/prometheus-operator/' + place
      : group === 'cert-manager.io' ? '@kubernetes-models/cert-manager/' + place : 'kubernetes-models/' + place;
    const name = `${place}/${object.metadata.namespace}/${object.metadata.name}`;
    if (seen.has(name)) { console.log(`${file}: ${name} is there twice`); wrong = 1; }
    seen.add(name);
    nulls(object, `${file}: ${object.kind}/${object.metadata.name}`);
    imports += `import type {I${object.kind} as T${count}} from '${module}';\n`;
    body += `// ${file}: ${name}\nexport const o${count}: T${count} = ${JSON.stringify(object, null, 1)};\n`;
    count++;
  }
}
fs.writeFileSync(process.argv[2], imports + body);
console.log(`${count} objects`);
process.exit(wrong);
