// node devtools.mjs FILE PANEL TEXT...: loads FILE into Chromium's own developer tools (PANEL: timeline or heap-profiler); exits
// 1 unless they load it without an error and then show each TEXT (of ONE|OTHER, one of them). A TEXT that begins with @ is clicked
// at once: @x,y or @words.
// SCREENSHOT=x.png keeps a picture.
// Needs playwright-core beside it and a Chromium (CHROMIUM=/usr/bin/chromium).
import { chromium } from 'playwright-core';

const [file, panel, ...texts] = process.argv.slice(2);
const clicks = texts.filter(word => word.startsWith('@')), wanted = texts.filter(word => !word.startsWith('@'));
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update'];
const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, args: flags });
const problems = [];

// The text of the page: the tools are made of components, each with a tree of its own.
const text = page => page.evaluate(() => {
    const parts = [];
    const walk = node => {
        if (node.shadowRoot) walk(node.shadowRoot);
        for (const child of node.childNodes)
            if (child.nodeType === 3) parts.push(child.textContent);
            else if (child.nodeType === 1 && child.tagName !== 'STYLE' && child.tagName !== 'SCRIPT') walk(child);
    };
    walk(document.body);
    return parts.join(' ').replace(/\s+/g, ' ');
});

const click = async (page, where) => {
    const place = where.match(/^(\d+),(\d+)$/);
    if (place) await page.mouse.click(+place[1], +place[2]);
    else await page.getByText(where).first().evaluate(node => {   // a dialog can be in front of it
        for (const kind of ['mousedown', 'mouseup', 'click'])
            node.dispatchEvent(new MouseEvent(kind, { bubbles: true, composed: true, cancelable: true }));
    }, null, { timeout: 5000 });
};

try {
    const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
    page.on('pageerror', error => problems.push('page error: ' + error.message));
    await page.goto('devtools://devtools/bundled/devtools_app.html?panel=' + panel);
    const inputs = page.locator('input[type=file]');
    for (let i = 0; i < 100 && await inputs.count() === 0; i++) await page.waitForTimeout(100);
    await inputs.last().setInputFiles(file);
    let shown = '', missing = wanted;
    for (let i = 0; i < 100; i++) {
        await page.waitForTimeout(200);
        if (i >= 15 && clicks.length) await click(page, clicks.shift().slice(1));
        shown = await text(page);
        missing = wanted.filter(word => !word.split('|').some(one => shown.includes(one)));
        if (missing.length === 0 && clicks.length === 0 && i > 20) break;
    }
    if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
    for (const word of missing) problems.push('not shown: ' + word);
    if (missing.length) problems.push(shown.slice(0, 2000));
} finally {
    await browser.close();
}
for (const problem of problems) console.log(problem);
process.exit(problems.length ? 1 : 0);
