// A person at the sample web app, in headless Chromium: playwright-core drives the browser of the machine.
//
//     node browser.mjs '{"base": "http://127.0.0.1:8080", "screenshots": "target/screenshots"}'
//
// What it relies on in the pages: data-testid `sign-in`, `who`, `tenant`, `roles`, `permissions` (a list),
// `expires-in` (seconds), `refresh`, `check`, `check-result`, `other-tenant`, `other-tenant-result`,
// `sign-out`, `sign-out-result` in the app, `refused` on the refusal page, and a field `username` on the
// provider's page. It prints what each person saw, and every secret that came by, as one JSON line.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { run } from './support.mjs';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
];
const WAIT = 15_000;

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

/** Asks until `probe` answers something true; the page has its time, and the test an end. */
async function until(what, probe, limit = WAIT) {
  const end = Date.now() + limit;
  for (;;) {
    const value = await probe();
    if (value) return value;
    expect(Date.now() < end, `${what}: not so after ${limit / 1000} s`);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}

/** One person: her own browser profile, what she did, what went wrong in her pages. */
class Person {
  constructor(context, page, username) {
    Object.assign(this, { context, page, username, complaints: [], refusals: [], secrets: new Set() });
    page.setDefaultTimeout(WAIT);
    page.on('pageerror', (error) => this.complaints.push(`script error: ${error.message}`));
    page.on('console', (message) => {
      // A refused request is looked at as a response, below.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
        this.complaints.push(`console: ${message.text()}`);
      }
    });
    page.on('request', (request) => {
      const { searchParams } = new URL(request.url());
      this.#note(searchParams.get('code'));
    });
    page.on('response', (response) => {
      if (response.status() >= 500) this.complaints.push(`${response.status()} from ${response.url()}`);
      else if (response.status() >= 400) this.refusals.push(`${response.status()} ${new URL(response.url()).pathname}`);
      if (response.ok() && new URL(response.url()).pathname.endsWith('/token')) {
        response.json().then((body) => {
          ['access_token', 'refresh_token', 'id_token'].forEach((name) => this.#note(body[name]));
        }).catch(() => {});
      }
    });
  }

  #note(value) {
    if (typeof value === 'string' && value.length >= 8) this.secrets.add(value);
  }

  item(id) {
    return this.page.locator(`[data-testid="${id}"]`);
  }

  async text(id) {
    return (await this.item(id).innerText()).trim();
  }

  async result(id, pattern) {
    await until(`${id} says ${pattern}`, async () => pattern.test(await this.text(id))).catch(async (error) => {
      throw new Error(`${error.message}; it says: ${await this.text(id)}`);
    });
    return this.text(id);
  }

  async seconds() {
    const text = await this.text('expires-in');
    const number = Number.parseInt(text.match(/\d+/)?.[0] ?? '', 10);
    expect(Number.isInteger(number), `expires-in holds no number of seconds: ${text}`);
    return number;
  }

  /** From the app's front page to the page that the sign-in ends with: `who` or `refused`. */
  async signIn(base) {
    await this.page.goto(`${base}/demo`);
    await this.item('sign-in').click();
    const field = this.page.locator('[name="username"]').first();
    const address = this.page.locator('input[type="email"]').first();
    const end = this.page.locator('[data-testid="who"], [data-testid="refused"]').first();
    let asked = false;
    for (let pages = 0; pages < 5; pages += 1) {
      await field.or(address).or(end).first().waitFor({ state: 'visible' });
      if (await end.isVisible()) break;
      const here = this.page.url();
      if (await field.isVisible()) {
        asked = true;
        await this.#choose();
      } else {
        await address.fill(this.username);
        await address.press('Enter');
      }
      await until('the next page', async () => this.page.url() !== here || await end.isVisible());
    }
    expect(asked, 'no page with a field `username` came up');
    await end.waitFor({ state: 'visible' });
  }

  /** The provider's page may offer buttons, radio buttons, a list or a text field. */
  async #choose() {
    const named = (kind) => this.page.locator(`${kind}[name="username"]`);
    const value = `[value="${this.username}"]`;
    const button = this.page.locator(`button[name="username"]${value}, input[type="submit"][name="username"]${value}`);
    if (await button.count()) {
      await button.first().click();
      return;
    }
    const radio = this.page.locator(`input[type="radio"][name="username"]${value}`);
    if (await radio.count()) await radio.first().check();
    else if (await named('select').count()) await named('select').first().selectOption(this.username);
    else await named('input').first().fill(this.username);
    await this.page.locator('form:has([name="username"]) [type="submit"], form:has([name="username"]) button').first().click();
  }

  async facts() {
    const permissions = this.item('permissions').locator('li, tbody tr');
    await until('permissions are listed', () => permissions.count());
    return {
      who: await this.text('who'),
      tenant: await this.text('tenant'),
      roles: await this.text('roles'),
      permissions: (await permissions.allInnerTexts()).map((text) => text.replace(/\s+/g, ' ').trim()),
      expires_in: await this.seconds(),
    };
  }

  async collect() {
    (await this.context.cookies()).forEach(({ value }) => this.#note(value));
    const stored = await this.page.evaluate(() => [...Object.values(sessionStorage), ...Object.values(localStorage)]);
    for (const text of stored) {
      text.match(/[\w.~+/=-]{20,}/g)?.forEach((value) => this.#note(value));
    }
  }
}

async function dana(person, base) {
  await person.signIn(base);
  const saw = await person.facts();
  expect(saw.who.includes('dana@acme.example'), `who is ${saw.who}`);
  expect(/\bacme\b/i.test(saw.tenant), `tenant is ${saw.tenant}`);
  expect(saw.roles.includes('data-entry') && !saw.roles.includes('admin'), `roles are ${saw.roles}`);
  expect(saw.permissions.some((text) => text.includes('calendar-events')), `permissions: ${saw.permissions.join(' | ')}`);
  expect(saw.permissions.some((text) => text.includes('acme-events')), `permissions: ${saw.permissions.join(' | ')}`);
  expect(saw.expires_in > 800 && saw.expires_in <= 900, `the token lives for ${saw.expires_in} s, not 15 minutes`);

  saw.later = await until('the expiry counts down', async () => {
    const seconds = await person.seconds();
    return seconds <= saw.expires_in - 2 && seconds;
  });
  await person.item('refresh').click();
  saw.refreshed = await until('the expiry is new', async () => {
    const seconds = await person.seconds();
    return seconds > saw.later && seconds;
  });
  await person.item('check').click();
  saw.check = await person.result('check-result', /(?<!in)active/i);
  expect(!/inactive/i.test(saw.check), `a live token is called ${saw.check}`);
  expect(person.refusals.length === 0, `refused meanwhile: ${person.refusals.join(', ')}`);

  await person.item('other-tenant').click();
  saw.other_tenant = await person.result('other-tenant-result', /refused|denied|not allowed/i);
  expect(/globex/i.test(saw.other_tenant), `it does not say what is refused, and why: ${saw.other_tenant}`);

  await person.collect();
  await person.item('sign-out').click();
  saw.sign_out = await person.result('sign-out-result', /\w/);
  await person.item('check').click();
  saw.check_after = await person.result('check-result', /inactive/i);
  return saw;
}

async function ada(person, base) {
  await person.signIn(base);
  const saw = await person.facts();
  expect(saw.who.includes('ada@acme.example'), `who is ${saw.who}`);
  expect(saw.roles.includes('admin'), `roles are ${saw.roles}`);
  await person.collect();
  expect(person.refusals.length === 0, `refused meanwhile: ${person.refusals.join(', ')}`);
  return saw;
}

async function nora(person, base) {
  await person.signIn(base);
  const refused = await person.text('refused');
  expect(refused.length > 20, `the refusal says nothing: ${refused}`);
  expect(await person.item('who').count() === 0, 'refused, and yet signed in');
  await person.collect();
  return { refused };
}

const STORIES = { dana, ada, nora };

await run(async ({ base, screenshots, people = Object.keys(STORIES) }) => {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
    headless: true,
    args: FLAGS,
    timeout: 30_000,
  });
  const saw = { secrets: [], screenshots: [], chromium: browser.version() };
  try {
    for (const name of people) {
      const context = await browser.newContext();
      await context.addInitScript(() => {
        document.addEventListener('securitypolicyviolation', (event) => {
          console.error(`content security policy: ${event.violatedDirective} kept out ${event.blockedURI}`);
        });
      });
      const page = await context.newPage();
      const person = new Person(context, page, `${name}@acme.example`);
      const picture = async (label) => {
        if (!screenshots) return;
        mkdirSync(screenshots, { recursive: true });
        const path = join(screenshots, `${label}.png`);
        await page.screenshot({ path, fullPage: true });
        saw.screenshots.push(path);
      };
      try {
        saw[name] = await STORIES[name](person, base);
        expect(person.complaints.length === 0, `her pages complain: ${person.complaints.join('; ')}`);
      } catch (error) {
        await picture(`failed-${name}`).catch(() => {});
        const visible = await page.locator('body').innerText({ timeout: 1000 }).catch(() => '');
        error.message = `${name}, at ${page.url().split('?')[0]}: ${error.message}\n`
          + `refused: ${person.refusals.join(', ') || 'nothing'}; complaints: ${person.complaints.join('; ') || 'none'}\n`
          + `the page reads: ${visible.slice(0, 800)}`;
        throw error;
      }
      await picture(name);
      saw.secrets.push(...person.secrets);
      await context.close();
    }
  } finally {
    await browser.close();
  }
  if (saw.ada && saw.dana) {
    expect(saw.ada.permissions.length > saw.dana.permissions.length, 'an admin sees no more permissions than a data-entry clerk');
  }
  return saw;
}, 150);
