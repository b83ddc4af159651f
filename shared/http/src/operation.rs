//! Each operation is declared once: its declaration makes the route that Lambda runs, and its part
//! of the OpenAPI document.
//!
//! A function has one `operations`, generic over [`Registry`]. Called with axum's `Router` it adds
//! routes and never calls what describes them, so that a function's binary holds none of it. Called
//! with a [`Document`](super::Document) it adds descriptions. What a handler takes says who may call
//! and what there must be a description of; parse functions describe what they read; answers are
//! described by the types that are serialised.

use std::collections::VecDeque;

use axum::Router;
use axum::extract::State;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::{HeaderMap, Method, Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use input::{BodyType, RequestBody};
use runtime::clock::Timestamp;

use super::{Answer, Body, Idempotent, Path, Query, QueryParams, RawQuery, Segments};
use crate::auth::{Authenticated, Bearer, Organisation};
use domain::error::Result;

/// Where operations are declared.
pub trait Registry<S>: Sized {
    /// Declares the operation at `method` and `path`, which `handler` does and `describe` describes.
    fn operation<H, T>(
        self,
        method: Method,
        path: &'static str,
        handler: H,
        describe: impl FnOnce(Operation) -> Operation,
    ) -> Self
    where
        H: Handler<T, S> + Returns<T>,
        T: Inputs + 'static;

    /// Declares a `GET`.
    fn get<H, T>(self, path: &'static str, handler: H, describe: impl FnOnce(Operation) -> Operation) -> Self
    where
        H: Handler<T, S> + Returns<T>,
        T: Inputs + 'static,
    {
        self.operation(Method::GET, path, handler, describe)
    }

    /// Declares a `POST`.
    fn post<H, T>(self, path: &'static str, handler: H, describe: impl FnOnce(Operation) -> Operation) -> Self
    where
        H: Handler<T, S> + Returns<T>,
        T: Inputs + 'static,
    {
        self.operation(Method::POST, path, handler, describe)
    }

    /// Declares a `PUT`.
    fn put<H, T>(self, path: &'static str, handler: H, describe: impl FnOnce(Operation) -> Operation) -> Self
    where
        H: Handler<T, S> + Returns<T>,
        T: Inputs + 'static,
    {
        self.operation(Method::PUT, path, handler, describe)
    }

    /// Declares a `PATCH`.
    fn patch<H, T>(
        self,
        path: &'static str,
        handler: H,
        describe: impl FnOnce(Operation) -> Operation,
    ) -> Self
    where
        H: Handler<T, S> + Returns<T>,
        T: Inputs + 'static,
    {
        self.operation(Method::PATCH, path, handler, describe)
    }

    /// Declares a `DELETE`.
    fn delete<H, T>(
        self,
        path: &'static str,
        handler: H,
        describe: impl FnOnce(Operation) -> Operation,
    ) -> Self
    where
        H: Handler<T, S> + Returns<T>,
        T: Inputs + 'static,
    {
        self.operation(Method::DELETE, path, handler, describe)
    }

    /// Declares a `HEAD`.
    fn head<H, T>(self, path: &'static str, handler: H, describe: impl FnOnce(Operation) -> Operation) -> Self
    where
        H: Handler<T, S> + Returns<T>,
        T: Inputs + 'static,
    {
        self.operation(Method::HEAD, path, handler, describe)
    }
}

impl<S: Clone + Send + Sync + 'static> Registry<S> for Router<S> {
    fn operation<H, T>(
        self,
        method: Method,
        path: &'static str,
        handler: H,
        _: impl FnOnce(Operation) -> Operation,
    ) -> Self
    where
        H: Handler<T, S> + Returns<T>,
        T: Inputs + 'static,
    {
        // Each of the methods above has one; none that had not would ever be routed to.
        match MethodFilter::try_from(method) {
            Ok(method) => self.route(path, on(method, handler)),
            Err(_) => self,
        }
    }
}

/// What a handler takes of a request.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// A token of whichever kind.
    AnyToken,
    /// An organisation's token.
    OrganisationToken,
    /// A token that has to be an application's.
    ApplicationToken,
    /// Parameters in the path, and how many.
    Path(usize),
    /// Parameters in the path, by their names.
    Segments(&'static [&'static str]),
    /// Parameters in the query, and what reads them if the type says it.
    Query(Option<fn(&RawQuery)>),
    /// A body, and which if the type says it.
    Body(Option<&'static BodyType>),
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
    axum::extract::Path<String>: Input::Path(1),
    axum::extract::Path<(String, String)>: Input::Path(2),
    axum::extract::Path<(String, String, String)>: Input::Path(3),
    RawQuery: Input::Query(None),
    Body: Input::Body(None),
    Idempotent: Input::Nothing,
    HeaderMap: Input::Nothing,
    http::Extensions: Input::Nothing,
    Uri: Input::Nothing,
}

impl<P: Segments> Takes for Path<P> {
    const INPUT: Input = Input::Segments(P::NAMES);
}

impl<P: QueryParams> Takes for Query<P> {
    const INPUT: Input = Input::Query(Some(|query| drop(P::read(query, Timestamp::default()))));
}

impl<T: RequestBody> Takes for Body<T> {
    const INPUT: Input = Input::Body(Some(&T::TYPE));
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

/// What a handler answers with, as its return type says it.
pub trait Returns<T> {
    /// That type.
    type Answer: Answer;
}

impl<F, R> Returns<((),)> for F
where
    F: FnOnce() -> R,
    R: Future,
    R::Output: Answer,
{
    type Answer = R::Output;
}

macro_rules! inputs {
    ($($argument:ident)*) => {
        impl<M, $($argument: Takes),*> Inputs for (M, $($argument,)*) {
            const INPUTS: &'static [Input] = &[$($argument::INPUT),*];
        }

        impl<Handler, Response, M, $($argument),*> Returns<(M, $($argument,)*)> for Handler
        where
            Handler: FnOnce($($argument),*) -> Response,
            Response: Future,
            Response::Output: Answer,
        {
            type Answer = Response::Output;
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
pub enum Content {
    /// Nothing.
    Nothing,
    /// JSON of this schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Text of this type.
    Text(&'static str),
}

/// An answer of success.
pub(super) struct Described {
    pub(super) status: u16,
    pub(super) about: &'static str,
    pub(super) content: Content,
}

/// An operation's description.
pub struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) inputs: &'static [Input],
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) text: &'static str,
    pub(super) deprecated: bool,
    pub(super) query: Option<RawQuery>,
    pub(super) body: Option<&'static BodyType>,
    pub(super) answers: Vec<Described>,
    /// What the handler's type answers with and nothing describes yet.
    pub(super) declared: VecDeque<(u16, Content)>,
    pub(super) described_too_often: bool,
    pub(super) parameters: Vec<(&'static str, &'static str)>,
}

impl Operation {
    pub(super) fn new(
        method: Method,
        path: &'static str,
        inputs: &'static [Input],
        declared: Vec<(u16, Content)>,
    ) -> Self {
        let (mut query, mut body) = (None, None);
        for input in inputs {
            match input {
                Input::Query(Some(read)) => {
                    let notes = RawQuery::describing();
                    read(&notes);
                    query = Some(notes);
                }
                Input::Body(Some(described)) => body = Some(*described),
                _ => {}
            }
        }
        Self {
            method,
            path,
            inputs,
            id: "",
            tag: "",
            summary: "",
            text: "",
            deprecated: false,
            query,
            body,
            answers: Vec::new(),
            declared: declared.into(),
            described_too_often: false,
            parameters: Vec::new(),
        }
    }

    /// Whether the handler takes a token.
    pub(super) fn takes_token(&self) -> bool {
        let is_token = |input: &Input| {
            matches!(input, Input::AnyToken | Input::OrganisationToken | Input::ApplicationToken)
        };
        self.inputs.iter().any(is_token)
    }

    /// Whether the handler takes a query.
    pub(super) fn takes_query(&self) -> bool {
        self.inputs.iter().any(|input| matches!(input, Input::Query(_)))
    }

    /// Whether the handler takes a body.
    pub(super) fn takes_body(&self) -> bool {
        self.inputs.iter().any(|input| matches!(input, Input::Body(_)))
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
    pub fn query<T>(self, read: impl FnOnce(&RawQuery) -> Result<T>) -> Self {
        let query = RawQuery::describing();
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
    pub fn body(self, body: &'static BodyType) -> Self {
        Self { body: Some(body), ..self }
    }

    /// What an answer of the handler's type means; of several in the order of their statuses.
    #[must_use]
    pub fn returns(mut self, about: &'static str) -> Self {
        match self.declared.pop_front() {
            Some((status, content)) => self.answers.push(Described { status, about, content }),
            None => self.described_too_often = true,
        }
        self
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
        self.answers.push(Described { status, about, content });
        self
    }
}
