// node speedscope.mjs INDEX.html FILE KIND TEXT...: opens FILE in the speedscope app, in Chromium without a window; exits 1
// unless it is read as a KIND ("speedscope json file") without an error, and the page then shows each TEXT.
// Needs playwright-core beside it and a Chromium (CHROMIUM=/usr/bin/chromium).
import { chromium } from 'playwright-core';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [index, file, kind, ...wanted] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'speedscope-'));
const script = join(folder, 'profile.js');
const name = JSON.stringify(basename(file)), data = readFileSync(file).toString('base64');
writeFileSync(script, `speedscope.loadFileFromBase64(${name}, "${data}")`);

const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
    '--disable-background-networking', '--disable-component-update', '--allow-file-access-from-files'];
const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium', headless: true, args: flags });
const problems = [], said = [];
try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
    page.on('pageerror', error => problems.push('page error: ' + error.message));
    page.on('dialog', dialog => { problems.push('dialog: ' + dialog.message()); dialog.dismiss(); });
    page.on('console', message => {
        said.push(message.text());
        if (message.type() === 'error') problems.push('console: ' + message.text());
    });
    page.on('request', request => {
        if (!/^(file|data|blob):/.test(request.url())) problems.push('request: ' + request.url());
    });
    await page.goto(pathToFileURL(resolve(index)).href + '#localProfilePath=' + script);
    for (let i = 0; i < 200 && !said.some(line => line.startsWith('Importing as')); i++) await page.waitForTimeout(100);
    await page.waitForFunction(texts => texts.every(text => document.body.innerText.includes(text)), wanted, { timeout: 20000 })
        .catch(() => problems.push('the page shows: ' + wanted));
    if (problems.length && wanted.length) problems.push(await page.evaluate(() => document.body.innerText.slice(0, 500)));
    if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
} finally {
    await browser.close();
    rmSync(folder, { recursive: true });
}
if (!said.some(line => line.startsWith('Importing as') && line.toLowerCase().includes(kind)))
    problems.push(`not imported as ${kind}: ` + said.join('; '));
for (const problem of problems) console.log(problem);
process.exit(problems.length ? 1 : 0);
