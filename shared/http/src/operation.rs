//! Each operation is declared once: its declaration makes the route that Lambda runs, and its part
//! of the OpenAPI document.
//!
//! A function has one `operations`, generic over [`Registry`]. Called with axum's `Router` it adds
//! routes and never calls what describes them, so that a function's binary holds none of it. Called
//! with a [`Document`](super::Document) it adds descriptions. They follow from the handler's type: who may
//! call, what path, query and body are read as, and each response. The declaration adds what only words say.

use std::collections::VecDeque;

use axum::Router;
use axum::extract::State;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::{HeaderMap, Method};
use schemars::{Schema, SchemaGenerator};

use input::{BodyType, RequestBody};
use runtime::clock::Timestamp;

use super::{Body, Idempotent, Path, Query, QueryParams, RawQuery, Responses, Segments};
use crate::auth::{Authenticated, Bearer, Organisation, Poller, Receiver};

macro_rules! verbs {
    ($($(#[$about:meta])* $name:ident: $method:expr;)*) => {$(
        $(#[$about])*
        fn $name<H, T>(
            self,
            path: &'static str,
            handler: H,
            describe: impl FnOnce(Operation) -> Operation,
        ) -> Self
        where
            H: Handler<T, S> + Returns<T>,
            T: Inputs + 'static,
        {
            self.operation($method, path, handler, describe)
        }
    )*};
}

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

    verbs! {
        /// Declares a `GET`.
        get: Method::GET;
        /// Declares a `POST`.
        post: Method::POST;
        /// Declares a `PUT`.
        put: Method::PUT;
        /// Declares a `PATCH`.
        patch: Method::PATCH;
        /// Declares a `DELETE`.
        delete: Method::DELETE;
        /// Declares a `HEAD`.
        head: Method::HEAD;
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
    /// Parameters in the path, by their names.
    Path(&'static [&'static str]),
    /// Parameters in the query, by what reads them.
    Query(fn(&RawQuery)),
    /// A body.
    Body(&'static BodyType),
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
    Poller: Input::AnyToken,
    Receiver: Input::AnyToken,
    Idempotent: Input::Nothing,
    HeaderMap: Input::Nothing,
    http::Extensions: Input::Nothing,
}

impl<P: Segments> Takes for Path<P> {
    const INPUT: Input = Input::Path(P::NAMES);
}

impl<P: QueryParams> Takes for Query<P> {
    // Nothing is there, so nothing can be wrong.
    const INPUT: Input = Input::Query(|query| drop(P::read(query, Timestamp::default())));
}

impl<T: RequestBody> Takes for Body<T> {
    const INPUT: Input = Input::Body(&T::TYPE);
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

/// How a handler responds, as its return type says it.
pub trait Returns<T> {
    /// That type.
    type Responses: Responses;
}

impl<F, R> Returns<((),)> for F
where
    F: FnOnce() -> R,
    R: Future,
    R::Output: Responses,
{
    type Responses = R::Output;
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
            Response::Output: Responses,
        {
            type Responses = Response::Output;
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

/// What a response holds.
pub enum Content {
    /// Nothing.
    Nothing,
    /// JSON of this schema.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// Text of this type.
    Text(&'static str),
}

/// A response of success.
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
    pub(super) responses: Vec<Described>,
    /// Responses of the handler's type that nothing describes yet.
    pub(super) undescribed: VecDeque<(u16, Content)>,
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
        let query = inputs.iter().find_map(|input| match input {
            Input::Query(read) => {
                let notes = RawQuery::describing();
                read(&notes);
                Some(notes)
            }
            _ => None,
        });
        let body = inputs.iter().find_map(|input| match input {
            Input::Body(body) => Some(*body),
            _ => None,
        });
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
            responses: Vec::new(),
            undescribed: declared.into(),
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

    /// What a parameter means here, where that is not what it means everywhere.
    #[must_use]
    pub fn parameter(mut self, name: &'static str, about: &'static str) -> Self {
        self.parameters.push((name, about));
        self
    }

    /// What a response of the handler's type means; of several in the order of the type.
    #[must_use]
    pub fn returns(mut self, about: &'static str) -> Self {
        match self.undescribed.pop_front() {
            Some((status, content)) => self.responses.push(Described { status, about, content }),
            None => self.described_too_often = true,
        }
        self
    }
}
