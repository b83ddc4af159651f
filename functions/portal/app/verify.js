// @ts-check
/** How a receiver verifies, in six languages, and signatures of our own for `curl`. */
import { html, useState } from './preact.js';
import { Segments } from './ui.js';
import { Block } from './code.js';
import { t } from './i18n.js';

/** @type {Record<string, (pkg: string, secret: string) => string>} */
const SNIPPETS = {
  JavaScript: (p, s) => `// npm install ${p}
import { Webhook } from "${p}";

const wh = new Webhook(${s || 'process.env.WEBHOOK_SECRET'});
app.post("/webhooks", express.raw({ type: "application/json" }), (req, res) => {
  const event = wh.verify(req.body, req.headers); // throws if it is not from us
  res.sendStatus(204);
});`,
  Python: (p, s) => `# pip install ${p}
from ${p === 'svix' ? 'svix.webhooks' : 'standardwebhooks.webhooks'} import Webhook

wh = Webhook(${s || 'os.environ["WEBHOOK_SECRET"]'})

@app.post("/webhooks")
def webhook():
    event = wh.verify(request.get_data(), request.headers)  # raises if it is not from us
    return "", 204`,
  Go: (p, s) => `// go get github.com/${p === 'svix' ? 'svix/svix-webhooks/go' : 'standard-webhooks/standard-webhooks/libraries/go'}
wh, err := ${p === 'svix' ? 'svix' : 'standardwebhooks'}.NewWebhook(${s || 'os.Getenv("WEBHOOK_SECRET")'})

func handler(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if err := wh.Verify(body, r.Header); err != nil {
		http.Error(w, "bad signature", http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}`,
  Ruby: (p, s) => `# gem install ${p}
require "${p}"

wh = ${p === 'svix' ? 'Svix' : 'StandardWebhooks'}::Webhook.new(${s || 'ENV["WEBHOOK_SECRET"]'})
post "/webhooks" do
  headers = request.env.select { |k, _| k.start_with?("HTTP_") }.transform_keys { |k| k[5..].downcase.tr("_", "-") }
  event = wh.verify(request.body.read, headers) # raises if it is not from us
  204
end`,
  PHP: (p, s) => `// composer require ${p === 'svix' ? 'svix/svix' : 'standard-webhooks/standard-webhooks'}
$wh = new \\${p === 'svix' ? 'Svix' : 'StandardWebhooks'}\\Webhook(${s || "getenv('WEBHOOK_SECRET')"});
$headers = array_change_key_case(getallheaders());
$event = $wh->verify(file_get_contents('php://input'), $headers); // throws if it is not from us
http_response_code(204);`,
  Rust: (p, s) => `// cargo add ${p}
let wh = ${p === 'svix' ? 'svix::webhooks' : 'standardwebhooks'}::Webhook::new(${s || '&std::env::var("WEBHOOK_SECRET")?'})?;

async fn webhook(headers: HeaderMap, body: Bytes) -> StatusCode {
    match wh.verify(&body, &headers) {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::BAD_REQUEST,
    }
}`,
};

/** @param {{secret?: string, style: string}} props */
export default function Verify({ secret = '', style }) {
  const [name, set] = useState('JavaScript');
  const pkg = style === 'svix' ? 'svix' : 'standardwebhooks';
  const asymmetric = secret.startsWith('whpk_');
  return html`<div class="card"><header><h2>${t('verify')}</h2><${Segments} label=${t('language')} value=${name} set=${set} options=${Object.keys(SNIPPETS).map((n) => [n, n])} /></header><div class="pad col"><p class="hint">${t(asymmetric ? 'verifyEd' : 'verifyText')}</p><${Block} text=${SNIPPETS[name](pkg, '')} label=${name} /></div></div>`;
}

const encoder = new TextEncoder();
/** @param {ArrayBuffer} raw */
const base64 = (raw) => btoa(String.fromCharCode(...new Uint8Array(raw)));
/** @param {string} secret */
const keyBytes = (secret) => Uint8Array.from(atob(secret.replace(/^whsec_/, '')), (c) => c.charCodeAt(0));

/** The signature of Standard Webhooks, v1. @param {string} secret @param {string} id @param {number} seconds @param {string} body */
export async function sign(secret, id, seconds, body) {
  if (!crypto.subtle) throw new Error(t('noCrypto'));
  const key = await crypto.subtle.importKey('raw', keyBytes(secret), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
  return 'v1,' + base64(await crypto.subtle.sign('HMAC', key, encoder.encode(`${id}.${seconds}.${body}`)));
}

/** @param {string} text */
const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** A request as `curl` sends it. @param {string} url @param {[string, string][]} headers @param {string} body */
export const curl = (url, headers, body) => ['curl -i ' + quote(url), ...headers.map(([name, value]) => `  -H ${quote(`${name}: ${value}`)}`), '  --data-raw ' + quote(body)].join(' \\\n');
