//! The tables of short texts. What is stored is read with them: a change is a new form, beside this one.
//!
//! The names are those that webhooks have in common, of orders, invoices, users, tasks and devices. The lengths are those of a Huffman
//! code for the literals and matches of fourteen payloads as different services send them (38 to 947 bytes, none of them a test's
//! or the calculator's), with something added for each printable character. Each of the fourteen, coded by the lengths of the other
//! thirteen, all together: 2,361 bytes instead of 2,729 by DEFLATE with the same names before it and 3,484 by DEFLATE alone.

/// What stands before each text, as if it had been there: what is said most stands last.
pub(super) const NAMES: &str = concat!(
    r#".execute-api.us-east-1.amazonaws.com/hooks.example.com/callback/webhook/webhooks/events/api/v1/"#,
    r#".canceled.exhausted.succeeded.completed.failed.paid.deleted.updated.created"#,
    r#"message.contact.subscription.account.customer.payment.order.user.invoice."#,
    r#""permission":"folder":"checksum":"version":1,"repository":"organization":"workspace":"project":"task":""#,
    r#"assignee":"priority":"labels":["changes":{"previous":"#,
    r#""device":"readings":[{"temperature":"latitude":"longitude":"location":"duration":"direction":"subject":""#,
    r#"headers":{"body":"attachments":[],"#,
    r#""plan":"subscription":"interval":"month","trial_end":"period_start":"period_end":"nextAttemptAt":""#,
    r#"attempts":1,"reason":"code":"error":"message":""#,
    r#""shipping_address":{"billing_address":{"street":"address1":"line1":"line2":null,"city":"state":""#,
    r#"province":"zip":"postalCode":"postal_code":"country":"DE","GB","US","phone":"+1"#,
    r#""first_name":"last_name":"firstName":"lastName":"username":"login":"role":"admin","avatar":"language":""#,
    r#"en","timezone":"title":"description":"name":"company":"email":"@example.com",""#,
    r#""tracking_number":"trackingNumber":"carrier":"shipped","delivered","cancelled","refunded","succeeded",""#,
    r#"failed","pending","completed","in_progress","open","closed","active","status":"paid","#,
    r#""payment_method":"payment":{"card":"brand":"last4":"amount":"fee":0,"tax":"total":"subtotal":"discount""#,
    r#":"price":"unit_price":"unitPrice":"currency":"USD","usd","EUR","#,
    r#""order":{"orderId":"order_id":"product":{"productId":"product_id":"variant":"sku":"quantity":1,""#,
    r#"line_items":[{"items":[{"lines":[{"#,
    r#""url":"https://example.com/https://www.https://api."account":{"accountId":"account_id":"tenantId":""#,
    r#"customer":{"customerId":"customer_id":"userId":"user_id":"user":{"id":"usr_"#,
    r#""invoice":"inv_"number":"2026-"metadata":{},"tags":[],"attributes":{"enabled":true,"value":0.00,false,""#,
    r#"null,"true}},"}],""#,
    r#""startedAt":"endedAt":"occurred_at":"created":"updated":"updatedAt":"updated_at":"createdAt":""#,
    r#"created_at":"timestamp":"2026-01-01T00:00:00.000Z",""#,
    r#""action":"created","updated","deleted","event":"object":"type":"data":{"id":""#,
);

/// Of the literals 0 to 255, of the lengths of matches ([`LENGTHS`]) and of the end: how many bits each one's code has, in hexadecimal.
pub(super) const LITERAL_BITS: &[u8; 286] =
    b"ffffffffffffffffffffffffffffffff6c6accccccca767855566566667cacaca899989a889989898aa889a8ac9cc9c6\
      c566656776986765796767889887c6cfffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\
      ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff5455567666789fabbffffffffffee7";

/// The same of the distances of matches ([`DISTANCES`]).
pub(super) const DISTANCE_BITS: &[u8; 25] = b"8888777656555544444423688";

/// Least length of a match by its symbol, and how many bits behind the symbol say how much longer it is: DEFLATE's
/// (RFC 1951, section 3.2.5).
pub(super) const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The same of how far before itself a match begins.
pub(super) const DISTANCES: [(u16, u8); 25] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
];
