//! Items as DynamoDB has them, and the short way in and out of their attributes.
//!
//! Attribute names in the `log` table have one or two letters: they are stored with every item, and
//! an item that stays below a kilobyte costs half of one just above it.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use domain::error::{Result, corrupt};
use runtime::clock::Timestamp;

/// Attribute names and values.
pub type Item = HashMap<String, AttributeValue>;

/// The version of the shape of every item; a reader that meets a newer one stops.
pub const SCHEMA: u32 = 1;

pub fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub fn b(bytes: impl Into<Vec<u8>>) -> AttributeValue {
    AttributeValue::B(Blob::new(bytes))
}

/// Builds an item over its key; absent values leave no attribute.
pub trait Put: Sized {
    fn with(self, name: &str, value: AttributeValue) -> Self;
    fn with_some(self, name: &str, value: Option<AttributeValue>) -> Self;
}

impl Put for Item {
    fn with(mut self, name: &str, value: AttributeValue) -> Self {
        self.insert(name.to_owned(), value);
        self
    }

    fn with_some(self, name: &str, value: Option<AttributeValue>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// What an item says all of.
pub trait FromItem: Sized {
    fn from_item(item: &Item) -> Result<Self>;
}

/// What an item says all of but for its owner, whose partition it is in.
pub trait FromItemOf<Owner>: Sized {
    fn from_item(owner: Owner, item: &Item) -> Result<Self>;
}

/// What says by itself where it is kept.
pub trait ToItem {
    fn to_item(&self) -> Item;
}

/// What is kept in the partition of its owner.
pub trait ToItemOf<Owner> {
    fn to_item(&self, owner: Owner) -> Item;
}

/// Reads attributes; what is missing or of another type is an error that names the attribute.
pub trait Get {
    fn text(&self, name: &'static str) -> Result<&str>;
    fn text_opt(&self, name: &str) -> Option<&str>;
    fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<T>;
    fn number_opt<T: std::str::FromStr>(&self, name: &str) -> Option<T>;
    fn bytes(&self, name: &str) -> Option<&[u8]>;
    fn texts(&self, name: &str) -> Option<Vec<String>>;
    fn time(&self, name: &'static str) -> Result<Timestamp> {
        self.number(name).map(Timestamp::from_ms)
    }
    fn time_opt(&self, name: &str) -> Option<Timestamp> {
        self.number_opt(name).map(Timestamp::from_ms)
    }
    /// Fails on items that a newer version of us wrote in another shape.
    fn check_schema(&self) -> Result<()> {
        let schema: u32 = self.number("v")?;
        if schema > SCHEMA {
            return Err(corrupt("an item")(format!("it has schema {schema}, this version knows {SCHEMA}")));
        }
        Ok(())
    }
}

impl Get for Item {
    fn text(&self, name: &'static str) -> Result<&str> {
        self.text_opt(name).ok_or_else(|| missing(name))
    }

    fn text_opt(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_s().ok().map(String::as_str)
    }

    fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<T> {
        self.number_opt(name).ok_or_else(|| missing(name))
    }

    fn number_opt<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.as_n().ok()?.parse().ok()
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.get(name)?.as_b().ok().map(AsRef::as_ref)
    }

    fn texts(&self, name: &str) -> Option<Vec<String>> {
        let list = self.get(name)?.as_l().ok()?;
        list.iter().map(|entry| entry.as_s().ok().cloned()).collect()
    }
}

fn missing(name: &'static str) -> domain::Error {
    corrupt("an item")(format!("attribute {name} is missing or of another type"))
}

/// A list of texts, if there is one.
pub fn texts(list: Option<&[String]>) -> Option<AttributeValue> {
    list.map(|list| AttributeValue::L(list.iter().map(s).collect()))
}
