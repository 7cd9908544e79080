// node dhat.mjs DH_VIEW.html FILE: opens FILE in DHAT's viewer, in Chromium without a window; exits 1 unless the viewer takes it
// without an error, in each of its orders, and its root has the file's sums: in all, at the peak, at the end.
// Needs playwright-core beside it and a Chromium (CHROMIUM=/usr/bin/chromium).
import { chromium } from 'playwright-core';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [viewer, file] = process.argv.slice(2);
const points = JSON.parse(readFileSync(file, 'utf8')).pps;
const sum = key => points.reduce((all, point) => all + point[key], 0).toLocaleString('en-US');
const wanted = [`Total:     ${sum('tb')} bytes`, `At t-gmax: ${sum('gb')} bytes`, `At t-end:  ${sum('eb')} bytes`];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update'] });
const problems = [];
try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.on('pageerror', error => problems.push('page error: ' + error.message));
    await page.goto(pathToFileURL(resolve(viewer)).href);
    await page.locator('input[type=file]').first().setInputFiles(file);
    const shown = () => page.evaluate(() => document.body.innerText.replace(/\u00a0/g, ' '));
    await page.waitForFunction(() => document.body.innerText.includes('PP 1/1'), null, { timeout: 20000 })
        .catch(() => problems.push('the viewer shows no tree'));
    for (const text of wanted) if (!(await shown()).includes(text)) problems.push('the root is not: ' + text);
    const orders = await page.locator('select option:not([disabled])').evaluateAll(all => all.map(one => one.index));
    for (const order of orders) {
        await page.locator('select').first().selectOption({ index: order });
        if (!(await shown()).includes('PP 1/1')) problems.push('no tree in order ' + order);
    }
    if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
    if (problems.length) problems.push((await shown()).slice(0, 1500));
} finally {
    await browser.close();
}
for (const problem of problems) console.log(problem);
process.exit(problems.length ? 1 : 0);
