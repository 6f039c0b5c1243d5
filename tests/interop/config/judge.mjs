// node judge.mjs FOLDER DIFFERENCES TYPE...: compares FOLDER/TYPE.verdict with FOLDER/TYPE.expect
// and prints a table; exit 1 for a difference that is not listed, or a listed one that is none.
import fs from 'node:fs'
import path from 'node:path'

const [folder, differences, ...types] = process.argv.slice(2)
const lines = name => fs.readFileSync(name, 'utf8').split('\n').filter(l => l)
const listed = new Map(lines(differences).filter(l => !l.startsWith('#')).map(l => {
    const [suite, name, ...reason] = l.split(' ')
    return [`${suite} ${name}`, reason.join(' ')]
}))
let failed = 0

function count(map, key) {
    map.set(key, (map.get(key) ?? 0) + 1)
}

for (const type of types) {
    const said = new Map(lines(path.join(folder, `${type}.verdict`)).map(l => {
        const [verdict, rest] = [l.slice(0, 2), l.slice(3)]
        return verdict === 'ok' ? [rest, ['yes', '']] : [rest.slice(0, rest.indexOf(': line ')), ['no', rest.slice(rest.indexOf(': line ') + 2)]]
    }))
    const expected = lines(path.join(folder, `${type}.expect`)).map(l => l.split('\t'))
    const reasons = new Map()
    let agree = 0
    for (const [verdict, name, file, rule] of expected) {
        const [ours, why] = said.get(file) ?? ['nothing', '']
        const key = `${type} ${name}`
        const differs = ours !== verdict && (verdict !== 'any' || ours === 'nothing')
        if (differs !== listed.has(key)) {
            console.log(`  ${key}: wanted ${verdict}, got ${ours} ${why}${listed.has(key) ? ' (listed as a difference)' : ''}`)
            failed++
        }
        if (listed.has(key))
            count(reasons, listed.get(key))
        else if (rule)
            count(reasons, rule)
        else if (!differs)
            agree++
        listed.delete(key)
    }
    console.log(`${type}: ${expected.length} cases, ${agree} as the suite says`)
    for (const [reason, n] of reasons) console.log(`  ${String(n).padStart(5)}  ${reason}`)
}
for (const key of listed.keys())
    if (types.includes(key.split(' ')[0])) {
        console.log(`  ${key}: listed, but no such case`)
        failed++
    }
process.exit(failed ? 1 : 0)
