"""The page of the HTML report: docs/report.html, and what of it is in pyprof.h.

    page.py            writes the page into pyprof.h, and into the page itself the hashes of its script and style
    page.py --check    tells what is not as that would make it; exits 1

In the header the page has no comments and no indentation, and its data is cut out. Rules for docs/report.html that keep
this simple: ASCII; a comment of the script is a line of its own; no text goes over two lines.
"""
import base64
import hashlib
import re
import sys

PAGE, HEADER = "docs/report.html", "pyprof.h"
BEGIN, END = "// <report.html>\n", "// </report.html>\n"
DATA = re.compile(r'(<script type="application/json" id="data">)(.*?)(</script>)', re.S)


def stripped(page):
    """Without comments, indentation, empty lines."""
    page = re.sub(r"<!--.*?-->\n?", "", page, flags=re.S)
    lines = (line.strip() for line in page.split("\n"))
    return "".join(line + "\n" for line in lines if line and not re.match(r"//( |$)|/\*.*\*/$", line))


def hashed(page):
    """With the hashes of the script and the style in its policy."""
    for tag in "script", "style":
        text = re.search(r"<%s>(.*?)</%s>" % (tag, tag), page, re.S).group(1)
        value = base64.b64encode(hashlib.sha256(text.encode("ascii")).digest()).decode("ascii")
        page = re.sub(r"(%s-src 'sha256-)[^']*'" % tag, lambda found, value=value: found.group(1) + value + "'", page, count=1)
    return page


def literals(text):
    """Lines of C for the text: a string for some 90 characters of it."""
    at = 0
    while at < len(text):
        literal, start = "", at
        while at < len(text) and len(literal) < 95:
            c = text[at]
            literal += {"\n": "\\n", '"': '\\"', "\\": "\\\\"}.get(c, "\\?" if c == "?" and text[at - 1:at] == "?" else c)
            at += 1
            if c == "\n" and at - start > 60:
                break
        yield '    "%s",\n' % literal


def embedded(page):
    before, data, after = DATA.sub("\\1\0\\3", hashed(stripped(page))).partition("\0")
    rows = list(literals(before)) + ['    "",\n'] + list(literals(after))
    rows[-1] = rows[-1].replace('",\n', '"\n')
    return "static const char *const pyprof__html_page[%d] = {\n%s};\n" % (len(rows), "".join(rows))


def main():
    with open(PAGE, encoding="ascii") as file:
        page = file.read()
    with open(HEADER, encoding="ascii") as file:
        header = file.read()
    start, end = header.index(BEGIN) + len(BEGIN), header.index(END)
    wanted = {PAGE: hashed(page), HEADER: header[:start] + embedded(page) + header[end:]}
    changed = [name for name, text in ((PAGE, page), (HEADER, header)) if text != wanted[name]]
    if "--check" in sys.argv[1:]:
        for name in changed:
            print("%s: not as `make html` makes it" % name)
        sys.exit(1 if changed else 0)
    for name in changed:
        with open(name, "w", encoding="ascii") as file:
            file.write(wanted[name])


if __name__ == "__main__":
    main()
