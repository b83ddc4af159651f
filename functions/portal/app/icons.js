// @ts-check
/** Icons: strokes on a grid of 24. */
import { html } from './preact.js';

/** @type {Record<string, string>} */
const PATHS = {
  check: 'M5 12.5l4.5 4.5L19 7.5', x: 'M6 6l12 12M18 6L6 18', plus: 'M12 5v14M5 12h14',
  chevron: 'M9 6l6 6-6 6', down: 'M6 9l6 6 6-6', dots: 'M5 12h.01M12 12h.01M19 12h.01',
  search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4', alert: 'M12 4L2.8 19.5h18.4L12 4zM12 10v4M12 17h.01',
  clock: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 7.5V12l3 2', pause: 'M9 5v14M15 5v14', play: 'M7 5l12 7-12 7V5z',
  off: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM6 6l12 12', info: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 11v5M12 8h.01',
  endpoint: 'M3 12h10M9 8l4 4-4 4M13 4h6a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1h-6', send: 'M21 3L10 14M21 3l-7 18-4-7-7-4 18-7z',
  list: 'M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01', book: 'M5 4h10a4 4 0 0 1 4 4v12H9a4 4 0 0 1-4-4V4zM9 9h6M9 13h6',
  live: 'M3 12h4l3-8 4 16 3-8h4', repair: 'M4 12a8 8 0 1 0 3-6.2M4 4v4h4M12 8v4l3 2', refresh: 'M20 11a8 8 0 0 0-14.5-4M4 4v4h4M4 13a8 8 0 0 0 14.5 4M20 20v-4h-4',
  apps: 'M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z', chart: 'M4 20h16M7 16v-5M12 16V5M17 16V9', bell: 'M6 16V11a6 6 0 1 1 12 0v5l2 2H4l2-2zM10 21h4', inbox: 'M4 13l3-8h10l3 8v6H4v-6zM4 13h5l1 3h4l1-3h5',
  task: 'M4 6l1.5 1.5L8 5M4 12.5L5.5 14 8 11.5M4 19l1.5 1.5L8 18M12 6h8M12 12.5h8M12 19h8', audit: 'M6 3h9l4 4v14H6V3zM14 3v5h5M9 12h6M9 16h6',
  brush: 'M12 3a9 9 0 1 0 0 18c1.5 0 2-1 1.5-2.2-.6-1.5.2-2.8 1.8-2.8H18a3 3 0 0 0 3-3c0-5-4-10-9-10zM8 11h.01M12 7.5h.01M16 11h.01', key: 'M15.5 4a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM12 11.5L4 19.5V20h3v-2h2v-2l3-3', eye: 'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1', link: 'M10 14a4 4 0 0 0 6 .5l3-3a4.2 4.2 0 0 0-6-6l-1.5 1.5M14 10a4 4 0 0 0-6-.5l-3 3a4.2 4.2 0 0 0 6 6l1.5-1.5', download: 'M12 4v11M7 11l5 5 5-5M5 20h14',
  edit: 'M4 20h4L19 9l-4-4L4 16v4zM13 7l4 4', trash: 'M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13', sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5', moon: 'M20 14A8.5 8.5 0 0 1 10 4a8.5 8.5 0 1 0 10 10z',
  out: 'M14 4h5v16h-5M4 12h10M10 8l4 4-4 4', menu: 'M4 7h16M4 12h16M4 17h16', shield: 'M12 3l8 3v6c0 5-4 8-8 9-4-1-8-4-8-9V6l8-3zM8.5 12l2.5 2.5 4.5-5',
};

/** @param {{name: string, size?: number, spin?: boolean}} props */
export const Icon = ({ name, size = 16, spin }) => html`<svg aria-hidden="true" width=${size} height=${size} viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.9" stroke-linecap="round" stroke-linejoin="round" class=${spin ? 'spin' : ''}><path d=${PATHS[name] || ''} /></svg>`;

/** Postrider's own mark. */
export const Mark = () => html`<svg class="mark" aria-hidden="true" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" /><path d="M7 20.5h6.2c3 0 3.4-9 6.6-9H25M21.5 7.8l3.7 3.7-3.7 3.7M7 15h4.5M7 9.5h7.5" fill="none" stroke-width="2.3" stroke-linecap="round" stroke-linejoin="round" /></svg>`;
