// @ts-check
/** Adding an endpoint. */
import { html, useState } from './preact.js';
import { can } from './session.js';
import { change } from './api.js';
import { go, href } from './router.js';
import { Empty, Head, isSentTo, LinkButton, toast } from './ui.js';
import EndpointForm, { body, values } from './endpoint-form.js';
import { kinds } from './endpoint-aws.js';
import Connectors from './connectors.js';
import { t } from './i18n.js';

/** @param {{app: any, route: import('./router.js').Route}} props */
export default function EndpointNew({ app, route }) {
  const [connector, choose] = useState(/** @type {any} */ (null));
  const back = href(app.base + '/endpoints');
  const head = html`<${Head} crumbs=${[[t('endpoints'), back], [t('addEndpoint')]]} title=${t('addEndpoint')} sub=${t('addEndpointSub')} />`;
  if (!can('ManageEndpoint')) return html`${head}<div class="card"><${Empty} icon="shield" title=${t('e_403')}>${t('needs', { capability: 'ManageEndpoint' })}<//></div>`;
  const { url, type, kind } = route.query;
  const start = values({ url, eventTypes: type ? [type] : [], destination: kinds().includes(kind) ? { kind } : undefined });
  return html`${head}<${Connectors} value=${connector} set=${choose} /><${EndpointForm} key=${JSON.stringify(route.query)} isNew app=${app} start=${start} connector=${connector} yes=${t('addEndpoint')} cancel=${html`<${LinkButton} href=${back}>${t('cancel')}<//>`} save=${async (/** @type {any} */ v) => {
    const headers = Object.fromEntries(v.headers.filter((/** @type {string[]} */ pair) => pair[0]));
    const more = { secret: v.secret || undefined, headers: Object.keys(headers).length ? headers : undefined };
    // Nothing is sent to a service in a form that it does not take: the endpoint begins once it has the code.
    const made = await change('POST', app.path + '/endpoint', body(v, values(), connector ? { ...more, disabled: true } : more));
    if (connector) {
      const path = `${app.path}/endpoint/${made.id}`;
      try {
        await change('PATCH', path + '/transformation', { code: connector.transformation, enabled: true });
        await change('PATCH', path, { disabled: false });
      } catch (error) {
        await change('DELETE', path);
        throw error;
      }
    }
    toast(t(isSentTo(made) ? 'endpointAdded' : 'saved'));
    go(`${app.base}/endpoints/${made.id}${isSentTo(made) ? '/test' : ''}`);
  }} />`;
}
