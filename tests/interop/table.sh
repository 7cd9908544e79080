#!/bin/bash
# Tables: Python's csv module, strictly; sqlite3 imports them.
#
#   tests/interop/table.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

python_csv() {
    python3 - "$1" <<'END'
import csv, sqlite3, sys
csv.field_size_limit(1 << 30)
rows = list(csv.reader(open(sys.argv[1], newline='', encoding='utf-8'), strict=True))
head, rows = rows[0], rows[1:]
assert rows and len(set(head)) == len(head) and all(len(row) == len(head) for row in rows)
numbers = [i for i, name in enumerate(head) if name.startswith(('self_', 'total_')) or name in ('line', 'tid', 'size', 'num_allocations')]
assert numbers and all(str(int(row[i])) == row[i] for row in rows for i in numbers if row[i])
assert not any(cell[:1] in ('=', '+', '@', '\t') for row in rows for cell in row)
table = sqlite3.connect(':memory:')
table.execute('create table t (%s)' % ', '.join('"%s"' % name for name in head))
table.executemany('insert into t values (%s)' % ', '.join('?' * len(head)), rows)
print(head, len(rows), table.execute('select sum(%s) from t' % head[numbers[-2]]).fetchone())
END
}
shell() {
    rm -f "$dir/db"
    sqlite3 "$dir/db" -cmd '.mode csv' ".import '$1' t" 'select count(*) from t' >"$dir/count" 2>"$dir/warned" && [ ! -s "$dir/warned" ] &&
        [ "$(tr -d '\r' <"$dir/count")" = "$(($(grep -c $'\r$' "$1") - 1))" ]
}
each .table.csv "Python's csv, sqlite3" python_csv
unless "$(has sqlite3 || echo no sqlite3)" .table.csv "sqlite3 imports it" shell
finish
