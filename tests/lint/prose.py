#!/usr/bin/env python3
"""prose.py [--list]: what the words of the tree are like: sentences, their length and beginnings, retired words, first lines of files.

The rules are those of CONTRIBUTING.md, "Words". Comments of C files and Markdown pages are read; code, tables of numbers and output are not.
With --list each sentence over SENTENCE_MAX words is printed. Exits 1 when a rule is broken; tests/lint/words.txt has the retired words.
"""
import os, re, subprocess, sys

SENTENCE_MAX, MEAN_MAX, SHORT_SHARE = 30, 18, 0.95
SOURCE = re.compile(r'\.(c|h|def)$')
COMMENT = re.compile(r'/\*(.*?)\*/|//([^\n]*)', re.S)
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')


def tracked(*patterns):
    listed = subprocess.run(['git', 'ls-files', *patterns], capture_output=True, text=True, check=True).stdout
    return [p for p in listed.split('\n') if p and os.path.isfile(p)]


def blocks_of_source(text):
    """Line number and text of each comment; a comment's paragraphs are blocks of their own."""
    quiet = STRING.sub(lambda m: '"' + ' ' * (len(m.group(0)) - 2) + '"', text)
    for m in COMMENT.finditer(quiet):
        first = quiet.count('\n', 0, m.start()) + 1
        start, end = m.span(1) if m.group(1) is not None else m.span(2)
        yield from paragraphs(text[start:end], first, lambda l: re.sub(r'^\s*\*? ?', '', l))


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
        is_drawing = re.match(r'\s{3,}\S', line) and not block or re.search(r'\S {3,}\S|--+>?|<--+|[│┌└─▼]', line)
        if block and (not line.strip() or is_item or is_row or is_drawing):
            yield begin, ' '.join(block)
            block = []
        if is_row:
            for cell in line.strip().strip('|').split(' | '):
                yield first + i, cell
        elif line.strip() and not is_drawing:
            if not block:
                begin = first + i
            block.append(re.sub(r'^\s*([-*+]|\d+\.)\s+', '', line).strip())


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


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    words = Words(os.path.join(here, 'words.txt'))
    broken, lengths, begins, retired = [], [], 0, 0
    for path in tracked('*.c', '*.h', '*.def', '*.md'):
        text = open(path, errors='replace').read()
        is_source = bool(SOURCE.search(path))
        for line, block in (blocks_of_source if is_source else blocks_of_page)(text):
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
            if not head and not path.startswith('tests/'):
                broken.append(f'{path}:1: the file does not begin with what it is')
    for path in tracked():
        if path.startswith(('tests/lint/', 'tests/fuzz/corpus')) or not re.search(r'\.(c|h|def|md|js|mjs|py|sh|proto|html|css|awk|yaml|tpl|txt)$|Makefile$', path):
            continue
        for i, line in enumerate(open(path, errors='replace'), 1):
            for found, replacement in words.find(path, line):
                retired += 1
                broken.append(f'{path}:{i}: "{found}": {replacement}')
    lengths.sort()
    mean = sum(lengths) / max(1, len(lengths))
    short = sum(n <= SENTENCE_MAX for n in lengths) / max(1, len(lengths))
    readme = sum(1 for _ in open('README.md'))
    for line in broken[:400 if '--list' in sys.argv else 40]:
        print(line)
    print(f'prose: {len(lengths)} sentences, {mean:.1f} words each (at most {MEAN_MAX}); {100 * short:.1f} % have at most {SENTENCE_MAX} (at least '
          f'{100 * SHORT_SHARE:.0f} %); {begins} begin with Who or What; {retired} retired words; README.md {readme} lines')
    return bool(broken) or mean > MEAN_MAX or short < SHORT_SHARE


sys.exit(main())
