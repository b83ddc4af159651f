//! The operations of DynamoDB that messages are made of, put together once.

use aws_sdk_dynamodb::operation::batch_get_item::{
    BatchGetItem, BatchGetItemError, BatchGetItemInput, BatchGetItemOutput,
};
use aws_sdk_dynamodb::operation::get_item::{GetItem, GetItemError, GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItem, PutItemError, PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{Query, QueryError, QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::update_item::{
    UpdateItem, UpdateItemError, UpdateItemInput, UpdateItemOutput,
};
use sdk::{Call, Service};

/// One of each.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) batch_get: Call<BatchGetItemInput, BatchGetItemOutput, BatchGetItemError>,
    pub(crate) get: Call<GetItemInput, GetItemOutput, GetItemError>,
    pub(crate) put: Call<PutItemInput, PutItemOutput, PutItemError>,
    pub(crate) query: Call<QueryInput, QueryOutput, QueryError>,
    pub(crate) update: Call<UpdateItemInput, UpdateItemOutput, UpdateItemError>,
}

impl Calls {
    pub(crate) fn new(service: &Service) -> Self {
        Self {
            batch_get: service.call("BatchGetItem", &BatchGetItem::new()),
            get: service.call("GetItem", &GetItem::new()),
            put: service.call("PutItem", &PutItem::new()),
            query: service.call("Query", &Query::new()),
            update: service.call("UpdateItem", &UpdateItem::new()),
        }
    }
}
