// @ts-check
/** What is shown where there is no session. */
import { html, useState } from './preact.js';
import { Mark } from './icons.js';
import { Button, Failure, Line } from './ui.js';
import { t } from './i18n.js';

/** @param {{title: string, text: string, children?: any}} props */
const Page = ({ title, text, children }) => html`<main class="main"><div class="hero"><svg class="logo" viewBox="0 0 32 32"><${Mark} /></svg><h1>${title}</h1><p>${text}</p>${children}</div></main>`;

/** @param {{signIn: () => void}} props */
export const Ended = ({ signIn }) => html`<${Page} title=${t('endedTitle')} text=${t('endedText')}><${Button} onClick=${signIn}>${t('useToken')}<//><//>`;

/** @param {{error: any, retry: () => void}} props */
export const Trouble = ({ error, retry }) => html`<${Page} title=${t('troubleTitle')} text=${t('troubleText')}><${Failure} error=${error} retry=${retry} /><//>`;

/** @param {{broken: boolean, use: (token: string) => Promise<any>}} props */
export function SignIn({ broken, use }) {
  const [token, set] = useState('');
  const [why, say] = useState('');
  // What is wrong with it is known once the server has refused it.
  const submit = (/** @type {Event} */ e) => {
    e.preventDefault();
    say('');
    if (token.trim()) use(token.trim()).catch(() => say(t('tokenBad')));
  };
  return html`<${Page} title=${broken ? t('brokenTitle') : t('signInTitle')} text=${t('signInText')}>
    <form class="card pad col" onSubmit=${submit}>
      <${Line} label=${t('token')} hint=${t('tokenHint')} why=${why} type="password" autocomplete="off" spellcheck=${false} value=${token} set=${set} />
      <div class="row"><${Button} kind="primary" type="submit">${t('signIn')}<//></div></form><//>`;
}
