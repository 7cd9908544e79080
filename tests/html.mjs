// node html.mjs FILE.html: drives the page of the format .html in Chromium as a user does; exits 1 on failure.
// Needs playwright-core beside it, and a Chromium (CHROMIUM=/usr/bin/chromium); axe-core beside it checks what screen readers need.
import { chromium } from 'playwright-core';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';

const url = pathToFileURL(resolve(process.argv[2])).href;
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync', '--disable-background-networking', '--disable-component-update'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, args: flags, timeout: 180000 });
const axe = new URL('./node_modules/axe-core/axe.min.js', import.meta.url);
let passed = 0, failed = 0;
const problems = [], wrongs = [];

function check(name, ok, detail = '') {
    if (ok) passed++; else failed++;
    const line = `${ok ? 'ok' : 'not ok'} ${passed + failed} - ${name}${ok ? '' : ': ' + String(detail).slice(0, 600)}`;
    if (!ok) wrongs.push(line);
    console.log(line);
}
async function open(hash = '', options = {}) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', bypassCSP: false, ...options });
    page.setDefaultTimeout(180000);
    page.on('pageerror', error => problems.push('page error: ' + error.message));
    page.on('console', message => { if (message.type() === 'error') problems.push('console: ' + message.text()); });
    page.on('dialog', dialog => { problems.push('dialog: ' + dialog.message()); dialog.dismiss(); });
    page.on('request', request => { if (request.url().split('#')[0] !== url && !request.url().startsWith('blob:')) problems.push('request: ' + request.url()); });
    await page.goto(url + hash);
    return page;
}
const hash = page => page.evaluate(() => location.hash);
const tabs = page => page.evaluate(() => [...document.querySelectorAll('[role=tab]')].map(t => t.id));
const serious = async page => (await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ['violations'] })).violations
    .filter(v => ['serious', 'critical'].includes(v.impact)).map(v => v.id + ' ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 120)).join(' | '))));

// Every view, light, dark, and on a phone.
const page = await open(), views = await tabs(page), data = JSON.parse(await page.evaluate(() => document.getElementById('data').textContent));
check('there are views', views.length >= 7, views);
for (const view of views) {
    await page.click('#' + view);
    check(`${view} opens`, await page.evaluate(() => document.getElementById('view').children.length > 0));
    check(`${view} has elements of its own only`, await page.evaluate(() => !document.querySelector('img, svg, iframe, object, embed, [onclick], [onerror], [onload]')));
    check(`${view} is selected`, await page.getAttribute('#' + view, 'aria-selected') === 'true');
}
check('there is one script', await page.evaluate(() => document.scripts.length === 2));
for (const options of [{ colorScheme: 'dark' }, { viewport: { width: 390, height: 800 } }]) {
    const other = await open('', options);
    for (const view of views) {
        await other.click('#' + view);
        const over = await other.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        check(`${view} fits ${options.colorScheme || 'a phone'}`, over <= 1, over + ' pixels too wide');
    }
    await other.close();
}
if (existsSync(axe)) {
    for (const colorScheme of ['light', 'dark']) {
        const context = await browser.newContext({ bypassCSP: true, colorScheme, viewport: { width: 1280, height: 800 } }), checked = await context.newPage();
        checked.setDefaultTimeout(180000);
        await checked.goto(url);
        await checked.evaluate(readFileSync(axe, 'utf8'));
        for (const view of views) {
            await checked.click('#' + view);
            const found = await serious(checked);
            check(`axe finds no serious fault in ${view}, ${colorScheme}`, found.length === 0, found.join('; '));
        }
        await context.close();
    }
}

// The tree's sum is what the page shows.
const sum = key => { const c = data.tree.self[key]; return c ? (Array.isArray(c[0]) ? c[1] : c).reduce((a, b) => a + b, 0) : 0; };
if (!data.diff && sum('wall_ns') > 0) {
    await page.click('#tab-flame');
    await page.selectOption('#metric', 'all');
    const told = await page.textContent('.info'), seconds = sum('wall_ns') / 1e9;
    const value = /all ([\d.]+) (ns|\u00b5s|ms|s|min|h)/.exec(told), scale = { ns: 1e-9, '\u00b5s': 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600 };
    check('the flame graph has all time', value && Math.abs(value[1] * scale[value[2]] / seconds - 1) < .06, told);
}

// Search, and what is no pattern.
await page.click('#tab-table');
await page.keyboard.press('/');
await page.keyboard.type('.');
await page.waitForFunction(() => /match/.test(document.getElementById('found').textContent));
check('a dot matches everything', /match: 100/.test(await page.textContent('#found')) || sum('wall_ns') === 0 || data.diff, await page.textContent('#found'));
check('the address keeps the search', (await hash(page)).includes('q='));
await page.fill('#search', '(');
await page.waitForFunction(() => document.getElementById('found').textContent === 'Not a valid pattern');
check('a pattern that is none is said to be none', true);
await page.focus('#search');
await page.keyboard.press('Escape');
check('Escape ends the search', await page.textContent('#found') === '');

// The brush, by mouse and by keyboard; a link restores it.
if (await page.isVisible('#strip')) {
    const box = await page.locator('#strip').boundingBox();
    await page.mouse.move(box.x + box.width * .25, box.y + 20);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * .75, box.y + 20, { steps: 4 });
    await page.mouse.up();
    check('dragging chooses a part of the time', (await hash(page)).includes('time='), await hash(page));
    for (const view of views) await page.click('#' + view);
    const linked = await open(await hash(page));
    check('a link restores it', await linked.isVisible('#whole'));
    await linked.close();
    await page.click('#whole');
    check('the whole time comes back', !(await hash(page)).includes('time='));
    await page.focus('#edge0');
    for (let i = 0; i < 3; i++) await page.keyboard.press('Shift+ArrowRight');
    check('arrow keys move an edge', Number(await page.getAttribute('#edge0', 'aria-valuenow')) > 0 || data.duration_ns < 1e7);
    await page.evaluate(() => { document.getElementById('whole').hidden || document.getElementById('whole').click(); });
}

// By keyboard alone: tabs, graph, table, tree, help.
await page.focus('#' + views[0]);
await page.keyboard.press('Home');
await page.keyboard.press('ArrowRight');
check('arrows go through the tabs', await page.getAttribute('#tab-flame', 'aria-selected') === 'true');
await page.focus('.flame');
await page.keyboard.press('ArrowDown');
await page.keyboard.press('Enter');
check('Enter zooms', !(await page.evaluate(() => 0)) && ((await hash(page)).includes('zoom=') || (await page.textContent('.info')).startsWith('all')), await hash(page));
await page.keyboard.press('Escape');
check('Escape zooms out', !(await hash(page)).includes('zoom='), await hash(page));
await page.click('#tab-tree');
await page.focus('[role=treegrid]');
await page.keyboard.press('ArrowDown');
check('the tree says which row is current', !!(await page.getAttribute('[role=treegrid]', 'aria-activedescendant')) || sum('wall_ns') === 0 || data.diff);
await page.evaluate(() => document.activeElement.blur());
await page.keyboard.press('?');
check('? shows the keys', await page.evaluate(() => document.getElementById('help').open));
await page.keyboard.press('Escape');
if (!data.diff) for (const side of ['m', 'M', 'i', 'd', 'd']) await page.keyboard.press(side);
if (data.diff) {
    await page.click('#tab-flame');
    await page.selectOption('#side', 'before');
    check('the other side of a difference', (await hash(page)).includes('side=before'));
    await page.selectOption('#side', 'after');
}

// What is exported can be read.
await page.evaluate(() => { const s = document.getElementById('metric'); s.selectedIndex = 0; s.dispatchEvent(new Event('change')); });
const exported = async kind => {   // a browser that is short of time may drop a download: then once more
    for (let tries = 5; ; tries--) {
        const download = page.waitForEvent('download', { timeout: 30000 }).catch(() => null);
        await page.selectOption('#export', kind);
        const file = await download;
        if (file) return { name: file.suggestedFilename(), bytes: readFileSync(await file.path()) };
        if (!tries) throw new Error('no download of ' + kind);
    }
};
// The same bytes without the browser's downloads, of which it allows only so many.
const content = kind => page.evaluate(kind => new Promise(done => {
    const make = URL.createObjectURL, click = HTMLAnchorElement.prototype.click;
    HTMLAnchorElement.prototype.click = () => {};
    URL.createObjectURL = blob => {
        blob.arrayBuffer().then(data => {
            let text = '';
            for (const byte of new Uint8Array(data)) text += String.fromCharCode(byte);
            URL.createObjectURL = make;
            HTMLAnchorElement.prototype.click = click;
            done({ text: btoa(text) });
        });
        return make.call(URL, blob);
    };
    const select = document.getElementById('export');
    select.value = kind;
    select.dispatchEvent(new Event('change'));
}), kind).then(one => Buffer.from(one.text, 'base64'));
const folded = (await exported('folded')).bytes.toString().split('\n').filter(x => x);
check('folded stacks are stacks and numbers', folded.every(line => /^.+ \d+$/s.test(line)), folded[0]);
const scope = JSON.parse((await exported('speedscope')).bytes);
check('speedscope has stacks with weights', scope.profiles.every(p => p.samples.length === p.weights.length && p.samples.flat().every(f => f < scope.shared.frames.length)));
const pprof = await exported('pprof');
check('pprof is a packed protobuf', pprof.name.endsWith('.pb.gz') ? gunzipSync(pprof.bytes)[0] === 10 : pprof.bytes[0] === 10, pprof.name);

// ---- values: what every view and every export tells is what the recording's JSON says ------------------------------------------
const near = (shown, truth, slack) => Math.abs(shown - truth) <= slack;
// "10.5 s" is a number of nanoseconds, bytes or items, and what its digits leave open.
function told(text) {
    const found = /(-?[\d,]+(?:\.(\d+))?)(?: (ns|\u00b5s|ms|s|min|h|B|KiB|MiB|GiB|TiB)(?![\w]))?/.exec(text || '');
    if (!found) return { value: 0, slack: 0 };
    const scale = { ns: 1, '\u00b5s': 1e3, ms: 1e6, s: 1e9, min: 6e10, h: 3.6e12, B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3, TiB: 1024 ** 4 }[found[3]] || 1;
    return { value: Number(found[1].replace(/,/g, '')) * scale, slack: scale * 10 ** -(found[2] || '').length * .501 };
}
const shows = (text, truth, slack = 0) => { const t = told(text); return near(t.value, truth, t.slack + slack); };
const go = to => page.evaluate(to => new Promise(done => {
    if (location.hash === to) return done();
    window.addEventListener('hashchange', () => done(), { once: true });
    location.hash = to;
}), '#' + to);
// Time below functions that a search finds, by label, name or file: <native> is also the name of C functions whose name is unknown.
function truthOfSearch(J, truth, pattern) {
    const searched = new RegExp(pattern, /[A-Z]/.test(pattern) ? '' : 'i'), hit = J.frames.map(f => [f.label, f.qualname || f.name, f.file].some(text => text && searched.test(text)));
    const inside = [false];
    let sum = 0;
    for (let i = 1; i < truth.self.length; i++) {
        inside[i] = inside[J.tree.parent[i]] || hit[J.tree.frame[i]];
        if (inside[i]) sum += truth.self[i];
    }
    return sum;
}
// The values of a recording, by its JSON alone: self of each node, and of functions as tables have them.
function truthOf(J, { plus, less, thread, range, at }) {
    const parents = J.tree.parent, frames = J.tree.frame.map(f => J.frames[f]), count = parents.length, self = new Array(count).fill(0), inside = new Array(count).fill(thread === undefined);
    if (thread !== undefined) for (let i = 1; i < count; i++) inside[i] = i === J.threads[thread].node || inside[parents[i]];
    if (range) {
        for (const s of J.samples) {
            const from = (s.start_ns - J.start_ns) / 1e3, to = (s.end_ns - J.start_ns) / 1e3, part = Math.min(range[1], to) - Math.max(range[0], from);
            if (part > 0 && inside[s.node]) self[s.node] += at(s) * part / (to - from);
        }
    } else for (const [key, sign] of [[plus, 1], [less, -1]]) (J.tree.self[key] || []).forEach((v, i) => { if (inside[i]) self[i] += sign * v; });
    const leaf = i => ['native', 'wait'].includes(frames[i].kind), outer = i => ['process', 'thread'].includes(frames[i].kind), total = self.slice(), functions = new Map(), lasts = new Map();
    for (let i = count - 1; i > 0; i--) total[parents[i]] += total[i];
    for (let i = 1; i < count; i++) {
        if (!self[i]) continue;
        let own = i;
        while (leaf(own) && parents[own] && !outer(parents[own])) own = parents[own];
        const seen = new Set();
        for (let n = own; n > 0; n = parents[n]) {
            if (outer(n) || seen.has(frames[n].label)) continue;
            seen.add(frames[n].label);
            const row = functions.get(frames[n].label) || { self: 0, total: 0 };
            row.total += self[i];
            if (n === own) row.self += self[i];
            functions.set(frames[n].label, row);
        }
        lasts.set(frames[i].label, (lasts.get(frames[i].label) || 0) + self[i]);
    }
    // The widest path of the graph: of the children of all nodes of a box those of one function are one box.
    const path = [], kids = Array.from({ length: count }, () => []);
    for (let i = 1; i < count; i++) kids[parents[i]].push(i);
    for (let nodes = [0]; path.length < 6;) {
        const boxes = new Map(), put = i => { if (outer(i)) kids[i].forEach(put); else boxes.set(frames[i].function, [...(boxes.get(frames[i].function) || []), i]); };
        nodes.forEach(n => kids[n].forEach(put));
        const widest = [...boxes.values()].map(list => ({ list, value: list.reduce((a, i) => a + total[i], 0) })).sort((a, b) => b.value - a.value)[0];
        if (!widest || !widest.value) break;
        path.push(widest.value);
        nodes = widest.list;
    }
    return { all: total[0], self, entries: self.filter(v => v).length, functions, lasts, path };
}
// Fields of a protobuf: [number, value or bytes].
function* fields(bytes) {
    let at = 0;
    const varint = () => { let v = 0, scale = 1, b; do { b = bytes[at++]; v += (b & 127) * scale; scale *= 128; } while (b & 128); return v; };
    while (at < bytes.length) {
        const key = varint();
        if (key % 8 === 2) { const size = varint(); yield [Math.floor(key / 8), bytes.subarray(at, at + size)]; at += size; } else yield [Math.floor(key / 8), varint()];
    }
}
const numbers = bytes => { const out = []; let v = 0, scale = 1; for (const b of bytes) { v += (b & 127) * scale; scale *= 128; if (!(b & 128)) { out.push(v); v = 0; scale = 1; } } return out; };
function pprofLasts(bytes) {
    const strings = [], places = new Map(), functions = new Map(), sums = new Map(), samples = [];
    for (const [n, part] of fields(bytes)) {
        if (n === 6) strings.push(Buffer.from(part).toString());
        else if (n === 2) samples.push(part);
        else if (n === 4) { const f = [...fields(part)]; places.set(f.find(x => x[0] === 1)[1], [...fields(f.find(x => x[0] === 4)[1])].find(x => x[0] === 1)[1]); }
        else if (n === 5) { const f = [...fields(part)]; functions.set(f.find(x => x[0] === 1)[1], f.find(x => x[0] === 2)[1]); }
    }
    for (const part of samples) {
        const f = [...fields(part)], ids = numbers(f.find(x => x[0] === 1)[1]), label = ids.length ? strings[functions.get(places.get(ids[0]))] : '';
        sums.set(label, (sums.get(label) || 0) + numbers(f.find(x => x[0] === 2)[1])[0]);
    }
    return sums;
}
const jsonPath = process.argv[2].replace(/\.html$/, '.json');
if (!data.diff && existsSync(jsonPath)) {
    const J = JSON.parse(readFileSync(jsonPath)), wide = J.samples.length ? [J.samples.reduce((a, s) => Math.max(a, (s.end_ns - J.start_ns) / 1e3), 0)] : [0];
    const wall = s => s.wall_ns, cases = [
        { name: 'all', metric: 'all', plus: 'wall_ns', at: wall },
        { name: 'busy', metric: 'busy', plus: 'wall_ns', less: 'idle_ns', at: s => s.bits & 8 ? 0 : s.wall_ns },
        { name: 'CPU time', metric: 'cpu', plus: 'cpu_ns', at: s => s.cpu_ns },
        { name: 'waiting', metric: 'waiting', plus: 'wait_ns', less: 'idle_ns', at: s => s.bits & 1 && !(s.bits & 8) ? s.wall_ns : 0 },
        { name: 'allocated', metric: 'alloc', plus: 'alloc_bytes' }, { name: 'live', metric: 'live', plus: 'live_bytes' },
    ].filter(c => (J.tree.self[c.plus] || []).some(v => v));
    if (cases.length && J.threads.length > 1) cases.push({ ...cases[0], name: cases[0].name + ' of a thread', thread: J.threads.length - 1 });
    if (data.timeline && data.timeline.step === 1 && wide[0] > 1000) for (const c of cases.filter(c => c.at && c.thread === undefined).slice(0, 3)) cases.push({ ...c, name: c.name + ' of a part of the time', range: [Math.round(wide[0] * .3), Math.round(wide[0] * .7)] });
    for (const c of cases) {
        const truth = truthOf(J, c), five = [...truth.functions].sort((a, b) => b[1].self - a[1].self || b[1].total - a[1].total).slice(0, 5), wrong = [];
        const options = `metric=${c.metric}` + (c.thread === undefined ? '' : `&thread=t${c.thread}`) + (c.range ? `&time=${c.range.join('-')}` : '');
        // The page has times in microseconds: of a part of the time each entry may be off by one.
        const slack = c.range ? truth.all * .004 + 5e3 : 1;
        const expect = (what, text, value) => { if (!shows(text, value, slack)) wrong.push(`${what}: ${String(text).slice(0, 60)}, not ${value}`); };
        await go(options + '&view=flame');
        expect('graph', await page.textContent('.info'), truth.all);
        await page.focus('.flame');
        for (const value of truth.path) {
            await page.keyboard.press('ArrowDown');
            const text = await page.textContent('.info'), name = await page.textContent('.info b');
            expect('box', text.slice(name.length), value);
        }
        for (const [label, row] of five) {
            const f = data.functions.label.findIndex(id => data.strings[id] === label), pattern = '^' + label.replace(/[^A-Za-z0-9 ]/g, ch => '\\u' + ch.charCodeAt(0).toString(16).padStart(4, '0')).replace(/(\\u[0-9a-f]{4})/g, '$1') + '$';
            await go(`${options}&view=table&sort=self&q=${encodeURIComponent(pattern)}`);
            const rows = await page.evaluate(() => [...document.querySelectorAll('.grid [role=rowgroup] .row:not(.top)')].map(r => [...r.children].map(cell => cell.textContent)));
            if (!rows.some(r => shows(r[0], row.self, slack) && shows(r[2], row.total, slack))) wrong.push(`table: ${label}: ${JSON.stringify(rows.slice(0, 3))}, not ${row.self}, ${row.total}`);
            const share = /match: ([\d.]+) %/.exec(await page.textContent('#found'));
            const part = 100 * truthOfSearch(J, truth, pattern) / truth.all;
            if (truth.all && (!share || !near(Number(share[1]), part, .06 + 100 * slack / truth.all))) wrong.push(`search: ${label}: ${share && share[1]}, not ${part}`);
            await go(`${options}&view=sandwich&f=${f}`);
            const line = await page.evaluate(() => document.querySelector('#view h2 + p').textContent), values = /(\S+ ?[^\s(]*) \([\d.]+ %\)(?:, itself (.*?))?(?:Source| *$)/s.exec(line);
            if (!values || !shows(values[1], row.total, slack) || !shows(values[2] || '0', row.self, slack)) wrong.push(`sandwich: ${label}: ${line}, not ${row.total}, ${row.self}`);
        }
        await go(options);
        const lasts = [...truth.lasts].sort((a, b) => b[1] - a[1]).slice(0, 5), scale = c.plus.endsWith('_ns') ? 1e3 : 1, folded = new Map(), scopes = new Map();
        for (const stack of (await content('folded')).toString().split('\n').filter(x => x)) { const at = stack.lastIndexOf(' '), name = stack.slice(stack.lastIndexOf(';', at) + 1, at); folded.set(name, (folded.get(name) || 0) + Number(stack.slice(at + 1)) * scale); }
        const scope = JSON.parse(await content('speedscope'));
        for (const p of scope.profiles) p.samples.forEach((stack, i) => { const name = stack.length ? scope.shared.frames[stack[stack.length - 1]].name : ''; scopes.set(name, (scopes.get(name) || 0) + p.weights[i]); });
        const packed = await content('pprof'), pprofs = pprofLasts(packed[0] === 31 ? gunzipSync(packed) : packed), plain = text => text.replace(/[;\r\n\0]/g, ch => ch === ';' ? ':' : ' ');
        for (const [what, sums, unit] of [['folded', folded, scale], ['speedscope', scopes, 1], ['pprof', pprofs, 1]]) {
            const all = [...sums.values()].reduce((a, b) => a + b, 0);
            if (!near(all, truth.all, slack + truth.entries * unit)) wrong.push(`${what}: ${all} in all, not ${truth.all}`);
            for (const [label, value] of lasts) if (!near(sums.get(what === 'folded' ? plain(label) : label) || 0, value, slack + truth.entries * unit)) wrong.push(`${what}: ${label}: ${sums.get(label)}, not ${value}`);
        }
        check(`values agree with the JSON: ${c.name}`, wrong.length === 0, wrong.join(' | '));
    }
    await go('view=findings');
}

// On paper everything that is in a table is there.
await page.click('#tab-findings');
await page.emulateMedia({ media: 'print' });
check('controls are not printed', !(await page.isVisible('.tools')));
await page.pdf({}).then(pdf => check('it prints', pdf.length > 1000));

check('no errors, dialogs or requests', problems.length === 0, problems.join('; '));
await browser.close();
for (const line of wrongs) console.log(line);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
