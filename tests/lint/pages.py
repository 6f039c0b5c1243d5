#!/usr/bin/env python3
"""pages.py: the pages of the documentation: links lead somewhere, named functions exist, sizes hold, both READMEs say the same, and
docs/etcd.md names what DEVIATIONS.md does."""
import os, re, subprocess, sys

README_MAX, PAGE_MAX = 10240, 15000
failures = []


def fail(text):
    failures.append(text)


def slug(heading):
    """The anchor that a forge makes of a heading."""
    return re.sub(r'[^\w\- ]', '', heading.strip().lower()).replace(' ', '-')


def without_code(text):
    return re.sub(r'`[^`\n]*`', '', re.sub(r'```.*?```', '', text, flags=re.S))


def check_links(path, text):
    for target in re.findall(r'\]\(([^)\s]+)\)', without_code(text)):
        if re.match(r'[a-z]+:', target):
            continue
        file, _, anchor = target.partition('#')
        to = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
        if not os.path.exists(to):
            fail(f'{path}: the link to {target} leads nowhere')
        elif anchor and to.endswith('.md') and anchor not in map(slug, re.findall(r'^#+ (.*)', open(to).read(), re.M)):
            fail(f'{path}: {to} has no heading for #{anchor}')


def is_defined(name, code):
    """A function with its body, a struct or enum with its fields, a variable with its value, a macro; no prototype, call or comment."""
    code = re.sub(r'/\*.*?\*/', '', code, flags=re.S)
    name = re.escape(name)
    return any(re.search(pattern, code, re.M) for pattern in (
        r'^[A-Za-z_][^;{}=#]*\b' + name + r'\([^;{}]*\)\s*\{',
        r'^(static )?(const )?(struct|enum) ' + name + r'\s*\{',
        r'^[A-Za-z_][^;{}()]*\b' + name + r'(\[[^\]]*\])*\s*=',
        r'^#define ' + name + r'\b'))


def check_names(path, text):
    """(`file`: `name`, `name`; `file`: ...): the files exist, and define the names."""
    for group in re.findall(r'\((`[^()]*\.[ch]`[^()]*)\)', text):
        file = None
        for name in re.findall(r'`([^`]+)`', group):
            if '/' in name:
                file = name
                if not os.path.exists(file):
                    fail(f'{path}: there is no {file}')
            elif file and os.path.exists(file) and not is_defined(name, open(file).read()):
                fail(f'{path}: {file} does not define {name}')


def check_folder(page, text, code):
    """A table of the folder's README names each .c and .h file: `x.c`, `x.h`, or `x.[ch]` when both exist; `part/` stands for a whole folder."""
    folder = os.path.dirname(page)
    names = {name for row in re.findall(r'^\|.*', text, re.M) for name in re.findall(r'`([^`*]+)`', row)}
    named = set()
    for base, end in (m.groups() for m in (re.match(r'([\w/]+)\.(\[ch\]|[ch])$', n) for n in names) if m):
        files = {f'{base}.{e}' for e in end.strip('[]')}
        missing = {f for f in files if not os.path.exists(os.path.join(folder, f))}
        if missing and missing != files:
            fail(f'{page}: a table names {base}.{end}, but there is no {min(missing)}')
        named |= files
    for file in code:
        inner = os.path.relpath(file, folder)
        if inner not in named and inner.split('/')[0] + '/' not in names:
            fail(f'{page}: no table names {inner}')


def check_mutants(page, text, table):
    """The figure of mutants is the number of rows in base/mutant.def."""
    rows = len(re.findall(r'^MUTANT_ROW\(', table, re.M))
    for figure in re.findall(r'(\d+) mutants', text):
        if int(figure) != rows:
            fail(f'{page}: {figure} mutants; base/mutant.def has {rows}')


def rows_of_names(text):
    """The rows of tables whose first cell is names in backquotes: name -> (names of the cell, last cell)."""
    rows = {}
    for cells in ([c.strip() for c in re.split(r'(?<!\\)\|', line)[1:-1]] for line in re.findall(r'^\| *`.*', text, re.M)):
        for name in re.findall(r'`([^`]+)`', cells[0]):
            rows[name] = rows.get(name, []) + [cells[-1]]
    return rows


def check_deviations(page, text, table_page, table):
    """The page names each deviation once, with a reason of one sentence, and no other."""
    section = re.search(r'^## What differs on purpose$(.*?)(?=^## |\Z)', text, re.M | re.S)
    here, there = rows_of_names(section.group(1) if section else ''), rows_of_names(table)
    for name in sorted(set(there) - set(here)):
        fail(f'{page}: "What differs on purpose" does not name {name} of {table_page}')
    for name in sorted(set(here) - set(there)):
        fail(f'{page}: {name} is not in {table_page}')
    for name, reasons in sorted(here.items()):
        if len(reasons) > 1 or not reasons[0] or re.search(r'\. ', reasons[0]):
            fail(f'{page}: {name} has no reason of one sentence')


def nearest_page(file):
    folder = os.path.dirname(file)
    while folder and not os.path.exists(folder + '/README.md'):
        folder = os.path.dirname(folder)
    return folder + '/README.md'


def check_translation(one, other):
    """Headings by number and level, commands and their output, figures and links."""
    a, b = open(one).read(), open(other).read()
    for what, pattern in (('headings', r'^(#+) '), ('console blocks', r'```console\n.*?```'), ('links', r'\]\(([^)]+)\)'),
                          ('figures', r'(?<![\w./:-])[1-9][\d,./]*\d'), ('tables', r'^\|(?=-)')):
        flags = re.M | re.S
        x, y = re.findall(pattern, a, flags), re.findall(pattern, b, flags)
        if what in ('links', 'figures'):
            swap = {one: other, other: one}
            x, y = sorted(swap.get(t, t) for t in x) if what == 'links' else sorted(x), sorted(y)
        if x != y:
            fail(f'{one} and {other} differ in their {what}: {sorted(set(x) ^ set(y))[:4] or [len(x), len(y)]}')


def tracked(*patterns):
    listed = subprocess.run(['git', 'ls-files', '--cached', '--others', '--exclude-standard', '--', *patterns], capture_output=True, text=True)
    return sorted({p for p in listed.stdout.split('\n') if p and os.path.exists(p)})


pages = tracked('*.md')
folders = {}
for file in tracked('*.c', '*.h'):
    if not file.startswith('tests/'):
        folders.setdefault(nearest_page(file), []).append(file)
for page in pages:
    text = open(page).read()
    check_links(page, text)
    if page == 'docs/architecture.md':
        check_names(page, text)
    if page in folders:
        check_folder(page, text, folders[page])
    if page == 'docs/etcd.md':
        check_deviations(page, text, 'tests/interop/DEVIATIONS.md', open('tests/interop/DEVIATIONS.md').read())
    if page == 'README.md':
        check_mutants(page, text, open('base/mutant.def').read())
    size, most = len(text.encode()), README_MAX if page.startswith('README') else PAGE_MAX if page.startswith('docs/') else None
    if most and size > most:
        fail(f'{page} has {size} bytes; at most {most}')
check_translation('README.md', 'README.zh-CN.md')
for line in failures:
    print(line)
sys.exit(len(failures) > 0)
