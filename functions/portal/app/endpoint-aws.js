// @ts-check
/** Endpoints in AWS: their fields, and what their owner has to deploy. */
import { html } from './preact.js';
import { operator, session } from './session.js';
import { useGet } from './data.js';
import { Field } from './ui.js';
import { Block, Copy } from './code.js';
import { t } from './i18n.js';

/** What each service's places are called, and what a role has to allow there. @type {Record<string, [name: string, resource: string, action: string]>} */
const SERVICES = {
  sqs: ['SQS', 'sqs:eu-central-1:123456789012:orders', 'sqs:SendMessage'],
  sns: ['SNS', 'sns:eu-central-1:123456789012:orders', 'sns:Publish'],
  eventbridge: ['EventBridge', 'events:eu-central-1:123456789012:event-bus/orders', 'events:PutEvents'],
  s3: ['S3', 's3:::orders', 's3:PutObject'],
  lambda: ['Lambda', 'lambda:eu-central-1:123456789012:function:orders', 'lambda:InvokeFunction'],
};

/** Fields of a place in AWS. */
export const AWS_FIELDS = /** @type {const} */ (['arn', 'roleArn', 'region', 'fifoKey', 'format', 'keyTemplate']);

/** Whether it is a kind of place in AWS. @param {string} kind */
export const isAws = (kind) => kind in SERVICES;

/** What a kind of endpoint is called: services have the same name in any language. @param {string} kind */
export const kindName = (kind) => SERVICES[kind]?.[0] || t('kind_' + kind);

/** Kinds that an endpoint may be made of here. */
export const kinds = () => ['http', 'polling', ...(session.who?.destinationRoles ? Object.keys(SERVICES) : [])];

/** Which of the fields a kind has. @param {string} kind */
export const fieldsOf = (kind) => AWS_FIELDS.filter((name) => ({ region: kind === 's3', keyTemplate: kind === 's3', format: kind === 's3', fifoKey: kind === 'sqs' || kind === 'sns' })[/** @type {string} */ (name)] ?? true);

/** A role that this installation would take on, in the account of the place. @param {string} arn */
function exampleRole(arn) {
  const account = arn.split(':')[4] || '123456789012';
  return (session.who?.destinationRoles || 'arn:aws:iam::*:role/*').replace(/::[^:]*:/, (part) => part.replace(/\*/g, account)).replace(/\*/g, 'orders');
}

/** What a place's owner deploys, so that the role is there. Values are quoted as JSON, which is YAML. @param {string} kind @param {any} v @param {string} id */
function template(kind, v, id) {
  const [, resource, action] = SERVICES[kind];
  const arn = v.arn.trim() || 'arn:aws:' + resource;
  const [path, name] = ((v.roleArn.trim() || exampleRole(arn)).split(':role')[1] || '/orders').split(/\/(?=[^/]*$)/);
  const trusted = session.who?.deliverRole;
  return `${trusted ? '' : 'Parameters:\n  DeliverRoleArn: { Type: String }\n'}Resources:
  PostriderRole:
    Type: AWS::IAM::Role
    Properties:
      RoleName: ${JSON.stringify(name)}${path ? `\n      Path: ${JSON.stringify(path + '/')}` : ''}
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Principal: { AWS: ${trusted ? JSON.stringify(trusted) : '!Ref DeliverRoleArn'} }
            Action: sts:AssumeRole
            Condition: { StringEquals: { "sts:ExternalId": ${JSON.stringify(id)} } }
      Policies:
        - PolicyName: send
          PolicyDocument:
            Version: "2012-10-17"
            Statement:
              - { Effect: Allow, Action: ${action}, Resource: ${JSON.stringify(arn + (kind === 's3' ? '/*' : ''))} }
Outputs:
  RoleArn: { Value: !GetAtt PostriderRole.Arn }
`;
}

/** The fields of a place in AWS, and its owner's side. @param {{app: any, v: any, line: (name: any, props?: any) => any}} props */
export function AwsFields({ app, v, line }) {
  const about = useGet(operator() ? app.path : null);
  const id = 'postrider-' + (about.data?.id || app.id);
  const roles = session.who?.destinationRoles || '';
  /** @type {Record<string, any>} */
  const more = {
    arn: { placeholder: 'arn:aws:' + SERVICES[v.kind][1], required: true },
    roleArn: { placeholder: exampleRole(v.arn), required: true, hint: t('roleArnHint', { roles }) },
    region: { placeholder: 'eu-central-1', required: true },
    fifoKey: { placeholder: '/customer/id', hint: t('fifoKeyHint') },
    format: { cls: undefined, options: [['', t('format_object')], ['jsonl', t('format_jsonl')]] },
    keyTemplate: { placeholder: v.format ? '{year}/{month}/{day}/{message}.jsonl' : '{eventType}/{year}/{month}/{day}/{message}.json', hint: t('keyTemplateHint') },
  };
  return html`${fieldsOf(v.kind).map((name) => line(name, { cls: 'mono', dir: 'ltr', autocomplete: 'off', ...more[name] }))}
    <div class="note"><div class="col grow"><p class="strong">${t('awsSide')}</p><p>${t('awsSideText')} ${!session.who?.deliverRole && t('awsDeliverRole')}</p>
      <${Field} label=${t('externalId')} hint=${t('externalIdHint')}>${(/** @type {any} */ p) => html`<div class="row nowrap"><input class="in mono" readonly dir="ltr" value=${id} ...${p} /><${Copy} text=${id} kind="" /></div>`}<//>
      <${Block} text=${template(v.kind, v, id)} label="CloudFormation" /></div></div>`;
}
