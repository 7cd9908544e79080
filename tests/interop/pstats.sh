#!/bin/bash
# pstats: pstats itself, and the viewers snakeviz, tuna and gprof2dot, which see the same functions and the same time.
#
#   tests/interop/pstats.sh FOLDER
# shellcheck disable=SC1091,SC2154 # tools sets folder and the like
. tests/interop/tools

printed() {
    PYTHONIOENCODING=utf-8 python3 -c 'import pstats, sys
stats = pstats.Stats(sys.argv[1])
stats.sort_stats("cumulative").print_stats(5).print_callers(5).print_callees(5)
assert stats.total_tt > 0 and abs(stats.total_tt - max(row[3] for row in stats.stats.values())) < 1e-6' "$1"
}
tuna_page() { # one root, and no function is larger than its caller
    tuna -o "$dir/tuna" --no-browser "$1" && ls "$dir/tuna" && python3 - "$dir/tuna/index.html" "$1" <<'END'
import json, pstats, re, sys
text = open(sys.argv[1], encoding='utf-8').read()
at = text.index('{', text.index('"text": ["') - 2) if '"text": ["' in text else text.index('{"text"')
tree, _ = json.JSONDecoder().raw_decode(text[at:])
total = max(row[3] for row in pstats.Stats(sys.argv[2]).stats.values())
def largest(node):
    return max([node.get('value', 0)] + [largest(child) for child in node.get('children', [])])
assert 0 < largest(tree) <= total + 1e-6, (largest(tree), total)
END
}
snakeviz_page() { # as a browser asks for it
    local port pid failed
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    snakeviz -s -H 127.0.0.1 -p "$port" "$1" >"$dir/server" 2>&1 &
    pid=$!
    python3 - "$port" "$1" "$dir/page" <<'END'
import sys, time, urllib.parse, urllib.request
url = 'http://127.0.0.1:%s/snakeviz/%s' % (sys.argv[1], urllib.parse.quote(sys.argv[2], safe=''))
for attempt in range(100):
    try:
        open(sys.argv[3], 'wb').write(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url).read())
        break
    except ConnectionError:
        pass
    except OSError as error:
        if 'refused' not in str(error):
            raise
    time.sleep(0.1)
END
    failed=$?
    kill "$pid"
    cat "$dir/server"
    [ "$failed" = 0 ] && grep -q 'table_data\|profile_data' "$dir/page" && grep -q '~:0(all)' "$dir/page"
}
dot() { gprof2dot -n 0 -e 0 -f pstats "$1" >"$dir/dot" && grep -q '100.00%' "$dir/dot" && grep -q -- '->' "$dir/dot"; }

each .prof "pstats prints it" printed
unless "$(has tuna || echo no tuna: make interop installs it)" .prof tuna tuna_page
unless "$(has snakeviz || echo no snakeviz: make interop installs it)" .prof snakeviz snakeviz_page
unless "$(has gprof2dot || echo no gprof2dot: make interop installs it)" .prof gprof2dot dot
finish
