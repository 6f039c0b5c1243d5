// check.mjs FILE: parses an AsyncAPI document with the parser of the AsyncAPI project. Exit 1 with its sentences when it has errors.
import { readFile } from 'node:fs/promises'
import { Parser } from '@asyncapi/parser'

const text = await readFile(process.argv[2], 'utf8')
const { document, diagnostics } = await new Parser().parse(text)
const errors = diagnostics.filter((d) => d.severity === 0)
for (const d of errors) console.log(`${d.path.join('.')}: ${d.message}`)
if (errors.length || !document) process.exit(1)
const messages = document.allMessages().all().length
const operations = document.allOperations().all().length
if (messages < 17 || operations < 11) {
    console.log(`${messages} messages, ${operations} operations: too few`)
    process.exit(1)
}
console.log(`@asyncapi/parser: ${messages} messages, ${operations} operations, AsyncAPI ${document.version()}`)
