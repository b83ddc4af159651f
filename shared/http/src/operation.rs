//! Each operation is declared once: its declaration makes the route that Lambda runs, and its part
//! of the OpenAPI document.
//!
//! A function has one `operations`, generic over [`Registry`]. Called with axum's `Router` it adds
//! routes and never calls what describes them, so that a function's binary holds none of it. Called
//! with a [`Document`](super::Document) it adds descriptions. What a handler takes says who may call
//! and what there must be a description of; parse functions describe what they read; answers are
//! described by the types that are serialised.

use axum::Router;
use axum::extract::{Path, State};
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::{HeaderMap, Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use input::RequestBody;

use super::{Body, Query};
use crate::auth::{Authenticated, Bearer, Organisation};
use domain::error::Result;

/// A method that operations have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Verb {
    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Head => MethodFilter::HEAD,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    /// As OpenAPI writes it.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Head => "head",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// Where operations are declared.
pub trait Registry<S>: Sized {
    /// Declares the operation at `method` and `path`, which `handler` does and `describe` describes.
    fn operation<H, T>(
        self,
        method: Verb,
        path: &'static str,
        handler: H,
        describe: impl FnOnce(Operation) -> Operation,
    ) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static;

    /// Declares a `GET`.
    fn get<H, T>(self, path: &'static str, handler: H, describe: impl FnOnce(Operation) -> Operation) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static,
    {
        self.operation(Verb::Get, path, handler, describe)
    }

    /// Declares a `POST`.
    fn post<H, T>(self, path: &'static str, handler: H, describe: impl FnOnce(Operation) -> Operation) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static,
    {
        self.operation(Verb::Post, path, handler, describe)
    }

    /// Declares a `PUT`.
    fn put<H, T>(self, path: &'static str, handler: H, describe: impl FnOnce(Operation) -> Operation) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static,
    {
        self.operation(Verb::Put, path, handler, describe)
    }

    /// Declares a `PATCH`.
    fn patch<H, T>(
        self,
        path: &'static str,
        handler: H,
        describe: impl FnOnce(Operation) -> Operation,
    ) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static,
    {
        self.operation(Verb::Patch, path, handler, describe)
    }

    /// Declares a `DELETE`.
    fn delete<H, T>(
        self,
        path: &'static str,
        handler: H,
        describe: impl FnOnce(Operation) -> Operation,
    ) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static,
    {
        self.operation(Verb::Delete, path, handler, describe)
    }

    /// Declares a `HEAD`.
    fn head<H, T>(self, path: &'static str, handler: H, describe: impl FnOnce(Operation) -> Operation) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static,
    {
        self.operation(Verb::Head, path, handler, describe)
    }
}

impl<S: Clone + Send + Sync + 'static> Registry<S> for Router<S> {
    fn operation<H, T>(
        self,
        method: Verb,
        path: &'static str,
        handler: H,
        _: impl FnOnce(Operation) -> Operation,
    ) -> Self
    where
        H: Handler<T, S>,
        T: Inputs + 'static,
    {
        self.route(path, on(method.filter(), handler))
    }
}

/// What a handler takes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A token of whichever kind.
    AnyToken,
    /// An organisation's token.
    OrganisationToken,
    /// A token that has to be an application's.
    ApplicationToken,
    /// Parameters in the path, and how many.
    Path(usize),
    /// Parameters in the query.
    Query,
    /// A body.
    Body,
    /// What no description mentions.
    Nothing,
}

/// One argument of a handler.
pub trait Takes {
    /// What it takes.
    const INPUT: Input;
}

macro_rules! takes {
    ($($type:ty: $input:expr,)*) => {$(
        impl Takes for $type {
            const INPUT: Input = $input;
        }
    )*};
}

takes! {
    Authenticated: Input::AnyToken,
    Organisation: Input::OrganisationToken,
    Bearer: Input::ApplicationToken,
    Path<String>: Input::Path(1),
    Path<(String, String)>: Input::Path(2),
    Path<(String, String, String)>: Input::Path(3),
    Query: Input::Query,
    Body: Input::Body,
    HeaderMap: Input::Nothing,
    http::Extensions: Input::Nothing,
    Uri: Input::Nothing,
}

impl<S> Takes for State<S> {
    const INPUT: Input = Input::Nothing;
}

/// All arguments of a handler, as axum's `Handler<T, S>` has them in `T`.
pub trait Inputs {
    /// What they take.
    const INPUTS: &'static [Input];
}

impl Inputs for ((),) {
    const INPUTS: &'static [Input] = &[];
}

macro_rules! inputs {
    ($($argument:ident)*) => {
        impl<M, $($argument: Takes),*> Inputs for (M, $($argument,)*) {
            const INPUTS: &'static [Input] = &[$($argument::INPUT),*];
        }
    };
}

inputs!(A);
inputs!(A B);
inputs!(A B C);
inputs!(A B C D);
inputs!(A B C D E);
inputs!(A B C D E F);
inputs!(A B C D E F G);
inputs!(A B C D E F G H);

/// What an answer holds.
pub(super) enum Content {
    Nothing,
    Json(fn(&mut SchemaGenerator) -> Schema),
    Text(&'static str),
}

/// An answer of success.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) content: Content,
}

/// An operation's description.
pub struct Operation {
    pub(super) method: Verb,
    pub(super) path: &'static str,
    pub(super) inputs: &'static [Input],
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) text: &'static str,
    pub(super) deprecated: bool,
    pub(super) query: Option<Query>,
    pub(super) body: Option<&'static RequestBody>,
    pub(super) answers: Vec<Answer>,
    pub(super) parameters: Vec<(&'static str, &'static str)>,
}

impl Operation {
    pub(super) const fn new(method: Verb, path: &'static str, inputs: &'static [Input]) -> Self {
        Self {
            method,
            path,
            inputs,
            id: "",
            tag: "",
            summary: "",
            text: "",
            deprecated: false,
            query: None,
            body: None,
            answers: Vec::new(),
            parameters: Vec::new(),
        }
    }

    /// Its id and its tag.
    #[must_use]
    pub fn named(self, id: &'static str, tag: &'static str) -> Self {
        Self { id, tag, ..self }
    }

    /// What it does, in one line.
    #[must_use]
    pub fn summary(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    /// What else there is to say.
    #[must_use]
    pub fn text(self, text: &'static str) -> Self {
        Self { text, ..self }
    }

    /// There is something better.
    #[must_use]
    pub fn deprecated(self) -> Self {
        Self { deprecated: true, ..self }
    }

    /// How the handler reads the query.
    #[must_use]
    pub fn query<T>(self, read: impl FnOnce(&Query) -> Result<T>) -> Self {
        let query = Query::describing();
        // Nothing is there, so nothing can be wrong.
        drop(read(&query));
        Self { query: Some(query), ..self }
    }

    /// What a parameter means here, where that is not what it means everywhere.
    #[must_use]
    pub fn parameter(mut self, name: &'static str, about: &'static str) -> Self {
        self.parameters.push((name, about));
        self
    }

    /// How the handler reads the body.
    #[must_use]
    pub fn body(self, body: &'static RequestBody) -> Self {
        Self { body: Some(body), ..self }
    }

    /// An answer of JSON.
    #[must_use]
    pub fn answers<T: JsonSchema>(self, status: u16, about: &'static str) -> Self {
        self.answer(status, about, Content::Json(SchemaGenerator::subschema_for::<T>))
    }

    /// An answer with no body.
    #[must_use]
    pub fn answers_nothing(self, status: u16, about: &'static str) -> Self {
        self.answer(status, about, Content::Nothing)
    }

    /// An answer of another type of content.
    #[must_use]
    pub fn answers_text(self, status: u16, content_type: &'static str, about: &'static str) -> Self {
        self.answer(status, about, Content::Text(content_type))
    }

    fn answer(mut self, status: u16, about: &'static str, content: Content) -> Self {
        self.answers.push(Answer { status, about, content });
        self
    }
}
