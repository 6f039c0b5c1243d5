#!/usr/bin/env python3
"""pages.py: the pages of the documentation: links lead somewhere, named functions exist, sizes hold, both READMEs say the same."""
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


def check_names(path, text):
    """(`file`: `name`, `name`; `file`: ...): the files exist, and the names stand in them."""
    for group in re.findall(r'\((`[^()]*\.[ch]`[^()]*)\)', text):
        file = None
        for name in re.findall(r'`([^`]+)`', group):
            if '/' in name:
                file = name
                if not os.path.exists(file):
                    fail(f'{path}: there is no {file}')
            elif file and os.path.exists(file) and not re.search(r'\b' + re.escape(name) + r'\b', open(file).read()):
                fail(f'{path}: {file} has no {name}')


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


pages = [p for p in subprocess.run(['git', 'ls-files', '*.md'], capture_output=True, text=True).stdout.split('\n') if p and os.path.exists(p)]
for page in pages:
    text = open(page).read()
    check_links(page, text)
    if page == 'docs/architecture.md':
        check_names(page, text)
    size, most = len(text.encode()), README_MAX if page.startswith('README') else PAGE_MAX if page.startswith('docs/') else None
    if most and size > most:
        fail(f'{page} has {size} bytes; at most {most}')
check_translation('README.md', 'README.zh-CN.md')
for line in failures:
    print(line)
sys.exit(len(failures) > 0)
