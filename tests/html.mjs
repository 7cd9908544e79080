// node html.mjs FILE.html: drives the page of the format .html in Chromium as a user does; exits 1 on failure.
// Needs playwright-core beside it, and a Chromium (CHROMIUM=/usr/bin/chromium); axe-core beside it checks what screen readers need.
import { chromium } from 'playwright-core';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';

const url = pathToFileURL(resolve(process.argv[2])).href;
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync', '--disable-background-networking', '--disable-component-update'];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, args: flags });
const axe = new URL('./node_modules/axe-core/axe.min.js', import.meta.url);
let passed = 0, failed = 0;
const problems = [];

function check(name, ok, detail = '') {
    if (ok) passed++; else failed++;
    console.log(`${ok ? 'ok' : 'not ok'} ${passed + failed} - ${name}${ok ? '' : ': ' + String(detail).slice(0, 600)}`);
}
async function open(hash = '', options = {}) {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', bypassCSP: false, ...options });
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
    check(`${view} is selected`, await page.getAttribute('#' + view, 'aria-selected') === 'true');
}
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
const exported = async kind => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.selectOption('#export', kind)]);
    return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
};
const folded = (await exported('folded')).bytes.toString().split('\n').filter(x => x);
check('folded stacks are stacks and numbers', folded.every(line => /^.+ \d+$/s.test(line)), folded[0]);
const scope = JSON.parse((await exported('speedscope')).bytes);
check('speedscope has stacks with weights', scope.profiles.every(p => p.samples.length === p.weights.length && p.samples.flat().every(f => f < scope.shared.frames.length)));
const pprof = await exported('pprof');
check('pprof is a packed protobuf', pprof.name.endsWith('.pb.gz') ? gunzipSync(pprof.bytes)[0] === 10 : pprof.bytes[0] === 10, pprof.name);

// On paper everything that is in a table is there.
await page.click('#tab-findings');
await page.emulateMedia({ media: 'print' });
check('controls are not printed', !(await page.isVisible('.tools')));
await page.pdf({}).then(pdf => check('it prints', pdf.length > 1000));

check('no errors, dialogs or requests', problems.length === 0, problems.join('; '));
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
