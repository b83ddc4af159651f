// A product that shows its customer the portal by `svix-react`, or makes its own page of that package's hooks.
import { useState } from 'react';
import { createRoot } from 'react-dom/client';
import { AppPortal, SvixProvider, useEndpointFunctions, useEndpointHeaders, useEndpointMessageAttempts, useEndpointSecret, useEndpoints, useMessages, useNewEndpoint } from 'svix-react';
import 'svix-react/style.css';

const { show, url, token, app, server, receiver, fullSize, darkMode, add, ...looks } = Object.fromEntries(new URLSearchParams(location.search));
const options = { serverUrl: server };

function One({ id, reload, fail }) {
  const { updateEndpoint, deleteEndpoint, recoverEndpointMessages } = useEndpointFunctions(id);
  const secret = useEndpointSecret(id);
  const headers = useEndpointHeaders(id);
  const attempts = useEndpointMessageAttempts(id);
  const act = (work) => () => work().then(reload, fail);
  return <div>
    <p>secret: {secret.data?.key}</p>
    <p>attempts: {attempts.data?.length}</p>
    <button onClick={act(() => updateEndpoint({ url: receiver, description: 'Changed by a hook' }))}>update</button>
    <button onClick={act(() => headers.patchEndpointHeaders({ headers: { 'x-hook': '1' } }))}>headers</button>
    <button onClick={act(() => secret.rotateSecret({}).then(secret.reload))}>rotate</button>
    <button onClick={act(() => recoverEndpointMessages({ since: new Date(Date.now() - 3_600_000) }))}>recover</button>
    <button onClick={act(deleteEndpoint)}>delete</button>
    <button onClick={() => { attempts.reload(); reload(); }}>reload</button>
  </div>;
}

function Hooks() {
  const endpoints = useEndpoints();
  const messages = useMessages();
  const fresh = useNewEndpoint();
  const [error, fail] = useState();
  const reload = () => {
    endpoints.reload();
    messages.reload();
  };
  const why = error || endpoints.error || messages.error;
  return <main>
    <p>endpoints: {endpoints.data?.length}</p>
    <p>messages: {messages.data?.length}</p>
    {why && <p>error: {String(why)}</p>}
    <button onClick={async () => {
      const { error: failed } = await fresh.createEndpoint();
      if (failed) fail(failed);
      reload();
    }}>create</button>
    <button onClick={() => { fresh.url.setValue(receiver); fresh.description.setValue('Made by a hook'); fresh.eventTypes.setValue(['invoice.paid']); }}>fill</button>
    {endpoints.data?.map(({ id }) => <One key={id} id={id} reload={reload} fail={fail} />)}
  </main>;
}

const views = {
  portal: () => <AppPortal url={url} fullSize={fullSize === 'true'} darkMode={darkMode === 'true'} {...looks} />,
  frame: () => <iframe title="Webhooks" src={url.replace('#', `?${add}#`)} width="100%" height="700" allow="clipboard-write" />,
  hooks: () => <SvixProvider token={token} appId={app} options={options}><Hooks /></SvixProvider>,
};
const View = views[show];
createRoot(document.getElementById('root')).render(<View />);
