#!/usr/bin/env python3
"""prose.py [--list]: a check of the words of comments and pages: length and beginnings of sentences, retired words, first lines of files.

The rules are those of CONTRIBUTING.md, "Words". Comments, docstrings and Markdown pages are read; code, tables of numbers and output are not.
With --list each finding and each sentence over SENTENCE_MAX words is printed. Exits 1 when a rule is broken; tests/lint/words.txt has the retired words.
"""
import ast, io, os, re, subprocess, sys, tokenize

SENTENCE_MAX, MEAN_MAX, SHORT_SHARE = 30, 18, 0.95
SOURCE = re.compile(r'\.(c|h|def)$')
COMMENT = re.compile(r'/\*(.*?)\*/|//([^\n]*)', re.S)
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
SCRIPT_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|`(?:\\.|[^`\\])*`')
HASH_COMMENT = re.compile(r'^(\s*)#+(?!!)\s?(.*)$|^(.*\s)#\s(.*)$')
GENERATED = ('tests/chart/golden/', 'tests/fuzz/corpus')


def tracked(*patterns):
    listed = subprocess.run(['git', 'ls-files', *patterns], capture_output=True, text=True, check=True).stdout
    return [p for p in listed.split('\n') if p and os.path.isfile(p)]


def blank(m):
    """A string of the same length and lines that holds no mark of a comment."""
    return '"' + re.sub(r'[^\n]', ' ', m.group(0)[1:-1]) + '"'


def blocks_of_source(text, string=STRING):
    """Line number and text of each comment; a comment's paragraphs are blocks of their own."""
    quiet = string.sub(blank, text)
    for m in COMMENT.finditer(quiet):
        first = quiet.count('\n', 0, m.start()) + 1
        start, end = m.span(1) if m.group(1) is not None else m.span(2)
        yield from paragraphs(text[start:end], first, lambda l: re.sub(r'^\s*\*? ?', '', l))


def blocks_of_javascript(text):
    return blocks_of_source(text, SCRIPT_STRING)


def blocks_of_hashes(text):
    """The `#` comments of a script. Whole lines that follow each other are one comment; a comment after code stands alone."""
    block, begin = [], 0
    for i, line in enumerate(text.split('\n') + [''], 1):
        m = HASH_COMMENT.match(line)
        if m and m.group(2) is not None:
            begin = begin or i
            block.append(m.group(2))
            continue
        if block:
            yield from paragraphs('\n'.join(block), begin, lambda l: l)
            block, begin = [], 0
        if m and not m.group(3).count('"') % 2 and not m.group(3).count("'") % 2:
            yield i, m.group(4)


def blocks_of_python(text):
    """The comments and the docstrings of a Python file."""
    block, begin, last = [], 0, 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or token.string.startswith('#!'):
            continue
        follows = token.start[0] == last + 1 and not token.line[:token.start[1]].strip()
        if block and not follows:
            yield from paragraphs('\n'.join(block), begin, lambda l: l)
            block = []
        begin = begin if block else token.start[0]
        block.append(token.string.lstrip('#').removeprefix(' '))
        last = token.start[0]
    yield from paragraphs('\n'.join(block), begin, lambda l: l)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield from paragraphs(node.value.value, node.lineno, lambda l: l.removeprefix(' ' * node.col_offset))


def blocks_of_page(text):
    kept, in_code = [], False
    for line in text.split('\n'):
        if line.startswith('```'):
            in_code = not in_code
            line = ''
        is_code = in_code or line.startswith('    ') or line.startswith('|--') or line.startswith('#') or line.startswith('![')
        kept.append('' if is_code else line)
    yield from paragraphs('\n'.join(kept), 1, lambda l: l)


def paragraphs(text, first, strip):
    """Paragraphs, list items and table cells, each as (line, text). Drawings and tables of columns are left out."""
    block, begin = [], first
    for i, raw in enumerate(text.split('\n') + ['']):
        line = strip(raw)
        is_item = re.match(r'\s*([-*+]|\d+\.)\s', line)
        is_row = line.startswith('|')
        is_licence = line.strip().startswith('SPDX-License-Identifier:')
        is_drawing = re.match(r'\s{3,}\S', line) and not block or re.search(r'\S {3,}\S|--+>?|<--+|[│┌└─▼]', line)
        if block and (not line.strip() or is_item or is_row or is_drawing or is_licence):
            yield begin, ' '.join(block)
            block = []
        if is_row:
            for cell in line.strip().strip('|').split(' | '):
                yield first + i, cell
        elif line.strip() and not is_drawing and not is_licence:
            if not block:
                begin = first + i
            block.append(re.sub(r'^\s*([-*+]|\d+\.)\s+', '', line).strip())


READERS = ((re.compile(r'\.(c|h|def|go|java)$'), blocks_of_source), (re.compile(r'\.m?js$'), blocks_of_javascript),
           (re.compile(r'\.py$'), blocks_of_python), (re.compile(r'\.md$'), blocks_of_page))


def blocks(path, text):
    for pattern, reader in READERS:
        if pattern.search(path):
            return reader(text)
    return blocks_of_hashes(text)


def sentences(text):
    text = re.sub(r'`[^`]*`', 'code', text)
    text = re.sub(r'\]\([^)]*\)', ']', text)
    for s in re.split(r'(?<=[.!?])["\')]*\s+(?=[A-Z"(\[*_]|code)', text):
        s = s.strip().strip('*_ -')
        if re.search(r'[A-Za-z]{2}', s) and len(s.split()) >= 3:
            yield s


class Words:
    """Retired words: `pattern<TAB>replacement[<TAB>prefixes of paths where the word means what the field means by it]`."""

    def __init__(self, path):
        self.rows = []
        for line in open(path):
            if line.strip() and not line.startswith('#'):
                pattern, replacement, *exempt = line.rstrip('\n').split('\t')
                self.rows.append((re.compile(pattern, re.I), replacement, tuple(exempt[0].split()) if exempt else ()))

    def find(self, path, line):
        for pattern, replacement, exempt in self.rows:
            m = pattern.search(line)
            if m and not path.startswith(exempt if exempt else '\0'):
                yield m.group(0), replacement


FALLIBLE = re.compile(r'^MUST_CHECK int (\w+)\(', re.M)
NAMED = re.compile(r'ERR_|[Ee]rrors?\b')


def silent_functions(text):
    """Line and name of each function of a header that may fail, where neither its paragraph nor the head names errors."""
    head = re.match(r'\s*/\*.*?\*/', text, re.S)
    if head and NAMED.search(head.group(0)):
        return
    for m in FALLIBLE.finditer(text):
        start, end = text.rfind('\n\n', 0, m.start()) + 2, text.find('\n\n', m.start())
        if not NAMED.search(text[start:end if end >= 0 else len(text)]):
            yield text.count('\n', 0, m.start()) + 1, m.group(1)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    words = Words(os.path.join(here, 'words.txt'))
    broken, lengths, begins, retired, silent = [], [], 0, 0, 0
    for path in tracked('*.c', '*.h', '*.def', '*.md', '*.py', '*.sh', '*.awk', '*.js', '*.mjs', '*.go', '*.java', 'Makefile', '*.yaml', '.ci/*'):
        if path.startswith(GENERATED):
            continue
        text = open(path, errors='replace').read()
        is_source = bool(SOURCE.search(path))
        for line, block in blocks(path, text):
            for s in sentences(block):
                n = len(s.split())
                lengths.append(n)
                if n > SENTENCE_MAX and '--list' in sys.argv:
                    print(f'{path}:{line}: {n} words: {s}')
                if re.match(r'(Who|What|Whoever|Whatever|That which)\b', s) and not s.endswith('?'):
                    begins += 1
                    broken.append(f'{path}:{line}: a sentence begins with "{s.split()[0]}": {s[:90]}')
        if is_source and not path.endswith('_pb.h'):
            head = re.match(r'\s*/\* SPDX-License-Identifier: [^\n]*\n \* ?([^\n]+)', text)
            if not head:
                broken.append(f'{path}:1: the file does not begin with what it is')
        if path.endswith('.h') and not path.startswith('tests/'):
            for line, name in silent_functions(text):
                silent += 1
                broken.append(f'{path}:{line}: {name} may fail, and its comment names no error')
    for path in tracked():
        if path.startswith(('tests/lint/', *GENERATED)) or not re.search(r'\.(c|h|def|md|js|mjs|py|sh|proto|html|css|awk|yaml|tpl|txt)$|Makefile$', path):
            continue
        for i, line in enumerate(open(path, errors='replace'), 1):
            for found, replacement in words.find(path, line):
                retired += 1
                broken.append(f'{path}:{i}: "{found}": {replacement}')
    lengths.sort()
    mean = sum(lengths) / max(1, len(lengths))
    short = sum(n <= SENTENCE_MAX for n in lengths) / max(1, len(lengths))
    readme = sum(1 for _ in open('README.md'))
    for line in broken[:None if '--list' in sys.argv else 40]:
        print(line)
    print(f'prose: {len(lengths)} sentences, {mean:.1f} words each (at most {MEAN_MAX}); {100 * short:.1f} % have at most {SENTENCE_MAX} (at least '
          f'{100 * SHORT_SHARE:.0f} %); {begins} begin with Who or What; {retired} retired words; {silent} functions that fail without a word; README.md {readme} lines')
    return bool(broken) or mean > MEAN_MAX or short < SHORT_SHARE


sys.exit(main())
